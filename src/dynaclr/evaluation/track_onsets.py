"""Signal of the response in every track of an experiment, when it rises, and what that needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.cross_validation import logistic_regression
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.alignment import Template, fit_template
from dynaclr.evaluation.metrics.onset import (
    ControlLimits,
    Onset,
    control_limits,
    onset_of_track,
    own_level,
    response_signal,
    scaled_by_controls,
)

MIN_OBSERVATIONS = 3
# Fewer training tracks say nothing of the delay, or of the course of a response.
MIN_TRACKS = 5
# Inverse strength of the penalty. On simulations, values ten times larger or smaller gave the same.
STRENGTH = 0.01


@dataclass(frozen=True)
class ResponseReference:
    """What is fitted to the responses of the training experiments.

    Attributes
    ----------
    axis : numpy.ndarray
        Weights of features, in units of each experiment's controls; the signal is their sum.
        float64, shape (d,).
    delay : float
        Hours from the true onset to the middle of the rise of the signal; 0 where the truth is not
        known.
    template : Template or None
        Course of the signal's change since the onset; None with fewer than `MIN_TRACKS` responding
        tracks.
    """

    axis: np.ndarray
    delay: float
    template: Template | None

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name, for a file."""
        arrays = {"axis": self.axis, "delay": np.array(self.delay)}
        if self.template is not None:
            arrays |= {f"template_{name}": part for name, part in self.template._asdict().items()}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> ResponseReference:
        """What `arrays` wrote."""
        template = None
        if "template_hours" in arrays:
            template = Template(arrays["template_hours"], arrays["template_signal"])
        return cls(arrays["axis"], float(arrays["delay"]), template)


@dataclass(frozen=True)
class TrackOnsets:
    """Tracks of an experiment with their signals and onsets.

    Attributes
    ----------
    rows : list of numpy.ndarray
        Positions of each track's observations, by rising hour.
    signals : list of numpy.ndarray
        float32, as many as `rows`.
    onsets : list of Onset or None
        None for a track of fewer than `MIN_OBSERVATIONS`.
    levels : list of float
        Signal of each track before it responds; see `own_level`.
    limits : ControlLimits
        Of the control tracks.
    """

    rows: list[np.ndarray]
    signals: list[np.ndarray]
    onsets: list[Onset | None]
    levels: list[float]
    limits: ControlLimits

    @property
    def changes(self) -> list[np.ndarray]:
        """Signals minus the level of each track before it responds."""
        return [signal - level for signal, level in zip(self.signals, self.levels, strict=True)]


def fit_response(inputs: EvaluationInputs, variant: Variant) -> ResponseReference | None:
    """Fit the axis of the response, its delay and its course on the training experiments.

    The axis separates treated from control observations of the later half of the hours, when
    responses can be seen.

    Parameters
    ----------
    inputs : EvaluationInputs
        Of the training experiments.
    variant : Variant

    Returns
    -------
    ResponseReference or None
        None without control or treated observations of the later half.
    """
    axis = _fit_axis(inputs, variant)
    if axis is None:
        return None
    found = [track_onsets(inputs, variant, axis, name) for name in inputs.train]
    parts = [part for part in found if part is not None]
    delay = _delay(inputs, parts)
    since_onset, changes = [], []
    for part in parts:
        for rows, change, onset in zip(part.rows, part.changes, part.onsets, strict=True):
            if onset is not None and np.isfinite(onset.hours) and _treated(inputs, rows):
                since_onset.append(inputs.hours[rows] - onset.hours + delay)
                changes.append(change)
    template = None
    if len(changes) >= MIN_TRACKS:
        noise = float(np.mean([part.limits.noise for part in parts]))
        template = fit_template(since_onset, changes, noise)
    return ResponseReference(axis, delay, template)


def track_onsets(
    inputs: EvaluationInputs, variant: Variant, axis: np.ndarray, experiment: str
) -> TrackOnsets | None:
    """Signals of an experiment's tracks, and when they rise by more than those of its controls.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    axis : numpy.ndarray
        Of `ResponseReference`.
    experiment : str

    Returns
    -------
    TrackOnsets or None
        None without a control track of `MIN_OBSERVATIONS`.
    """
    here = inputs.rows_of([experiment])
    order = here[np.lexsort((inputs.hours[here], inputs.tracks[here]))]
    if not len(order) or inputs.control is None or not inputs.control[order].any():
        return None
    features = np.nan_to_num(inputs.features[variant.name][order])
    signal = response_signal(features, inputs.control[order], axis)
    starts = np.flatnonzero(np.diff(inputs.tracks[order]))
    rows, signals = np.split(order, starts + 1), np.split(signal, starts + 1)
    long = [len(track) >= MIN_OBSERVATIONS for track in rows]
    controls = [
        values
        for track, values, is_long in zip(rows, signals, long, strict=True)
        if is_long and not _treated(inputs, track)
    ]
    if not controls:
        return None
    limits = control_limits(controls)
    onsets = [
        onset_of_track(inputs.hours[track], values, limits) if is_long else None
        for track, values, is_long in zip(rows, signals, long, strict=True)
    ]
    levels = [
        own_level(inputs.hours[track], values, onset, limits)
        for track, values, onset in zip(rows, signals, onsets, strict=True)
    ]
    return TrackOnsets(rows, signals, onsets, levels, limits)


def true_onset(inputs: EvaluationInputs, rows: np.ndarray) -> float:
    """True onset of a track, in hours; NaN where it is not known, or was not while it was seen."""
    if "onset" not in inputs.truth:
        return np.nan
    true, hours = float(inputs.truth["onset"][rows[0]]), inputs.hours[rows]
    return true if hours[0] < true <= hours[-1] else np.nan


def _treated(inputs: EvaluationInputs, rows: np.ndarray) -> bool:
    return inputs.control is not None and not inputs.control[rows[0]]


def _fit_axis(inputs: EvaluationInputs, variant: Variant) -> np.ndarray | None:
    if inputs.control is None:
        return None
    rows = inputs.rows_of(inputs.train)
    hours = inputs.hours[rows]
    rows = rows[hours >= 0.5 * float(hours.min() + hours.max())] if len(rows) else rows
    features = np.nan_to_num(inputs.features[variant.name])
    scaled = scaled_by_controls(features, inputs.experiments, inputs.control)[rows]
    complete = np.isfinite(scaled).all(axis=1)
    treated, scaled = ~inputs.control[rows][complete], scaled[complete]
    if len(np.unique(treated)) < 2:
        return None
    model = logistic_regression(2, scaled.shape[1], STRENGTH, "balanced").fit(scaled, treated)
    axis: np.ndarray = model.coef_[0]
    return axis


def _delay(inputs: EvaluationInputs, parts: list[TrackOnsets]) -> float:
    """Median hours from the true onset to the rise, of training tracks; 0 of too few."""
    late = [
        onset.hours - true_onset(inputs, rows)
        for part in parts
        for rows, onset in zip(part.rows, part.onsets, strict=True)
        if onset is not None and _treated(inputs, rows)
    ]
    known = np.array(late)[np.isfinite(late)]
    return float(np.median(known)) if len(known) >= MIN_TRACKS else 0.0
