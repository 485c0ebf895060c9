"""Cross-validation: nothing of the left-out rows is used, by group and by experiment."""

import numpy as np

from dynaclr.evaluation.classifiers.cross_validation import (
    cross_validate,
    leave_one_out,
)
from dynaclr.evaluation.classifiers.linear import fit_with_strength
from dynaclr.evaluation.metrics.auroc import auroc


def track_data(n_tracks=120, n_frames=6, n_features=80, seed=0):
    """Rows of a track are nearly the same: a classifier that saw one knows the others."""
    rng = np.random.default_rng(seed)
    tracks = np.repeat(np.arange(n_tracks), n_frames)
    features = rng.normal(size=(n_tracks, n_features))[tracks]
    return features + 0.05 * rng.normal(size=features.shape), tracks, rng


def test_labels_drawn_at_random_for_each_track_are_not_predicted():
    features, tracks, rng = track_data()
    labels = np.array(["no", "yes"], object)[rng.integers(0, 2, tracks.max() + 1)[tracks]]
    positive = labels == "yes"
    grouped = cross_validate(features, labels, tracks)
    assert 0.35 < auroc(positive, grouped.probability[:, 1]) < 0.65
    # With rows of a track in both parts, the same data seem solved.
    leaking = cross_validate(features, labels, np.arange(len(labels)))
    assert auroc(positive, leaking.probability[:, 1]) > 0.85


def test_choosing_the_penalty_does_not_lift_random_labels_above_chance():
    areas = []
    for seed in range(12):
        features, tracks, rng = track_data(n_tracks=40, n_frames=2, n_features=20, seed=seed)
        labels = np.array(["no", "yes"], object)[rng.permutation(np.arange(40) % 2)[tracks]]
        result = cross_validate(features, labels, tracks, seed=seed)
        areas.append(auroc(labels == "yes", result.probability[:, 1]))
    assert 0.38 < np.mean(areas) < 0.62


def test_scaling_is_fitted_without_the_left_out_rows(three_classes):
    features, labels, groups = three_classes
    result = cross_validate(features, labels, groups, strengths=(0.1,), seed=1)
    far = features.copy()
    far[groups == groups[0]] *= 1e6
    moved = cross_validate(far, labels, groups, strengths=(0.1,), seed=1)
    # Folds are the same; rows of the group's own fold were judged by classifiers without it.
    same = np.isclose(result.probability, moved.probability).all(axis=1)
    assert 0.1 < same[groups != groups[0]].mean() < 0.4


def test_two_groups_of_a_class_are_enough_to_cross_validate(three_classes):
    features, labels, groups = three_classes
    labels = np.where(groups < 2, "rare", "common").astype(object)
    validation = cross_validate(features, labels, groups)
    assert np.isfinite(validation.probability).all()


def test_an_experiment_is_left_out_whole():
    """Its rows' probabilities are those of a classifier of the others, at the chosen strength."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 3))
    labels = np.where(features[:, 0] + rng.normal(size=120) > 0, "x", "y").astype(object)
    experiments = np.array(list("abc"), dtype=object)[np.arange(120) % 3]
    validation = leave_one_out(features, labels, experiments, strengths=(0.1,))
    inside = experiments != "b"
    classifier = fit_with_strength(features[inside], labels[inside], 0.1)
    expected = classifier.predict_proba(features[~inside])
    np.testing.assert_allclose(validation.probability[~inside], expected)
    alone = leave_one_out(features, labels, np.full(120, "a", dtype=object))
    assert alone.note == "one experiment only: none can be left out"
    assert np.isnan(alone.probability).all()
