"""One field of view's CSV: every rule for bad input, and any other input at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynaclr.config import Problems
from dynaclr.index.repairs import EXAMPLES, Repairs
from dynaclr.index.tracks import find_table, read_tracks

SHAPE = (10, 1, 40, 60)
HEADER = "track_id,t,y,x,parent_track_id\n"
ON_ONE_FILE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def read(tmp_path: Path):
    def from_text(text: str | bytes, shape=SHAPE):
        path = tmp_path / "tracks.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        problems, repairs = Problems(), Repairs()
        rows = read_tracks(path, shape, problems, repairs, "A/1/0/tracks.csv")
        return rows, problems.found, repairs.as_dict()

    return from_text


def as_set(rows):
    names = ("track_id", "t", "parent_track_id", "y", "x", "z")
    return set(zip(*(getattr(rows, name).tolist() for name in names), strict=True))


def test_a_good_table_needs_nothing(read):
    rows, errors, repairs = read(
        "track_id,t,y,x,id,parent_track_id,parent_id\n1,0,2.5,3,9,-1,-1\n4,3,39.5,0,8,,\n"
    )
    assert (errors, repairs) == ([], {})
    assert as_set(rows) == {(1, 0, -1, 2.5, 3.0, 0.0), (4, 3, -1, 39.5, 0.0, 0.0)}


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + "1,0,2,3,-1\n",
        HEADER.replace(",", " , ") + " 1 ,0, 2,3 ,-1\n",
        HEADER.replace("\n", "\r\n") + "1,0,2,3,-1\r\n\r\n",
        "\n\n" + HEADER + "\n1.0,0.0,2,3,-1.0",
        "x,y,parent_track_id,track_id,t\n3,2,,1,0\n",
        "area,track_id,t,y,x,area\n7,1,0,2,3,7\n",
    ],
)
def test_forms_that_mean_the_same(read, text):
    rows, errors, _ = read(text)
    assert errors == []
    assert as_set(rows) == {(1, 0, -1, 2.0, 3.0, 0.0)}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "tracks.csv:", "the file is empty"),
        ("track_id,t,y\n1,0,2\n", "tracks.csv:", "lacks the column x"),
        ("track_id|t|y|x\n1|0|2|3\n", "tracks.csv:", "lacks the columns track_id, t, y, x"),
        ("track_id,t,y,x,y\n1,0,2,3,2\n", "tracks.csv:", "column y twice"),
        ("track_id,t,y,x,parent_id\n1,0,2,3,-1\n", "tracks.csv:", "no parent_track_id"),
        (HEADER + "1,0,2,3,-1\n1,1,2,3,-1,4\n1,2,2\n", "lines 3, 4:", "number of fields"),
        (HEADER + "1,0,2,3,-1\n\n1,1,two,3,-1\n", "line 4:", "y is no number ('two')"),
        (HEADER + "1,0,2,3,-1\n1,True,2,3,-1\n", "line 3:", "t is no number ('True')"),
        (HEADER + "1,0,2,3,-1\n,1,2,3,-1\n", "line 3:", "track_id is empty"),
        (HEADER + "1,0,2,3,-1\n1,nan,2,3,-1\n", "line 3:", "t is empty"),
        (HEADER + "1,0,2,3,-1\n1,1.5,2,3,-1\n", "line 3:", "t is no whole number (it says 1.5)"),
        (HEADER + "1.25,0,2,3,-1\n", "line 2:", "track_id is no whole number"),
        (HEADER + "1,0,2,3,0.5\n", "line 2:", "parent_track_id is no whole number"),
        (HEADER + "-3,0,2,3,-1\n", "line 2:", "track_id is below 0"),
        (HEADER + "1,-1,2,3,-1\n", "line 2:", "t is below 0"),
        (HEADER + "1,0,2,3,-2\n", "line 2:", "parent_track_id is below -1"),
        (HEADER + "1,9,2,3,-1\n1,10,2,3,-1\n", "line 3:", "beyond the movie, whose last"),
        (HEADER + f"{2**40},0,2,3,-1\n", "line 2:", "track_id is 1099511627776 or more"),
        (HEADER + f"{2**62 + 1},0,2,3,-1\n", "line 2:", "track_id is 1099511627776 or more"),
        (HEADER + f"1,0,2,3,{2**62 + 1}\n2,0,2,3,\n", "line 2:",
         "parent_track_id is 1099511627776 or more"),
        (HEADER + f"{2**70},0,2,3,-1\n", "line 2:", "track_id is 1099511627776 or more"),
        (HEADER + "1,0,2,3,-1\n1,1,2,3,-1\n1,1,5,3,-1\n", "lines 3, 4:", "track 1 in frame 1"),
        (HEADER + "1,0,2,99,-1\n1,1,2,3,-1\n1,2,90,3,-1\n", "lines 2, 4:", "most positions (2 of"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "tracks.csv:", "lacks the columns"),
        (HEADER.encode() + b"1,0,2,\xff,-1\n", "line 2:", "x is no number"),
    ],
)  # fmt: skip
def test_errors_name_file_line_and_cause(read, text, where, what):
    rows, errors, _ = read(text)
    assert rows is None
    assert len(errors) == 1
    assert where in errors[0]
    assert what in errors[0]


def test_all_errors_of_a_file_are_reported_at_once(read):
    _, errors, _ = read(HEADER + "1,0.5,2,3,-1\n-1,11,2,3,-1\n1,2,2,x,-1\n")
    assert len(errors) == 4


def test_many_lines_are_abbreviated(read):
    _, (error,), _ = read(HEADER + "1,50,2,3,-1\n" * 9)
    assert "lines 2, 3, 4, 5, 6 and 4 more" in error


@pytest.mark.parametrize(
    ("text", "rule", "lines", "kept"),
    [
        (HEADER, "fov_empty", [None], 0),
        (HEADER + "\n\n", "fov_empty", [None], 0),
        ("track_id,t,y,x\n1,0,2,3\n", "no_parent_column", [None], 1),
        (HEADER + "1,0,,3,-1\n1,1,2,nan,-1\n1,2,inf,3,-1\n1,3,2,3,-1\n", "position_missing",
         [2, 3, 4], 1),
        (HEADER + "1,0,2,3,-1\n1,1,-0.6,3,-1\n1,2,2,59.5,-1\n", "position_outside", [3], 2),
        (HEADER + "1,0,2,3,-1\n2,0,2,3,-1\n\n1,0,2,3,-1\n", "duplicate_row", [5], 2),
        ("track_id,t,z,y,x,parent_track_id\n1,0,4,2,3,-1\n", "z_on_flat_image", [None], 1),
    ],
)  # fmt: skip
def test_repairs_are_counted_with_examples(read, text, rule, lines, kept):
    rows, errors, repairs = read(text)
    assert errors == []
    assert len(rows) == kept
    assert list(repairs) == [rule]
    assert repairs[rule]["count"] == len(lines)
    assert [example.get("line") for example in repairs[rule]["examples"]] == lines
    assert {example["file"] for example in repairs[rule]["examples"]} == {"A/1/0/tracks.csv"}


def test_examples_are_few_and_counts_are_whole(read):
    good = "".join(f"1,{t},2,3,-1\n" for t in range(10))
    _, _, repairs = read(HEADER + good + good)
    assert repairs["duplicate_row"]["count"] == 10
    assert len(repairs["duplicate_row"]["examples"]) == EXAMPLES


def test_of_equal_rows_one_with_a_parent_is_kept(read):
    for order in ("1,0,2,3,-1\n1,0,2,3,9\n", "1,0,2,3,9\n1,0,2,3,-1\n"):
        rows, _, _ = read(HEADER + order)
        assert rows.parent_track_id.tolist() == [9]


def test_z_is_read_and_held_against_the_slices(read):
    text = "track_id,t,z,y,x,parent_track_id\n1,0,4,2,3,-1\n1,1,4.4,2,3,-1\n1,2,4.6,2,3,-1\n"
    rows, _, repairs = read(text, shape=(10, 5, 40, 60))
    assert sorted(rows.z) == [4.0, 4.4]
    assert repairs["position_outside"]["count"] == 1


def test_large_whole_numbers_are_exact(read):
    rows, errors, _ = read(HEADER + f"{2**40 - 1},0,2,3,{2**40 - 3}\n5,0,2,3,\n")
    assert errors == []
    assert sorted(rows.track_id) == [5, 2**40 - 1]
    assert max(rows.parent_track_id) == 2**40 - 3


observations = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.floats(-0.5, 39.5), st.floats(-0.5, 59.5), st.integers(-1, 9)),
    min_size=1,
    max_size=30,
)


@ON_ONE_FILE
@given(observations, st.randoms())
def test_what_was_written_is_read_in_any_order_of_rows(read, table, random):
    lines = [[i, t, y, x, p] for (i, t), (y, x, p) in table.items()]
    random.shuffle(lines)
    frame = pd.DataFrame(lines, columns=HEADER.strip().split(","))
    rows, errors, repairs = read(frame.to_csv(index=False))
    assert (errors, repairs) == ([], {})
    assert as_set(rows) == {(i, t, p, y, x, 0.0) for i, t, y, x, p in lines}
    np.testing.assert_array_equal(
        rows.track_id, frame["track_id"].to_numpy()[rows.line - 2], err_msg="line"
    )


cells = st.sampled_from(
    ["0", "1", "2", "-1", "1.5", "2.0", "nan", "", "inf", "-inf", "abc", "1e400", "0x1", "1_0",
     '"', '"1"', "True", "2024-01-01", " 3", "99999999999999999999", "\x00", "é", "\r"]
)  # fmt: skip
lines_of_cells = st.lists(st.lists(cells, max_size=7).map(",".join), max_size=8).map("\n".join)


@ON_ONE_FILE
@given(lines_of_cells)
def test_any_table_is_read_or_an_error(read, body):
    rows, errors, _ = read(HEADER + body)
    assert (rows is None) == bool(errors)
    if rows is not None and len(rows):
        assert np.isfinite(rows.y).all()
        assert rows.t.min() >= 0
        assert rows.t.max() < SHAPE[0]
        assert len(set(zip(rows.track_id, rows.t, strict=True))) == len(rows)


@ON_ONE_FILE
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_read_or_an_error(read, data, with_header):
    rows, errors, _ = read((HEADER.encode() if with_header else b"") + data)
    assert (rows is None) == bool(errors)


def test_the_one_table_of_a_folder(tmp_path):
    problems = Problems()
    assert find_table(tmp_path, problems) is None
    assert "no tracking table" in problems.found.pop()
    (tmp_path / "b.csv").touch()
    (tmp_path / "._b.csv").touch()
    assert find_table(tmp_path, problems) == tmp_path / "b.csv"
    (tmp_path / "a.csv").touch()
    assert find_table(tmp_path, problems) is None
    assert "2 tables (a.csv, b.csv)" in problems.found.pop()
