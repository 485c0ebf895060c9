"""Reading of label tables: text as it is, keys by their names, Parquet as CSV."""

import csv

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.config import UserError
from dynaclr.io.label_tables import label_digests, read_label_table

OBS = pd.DataFrame(
    [("a", fov, track, t) for fov in ("A/1/0", "A/1/1") for track in (0, 1) for t in (0, 1)],
    columns=["experiment", "fov", "track_id", "t"],
)


def write(path, text, **options):
    path.write_text(text, **options)
    return path


# What a person may type into a cell of a table; quotation marks and control characters apart.
CELL = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"'), max_size=8)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(CELL, min_size=1, max_size=6))
def test_text_stays_as_typed(tmp_path_factory, values):
    values = ["text", *values]  # Numbers alone would be numbers.
    path = tmp_path_factory.mktemp("tables") / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = [("A/1/0", track, 0, value) for track, value in enumerate(values)]
        csv.writer(stream).writerows([("fov", "track_id", "t", "state"), *rows])
    found = read_label_table(path).labels["state"]
    assert found.tolist() == [value or None for value in values]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2", ""], [1.0, 2.0, None]),
        (["1", "2"], [1, 2]),
        (["0.5", "1e-3", "nan"], [0.5, 0.001, None]),
        (["007", "1"], ["007", "1"]),
        (["NA", "None", "null"], ["NA", "None", "null"]),
        (["True", "false"], ["True", "false"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["0x1F", "2"], ["0x1F", "2"]),
        (["", ""], [None, None]),
    ],
)
def test_numbers_are_columns_that_hold_nothing_else(tmp_path, cells, expected):
    rows = "".join(f"A/1/0,{n},{cell}\n" for n, cell in enumerate(cells))
    labels = read_label_table(write(tmp_path / "t.csv", "fov,track_id,x\n" + rows)).labels["x"]
    assert [None if pd.isna(value) else value for value in labels] == expected


@pytest.mark.parametrize(
    "text",
    [
        "fov,track_id,t,state\nA/1/0,0,0,x\n",
        "\ufefffov,track_id,t,state\nA/1/0,0,0,x\n",
        "fov_name,track_id,t,state\n/A/1/0,0,0,x\n",
        "fov_name,track_id,t,state\n/A/1/0/,0,0.0,x\n",
        ",fov, track_id, t, state\n0,A/1/0, 0, 0, x\n",
        "fov;track_id;t;state\nA/1/0;0;0;x\n",
        "fov\ttrack_id\tt\tstate\nA/1/0\t0\t0\tx\n",
        "Unnamed: 0,fov,track_id,t,state\n0,A/1/0,0,0,x\n",
        'fov,track_id,t,state\r\n"A/1/0","0","0","x"\r\n\r\n',
    ],
)
def test_spellings_of_one_table_label_the_same_observation(tmp_path, text):
    table = read_label_table(write(tmp_path / "t.csv", text, encoding="utf-8", newline=""))
    assert list(table.labels) == ["state"]
    table.check_identifies({"a": OBS})
    found = table.find(OBS, "a")
    assert found.take(table.labels["state"]).tolist() == ["x", *[None] * 7]
    assert not found.unmatched.any()


def test_parquet_gives_what_csv_gives(tmp_path):
    frame = pd.DataFrame(
        {
            "fov": pd.Categorical(["A/1/0", "A/1/1"]),
            "track_id": [0, 1],
            "state": pd.Categorical(["x", None]),
            "dead": pd.array([True, None], "boolean"),
            "n": pd.array([3, None], "Int64"),
        }
    )
    frame.to_csv(tmp_path / "t.csv")
    frame.set_index(["fov", "track_id"]).to_parquet(tmp_path / "index.parquet")
    frame.set_axis([5, 9]).to_parquet(tmp_path / "no_suffix")
    tables = [read_label_table(tmp_path / n) for n in ("t.csv", "index.parquet", "no_suffix")]
    for table in tables:
        assert sorted(table.keys) == ["fov", "track_id"]
        found = table.find(OBS, "a")
        taken = {name: found.take(table.labels[name]) for name in ("state", "dead", "n")}
        assert taken["state"].tolist()[:3] == ["x", "x", None]
        assert taken["dead"].tolist()[:3] == ["True", "True", None]
        assert taken["n"].tolist()[0] == 3


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("FOV,track_id,t,x", "no column 'fov', but one 'FOV'"),
        ("fov ID,track_id,t,x", "no column 'fov', but one 'fov ID'"),
        ("position,track_id,t,x", "no column 'fov', but one 'position'"),
        ("fov,TrackID,t,x", "no column 'track_id', but one 'TrackID'"),
        ("fov,track_id,frame,x", "no column 't', but one 'frame'"),
        ("fov,fov_name,t,x", "a column 'fov' and a column 'fov_name'"),
        ("fov,track_id,x,x", "has the column 'x' twice"),
        ("a,b,c,x", "has none of experiment, fov, track_id, t"),
    ],
)
def test_a_key_is_never_guessed(tmp_path, header, message):
    with pytest.raises(UserError, match=message):
        read_label_table(write(tmp_path / "t.csv", f"{header}\nA/1/0,0,0,x\n"))


@pytest.mark.parametrize(
    ("header", "stores", "message"),
    [
        ("track_id,t,x", {"a": OBS}, "no column 'fov' or 'fov_name'.* a has 2 fields of view"),
        ("fov,t,x", {"a": OBS, "b": OBS.assign(experiment="b")}, "no column 'experiment'"),
    ],
)
def test_a_key_tells_observations_apart(tmp_path, header, stores, message):
    table = read_label_table(write(tmp_path / "t.csv", f"{header}\n0,0,x\n"))
    with pytest.raises(UserError, match=message):
        table.check_identifies(stores)
    one_fov = {
        name: obs[obs["fov"] == "A/1/0"].assign(experiment="a") for name, obs in stores.items()
    }
    table.check_identifies(one_fov)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as CSV"),
        (b"fov,state\nA/1/0,x,y\n", "cannot be read as CSV"),
        ("fov,state\nA/1/0,grö\n".encode("latin-1"), "cannot be read as CSV"),
        (b"PAR1 and no more", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_label_table(tmp_path / "t.csv")


def test_digests_are_those_of_columns(tmp_path):
    def digests(text):
        return label_digests(write(tmp_path / "t.csv", text))

    first = digests("fov,track_id,a,b\nA/1/0,0,x,1\nA/1/0,1,,2\n")
    assert first == digests("b,fov_name,track_id,a\n2,/A/1/0,1,\n1,/A/1/0,0,x\n")
    changed = digests("fov,track_id,a,b\nA/1/0,0,y,1\nA/1/0,1,,2\n")
    assert changed["b"] == first["b"]
    assert changed["a"] != first["a"]
    assert digests("fov,a\nA/1/0,x\n")["a"] != digests("track_id,a\n0,x\n")["a"]
    assert digests("fov,a\nA/1/0,1\n")["a"] == digests("fov,a\nA/1/0,1\nA/1/1,\n")["a"]


def test_what_parquet_says_of_its_origin_is_kept(tmp_path):
    table = pa.table({"fov": ["A/1/0"], "x": ["y"]}).replace_schema_metadata({"dynaclr": "[1]"})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_label_table(tmp_path / "t.parquet").provenance == [1]
