"""Families of metrics for one variant of a study: rows of the metrics table, and curves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynaclr.config.metrics import ALL, Measure, join_notes, tabulate
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.classifiers.task_scores import TaskScores
from dynaclr.evaluation.correction import zscore_by_experiment
from dynaclr.evaluation.metrics import health
from dynaclr.evaluation.metrics.bootstrap import cluster_bootstrap, percentile_interval, seed_of
from dynaclr.evaluation.metrics.responses import Separation, separation, sister_pairs, visible_from
from dynaclr.evaluation.metrics.temporal import (
    adjacent_pairs,
    displacement,
    displacement_exponent,
    predict_progression,
    r_squared,
    smoothness,
)
from dynaclr.evaluation.projection import standardize
from dynaclr.evaluation.study import Study
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.subsample import balanced_subsample

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
    """How well a task's classes are told apart within condition and hour, and between sisters.

    With more than two classes each is held against the rest: ``window_auroc:<class>``.
    """
    rows = Rows([], [])
    for scored in scores.shown_sets:
        place = {**variant.place, "experiment": scored.experiment, "task": scores.task.name}
        measures, curve = _separated(study, variant, task, scores.classes, scored)
        rows.metrics.extend(tabulate(measures, **place, estimate=scored.estimate))
        rows.curves.extend({**place, **point} for point in curve)
    place = {**variant.place, "estimate": study.scope, "experiment": ALL, "task": scores.task.name}
    rows.metrics.extend(tabulate({"sister_auroc": _sisters(study, variant, task)}, **place))
    return rows


def _separated(
    study: Study, variant: Variant, task: TaskRows, classes: tuple[str, ...], scored: ScoredSet
) -> tuple[dict[str, Measure], list[dict[str, object]]]:
    """Measures and curves of the second of two classes, or of each against the rest."""
    if variant.name not in scored.probability or len(scored.true) == 0:
        note = scored.note or "no labelled observations"
        return {
            "window_auroc": Measure(np.nan, 0.5, note=note),
            "visible_from_hours": Measure(np.nan, note=note),
        }, []
    ends = {1: ""} if len(classes) == 2 else {k: f":{name}" for k, name in enumerate(classes)}
    measures, curves = {}, []
    for k, end in ends.items():
        told, curve = _windows(study, task.rows[scored.rows], scored, variant, k)
        measures |= {f"{name}{end}": measure for name, measure in told.items()}
        curves += [{"metric": f"window_auroc{end}", **point} for point in curve]
    return measures, curves


def _windows(
    study: Study, rows: np.ndarray, scored: ScoredSet, variant: Variant, k: int
) -> tuple[dict[str, Measure], list[dict[str, float]]]:
    """Measures of class `k` over all windows, and the curve over those that hold both classes."""
    positive, score = scored.true == k, scored.probability[variant.name][:, k]
    windows, n_bootstrap = study.windows[rows], min(MAX_BOOTSTRAP, study.config.bootstrap)
    groups = _codes(study.experiments[rows], study.conditions[rows])
    strata, seed = _codes(groups, windows), seed_of(scored.experiment, study.seed)
    whole = separation(positive, score, strata, scored.lineages, n_bootstrap, seed)
    curve, shown = [], []
    for window in np.unique(windows):
        here = windows == window
        told = separation(
            *(array[here] for array in (positive, score, groups, scored.lineages)),
            n_bootstrap,
            seed,
        )
        if told.n_rows == 0:
            continue
        middle = study.window_start(window) + 0.5 * study.config.window_hours
        low, high, _ = told.interval
        curve.append(
            {"hours": middle, "value": told.value, "low": low, "high": high, "n_rows": told.n_rows}
        )
        shown.append(window)
    seen = study.window_start(visible_from(np.array([p["low"] for p in curve]), np.array(shown)))
    note = "" if np.isfinite(seen) else "no two windows in a row with an interval above 0.5"
    counts = {"n_rows": whole.n_rows, "n_lineages": whole.n_lineages}
    return {
        "window_auroc": _measure_of(whole),
        "visible_from_hours": Measure(seen, note=note, **counts),
    }, curve


def _measure_of(told: Separation, note: str = "") -> Measure:
    low, high, reason = told.interval
    return Measure(
        told.value,
        0.5,
        told.n_rows,
        join_notes(note, reason),
        low,
        high,
        told.n_lineages,
        told.resampled,
    )


def _sisters(study: Study, variant: Variant, task: TaskRows) -> Measure:
    """Whether sisters of different fates lie further apart, in the scored experiments."""
    if study.parents is None:
        return Measure(np.nan, 0.5, note="the stores have no parent_track_id")
    labels = np.full(len(study.obs), None, dtype=object)
    labels[task.rows] = task.labels
    here = study.rows_of(study.scored)
    experiments, lineages = study.experiments[here], study.lineages[here]
    pairs = sister_pairs(
        np.nan_to_num(zscore_by_experiment(study.cohort.features[variant.name][here], experiments)),
        study.tracks[here],
        study.parents[here],
        study.obs["t"].to_numpy()[here],
        labels[here],
    )
    told = separation(
        pairs.different,
        pairs.distance,
        _codes(experiments[pairs.row]),
        lineages[pairs.row],
        min(MAX_BOOTSTRAP, study.config.bootstrap),
        seed_of(ALL, study.seed),
    )
    n_different = int(pairs.different.sum())
    note = f"{len(pairs.row)} pairs of sisters, {n_different} of different fates"
    return _measure_of(told, note)


def temporal_rows(study: Study, variant: Variant) -> Rows:
    """Smoothness, displacement over lag, and true progression of each scored experiment."""
    rows = Rows([], [])
    features, t = study.cohort.features[variant.name], study.obs["t"].to_numpy()
    for name in study.scored:
        here = _whole_tracks(study, np.flatnonzero(study.experiments == name))
        place = {**variant.place, "experiment": name, "estimate": study.scope}
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
            told = _progression(study, features, name)
            rows.metrics.extend(tabulate({"progression_r2": told}, **place))
    pooled = {"smoothness_pooled": _pooled_smoothness(study, features, t)}
    place = {**variant.place, "experiment": ALL, "estimate": study.mixed_scope}
    rows.metrics.extend(tabulate(pooled, **place))
    return rows


def _pooled_smoothness(study: Study, features: np.ndarray, t: np.ndarray) -> Measure:
    here = _whole_tracks(study, study.rows_of(study.mixed))
    told = smoothness(standardize(features[here]), study.tracks[here], t[here], study.seed)
    note = "random pairs span experiments: the further those lie apart, the smoother it looks"
    return Measure(told.ratio, 1.0, told.n_pairs, note)


def _progression(study: Study, features: np.ndarray, experiment: str) -> Measure:
    progression = study.truth["progression"]
    known, rows = np.isfinite(progression), study.rows_of([experiment])
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
        seed_of(experiment, study.seed),
    )["r2"]
    n_lineages = len(np.unique(lineages))
    low, high, note = percentile_interval(resampled, n_lineages)
    value = float(r_squared(true, predicted))
    return Measure(value, 0.0, len(rows), note, low, high, n_lineages, resampled)


def health_rows(study: Study, variant: Variant) -> Rows:
    """Health of the embedding of the scored experiments, as many observations of each.

    Neighbours of the same experiment are looked for among the mixed experiments.
    """
    whole = np.nan_to_num(study.cohort.features[variant.name].astype(np.float64))
    chosen = _health_sample(study, study.scored)
    scaled, n = standardize(whole[chosen]), len(chosen)
    norm, variation = health.norm_distribution(whole[chosen])
    here = study.rows_of(study.scored)
    earlier, later = adjacent_pairs(study.tracks[here], study.obs["t"].to_numpy()[here])
    pairs = np.random.default_rng(study.seed).permutation(len(earlier))[:MAX_HEALTH_ROWS]
    earlier, later = here[earlier[pairs]], here[later[pairs]]
    measures = {
        "effective_rank": Measure(health.effective_rank(whole[chosen]), n_rows=n),
        "alignment": Measure(
            health.alignment(whole[earlier], whole[later]),
            n_rows=len(pairs),
            note="between adjacent frames of a track",
        ),
        "uniformity": Measure(health.uniformity(whole[chosen]), n_rows=n),
        "norm_mean": Measure(norm, n_rows=n),
        "norm_variation": Measure(variation, n_rows=n),
        "purity_lineage": _purity(scaled, study.lineages[chosen]),
        "purity_hour": _purity(scaled, study.hours[chosen], tolerance=1.0),
    }
    mixed = _health_sample(study, study.mixed)
    purity = _purity(standardize(whole[mixed]), _codes(study.experiments[mixed]))
    place = {**variant.place, "experiment": ALL}
    rows = tabulate(measures, **place, estimate=study.scope)
    rows += tabulate({"purity_experiment": purity}, **place, estimate=study.mixed_scope)
    return Rows(rows, [])


def _health_sample(study: Study, experiments: list[str]) -> np.ndarray:
    rows = study.rows_of(experiments)
    return rows[balanced_subsample(study.experiments[rows], MAX_HEALTH_ROWS, study.seed)]


def _purity(scaled: np.ndarray, values: np.ndarray, tolerance: float = 0.0) -> Measure:
    purity, expected = health.neighbour_purity(scaled, values, tolerance)
    note = "of 15 nearest neighbours, features standardized"
    return Measure(purity, expected, len(values), note)


def _codes(*keys: np.ndarray) -> np.ndarray:
    """One code for each distinct combination."""
    columns = [np.unique(key.astype(str), return_inverse=True)[1] for key in keys]
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()


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
