"""Families of metrics for one variant of a study: rows of the metrics table, and curves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynaclr.evaluation import health
from dynaclr.evaluation.bootstrap import cluster_bootstrap, percentile_interval
from dynaclr.evaluation.classification import TaskScores
from dynaclr.evaluation.correction import zscore_by_experiment
from dynaclr.evaluation.measures import ALL, HELD_OUT, POOLED, Measure, tabulate
from dynaclr.evaluation.projection import balanced_subsample, standardize
from dynaclr.evaluation.responses import separation, sister_pairs, visible_from
from dynaclr.evaluation.score_tables import ScoredSet
from dynaclr.evaluation.study import Study
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.evaluation.temporal import (
    adjacent_pairs,
    displacement,
    displacement_exponent,
    predict_progression,
    r_squared,
    smoothness,
)
from dynaclr.evaluation.variants import Variant

# Intervals of a hundred windows need no thousand resamples.
MAX_BOOTSTRAP = 200
MAX_ROWS = 4000
MAX_HEALTH_ROWS = 1500
MAX_LAGS = 12


class Rows(NamedTuple):
    """Rows of the metrics table, and of the table of curves."""

    metrics: list[dict[str, object]]
    curves: list[dict[str, object]]


def resolution_rows(study: Study, variant: Variant, task: TaskRows, scores: TaskScores) -> Rows:
    """How well a task's classes are told apart within condition and hour, and between sisters."""
    rows = Rows([], [])
    if len(scores.classes) != 2:
        return rows
    for scored in scores.shown_sets:
        if variant.name not in scored.probability or len(scored.true) == 0:
            continue
        place = {**variant.place, "experiment": scored.experiment, "task": scores.task.name}
        measures, curve = _windows(study, task.rows[scored.rows], scored, variant)
        rows.metrics.extend(tabulate(measures, **place, estimate=scored.estimate))
        rows.curves.extend({**place, "metric": "window_auroc", **point} for point in curve)
    place = {**variant.place, "estimate": POOLED, "experiment": ALL, "task": scores.task.name}
    rows.metrics.extend(tabulate({"sister_auroc": _sisters(study, variant, task)}, **place))
    return rows


def _windows(
    study: Study, rows: np.ndarray, scored: ScoredSet, variant: Variant
) -> tuple[dict[str, Measure], list[dict[str, float]]]:
    """Measures over all windows, and the curve over those that hold both classes."""
    positive, score = scored.true == 1, scored.probability[variant.name][:, 1]
    windows, n_bootstrap = study.windows[rows], min(MAX_BOOTSTRAP, study.config.bootstrap)
    groups = _codes(study.experiments[rows], study.conditions[rows])
    strata = _codes(groups, windows)
    whole = separation(positive, score, strata, scored.lineages, n_bootstrap, study.seed)
    curve = []
    for window in np.unique(windows):
        here = windows == window
        told = separation(
            *(array[here] for array in (positive, score, groups, scored.lineages)),
            n_bootstrap,
            study.seed,
        )
        if told.n_rows == 0:
            continue
        middle = study.window_start(window) + 0.5 * study.config.window_hours
        low, high, _ = told.interval
        curve.append(
            {"hours": middle, "value": told.value, "low": low, "high": high, "n_rows": told.n_rows}
        )
    starts = np.array([point["hours"] for point in curve]) - 0.5 * study.config.window_hours
    seen = visible_from(np.array([point["low"] for point in curve]), starts)
    note = "" if np.isfinite(seen) else "no two windows in a row with an interval above 0.5"
    counts = {"n_rows": whole.n_rows, "n_lineages": whole.n_lineages}
    low, high, reason = whole.interval
    return {
        "window_auroc": Measure(whole.value, 0.5, note=reason, low=low, high=high, **counts),
        "visible_from_hours": Measure(seen, note=note, **counts),
    }, curve


def _sisters(study: Study, variant: Variant, task: TaskRows) -> Measure:
    if study.parents is None:
        return Measure(np.nan, 0.5, note="the stores have no parent_track_id")
    labels = np.full(len(study.obs), None, dtype=object)
    labels[task.rows] = task.labels
    features = np.nan_to_num(
        zscore_by_experiment(study.cohort.features[variant.name], study.experiments)
    )
    pairs = sister_pairs(features, study.tracks, study.parents, study.obs["t"].to_numpy(), labels)
    told = separation(
        pairs.different,
        pairs.distance,
        _codes(study.experiments[pairs.row]),
        study.lineages[pairs.row],
        min(MAX_BOOTSTRAP, study.config.bootstrap),
        study.seed,
    )
    n_different = int(pairs.different.sum())
    note = f"{len(pairs.row)} pairs of sisters in all experiments, {n_different} of different fates"
    reason = told.interval.note if told.n_rows else "no experiment with both kinds of pairs"
    return Measure(
        told.value,
        0.5,
        told.n_rows,
        "; ".join(filter(None, [note, reason])),
        told.interval.low,
        told.interval.high,
        told.n_lineages,
    )


