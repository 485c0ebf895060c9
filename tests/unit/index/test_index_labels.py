"""Annotations as columns of the index: alone, merged, and without rebuilding the index."""

import pickle
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest
from index_examples import FAMILY, make_experiment

from dynaclr.config import ExperimentRegistry, UserError
from dynaclr.index import MultiExperimentIndex, build_index, build_labels, merge_indexes
from dynaclr.index.labels import LABELS
from dynaclr.io.artifacts import digest_path

BY_OBSERVATION = (
    "fov_name,track_id,t,id,y,state,score\n/A/1/0,1,0,9,1.5,NA,0.5\n/A/1/0,2,4,8,1,007,\n"
)


@pytest.fixture
def entries(tmp_path):
    """Two experiments; the first is annotated by observation, the second by field of view."""
    made = {}
    for name, text in (("one", BY_OBSERVATION), ("two", "fov,state,donor\nA/1/0,1,3\n")):
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        made[name] = make_experiment(tmp_path, {"A/1/0": FAMILY}, name, annotations=path)
    return made


def values_of(index, name):
    tracks = index.tracks
    return tracks[name].astype(str).groupby(tracks["experiment"].astype(str)).agg(set).to_dict()


EXPECTED = {"one": {"NA", "007", "unknown"}, "two": {"1"}}


def test_an_index_in_memory_has_the_labels_of_all_experiments(entries):
    index = MultiExperimentIndex.from_registry(ExperimentRegistry(entries.values()))
    assert values_of(index, "state") == EXPECTED
    assert values_of(index, "donor") == {"one": {"unknown"}, "two": {"3"}}
    assert index.is_text("donor")
    assert index.tracks["score"].dropna().tolist() == [0.5]
    first = index.tracks[index.tracks["experiment"] == "one"]
    labelled = first[first["state"] != "unknown"][["track_id", "t", "state"]]
    assert labelled.to_numpy().tolist() == [[1, 0, "NA"], [2, 4, "007"]]


def test_labels_leave_the_index_as_it_is(entries, tmp_path):
    entry = entries["one"]
    build_index(entry, tmp_path / "out")
    before = digest_path(tmp_path / "out/cells.parquet")
    assert "state" not in pq.read_schema(tmp_path / "out/cells.parquet").names
    assert values_of(MultiExperimentIndex.from_parquet([tmp_path / "out"]), "state")["one"] == {
        "NA",
        "007",
        "unknown",
    }
    entry.annotations.write_text("fov,track_id,state\nA/1/0,7,new\n")
    build_labels(entry, tmp_path / "out")
    index = MultiExperimentIndex.from_parquet([tmp_path / "out"])
    assert values_of(index, "state")["one"] == {"new", "unknown"}
    assert digest_path(tmp_path / "out/cells.parquet") == before
    build_labels(entry.model_copy(update={"annotations": None}), tmp_path / "out")
    assert "state" not in MultiExperimentIndex.from_parquet([tmp_path / "out"]).columns


def test_a_column_that_only_others_have_gets_a_file_without_it(entries, tmp_path):
    build_index(entries["one"].model_copy(update={"annotations": None}), tmp_path / "out")
    build_labels(entries["one"], tmp_path / "out", ["state", "donor"])
    names = pq.read_schema(tmp_path / "out" / LABELS / "donor.parquet").names
    assert names == ["fov", "track_id", "t"]
    columns = MultiExperimentIndex.from_parquet([tmp_path / "out"]).columns
    assert "state" in columns
    assert not {"donor", "score"} & {*columns}


def test_a_merged_index_takes_labels_and_brings_them_to_other_processes(entries, tmp_path):
    folders = [tmp_path / "experiments" / name for name in entries]
    for entry, folder in zip(entries.values(), folders, strict=True):
        build_index(entry, folder)
    merge_indexes(folders, tmp_path / "merged", ["one"], ["two"])
    assert "state" not in MultiExperimentIndex.from_merged(tmp_path / "merged").columns
    index = MultiExperimentIndex.from_merged(tmp_path / "merged", tmp_path / "experiments")
    assert values_of(index, "state") == EXPECTED
    assert values_of(pickle.loads(pickle.dumps(index)), "state") == EXPECTED
    assert len(index.valid_anchors(query="state == '007'").rows) == 1
    assert (
        "donor"
        not in MultiExperimentIndex.from_merged(
            tmp_path / "merged", tmp_path / "experiments", ["state", "no such column"]
        ).columns
    )
    shutil.rmtree(folders[0] / LABELS)
    index = MultiExperimentIndex.from_merged(tmp_path / "merged", tmp_path / "experiments")
    assert values_of(index, "state") == {"one": {"unknown"}, "two": {"1"}}


def test_labels_of_another_index_are_refused(entries, tmp_path):
    out = tmp_path / "out"
    build_index(entries["one"], out)
    (out / LABELS).rename(tmp_path / LABELS)
    fewer = make_experiment(tmp_path, {"A/1/0": FAMILY[FAMILY["t"] < 5]}, "three")
    build_index(fewer, out)
    (tmp_path / LABELS).rename(out / LABELS)
    with pytest.raises(UserError, match="holds other observations than the index"):
        MultiExperimentIndex.from_parquet([out])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fov,hours\nA/1/0,3\n", "column 'hours' is a column of the index itself. Rename it"),
        ("fov,a/b\nA/1/0,3\n", "column 'a/b' cannot be the name of a column in AnnData"),
        ("fov,rep\nA/1/0,3\n", "column 'rep' is a key of metadata too. Rename one"),
        ("FOV,state\nA/1/0,3\n", "no column 'fov', but one 'FOV'"),
        ("state\nx\n", "has none of experiment, fov, track_id, t"),
        ("fov,state\nA/2/0,x\n", "none of its 1 rows matches"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    entry = make_experiment(
        tmp_path, {"A/1/0": FAMILY}, metadata={"rep": 1}, annotations=tmp_path / "labels.csv"
    )
    with pytest.raises(UserError, match=message) as caught:
        build_index(entry, tmp_path / "out")
    assert "labels.csv" in str(caught.value)


def test_what_the_index_computes_from_tracks_is_no_label(tmp_path):
    text = "fov,track_id,t,y,generation,state\nA/1/0,1,0,3.5,7,x\n"
    (tmp_path / "labels.csv").write_text(text)
    entry = make_experiment(tmp_path, {"A/1/0": FAMILY}, annotations=tmp_path / "labels.csv")
    build_index(entry, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / LABELS).glob("*.parquet")] == [
        "state.parquet"
    ]
    index = MultiExperimentIndex.from_parquet([tmp_path / "out"])
    assert set(index.column("generation")) <= {0, 1, 2}


def test_a_table_without_rows_labels_nothing(tmp_path):
    pd.DataFrame(columns=["fov", "state"]).to_csv(tmp_path / "labels.csv", index=False)
    entry = make_experiment(tmp_path, {"A/1/0": FAMILY}, annotations=tmp_path / "labels.csv")
    build_index(entry, tmp_path / "out")
    index = MultiExperimentIndex.from_parquet([tmp_path / "out"])
    assert values_of(index, "state") == {"one": {"unknown"}}
