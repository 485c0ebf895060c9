"""How far a model has come from the best baseline to what training on the labels reaches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dynaclr.config.variants import CEILING, kind_title, parse_variant
from dynaclr.evaluation.metrics.bootstrap import percentile_interval
from dynaclr.evaluation.tables import MetricValue, value_with_interval


def way_to_ceiling(
    values: Mapping[str, float], resampled: Mapping[str, np.ndarray], n_lineages: int
) -> dict[str, MetricValue]:
    """Share of the way from the best baseline to the ceiling, of each trained variant.

    ``(trained - baseline) / (ceiling - baseline)``, where the baseline is the kind with the highest
    value; of several seeds their mean. 0 is no better than it, 1 as good as the ceiling, and a
    share can lie outside.

    Parameters
    ----------
    values : mapping
        Variant to its score on some rows.
    resampled : mapping
        Variant to its score on resampled lineages, the same for all variants; shape
        (n_resamples,).
    n_lineages : int
        Lineages that are resampled.

    Returns
    -------
    dict of str to MetricValue
        Empty without a ceiling or a baseline. Where the ceiling is not above the best baseline, as
        far as the resamples tell, there is no value, and the note says so.
    """
    by_kind: dict[str, list[str]] = {}
    for variant in map(parse_variant, values):
        if not variant.correction and np.isfinite(values[variant.name]):
            by_kind.setdefault(variant.kind, []).append(variant.name)
    trained, ceiling = by_kind.pop("trained", []), by_kind.pop(CEILING, [])
    means = {
        kind: float(np.mean([values[name] for name in names])) for kind, names in by_kind.items()
    }
    if not ceiling or not means:
        return {}
    best = max(means, key=means.__getitem__)
    floor, top = (_mean(resampled, names) for names in (by_kind[best], ceiling))
    gap, gaps = values[ceiling[0]] - means[best], top - floor
    low = percentile_interval(gaps, n_lineages).low
    found = f"from {kind_title(best)} {means[best]:.3g} to {values[ceiling[0]]:.3g}"
    if gap <= 0 or low <= 0:
        note = f"the ceiling is not clearly above the best baseline: {found}"
        return {name: MetricValue(np.nan, note=note) for name in trained}
    shares = {}
    for name in trained:
        ways = (resampled[name] - floor) / np.where(gaps > 0, gaps, np.nan)
        share = (values[name] - means[best]) / gap
        shares[name] = value_with_interval(share, np.nan, 0, ways, n_lineages, found)
    return shares


def _mean(resampled: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    return np.mean([resampled[name] for name in names], axis=0)
