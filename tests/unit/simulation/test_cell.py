"""The response changes where light is and how grainy a cell is, not how bright it is."""

import math

import numpy as np
import pytest

from dynaclr.config import SimulationConfig
from dynaclr.config.simulation import MARKERS
from dynaclr.simulation.cell import Appearance
from dynaclr.simulation.population import TRAITS, Cell, Fate

CONFIG = SimulationConfig()
GRID = (np.arange(-24, 25) * 0.5).astype(np.float32)


def appearance(seed: int, response: float, **traits: float) -> Appearance:
    """One cell in mid-cycle at hour 4, at a fixed stage of its response."""
    rng = np.random.default_rng(seed)
    drawn = dict(zip(TRAITS, rng.standard_normal(len(TRAITS)), strict=True)) | traits
    fate = Fate(infected=True, inherited=response, born_hours=4.0)
    cell = Cell(0, -1, born_hours=-4.0, division_hours=12.0, fate=fate, traits=drawn)
    return Appearance(cell, CONFIG, np.random.default_rng(seed + 1000))


def patches(seed: int, response: float, angle: float = 0.3, **traits: float) -> dict:
    return appearance(seed, response, **traits).patches(GRID, GRID, 4.0, angle, MARKERS)


def test_patches_are_confined_to_the_cell():
    for seed in range(20):
        drawn = appearance(seed, 0.5)
        reach = drawn.reach_um(4.0)
        distance = np.hypot(GRID[:, None], GRID[None])
        for patch in drawn.patches(GRID, GRID, 4.0, 0.0, MARKERS).values():
            assert np.isfinite(patch).all()
            assert patch.dtype == np.float32
            assert abs(patch[distance > reach]).max() < 1e-3


def test_response_conserves_the_reporters_total():
    for seed in range(10):
        totals = [patches(seed, r)["reporter"].sum() for r in (0, 0.3, 0.7, 1)]
        assert np.allclose(totals, totals[0], rtol=1e-3)


def test_response_leaves_the_nucleus_alone():
    calm, full = (patches(3, r)["nucleus"] for r in (0, 1))
    assert np.array_equal(calm, full)


def test_response_gathers_the_reporter_on_one_side_of_the_nucleus():
    def offset(response: float, seed: int) -> float:
        light = patches(seed, response)["reporter"]
        y, x = (light.sum(axis) @ GRID / light.sum() for axis in (1, 0))
        return math.hypot(y, x)

    calm = [offset(0, seed) for seed in range(30)]
    full = [offset(1, seed) for seed in range(30)]
    assert np.mean(full) > 1.5 * np.mean(calm)


def grain(patch: np.ndarray) -> tuple[float, float]:
    """Relative variance of the cytoplasm, and its mean squared gradient over that variance."""
    inner = patch[16:33, 16:33]
    centered = inner - inner.mean()
    gradient = (np.diff(inner, axis=0) ** 2).mean() + (np.diff(inner, axis=1) ** 2).mean()
    return centered.var() / inner.mean() ** 2, gradient / centered.var()


def test_response_coarsens_the_grain_and_keeps_its_variance():
    calm = np.array([grain(patches(seed, 0)["phase"]) for seed in range(60)])
    full = np.array([grain(patches(seed, 1)["phase"]) for seed in range(60)])
    assert np.median(full[:, 0]) == pytest.approx(np.median(calm[:, 0]), rel=0.3)
    assert np.median(full[:, 1]) < 0.7 * np.median(calm[:, 1])


def test_cells_differ_as_much_as_a_response_changes_them():
    """Brightness spread between cells exceeds what the response does to any one of them."""
    peaks = {
        r: np.array([np.percentile(patches(seed, r)["reporter"], 99) for seed in range(60)])
        for r in (0, 1)
    }
    between_cells = np.log(peaks[0]).std()
    by_response = abs(np.log(peaks[1] / peaks[0]).mean())
    assert by_response < 1.5 * between_cells
    overlap = (peaks[1][:, None] > peaks[0][None]).mean()
    assert 0.2 < overlap < 0.85


def test_appearance_changes_gradually_in_time():
    drawn = appearance(5, 0.0)
    series = [
        drawn.patches(GRID, GRID, hours, 0.3, ("phase",))["phase"] for hours in (4.0, 4.1, 10.0)
    ]
    near = np.corrcoef(series[0].ravel(), series[1].ravel())[0, 1]
    far = np.corrcoef(series[0].ravel(), series[2].ravel())[0, 1]
    assert near > 0.98
    assert far < near


def test_a_turned_cell_is_the_same_cell_turned():
    """A quarter turn of the cell is a quarter turn of the image."""
    drawn = appearance(7, 0.6)
    straight = drawn.patches(GRID, GRID, 4.0, 0.0, MARKERS)
    turned = drawn.patches(GRID, GRID, 4.0, math.pi / 2, MARKERS)
    for marker in MARKERS:
        # Directions grow from x to y, so the image turns the other way than np.rot90 counts.
        assert np.allclose(turned[marker], np.rot90(straight[marker], -1), atol=2e-2)


def test_puncta_never_jump():
    for seed in range(10):
        puncta = appearance(seed, 1.0).puncta
        angles = np.array([puncta.positions(1.0, hours)[0] for hours in np.arange(0, 20, 0.05)])
        assert np.abs(np.diff(angles, axis=0)).max() < 0.05
