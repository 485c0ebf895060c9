"""Experiments are made whole, the same each time, and never over somebody's data."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.importers.imported import read_pixels

from dynaclr.config import ExperimentConfig, ExperimentRegistry, Problems, UserError, load_entry
from dynaclr.io import Plate
from dynaclr.io.artifacts import digest_path
from dynaclr.io.disk_checks import check_on_disk
from dynaclr.simulation import provenance_path, simulate

SMALL = {"seed": 4, "frames": 4, "height": 80, "width": 96, "cells": 6, "onset_hours": 2.0}
KEYS = ("data_path", "tracks_path", "annotations", "truth")


def entry_at(folder: Path, *, name: str = "tiny", simulation: dict | None = None, **changes):
    content = {
        "name": name,
        "data_path": "plate.zarr",
        "tracks_path": "tracks",
        "annotations": "annotations.csv",
        "truth": "truth.csv",
        "channels": [
            {"name": "Phase2D", "marker": "phase"},
            {"name": "GFP", "marker": "reporter"},
        ],
        "condition_wells": {"mock": ["A/1"], "infected": ["B/1"]},
        "interval_minutes": 30,
        "start_hpi": 3.0,
        "pixel_size_um": 0.5,
        "simulation": SMALL | (simulation or {}),
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    return ExperimentConfig.model_validate(content, context={"base": folder})


def pixels(entry: ExperimentConfig) -> dict[str, np.ndarray]:
    """Movie (T, C, Y, X) of each field of view."""
    positions = Plate(entry.data_path).positions
    return {name: read_pixels(position)[:, :, 0] for name, position in positions.items()}


def digests(entry: ExperimentConfig) -> list[str]:
    return [digest_path(getattr(entry, key)) for key in KEYS]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[ExperimentConfig, dict]:
    entry = entry_at(tmp_path_factory.mktemp("made"))
    return entry, simulate(entry)


def test_products_fit_the_entry(made):
    entry, summary = made
    problems = Problems()
    check_on_disk(entry, "entry", problems)
    assert not problems.found
    plate = Plate(entry.data_path)
    assert list(plate.positions) == ["A/1/0", "B/1/0"]
    assert plate.channels == ["Phase2D", "GFP"]
    assert plate.positions["A/1/0"].shape == (4, 2, 1, 80, 96)
    assert plate.positions["A/1/0"].levels[0].scale == (1800.0, 1.0, 1.0, 0.5, 0.5)
    files = sorted(entry.tracks_path.rglob("*.csv"))
    assert [f.relative_to(entry.tracks_path).as_posix() for f in files] == [
        "A/1/0/tracks.csv",
        "B/1/0/tracks.csv",
    ]
    tracks = pd.concat(
        [pd.read_csv(file).assign(fov="/".join(file.parent.parts[-3:])) for file in files]
    )
    assert list(tracks.columns[:-1]) == [
        *["track_id", "t", "y", "x", "id", "parent_track_id", "parent_id"]
    ]
    for path in (entry.truth, entry.annotations):
        table = pd.read_csv(path)
        assert len(table) == len(tracks)
        assert len(table.merge(tracks, on=["fov", "track_id", "t"])) == len(tracks)
    assert summary["observations"] == len(tracks)
    assert json.loads(json.dumps(summary)) == summary
    truth = pd.read_csv(entry.truth)
    assert list(truth.columns[3:]) == [
        *["infected", "responder", "onset_hours", "response", "responding"]
    ]
    assert not truth.loc[truth["fov"] == "A/1/0", "infected"].any()
    assert truth.loc[truth["fov"] == "B/1/0", "infected"].any()


def test_same_entry_gives_the_same_bytes_in_any_number_of_processes(made, tmp_path):
    again = entry_at(tmp_path)
    calls = []
    simulate(again, processes=2, progress=lambda *step: calls.append(step))
    assert digests(again) == digests(made[0])
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("change", [{"simulation": {"seed": 5}}, {"name": "other"}])
def test_another_seed_or_name_gives_another_experiment(made, tmp_path, change):
    other = entry_at(tmp_path, **change)
    simulate(other)
    assert not any(
        np.array_equal(a, b)
        for a, b in zip(pixels(other).values(), pixels(made[0]).values(), strict=True)
    )


def test_wells_do_not_depend_on_each_other(made, tmp_path):
    more = entry_at(tmp_path, condition_wells={"infected": ["B/1", "C/3"], "mock": ["A/1", "A/2"]})
    simulate(more)
    for name, movie in pixels(made[0]).items():
        assert np.array_equal(pixels(more)[name], movie)


def test_ngff_version_and_shards_leave_the_pixels_alone(made, tmp_path):
    other = entry_at(tmp_path, simulation={"ngff": "0.5", "chunk": 32, "shard_frames": 2})
    simulate(other)
    assert Plate(other.data_path).positions["A/1/0"].zarr_format == 3
    for name, movie in pixels(made[0]).items():
        assert np.array_equal(pixels(other)[name], movie)


def test_a_missing_marker_leaves_background_alone(tmp_path):
    channels = [
        {"name": "RFP", "marker": "reporter", "wells": ["A/1"]},
        {"name": "Phase", "marker": "phase"},
        {"name": "DAPI", "marker": "nucleus"},
    ]
    simulate(entry := entry_at(tmp_path, channels=channels, simulation={"batch_effect": 0}))
    movies = pixels(entry)
    empty, full = movies["B/1/0"][:, 0].astype(float), movies["A/1/0"][:, 0].astype(float)
    assert empty.mean() == pytest.approx(115, rel=0.02)
    # Illumination aside, the variance is that of photons and camera.
    assert empty[:, 30:50, 40:56].var() < 1.5 * (15 * 1.1 + 4)
    assert full.std() > 3 * empty.std()
    assert movies["B/1/0"][:, 2].std() > 2 * empty.std()


def test_what_is_there_and_unchanged_is_kept(made):
    entry, summary = made
    before = (entry.data_path / ".zattrs").stat().st_mtime_ns
    assert simulate(entry) == summary
    assert (entry.data_path / ".zattrs").stat().st_mtime_ns == before


def test_summary_has_the_digest_of_every_product(made, tmp_path):
    entry, summary = made
    assert summary["content"] == dict(zip(KEYS, digests(entry), strict=True))
    assert simulate(entry_at(tmp_path)) == summary
    assert str(tmp_path.parent) not in json.dumps(summary)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"gain": 2.0}, {"data_path"}),
        ({"tracking_error_um": 1.5}, {"tracks_path"}),
        ({"rise_hours": 9.0}, {"data_path", "truth"}),
        ({"responding_above": 0.02}, {"truth"}),
    ],
)
def test_summary_shows_what_a_parameter_changes(made, tmp_path, change, changed):
    content = simulate(entry_at(tmp_path, simulation=change))["content"]
    before = made[1]["content"]
    assert {key for key in KEYS if content[key] != before[key]} == changed


def test_pixels_changed_by_hand_are_not_passed_off_as_simulated(made, tmp_path):
    simulate(entry := entry_at(tmp_path))
    files = [f for f in (entry.data_path / "A/1/0/0").rglob("*") if f.is_file()]
    chunk = max(files, key=lambda file: file.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"plate\.zarr: pixels were changed"):
        simulate(entry)
    assert simulate(entry, overwrite=True) == made[1]
    assert digests(entry) == digests(made[0])


def test_products_of_unknown_content_are_made_anew(made, tmp_path):
    simulate(entry := entry_at(tmp_path))
    provenance = json.loads(provenance_path(entry).read_text())
    del provenance["summary"]["content"]
    provenance_path(entry).write_text(json.dumps(provenance))
    assert simulate(entry) == made[1]
    assert json.loads(provenance_path(entry).read_text())["summary"] == made[1]


def test_a_changed_entry_needs_leave_to_overwrite(tmp_path):
    simulate(entry_at(tmp_path))
    changed = entry_at(tmp_path, simulation={"seed": 9})
    with pytest.raises(UserError, match="another entry"):
        simulate(changed)
    simulate(changed, overwrite=True)
    assert simulate(changed) == simulate(changed, overwrite=True)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_data_is_never_overwritten(tmp_path, key, overwrite):
    entry = entry_at(tmp_path)
    path = getattr(entry, key)
    if key in ("data_path", "tracks_path"):
        path.mkdir()
        (path / "precious").write_text("mine")
    else:
        path.write_text("mine")
    before = digest_path(path)
    with pytest.raises(UserError, match="was not made by the simulation"):
        simulate(entry, overwrite=overwrite)
    assert digest_path(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tables_edited_by_hand_are_not_overwritten(tmp_path):
    simulate(entry := entry_at(tmp_path))
    entry.annotations.write_text(entry.annotations.read_text() + "A/1/0,1,0,1,,\n")
    edited = digest_path(entry.annotations)
    with pytest.raises(UserError, match=r"annotations\.csv.*changed since"):
        simulate(entry, overwrite=True)
    assert digest_path(entry.annotations) == edited


def test_a_run_that_stops_in_the_middle_is_completed_by_the_next(made, tmp_path):
    entry = entry_at(tmp_path)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(entry, progress=stop)
    assert list(tmp_path.iterdir()) == []
    simulate(entry)
    # As if killed between two renames: one product is there, the others are not.
    entry.truth.unlink()
    simulate(entry)
    assert digests(entry) == digests(made[0])


def test_provenance_says_what_was_made(made):
    entry, summary = made
    provenance = json.loads(provenance_path(entry).read_text())
    assert provenance["summary"] == summary
    assert provenance["entry"]["simulation"]["seed"] == 4
    known = dict(zip(KEYS, digests(entry), strict=True))
    # A plate is known by its metadata, in files of earlier versions too.
    known["data_path"] = Plate(entry.data_path).digest()
    assert provenance["products"] == {key: [digest] for key, digest in known.items()}
    assert provenance_path(entry).parent == entry.data_path.parent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixel_size_um": None}, "a simulation needs pixel_size_um"),
        ({"channels": [{"name": "a", "marker": "actin"}]}, "marker 'actin' cannot be drawn"),
    ],
)
def test_entries_that_cannot_be_simulated_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        entry_at(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_infects_nobody_must_say_so(tmp_path):
    wells = {"condition_wells": {"mock": ["A/1"]}}
    with pytest.raises(ValueError, match=r"none of \['infected'\] is in condition_wells"):
        entry_at(tmp_path, **wells)
    healthy = entry_at(tmp_path, **wells, simulation={"infected_conditions": []})
    assert healthy.simulation.infected_conditions == ()


def test_an_entry_of_real_data_is_refused(tmp_path):
    real = entry_at(tmp_path).model_copy(update={"simulation": None})
    with pytest.raises(UserError, match="no `simulation` block"):
        simulate(real)


def test_tables_are_optional(tmp_path):
    simulate(entry_at(tmp_path, annotations=None, truth=None))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"plate.zarr", "tracks", "plate.zarr.simulation.json"}


def test_demo_experiments_differ_as_real_ones_do(repository):
    entries = [load_entry(file) for file in (repository / "config" / "experiments").glob("demo_*")]
    assert len(ExperimentRegistry(entries)) == 6
    assert {entry.interval_minutes for entry in entries} == {10, 15, 30}
    assert {entry.channel_name("reporter") for entry in entries} == {"GFP", "RFP"}
    assert len({entry.pixel_size_um for entry in entries}) >= 4
    assert {entry.simulation.ngff for entry in entries} == {"0.4", "0.5"}
    assert any(entry.simulation.shard_frames for entry in entries)
    assert any(entry.simulation.confounding > 0.8 for entry in entries)
    assert any(not e.has_marker("reporter", w) for e in entries for w in e.condition_of_well)
    for entry in entries:
        assert len(entry.condition_wells["mock"]) == len(entry.condition_wells["infected"]) == 2
