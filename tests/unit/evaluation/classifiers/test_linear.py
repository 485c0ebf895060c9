"""Linear classifiers: classes, scikit-learn's numbers, missing features, files."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dynaclr.config import UserError
from dynaclr.evaluation import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.metrics.classification import balanced_accuracy, confusion_matrix
from dynaclr.io.artifacts import digest_path


def test_probabilities_equal_those_of_sklearn(three_classes):
    features, labels, groups = three_classes
    for chosen in (np.ones(len(labels), bool), labels != "mock"):
        classifier, _ = fit_linear_classifier(features[chosen], labels[chosen], groups[chosen])
        solver = "lbfgs" if chosen.all() else "newton-cholesky"
        reference = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=classifier.strength,
                class_weight="balanced",
                solver=solver,
                max_iter=2000,
                tol=1e-5,
            ),
        ).fit(features[chosen], labels[chosen])
        np.testing.assert_allclose(
            classifier.predict_proba(features), reference.predict_proba(features), atol=1e-12
        )
        assert (classifier.predict(features) == reference.predict(features)).all()
        assert classifier.classes == tuple(reference.classes_)


def test_three_classes_are_learned(three_classes):
    features, labels, groups = three_classes
    _, validation = fit_linear_classifier(features, labels, groups)
    codes = np.searchsorted(validation.classes, labels.astype(str))
    confusion = confusion_matrix(codes, validation.probability.argmax(axis=1), 3)
    assert balanced_accuracy(confusion) > 0.85
    np.testing.assert_allclose(validation.probability.sum(axis=1), 1.0)


def test_a_class_in_one_group_only_is_reported_and_still_fitted(three_classes):
    features, labels, groups = three_classes
    labels = np.where(groups == 7, "rare", "common").astype(object)
    classifier, validation = fit_linear_classifier(features, labels, groups)
    assert validation.note == "class 'rare' is in one group only: no cross-validation"
    assert np.isnan(validation.probability).all()
    assert classifier.classes == ("common", "rare")


def test_missing_features_are_taken_at_the_mean(three_classes):
    features, labels, groups = three_classes
    features[::5, 3] = np.nan
    features[:, 4] = np.nan
    classifier, _ = fit_linear_classifier(features, labels, groups)
    filled = features.copy()
    filled[::5, 3] = np.nanmean(features[:, 3])
    filled[:, 4] = 123.0
    expected = classifier.predict_proba(features)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(classifier.predict_proba(filled), expected)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_saved_classifier_comes_back_the_same(tmp_path, n_classes, three_classes):
    features, labels, groups = three_classes
    chosen = np.isin(labels, ["early", "late", "mock"][:n_classes])
    classifier, _ = fit_linear_classifier(
        features[chosen],
        labels[chosen],
        groups[chosen],
        feature_names=list("abcde"),
        provenance={"task": "state"},
    )
    classifier.save(tmp_path / "one")
    classifier.save(tmp_path / "two")
    loaded = LinearClassifier.load(tmp_path / "one")
    np.testing.assert_array_equal(
        loaded.predict_proba(features), classifier.predict_proba(features)
    )
    for name in ("classes", "feature_names", "strength", "provenance"):
        assert getattr(loaded, name) == getattr(classifier, name)
    assert digest_path(tmp_path / "one") == digest_path(tmp_path / "two")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_a_damaged_classifier_is_reported(tmp_path, three_classes):
    features, labels, groups = three_classes
    folder = tmp_path / "classifier"
    classifier, _ = fit_linear_classifier(features, labels, groups)
    classifier.save(folder)
    content = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps({**content, "classes": ["x", "y"]}))
    with pytest.raises(UserError, match=r"ValueError: coefficients has shape \(3, 5\)"):
        LinearClassifier.load(folder)
    (folder / "classifier.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(UserError, match="not a linear classifier of format 1"):
        LinearClassifier.load(folder)
    with pytest.raises(UserError, match="no such file"):
        LinearClassifier.load(tmp_path / "absent")


def test_arrays_that_could_hold_code_are_not_loaded(tmp_path, three_classes):
    features, labels, groups = three_classes
    classifier, _ = fit_linear_classifier(features, labels, groups)
    classifier.save(tmp_path / "c")
    arrays = {"coefficients": np.array([object()]), "intercept": 0, "mean": 0, "scale": 1}
    np.savez(tmp_path / "c" / "arrays.npz", **arrays)
    with pytest.raises(UserError, match="allow_pickle"):
        LinearClassifier.load(tmp_path / "c")


def test_wrong_arguments_are_reported(three_classes):
    features, labels, groups = three_classes
    with pytest.raises(ValueError, match="must describe the same rows"):
        fit_linear_classifier(features[1:], labels, groups)
    with pytest.raises(ValueError, match="two classes are needed, found \\['late'\\]"):
        fit_linear_classifier(features, np.full(len(labels), "late", object), groups)
    classifier, _ = fit_linear_classifier(features, labels, groups)
    with pytest.raises(ValueError, match=r"takes \(n, 5\)"):
        classifier.predict_proba(features[:, :3])
