"""Means over seeds and lineages against Student's t, and models side by side."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_1samp, ttest_ind

from dynaclr.config import ComparisonConfig, UserError
from dynaclr.evaluation import compare_models
from dynaclr.evaluation.comparison import DIFFERENCE_COLUMNS, METRIC_COLUMNS, verdict
from dynaclr.evaluation.metrics.uncertainty import (
    Values,
    adjust_p_values,
    estimate_difference,
    estimate_mean,
)


def test_over_seeds_alone_it_is_students_t():
    values = np.random.default_rng(0).normal(0.3, 1, size=6)
    mean, expected = estimate_mean(values), ttest_1samp(values, 0)
    interval = expected.confidence_interval(0.95)
    assert (mean.low, mean.high) == pytest.approx((interval.low, interval.high))
    assert mean.p == pytest.approx(expected.pvalue)
    assert mean.note == "lineages not resampled"


def test_over_lineages_alone_it_is_the_spread_of_resamples():
    resampled = np.random.default_rng(0).normal(0.8, 0.02, size=2000)
    mean = estimate_mean([0.8], resampled, n_lineages=10_000)
    assert mean.high - mean.value == pytest.approx(1.96 * 0.02, rel=0.05)
    assert mean.note == "one seed"


def test_both_sources_add_up():
    values, resampled = [0.7, 0.8, 0.9], np.array([0.7, 0.9] * 100)
    mean = estimate_mean(values, resampled, n_lineages=20)
    variances = np.array([0.01 / 3, resampled.var(ddof=1)])
    freedom = variances.sum() ** 2 / (variances**2 / [2, 19]).sum()
    reach = ttest_reach(freedom) * np.sqrt(variances.sum())
    assert mean.high - mean.value == pytest.approx(reach)


def ttest_reach(freedom):
    from scipy.stats import t

    return t.ppf(0.975, freedom)


def test_three_seeds_cover_the_truth_as_often_as_promised():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        shared = rng.normal(0, 0.5)
        values = shared + rng.normal(0, 1, size=3)
        mean = estimate_mean(values, values.mean() + rng.normal(0, 0.5, size=200), n_lineages=40)
        hits += mean.low <= 0 <= mean.high
    assert hits / 600 == pytest.approx(0.95, abs=0.03)


def test_what_is_not_known_has_no_interval():
    assert np.isnan(estimate_mean([0.5]).low)
    assert estimate_mean([0.5]).note.endswith("no interval")
    assert estimate_mean([np.nan]).note == "no value"
    assert estimate_mean([np.nan, 0.4, 0.6]).value == pytest.approx(0.5)


def test_values_that_all_seeds_share_do_not_make_it_sure():
    """Hours in steps of a window: -2, -2, -2 is no p of 0."""
    for values in ([-2.0, -2.0, -2.0], [-2.0, -2.0], [0.0, 0.0], [0.3 - 0.1, 0.2]):
        mean = estimate_mean(values)
        assert mean.value == pytest.approx(values[0])
        assert np.isnan([mean.low, mean.high, mean.p]).all()
        assert mean.note.endswith("uncertainty not known")
    row = {"first": "a", "better": "lower", **mean._asdict(), "p_corrected": mean.p}
    assert verdict(row).endswith("uncertainty not known")


def test_few_lineages_or_resamples_do_not_count():
    resampled = np.random.default_rng(0).normal(size=100)
    assert "lineages not resampled" in estimate_mean([0.1, 0.2], resampled, n_lineages=4).note
    mostly = np.where(np.arange(100) < 60, np.nan, resampled)
    assert "lineages not resampled" in estimate_mean([0.1, 0.2], mostly, n_lineages=40).note


def test_without_pairs_it_is_welchs_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, size=5), rng.normal(0, 3, size=4)
    difference = estimate_difference(Values(first), Values(second))
    expected = ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    assert difference.p == pytest.approx(expected.pvalue)
    assert np.isnan(estimate_difference(Values(first), Values([0.1])).p)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_correction_is_scipys(p):
    p = np.array(p)
    np.testing.assert_allclose(adjust_p_values(p), false_discovery_control(p))
    with_gap = adjust_p_values(np.append(p, np.nan))
    np.testing.assert_allclose(with_gap[:-1], adjust_p_values(p))
    assert np.isnan(with_gap[-1])


def test_verdicts_say_when_nothing_is_seen():
    row = {"first": "a", "value": 0.1, "low": 0.02, "high": 0.18, "better": "higher"}
    assert verdict(row | {"p_corrected": 0.01}) == "a higher (+0.1, 95 % +0.02 to +0.18), better"
    worse = verdict(row | {"p_corrected": 0.01, "better": "lower"})
    assert worse.endswith(", worse")
    assert not verdict(row | {"p_corrected": 0.01, "better": "none"}).endswith("worse")
    unseen = verdict(row | {"p_corrected": 0.2, "low": -0.02})
    assert unseen == "no difference seen (+0.1, 95 % -0.02 to +0.18)"
    assert "not known" in verdict(row | {"p_corrected": np.nan})
    assert verdict(row | {"value": np.nan, "p_corrected": np.nan}) == "no value to compare"


def add_model(
    folder,
    name,
    auroc_shift,
    n_seeds=4,
    n_lineages=60,
    seed=0,
    cells=0,
    sisters=None,
    experiment="c",
):
    """A model's evaluation with the tables that are compared; cells are the same for all.

    Unless `cells` differs. `sisters` shifts a score that the evaluation resampled itself.
    """
    digest, cells = f"digest{cells}", np.random.default_rng(cells)
    lineage = np.repeat(np.arange(n_lineages), 4)
    true = (cells.random(n_lineages) < 0.4)[lineage]
    metrics, predictions, resampled = [], [], []
    shared = np.random.default_rng(7).normal(0.7, 0.05, size=200)
    for number in range(n_seeds):
        rng = np.random.default_rng([seed, number])
        score = 1 / (1 + np.exp(-(auroc_shift * true + rng.normal(size=len(lineage)))))
        position = {"variant": f"seed{number}", "task": "state", "experiment": experiment}
        keys = {"fov": "A/1/0", "track_id": lineage, "t": np.tile(range(4), n_lineages)}
        table = pd.DataFrame(
            {**keys, "lineage_id": lineage, "group": lineage, "label": true.astype(int).astype(str)}
        )
        for k, probability in (("0", 1 - score), ("1", score)):
            predictions.append(table.assign(**position, probability=probability, **{"class": k}))
        for metric, value, estimate in (
            ("auroc", auroc_of(true, score), "held_out"),
            ("matched_ilisi", 0.5 + 0.01 * rng.normal(), "pooled"),
        ):
            row = {**position, "kind": "trained", "seed": number, "estimate": estimate}
            metrics.append({**row, "metric": metric, "value": value, "expected": 0.5})
        if sisters is not None:
            row = {"variant": f"seed{number}", "task": "state", "estimate": "held_out"}
            row |= {"experiment": "(all)", "metric": "sister_auroc"}
            values = shared + sisters + 0.001 * rng.normal(size=200)
            resampled.append({**row, "n_lineages": n_lineages, "values": values})
            row |= {"kind": "trained", "seed": number, "expected": 0.5}
            metrics.append({**row, "value": values.mean()})
    (folder / name).mkdir(parents=True)
    columns = [*("variant", "task", "estimate", "experiment", "metric", "n_lineages", "values")]
    pd.DataFrame(resampled, columns=columns).to_parquet(folder / name / "resampled.parquet")
    table = pd.DataFrame({"experiment": [experiment], "held_out": [True], "digest": digest})
    table.to_csv(folder / name / "cells.csv", index=False)
    pd.DataFrame(metrics).to_csv(folder / name / "metrics.csv", index=False)
    pd.concat(predictions).to_parquet(folder / name / "predictions.parquet")
    return folder / name


def auroc_of(true, score):
    return float((score[true][:, None] > score[~true]).mean())


@pytest.fixture
def evaluations(tmp_path):
    return {
        "random": add_model(tmp_path, "random", 0.5),
        "aware": add_model(tmp_path, "aware", 2.0, seed=1),
        "same": add_model(tmp_path, "same", 0.5, seed=2),
    }


def test_a_gain_is_found_and_none_is_seen_where_there_is_none(evaluations, tmp_path):
    out = tmp_path / "comparison"
    compare_models(evaluations, ComparisonConfig(), out)
    differences = pd.read_csv(out / "differences.csv")
    assert list(differences) == DIFFERENCE_COLUMNS
    assert len(differences) == 4, "two models against the first, two metrics"
    table = differences.set_index(["first", "metric"])
    gain = table.loc[("aware", "auroc")]
    assert gain["verdict"].startswith("aware higher")
    assert gain["verdict"].endswith("better")
    assert gain["paired"] == "seeds and lineages"
    assert gain["low"] < gain["value"] < gain["high"]
    assert table.loc[("same", "auroc"), "verdict"].startswith("no difference seen")
    assert table.loc[("aware", "matched_ilisi"), "verdict"].startswith("no difference seen")
    assert table.loc[("aware", "matched_ilisi"), "paired"] == "seeds"
    assert (differences["p_corrected"] >= differences["p"]).all()
    assert pd.read_csv(out / "metrics.csv")["compared"].all()


def test_the_table_has_means_over_seeds(evaluations, tmp_path):
    compare_models(evaluations, ComparisonConfig(), tmp_path / "out")
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert list(metrics) == METRIC_COLUMNS
    source = pd.read_csv(evaluations["aware"] / "metrics.csv")
    expected = source[source["metric"] == "auroc"]["value"]
    row = metrics[(metrics["model"] == "aware") & (metrics["metric"] == "auroc")].iloc[0]
    assert row["value"] == pytest.approx(expected.mean(), abs=1e-5)
    assert [float(v) for v in row["per_seed"].split()] == pytest.approx(list(expected), abs=1e-5)
    assert (row["n_seeds"], row["n_lineages"]) == (4, 60)


def test_pairing_by_lineage_narrows_the_interval(tmp_path):
    """Two models with nearly the same scores: their difference is surer than either value."""
    evaluations = {
        name: add_model(tmp_path, name, shift, n_seeds=1)
        for name, shift in (("first", 1.0), ("second", 1.05))
    }
    compare_models(evaluations, ComparisonConfig(), tmp_path / "out")
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index(["model", "metric"])
    value = metrics.loc[("first", "auroc")]
    difference = pd.read_csv(tmp_path / "out" / "differences.csv").set_index("metric").loc["auroc"]
    assert difference["high"] - difference["low"] < 0.3 * (value["high"] - value["low"])


def differences_of(evaluations, out):
    compare_models(evaluations, ComparisonConfig(), out)
    return pd.read_csv(out / "differences.csv").set_index("metric")


@pytest.mark.parametrize("experiment", ["c", "20240612", "NA"])
def test_models_that_were_scored_on_different_cells_are_not_paired(tmp_path, experiment):
    position = {"sisters": 0.0, "experiment": experiment}
    evaluations = {
        "first": add_model(tmp_path, "first", 1.0, **position),
        "other": add_model(tmp_path, "other", 1.0, seed=1, cells=1, **position),
    }
    table = differences_of(evaluations, tmp_path / "out")
    assert set(table["paired"]) == {"no"}
    assert table["note"].str.contains("scored on different cells: not paired").all()
    seeds = [
        pd.read_csv(folder / "metrics.csv").query("metric == 'matched_ilisi'")["value"]
        for folder in evaluations.values()
    ]
    expected = ttest_ind(seeds[1], seeds[0], equal_var=False)
    assert table.loc["matched_ilisi", "p"] == pytest.approx(expected.pvalue, rel=1e-4)


def test_other_labels_of_the_same_cells_are_not_paired_either(tmp_path):
    evaluations = {name: add_model(tmp_path, name, 1.0, seed=n) for n, name in enumerate("ab")}
    path = evaluations["b"] / "predictions.parquet"
    predictions = pd.read_parquet(path)
    first = predictions["track_id"] == 0
    predictions.loc[first, "label"] = np.where(predictions.loc[first, "label"] == "1", "0", "1")
    predictions.to_parquet(path)
    assert differences_of(evaluations, tmp_path / "out").loc["auroc", "paired"] == "no"


def test_what_the_evaluation_resampled_is_paired_by_lineage(tmp_path):
    evaluations = {
        name: add_model(tmp_path, name, 1.0, seed=n, sisters=0.02 * n)
        for n, name in enumerate("ab")
    }
    row = differences_of(evaluations, tmp_path / "out").loc["sister_auroc"]
    assert row["paired"] == "seeds and lineages"
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index(["model", "metric"])
    value = metrics.loc[("a", "sister_auroc")]
    assert value["n_lineages"] == 60
    assert value["high"] - value["low"] > 0.15, "over lineages"
    assert row["high"] - row["low"] < 0.1 * (value["high"] - value["low"])


def test_few_lineages_pair_over_seeds_alone(tmp_path):
    evaluations = {
        name: add_model(tmp_path, name, 1.0, seed=n, n_lineages=4) for n, name in enumerate("ab")
    }
    row = differences_of(evaluations, tmp_path / "out").loc["auroc"]
    assert row["paired"] == "seeds"
    assert row["note"] == "lineages not resampled"


def test_an_experiment_with_one_class_is_left_out_of_the_lineages(tmp_path):
    """It has no score, and would make the mean over experiments unknown."""
    evaluations = {name: add_model(tmp_path, name, 1.0, seed=n) for n, name in enumerate("ab")}
    before = differences_of(evaluations, tmp_path / "before").loc["auroc"]
    for folder in evaluations.values():
        predictions = pd.read_parquet(folder / "predictions.parquet")
        silent = predictions.assign(experiment="d", label="0")
        pd.concat([predictions, silent]).to_parquet(folder / "predictions.parquet")
        metrics = pd.read_csv(folder / "metrics.csv")
        lacking = metrics[metrics["metric"] == "auroc"].assign(experiment="d", value=np.nan)
        pd.concat([metrics, lacking]).to_csv(folder / "metrics.csv", index=False)
    after = differences_of(evaluations, tmp_path / "after").loc["auroc"]
    assert after["paired"] == "seeds and lineages"
    assert after["note"] == "no value of d: left out"
    assert after[["value", "low", "high"]].tolist() == before[["value", "low", "high"]].tolist()


def test_contrasts_and_metrics_are_chosen(evaluations, tmp_path):
    chosen = ComparisonConfig(contrasts=[("aware", "same")], metrics=["auroc"])
    table = compare_models(evaluations, chosen, tmp_path / "out")
    assert table[["first", "second", "metric"]].to_numpy().tolist() == [["aware", "same", "auroc"]]
    known = ", ".join(sorted(pd.read_csv(tmp_path / "out/metrics.csv")["metric"].unique()))
    expected = f"no evaluation has the metric 'f1:none'. Known: {known}."
    with pytest.raises(UserError, match=re.escape(expected)):
        compare_models(evaluations, ComparisonConfig(metrics=["f1:none"]), tmp_path / "out")
    with pytest.raises(UserError, match="no such file"):
        compare_models(evaluations | {"new": tmp_path / "x"}, ComparisonConfig(), tmp_path / "out")


def test_an_evaluation_of_another_version_is_refused(evaluations, tmp_path):
    path = evaluations["same"] / "metrics.csv"
    metrics = pd.read_csv(path)
    pd.concat([metrics, metrics.assign(metric="scib_total")]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"holds scib_total, .* Evaluate the model again"):
        compare_models(evaluations, ComparisonConfig(), tmp_path / "out")
