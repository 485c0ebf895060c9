"""Scores against scikit-learn, with and without weights, and at their edges."""

import numpy as np
import pytest
from sklearn import metrics

from dynaclr.evaluation.metrics.classification import (
    balanced_accuracy,
    classification_scores,
    confusion_matrix,
    f1_per_class,
    missing_classes_note,
)


def test_scores_from_the_confusion_matrix_equal_sklearn():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    weight = rng.integers(0, 3, (4, 200)).astype(float)
    many = confusion_matrix(true, predicted, 3, weight)
    for row, confusion in zip(weight, many, strict=True):
        expected = metrics.confusion_matrix(true, predicted, sample_weight=row)
        np.testing.assert_allclose(confusion, expected)
        assert balanced_accuracy(confusion) == pytest.approx(
            metrics.balanced_accuracy_score(true, predicted, sample_weight=row)
        )
        np.testing.assert_allclose(
            f1_per_class(confusion),
            metrics.f1_score(true, predicted, average=None, sample_weight=row),
        )


def test_three_classes_average_one_against_the_rest():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, 150)
    probability = rng.dirichlet(np.ones(3), 150)
    probability[np.arange(150), true] += 0.3
    probability /= probability.sum(axis=1, keepdims=True)
    scores = classification_scores(true, probability, ("x", "y", "z"))
    assert scores["auroc"] == pytest.approx(
        metrics.roc_auc_score(true, probability, multi_class="ovr", average="macro")
    )
    assert scores["average_precision"] == pytest.approx(
        metrics.average_precision_score(np.eye(3)[true], probability, average="macro")
    )
    assert set(scores) == {
        *("auroc", "average_precision", "balanced_accuracy"),
        *("f1:x", "f1:y", "f1:z"),
    }


def test_a_single_class_gives_nan_and_a_reason():
    probability = np.array([[0.4, 0.6], [0.7, 0.3]])
    scores = classification_scores(np.array([0, 0]), probability, ("mock", "infected"))
    for name in ("auroc", "average_precision", "balanced_accuracy", "f1:infected"):
        assert np.isnan(scores[name])
    assert scores["f1:mock"] == pytest.approx(2 / 3)
    assert missing_classes_note(np.array([0, 0]), ("mock", "infected")) == (
        "all labelled observations are 'mock'"
    )


def test_a_missing_third_class_is_reported_and_left_out_of_the_mean():
    true = np.array([0, 0, 1, 1])
    probability = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    scores = classification_scores(true, probability, ("x", "y", "z"))
    assert scores["auroc"] == 1.0
    assert scores["balanced_accuracy"] == 1.0
    assert np.isnan(scores["f1:z"])
    assert missing_classes_note(true, ("x", "y", "z")) == "no observation is 'z'"


def test_no_rows_give_nan():
    nothing = classification_scores(np.empty(0, int), np.empty((0, 2)), ("x", "y"))
    assert all(np.isnan(value) for value in nothing.values())
    assert missing_classes_note(np.empty(0, int), ("x", "y")) == "no labelled observations"


def test_a_resample_that_lost_a_class_has_no_averages():
    true = np.array([0, 1, 1, 2])
    probability = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    weight = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.0]])
    scores = classification_scores(true, probability, ("x", "y", "z"), weight)
    for name in ("auroc", "average_precision", "balanced_accuracy", "f1:z"):
        assert scores[name][0] == 1.0
        assert np.isnan(scores[name][1])
    np.testing.assert_array_equal(scores["f1:x"], [1.0, 1.0])
