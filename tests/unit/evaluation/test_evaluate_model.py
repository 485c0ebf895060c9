"""The whole evaluation on synthetic stores: tables, maps, headline, and what cannot be had."""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from dynaclr.config import ComparisonConfig, TaskConfig, UserError
from dynaclr.config.metrics import (
    ALL_TRAINING,
    CROSS_VALIDATED,
    HELD_OUT,
    LEFT_OUT,
    METRICS,
    POOLED,
)
from dynaclr.evaluation import apply_linear_classifier, compare_models, train_linear_classifier
from dynaclr.evaluation.annotate import append_columns
from dynaclr.evaluation.tables import CURVE_COLUMNS, METRIC_COLUMNS
from dynaclr.io.embeddings import KEY, provenance_of, read_store

UNCORRECTED = ["seed0", "seed1", "seed0-untrained", "intensity"]
VARIANTS = [f"{name}{end}" for end in ("", "+zscore", "+transport") for name in UNCORRECTED]
TABLES = [
    *("metrics.csv", "curves.csv", "differences.csv", "confusion.csv", "reliability.csv"),
    *("learning.csv", "onsets.csv", "timing.csv", "trajectories.parquet", "cells.csv", "drift.csv"),
    *("predictions.parquet", "resampled.parquet"),
    "headline.json",
]


@pytest.fixture(scope="module")
def metrics(evaluated):
    return pd.read_csv(evaluated / "metrics.csv", keep_default_na=False, na_values=[""])


def chosen(table, **columns):
    for name, value in columns.items():
        table = table[table[name] == value]
    return table


def test_every_file_is_there(evaluated):
    made = [*TABLES, "maps.h5ad", "maps.h5ad.digest", "reference", "reference.digest"]
    assert sorted(path.name for path in evaluated.iterdir()) == sorted([*made, "experiments"])
    of_one = [name for name in TABLES if name != "headline.json"]
    scored = sorted(path.name for path in (evaluated / "experiments/c").iterdir())
    assert scored == sorted([*of_one, "sample.h5ad"])
    samples = sorted(path.name for path in (evaluated / "reference/samples").iterdir())
    assert samples == ["a.h5ad", "b.h5ad"]


def test_every_variant_task_and_set_has_every_score(metrics):
    assert list(metrics) == METRIC_COLUMNS
    names = ["auroc", "average_precision", "balanced_accuracy", "brier", "ece"]
    places = {(estimate, "a") for estimate in (CROSS_VALIDATED, LEFT_OUT)}
    places |= {(estimate, "b") for estimate in (CROSS_VALIDATED, LEFT_OUT)}
    places |= {(estimate, ALL_TRAINING) for estimate in (CROSS_VALIDATED, LEFT_OUT)}
    places.add((HELD_OUT, "c"))
    scores = metrics[~metrics["metric"].isin(["auroc_null", "auroc_p"])]
    scores = scores[scores["family"] == "classification"]
    for task, classes in (("responder", ["0", "1"]), ("state", ["infected", "late", "mock"])):
        part = chosen(scores, task=task)
        expected = {
            (variant, *place, metric)
            for variant in VARIANTS
            for place in places
            for metric in [*names, *(f"f1:{name}" for name in classes)]
        }
        found = part[["variant", "estimate", "experiment", "metric"]].itertuples(index=False)
        assert set(map(tuple, found)) == expected
        assert len(part) == len(expected)
    assert scores["value"].notna().all()
    few = (scores["task"] == "state") & (scores["experiment"] != ALL_TRAINING)
    assert scores.loc[few, "low"].isna().all(), "four fields of view give no interval"
    scores = scores[~few]
    assert (scores["low"] <= scores["value"] + 1e-9).mean() > 0.99
    assert (scores["value"] <= scores["high"] + 1e-9).mean() > 0.99


