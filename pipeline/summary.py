"""Scores of a split to its figures: one value a seed, their mean, and how sure the mean is."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline import metrics, statistics

if TYPE_CHECKING:
    from pipeline.params import EvaluateSettings

DECIMALS = 6


def summarise(
    scores: list[np.ndarray], truth: np.ndarray, thresholds: list[float], settings: "EvaluateSettings"
) -> dict[str, dict]:
    """Every figure: its value for each seed, their mean, and the mean's interval over users.

    Args:
        scores: float [n, c], one a seed.
        truth: bool [n, c].
        thresholds: one a seed, for the F1 figures that are not at k.
        settings: which k, and how many resamples.

    Returns:
        {figure: {"mean", "seeds", "interval"}}, such as "micro_f1" and "precision@10".
    """
    weights = statistics.resample(len(truth), settings.resamples, seed=0)
    samples = np.vstack([np.ones(len(truth), np.float32), weights])  # the first row is the figure itself
    of_seeds = [_figures(s, truth, threshold, samples, settings.ks) for s, threshold in zip(scores, thresholds)]
    return {name: _entry(np.stack([figures[name] for figures in of_seeds])) for name in of_seeds[0]}


def _figures(
    scores: np.ndarray, truth: np.ndarray, threshold: float, samples: np.ndarray, ks: list[int]
) -> dict[str, np.ndarray]:
    """Each figure's value in every sample: float64 [t]."""
    predicted = scores >= threshold
    figures = {
        "micro_f1": metrics.micro_f1(predicted, truth, samples),
        "macro_f1": metrics.macro_f1(predicted, truth, samples),
        "micro_ap": metrics.micro_ap(scores, truth, samples),
        "macro_ap": metrics.macro_ap(scores, truth, samples),
    }
    for k in ks:
        for name, values in metrics.at_k(scores, truth, k).items():
            figures[f"{name}@{k}"] = samples @ values / samples.sum(1)
    return figures


def _entry(values: np.ndarray) -> dict:
    """A figure's values float [seeds, 1 + resamples] as they are reported."""
    seeds, mean = values[:, 0], values.mean(0)
    return {
        "mean": round(float(mean[0]), DECIMALS),
        "seeds": [round(float(value), DECIMALS) for value in seeds],
        "interval": [round(bound, DECIMALS) for bound in statistics.interval(mean[1:])],
    }


def per_set(
    set_ids: list[str], scores: list[np.ndarray], truth: np.ndarray, seeds: list[int], ks: list[int]
) -> pl.DataFrame:
    """One row a seed and set: set_id, seed, every figure at k, and the labels, best first, with their scores."""
    frames = []
    for seed, of_seed in zip(seeds, scores):
        best = metrics.ranking(of_seed)[:, : max(ks)]
        figures = {f"{name}@{k}": values for k in ks for name, values in metrics.at_k(of_seed, truth, k).items()}
        ranked = {
            "best": pl.Series(best.astype(np.uint16).tolist(), dtype=pl.List(pl.UInt16)),
            "best_scores": pl.Series(np.take_along_axis(of_seed, best, 1).tolist(), dtype=pl.List(pl.Float32)),
        }
        frames.append(pl.DataFrame({"set_id": set_ids, "seed": [seed] * len(set_ids), **figures, **ranked}))
    return pl.concat(frames)
