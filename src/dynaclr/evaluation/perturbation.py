"""Kinetics of a perturbation for one variant: populations over hours, onsets of cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config.metrics import ALL, POOLED, Measure, join_notes, tabulate
from dynaclr.config.variants import Variant
from dynaclr.evaluation.families import MAX_BOOTSTRAP, Rows
from dynaclr.evaluation.metrics.bootstrap import cluster_bootstrap, percentile_interval, seed_of
from dynaclr.evaluation.metrics.kinetics import (
    Discrepancies,
    Onset,
    control_threshold,
    mmd_test,
    onset_of_track,
    permuted_members,
    response_axis,
)
from dynaclr.evaluation.projection import standardize
from dynaclr.evaluation.samples import MIN_LINEAGES
from dynaclr.evaluation.study import Study
from dynaclr.io.embeddings import key_of

N_PERMUTATIONS = 200
LEVEL = 0.05
MIN_OBSERVATIONS = 3
NO_CONTROL = "no condition is named the control"


class Window(NamedTuple):
    """Rows of one window: those of treated cells, and those of control cells."""

    number: int
    treated: np.ndarray
    control: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """All of them, the treated first."""
        return np.concatenate([self.treated, self.control])


def mmd_rows(study: Study, variant: Variant) -> Rows:
    """Distance of every condition to the control over hours: each scored experiment, and several.

    Over several experiments (`Study.mixed`) features are centred on each experiment's control
    cells first, and permutations stay within experiments. Where the observations have several
    markers, each marker once more alone.
    """
    rows = Rows([], [])
    if study.control is None:
        nothing = {"mmd_z": Measure(np.nan, 0.0, note=NO_CONTROL)}
        rows.metrics.extend(tabulate(nothing, **variant.place, estimate=POOLED, experiment=ALL))
        return rows
    features = study.cohort.features[variant.name]
    for name in study.scored:
        here = study.experiments == name
        scaled = np.zeros(features.shape)
        scaled[here] = standardize(features[here])
        place = {**variant.place, "experiment": name, "estimate": study.scope}
        _add_conditions(rows, study, scaled, here, place)
    mixed = study.rows_of(study.mixed)
    centred = np.full(features.shape, np.nan)
    centred[mixed] = centred_on_controls(
        standardize(features[mixed]), study.experiments[mixed], study.control[mixed]
    )
    place = {**variant.place, "experiment": ALL, "estimate": study.mixed_scope}
    _add_conditions(rows, study, centred, np.ones(len(features), bool), place)
    return rows


def centred_on_controls(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray
) -> np.ndarray:
    """Features minus the mean of the control cells of the same experiment.

    An experiment without control cells becomes NaN: it cannot be compared.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    experiments, control : numpy.ndarray
        Shape (n,); `control` is bool.
    """
    centred = np.full(features.shape, np.nan)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        if (here & control).any():
            centred[here] = features[here] - features[here & control].mean(axis=0)
    return centred


def _add_conditions(
    rows: Rows, study: Study, features: np.ndarray, here: np.ndarray, place: dict[str, object]
) -> None:
    usable = here & np.isfinite(features).all(axis=1)
    kept = study.independent[usable[study.independent]]
    of_curves = {name: value for name, value in place.items() if name != "estimate"}
    for suffix, of_marker in {"": np.ones(len(here), bool), **study.markers}.items():
        chosen = kept[of_marker[kept]]
        for condition in sorted(set(study.conditions[chosen]) - {study.config.control}):
            name = f"{condition}@{suffix}" if suffix else condition
            windows = _windows(study, chosen, condition)
            tests = _test(study, features, windows) if windows else None
            if tests is not None:
                rows.curves.extend(_curve(study, windows, tests, of_curves, name))
            rows.metrics.extend(tabulate(_summary(study, windows, tests, name), **place))


def _windows(study: Study, rows: np.ndarray, condition: str) -> list[Window]:
    """Windows with enough lineages of a condition and of the control, by hour."""
    found = []
    for number in np.unique(study.windows[rows]):
        here = rows[study.windows[rows] == number]
        control = here[study.conditions[here] == study.config.control]
        treated = here[study.conditions[here] == condition]
        # An experiment that has one of the two only would add its batch effect.
        both = np.intersect1d(study.experiments[control], study.experiments[treated])
        control, treated = (
            part[np.isin(study.experiments[part], both)] for part in (control, treated)
        )
        if min(len(control), len(treated)) >= MIN_LINEAGES:
            found.append(Window(int(number), treated, control))
    return found


def _test(study: Study, features: np.ndarray, windows: list[Window]) -> Discrepancies:
    """MMD of all windows; whole lineages are permuted, within experiments."""
    rows = np.concatenate([window.rows for window in windows])
    lineages, first = np.unique(study.lineages[rows], return_index=True)
    rows = rows[first]
    members = permuted_members(
        ~study.control[rows],
        study.experiments[rows].astype(str),
        N_PERMUTATIONS,
        np.random.default_rng(study.seed),
    )
    return mmd_test(
        [features[window.rows] for window in windows],
        [members[:, np.searchsorted(lineages, study.lineages[w.rows])] for w in windows],
    )


def _curve(
    study: Study,
    windows: list[Window],
    tests: Discrepancies,
    place: dict[str, object],
    condition: str,
) -> list[dict[str, object]]:
    half = 0.5 * study.config.window_hours
    return [
        {**place, "metric": f"{metric}:{condition}", "value": float(value)}
        | {"hours": study.window_start(window.number) + half, "n_rows": len(window.rows)}
        for window, *values in zip(windows, tests.value, tests.z, strict=True)
        for metric, value in zip(("mmd2", "mmd_z"), values, strict=True)
    ]


def _summary(
    study: Study, windows: list[Window], tests: Discrepancies | None, condition: str
) -> dict[str, Measure]:
    if tests is None:
        note = f"no window with {MIN_LINEAGES} lineages of both conditions"
        told = {
            "mmd_z": Measure(np.nan, 0.0, note=note),
            "mmd_from_hours": Measure(np.nan, note=note),
        }
    else:
        n_rows = sum(len(window.rows) for window in windows)
        note = f"{len(windows)} windows, one observation a lineage and window"
        seen = tests.p <= LEVEL
        first = study.window_start(windows[seen.argmax()].number) if seen.any() else np.nan
        why = note if seen.any() else f"corrected p above {LEVEL} in every window"
        told = {
            "mmd_z": Measure(tests.largest_z, 0.0, n_rows, note),
            "mmd_from_hours": Measure(first, n_rows=n_rows, note=why),
        }
    return {f"{metric}:{condition}": measure for metric, measure in told.items()}


def onset_rows(study: Study, variant: Variant) -> tuple[Rows, pd.DataFrame]:
    """Onset of the response of every treated track of the scored experiments.

    The signal is the projection on the axis from control to treated cells of the training
    experiments (in the later half of their hours), in units of the experiment's control cells; the
    threshold is what 95 % of the experiment's control observations stay below.

    Returns
    -------
    Rows
        How many control tracks seem to respond and, where the truth is known, error and share of
        onsets that were seen.
    pandas.DataFrame
        experiment, fov, track_id, (of a bag of channels: marker,) condition, hours, low, high of
        each track.
    """
    if study.control is None:
        return Rows([], []), pd.DataFrame()
    scaled = in_units_of_controls(
        np.nan_to_num(study.cohort.features[variant.name]), study.experiments, study.control
    )
    train = np.isin(study.experiments, study.train) & np.isfinite(scaled).all(axis=1)
    late = train & ~study.control & (study.hours >= _middle_hours(study, train))
    if not late.any() or not (train & study.control).any():
        return Rows([], []), pd.DataFrame()
    signal = scaled @ response_axis(scaled[late], scaled[train & study.control])
    rows, tables = Rows([], []), []
    for name in study.scored:
        here = np.flatnonzero((study.experiments == name) & np.isfinite(signal))
        if not study.control[here].any():
            continue
        table = _onsets(study, signal, here)
        place = {**variant.place, "experiment": name}
        measures = _onset_measures(study, name, table)
        rows.metrics.extend(tabulate(measures, **place, estimate=study.scope))
        tables.append(table.assign(**variant.place))
    return rows, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def in_units_of_controls(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray
) -> np.ndarray:
    """Features centred on each experiment's control cells, over their standard deviation.

    An experiment without control cells becomes NaN.
    """
    scaled = centred_on_controls(features.astype(np.float64), experiments, control)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        if (here & control).any():
            deviation = scaled[here & control].std(axis=0)
            scaled[here] /= np.where(deviation > 1e-9, deviation, np.inf)
    return scaled


def _middle_hours(study: Study, rows: np.ndarray) -> float:
    hours = study.hours[rows]
    return 0.5 * float(hours.min() + hours.max())


def _onsets(study: Study, signal: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    threshold = control_threshold(signal[rows[study.control[rows]]])
    order = rows[np.lexsort((study.hours[rows], study.tracks[rows]))]
    starts = np.flatnonzero(np.diff(study.tracks[order], prepend=-1))
    told = []
    for track in np.split(order, starts[1:]):
        if len(track) < MIN_OBSERVATIONS:
            continue
        onset: Onset = onset_of_track(study.hours[track], signal[track], threshold)
        first = study.obs.iloc[track[0]]
        true = study.truth["onset"][track[0]] if "onset" in study.truth else np.nan
        inside = study.hours[track[0]] < true <= study.hours[track[-1]]
        told.append(
            {name: first[name] for name in (*key_of(study.obs), "condition") if name != "t"}
            | {"lineage": study.lineages[track[0]]}
            | {**onset._asdict(), "true_hours": true if inside else np.nan}
        )
    return pd.DataFrame(told)


def _onset_measures(study: Study, experiment: str, table: pd.DataFrame) -> dict[str, Measure]:
    if table.empty:
        note = f"no track with {MIN_OBSERVATIONS} observations"
        return {"onset_control_rate": Measure(np.nan, note=note)}
    control = table["condition"] == study.config.control
    rose = np.isfinite(table["high"])
    measures = {
        "onset_control_rate": Measure(float(rose[control].mean()), n_rows=int(control.sum()))
        if control.any()
        else Measure(np.nan, note="no control track is long enough")
    }
    if "onset" in study.truth:
        known = table[~control & table["true_hours"].notna()]
        n_resamples = min(MAX_BOOTSTRAP, study.config.bootstrap)
        measures |= _against_truth(known, n_resamples, seed_of(experiment, study.seed))
    return measures


def _against_truth(known: pd.DataFrame, n_resamples: int, seed: int) -> dict[str, Measure]:
    if known.empty:
        nothing = Measure(np.nan, note="no track with a true onset while it was seen")
        return {"onset_error_hours": nothing, "onset_coverage": nothing}
    true, found = known["true_hours"].to_numpy(), known["hours"].to_numpy()
    errors, seen = np.abs(found - true), np.isfinite(found)
    lineages = known["lineage"].to_numpy()

    def statistics(weight: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "onset_error_hours": weighted_median(errors[seen], weight[:, seen]),
            "onset_coverage": weight @ seen / weight.sum(axis=1),
        }

    values = statistics(np.ones((1, len(known))))
    resampled = cluster_bootstrap(statistics, lineages, n_resamples, seed)
    note = f"median over {seen.sum()} of {len(known)} tracks; expected: of one hour for all"
    expected = {"onset_error_hours": (float(np.median(np.abs(true - np.median(true)))), note)}
    n_lineages = len(np.unique(lineages))
    measures = {}
    for name, value in values.items():
        by_chance, told = expected.get(name, (np.nan, ""))
        low, high, reason = percentile_interval(resampled[name], n_lineages)
        measures[name] = Measure(
            float(value[0]),
            by_chance,
            len(known),
            join_notes(told, reason),
            low,
            high,
            n_lineages,
            resampled[name],
        )
    return measures


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Median of values that count `weight` times, NaN where none counts.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n,).
    weight : numpy.ndarray
        Whole numbers, shape (..., n).

    Returns
    -------
    numpy.ndarray
        Shape (...).
    """
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weight[..., order], axis=-1)
    if len(values) == 0:
        return np.full(weight.shape[:-1], np.nan)
    total = reached[..., -1:]
    # The two middle places are one where the count is odd.
    middle = [(reached >= half).argmax(axis=-1) for half in ((total + 1) // 2, total // 2 + 1)]
    return np.where(total[..., 0] > 0, 0.5 * (values[middle[0]] + values[middle[1]]), np.nan)