def test_every_variant_has_every_metric(metrics):
    """But the onset's error, whose truth these stores do not have, and the way to a ceiling."""
    absent = {"way_to_ceiling", "onset_error_hours", "onset_coverage", "onset_within_bounds"}
    absent |= {"auroc_null", "auroc_p", "mmd2", "msd"}
    for variant in VARIANTS:
        found = {m.partition(":")[0] for m in chosen(metrics, variant=variant)["metric"]}
        assert set(METRICS) - found <= absent, variant
    assert set(metrics["family"]) == {fact.family for fact in METRICS.values()}
    assert set(metrics["better"]) == {"higher", "lower", "none"}
    key = ["variant", "task", "estimate", "experiment", "metric"]
    assert not metrics.duplicated(key).any()
    assert metrics.loc[metrics["value"].isna(), "note"].notna().all(), "no value without a reason"


def test_of_several_classes_each_is_held_against_the_rest(evaluated, metrics):
    state = chosen(metrics, variant="seed0", task="state", experiment="c").set_index("metric")
    for name in ("infected", "late", "mock"):
        assert f"window_auroc:{name}" in state.index
        assert f"visible_from_hours:{name}" in state.index
    assert state.loc["window_auroc:late", "value"] > 0.9
    curves = chosen(pd.read_csv(evaluated / "curves.csv"), variant="seed0", task="state")
    assert "window_auroc:late" in set(curves["metric"])


def test_what_was_not_computed_on_held_out_cells_alone_says_so(metrics):
    noted = metrics["note"].fillna("").str.contains("includes training cells")
    assert (noted == (metrics["estimate"] == POOLED)).all()
    held_out = set(chosen(metrics, estimate=HELD_OUT)["metric"].str.partition(":")[0])
    assert {"sister_auroc", "clisi", "silhouette", "effective_rank", "smoothness"} <= held_out
    pooled = set(chosen(metrics, estimate=POOLED)["metric"].str.partition(":")[0])
    assert {"ilisi", "matched_ilisi", "retrieval_map"} <= pooled, "one is held out"


def test_what_models_are_paired_by_is_written(evaluated, metrics):
    cells = pd.read_csv(evaluated / "cells.csv").set_index("experiment")
    assert cells["held_out"].to_dict() == {"a": False, "b": False, "c": True}
    assert cells["n_rows"].tolist() == [36 * 6] * 3
    assert cells["n_lineages"].tolist() == [12] * 3
    assert cells["digest"].nunique() == 3
    resampled = pd.read_parquet(evaluated / "resampled.parquet")
    assert set(resampled["variant"]) == set(UNCORRECTED)
    assert {"window_auroc", "progression_r2"} <= set(resampled["metric"])
    row = chosen(resampled, metric="window_auroc", variant="seed0").iloc[0]
    value = chosen(metrics, metric="window_auroc", variant="seed0", experiment="c").iloc[0]
    assert np.nanquantile(row["values"], 0.025) == pytest.approx(value["low"], abs=1e-5)
    assert row["n_lineages"] == value["n_lineages"]


def test_what_has_no_relation_is_expected_where_chance_is_known(metrics):
    one = chosen(metrics, variant="seed0", task="responder", estimate=HELD_OUT, experiment="c")
    one = one.set_index("metric")
    share = one.loc["auroc", "n_positive"] / one.loc["auroc", "n_rows"]
    assert one.loc["auroc", "expected"] == one.loc["balanced_accuracy", "expected"] == 0.5
    assert one.loc["average_precision", "expected"] == pytest.approx(share, abs=1e-5)
    assert np.isnan(one.loc["ece", "expected"])


def test_shuffled_labels_are_reported_apart_from_true_ones(metrics):
    null = chosen(metrics, task="responder", metric="auroc_null").set_index("variant")
    auroc = chosen(metrics, task="responder", metric="auroc", estimate=HELD_OUT)
    assert sorted(null.index) == sorted(UNCORRECTED)
    assert null.loc["seed0", "high"] < auroc.set_index("variant").loc["seed0", "value"]
    p = chosen(metrics, task="responder", metric="auroc_p", variant="seed0")["value"]
    assert 1 / 31 - 1e-5 < p.item() < 0.1


