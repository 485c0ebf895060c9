"""Tables as other programs write them: the same rows, whatever the names, separator and packing."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import FAMILY, HEADER, SHAPE

from dynaclr.config import Problems, UserError
from dynaclr.index import index_experiment
from dynaclr.index.repairs import Repairs
from dynaclr.index.track_names import NEEDED, find_columns, simple_name, unit_of
from dynaclr.index.tracks import find_table, read_tracks

ROWS = [(1, 0, 2.5, 3.0), (1, 1, 2.5, 4.0), (2, 1, 9.0, 3.25)]
TRACKMATE = """LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame
,,,(quality),{unit},{unit},{unit},(sec),
ID7,7,1,5.1,3.0,2.5,0.0,0.0,0
ID8,8,1,5.1,4.0,2.5,0.0,300.0,1
ID9,9,2,5.1,3.25,9.0,0.0,300.0,1
ID5,5,,5.1,8.0,9.0,0.0,300.0,1
"""
CELLPROFILER = """ImageNumber,ObjectNumber,Metadata_Frame,Location_Center_X,Location_Center_Y,\
TrackObjects_Label_50,TrackObjects_ParentObjectNumber_50
1,1,0,3.0,2.5,1,0
2,1,1,4.0,2.5,1,1
2,2,1,3.25,9.0,2,0
"""
ILASTIK = """frame,labelimageId,lineageId,trackId,parentTrackId,Object_Center_0,Object_Center_1
0,1,2,1,0,3.0,2.5
1,1,2,1,0,4.0,2.5
1,2,3,2,0,3.25,9.0
1,3,-1,-1,0,3.25,9.0
"""
EXPORTS = {
    "trackmate": TRACKMATE.format(unit="(pixel)"),
    "trackmate, old": "TRACK_ID,POSITION_X,POSITION_Y,FRAME\n1,3,2.5,0\n1,4,2.5,1\nNone,1,1,1\n"
    "2,3.25,9,1\n",
    "cellprofiler": CELLPROFILER,
    "ilastik": ILASTIK,
    "napari": "index,ID,T,Y,X\n0,1,0,2.5,3\n1,1,1,2.5,4\n2,2,1,9,3.25\n",
    "napari, numpy.savetxt": "# ID,T,Y,X\n1e+00,0e+00,2.5e+00,3e+00\n1e+00,1e+00,2.5,4\n"
    "2e+00,1e+00,9e+00,3.25e+00\n",
    "btrack": "ID,t,x,y,z,parent,root,state,generation\n1,0,3,2.5,0,1,1,5,0\n1,1,4,2.5,0,1,1,5,0\n"
    "2,1,3.25,9,0,2,2,5,0\n",
    "ultrack": "track_id,t,z,y,x,id,parent_track_id,parent_id\n1,0,0,2.5,3,1,-1,-1\n"
    "1,1,0,2.5,4,2,-1,1\n2,1,0,9,3.25,3,-1,-1\n",
    "trackpy": ",y,x,mass,frame,particle\n0,2.5,3,9,0,1.0\n1,2.5,4,9,1,1.0\n2,9,3.25,9,1,2.0\n",
    "German Excel": 'sep=;\r\n"track_id";"t";"y";"x";"Fläche µm²"\r\n1;0;2,5;3,0;7\r\n'
    "1;1;2,5;4,0;7\r\n2;1;9,0;3,25;7\r\n;;;;\r\n\r\n",
    "separator behind each row": "track_id,t,y,x\n1,0,2.5,3,\n1,1,2.5,4,\n2,1,9,3.25,\n",
    "separator behind all": "track_id,t,y,x,\n1,0,2.5,3,\n1,1,2.5,4,\n2,1,9,3.25,\n",
    "comments": "# made by X\n# on Monday\ntrack_id,t,y,x\n1,0,2.5,3\n1,1,2.5,4\n2,1,9,3.25\n",
    "time in seconds": "Track ID,X,Y,T,Frame\n1,3,2.5,0,0\n1,4,2.5,300,1\n2,3.25,9,300,1\n",
    "tabs": "Track ID\tFrame\tY (px)\tX (px)\n1\t0\t2.5\t3\n1\t1\t2.5\t4\n2\t1\t9\t3.25\n",
    "blanks": "track_id  t y    x\n1  0 2.5 3\n1  1 2.5 4\n 2 1 9   3.25\n",
    "Mac": "track_id,t,y,x\r1,0,2.5,3\r1,1,2.5,4\r2,1,9,3.25\r",
    "mixed line ends": "track_id,t,y,x\n\r1,0,2.5,3\n\r1,1,2.5,4\r\r\n2,1,9,3.25\r",
}


def read(path: Path, shape=(10, 1, 40, 60)):
    problems, repairs = Problems(), Repairs()
    rows = read_tracks(path, shape, problems, repairs, path.name)
    return rows, problems.found, repairs.as_dict()


def as_rows(rows) -> list[tuple[float, ...]]:
    columns = (rows.track_id, rows.t, rows.y, rows.x)
    return sorted(zip(*(c.tolist() for c in columns), strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("program", EXPORTS)
def test_exports_of_programs_give_the_same_rows(tmp_path, program, encoding):
    path = tmp_path / "tracks.dat"
    path.write_bytes(EXPORTS[program].encode(encoding))
    rows, errors, repairs = read(path)
    assert errors == []
    assert as_rows(rows) == ROWS
    odd = encoding.startswith("utf-16") or (
        encoding == "latin-1" and not EXPORTS[program].isascii()
    )
    assert ("not_utf8" in repairs) == odd
    untracked = program in ("ilastik", "trackmate", "trackmate, old")
    assert ("row_without_track" in repairs) == untracked
    assert "position_in_um" not in repairs


def packed(path: Path, data: bytes) -> None:
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("tracks.csv", data)
            file.writestr("__MACOSX/._tracks.csv", b"")
    else:
        path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["TRACKS.CSV", "t.tsv", "t.txt", "spots", "t.csv.gz", "t.zip", "t.PARQUET"]
)
def test_a_table_is_found_by_its_content(tmp_path, name):
    (tmp_path / "README.txt").write_text("Tracked on Monday, with care, by hand\n")
    (tmp_path / "edges.csv").write_text("SPOT_SOURCE_ID,SPOT_TARGET_ID\n7,8\n")
    table = pd.DataFrame(ROWS, columns=list(NEEDED))
    if name.endswith("PARQUET"):
        table.to_parquet(tmp_path / name)
    else:
        packed(tmp_path / name, table.to_csv(index=False).encode())
    problems = Problems()
    found = find_table(tmp_path, problems)
    assert (found, problems.found) == (tmp_path / name, [])
    rows, errors, _ = read(found)
    assert errors == []
    assert as_rows(rows) == ROWS
    assert rows.line.min() == (1 if name.endswith("PARQUET") else 2)


def test_what_holds_no_table_is_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\x00")
    (tmp_path / "b.log").write_text("done")
    problems = Problems()
    assert find_table(tmp_path, problems) is None
    assert "holds no tracking table and no GEFF store (it holds: a.tif, b.log)" in problems.found[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,2\n", r"lacks the columns track_id, t, y, x \(it has: a, b\)\. Its first line"),
        (gzip.compress(b"track_id,t,y,x\n" * 1000)[:-30], "cannot be read"),
        (b"PK\x03\x04 no zip", "cannot be read"),
        (b"PAR1 no parquet", "cannot be read"),
        (b"1,0,2,3\n1,1,2,3\n", r"lacks the columns .* \(it has: 1, 0, 2, 3\)"),
        (b"ID,T,Y,X\n1,0,2,3\n2,1,2,3\n", "ID differs in every row: it numbers observations"),
        (b"TRACK_ID,FRAME,POSITION_X,POSITION_Y,Y,y\n1,0,2,3,1,2\n", None),
        (b"track_id,FRAME,Frame,y,x\n1,0,2,3,1\n", "column FRAME, Frame twice"),
        (b"track_id,t,y,x\n" + b"".join(b"1,%d,2,3\n" % t for t in range(1, 11)),
         "line 11: frame is beyond .*`tracks_first_frame: 1`"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    rows, errors, _ = read(tmp_path / "t.csv")
    if message is None:
        assert as_rows(rows) == [(1, 0, 2, 2)]
        return
    assert rows is None
    with pytest.raises(UserError, match=message):
        raise UserError("\n".join(errors))


def test_a_workbook_is_named_as_such(tmp_path):
    with zipfile.ZipFile(tmp_path / "tracks.xlsx", "w") as file:
        for name in ("[Content_Types].xml", "xl/workbook.xml"):
            file.writestr(name, "<x/>")
    _, errors, _ = read(tmp_path / "tracks.xlsx")
    assert errors == [f"{tmp_path / 'tracks.xlsx'}: is an Excel workbook. Save the sheet as CSV."]


def test_what_is_no_file_is_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "tracks.csv")
    problems = Problems()
    assert find_table(tmp_path, problems) == tmp_path / "tracks.csv"
    _, errors, _ = read(tmp_path / "tracks.csv")
    assert errors == [f"{tmp_path / 'tracks.csv'}: is no regular file. Give the path of a table."]


names = st.text("abtxyzID_- .[]um()012", max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(names, max_size=8))
def test_names_are_found_or_not_but_each_once(header):
    columns, twice = find_columns(header)
    assert set(columns.values()) <= set(header)
    assert set(twice) <= set(header)
    assert all(simple_name(name) == simple_name(name.swapcase()) for name in header)


def test_units_of_names():
    names = [
        "X [µm]",
        "x_um",
        "X (micron)",
        "(micrometer)",
        "x (px)",
        "sum",
        "x",
        "medium",
        "t [s]",
    ]
    units = ["um", "um", "um", "um", "pixel", None, None, None, None]
    assert [unit_of(name) for name in names] == units
    assert [simple_name(name) for name in names[:3]] == ["x", "x", "x"]
    assert simple_name("sum") == "sum"


def scaled(factor: float) -> pd.DataFrame:
    return FAMILY.assign(y=FAMILY["y"] * factor, x=FAMILY["x"] * factor)


def test_micrometres_are_warned_of_and_converted(experiment, caplog):
    table, summary = index_experiment(experiment({"A/1/0": FAMILY}, pixel_size_um=0.25))
    assert summary["repairs"] == {}
    for name, header, rule in (
        ("look", HEADER, "position_may_be_in_um"),
        ("say", HEADER.replace("y,x", "y [um],x [um]"), "position_in_um"),
    ):
        text = header + "\n" + scaled(0.25).to_csv(index=False, header=False)
        entry = experiment({"A/1/0": text}, name=name, pixel_size_um=0.25)
        caplog.clear()
        _, summary = index_experiment(entry)
        assert list(summary["repairs"]) == [rule]
        assert "`tracks_unit: um`" in caplog.text
        converted, summary = index_experiment(entry.model_copy(update={"tracks_unit": "um"}))
        assert summary["repairs"] == {}
        for axis in "yx":
            np.testing.assert_allclose(converted[axis], table[axis])


def test_frames_from_one_are_warned_of_and_shifted(experiment, caplog):
    shifted = FAMILY[FAMILY["t"] > 0]
    _, summary = index_experiment(experiment({"A/1/0": shifted}))
    assert summary["repairs"]["frames_from_one"]["count"] == 1
    assert "`tracks_first_frame: 1`" in caplog.text
    table, _ = index_experiment(experiment({"A/1/0": FAMILY}, name="zero"))
    entry = experiment(
        {"A/1/0": FAMILY.assign(t=FAMILY["t"] + 1)},
        name="one_more",
        shapes={"A/1/0": SHAPE},
        tracks_first_frame=1,
    )
    moved, summary = index_experiment(entry)
    assert summary["repairs"] == {}
    assert moved["t"].equals(table["t"])
