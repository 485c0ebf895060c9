"""Experiments and wells differ as strongly, and as confounded, as stated."""

from dataclasses import fields

import numpy as np
import pytest

from dynaclr.config import SimulationConfig
from dynaclr.simulation.microscope import (
    Microscope,
    expose,
    fluorescence_photons,
    focus_track,
    illumination,
    microscopes,
    phase_photons,
)

WELLS = {"A/1": "mock", "A/2": "mock", "B/1": "infected", "B/2": "infected"}


def states(name: str = "day1", **options) -> dict[str, Microscope]:
    return microscopes(SimulationConfig(**options), name, WELLS)


def test_without_batch_effect_all_wells_and_experiments_are_alike():
    every = [*states("day1", batch_effect=0).values(), *states("day2", batch_effect=0).values()]
    assert len(set(every)) == 1
    assert every[0].gain == SimulationConfig().gain


def test_every_property_but_the_offset_differs_between_experiments():
    one, other = (states(name)["A/1"] for name in ("day1", "day2"))
    alike = {f.name for f in fields(one) if getattr(one, f.name) == getattr(other, f.name)}
    assert alike == {"offset"}


def test_batch_effect_scales_the_difference():
    def distance(strength: float) -> float:
        return abs(np.log(states(batch_effect=strength)["A/1"].gain / SimulationConfig().gain))

    assert distance(2.0) == pytest.approx(2 * distance(1.0))


def test_full_confounding_makes_wells_of_a_condition_alike():
    full = states(confounding=1.0)
    assert full["A/1"] == full["A/2"]
    assert full["B/1"] == full["B/2"]
    assert full["A/1"] != full["B/1"]
    free = states(confounding=0.0)
    assert len(set(free.values())) == 4


def test_confounding_splits_the_variance_between_wells_without_changing_it():
    def light(confounding: float) -> np.ndarray:
        every = [states(f"day{i}", confounding=confounding) for i in range(300)]
        return np.log([[s[well].background_photons for well in WELLS] for s in every])

    for confounding in (0.0, 0.6, 1.0):
        logs = light(confounding)
        within = logs - logs.mean(1, keepdims=True)
        pair = np.corrcoef(within[:, 0] - within[:, 2], within[:, 1] - within[:, 3])[0, 1]
        assert pair == pytest.approx(confounding, abs=0.12)
        # Two independent wells differ by the square root of 2 times the spread of one.
        assert (logs[:, 0] - logs[:, 2]).std() == pytest.approx(0.25 * 2**0.5, rel=0.2)


def test_illumination_has_mean_1_and_darker_corners():
    nominal = states(batch_effect=0, vignetting=0.3)["A/1"]
    light = illumination(nominal, (60, 80))
    assert light.mean() == pytest.approx(1.0, abs=1e-5)
    assert light[0, 0] / light[30, 40] == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("photons", [5.0, 40.0, 900.0])
def test_exposure_has_shot_and_read_noise(photons):
    camera = states(batch_effect=0, gain=2.0, read_noise=3.0, offset=100.0)["A/1"]
    counts = expose(np.full((300, 300), photons, np.float32), camera, np.random.default_rng(0))
    assert counts.dtype == np.uint16
    assert counts.mean() == pytest.approx(100 + 2 * photons, rel=0.01)
    # Rounding to whole counts adds a twelfth.
    assert counts.var() == pytest.approx(4 * photons + 9 + 1 / 12, rel=0.03)


def test_focus_drifts_slowly_with_the_stated_spread():
    scope = states(batch_effect=0, focus_drift_um=0.8)["A/1"]
    hours = np.arange(0, 400, 0.25)
    focus = focus_track(scope, hours, np.random.default_rng(1))
    assert focus.std() == pytest.approx(0.8, rel=0.15)
    assert np.corrcoef(focus[1:], focus[:-1])[0, 1] == pytest.approx(np.exp(-0.125), abs=0.04)


def test_defocus_blurs_but_keeps_the_light():
    scope = states(batch_effect=0)["A/1"]
    label = np.zeros((80, 80), np.float32)
    label[40, 40] = 100.0
    light = np.ones_like(label)
    sharp, blurred = (fluorescence_photons(label, scope, light, z, 0.5) for z in (0.0, 3.0))
    assert blurred.max() < sharp.max()
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=1e-4)


def test_phase_image_is_level_outside_cells_and_dark_inside():
    scope = states(batch_effect=0)["A/1"]
    path = np.zeros((120, 120), np.float32)
    path[50:70, 50:70] = 1.0
    image = phase_photons(path, scope, np.ones_like(path), 0.0, 0.5)
    assert image[0, 0] == pytest.approx(scope.phase_photons, rel=1e-3)
    assert image[60, 60] < 0.95 * scope.phase_photons
    # The halo is a bright rim.
    assert image[60, 73] > 1.01 * scope.phase_photons
