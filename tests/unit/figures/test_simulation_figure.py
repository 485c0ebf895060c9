"""The figure of a simulated experiment."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.figures.simulation import draw_simulation
from dynaclr.io import Plate
from dynaclr.simulation import simulate


def entry_at(folder: Path, height: int = 80, width: int = 96, **changes) -> ExperimentConfig:
    content = {
        "name": "tiny",
        "data_path": "plate.zarr",
        "tracks_path": "tracks",
        "truth": "truth.csv",
        "channels": [{"name": m, "marker": m} for m in ("phase", "reporter")],
        "condition_wells": {"mock": ["A/1"], "infected": ["B/1"]},
        "interval_minutes": 30,
        "start_hpi": 3.0,
        "pixel_size_um": 0.5,
        "simulation": {"seed": 4, "frames": 4, "height": height, "width": width, "cells": 6},
    }
    return ExperimentConfig.model_validate(content | changes, context={"base": folder})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> ExperimentConfig:
    entry = entry_at(tmp_path_factory.mktemp("made"))
    simulate(entry)
    return entry


def test_simulation_figure_is_drawn_the_same_each_time(made, tmp_path):
    for name in ("one.png", "two.png"):
        draw_simulation(made, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 50_000


def test_simulation_figure_stays_below_a_megabyte_even_of_pure_noise(tmp_path):
    entry = entry_at(
        tmp_path,
        height=320,
        width=320,
        channels=[{"name": m, "marker": m} for m in ("phase", "reporter", "nucleus")],
        condition_wells={"mock": ["A/1", "A/2"], "infected": ["B/1"], "drug": ["C/1"]},
    )
    simulate(entry)
    rng = np.random.default_rng(0)
    for position in Plate(entry.data_path).positions.values():
        array = zarr.open_array(position.levels[0].path)
        array[...] = rng.integers(0, 4000, array.shape, dtype=np.uint16)
    draw_simulation(entry, tmp_path / "noise.png")
    # Snakemake compares files of up to a million bytes by content.
    assert 300_000 < (tmp_path / "noise.png").stat().st_size < 1_000_000


@pytest.mark.parametrize("key", ["simulation", "truth", "pixel_size_um"])
def test_simulation_figure_names_what_the_entry_lacks(made, key, tmp_path):
    with pytest.raises(UserError, match=f"no `{key}`"):
        draw_simulation(made.model_copy(update={key: None}), tmp_path / "x.png")