def test_curves_run_over_hours(evaluated):
    curves = pd.read_csv(evaluated / "curves.csv")
    assert list(curves) == CURVE_COLUMNS
    names = set(curves["metric"].str.partition(":")[0])
    assert names == {"window_auroc", "msd", "mmd2", "mmd_z"}
    window = chosen(curves, metric="window_auroc", variant="seed0", experiment="c")
    assert set(window["hours"]) <= {3.0, 5.0}
    assert (window["low"] <= window["value"]).all()


def test_trained_variants_beat_their_baselines_here(metrics):
    held_out = chosen(metrics, task="responder", estimate=HELD_OUT, metric="auroc")
    value = held_out.set_index("variant")["value"]
    assert value[["seed0", "seed1"]].min() > 0.9
    assert value[["seed0-untrained", "intensity"]].max() < 0.85


def test_tables_agree_with_the_predictions(evaluated, metrics, synthetic):
    predictions = pd.read_parquet(evaluated / "predictions.parquet")
    assert set(predictions["experiment"]) == {"c"}
    one = chosen(predictions, task="responder", variant="seed1")
    positive = one[one["class"] == "1"]
    truth = pd.read_csv(synthetic.labels["c"]["truth"])
    joined = positive.merge(truth, on=["fov", "track_id", "t"], validate="one_to_one")
    assert len(joined) == len(positive) == 108
    assert (joined["label"] == joined["response"].astype(str)).all()
    row = chosen(
        metrics, task="responder", variant="seed1", estimate=HELD_OUT, metric="auroc"
    ).iloc[0]
    assert row["value"] == pytest.approx(
        roc_auc_score(joined["response"], joined["probability"]), abs=1e-5
    )
    assert row["n_rows"] == len(joined)
    assert row["n_positive"] == joined["response"].sum()
    counts = chosen(
        pd.read_csv(evaluated / "confusion.csv"),
        task="responder",
        variant="seed1",
        estimate=HELD_OUT,
    )
    expected = confusion_matrix(joined["response"], joined["probability"] > 0.5)
    assert counts["count"].tolist() == expected.ravel().tolist()


def test_maps_show_what_the_first_trained_variant_predicts(evaluated):
    obs = anndata.read_h5ad(evaluated / "maps.h5ad").obs.query("experiment == 'c'").astype(str)
    predictions = pd.read_parquet(evaluated / "predictions.parquet").astype({"probability": float})
    one = chosen(predictions, task="state", variant="seed0").sort_values("probability")
    best = one.astype(str).drop_duplicates(KEY, keep="last").set_index(KEY)["class"]
    rows = pd.MultiIndex.from_frame(obs[KEY])
    assert obs["state (predicted)"].to_list() == best.reindex(rows).to_list()


def test_unlabelled_held_out_rows_are_predicted_too(evaluated):
    state = chosen(pd.read_parquet(evaluated / "predictions.parquet"), task="state")
    one = state[(state["variant"] == "seed0") & (state["class"] == "late")]
    assert len(one) == 36 * 6
    assert one["label"].notna().sum() == 36 * 6 / 3


def test_differences_are_those_of_the_means_over_seeds(evaluated, metrics):
    differences = pd.read_csv(evaluated / "differences.csv")
    row = chosen(
        differences, task="responder", estimate=HELD_OUT, metric="auroc", baseline="intensity"
    ).iloc[0]
    value = chosen(metrics, task="responder", estimate=HELD_OUT, metric="auroc").set_index(
        "variant"
    )["value"]
    assert row["value"] == pytest.approx(
        value[["seed0", "seed1"]].mean() - value["intensity"], abs=1e-5
    )
    assert row["low"] < row["value"] < row["high"]
    assert row["n_seeds"] == 2


