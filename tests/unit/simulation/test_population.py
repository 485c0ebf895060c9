"""Cells live, divide and respond as stated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.config import SimulationConfig
from dynaclr.simulation.population import MARGIN_UM, Fate, simulate_population

HOURS = 2.0 + np.arange(40) * 0.25
SIZE_UM = (120.0, 140.0)


def population(seed: int = 0, infected: bool = True, hours=HOURS, **options):
    config = SimulationConfig(**{"cells": 15, "cycle_hours": 8, **options})
    rng = np.random.default_rng(seed)
    return simulate_population(config, infected=infected, size_um=SIZE_UM, hours=hours, rng=rng)


def sisters(result) -> list:
    mothers = sorted({cell.mother for cell in result.cells} - {-1})
    return [[cell for cell in result.cells if cell.mother == mother] for mother in mothers]


def test_every_division_gives_two_daughters_that_replace_their_mother():
    result = population()
    assert len(sisters(result)) > 10
    assert all(len(pair) == 2 for pair in sisters(result))
    for frame in result.frames:
        living = set(frame.numbers.tolist())
        for number in living:
            assert result.cells[number].mother not in living
            assert result.cells[number].born_hours <= frame.hours
            assert result.cells[number].division_hours > frame.hours


def test_cells_keep_their_number_and_stay_in_the_area():
    result = population()
    for frame in result.frames:
        assert (np.diff(frame.numbers) > 0).all()
        assert len(frame.numbers) == len(frame.yx_um) == len(frame.angles)
        # Pushing apart may move a cell a little beyond the border before it turns back.
        assert (frame.yx_um > -MARGIN_UM - 10).all()
        assert (frame.yx_um < np.array(SIZE_UM) + MARGIN_UM + 10).all()


def test_movement_does_not_depend_on_the_frame_interval():
    """The mean square displacement over two hours is the same for 10- and 30-minute frames."""
    spread = {}
    for minutes in (10, 30):
        hours = np.arange(0, 2.01, minutes / 60)
        moves = []
        for seed in range(30):
            # A single cell in the area, far from division: nothing else pushes it.
            result = population(seed, hours=hours, cells=1, cycle_hours=500.0)
            first, last = result.frames[0], result.frames[-1]
            moves += list(((last.yx_um - first.yx_um) ** 2).sum(1))
        spread[minutes] = np.sqrt(np.mean(moves))
    assert spread[10] == pytest.approx(spread[30], rel=0.3)


def test_area_doubles_from_birth_to_division():
    cell = population().cells[0]
    ratio = cell.radius_um(cell.division_hours, 14) / cell.radius_um(cell.born_hours, 14)
    assert ratio**2 == pytest.approx(2.0)
    assert cell.rounding(cell.division_hours) == 1.0
    assert cell.rounding((cell.division_hours + cell.born_hours) / 2) == 0.0


def test_nothing_responds_without_infection():
    result = population(infected=False)
    assert not any(cell.fate.infected or cell.fate.responder for cell in result.cells)
    assert all(cell.fate.response(20.0) == 0 for cell in result.cells)


def test_only_some_infected_cells_respond_each_with_its_own_onset_and_rate():
    result = population(cells=120, infected_fraction=0.8, responder_fraction=0.5)
    founders = [cell.fate for cell in result.cells if cell.mother < 0]
    infected = [fate for fate in founders if fate.infected]
    responders = [fate for fate in founders if fate.responder]
    assert len(infected) / len(founders) == pytest.approx(0.8, abs=0.1)
    assert len(responders) / len(infected) == pytest.approx(0.5, abs=0.12)
    assert all(fate.infected for fate in responders)
    onsets = np.array([fate.onset_hours for fate in responders])
    assert onsets.mean() == pytest.approx(5.0, abs=0.6)
    assert onsets.std() == pytest.approx(1.5, abs=0.5)
    assert len({fate.rise_hours for fate in responders}) == len(responders)


@pytest.mark.parametrize(("probability", "alike"), [(1.0, 1.0), (0.0, 0.5), (0.7, 0.75)])
def test_sisters_inherit_or_diverge_with_the_stated_probability(probability, alike):
    """Redrawn sisters still agree by chance: with even odds, in half of the pairs."""
    options = {"inherit_probability": probability, "responder_fraction": 0.5}
    pairs = [
        pair
        for seed in range(4)
        for pair in sisters(population(seed, cells=40, infected_fraction=1.0, **options))
    ]
    agree = np.mean([one.fate.responder == other.fate.responder for one, other in pairs])
    assert agree == pytest.approx(alike, abs=0.08)
    same_onset = np.mean(
        [
            one.fate.onset_hours == other.fate.onset_hours
            for one, other in pairs
            if one.fate.responder and other.fate.responder
        ]
    )
    assert (same_onset == 1.0) == (probability == 1.0)


def test_infection_itself_is_always_inherited():
    result = population(infected_fraction=0.5, inherit_probability=0.0)
    for pair in sisters(result):
        mother = result.cells[pair[0].mother]
        assert {cell.fate.infected for cell in pair} == {mother.fate.infected}


def test_response_is_continuous_over_divisions():
    result = population(cells=40, inherit_probability=0.0, infected_fraction=1.0)
    for pair in sisters(result):
        mother = result.cells[pair[0].mother]
        at_division = mother.fate.response(pair[0].born_hours)
        for cell in pair:
            assert cell.fate.response(cell.born_hours) == pytest.approx(at_division, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    onset=st.floats(-5, 20),
    rise=st.floats(0.5, 8),
    inherited=st.floats(0, 1),
    responder=st.booleans(),
)
def test_response_stays_between_0_and_1_and_changes_gradually(onset, rise, inherited, responder):
    fate = Fate(True, responder, onset if responder else math.nan, rise, inherited, 2.0)
    curve = np.array([fate.response(hours) for hours in np.arange(2.0, 40.0, 0.02)])
    assert ((curve >= 0) & (curve <= 1)).all()
    # The steepest a smoothstep gets is 1.5 over its rise; fading starts at half its value an hour.
    assert np.abs(np.diff(curve)).max() <= 0.02 * max(1.5 / rise, 0.5) + 1e-9
    assert curve[-1] == (1.0 if responder else pytest.approx(0.0, abs=1e-3))


def test_daughters_resemble_their_mother_as_much_as_stated():
    result = population(cells=150, heritability=0.7)
    mothers, daughters = [], []
    for cell in result.cells:
        if cell.mother >= 0:
            mothers += list(result.cells[cell.mother].traits.values())
            daughters += list(cell.traits.values())
    assert np.corrcoef(mothers, daughters)[0, 1] == pytest.approx(0.7, abs=0.05)
    assert np.std(daughters) == pytest.approx(1.0, abs=0.05)
