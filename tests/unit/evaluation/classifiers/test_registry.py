"""Publishing and fetching: numbered versions, whole or not there, by several at once."""

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from dynaclr.config import UserError
from dynaclr.evaluation import (
    LinearClassifier,
    apply_linear_classifier,
    fetch_classifier,
    fit_linear_classifier,
    publish_classifier,
)


def saved(folder, seed=0, n_features=3):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, n_features))
    labels = np.where(features[:, 0] > 0, "x", "y").astype(object)
    fit_linear_classifier(features, labels, np.arange(60))[0].save(folder)
    return folder


def test_versions_count_up_and_latest_points_to_the_newest(tmp_path):
    registry = tmp_path / "registry"
    first, second = saved(tmp_path / "first"), saved(tmp_path / "second", seed=1)
    assert publish_classifier(first, registry, "state") == "v1"
    assert publish_classifier(second, registry, "state") == "v2"
    assert publish_classifier(second, registry, "state") == "v2", "the same is not published twice"
    assert publish_classifier(first, registry, "other") == "v1"
    assert fetch_classifier(registry, "state", tmp_path / "latest") == "v2"
    assert fetch_classifier(registry, "state", tmp_path / "old", "v1") == "v1"
    for fetched, source in (("latest", second), ("old", first)):
        mine, theirs = LinearClassifier.load(tmp_path / fetched), LinearClassifier.load(source)
        np.testing.assert_array_equal(mine.coefficients, theirs.coefficients)


def publish(arguments):
    folder, registry = arguments
    return publish_classifier(folder, registry, "state")


def test_several_at_once_get_versions_of_their_own(tmp_path):
    registry = tmp_path / "registry"
    folders = [saved(tmp_path / str(seed), seed) for seed in range(8)]
    # Forks of a test process would inherit its threads and its handlers of signals.
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        versions = list(pool.map(publish, [(folder, registry) for folder in folders]))
    assert sorted(versions) == [f"v{number}" for number in range(1, 9)]
    assert (registry / "state" / "latest").read_text() == "v8\n"
    assert not list((registry / "state").glob(".*")), "nothing half-written stays"


def test_what_a_killed_publisher_left_is_no_version(tmp_path):
    registry = tmp_path / "registry"
    publish_classifier(saved(tmp_path / "first"), registry, "state")
    half = registry / "state" / ".publishing.0a1b2c3d"
    shutil.copytree(registry / "state" / "v1", half)
    (half / "arrays.npz").unlink()
    assert fetch_classifier(registry, "state", tmp_path / "out") == "v1"
    assert publish_classifier(saved(tmp_path / "second", 1), registry, "state") == "v2"


def test_publishing_again_repairs_the_pointer_of_a_killed_publisher(tmp_path):
    registry, second = tmp_path / "registry", saved(tmp_path / "second", 1)
    publish_classifier(saved(tmp_path / "first"), registry, "state")
    publish_classifier(second, registry, "state")
    # Killed between the renaming of the folder and that of the pointer.
    (registry / "state" / "latest").write_text("v1\n")
    assert publish_classifier(second, registry, "state") == "v2"
    assert fetch_classifier(registry, "state", tmp_path / "out") == "v2"


def test_error_messages(tmp_path):
    registry, folder = tmp_path / "registry", saved(tmp_path / "folder")
    publish_classifier(folder, registry, "state")
    with pytest.raises(UserError, match="only letters"):
        publish_classifier(folder, registry, "../state")
    with pytest.raises(UserError, match="no such file"):
        publish_classifier(tmp_path / "nothing", registry, "state")
    with pytest.raises(UserError, match=r"no classifier 'stat'\. Did you mean 'state'"):
        fetch_classifier(registry, "stat", tmp_path / "out")
    with pytest.raises(UserError, match="no version 'v7'; there are v1"):
        fetch_classifier(registry, "state", tmp_path / "out", "v7")
    arrays = registry / "state" / "v1" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-8])
    with pytest.raises(UserError, match="not those that were published"):
        fetch_classifier(registry, "state", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predictions_say_which_version_made_them(synthetic, tmp_path):
    registry = tmp_path / "registry"
    folder = saved(tmp_path / "folder", n_features=8)
    publish_classifier(folder, registry, "state")
    fetch_classifier(registry, "state", tmp_path / "fetched")
    stores = {"c": synthetic.stores["seed0"]["c"]}
    apply_linear_classifier(tmp_path / "fetched", stores, tmp_path / "table.csv")
    provenance = json.loads((tmp_path / "table.csv.json").read_text())
    assert provenance["published"]["version"] == "v1"
    assert provenance["published"]["name"] == "state"


@pytest.mark.parametrize("name", ["../other", "..", ".", "", "a/b", "/state", "a\n", "-x"])
def test_names_lie_inside_the_registry(tmp_path, name):
    folder = saved(tmp_path / "classifier")
    publish_classifier(folder, tmp_path / "other", "state")
    (tmp_path / "registry").mkdir()
    with pytest.raises(UserError, match="only letters, digits"):
        fetch_classifier(tmp_path / "registry", name, tmp_path / "out")
    with pytest.raises(UserError, match="only letters, digits"):
        publish_classifier(folder, tmp_path / "registry", name)
    assert not (tmp_path / "out").exists()
