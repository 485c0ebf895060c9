"""The cells of one field of view: how they move, grow, divide and respond.

Lengths are in micrometres, times in hours post infection. Nothing here knows of pixels or channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dynaclr.config.simulation import SimulationConfig

# Cells live in an area a little larger than the field of view, so that they come and go.
MARGIN_UM = 10.0
MITOSIS_HOURS = 0.75
PERSISTENCE_HOURS = 0.5
SUBSTEP_HOURS = 5.0 / 60.0
RELAXATION_HOURS = 2.0
# Traits of a cell, each a standard normal number that daughters share in part.
TRAITS = (
    "size",
    "expression",
    "nucleus",
    "thickness",
    "texture_strength",
    "texture_scale",
    "network_scale",
    "puncta_share",
    "puncta_size",
    "puncta_spread",
    "severity",
)


@dataclass(frozen=True)
class Fate:
    """Whether and how a cell responds to the infection.

    Attributes
    ----------
    infected, responder : bool
        A responder is always infected.
    onset_hours : float
        Hour post infection at which its response begins; NaN without one.
    rise_hours : float
        Hours from the onset to the full response.
    inherited : float
        Response of the mother at the division; it fades unless the cell's own response holds it.
    born_hours : float
        Hour of that division.
    """

    infected: bool = False
    responder: bool = False
    onset_hours: float = math.nan
    rise_hours: float = math.nan
    inherited: float = 0.0
    born_hours: float = 0.0

    def response(self, hours: float) -> float:
        """Progress of the response, 0 (none) to 1 (full), continuous in time."""
        age = max(hours - self.born_hours, 0.0)
        faded = self.inherited * math.exp(-age / RELAXATION_HOURS)
        own = _smoothstep((hours - self.onset_hours) / self.rise_hours) if self.responder else 0.0
        return max(own, faded)


@dataclass(frozen=True)
class Cell:
    """What stays the same in the life of one cell, from birth to division.

    Attributes
    ----------
    number : int
        Unique in the field of view, in order of birth; 0 is the first.
    mother : int
        Number of the mother, or -1.
    born_hours, division_hours : float
        Begin and end of its life.
    fate : Fate
        Its response.
    traits : dict of str to float
        Standard normal deviates by name, see `TRAITS`.
    """

    number: int
    mother: int
    born_hours: float
    division_hours: float
    fate: Fate
    traits: dict[str, float]

    def phase(self, hours: float) -> float:
        """Progress through the cell cycle, 0 at birth to 1 at division."""
        return (hours - self.born_hours) / (self.division_hours - self.born_hours)

    def rounding(self, hours: float) -> float:
        """How far the cell is rounded up around a division, 0 to 1."""
        nearest = min(self.division_hours - hours, hours - self.born_hours)
        return _smoothstep(1.0 - max(nearest, 0.0) / MITOSIS_HOURS)

    def radius_um(self, hours: float, diameter_um: float) -> float:
        """Radius of the spread cell; its area doubles from birth to division."""
        growth = 2.0 ** (min(max(self.phase(hours), 0.0), 1.0) - 0.5)
        size = math.exp(0.1 * self.traits["size"])
        return 0.5 * diameter_um * size * math.sqrt(growth)


@dataclass(frozen=True)
class Frame:
    """Where the living cells are at one frame.

    Attributes
    ----------
    hours : float
        Hour post infection.
    numbers : ndarray of int
        Cell numbers, ascending.
    yx_um : ndarray of float, shape (cells, 2)
        Centres relative to the corner of the field of view.
    angles : ndarray of float
        Orientation in radians.
    """

    hours: float
    numbers: NDArray[np.int64]
    yx_um: NDArray[np.float64]
    angles: NDArray[np.float64]


@dataclass
class Population:
    """All cells of a field of view and where they are at each frame."""

    cells: list[Cell] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


def _smoothstep(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


def simulate_population(
    config: SimulationConfig,
    *,
    infected: bool,
    size_um: tuple[float, float],
    hours: NDArray[np.float64],
    rng: np.random.Generator,
) -> Population:
    """Let cells live in one field of view.

    Parameters
    ----------
    config : SimulationConfig
        Parameters of the population and of its response.
    infected : bool
        Whether the well was infected.
    size_um : tuple of float
        Height and width of the field of view.
    hours : ndarray
        Hour post infection of each frame, evenly spaced.
    rng : numpy.random.Generator
        Source of everything random.
    """
    colony = _Colony(config, infected, np.asarray(size_um), rng, float(hours[0]))
    population = Population(cells=colony.cells)
    for i, now in enumerate(hours):
        if i:
            colony.advance(float(hours[i - 1]), float(now))
        population.frames.append(colony.snapshot(float(now)))
    return population


class _Colony:
    """Moving state of a population: who is alive, where, and with which velocity."""

    def __init__(
        self,
        config: SimulationConfig,
        infected: bool,
        size_um: NDArray[np.float64],
        rng: np.random.Generator,
        start: float,
    ) -> None:
        self.config, self.infected, self.rng, self.size_um = config, infected, rng, size_um
        self.cells: list[Cell] = []
        area = float(np.prod(size_um + 2 * MARGIN_UM))
        count = max(1, round(config.cells * area / float(np.prod(size_um))))
        for _ in range(count):
            self._add_founder(start)
        self.alive = np.arange(count)
        self.yx = rng.uniform(-MARGIN_UM, size_um + MARGIN_UM, size=(count, 2))
        self.velocity = self._new_velocity(count)
        self.angles = rng.uniform(0, 2 * np.pi, count)
        for _ in range(60):
            self._push_apart(start, 0.5)

    def snapshot(self, hours: float) -> Frame:
        """Where the living cells are now."""
        return Frame(hours, self.alive.copy(), self.yx.copy(), self.angles.copy())

    def advance(self, start: float, stop: float) -> None:
        """Let the cells live from one hour to another, in short steps."""
        steps = max(1, math.ceil((stop - start) / SUBSTEP_HOURS - 1e-9))
        step = (stop - start) / steps
        for i in range(1, steps + 1):
            now = start + i * step
            self._move(step)
            self._push_apart(now, 0.25)
            self._divide(now)

    def _add_founder(self, start: float) -> None:
        """Add a founder of random age; young cells are more frequent in a growing culture."""
        phase = -math.log2(1.0 - self.rng.uniform() / 2.0)
        cycle = self._cycle_hours()
        born = start - phase * cycle
        traits = dict(zip(TRAITS, self.rng.standard_normal(len(TRAITS)), strict=True))
        infected = self.infected and self.rng.uniform() < self.config.infected_fraction
        fate = self._new_fate(infected, born=born, earliest=-math.inf)
        self.cells.append(Cell(len(self.cells), -1, born, born + cycle, fate, traits))

    def _cycle_hours(self) -> float:
        return max(self.config.cycle_hours * (1 + 0.15 * self.rng.standard_normal()), 2.0)

    def _new_fate(
        self, infected: bool, *, born: float, earliest: float, inherited: float = 0.0
    ) -> Fate:
        config = self.config
        responder = self.rng.uniform() < config.responder_fraction
        onset = config.onset_hours + config.onset_hours_sd * self.rng.standard_normal()
        onset = max(onset, earliest + self.rng.uniform())
        rise = config.rise_hours * math.exp(0.3 * self.rng.standard_normal())
        if not (infected and responder):
            return Fate(infected=infected, inherited=inherited, born_hours=born)
        return Fate(True, True, onset, rise, inherited, born)

    def _fate_of_daughter(self, mother: Fate, now: float) -> Fate:
        """Inherited whole, or drawn anew; what the mother had already begun fades slowly."""
        inherited = mother.response(now)
        drawn = self._new_fate(mother.infected, born=now, earliest=now, inherited=inherited)
        if self.rng.uniform() >= self.config.inherit_probability:
            return drawn
        return replace(mother, inherited=inherited, born_hours=now)

    def _new_velocity(self, count: int) -> NDArray[np.float64]:
        # The speed is two-dimensional; each axis has half its variance.
        sd = self.config.speed_um_per_hour / math.sqrt(2.0)
        return sd * self.rng.standard_normal((count, 2))

    def _move(self, step: float) -> None:
        """Persistent random walk: velocities are an Ornstein-Uhlenbeck process."""
        correlation = math.exp(-step / PERSISTENCE_HOURS)
        fresh = self._new_velocity(len(self.alive))
        self.velocity = correlation * self.velocity + math.sqrt(1 - correlation**2) * fresh
        self.yx = self.yx + step * self.velocity
        self.angles = self.angles + 0.35 * math.sqrt(step) * self.rng.standard_normal(
            len(self.alive)
        )
        low, high = -MARGIN_UM, self.size_um + MARGIN_UM
        outside = (self.yx < low) | (self.yx > high)
        self.velocity[outside] *= -1
        self.yx = np.clip(self.yx, low, high)

    def _push_apart(self, now: float, strength: float) -> None:
        """Cells that overlap push each other away along the line between their centres."""
        diameter = self.config.diameter_um
        radius = np.array([self.cells[i].radius_um(now, diameter) for i in self.alive])
        apart = self.yx[:, None] - self.yx[None]
        distance = np.sqrt((apart**2).sum(-1)) + 1e-6
        overlap = np.clip(radius[:, None] + radius[None] - distance, 0, None)
        np.fill_diagonal(overlap, 0)
        self.yx = self.yx + strength * (overlap[..., None] * apart / distance[..., None]).sum(1) / 2

    def _divide(self, now: float) -> None:
        due = [i for i, number in enumerate(self.alive) if self.cells[number].division_hours <= now]
        for i in due:
            self._split(i, now)
        if due:
            keep = np.setdiff1d(np.arange(len(self.alive)), due)
            self.alive, self.yx = self.alive[keep], self.yx[keep]
            self.velocity, self.angles = self.velocity[keep], self.angles[keep]

    def _split(self, i: int, now: float) -> None:
        mother = self.cells[self.alive[i]]
        radius = mother.radius_um(now, self.config.diameter_um)
        axis = np.array([math.sin(self.angles[i]), math.cos(self.angles[i])])
        for side in (-1, 1):
            number = len(self.cells)
            fate = self._fate_of_daughter(mother.fate, now)
            traits = self._traits_of_daughter(mother)
            self.cells.append(
                Cell(number, mother.number, now, now + self._cycle_hours(), fate, traits)
            )
            self.alive = np.append(self.alive, number)
            self.yx = np.vstack([self.yx, self.yx[i] + side * 0.45 * radius * axis])
            self.velocity = np.vstack([self.velocity, self._new_velocity(1)])
            self.angles = np.append(self.angles, self.angles[i] + 0.5 * np.pi)

    def _traits_of_daughter(self, mother: Cell) -> dict[str, float]:
        shared = self.config.heritability
        own = math.sqrt(1 - shared**2) * self.rng.standard_normal(len(TRAITS))
        return {name: shared * mother.traits[name] + x for name, x in zip(TRAITS, own, strict=True)}
