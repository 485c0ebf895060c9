"""Classifiers trained on stores and applied to others, as the commands do it."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dynaclr.config import TaskConfig, UserError
from dynaclr.evaluation import LinearClassifier, apply_linear_classifier, train_linear_classifier
from dynaclr.io.artifacts import digest_path
from dynaclr.io.embedding_rows import read_embeddings
from dynaclr.io.embeddings import read_store


@pytest.fixture
def trained(synthetic, make, tmp_path):
    stores = {name: synthetic.stores["seed0"][name] for name in "ab"}
    folder = tmp_path / "classifier"
    return folder, train_linear_classifier(stores, synthetic.labels, make.tasks[0], folder)


def test_a_classifier_knows_what_it_was_trained_on(synthetic, trained):
    folder, summary = trained
    provenance = LinearClassifier.load(folder).provenance
    assert provenance == summary
    assert provenance["task"]["label"] == "response"
    assert provenance["stores"]["a"] == digest_path(synthetic.stores["seed0"]["a"])
    assert provenance["labels"]["b"] == digest_path(synthetic.labels["b"]["truth"])
    assert provenance["classes"] == ["0", "1"]
    assert provenance["cross_validated"]["auroc"] > 0.9
    assert provenance["n_rows"] == 2 * 108


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_predictions_are_keyed_and_carry_their_provenance(synthetic, trained, tmp_path, suffix):
    folder, _ = trained
    path = tmp_path / f"predictions{suffix}"
    stores = {"c": synthetic.stores["seed0"]["c"]}
    apply_linear_classifier(folder, stores, path)
    if suffix == ".csv":
        table = pd.read_csv(path, dtype={"predicted": str})
        provenance = json.loads((tmp_path / "predictions.csv.json").read_text())
    else:
        table = pd.read_parquet(path)
        provenance = json.loads(pq.read_schema(path).metadata[b"dynaclr"])
    embeddings = read_embeddings(stores)
    assert list(table) == [
        *("experiment", "fov", "track_id", "t"),
        *("predicted", "probability_0", "probability_1"),
    ]
    assert table[["experiment", "fov", "track_id", "t"]].equals(
        embeddings.obs[["experiment", "fov", "track_id", "t"]].astype(table.dtypes[:4])
    )
    probability = LinearClassifier.load(folder).predict_proba(embeddings.features)
    np.testing.assert_allclose(table["probability_1"], probability[:, 1], rtol=1e-5)
    assert (table["predicted"] == np.where(probability[:, 1] > 0.5, "1", "0")).all()
    assert provenance["classifier"] == digest_path(folder)
    assert provenance["trained"]["task"]["name"] == "responder"


def test_features_of_another_encoder_are_refused(make, synthetic, tmp_path):
    """A second seed has features of the same number and names."""

    def stores(name, *checkpoints):
        made = {}
        for experiment, checkpoint in zip("ab", checkpoints, strict=True):
            store = read_store(synthetic.stores["seed0"][experiment])
            store.uns["dynaclr"] = json.dumps({"variant": "trained", "checkpoint": checkpoint})
            made[experiment] = tmp_path / name / f"{experiment}.zarr"
            made[experiment].parent.mkdir(exist_ok=True)
            store.write_zarr(made[experiment])
        return made

    mine, others, mixed = stores("s", "0", "0"), stores("o", "1", "1"), stores("m", "0", "1")
    folder = tmp_path / "classifier"
    summary = train_linear_classifier(mine, synthetic.labels, make.tasks[0], folder)
    assert summary["encoder"] == {"variant": "trained", "checkpoint": "0"}
    apply_linear_classifier(folder, mine, tmp_path / "p.csv")
    with pytest.raises(UserError, match=r"another encoder \(trained, checkpoint 0\) .* 1\)"):
        apply_linear_classifier(folder, others, tmp_path / "q.csv")
    with pytest.raises(UserError, match=r"b.zarr: made by another encoder"):
        train_linear_classifier(mixed, synthetic.labels, make.tasks[0], tmp_path / "new")
    assert not (tmp_path / "q.csv").exists()


def test_errors_leave_nothing(synthetic, make, trained, tmp_path):
    folder, _ = trained
    stores = {"c": synthetic.stores["seed0"]["c"]}
    with pytest.raises(UserError, match=r"written as \.parquet or \.csv"):
        apply_linear_classifier(folder, stores, tmp_path / "predictions.txt")
    table = make.observations("c", 12, 2, seed=0)
    narrow = make.store(tmp_path / "narrow.zarr", table, np.ones((len(table), 2)))
    with pytest.raises(UserError, match=r"was trained on 8 features .* the stores hold 2"):
        apply_linear_classifier(folder, {"c": narrow}, tmp_path / "p.csv")
    task = TaskConfig(name="t", label="response", source="truth", where="condition == 'mock'")
    with pytest.raises(UserError, match="two classes are needed, found 0 in column 'response'"):
        train_linear_classifier(stores, synthetic.labels, task, tmp_path / "new")
    assert not list(tmp_path.glob("*p.csv*")) + list(tmp_path.glob("*new*"))
