"""Kinetics of a perturbation for one variant: populations over hours, onsets of cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dynaclr.evaluation.families import Rows
from dynaclr.evaluation.kinetics import (
    Discrepancy,
    Onset,
    control_threshold,
    mmd_test,
    onset_of_track,
    response_axis,
)
from dynaclr.evaluation.measures import ALL, HELD_OUT, POOLED, Measure, tabulate
from dynaclr.evaluation.projection import standardize
from dynaclr.evaluation.samples import MIN_LINEAGES
from dynaclr.evaluation.stores import key_of
from dynaclr.evaluation.study import Study
from dynaclr.evaluation.variants import Variant

N_PERMUTATIONS = 200
LEVEL = 0.05
MIN_OBSERVATIONS = 3
NO_CONTROL = "no condition is named the control"


def mmd_rows(study: Study, variant: Variant) -> Rows:
    """Distance of every condition to the control over hours: each scored experiment, and all.

    Over all experiments, features are centred on each experiment's control cells first, and
    permutations stay within experiments. Where the observations have several markers, each marker
    once more alone.
    """
    rows = Rows([], [])
    estimate = HELD_OUT if study.held_out else POOLED
    if study.control is None:
        nothing = {"mmd_z": Measure(np.nan, 0.0, note=NO_CONTROL)}
        rows.metrics.extend(tabulate(nothing, **variant.place, estimate=POOLED, experiment=ALL))
        return rows
    features = study.cohort.features[variant.name]
    for name in study.scored:
        here = study.experiments == name
        scaled = np.zeros(features.shape)
        scaled[here] = standardize(features[here])
        place = {**variant.place, "experiment": name}
        _add_conditions(rows, study, scaled, here, place, estimate)
    centred = centred_on_controls(standardize(features), study.experiments, study.control)
    place = {**variant.place, "experiment": ALL}
    _add_conditions(rows, study, centred, np.ones(len(features), bool), place, POOLED)
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
    rows: Rows,
    study: Study,
    features: np.ndarray,
    here: np.ndarray,
    place: dict[str, object],
    estimate: str,
) -> None:
    usable = here & np.isfinite(features).all(axis=1)
    kept = study.independent[usable[study.independent]]
    for suffix, of_marker in {"": np.ones(len(here), bool), **study.markers}.items():
        chosen = kept[of_marker[kept]]
        for condition in sorted(set(study.conditions[chosen]) - {study.config.control}):
            name = f"{condition}@{suffix}" if suffix else condition
            tests = list(_tests_of_windows(study, features, chosen, condition))
            rows.curves.extend(_curve(study, tests, place, name))
            measures = _summary(study, tests, name)
            rows.metrics.extend(tabulate(measures, **place, estimate=estimate))


def _tests_of_windows(
    study: Study, features: np.ndarray, rows: np.ndarray, condition: str
) -> Iterator[tuple[int, Discrepancy, int]]:
    rng = np.random.default_rng(study.seed)
    for window in np.unique(study.windows[rows]):
        here = rows[study.windows[rows] == window]
        control = here[study.conditions[here] == study.config.control]
        treated = here[study.conditions[here] == condition]
        # An experiment that has one of the two only would add its batch effect.
        both = np.intersect1d(study.experiments[control], study.experiments[treated])
        control, treated = (
            part[np.isin(study.experiments[part], both)] for part in (control, treated)
        )
        if min(len(control), len(treated)) < MIN_LINEAGES:
            continue
        strata = study.experiments[np.concatenate([treated, control])].astype(str)
        test = mmd_test(features[treated], features[control], N_PERMUTATIONS, rng, strata)
        yield int(window), test, len(treated) + len(control)


def _curve(
    study: Study,
    tests: list[tuple[int, Discrepancy, int]],
    place: dict[str, object],
    condition: str,
) -> list[dict[str, object]]:
    half = 0.5 * study.config.window_hours
    return [
        {**place, "metric": f"{metric}:{condition}", "hours": study.window_start(window) + half}
        | {"value": value, "n_rows": n_rows}
        for window, test, n_rows in tests
        for metric, value in (("mmd2", test.value), ("mmd_z", test.z))
    ]


def _summary(
    study: Study, tests: list[tuple[int, Discrepancy, int]], condition: str
) -> dict[str, Measure]:
    if not tests:
        note = f"no window with {MIN_LINEAGES} lineages of both conditions"
        told = {
            "mmd_z": Measure(np.nan, 0.0, note=note),
            "mmd_from_hours": Measure(np.nan, note=note),
        }
    else:
        n_rows = sum(n for _, _, n in tests)
        note = f"{len(tests)} windows, one observation a lineage and window"
        seen = [window for window, test, _ in tests if test.p <= LEVEL / len(tests)]
        first = study.window_start(seen[0]) if seen else np.nan
        why = note if seen else f"p above {LEVEL} / {len(tests)} in every window"
        told = {
            "mmd_z": Measure(max(test.z for _, test, _ in tests), 0.0, n_rows, note),
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
        estimate = HELD_OUT if study.held_out else POOLED
        rows.metrics.extend(tabulate(_onset_measures(study, table), **place, estimate=estimate))
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
            | {**onset._asdict(), "true_hours": true if inside else np.nan}
        )
    return pd.DataFrame(told)


def _onset_measures(study: Study, table: pd.DataFrame) -> dict[str, Measure]:
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
        measures |= _against_truth(known)
    return measures


def _against_truth(known: pd.DataFrame) -> dict[str, Measure]:
    n = len(known)
    if n == 0:
        nothing = Measure(np.nan, note="no track with a true onset while it was seen")
        return {"onset_error_hours": nothing, "onset_coverage": nothing}
    true, found = known["true_hours"], known["hours"]
    guess = float((true - true.median()).abs().median())
    error = float((found - true).abs().median()) if found.notna().any() else np.nan
    note = f"median over {int(found.notna().sum())} of {n} tracks; expected: of one hour for all"
    return {
        "onset_error_hours": Measure(error, guess, n, note),
        "onset_coverage": Measure(float(found.notna().mean()), n_rows=n),
    }
