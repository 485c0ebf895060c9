"""Tables hold what a tracker and a person could see, and the truth beside it."""

import numpy as np
import pandas as pd
import pytest

from dynaclr.config import SimulationConfig
from dynaclr.config.simulation import SIMULATED_COLUMNS
from dynaclr.simulation import tables
from dynaclr.simulation.population import simulate_population

ANNOTATION_COLUMNS = list(SIMULATED_COLUMNS["annotations"])
PIXEL_UM = 0.5
HOURS = 2.0 + np.arange(40) * 0.25


def simulated(seed: int = 0, **options):
    """Population, observations, truth and annotations of one infected field of view."""
    config = SimulationConfig(**{"frames": len(HOURS), "cells": 18, "cycle_hours": 8, **options})
    extent = (config.height * PIXEL_UM, config.width * PIXEL_UM)
    rng = np.random.default_rng(seed)
    population = simulate_population(config, infected=True, size_um=extent, hours=HOURS, rng=rng)
    seen = tables.observe(population, config, PIXEL_UM, rng)
    truth = tables.truth(seen, population, config)
    labels = tables.annotate(seen, truth, population, config, rng)
    return population, seen, truth, labels


def test_observations_are_unique_sorted_and_inside_the_image():
    _, seen, _, _ = simulated()
    assert not seen.duplicated(["track_id", "t"]).any()
    assert seen["id"].is_unique
    assert seen[["track_id", "t"]].apply(tuple, axis=1).is_monotonic_increasing
    assert seen[["y", "x"]].to_numpy().min() >= 0
    assert (seen["y"] <= 287).all()
    assert (seen["x"] <= 287).all()
    assert sorted(seen["track_id"].unique()) == list(range(1, seen["track_id"].max() + 1))


def test_a_perfect_tracker_sees_every_cell_inside_at_its_true_position():
    population, seen, _, _ = simulated(tracking_error_um=0, missed_fraction=0)
    for t, frame in enumerate(population.frames):
        yx = frame.yx_um / PIXEL_UM
        inside = ((yx >= 0) & (yx <= 287)).all(1)
        rows = seen[seen["t"] == t].sort_values("cell")
        assert rows["cell"].tolist() == frame.numbers[inside].tolist()
        assert np.allclose(rows[["y", "x"]], yx[inside], atol=6e-4)


def test_tracking_error_and_misses_are_as_stated():
    _, perfect, _, _ = simulated(tracking_error_um=0, missed_fraction=0)
    population, seen, _, _ = simulated(tracking_error_um=0.5, missed_fraction=0.2)
    assert len(seen) / len(perfect) == pytest.approx(0.8, abs=0.03)
    errors = []
    for t, frame in enumerate(population.frames):
        positions = dict(zip(frame.numbers.tolist(), frame.yx_um, strict=True))
        rows = seen[seen["t"] == t]
        true = np.array([positions[cell] for cell in rows["cell"]])
        errors.append(rows[["y", "x"]].to_numpy() * PIXEL_UM - true)
    assert np.concatenate(errors).std() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("missed", [0.0, 0.3])
def test_parents_are_the_true_mothers(missed):
    population, seen, _, _ = simulated(missed_fraction=missed)
    cell_of = seen.groupby("track_id")["cell"].first()
    starts = seen.drop_duplicates("track_id")
    ends = seen.drop_duplicates("track_id", keep="last").set_index("track_id")
    linked = starts[starts["parent_track_id"] >= 0]
    assert len(linked) > 10
    for row in linked.itertuples():
        assert cell_of[row.parent_track_id] == population.cells[row.cell].mother
        assert row.parent_id == ends.at[row.parent_track_id, "id"]
        assert 1 <= row.t - ends.at[row.parent_track_id, "t"] <= tables.LONGEST_GAP + 1
    assert (linked["parent_track_id"].value_counts() <= 2).all()


def test_long_absence_begins_a_new_track_and_a_short_one_does_not():
    _, seen, _, _ = simulated(missed_fraction=0.4)
    steps = seen.groupby("track_id")["t"].diff()
    assert steps.max() == tables.LONGEST_GAP + 1
    parts = seen.groupby("cell")["track_id"].nunique()
    assert parts.max() > 1
    previous = seen["id"].shift().where(seen["track_id"] == seen["track_id"].shift())
    within = previous.notna()
    assert (seen.loc[within, "parent_id"] == previous[within]).all()


def test_truth_follows_the_fate_of_the_cell():
    population, seen, truth, _ = simulated(responding_above=0.4)
    assert truth[["track_id", "t"]].equals(seen[["track_id", "t"]])
    assert truth["infected"].dtype == bool
    assert truth["responding"].dtype == bool
    for row, cell, t in zip(truth.itertuples(), seen["cell"], seen["t"], strict=True):
        fate = population.cells[cell].fate
        assert (row.infected, row.responder) == (fate.infected, fate.responder)
        assert row.response == pytest.approx(fate.response(HOURS[t]), abs=1e-4)
        assert row.responding == (fate.response(HOURS[t]) > 0.4)
        assert np.isnan(row.onset_hours) == (not fate.responder)


def test_labels_of_divisions_are_known_or_empty():
    _, seen, _, labels = simulated(annotated_fraction=1.0, missed_fraction=0.0)
    parents = set(seen["parent_track_id"]) - {-1}
    for track, rows in seen.groupby("track_id"):
        mine = labels.loc[rows.index]
        soon = mine["divides_within_3"]
        if track in parents:
            assert soon.iloc[-3:].eq(1).all()
            assert soon.iloc[:-3].eq(0).all()
            assert mine["mitotic"].iloc[-1] == 1
        else:
            assert soon.iloc[-3:].isna().all()
            assert soon.iloc[:-3].eq(0).all()
        if rows["parent_track_id"].iloc[0] >= 0:
            assert mine["mitotic"].iloc[0] == 1
        assert mine["mitotic"].iloc[1:-1].eq(0).all()


def test_only_a_part_of_the_tracks_is_annotated():
    _, _, _, labels = simulated(annotated_fraction=0.5)
    given = labels[ANNOTATION_COLUMNS].notna().any(axis=1)
    by_track = given.groupby(labels["track_id"])
    assert 0.3 < by_track.any().mean() < 0.7
    assert not simulated(annotated_fraction=0.0)[3][ANNOTATION_COLUMNS].notna().any().any()


def test_cell_state_is_what_can_be_seen():
    _, _, truth, labels = simulated(annotated_fraction=1.0, cells=40)
    state = labels["cell_state"]
    assert set(state.dropna()) == {"normal", "altered", "mitotic"}
    assert (truth.loc[state == "normal", "response"] < tables.CLEARLY_NORMAL).all()
    assert (truth.loc[state == "altered", "response"] > tables.CLEARLY_ALTERED).all()
    assert state.isna().any()


def test_counting_divisions():
    tracks = pd.DataFrame({"track_id": [1, 2, 3, 4], "parent_track_id": [-1, 1, 1, 2]})
    assert tables.count_divisions(tracks) == 2
