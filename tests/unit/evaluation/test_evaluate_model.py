"""The whole evaluation on synthetic stores: tables, maps, headline, and what cannot be had."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from dynaclr.config import ComparisonConfig, EvaluationConfig, TaskConfig, UserError
from dynaclr.config.metrics import (
    ALL_TRAINING,
    CROSS_VALIDATED,
    HELD_OUT,
    LEFT_OUT,
    METRICS,
    POOLED,
)
from dynaclr.config.variants import ordered_variants, parse_variant
from dynaclr.evaluation import apply_linear_classifier, compare_models, train_linear_classifier
from dynaclr.evaluation.annotate import append_columns
from dynaclr.evaluation.classifiers.scoring import score_task
from dynaclr.evaluation.headline import summarize
from dynaclr.evaluation.inputs import prepare_inputs
from dynaclr.evaluation.response_scores import response_rows
from dynaclr.evaluation.tables import CURVE_COLUMNS, METRIC_COLUMNS
from dynaclr.evaluation.tasks import select_task
from dynaclr.io.embeddings import KEY, Embeddings, read_embeddings, read_store

UNCORRECTED = ["seed0", "seed1", "seed0-untrained", "intensity"]
VARIANTS = [f"{name}{end}" for end in ("", "+zscore", "+transport") for name in UNCORRECTED]
TABLES = [
    *("metrics.csv", "curves.csv", "differences.csv", "confusion.csv", "reliability.csv"),
    *("learning.csv", "onsets.csv", "cells.csv", "predictions.parquet", "resampled.parquet"),
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
    made = [*TABLES, "maps.h5ad", "maps.h5ad.digest"]
    assert sorted(path.name for path in evaluated.iterdir()) == sorted(made)


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
    assert (scores["low"] <= scores["value"] + 1e-9).mean() > 0.99
    assert (scores["value"] <= scores["high"] + 1e-9).mean() > 0.99


def test_every_variant_has_every_metric(metrics):
    """But the onset's error, whose truth these stores do not have."""
    absent = {"onset_error_hours", "onset_coverage", "auroc_null", "auroc_p", "mmd2", "msd"}
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
    told = metrics["note"].fillna("").str.contains("includes training cells")
    assert (told == (metrics["estimate"] == POOLED)).all()
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


def test_shuffled_labels_are_told_apart_from_true_ones(metrics):
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


def test_the_same_input_gives_the_same_bytes_whatever_the_order_of_rows(evaluated, make, tmp_path):
    again = make.synthetic(tmp_path, shuffle=True)
    make.evaluate(again, tmp_path / "out")
    for path in sorted(evaluated.iterdir()):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def score(make, folder, task, change=lambda tables: None, held_out=("c",), train=("a", "b")):
    """Scores of one variant on few cells, after `change` worked on the observations."""
    tables = {name: make.observations(name, 12, 2, seed=n) for n, name in enumerate("abc")}
    for table in tables.values():
        table["response"] = table["track_id"] % 2
    change(tables)
    labels = {name: make.labels(folder, name, table) for name, table in tables.items()}
    obs = pd.concat(tables.values(), ignore_index=True)
    features = make.features(obs, 2.0, 0.0, 3, seed=0)
    features[obs.get("lacks_feature", np.zeros(len(obs))) == 1, 2] = np.nan
    embeddings = Embeddings(obs, {"seed0": features}, {"seed0": list("xyz")})
    rows = select_task(obs, task, labels)
    return score_task(embeddings, task, rows, list(train), list(held_out), 20, 0)


def test_a_held_out_experiment_with_one_class_gives_nan_and_the_reason(make, tmp_path):
    def all_silent(tables):
        tables["c"]["response"] = 0

    scores = score(make, tmp_path, make.tasks[0], all_silent)
    held_out = chosen(scores.tables.metrics, estimate=HELD_OUT).set_index("metric")
    assert held_out["value"][["auroc", "average_precision", "balanced_accuracy"]].isna().all()
    assert held_out["note"]["auroc"] == "all labelled observations are '0'"
    assert np.isfinite(held_out["value"]["f1:0"])
    headline = summarize([scores])
    assert headline["trained"]["mean"] is None
    assert "no AUROC (all labelled observations are '0')" in headline["text"]
    json.dumps(headline, allow_nan=False)


def test_training_labels_of_one_class_train_nothing_and_say_so(make, tmp_path):
    def all_respond(tables):
        tables["a"]["response"] = tables["b"]["response"] = 1

    scores = score(make, tmp_path, make.tasks[0], all_respond)
    metrics = scores.tables.metrics
    assert len(metrics) == 7 * 5
    assert metrics["value"].isna().all()
    assert set(metrics["note"]) == {
        "all labels of the training experiments are '1': nothing was trained"
    }
    assert len(scores.predictions) == 0