def temporal_rows(study: Study, variant: Variant) -> Rows:
    """Smoothness, displacement over lag, and true progression of each scored experiment."""
    rows = Rows([], [])
    features, t = study.cohort.features[variant.name], study.obs["t"].to_numpy()
    for name in study.scored:
        here = _whole_tracks(study, np.flatnonzero(study.experiments == name))
        place = {**variant.place, "experiment": name, "estimate": _estimate(study)}
        scaled, tracks, frames = standardize(features[here]), study.tracks[here], t[here]
        smooth = smoothness(scaled, tracks, frames, study.seed)
        hours = _hours_of_a_frame(study, here)
        lags, msd, n_pairs = displacement(scaled, tracks, frames, MAX_LAGS)
        note = f"per frame of {hours:.3g} h"
        rows.metrics.extend(
            tabulate(
                {
                    "smoothness": Measure(smooth.ratio, 1.0, smooth.n_pairs, note),
                    "dynamic_range": Measure(smooth.dynamic_range, 0.0, smooth.n_pairs, note),
                    "msd_exponent": Measure(displacement_exponent(lags, msd), 0.0, len(here)),
                },
                **place,
            )
        )
        rows.curves.extend(
            {**variant.place, "experiment": name, "metric": "msd"}
            | {"hours": lag * hours, "value": value, "n_rows": n}
            for lag, value, n in zip(lags, msd, n_pairs, strict=True)
        )
        if "progression" in study.truth:
            told = _progression(study, features, np.flatnonzero(study.experiments == name))
            rows.metrics.extend(tabulate({"progression_r2": told}, **place))
    pooled = {"smoothness_pooled": _pooled_smoothness(study, features, t)}
    rows.metrics.extend(tabulate(pooled, **variant.place, experiment=ALL, estimate=POOLED))
    return rows


def _pooled_smoothness(study: Study, features: np.ndarray, t: np.ndarray) -> Measure:
    here = _whole_tracks(study, np.arange(len(t)))
    told = smoothness(standardize(features[here]), study.tracks[here], t[here], study.seed)
    note = "random pairs span experiments: the further those lie apart, the smoother it looks"
    return Measure(told.ratio, 1.0, told.n_pairs, note)


def _progression(study: Study, features: np.ndarray, rows: np.ndarray) -> Measure:
    progression = study.truth["progression"]
    known = np.isfinite(progression)
    train = np.flatnonzero(known & np.isin(study.experiments, study.train))
    train = train[balanced_subsample(study.experiments[train], MAX_ROWS, study.seed)]
    rows = rows[known[rows]]
    if len(np.unique(study.lineages[train])) < 2 or len(rows) < 2:
        return Measure(np.nan, 0.0, len(rows), "too few cells with true progression")
    if not study.held_out:
        return Measure(np.nan, 0.0, len(rows), "nothing is held out")
    inside, outside = np.nan_to_num(features[train]), np.nan_to_num(features[rows])
    predicted = predict_progression(inside, progression[train], study.lineages[train], outside)
    true, lineages = progression[rows], study.lineages[rows]
    resampled = cluster_bootstrap(
        lambda weight: {"r2": r_squared(true, predicted, weight)},
        lineages,
        min(MAX_BOOTSTRAP, study.config.bootstrap),
        study.seed,
    )["r2"]
    n_lineages = len(np.unique(lineages))
    low, high, note = percentile_interval(resampled, n_lineages)
    value = float(r_squared(true, predicted))
    return Measure(value, 0.0, len(rows), note, low, high, n_lineages)


def health_rows(study: Study, variant: Variant) -> Rows:
    """Health of the embedding of all experiments, as many observations of each."""
    chosen = balanced_subsample(study.experiments, MAX_HEALTH_ROWS, study.seed)
    whole = np.nan_to_num(study.cohort.features[variant.name].astype(np.float64))
    earlier, later = adjacent_pairs(study.tracks, study.obs["t"].to_numpy())
    pairs = np.random.default_rng(study.seed).permutation(len(earlier))[:MAX_HEALTH_ROWS]
    norm, variation = health.norm_distribution(whole[chosen])
    scaled = standardize(whole[chosen])
    n = len(chosen)
    purities = {
        "purity_lineage": health.neighbour_purity(scaled, study.lineages[chosen]),
        "purity_experiment": health.neighbour_purity(scaled, _codes(study.experiments[chosen])),
        "purity_hour": health.neighbour_purity(scaled, study.hours[chosen], tolerance=1.0),
    }
    measures = {
        "effective_rank": Measure(health.effective_rank(whole[chosen]), n_rows=n),
        "alignment": Measure(
            health.alignment(whole[earlier[pairs]], whole[later[pairs]]),
            n_rows=len(pairs),
            note="between adjacent frames of a track",
        ),
        "uniformity": Measure(health.uniformity(whole[chosen]), n_rows=n),
        "norm_mean": Measure(norm, n_rows=n),
        "norm_variation": Measure(variation, n_rows=n),
        **{
            name: Measure(value, expected, n, "of 15 nearest neighbours, features standardized")
            for name, (value, expected) in purities.items()
        },
    }
    return Rows(tabulate(measures, **variant.place, estimate=POOLED, experiment=ALL), [])


def _codes(*keys: np.ndarray) -> np.ndarray:
    """One code for each distinct combination."""
    columns = [np.unique(key.astype(str), return_inverse=True)[1] for key in keys]
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()


def _estimate(study: Study) -> str:
    return HELD_OUT if study.held_out else POOLED


def _whole_tracks(study: Study, rows: np.ndarray) -> np.ndarray:
    """At most about `MAX_ROWS` rows: whole tracks, as many as fit."""
    if len(rows) <= MAX_ROWS:
        return rows
    tracks = np.unique(study.tracks[rows])
    share = MAX_ROWS / len(rows)
    kept = np.random.default_rng(study.seed).permutation(tracks)[: max(1, int(share * len(tracks)))]
    return rows[np.isin(study.tracks[rows], kept)]


def _hours_of_a_frame(study: Study, rows: np.ndarray) -> float:
    earlier, later = adjacent_pairs(study.tracks[rows], study.obs["t"].to_numpy()[rows])
    if len(earlier) == 0:
        return np.nan
    return float(np.median(study.hours[rows][later] - study.hours[rows][earlier]))
