"""Shuffled labels keep whole lineages, and separate a classifier with signal from one without."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.evaluation.classifiers.label_shuffling import (
    n_distinct_shuffles,
    null_aurocs,
    null_rows,
    shuffle_by_lineage,
    shuffle_labels,
)
from dynaclr.evaluation.classifiers.score_tables import auroc_of


def lineages_of(lengths, seed=0):
    """Rows of lineages of given lengths in two experiments, in random order."""
    rng = np.random.default_rng(seed)
    lineages = np.repeat(np.arange(len(lengths)), lengths)
    hours = np.concatenate([np.arange(n) for n in lengths]).astype(float)
    order = rng.permutation(len(lineages))
    experiments = np.array(["a", "b"], dtype=object)[lineages % 2]
    return lineages[order], experiments[order], hours[order]


@settings(deadline=None)
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
    assert (shuffled == late).all(), "all lineages turn half-way, for every source"


def null_of(made):
    """Null rows of every variant and set."""
    rows = []
    for variant in made.variants:
        for scored in made.sets:
            inside = made.inside(scored, variant.name)
            aurocs = null_aurocs(scored, inside, made.fitted.shuffled[variant.name])
            observed = auroc_of(scored, variant.name)
            rows += null_rows(scored, variant, observed, aurocs, made.fitted.shuffle_note)
    return pd.DataFrame(rows)


def test_only_the_variant_with_signal_beats_its_null(scored):
    table = null_of(scored)
    p = table[table["metric"] == "auroc_p"].set_index("variant")["value"]
    assert p["seed0"] + 1e-9 >= 1 / 31
    assert p["seed0"] < 0.1 < p["noise"]
    null = table[table["metric"] == "auroc_null"].set_index("variant")
    assert (null["low"] < null["value"]).all()
    assert (null["value"] < null["high"]).all()


def test_few_lineages_have_no_null(scored):
    """Two lineages keep their own labels in half of all shuffles."""
    rows = scored.rows
    labelled = rows.labelled(["a", "b"])
    labels, lineages = rows.labels[labelled], rows.lineages[labelled]
    kept = np.concatenate([np.unique(lineages[labels == name])[:2] for name in ("0", "1")])
    few = replace(rows, labels=np.where(np.isin(rows.lineages, kept), rows.labels, None))
    hours = np.zeros(rows.rows.max() + 1)
    shuffles = shuffle_labels(few, few.labelled(["a", "b"]), hours, 30, seed=0)
    assert shuffles.labels == []
    pattern = r"labels of [2-4] lineages can be shuffled in \d ways only: no null"
    assert re.fullmatch(pattern, shuffles.note)
    without = null_rows(scored.sets[0], scored.variants[0], 0.9, np.zeros(0), shuffles.note)
    assert pd.DataFrame(without)["value"].isna().all()
    assert {row["note"] for row in without} == {shuffles.note}
    assert null_of(scored)["note"].str.startswith("30 shuffles of 16 training lineages").all()


@pytest.mark.parametrize("held_out", [["c"], ["b", "c"]])
def test_an_experiment_without_labels_is_skipped_with_a_note(score, tmp_path, held_out):
    train = [name for name in "ab" if name not in held_out]
    unlabelled = score(tmp_path, train, held_out, changed_labels={"c": {}})
    table = null_of(unlabelled)
    assert set(table["experiment"]) == set(held_out)
    skipped = table[table["experiment"] == "c"]
    assert skipped["value"].isna().all()
    assert set(skipped["note"]) == {"no labelled observations; experiment c has no truth"}
    assert table.loc[table["experiment"] != "c", "value"].notna().all()


def test_ways_to_shuffle_count_what_differs():
    lineages, hours = np.repeat(np.arange(6), 2), np.tile([0.0, 1.0], 6)
    labels = np.array([*"xxxxyy", *"xxxyyx"], dtype=object)
    one = np.full(12, "a", dtype=object)
    assert n_distinct_shuffles(labels, lineages, one, hours) == pytest.approx(6 * 5 * 4)
    two = np.where(lineages < 3, "a", "b").astype(object)
    assert n_distinct_shuffles(labels, lineages, two, hours) == pytest.approx(3 * 6)
    assert n_distinct_shuffles(one, lineages, one, hours) == pytest.approx(1)
    many = np.arange(2000)
    assert np.isfinite(n_distinct_shuffles(many, many, np.ones(2000), np.zeros(2000)))
