"""Learning curves draw whole lineages, and end at the score of all of them."""

import numpy as np
import pandas as pd
import pytest

from dynaclr.evaluation.classifiers.learning_curve import draw_lineages, learning_rows


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


def curve_of(made):
    """Learning curves of every variant and set."""
    rows = []
    for variant in made.variants:
        for scored in made.sets:
            inside = made.inside(scored, variant.name)
            rows += learning_rows(scored, variant, inside, made.fitted.draws[variant.name])
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("train", "held_out", "batch"), [("ab", "c", 0.0), ("a", "bc", 20.0)])
def test_a_learning_curve_ends_at_the_score_of_all_lineages(
    score, tmp_path, train, held_out, batch
):
    made = score(tmp_path, list(train), list(held_out), batch=batch)
    metrics = made.tables.metrics
    auroc = metrics[metrics["metric"] == "auroc"].set_index(["variant", "experiment"])["value"]
    curve = curve_of(made)
    assert set(curve["experiment"]) == set(held_out)
    for key, part in curve.groupby(["variant", "experiment"]):
        sizes = part["n_lineages"].tolist()
        assert sizes[:2] == [4, 8]
        assert (part["n_draws"] == [*([5] * (len(sizes) - 1)), 1]).all()
        last = part.iloc[-1]
        assert last["value"] == last["low"] == last["high"]
        assert last["value"] == pytest.approx(auroc[key], abs=1e-6)