def test_what_was_not_trained_has_resolution_rows_with_the_reason(make, tmp_path):
    def all_respond(tables):
        tables["a"]["response"] = tables["b"]["response"] = 1

    scores = score(make, tmp_path, make.tasks[0], all_respond)
    obs = pd.concat([make.observations(name, 12, 2, seed=n) for n, name in enumerate("abc")])
    obs = obs.reset_index(drop=True)
    embeddings = Embeddings(obs, {"seed0": np.zeros((len(obs), 3))}, {"seed0": list("xyz")})
    inputs = prepare_inputs(embeddings, {}, EvaluationConfig(), ["a", "b"], ["c"], seed=0)
    rows = select_task(obs, make.tasks[0], {})
    told = pd.DataFrame(response_rows(inputs, parse_variant("seed0"), rows, scores).metrics)
    assert set(told["metric"]) == {"window_auroc", "visible_from_hours", "sister_auroc"}
    assert told["value"].isna().all()
    windows = told[told["metric"] == "window_auroc"]
    assert windows["note"].str.contains("nothing was trained").all()


def test_a_class_not_seen_in_training_is_left_out_and_counted(make, tmp_path):
    def strange(tables):
        tables["c"].loc[0, "condition"] = "strange"
        tables["c"].loc[0, "response"] = 0

    scores = score(make, tmp_path, make.tasks[1], strange)
    held_out = chosen(scores.tables.metrics, estimate=HELD_OUT)
    assert held_out["note"].str.startswith("1 rows of 'strange', not seen in training, are").all()
    assert set(held_out["n_rows"]) == {24 / 3 - 1}


def test_missing_features_are_counted(make, tmp_path):
    def lack(tables):
        for table in tables.values():
            table["lacks_feature"] = table["condition"] == "mock"

    held_out = chosen(score(make, tmp_path, make.tasks[1], lack).tables.metrics, estimate=HELD_OUT)
    assert held_out["value"].notna().all()
    assert held_out["note"].str.contains("4 rows lack features, taken at the training mean").all()


def test_a_class_in_one_lineage_has_no_cross_validation_but_held_out_scores(make, tmp_path):
    def one_lineage(tables):
        for table in tables.values():
            table["response"] = 0
        for name in "ac":
            infected = tables[name]["condition"] == "infected"
            first = tables[name].loc[infected, "lineage_id"].min()
            tables[name]["response"] = (tables[name]["lineage_id"] == first).astype(int)

    metrics = score(make, tmp_path, make.tasks[0], one_lineage).tables.metrics
    validated = chosen(metrics, estimate=CROSS_VALIDATED)
    assert validated["value"].isna().all()
    assert validated["note"].str.contains("class '1' is in one group only").all()
    assert chosen(metrics, estimate=HELD_OUT, metric="auroc")["value"].notna().all()


def test_without_held_out_experiments_the_estimate_is_cross_validated(make, tmp_path):
    headline = summarize([score(make, tmp_path, make.tasks[0], held_out=())])
    assert headline["estimate"] == CROSS_VALIDATED
    assert "left-out lineages of the training experiments" in headline["text"]


def test_several_held_out_experiments_are_averaged(make, tmp_path):
    scores = score(make, tmp_path, make.tasks[0], held_out=("b", "c"), train=("a",))
    headline = summarize([scores])
    values = chosen(scores.tables.metrics, estimate=HELD_OUT, metric="auroc")["value"]
    assert len(values) == 2
    assert headline["trained"]["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert "held-out b and c" in headline["text"]


def test_an_experiment_without_labels_is_scored_nan_with_the_reason(synthetic, make):
    embeddings = read_embeddings({"seed0": synthetic.stores["seed0"]})
    labels = {**synthetic.labels, "c": {}}
    rows = select_task(embeddings.obs, make.tasks[1], labels)
    scores = score_task(embeddings, make.tasks[1], rows, ["a", "b"], ["c"], 20, 0)
    held_out = chosen(scores.tables.metrics, estimate=HELD_OUT)
    assert held_out["value"].isna().all()
    assert set(held_out["note"]) == {"no labelled observations; experiment c has no annotations"}


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


def test_names_that_do_not_fit_are_told(one_variant, make, tmp_path):
    with pytest.raises(UserError, match="no embedding store of experiment 'd' was given"):
        make.evaluate(one_variant, tmp_path / "out", held_out_experiments=["d"])
    with pytest.raises(UserError, match="b is both trained on and held out"):
        make.evaluate(one_variant, tmp_path / "out", held_out_experiments=["b"])
    wrong = TaskConfig(name="x", label="stat")
    with pytest.raises(UserError, match=r"no column 'stat'. Did you mean 'state'\?"):
        make.evaluate(one_variant, tmp_path / "out", tasks=[wrong])
    assert not (tmp_path / "out").exists()


def test_kinds_and_seeds_are_read_from_names():
    assert parse_variant("seed12") == ("seed12", "trained", 12)
    assert parse_variant("seed3-untrained") == ("seed3-untrained", "untrained", 3)
    assert parse_variant("pixels-pca") == ("pixels-pca", "pixels-pca", None)
    names = ["intensity", "pixels-pca", "seed10", "seed2-untrained", "seed2"]
    assert [v.name for v in ordered_variants(names)] == [
        *("seed2", "seed10", "seed2-untrained", "intensity", "pixels-pca")
    ]
