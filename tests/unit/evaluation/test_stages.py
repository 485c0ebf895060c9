"""From arrays to the metrics table: values that a wrong column, sign or row would not give.

In four experiments of twelve windows, drugged lineages divide at 12 h; both daughters respond, or
one of them, at 15 or 17 h, by a step of the first feature. Mock cells never do.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.unit.evaluation.classifiers.conftest import fit_and_score

from dynaclr.config import EvaluationConfig, TaskConfig
from dynaclr.config.metrics import ALL, HELD_OUT, POOLED
from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.batch_correction import common_moments, zscore_by_experiment
from dynaclr.evaluation.control_distance_scores import (
    control_distance_across,
    control_distance_rows,
)
from dynaclr.evaluation.health_scores import experiment_purity_rows, health_rows
from dynaclr.evaluation.inputs import label_observations, make_inputs
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.metrics.temporal import smoothness
from dynaclr.evaluation.mixing_scores import mixing_rows, refitted_features, separation_rows
from dynaclr.evaluation.onset_scores import onset_rows, onset_table
from dynaclr.evaluation.response_scores import resolution_rows, sister_rows
from dynaclr.evaluation.tables import Rows
from dynaclr.evaluation.temporal_scores import (
    fit_progression_of,
    pooled_smoothness_rows,
    temporal_rows,
)
from dynaclr.evaluation.track_onsets import fit_response, track_onsets

CONFIG = EvaluationConfig(
    tasks=[
        TaskConfig(name="responds", label="responds", source="truth", where="condition == 'drug'")
    ],
    bootstrap=100,
    control="mock",
    progression="progress",
    onset="onset",
)


def observations():
    rows = []
    for experiment in "abcd":
        for lineage in range(64):
            condition = "drug" if lineage % 2 else "mock"
            onset = 15.0 if lineage % 8 < 4 else 17.0
            for daughter in range(3):
                responds = condition == "drug" and daughter > (0 if lineage % 4 == 1 else 1)
                track, parent = 3 * lineage + daughter, 3 * lineage if daughter else -1
                for t in range(6, 12) if daughter else range(6):
                    truth = (onset if responds else np.nan, int(responds and 2 * t >= onset))
                    rows.append((experiment, condition, track, parent, lineage, t, *truth))
    names = ["experiment", "condition", "track_id", "parent_track_id", "lineage_id", "t"]
    table = pd.DataFrame(rows, columns=[*names, "onset", "responds"])
    well = table["condition"].map({"mock": "A/1/0", "drug": "B/1/0"})
    table = table.assign(fov=well, hours=2.0 * table["t"], progress=table["responds"].astype(float))
    return table.sort_values(["experiment", "fov", "track_id", "t"], ignore_index=True)


def features_of(obs, variant):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(obs), 4)).astype(np.float32)
    features[:, 0] += 8.0 * obs["responds"]
    if variant == "batch":
        features[:, 1] += 30.0 * obs["experiment"].map("abcd".index)
    return features


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Variants ``seed0`` (the signal) and ``batch`` (and experiments that lie apart)."""
    folder = tmp_path_factory.mktemp("wiring")

    def made(held_out="cd", change=lambda features, obs: None):
        obs, labels = observations(), {}
        for name, part in obs.groupby("experiment"):
            labels[name] = {"truth": folder / f"{name}.csv"}
            part.drop(columns=["experiment", "hours"]).to_csv(labels[name]["truth"], index=False)
        features = {variant: features_of(obs, variant) for variant in ("seed0", "batch")}
        for values in features.values():
            change(values, obs)
        bare = obs.drop(columns=["onset", "responds", "progress"])
        labelled, notes = label_observations(bare, labels, CONFIG)
        inputs = make_inputs(labelled, notes, CONFIG, list("ab"), list(held_out), seed=0)
        train = np.isin(inputs.experiments, inputs.train)
        corrected = {}
        for variant, values in features.items():
            controls = (values[train], inputs.experiments[train], inputs.control[train])
            target = common_moments(*controls)
            corrected |= inputs.with_variant(variant, values, target).features
        return replace(inputs, features=corrected)

    return made


@pytest.fixture(scope="module")
def inputs(make):
    return make()


def scores_of(inputs):
    task, rows = inputs.tasks[0]
    features = {"seed0": inputs.features["seed0"]}
    return rows, fit_and_score(inputs.obs, features, task, rows, inputs.train, inputs.held_out)


