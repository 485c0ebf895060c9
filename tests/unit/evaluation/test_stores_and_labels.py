"""Reading stores, and joining label tables to observations."""

import numpy as np
import pandas as pd
import pytest

from dynaclr.config import TaskConfig, UserError
from dynaclr.evaluation.label_tables import join_labels
from dynaclr.evaluation.tasks import group_codes, select_task
from dynaclr.io.embeddings import KEY, provenance_of, read_embeddings, read_store


def write(path, text):
    path.write_text(text)
    return path


def test_a_store_comes_back_with_plain_strings_and_provenance(tmp_path, make, observations):
    path = make.store(tmp_path / "a.zarr", observations, np.ones((len(observations), 3)))
    store = read_store(path)
    assert store.obs["experiment"].dtype == object
    assert provenance_of(store) == {"checkpoint": "0123"}
    assert store.X.shape == (len(observations), 3)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_faults_of_a_store_are_told(tmp_path, make, observations):
    n = len(observations)
    with pytest.raises(UserError, match="no such embedding store"):
        read_store(tmp_path / "absent.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(UserError, match="cannot be read as AnnData"):
        read_store(tmp_path / "empty.zarr")
    lacking = make.store(tmp_path / "b.zarr", observations.drop(columns="hours"), np.ones((n, 2)))
    with pytest.raises(UserError, match="obs lacks hours"):
        read_store(lacking)
    twice = pd.concat([observations, observations.iloc[[3]]])
    repeated = make.store(tmp_path / "c.zarr", twice, np.ones((n + 1, 2)))
    with pytest.raises(UserError, match="fov A/1/0, track 1, frame 3 is there twice"):
        read_store(repeated)
    twice = twice.assign(marker="phase")
    repeated = make.store(tmp_path / "m.zarr", twice, np.ones((n + 1, 2)))
    with pytest.raises(UserError, match="track 1, frame 3, marker phase is there twice"):
        read_store(repeated)
    features = np.ones((n, 2))
    features[4] = np.nan
    features[9, 0] = np.inf
    diverged = make.store(tmp_path / "d.zarr", observations, features)
    with pytest.raises(UserError, match=r"2 of 120 rows have no usable features.*track 1, frame 4"):
        read_store(diverged)


def test_variants_are_lined_up_whatever_the_order_of_their_rows(tmp_path, make, observations):
    n = len(observations)
    number = np.arange(n, dtype=float)[:, None]
    order = np.random.default_rng(0).permutation(n)
    first = make.store(tmp_path / "x" / "a.zarr", observations, number)
    second = make.store(tmp_path / "y" / "a.zarr", observations.iloc[order], number[order])
    embeddings = read_embeddings({"x": {"a": first}, "y": {"a": second}})
    np.testing.assert_array_equal(embeddings.features["x"], embeddings.features["y"])
    assert embeddings.obs[KEY].equals(embeddings.obs[KEY].sort_values(KEY))


def test_variants_with_other_rows_are_turned_away(tmp_path, make, observations):
    n = len(observations)
    first = make.store(tmp_path / "x" / "a.zarr", observations, np.ones((n, 2)))
    second = make.store(tmp_path / "y" / "a.zarr", observations[:-1], np.ones((n - 1, 2)))
    with pytest.raises(UserError, match="y lacks 1 and has 0 more, for example experiment a"):
        read_embeddings({"x": {"a": first}, "y": {"a": second}})
    marked = observations.assign(marker="phase")
    of_markers = make.store(tmp_path / "z" / "a.zarr", marked, np.ones((n, 2)))
    with pytest.raises(UserError, match="x and z: one has a row per marker"):
        read_embeddings({"x": {"a": first}, "z": {"a": of_markers}})
    with pytest.raises(UserError, match="holds experiment a, but was given as b"):
        read_embeddings({"x": {"b": first}})
    other = observations.assign(experiment="b")
    wider = make.store(tmp_path / "x" / "b.zarr", other, np.ones((n, 5)))
    with pytest.raises(UserError, match="has 5 features that differ from the 2"):
        read_embeddings({"x": {"a": first, "b": wider}})


def test_labels_join_by_observation(tmp_path, observations):
    path = write(
        tmp_path / "labels.csv",
        "fov,track_id,t,state\nA/1/0,1,0,early\nA/1/0,1,4,late\nA/1/0,2,0,\nA/1/0,999,0,early\n",
    )
    joined = join_labels(observations, path, "state")
    labelled = observations.assign(label=joined.values).dropna(subset="label")
    assert labelled[["fov", "track_id", "t", "label"]].to_numpy().tolist() == [
        ["A/1/0", 1, 0, "early"],
        ["A/1/0", 1, 4, "late"],
    ]
    assert joined.n_unmatched == 1


def test_labels_without_a_frame_hold_for_the_whole_track(tmp_path, observations):
    path = write(tmp_path / "labels.csv", "fov,track_id,fate\nA/1/0,1,divides\nB/1/0,7,dies\n")
    joined = join_labels(observations, path, "fate")
    counts = observations.assign(label=joined.values).groupby(["track_id", "label"]).size()
    assert counts.to_dict() == {(1, "divides"): 5, (7, "dies"): 5}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["1.0000", "0", "1"], {"0", "1"}),
        (["True", "False", "True"], {"True", "False"}),
        (["2", "x", "1.0"], {"2", "x", "1.0"}),
        (["None", "NA", "nan"], {"None", "NA"}),
    ],
)
def test_names_of_classes_do_not_depend_on_the_spelling_of_numbers(
    tmp_path, observations, values, classes
):
    rows = "".join(f"A/1/0,{n},0,{value}\n" for n, value in enumerate(values, 1))
    path = write(tmp_path / "labels.csv", "fov,track_id,t,state\n" + rows)
    joined = join_labels(observations, path, "state")
    assert {value for value in joined.values if value is not None} == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fov,track,t,state\nA/1/0,1,0,x\n", r"no column 'track_id'. Did you mean 'track'\?"),
        ("fov,track_id,t,stat\nA/1/0,1,0,x\n", r"no column 'state'. Did you mean 'stat'\?"),
        ("fov,track_id,t,state\nA/1/0,1,0,x\n\nA/1/0,1,b,x\n", r"line 4: t is 'b', not a whole"),
        (
            "fov,track_id,t,state\nA/1/0,1,0,x\nA/1/0,1,1,x\nA/1/0,1,0,y\n",
            r"line 4: fov A/1/0, track_id 1, t 0 was already labelled in line 2 \(1 repeated",
        ),
        (
            "fov,track_id,state\nA/1/0,1,x\nA/1/0,1,x\n",
            r"already labelled in line 2.*A table without a column t has one row per track",
        ),
        (
            "fov,track_id,t,state\nZ/9/0,1,0,x\n",
            r"none of its 1 labelled rows matches .* fov Z/9/0",
        ),
        ("fov,track_id,t,state\nA/1/0,1,0,\n", "column 'state' is empty in every row"),
        ("fov,track_id,t,state\nA/1/0,1,0,0.37\n", "holds measurements such as 0.37"),
        ("", "cannot be read as CSV"),
    ],
)
def test_faults_of_a_label_table_are_told(tmp_path, observations, text, message):
    path = write(tmp_path / "labels.csv", text)
    with pytest.raises(UserError, match=message) as caught:
        join_labels(observations, path, "state")
    assert str(path) in str(caught.value)


