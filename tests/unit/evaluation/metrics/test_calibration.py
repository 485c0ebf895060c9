"""Calibration against scikit-learn, closed forms and the definition bin by bin."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from dynaclr.evaluation.metrics.calibration import (
    adjust_to_priors,
    brier_score,
    expected_calibration_error,
    reliability_curve,
)


@pytest.fixture
def binary():
    rng = np.random.default_rng(0)
    positive = rng.random(500)
    true = (rng.random(500) < positive**2).astype(int)
    return true, np.column_stack([1 - positive, positive])


@pytest.fixture
def ternary():
    rng = np.random.default_rng(1)
    return rng.integers(3, size=300), rng.dirichlet([1, 2, 1], size=300)


def test_brier_score_is_scikit_learns(binary, ternary):
    true, probability = binary
    assert brier_score(true, probability) == pytest.approx(
        brier_score_loss(true, probability[:, 1])
    )
    true, probability = ternary
    assert brier_score(true, probability) == pytest.approx(brier_score_loss(true, probability))


def test_reliability_curve_is_scikit_learns(binary):
    true, probability = binary
    observed, predicted = calibration_curve(true, probability[:, 1], n_bins=10)
    curve = reliability_curve(true, probability)
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted)
    assert curve.weight.sum() == 500


def test_calibration_error_is_its_definition_for_the_most_probable_class(ternary):
    true, probability = ternary
    confidence, hit = probability.max(axis=1), probability.argmax(axis=1) == true
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    assert expected_calibration_error(true, probability) == pytest.approx(error)


def test_a_constant_right_share_is_calibrated_and_certainty_that_errs_is_not():
    true = np.array([0, 0, 0, 1])
    assert expected_calibration_error(true, np.tile([0.75, 0.25], (4, 1))) == pytest.approx(0)
    wrong = np.tile([0.0, 1.0], (4, 1))
    assert expected_calibration_error(true, wrong) == pytest.approx(0.75)
    assert brier_score(true, wrong) == pytest.approx(0.75)


def test_weights_count_rows(binary):
    true, probability = binary
    weight = np.random.default_rng(2).integers(3, size=500)
    for score in (brier_score, expected_calibration_error):
        several = score(true, probability, np.stack([weight, np.ones(500)]))
        repeated = score(np.repeat(true, weight), np.repeat(probability, weight, axis=0))
        np.testing.assert_allclose(several, [repeated, score(true, probability)])


def test_training_shares_undo_equal_weighting():
    """Two normal classes of unequal size: Bayes' rule with equal and with true shares."""
    x = np.linspace(-3, 3, 7)
    first, second = np.exp(-0.5 * (x + 1) ** 2), np.exp(-0.5 * (x - 1) ** 2)
    equal = np.column_stack([first, second]) / (first + second)[:, None]
    true = 0.2 * second / (0.8 * first + 0.2 * second)
    np.testing.assert_allclose(adjust_to_priors(equal, np.array([0.8, 0.2]))[:, 1], true)