def resolution_of(inputs):
    rows, scores = scores_of(inputs)
    parts = [resolution_rows(inputs, SEED0, rows, scores.fitted, scored) for scored in scores.sets]
    return Rows([r for part in parts for r in part.metrics], [c for p in parts for c in p.curves])


def table_of(rows):
    return pd.DataFrame(rows).set_index(["metric", "experiment"])


SEED0, BATCH = parse_variant("seed0"), parse_variant("batch")


def test_distance_to_control_is_seen_from_the_window_of_the_first_onsets(inputs):
    rows = control_distance_rows(inputs, SEED0)
    table = table_of([*rows.metrics, *control_distance_across(inputs, SEED0).metrics])
    for name in ("c", "d", ALL):
        assert table.loc[("mmd_from_hours:drug", name), "value"] == 16.0
        assert table.loc[("mmd_z:drug", name), "value"] > 5
        assert table.loc[("mmd_z:drug", name), "expected"] == 0.0
        assert table.loc[("mmd_z:drug", name), "note"].startswith("12 windows")
    assert set(table["estimate"]) == {HELD_OUT}
    curve = pd.DataFrame(rows.curves).query("experiment == 'c' and metric == 'mmd2:drug'")
    assert curve["hours"].tolist() == [2.0 * window + 1.0 for window in range(12)]
    assert curve.loc[curve["hours"] > 18, "value"].min() > 10 * curve["value"].iloc[:8].max()


def test_without_an_effect_no_distance_is_seen(make):
    def silence(features, obs):
        features[:] = np.random.default_rng(5).normal(size=features.shape)

    silent = make(change=silence)
    parts = (control_distance_rows(silent, SEED0), control_distance_across(silent, SEED0))
    table = table_of([row for part in parts for row in part.metrics])["value"]
    assert abs(table["mmd_z:drug"]).max() < 2, "about 0, though it is the largest of 12 windows"
    assert table["mmd_from_hours:drug"].isna().all()


def test_onsets_are_those_of_the_truth(inputs):
    reference, rows, tables = fit_response(inputs, SEED0), [], []
    assert reference.delay == 0.0
    for name in "cd":
        tracks = track_onsets(inputs, SEED0, reference.axis, name)
        tables.append(onset_table(inputs, SEED0, tracks, reference.delay))
        rows += onset_rows(inputs, SEED0, name, tables[-1])
    table, onsets = table_of(rows), pd.concat(tables)
    for name in "cd":
        error = table.loc[("onset_error_hours", name)]
        assert error["value"] == 0.0
        assert error["expected"] == 1.0, "of 16 h for all, which lie at 15 and 17 h"
        assert (error["n_rows"], error["n_lineages"]) == (48, 32)
        assert table.loc[("onset_coverage", name), "value"] > 0.9
        assert table.loc[("onset_control_rate", name), "value"] < 0.2
        assert len(error["resampled"]) == 100
    seen = onsets[onsets["true_hours"].notna() & onsets["hours"].notna()]
    assert set(onsets["experiment"]) == {"c", "d"}
    assert set(seen["condition"]) == {"drug"}
    assert (seen["hours"] == seen["true_hours"]).mean() > 0.85


def test_resolution_and_sisters(inputs):
    responses = resolution_of(inputs)
    apart = sister_rows(inputs, SEED0, "responds", inputs.tasks[0][1])
    table = table_of([*responses.metrics, *apart])
    assert table.loc[("visible_from_hours", "c"), "value"] == 16.0
    assert table.loc[("window_auroc", "c"), "value"] > 0.99
    sisters = table.loc[("sister_auroc", "c")]
    assert sisters["value"] > 0.8
    assert sisters["note"] == "32 pairs of sisters, 16 of different fates"
    assert sisters["estimate"] == HELD_OUT
    hours = pd.DataFrame(responses.curves).query("experiment == 'c'")["hours"]
    assert hours.tolist() == [17.0, 19.0, 21.0, 23.0]


