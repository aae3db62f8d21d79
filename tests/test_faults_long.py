"""Every stage, killed or failed at any call that writes, and run twice at once; by hand:

    pytest -n 0 -m long tests/test_faults_long.py -s

It needs strace. VISAGG_TRIES (default 3600, of which some 2,000 are kills) and VISAGG_MINUTES (default 60) limit it,
VISAGG_STAGES names stages, VISAGG_SEED draws other tries. The counts that it prints belong in reports/evidence.md.
"""

import os
import random
import time
from collections import Counter, defaultdict

import pytest

from tests.support import faults
from tests.support.shop import Shop
from tests.support.stages import STAGES

pytestmark = pytest.mark.long

TRIES = int(os.environ.get("VISAGG_TRIES", "3600"))
MINUTES = float(os.environ.get("VISAGG_MINUTES", "60"))
CHOSEN = os.environ.get("VISAGG_STAGES", " ".join(STAGES)).split()
WAYS = (*faults.KILLS, *faults.ERRORS)
KINDS = ("lost", "wrong", "accepted", "mixed", "traceback", "rerun", "left")


def test_every_stage_at_every_call(tmp_path):
    if not faults.strace():
        pytest.skip("strace is not installed, or may not take hold of a process")
    shop, generator, end = Shop(tmp_path), random.Random(int(os.environ.get("VISAGG_SEED", "0"))), MINUTES * 60
    began, counts, found = time.monotonic(), defaultdict(Counter), Counter()
    for stage, state, point, way in _tries(shop, generator):
        if time.monotonic() - began > end:
            break
        result = faults.attempt(shop, stage, state=state, point=point, way=way)
        where = f"{way} {point.call} {point.text[:90]} ({state})"
        _count(counts[stage.name, way], found, result=result, where=f"{stage.name}: {where}")
    for name in CHOSEN:
        for other in (False, True):
            for number in range(max(1, TRIES // 400)):
                delay, state = generator.uniform(0, 0.2), ("absent", "present")[number % 2]
                result = faults.at_once(shop, STAGES[name], state=state, delay=delay, other=other)
                way = "twice, other settings" if other else "twice"
                _count(counts[name, way], found, result=result, where=f"{name}: {way}, {delay:.3f} s ({state})")
    _show(counts)
    assert not found, f"{sum(found.values())} problems"


def _tries(shop, generator):
    """Stages, states, points and ways, mixed so that each stage takes as long as any other."""
    order = []
    for name in CHOSEN:
        stage, began = STAGES[name], time.monotonic()
        calls = faults.points(shop, stage)
        seconds = time.monotonic() - began
        lot = [(stage, state, point, way) for point in calls for way in WAYS for state in ("present", "absent")]
        generator.shuffle(lot)
        order += [(number * seconds, entry) for number, entry in enumerate(lot)]
    print(f"\n{len(order)} tries are possible", flush=True)
    order.sort(key=lambda entry: entry[0])
    return [entry for _, entry in order][:TRIES]


def _count(counter, found, *, result, where) -> None:
    if not result.happened:
        counter["missed"] += 1
        return
    counter["tries"] += 1
    counter["refused"] += result.refused
    for problem in result.problems:
        kind = next((kind for kind in KINDS if problem.startswith(kind)), "other")
        counter["traceback" if "traceback" in problem else kind] += 1
        found[problem] += 1
        print(f"{where}: {problem}", flush=True)


def _show(counts) -> None:
    columns = ("tries", "refused", *KINDS, "other", "missed")
    print(f"\n{'stage':<12}{'way':<24}" + "".join(f"{column:>10}" for column in columns))
    for (stage, way), counter in sorted(counts.items()):
        print(f"{stage:<12}{way:<24}" + "".join(f"{counter[column]:>10}" for column in columns))
    total = sum(counts.values(), Counter())
    print(f"{'all':<36}" + "".join(f"{total[column]:>10}" for column in columns))
    kills = sum((counter["tries"] for (_, way), counter in counts.items() if way in faults.KILLS))
    print(f"kills: {kills}")