def test_mixing_tells_baselines_with_a_batch_effect_apart(metrics):
    ilisi = chosen(metrics, metric="ilisi").set_index("variant")["value"]
    assert ilisi["seed0"] > ilisi["intensity"]
    assert ilisi["intensity+zscore"] > ilisi["intensity"]


def test_the_headline_is_one_sentence_with_its_numbers(evaluated, metrics):
    headline = json.loads((evaluated / "headline.json").read_text())
    value = chosen(metrics, task="responder", estimate=HELD_OUT, metric="auroc").set_index(
        "variant"
    )["value"]
    assert headline["trained"]["per_seed"]["1"] == pytest.approx(value["seed1"], abs=1e-4)
    assert headline["baselines"]["intensity"]["mean"] == pytest.approx(value["intensity"], abs=1e-4)
    assert headline["text"].startswith(
        f"Task responder on held-out c: AUROC {headline['trained']['mean']:.2f} (seeds: "
    )
    assert f"raw intensity {value['intensity']:.2f}" in headline["text"]
    assert headline["text"].endswith("n = 108 observations of 6 lineages.")
    assert "nan" not in headline["text"]


def test_the_same_input_gives_the_same_bytes_whatever_the_order_of_rows_and_variants(
    evaluated, make, tmp_path
):
    again = make.synthetic(tmp_path, shuffle=True)
    again.stores = dict(sorted(again.stores.items()))
    make.evaluate(again, tmp_path / "out")
    for path in filter(Path.is_file, sorted(evaluated.rglob("*"))):
        name = path.relative_to(evaluated)
        assert (tmp_path / "out" / name).read_bytes() == path.read_bytes(), name


@pytest.fixture
def one_variant(synthetic):
    return replace(synthetic, stores={"seed0": synthetic.stores["seed0"]})


def test_a_model_is_evaluated_though_a_held_out_experiment_has_no_labels(
    one_variant, make, tmp_path
):
    unlabelled = replace(one_variant, labels={**one_variant.labels, "c": {}})
    make.evaluate(unlabelled, tmp_path / "out", tasks=make.tasks[:1])
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv")
    null = metrics[metrics["metric"].isin(["auroc", "auroc_null", "auroc_p"])]
    null = chosen(null, estimate=HELD_OUT, variant="seed0")
    assert null["experiment"].tolist() == ["c"] * 3
    assert null["value"].isna().all()
    assert null["note"].str.contains("experiment c has no truth").all()
    assert chosen(metrics, estimate=CROSS_VALIDATED, metric="auroc")["value"].notna().all()


def test_no_task_still_gives_every_file(one_variant, make, tmp_path, evaluated):
    headline = make.evaluate(one_variant, tmp_path / "out", tasks=[])
    assert headline["text"] == "No evaluation task is configured."
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {path.name for path in evaluated.iterdir()}
    assert list(pd.read_csv(tmp_path / "out" / "metrics.csv")) == METRIC_COLUMNS


@pytest.fixture
def bag(synthetic, make, tmp_path):
    """Stores of a bag of channels: `reporter` tells the response, `phase` nothing."""
    paths = {}
    for name, path in synthetic.stores["seed0"].items():
        store = read_store(path)
        obs = pd.concat([store.obs.assign(marker=marker) for marker in ("reporter", "phase")])
        noise = np.random.default_rng(0).normal(size=store.shape)
        paths[name] = make.store(tmp_path / f"{name}.zarr", obs, np.concatenate([store.X, noise]))
    return replace(synthetic, stores={"seed0": paths})