def test_time_within_and_over_experiments(inputs):
    predictor = fit_progression_of(inputs, BATCH)
    rows = temporal_rows(inputs, BATCH, predictor).metrics
    table = table_of([*rows, *pooled_smoothness_rows(inputs, BATCH)])
    here = inputs.rows_of(["c", "d"])
    features, t = inputs.features["batch"][here], inputs.obs["t"].to_numpy()[here]
    expected = smoothness(standardize(features), inputs.tracks[here], t, inputs.seed)
    pooled = table.loc[("smoothness_pooled", ALL)]
    assert pooled["value"] == expected.ratio
    assert pooled["value"] < 0.9 * table.loc[("smoothness", "c"), "value"], "rewards batch effects"
    assert table.loc[("progression_r2", "c"), "value"] > 0.85


def test_mixing_and_class_separation(inputs):
    apart = separation_rows(inputs, SEED0, "responds", inputs.tasks[0][1])
    table = pd.DataFrame([*mixing_rows(inputs, SEED0), *apart]).set_index("metric")
    table = table[table["experiment"].isin(["c", ALL])]
    value = table["value"]
    assert value["isolated_state_auroc"] > 0.9
    assert value[["clisi", "retrieval_map"]].min() > 0.85
    assert value["silhouette"] > table.loc["silhouette", "expected"] + 0.1
    assert abs(value["matched_ilisi"] - table.loc["matched_ilisi", "expected"]) < 0.1
    assert set(table["estimate"]) == {HELD_OUT}
    apart = pd.DataFrame(mixing_rows(inputs, BATCH)).set_index("metric")["value"]
    assert apart["ilisi"] < 0.05
    assert apart["experiment_auroc"] == apart["matched_experiment_auroc"] == 1.0


def test_a_correction_is_fitted_again_to_what_is_left(inputs):
    rows = inputs.rows_of(["c", "d"])[::3]
    features = inputs.features
    expected = zscore_by_experiment(features["seed0"][rows], inputs.experiments[rows])
    found = refitted_features(inputs, parse_variant("seed0+zscore"), rows)
    np.testing.assert_allclose(found, expected)
    for name in ("seed0", "seed0+transport"):
        found = refitted_features(inputs, parse_variant(name), rows)
        np.testing.assert_array_equal(found, features[name][rows])


def test_health_sees_experiments_that_lie_apart(inputs):
    apart, together = (table_of(experiment_purity_rows(inputs, of)) for of in (BATCH, SEED0))
    assert apart.loc[("purity_experiment", ALL), "value"] > 0.99
    assert together.loc[("purity_experiment", ALL), "value"] < 0.6
    assert apart.loc[("purity_experiment", ALL), "expected"] == pytest.approx(0.5, abs=0.01)


def families(inputs):
    task, rows = inputs.tasks[0][0].name, inputs.tasks[0][1]
    return [
        *resolution_of(inputs).metrics,
        *sister_rows(inputs, SEED0, task, rows),
        *separation_rows(inputs, SEED0, task, rows),
        *mixing_rows(inputs, SEED0),
        *temporal_rows(inputs, SEED0, fit_progression_of(inputs, SEED0)).metrics,
        *pooled_smoothness_rows(inputs, SEED0),
        *control_distance_rows(inputs, SEED0).metrics,
        *control_distance_across(inputs, SEED0).metrics,
        *health_rows(inputs, SEED0),
        *experiment_purity_rows(inputs, SEED0),
    ]


def test_held_out_scores_do_not_use_cells_that_were_trained_on(make, inputs):
    def scramble(features, obs):
        trained = obs["experiment"].isin(["a", "b"]).to_numpy()
        features[trained] = np.random.default_rng(1).normal(size=(trained.sum(), 4))

    fitted = ("window_auroc", "visible_from_hours", "progression_r2")
    first, second = (table_of(families(of))["value"] for of in (inputs, make(change=scramble)))
    kept = [position for position in first.index if position[0] not in fitted]
    pd.testing.assert_series_equal(first[kept], second[kept])


def test_what_needs_two_experiments_says_that_it_includes_others(make):
    table = pd.DataFrame(families(make(held_out="c"))).set_index("metric")
    pooled = set(table.index[table["estimate"] == POOLED])
    assert {"ilisi", "matched_ilisi", "retrieval_map", "purity_experiment"} <= pooled
    held_out = set(table.index[table["estimate"] == HELD_OUT])
    assert {
        "clisi",
        "silhouette",
        "sister_auroc",
        "effective_rank",
        "smoothness",
    } <= held_out - pooled