def test_a_key_is_no_class(tmp_path, observations):
    rows = "".join(f"A/1/0,1,{t},{t + 100}\n" for t in range(40))
    path = write(tmp_path / "labels.csv", "fov,track_id,t,root\n" + rows)
    with pytest.raises(UserError, match="has 40 distinct values; a task needs at most 20"):
        join_labels(observations, path, "root")


def test_a_missing_table_is_told(tmp_path, observations):
    with pytest.raises(UserError, match="no such label table"):
        join_labels(observations, tmp_path / "none.csv", "state")


def test_groups_are_distinct_between_experiments(observations):
    both = pd.concat([observations, observations.assign(experiment="b")], ignore_index=True)
    lineages, fovs = group_codes(both, "lineage"), group_codes(both, "fov")
    assert len(set(lineages)) == 2 * observations["lineage_id"].nunique()
    assert len(set(fovs)) == 2 * 4
    assert not set(fovs[: len(observations)]) & set(fovs[len(observations) :])


def select(observations, tmp_path, where):
    path = write(tmp_path / "labels.csv", "fov,track_id,state\nA/1/0,1,x\nB/1/0,7,y\n")
    task = TaskConfig(name="task", label="state", where=where)
    return select_task(observations, task, {"a": {"annotations": path}})


def test_a_condition_keeps_rows(tmp_path, observations):
    rows = select(observations, tmp_path, "condition == 'infected' and 3.5 <= hours < 4.5")
    kept = observations.iloc[rows.rows]
    assert set(kept["condition"]) == {"infected"}
    assert set(kept["hours"]) == {3.5, 4.0}
    assert len(rows.labelled(["a"])) == 2
    assert len(select(observations, tmp_path, "fov in ['A/1/0', 'A/1/1'] and not t > 1").rows) == 24


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("conditon == 'infected'", r"no column 'conditon'. Did you mean 'condition'\?"),
        ("condition = 'infected'", "is no condition"),
        ("hours", "is not true or false"),
        ("condition.to_csv('x')", "may only compare columns"),
        ("__import__('os').getcwd() == 'x'", "may only compare columns"),
        ("condition > 3", "cannot be evaluated"),
    ],
)
def test_a_condition_that_cannot_be_used_is_told(tmp_path, observations, where, message):
    with pytest.raises(UserError, match=message) as caught:
        select(observations, tmp_path, where)
    assert "task 'task'" in str(caught.value)


def test_an_experiment_without_the_table_is_noted_not_skipped(observations):
    task = TaskConfig(name="task", label="state", source="truth")
    rows = select_task(observations, task, {"a": {"annotations": None, "truth": None}})
    assert rows.notes == {"a": "experiment a has no truth"}
    assert len(rows.labelled(["a"])) == 0