@pytest.mark.slow
def test_a_bag_of_channels_is_judged_pair_by_pair(bag, make, tmp_path):
    out = tmp_path / "out"
    make.evaluate(bag, out, tasks=make.tasks[:1])
    metrics = pd.read_csv(out / "metrics.csv")
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["estimate"] == "held_out")]
    auroc = auroc[~auroc["kind"].str.contains("+", regex=False)].set_index("task")["value"]
    assert auroc["responder.reporter"] > 0.95
    assert auroc["responder.phase"] < 0.7
    key = [*KEY, "marker"]
    predictions = pd.read_parquet(out / "predictions.parquet")
    predictions = predictions[predictions["variant"] == "seed0"]
    assert not predictions.duplicated(["task", *key, "class"]).any()
    onsets = pd.read_csv(out / "onsets.csv").query("variant == 'seed0'")
    assert not onsets.duplicated(["experiment", "fov", "track_id", "marker"]).any()
    assert set(onsets["marker"]) == {"phase", "reporter"}
    compare_models({"bag": out, "again": out}, ComparisonConfig(), tmp_path / "comparison")
    obs = anndata.read_h5ad(out / "maps.h5ad").obs
    assert obs.index.is_unique
    known = obs[obs["responder (predicted)"].notna()].astype(str)
    best = predictions[predictions["task"] == "responder"].sort_values("probability").astype(str)
    best = best.drop_duplicates(key, keep="last").set_index(key)["class"]
    assert len(known)
    pairs = pd.MultiIndex.from_frame(known[key])
    assert known["responder (predicted)"].to_list() == best.reindex(pairs).to_list()


def test_a_classifier_of_a_bag_of_channels_gives_each_pair_its_class(bag, make, tmp_path):
    stores = bag.stores["seed0"]
    train_linear_classifier({"a": stores["a"]}, bag.labels, make.tasks[0], tmp_path / "classifier")
    table = apply_linear_classifier(
        tmp_path / "classifier", {"c": stores["c"]}, tmp_path / "predictions.csv"
    )
    append_columns([stores["c"]], tmp_path / "predictions.csv", columns=["predicted"])
    obs = anndata.read_zarr(stores["c"]).obs.astype(str)
    key = [*KEY, "marker"]
    expected = table.astype(str).set_index(key)["predicted"]
    assert expected.nunique() == 2
    pairs = pd.MultiIndex.from_frame(obs[key])
    assert obs["predicted"].to_list() == expected.reindex(pairs).to_list()


def test_corrected_embeddings_are_written_where_asked_for(one_variant, make, tmp_path):
    make.evaluate(one_variant, tmp_path, tasks=[], write_corrected=True)
    source = read_store(one_variant.stores["seed0"]["c"])
    for correction in ("zscore", "transport"):
        path = tmp_path / f"experiments/c/corrected/seed0+{correction}/c.zarr"
        store = read_store(path)
        assert provenance_of(store)["correction"] == correction
        assert store.obs_names.equals(source.obs_names)
        assert not np.array_equal(store.X, source.X)
        for name in "ab":
            inside = tmp_path / f"reference/corrected/seed0+{correction}/{name}.zarr"
            assert read_store(inside).n_obs == source.n_obs
    scaled = read_store(tmp_path / "experiments/c/corrected/seed0+zscore/c.zarr").X
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-3)


def test_names_that_do_not_fit_are_reported(one_variant, make, tmp_path):
    with pytest.raises(UserError, match="no embedding store of experiment 'd' was given"):
        make.evaluate(one_variant, tmp_path / "out", held_out_experiments=["d"])
    with pytest.raises(UserError, match="b is both trained on and held out"):
        make.evaluate(one_variant, tmp_path / "out", held_out_experiments=["b"])
    wrong = TaskConfig(name="x", label="stat")
    with pytest.raises(UserError, match=r"no column 'stat' in .* Did you mean 'state'\?"):
        make.evaluate(one_variant, tmp_path / "out", tasks=[wrong])
    known = {"name": "x", "label": "state"}
    for key, value in (("where", "conditon == 'mock'"), ("groups", "conditon")):
        tasks = [TaskConfig(**known, **{key: value})]
        with pytest.raises(UserError, match=rf"{key}: no column 'conditon'.* 'condition'\?"):
            make.evaluate(one_variant, tmp_path / "out", tasks=tasks)
    assert not (tmp_path / "out").exists()
