"""Appearance of one cell before any microscope: a patch of each marker around its centre.

The response does two things, both gradual. The cytoplasm's grain gets coarser at the same variance,
and the reporter moves from a network and scattered puncta into puncta beside the nucleus, with the
same total. How much grain, how many puncta and how bright a cell is differs between cells
anyway, responding or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynaclr.config.simulation import SimulationConfig
from dynaclr.simulation.population import Cell

FINE_GRAIN_UM = 1.8
COARSE_GRAIN_UM = 3.4
NETWORK_UM = 3.6
WAVES = 48
# The full response: how far puncta turn to one side and sink towards the nucleus (shares of the
# way), and how far their share of the light is pulled to a common value.
GATHERING = 0.6
CONDENSATION = 0.85
PUNCTA_SHARE = 0.6
PUNCTA_PULL = 0.6
# Amplitude of the outline's lobes of angular frequency 2, 3, 4 and 5.
LOBES = (0.13, 0.07, 0.05, 0.03)

Patch = NDArray[np.float32]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Waves:
    """A random field as a sum of plane waves that travel slowly.

    With many waves of random direction and phase the field tends to a Gaussian one of unit
    variance whose correlation length follows the wavelength.

    Attributes
    ----------
    k : ndarray, shape (waves, 2)
        Wave vectors (y, x) in radians per um.
    phase : ndarray, shape (waves,)
        Phases at hour 0, radians.
    rate : ndarray, shape (waves,)
        Change of the phases in radians per hour.
    """

    k: NDArray[np.float32]
    phase: NDArray[np.float32]
    rate: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength_um: float) -> Waves:
        """Random waves around a wavelength."""
        angle = rng.uniform(0, 2 * np.pi, WAVES)
        length = wavelength_um * np.exp(0.25 * rng.standard_normal(WAVES))
        k = (2 * np.pi / length)[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
        rate = 0.6 * rng.standard_normal(WAVES)
        phase = rng.uniform(0, 2 * np.pi, WAVES)
        return cls(k.astype(np.float32), phase.astype(np.float32), rate.astype(np.float32))

    def field(self, y: Patch, x: Patch, hours: float, angle: float) -> Patch:
        """Values at the grid `y` by `x` (um from the centre) of a cell turned by `angle`.

        cos(a + b) = cos a cos b - sin a sin b makes it two products of small matrices.
        """
        turn = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], np.float32
        )
        k = self.k @ turn
        a = np.outer(y, k[:, 0]) + (self.phase + np.float32(hours) * self.rate)
        b = np.outer(x, k[:, 1])
        total = np.cos(a) @ np.cos(b).T - np.sin(a) @ np.sin(b).T
        return total * np.float32(math.sqrt(2.0 / WAVES))


@dataclass(frozen=True)
class Puncta:
    """Bright spots of the reporter in the cytoplasm.

    Attributes
    ----------
    angle, wander : ndarray, shape (spots,)
        Direction from the nucleus and how far it swings to and fro, radians.
    depth : ndarray, shape (spots,)
        Position between nucleus (0) and outline (1).
    weight : ndarray, shape (spots,)
        Share of the light; sums to 1.
    side : float
        Direction from the nucleus in which the spots gather when the cell responds.
    """

    angle: Vector
    wander: Vector
    depth: Vector
    weight: Vector
    side: float

    @classmethod
    def draw(cls, rng: np.random.Generator, spread: float) -> Puncta:
        """Random spots; `spread` shifts them outward (positive) or inward (negative)."""
        count = int(rng.integers(7, 15))
        outward = 1.0 / (1.0 + np.exp(-(rng.standard_normal(count) + 0.5 * spread)))
        return cls(
            angle=rng.uniform(0, 2 * np.pi, count),
            wander=rng.uniform(0, 2 * np.pi, count),
            depth=outward,
            weight=rng.dirichlet(np.full(count, 3.0)),
            side=float(rng.uniform(0, 2 * np.pi)),
        )

    def positions(self, change: float, hours: float) -> tuple[Vector, Vector]:
        """Direction and depth of each spot when the change has come so far (0 to 1)."""
        # The angle to the gathering side is taken from where the spot rests: from where it swings
        # to, its sign would flip when the spot passes the opposite side.
        toward = (self.side - self.angle + np.pi) % (2 * np.pi) - np.pi
        swing = 0.4 * np.sin(self.wander + 0.8 * hours)
        angle = self.angle + swing + GATHERING * change * toward
        return angle, self.depth * (1.0 - CONDENSATION * change)


class Appearance:
    """Appearance of one cell: its own traits, drawn once, and its patches at any hour.

    Parameters
    ----------
    cell : Cell
        The cell that is drawn.
    config : SimulationConfig
        Sizes and the spread between cells.
    rng : numpy.random.Generator
        The cell's own source of randomness.
    """

    def __init__(self, cell: Cell, config: SimulationConfig, rng: np.random.Generator) -> None:
        self.cell, self.config = cell, config
        spread, traits = config.variability, cell.traits
        grain = math.exp(0.6 * spread * traits["texture_scale"])
        network = math.exp(0.4 * spread * traits["network_scale"])
        self.fine = Waves.draw(rng, FINE_GRAIN_UM * grain)
        self.coarse = Waves.draw(rng, COARSE_GRAIN_UM * grain)
        self.network = Waves.draw(rng, NETWORK_UM * network)
        self.chromatin = Waves.draw(rng, 2.0)
        self.puncta = Puncta.draw(rng, traits["puncta_spread"])
        self.lobes = [
            (frequency, amplitude, rng.uniform(0, 2 * np.pi), 0.7 * rng.standard_normal())
            for frequency, amplitude in enumerate(LOBES, start=2)
        ]
        self.nucleus_offset = 0.12 * rng.standard_normal(2).clip(-1.5, 1.5)
        self.nucleoli = 0.45 * rng.standard_normal((2, 3)).clip(-1.2, 1.2)
        self.nucleus_share = 0.42 * math.exp(0.3 * spread * traits["nucleus"])
        self.thickness = math.exp(0.4 * spread * traits["thickness"])
        self.grain_strength = 0.32 * math.exp(spread * traits["texture_strength"])
        self.brightness = math.exp(1.2 * spread * traits["expression"])
        # Logistic of a normal deviate: a share between 0 and 1 around 0.27.
        self.puncta_share = 1 / (1 + math.exp(1.0 - 3.0 * spread * traits["puncta_share"]))
        self.puncta_um = 0.55 * math.exp(0.6 * spread * traits["puncta_size"])
        self.severity = math.exp(0.7 * spread * traits["severity"])

    def reach_um(self, hours: float) -> float:
        """Distance from the centre beyond which the cell leaves no light."""
        return 1.3 * self.cell.radius_um(hours, self.config.diameter_um) + 1.0

    def patches(
        self, y: Patch, x: Patch, hours: float, angle: float, markers: tuple[str, ...]
    ) -> dict[str, Patch]:
        """Patch of each of `markers` on the grid `y` by `x`, in um from the centre.

        Parameters
        ----------
        y, x : ndarray of float32
            Coordinates of the patch's rows and columns.
        hours : float
            Hour post infection.
        angle : float
            Orientation of the cell, radians.
        markers : tuple of str
            Some of `dynaclr.config.simulation.MARKERS`.

        Returns
        -------
        dict of str to ndarray
            ``phase``: optical path, about 1 in the middle of an average cell. ``nucleus`` and
            ``reporter``: light with mean about 1 over an average cell.
        """
        shape = _Shape(self, y, x, hours, angle)
        change = min(self.severity * self.cell.fate.response(hours), 1.0)
        draw = {"phase": self._phase, "nucleus": self._nucleus, "reporter": self._reporter}
        return {marker: draw[marker](shape, change) for marker in markers}

    def _phase(self, shape: _Shape, change: float) -> Patch:
        """Thicker in the middle and when rounded up; grain in the cytoplasm, nucleoli."""
        fine, coarse = shape.field(self.fine), shape.field(self.coarse)
        # Weights whose squares sum to 1 keep the variance of the grain.
        grain = math.sqrt(1.0 - change) * fine + math.sqrt(change) * coarse
        visible = (1.0 - 0.7 * shape.nucleus) * (1.0 - 0.6 * shape.rounding)
        cy, cx = shape.nucleus_center[:, None] + shape.turn(shape.nucleus_radius * self.nucleoli)
        nucleoli = shape.spots(cy, cx, 0.6, np.ones(self.nucleoli.shape[1]))
        height = self.thickness * (0.45 + 0.55 * shape.dome) * (1.0 + 1.2 * shape.rounding)
        detail = 1.0 + self.grain_strength * grain * visible
        detail += (0.5 * nucleoli - 0.15) * shape.nucleus * (1.0 - shape.rounding)
        return shape.body * height * detail

    def _nucleus(self, shape: _Shape, change: float) -> Patch:
        """DNA doubles over the cycle and condenses for the division; no response here."""
        chromatin = 1.0 + 0.25 * shape.field(self.chromatin)
        content = 2.0 ** (shape.phase - 0.5) / (shape.nucleus_radius / shape.radius) ** 2
        return np.float32(0.2 * content) * shape.nucleus * chromatin

    def _reporter(self, shape: _Shape, change: float) -> Patch:
        """Network, haze and puncta; the response moves light between them, none in or out."""
        cytoplasm = shape.body * (1.0 - 0.9 * shape.nucleus) * (0.4 + 0.6 * shape.dome)
        ridges = np.exp(-((shape.field(self.network) / 0.45) ** 2))
        share = self.puncta_share + (PUNCTA_SHARE - self.puncta_share) * PUNCTA_PULL * change
        share *= 1.0 - 0.5 * shape.rounding
        rest = (1.0 - share) * (0.65 * _unit_sum(cytoplasm * ridges) + 0.35 * _unit_sum(cytoplasm))
        spots = _unit_sum(self._spots(shape, change) * (cytoplasm + 0.02 * shape.body))
        pixels = np.pi * shape.spread_radius**2 / shape.pixel_area
        return np.float32(self.brightness * pixels) * (rest + share * spots)

    def _spots(self, shape: _Shape, change: float) -> Patch:
        angle, depth = self.puncta.positions(change, shape.hours)
        inner, outer = 1.15 * shape.nucleus_radius, 0.92 * shape.radius
        distance = inner + (outer - inner) * depth
        cy, cx = shape.nucleus_center
        width = self.puncta_um * (1.0 + 0.5 * change)
        return shape.spots(
            cy + distance * np.sin(angle + shape.angle),
            cx + distance * np.cos(angle + shape.angle),
            width,
            self.puncta.weight,
        )


class _Shape:
    """Outline and nucleus of a cell on a pixel grid at one hour."""

    def __init__(
        self, appearance: Appearance, y: Patch, x: Patch, hours: float, angle: float
    ) -> None:
        cell = appearance.cell
        self.y, self.x, self.hours, self.angle = y, x, hours, angle
        self.phase, self.rounding = cell.phase(hours), cell.rounding(hours)
        self.spread_radius = cell.radius_um(hours, appearance.config.diameter_um)
        self.radius = self.spread_radius * (1.0 - 0.22 * self.rounding)
        self.pixel_area = float((y[1] - y[0]) * (x[1] - x[0]))
        outline = self._outline(appearance)
        self.body = _soft(self.radius * (1.0 - outline), 0.6)
        self.dome = np.sqrt(np.clip(1.0 - outline**2, 0.0, 1.0))
        self.nucleus_radius = self.radius * appearance.nucleus_share * (1.0 - 0.3 * self.rounding)
        self.nucleus_center = self.turn(appearance.nucleus_offset * self.radius)
        cy, cx = self.nucleus_center
        distance = np.sqrt((y[:, None] - cy) ** 2 + (x[None] - cx) ** 2).astype(np.float32)
        self.nucleus = _soft(self.nucleus_radius - distance, 0.6)

    def _outline(self, appearance: Appearance) -> Patch:
        """Distance from the centre in units of the outline's distance in that direction."""
        plane = self.x[None] + 1j * self.y[:, None]
        distance = np.abs(plane) + np.float32(1e-3)
        direction = plane / distance
        reach = np.ones_like(distance)
        power = direction
        for frequency, amplitude, phase, rate in appearance.lobes:
            power = power * direction
            turn = phase + rate * self.hours - frequency * self.angle
            strength = amplitude * (1.0 - self.rounding)
            reach += np.float32(strength * math.cos(turn)) * power.real
            reach -= np.float32(strength * math.sin(turn)) * power.imag
        return distance / (np.float32(self.radius) * reach)

    def turn(self, yx: Vector) -> Vector:
        """Turn points, given as (y, x) on the first axis, by the angle of the cell."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.array([c * yx[0] + s * yx[1], -s * yx[0] + c * yx[1]])

    def field(self, waves: Waves) -> Patch:
        """Values of a random field on the grid of the cell."""
        return waves.field(self.y, self.x, self.hours, self.angle)

    def spots(
        self,
        cy: Vector,
        cx: Vector,
        width: float,
        weight: Vector,
    ) -> Patch:
        """Sum of Gaussian spots, as a product of two small matrices."""
        rows = np.exp(-0.5 * ((self.y[:, None] - cy[None]) / width) ** 2) * weight
        columns = np.exp(-0.5 * ((self.x[:, None] - cx[None]) / width) ** 2)
        return (rows @ columns.T).astype(np.float32)


def _soft(distance_um: Patch, edge_um: float) -> Patch:
    """Step from 0 (outside) to 1 (inside) over an edge of some width."""
    return np.clip(distance_um / np.float32(edge_um) + np.float32(0.5), 0.0, 1.0)


def _unit_sum(patch: Patch) -> Patch:
    return patch / max(float(patch.sum()), 1e-6)
