"""Onsets, pseudotime and timing of markers where the course of every cell is known.

Cells differ by 0.8 in the signal; a response adds 2 within three hours, begins at any time or
never, and is seen in part. A reporter brightens three hours after the onset.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dynaclr.config import EvaluationConfig
from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.inputs import TRUTH, make_inputs
from dynaclr.evaluation.marker_timing import timing_rows
from dynaclr.evaluation.onset_scores import UNCERTAIN, USELESS, onset_rows, onset_table
from dynaclr.evaluation.track_onsets import ResponseReference, fit_response, track_onsets
from dynaclr.evaluation.trajectories import pseudotime_rows, trajectory_table

SEED0 = parse_variant("seed0")
CONFIG = EvaluationConfig(
    control="mock", progression="response", onset="onset_hours", bootstrap=100, window_hours=2.0
)


def observations(experiment: str, seed: int, n_tracks: int = 160) -> pd.DataFrame:
    rng, tracks = np.random.default_rng(seed), []
    for track in range(n_tracks):
        treated = track % 2 == 1
        hours = np.arange(rng.uniform(0, 6), 12, 0.5)
        onset = rng.uniform(1, 11) if treated and rng.random() < 0.7 else np.nan
        response = np.nan_to_num(np.clip((hours - onset) / 3, 0, 1))
        table = pd.DataFrame({"t": np.arange(len(hours)), "hours": hours})
        table = table.assign(track_id=track, lineage_id=track, **{TRUTH["onset"]: onset})
        table[TRUTH["progression"]] = response
        table["signal"] = 0.8 * rng.normal() + 2 * response + 0.3 * rng.normal(size=len(hours))
        bright = (hours > onset + 3).astype(float)
        table["reporter"] = bright + 0.1 * rng.normal(size=len(hours))
        tracks.append(table.assign(condition="drug" if treated else "mock"))
    return pd.concat(tracks, ignore_index=True).assign(experiment=experiment, fov="A/1/0")


def inputs_of(names: str, held_out: bool, noise: float = 0.0):
    obs = pd.concat([observations(name, ord(name)) for name in names], ignore_index=True)
    rng = np.random.default_rng(7)
    features = rng.normal(size=(len(obs), 3))
    features[:, 1] = obs["signal"] + noise * rng.normal(size=len(obs))
    roles = ([], list(names)) if held_out else (list(names), [])
    inputs = make_inputs(obs, {}, CONFIG, *roles, seed=0)
    return replace(inputs, features={"seed0": features.astype(np.float32)})


@pytest.fixture(scope="module")
def reference():
    return fit_response(inputs_of("ab", held_out=False), SEED0)


@pytest.fixture(scope="module")
def inputs():
    return inputs_of("c", held_out=True)


@pytest.fixture(scope="module")
def tracks(inputs, reference):
    return track_onsets(inputs, SEED0, reference.axis, "c")


def values_of(rows):
    return pd.DataFrame(rows).set_index("metric")


def test_the_delay_and_the_course_are_those_of_the_responses(reference):
    assert abs(reference.axis[1]) > 5 * np.abs(reference.axis[[0, 2]]).max()
    assert reference.delay == pytest.approx(1.5, abs=0.3)
    hours, signal = reference.template
    assert signal[-1] - signal[0] > 1.5 * reference.axis[1]
    rise = np.interp(np.linspace(*signal[[0, -1]], 5)[1:4], signal, hours)
    np.testing.assert_allclose(rise, [0.75, 1.5, 2.25], atol=0.9)


def test_a_reference_is_read_as_it_was_written(reference):
    for written in (reference, replace(reference, template=None)):
        read = ResponseReference.of_arrays(written.arrays())
        assert read.delay == written.delay
        np.testing.assert_array_equal(read.axis, written.axis)
        assert (read.template is None) == (written.template is None)
    np.testing.assert_array_equal(read.axis, reference.axis)


def test_onsets_are_found_though_cells_differ(inputs, reference, tracks):
    table = onset_table(inputs, SEED0, tracks, reference.delay)
    scores = values_of(onset_rows(inputs, SEED0, "c", table))
    error = scores.loc["onset_error_hours"]
    assert error["value"] < 0.5 < 1.5 < error["expected"]
    assert error["note"].startswith("median over")
    assert scores.loc["onset_coverage", "value"] > 0.7
    # A slow rise that is seen in part is no step.
    assert scores.loc["onset_within_bounds", "value"] > 0.7
    assert scores.loc["onset_control_rate", "value"] == pytest.approx(0.075, abs=0.03)
    rate = scores.loc["onset_rate"]
    assert rate["low"] > rate["expected"]
    early = table[table["high"].isin([np.inf]) & (table["condition"] == "drug")]
    assert early["hours"].isna().all()


def test_onsets_of_noise_are_said_to_be_of_no_use():
    noise = inputs_of("c", held_out=True, noise=30.0)
    reference = ResponseReference(np.array([0.0, 1.0, 0.0]), 0.0, None)
    tracks = track_onsets(noise, SEED0, reference.axis, "c")
    table = onset_table(noise, SEED0, tracks, 0.0)
    # As many onsets as there can be, at the wrong hours.
    table["hours"] = table["hours"].fillna(1.0)
    note = values_of(onset_rows(noise, SEED0, "c", table)).loc["onset_error_hours", "note"]
    assert note.startswith(USELESS)
    few = table[table["true_hours"].notna() | (table["condition"] == "mock")]
    few = few[(few["condition"] == "mock") | (few.groupby("condition").cumcount() < 4)].copy()
    few["hours"] = few["true_hours"]
    note = values_of(onset_rows(noise, SEED0, "c", few)).loc["onset_error_hours", "note"]
    assert note.startswith(UNCERTAIN), "four tracks prove nothing"


def test_pseudotime_follows_the_progression_better_than_hours(inputs, reference, tracks):
    table = trajectory_table(inputs, SEED0, tracks, reference)
    assert list(table.index) == list(range(len(inputs.obs)))
    score = values_of(pseudotime_rows(inputs, SEED0, "c", table)).loc["pseudotime_correlation"]
    assert score["low"] > score["expected"]
    seen = table["hours_since_onset"].notna() & np.isfinite(inputs.truth["onset"])
    true = (inputs.hours - inputs.truth["onset"])[seen]
    assert np.median(np.abs(table["hours_since_onset"][seen] - true)) < 0.5
    without = trajectory_table(inputs, SEED0, tracks, replace(reference, template=None))
    assert without["pseudotime"].isna().all()
    missing = values_of(pseudotime_rows(inputs, SEED0, "c", without)).iloc[0]
    assert np.isnan(missing["value"])
    assert missing["note"]


def test_a_marker_departs_from_the_control_when_it_does(inputs, reference, tracks):
    table = trajectory_table(inputs, SEED0, tracks, reference)
    steady = np.random.default_rng(0).normal(size=len(inputs.obs)) + inputs.hours
    intensities = pd.DataFrame(
        {"intensity_mean:reporter": inputs.obs["reporter"], "intensity_mean:phase": steady}
    ).assign(**{"intensity_p50:reporter": 0.0})
    rows = pd.DataFrame(timing_rows(inputs, SEED0, "c", table, intensities))
    assert set(rows["marker"]) == {"reporter", "phase"}
    assert set(rows["statistic"]) == {"intensity_mean"}
    points = rows.pivot_table("value", ["marker", "hours"], "group")
    difference = points["responding"] - points["control"]
    reporter = difference["reporter"]
    assert abs(reporter[reporter.index < 2]).max() < 0.15
    assert reporter[reporter.index > 4].min() > 0.7
    # What changes with the hour alone is the same in controls of the same hours.
    assert abs(difference["phase"]).median() < 0.3
    assert np.ptp(points.loc["phase", "control"]) > 2
    known = rows[rows["group"] == "responding"].dropna(subset="low")
    assert (known["low"] <= known["value"]).all()
    assert (known["value"] <= known["high"]).all()


def test_without_controls_there_are_no_onsets():
    inputs = inputs_of("c", held_out=True)
    blind = replace(inputs, config=CONFIG.model_copy(update={"control": None}))
    assert fit_response(blind, SEED0) is None
    assert track_onsets(blind, SEED0, np.ones(3), "c") is None
