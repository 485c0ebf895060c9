"""Share of the way from the best baseline to a supervised ceiling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.evaluation.classifiers.way_to_ceiling import way_to_ceiling

NAMES = ("seed0", "seed1", "seed0-untrained", "seed1-untrained", "texture", "ceiling-task")
VALUES = dict(zip(NAMES, (0.8, 0.9, 0.5, 0.6, 0.7, 0.95), strict=True))


def resamples_of(values, spread=0.01, n=200, seed=0):
    """Resamples around the values, each variant with noise of its own."""
    rng = np.random.default_rng(seed)
    return {name: value + spread * rng.standard_normal(n) for name, value in values.items()}


def test_shares_are_measured_from_the_best_kind_of_baseline():
    shares = way_to_ceiling(VALUES, resamples_of(VALUES), n_lineages=20)
    assert shares["seed0"].value == pytest.approx((0.8 - 0.7) / (0.95 - 0.7))
    assert shares["seed1"].value == pytest.approx((0.9 - 0.7) / (0.95 - 0.7))
    assert {*shares} == {"seed0", "seed1"}
    assert shares["seed0"].low < shares["seed0"].value < shares["seed0"].high
    assert shares["seed0"].note == "from texture and shape 0.7 to 0.95"
    higher = VALUES | {"seed0-untrained": 0.7, "seed1-untrained": 0.8}
    share = way_to_ceiling(higher, resamples_of(higher), 20)["seed1"]
    assert share.value == pytest.approx((0.9 - 0.75) / (0.95 - 0.75)), "seeds of a kind: their mean"


def test_corrected_variants_do_not_count():
    more = VALUES | {"texture+zscore": 0.94, "seed0+zscore": 0.1}
    shares = way_to_ceiling(more, resamples_of(more), 20)
    assert shares["seed0"].value == pytest.approx(0.4)
    assert {*shares} == {"seed0", "seed1"}


@pytest.mark.parametrize("ceiling", [0.6, 0.7, 0.705])
def test_a_ceiling_that_is_not_clearly_above_gives_no_share(ceiling):
    values = VALUES | {"ceiling-task": ceiling}
    for share in way_to_ceiling(values, resamples_of(values), 20).values():
        assert np.isnan(share.value)
        assert "not clearly above the best baseline: from texture and shape 0.7" in share.note


def test_without_ceiling_or_baseline_there_is_nothing():
    for left_out in (["ceiling-task"], ["texture", "seed0-untrained", "seed1-untrained"]):
        values = {name: value for name, value in VALUES.items() if name not in left_out}
        assert way_to_ceiling(values, resamples_of(values), 20) == {}
    unknown = VALUES | {"ceiling-task": np.nan}
    assert way_to_ceiling(unknown, resamples_of(unknown), 20) == {}


def test_few_lineages_give_a_share_without_interval():
    share = way_to_ceiling(VALUES, resamples_of(VALUES), n_lineages=3)["seed0"]
    assert share.value == pytest.approx(0.4)
    assert np.isnan(share.low)
    assert "fewer than 5 lineages" in share.note


@given(scale=st.floats(0.1, 10), offset=st.floats(-1, 1), seed=st.integers(0, 99))
def test_neither_unit_nor_zero_of_the_score_matters(scale, offset, seed):
    resampled = resamples_of(VALUES, seed=seed)
    first = way_to_ceiling(VALUES, resampled, 20)["seed0"]
    moved = {name: scale * value + offset for name, value in VALUES.items()}
    resampled = {name: scale * values + offset for name, values in resampled.items()}
    second = way_to_ceiling(moved, resampled, 20)["seed0"]
    assert (second.value, second.low, second.high) == pytest.approx(
        (first.value, first.low, first.high), rel=1e-6
    )
