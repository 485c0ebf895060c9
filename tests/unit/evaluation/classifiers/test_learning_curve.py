"""Learning curves draw whole lineages, and end at the score of all of them."""

import numpy as np
import pytest

from dynaclr.evaluation.classifiers.learning_curve import draw_lineages, learning_curve


def test_every_class_is_drawn_and_whole_lineages():
    rng = np.random.default_rng(0)
    lineages = np.repeat(np.arange(30), 3)
    labels = np.where(lineages == 7, "rare", "common").astype(object)
    for n in (2, 5, 30):
        drawn = draw_lineages(labels, lineages, n, rng)
        names, counts = np.unique(lineages[drawn], return_counts=True)
        assert len(names) == n
        assert set(counts) == {3}
        assert 7 in names


def test_the_learning_curve_ends_at_the_score_of_all_lineages(scored):
    curve = learning_curve(*scored, seed=0)
    metrics = scored[2].tables.metrics
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["estimate"] == "held_out")]
    whole = auroc.set_index("variant")["value"]
    for name, part in curve.groupby("variant"):
        assert part["n_lineages"].tolist() == [4, 8, 16]
        last = part.iloc[-1]
        assert last["value"] == last["low"] == last["high"]
        assert last["value"] == pytest.approx(whole[name], abs=1e-6)


def test_the_learning_curve_is_a_mean_over_experiments_that_lie_apart(score, tmp_path):
    given = score(tmp_path, ["a"], ["b", "c"], batch=20.0)
    metrics = given[2].tables.metrics
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["estimate"] == "held_out")]
    whole = auroc.groupby("variant")["value"].mean()
    last = learning_curve(*given, seed=0).groupby("variant").last()
    for name in whole.index:
        assert last.loc[name, "value"] == pytest.approx(whole[name], abs=1e-6)
    assert set(last["n_rows"]) == {auroc[auroc["variant"] == "seed0"]["n_rows"].sum()}
