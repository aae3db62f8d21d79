"""The sentence at the top of the report: it is made of the figures, and claims no more than they do."""

from dataclasses import replace

import polars as pl
import pytest

from pipeline.report.finding import finding
from tests.support.results import make_results


@pytest.fixture(scope="module")
def results():
    return make_results(4)


def compared(results, *, holds: bool):
    """The same results with one test of the best head on each backbone against the published one."""
    rows = [
        {
            "backbone": backbone,
            "head": results.best[backbone],
            "against": results.reference[backbone],
            "metric": "micro_ap",
            "k": None,
            "difference": 0.1234,
            "low": 0.1 if holds else -0.1,
            "high": 0.2,
            "p": 0.01,
            "adjusted": 0.02,
            "asked": True,
            "holds": holds,
        }
        for backbone in results.backbones
    ]
    return replace(results, comparisons=pl.DataFrame(rows, schema=results.comparisons.schema))


def other_than_published(results):
    """As if the best heads were no published ones."""
    names = dict.fromkeys(results.backbones, results.heads[-1])
    published = dict.fromkeys(results.backbones, results.heads[0])
    return replace(results, best=names, reference=published)


def test_it_names_both_heads_with_their_values_and_says_whether_the_difference_holds(results):
    results = other_than_published(results)
    for holds, words in ((True, "the difference, +0.123 [+0.100, +0.200], holds."), (False, "is not shown to be one.")):
        said = finding(compared(results, holds=holds))
        backbone = next(name for name in results.backbones if f" on {name} does best" in said)
        for head in (results.best[backbone], results.reference[backbone]):
            row = results.value((backbone, head), "micro_ap")
            assert head in said and f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in said
        assert words in said
        assert said.endswith(results.seen())


def test_it_speaks_of_the_backbone_that_does_best_on_validation(results):
    results = other_than_published(results)
    for chosen in results.backbones:
        training = {
            (backbone, results.best[backbone]): {"seeds": [{"micro_ap": 0.9 if backbone == chosen else 0.1}]}
            for backbone in results.backbones
        }
        assert f" on {chosen} does best" in finding(compared(replace(results, training=training), holds=True))


def test_a_published_head_that_is_best_is_said_to_be_one(results):
    same = replace(results, reference=dict(results.best))
    assert "It is a published head." in finding(same)


def test_without_results_it_says_nothing(results):
    assert finding(replace(results, best={})) == ""
