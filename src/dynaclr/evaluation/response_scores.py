"""Scores of responses: separation within condition and hour, and between sisters."""

from __future__ import annotations

import numpy as np

from dynaclr.config.metrics import join_notes
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.fitted_task import FittedTask
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.bootstrap import MAX_BOOTSTRAP, seed_of
from dynaclr.evaluation.metrics.responses import Separation, separation, sister_pairs, visible_from
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.tables import MetricValue, Row, Rows, metric_rows
from dynaclr.evaluation.tasks import TaskRows, combined_codes


def resolution_rows(
    inputs: EvaluationInputs,
    variant: Variant,
    task_rows: TaskRows,
    fitted: FittedTask,
    scored: ScoredSet,
) -> Rows:
    """Rows about the resolution of one task's classes by one variant.

    With two classes, those of the second one; with more, each against the rest
    (``window_auroc:<class>``).

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    task_rows, fitted : TaskRows, FittedTask
        Of the same task.
    scored : ScoredSet

    Returns
    -------
    Rows
    """
    columns = {**variant.columns, "task": fitted.task.name, "experiment": scored.experiment}
    values, curves = _resolution(inputs, variant, task_rows, fitted.classes, scored)
    rows = metric_rows(values, **columns, estimate=scored.estimate)
    return Rows(rows, [{**columns, **point} for point in curves])


def sister_rows(
    inputs: EvaluationInputs, variant: Variant, task: str, task_rows: TaskRows
) -> list[Row]:
    """Rows about sisters of different fates by one variant, of each scored experiment.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    task : str
    task_rows : TaskRows

    Returns
    -------
    list of dict
    """
    columns = {**variant.columns, "task": task, "estimate": inputs.scope}
    rows: list[Row] = []
    for name in inputs.scored:
        value = {"sister_auroc": _sister_auroc(inputs, variant, task_rows, name)}
        rows += metric_rows(value, **columns, experiment=name)
    return rows


def _resolution(
    inputs: EvaluationInputs,
    variant: Variant,
    task_rows: TaskRows,
    classes: tuple[str, ...],
    scored: ScoredSet,
) -> tuple[dict[str, MetricValue], list[Row]]:
    """Values and curves of the second of two classes, or of each class against the rest."""
    if variant.name not in scored.probability or len(scored.true) == 0:
        note = scored.note or "no labelled observations"
        return {
            "window_auroc": MetricValue(np.nan, 0.5, note=note),
            "visible_from_hours": MetricValue(np.nan, note=note),
        }, []
    suffixes = {1: ""} if len(classes) == 2 else {k: f":{name}" for k, name in enumerate(classes)}
    values: dict[str, MetricValue] = {}
    curves: list[Row] = []
    rows = task_rows.rows[scored.rows]
    for k, suffix in suffixes.items():
        of_class, curve = _class_resolution(inputs, rows, scored, variant, k)
        values |= {f"{name}{suffix}": value for name, value in of_class.items()}
        curves += [{"metric": f"window_auroc{suffix}", **point} for point in curve]
    return values, curves


def _class_resolution(
    inputs: EvaluationInputs, rows: np.ndarray, scored: ScoredSet, variant: Variant, k: int
) -> tuple[dict[str, MetricValue], list[Row]]:
    """Values of class `k` over all windows, and the curve over windows that hold both classes."""
    positive, score = scored.true == k, scored.probability[variant.name][:, k]
    windows = inputs.windows[rows]
    groups = combined_codes(inputs.experiments[rows], inputs.conditions[rows])
    n_bootstrap = min(MAX_BOOTSTRAP, inputs.config.bootstrap)
    seed = seed_of(scored.experiment, inputs.seed)
    strata = combined_codes(groups, windows)
    whole = separation(positive, score, strata, scored.groups, n_bootstrap, seed)
    curve: list[Row] = []
    lows, shown = [], []
    for window in np.unique(windows):
        here = windows == window
        part = separation(
            *(positive[here], score[here], groups[here], scored.groups[here]), n_bootstrap, seed
        )
        if part.n_rows == 0:
            continue
        middle = inputs.window_start(window) + 0.5 * inputs.config.window_hours
        low, high, _ = part.interval
        curve.append(
            {"hours": middle, "value": part.value, "low": low, "high": high, "n_rows": part.n_rows}
        )
        lows.append(low)
        shown.append(window)
    visible = inputs.window_start(visible_from(np.array(lows), np.array(shown)))
    note = "" if np.isfinite(visible) else "no two windows in a row with an interval above 0.5"
    return {
        "window_auroc": _value_of(whole),
        "visible_from_hours": MetricValue(
            visible, n_rows=whole.n_rows, note=note, n_lineages=whole.n_lineages
        ),
    }, curve


def _value_of(result: Separation, note: str = "") -> MetricValue:
    low, high, reason = result.interval
    return MetricValue(
        result.value,
        0.5,
        result.n_rows,
        join_notes(note, reason),
        low,
        high,
        result.n_lineages,
        result.resampled,
    )


def _sister_auroc(
    inputs: EvaluationInputs, variant: Variant, task_rows: TaskRows, experiment: str
) -> MetricValue:
    """Whether sisters of different fates lie further apart, in one experiment."""
    if inputs.parents is None:
        return MetricValue(np.nan, 0.5, note="the stores have no parent_track_id")
    labels = np.full(len(inputs.obs), None, dtype=object)
    labels[task_rows.rows] = task_rows.labels
    here = inputs.rows_of([experiment])
    pairs = sister_pairs(
        standardize(inputs.features[variant.name][here]),
        inputs.tracks[here],
        inputs.parents[here],
        inputs.t[here],
        labels[here],
    )
    result = separation(
        pairs.different,
        pairs.distance,
        np.zeros(len(pairs.row), dtype=np.int64),
        inputs.lineages[here][pairs.row],
        min(MAX_BOOTSTRAP, inputs.config.bootstrap),
        seed_of(experiment, inputs.seed),
    )
    n_different = int(pairs.different.sum())
    return _value_of(result, f"{len(pairs.row)} pairs of sisters, {n_different} of different fates")
