"""Movies of one field of view: cells drawn one by one in small windows, then imaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynaclr.config.simulation import SimulationConfig
from dynaclr.simulation import microscope as imaging
from dynaclr.simulation.cell import Appearance
from dynaclr.simulation.microscope import Microscope
from dynaclr.simulation.population import Frame, Population
from dynaclr.simulation.randomness import generator


@dataclass(frozen=True)
class Scene:
    """What is imaged, and how.

    Attributes
    ----------
    config : SimulationConfig
        Sizes, noise and seed.
    key : tuple of str
        Experiment and field of view; random streams depend on them.
    population : Population
        The cells.
    microscope : Microscope
        Technical state of the well.
    pixel_size_um : float
        Micrometres a pixel.
    channels : tuple of (str, bool)
        Marker of each channel and whether this well has it.
    """

    config: SimulationConfig
    key: tuple[str, ...]
    population: Population
    microscope: Microscope
    pixel_size_um: float
    channels: tuple[tuple[str, bool], ...]

    @property
    def markers(self) -> tuple[str, ...]:
        """Markers that must be drawn."""
        return tuple(marker for marker, present in self.channels if present)

    def random(self, *names: str | int) -> np.random.Generator:
        """Random generator for something in this scene."""
        return generator(self.config.seed, *self.key, *names)


def render(scene: Scene) -> Iterator[NDArray[np.uint16]]:
    """Frames of a scene, one after the other, each (C, 1, Y, X) in camera counts."""
    appearances: dict[int, Appearance] = {}
    shape = (scene.config.height, scene.config.width)
    light = imaging.illumination(scene.microscope, shape)
    hours = np.array([frame.hours for frame in scene.population.frames])
    focus = imaging.focus_track(scene.microscope, hours, scene.random("focus"))
    for t, frame in enumerate(scene.population.frames):
        appearances = _appearances(scene, frame, appearances)
        drawn = _draw_cells(scene, frame, appearances)
        rng = scene.random("camera", t)
        yield np.stack(
            [
                imaging.expose(
                    _photons(scene, marker, drawn.get(marker), light, float(focus[t])),
                    scene.microscope,
                    rng,
                )[None]
                for marker, _ in scene.channels
            ]
        )


def _appearances(scene: Scene, frame: Frame, known: dict[int, Appearance]) -> dict[int, Appearance]:
    """Appearances of the cells that live at a frame, by number; each is drawn once."""
    cells, config = scene.population.cells, scene.config
    return {
        number: known.get(number)
        or Appearance(cells[number], config, scene.random("looks", number))
        for number in map(int, frame.numbers)
    }


def _draw_cells(
    scene: Scene, frame: Frame, appearances: dict[int, Appearance]
) -> dict[str, NDArray[np.float32]]:
    """Sum of all cells' patches for each marker."""
    shape = (scene.config.height, scene.config.width)
    drawn = {marker: np.zeros(shape, np.float32) for marker in scene.markers}
    for number, center, angle in zip(frame.numbers, frame.yx_um, frame.angles, strict=True):
        cell = appearances[int(number)]
        window = _window(center, cell.reach_um(frame.hours), scene.pixel_size_um)
        inside = tuple(
            slice(max(w.start, 0), min(w.stop, n)) for w, n in zip(window, shape, strict=True)
        )
        if any(part.start >= part.stop for part in inside):
            continue
        y, x = (
            (np.arange(w.start, w.stop) * scene.pixel_size_um - c).astype(np.float32)
            for w, c in zip(window, center, strict=True)
        )
        crop = tuple(
            slice(part.start - w.start, part.stop - w.start)
            for part, w in zip(inside, window, strict=True)
        )
        for marker, patch in cell.patches(y, x, frame.hours, float(angle), scene.markers).items():
            drawn[marker][inside] += patch[crop]
    return drawn


def _window(
    center_um: NDArray[np.float64], reach_um: float, pixel_size_um: float
) -> tuple[slice, slice]:
    low = np.floor((center_um - reach_um) / pixel_size_um).astype(int)
    high = np.ceil((center_um + reach_um) / pixel_size_um).astype(int) + 1
    return slice(low[0], high[0]), slice(low[1], high[1])


def _photons(
    scene: Scene,
    marker: str,
    drawn: NDArray[np.float32] | None,
    light: NDArray[np.float32],
    focus_um: float,
) -> NDArray[np.float32]:
    if drawn is None:
        return imaging.background_photons(scene.microscope, light)
    make = imaging.phase_photons if marker == "phase" else imaging.fluorescence_photons
    return make(drawn, scene.microscope, light, focus_um, scene.pixel_size_um)
