"""Shuffled labels keep whole lineages; learning curves draw them; experiments are left out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.classifiers.controls import (
    draw_lineages,
    learning_curve,
    n_ways_to_shuffle,
    null_rows,
    shuffle_by_lineage,
)
from dynaclr.evaluation.classifiers.linear import fit_probabilities, leave_one_out
from dynaclr.evaluation.classifiers.task_scores import score_task
from dynaclr.evaluation.tasks import select_task
from dynaclr.io.embeddings import Cohort


def lineages_of(lengths, seed=0):
    """Rows of lineages of given lengths in two experiments, in random order."""
    rng = np.random.default_rng(seed)
    lineages = np.repeat(np.arange(len(lengths)), lengths)
    hours = np.concatenate([np.arange(n) for n in lengths]).astype(float)
    order = rng.permutation(len(lineages))
    experiments = np.array(["a", "b"], dtype=object)[lineages % 2]
    return lineages[order], experiments[order], hours[order]


@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=12), seed=st.integers(0, 99))
def test_a_lineage_gets_the_labels_of_one_lineage_of_its_experiment(lengths, seed):
    lineages, experiments, hours = lineages_of(lengths)
    rng = np.random.default_rng(seed)
    shuffled = shuffle_by_lineage(lineages, lineages, experiments, hours, rng)
    givers = pd.DataFrame({"to": lineages, "giver": shuffled, "e": experiments}).drop_duplicates()
    assert not givers.duplicated("to").any(), "one giver for every receiver"
    assert not givers.duplicated("giver").any(), "every lineage gives once"
    assert (givers["giver"] % 2 == givers["to"] % 2).all(), "within the experiment"


def test_labels_keep_their_run_over_the_hours():
    lineages, experiments, hours = lineages_of([8, 4, 8, 4, 8, 4])
    lengths = np.where(lineages % 2 == 0, 8, 4)
    late = hours >= lengths / 2
    shuffled = shuffle_by_lineage(late, lineages, experiments, hours, np.random.default_rng(0))
    assert (shuffled == late).all(), "all lineages turn half-way, whoever gives"


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


def test_an_experiment_is_left_out_whole():
    """Its rows' probabilities are those of a classifier of the others, at the chosen strength."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 3))
    labels = np.where(features[:, 0] + rng.normal(size=120) > 0, "x", "y").astype(object)
    experiments = np.array(list("abc"), dtype=object)[np.arange(120) % 3]
    told = leave_one_out(features, labels, experiments, strengths=(0.1,))
    inside = experiments != "b"
    _, expected = fit_probabilities(features[inside], labels[inside], features[~inside], 0.1)
    np.testing.assert_allclose(told.probability[~inside], expected)
    alone = leave_one_out(features, labels, np.full(120, "a", dtype=object))
    assert alone.note == "one experiment only: none can be left out"
    assert np.isnan(alone.probability).all()


def scores_of(make, folder, train, held_out, batch=0.0):
    """Scores of a variant with signal, and held-out experiments apart, and one without."""
    tables = {name: make.observations(name, 48, 4, seed=n) for n, name in enumerate("abc")}
    labels = {name: make.labels(folder, name, table) for name, table in tables.items()}
    obs = pd.concat(tables.values(), ignore_index=True)
    variants = {
        "seed0": make.features(obs, 4.0, 0.0, 4, 0)
        + batch * (obs["experiment"] == "c").to_numpy()[:, None],
        "noise": make.features(obs, 0, 0, 4, 1),
    }
    cohort = Cohort(obs, variants, {name: list("wxyz") for name in variants})
    task = make.tasks[0]
    rows = select_task(obs, task, labels)
    scores = score_task(cohort, task, rows, train, held_out, 20, 0)
    return (
        *(cohort, rows, scores, rows.labelled(train)),
        [parse_variant(name) for name in variants],
    )


@pytest.fixture(scope="module")
def scored(make, tmp_path_factory):
    """Two training experiments and a held-out one."""
    return scores_of(make, tmp_path_factory.mktemp("controls"), ["a", "b"], ["c"])


def test_only_the_variant_with_signal_beats_its_null(scored):
    told = pd.DataFrame(null_rows(*scored, n_shuffles=30, seed=0))
    p = told[told["metric"] == "auroc_p"].set_index("variant")["value"]
    assert p["seed0"] + 1e-9 >= 1 / 31
    assert p["seed0"] < 0.1 < p["noise"]
    null = told[told["metric"] == "auroc_null"].set_index("variant")
    assert (null["low"] < null["value"]).all()
    assert (null["value"] < null["high"]).all()


def few_lineages(scored, n):
    """As `scored`, trained on the first lineages of both classes alone."""
    cohort, rows, scores, train, variants = scored
    labels, lineages = rows.labels[train], rows.lineages[train]
    kept = [np.unique(lineages[labels == name])[:n] for name in ("0", "1")]
    return cohort, rows, scores, train[np.isin(lineages, np.concatenate(kept))], variants


def test_a_null_of_few_lineages_is_none(scored):
    """Two lineages have their own labels in half of all shuffles."""
    told = pd.DataFrame(null_rows(*few_lineages(scored, 2), n_shuffles=30, seed=0))
    assert told["value"].isna().all()
    assert (
        told["note"]
        .str.fullmatch(r"labels of [2-4] lineages can be shuffled in \d ways only: no null")
        .all()
    )
    known = pd.DataFrame(null_rows(*scored, n_shuffles=30, seed=0))
    assert known["note"].str.startswith("30 shuffles of 16 training lineages").all()


def test_ways_to_shuffle_count_what_differs():
    lineages, hours = np.repeat(np.arange(6), 2), np.tile([0.0, 1.0], 6)
    labels = np.array([*"xxxxyy", *"xxxyyx"], dtype=object)
    one = np.full(12, "a", dtype=object)
    assert n_ways_to_shuffle(labels, lineages, one, hours) == pytest.approx(6 * 5 * 4)
    two = np.where(lineages < 3, "a", "b").astype(object)
    assert n_ways_to_shuffle(labels, lineages, two, hours) == pytest.approx(3 * 6)
    assert n_ways_to_shuffle(one, lineages, one, hours) == pytest.approx(1)
    many = np.arange(2000)
    assert np.isfinite(n_ways_to_shuffle(many, many, np.ones(2000), np.zeros(2000)))


def test_no_shuffles_give_no_null(scored):
    assert null_rows(*scored, n_shuffles=0, seed=0) == []


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


def test_the_learning_curve_is_a_mean_over_experiments_that_lie_apart(make, tmp_path):
    given = scores_of(make, tmp_path, ["a"], ["b", "c"], batch=20.0)
    metrics = given[2].tables.metrics
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["estimate"] == "held_out")]
    whole = auroc.groupby("variant")["value"].mean()
    last = learning_curve(*given, seed=0).groupby("variant").last()
    for name in whole.index:
        assert last.loc[name, "value"] == pytest.approx(whole[name], abs=1e-6)
    assert set(last["n_rows"]) == {auroc[auroc["variant"] == "seed0"]["n_rows"].sum()}
