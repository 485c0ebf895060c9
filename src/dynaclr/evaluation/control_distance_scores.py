"""Scores of the distance between a condition and control over hours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynaclr.config.metrics import ALL, POOLED
from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.bootstrap import MIN_LINEAGES
from dynaclr.evaluation.metrics.mmd import Discrepancies, mmd_test, permuted_members
from dynaclr.evaluation.metrics.onset import centred_on_controls
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.tables import MetricValue, Row, Rows, metric_rows

N_PERMUTATIONS = 200
LEVEL = 0.05


class Window(NamedTuple):
    """Positions of the treated and of the control observations of one window of hours."""

    number: int
    treated: np.ndarray
    control: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """All positions, the treated first."""
        return np.concatenate([self.treated, self.control])


def control_distance_rows(inputs: EvaluationInputs, variant: Variant) -> Rows:
    """Rows about the distance of every condition to the control, of each scored experiment.

    Where the observations have several markers, each marker once more alone.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant

    Returns
    -------
    Rows
    """
    rows = Rows([], [])
    if inputs.control is None:
        return rows
    features = inputs.features[variant.name]
    for name in inputs.scored:
        here = inputs.rows_of([name])
        scaled = np.full(features.shape, np.nan)
        scaled[here] = standardize(features[here])
        columns = {**variant.columns, "experiment": name}
        _add_conditions(rows, inputs, scaled, columns, inputs.scope)
    return rows


def control_distance_across(inputs: EvaluationInputs, variant: Variant) -> Rows:
    """Rows about the distance of every condition to the control over the mixed experiments.

    Features are first centred on each experiment's control observations, and permutations stay
    within experiments.

    Parameters
    ----------
    inputs : EvaluationInputs
        Samples of the experiments.
    variant : Variant

    Returns
    -------
    Rows
    """
    if inputs.control is None:
        missing = {"mmd_z": MetricValue(np.nan, 0.0, note="no condition is named the control")}
        columns = {**variant.columns, "estimate": POOLED, "experiment": ALL}
        return Rows(metric_rows(missing, **columns), [])
    rows, features = Rows([], []), inputs.features[variant.name]
    mixed = inputs.rows_of(inputs.mixed)
    centred = np.full(features.shape, np.nan)
    centred[mixed] = centred_on_controls(
        standardize(features[mixed]), inputs.experiments[mixed], inputs.control[mixed]
    )
    columns = {**variant.columns, "experiment": ALL}
    _add_conditions(rows, inputs, centred, columns, inputs.mixed_scope)
    return rows


def _add_conditions(
    rows: Rows, inputs: EvaluationInputs, features: np.ndarray, columns: Row, estimate: str
) -> None:
    """Add the rows of each condition and marker; rows without features (NaN) take no part."""
    usable = np.isfinite(features).all(axis=1)
    kept = inputs.independent[usable[inputs.independent]]
    for marker, of_marker in {"": np.ones(len(usable), bool), **inputs.markers}.items():
        chosen = kept[of_marker[kept]]
        for condition in sorted(set(inputs.conditions[chosen]) - {inputs.config.control}):
            name = f"{condition}@{marker}" if marker else condition
            windows = _windows(inputs, chosen, condition)
            tests = _test(inputs, features, windows) if windows else None
            if tests is not None:
                rows.curves.extend(_curve(inputs, windows, tests, columns, name))
            values = _summary(inputs, windows, tests, name)
            rows.metrics.extend(metric_rows(values, **columns, estimate=estimate))


def _windows(inputs: EvaluationInputs, rows: np.ndarray, condition: str) -> list[Window]:
    """Windows with enough lineages of a condition and of the control, by hour."""
    found = []
    for number in np.unique(inputs.windows[rows]):
        here = rows[inputs.windows[rows] == number]
        control = here[inputs.conditions[here] == inputs.config.control]
        treated = here[inputs.conditions[here] == condition]
        # An experiment with only one of the two would add its batch effect.
        both = np.intersect1d(inputs.experiments[control], inputs.experiments[treated])
        control, treated = (
            part[np.isin(inputs.experiments[part], both)] for part in (control, treated)
        )
        if min(len(control), len(treated)) >= MIN_LINEAGES:
            found.append(Window(int(number), treated, control))
    return found


def _test(inputs: EvaluationInputs, features: np.ndarray, windows: list[Window]) -> Discrepancies:
    """MMD of all windows; whole lineages are permuted, within experiments."""
    rows = np.concatenate([window.rows for window in windows])
    lineages, first = np.unique(inputs.lineages[rows], return_index=True)
    rows = rows[first]
    members = permuted_members(
        inputs.conditions[rows] != inputs.config.control,
        inputs.experiments[rows].astype(str),
        N_PERMUTATIONS,
        np.random.default_rng(inputs.seed),
    )
    return mmd_test(
        [features[window.rows] for window in windows],
        [members[:, np.searchsorted(lineages, inputs.lineages[w.rows])] for w in windows],
    )


def _curve(
    inputs: EvaluationInputs,
    windows: list[Window],
    tests: Discrepancies,
    columns: Row,
    condition: str,
) -> list[Row]:
    half = 0.5 * inputs.config.window_hours
    return [
        {**columns, "metric": f"{metric}:{condition}", "value": float(value)}
        | {"hours": inputs.window_start(window.number) + half, "n_rows": len(window.rows)}
        for window, *values in zip(windows, tests.value, tests.z, strict=True)
        for metric, value in zip(("mmd2", "mmd_z"), values, strict=True)
    ]


def _summary(
    inputs: EvaluationInputs, windows: list[Window], tests: Discrepancies | None, condition: str
) -> dict[str, MetricValue]:
    """The largest z over windows, and the hour of the first window with a corrected p."""
    if tests is None:
        note = f"no window with {MIN_LINEAGES} lineages of both conditions"
        largest, first = MetricValue(np.nan, 0.0, note=note), MetricValue(np.nan, note=note)
    else:
        n_rows = sum(len(window.rows) for window in windows)
        note = f"{len(windows)} windows, one observation a lineage and window"
        largest = MetricValue(tests.largest_z, 0.0, n_rows, note)
        seen = tests.p <= LEVEL
        if seen.any():
            hours = inputs.window_start(windows[seen.argmax()].number)
            first = MetricValue(hours, n_rows=n_rows, note=note)
        else:
            note = f"corrected p above {LEVEL} in every window"
            first = MetricValue(np.nan, n_rows=n_rows, note=note)
    return {f"mmd_z:{condition}": largest, f"mmd_from_hours:{condition}": first}
