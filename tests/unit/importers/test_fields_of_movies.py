"""Many movies become one plate and one entry, by a table of them or by the names of their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from tests.unit.importers.imported import OPTIONS, read_pixels, write_ctc

from dynaclr.config import UserError, load_entry
from dynaclr.importers import ImportOptions, import_ctc, import_stacks
from dynaclr.importers.fields import list_fields
from dynaclr.io import Plate

SIZES = {"B02_1": (3, 20, 24), "B02_2": (4, 20, 24), "C03_1": (3, 16, 30)}


def write_movies(folder: Path, frames: int | None = None) -> dict[str, np.ndarray]:
    """Write a stack, a table of tracks and one of labels for each of `SIZES`."""
    folder.mkdir()
    movies = {}
    for number, (name, (n_t, *yx)) in enumerate(SIZES.items()):
        rng = np.random.default_rng(number)
        movies[name] = rng.integers(0, 255, (frames or n_t, *yx)).astype(np.uint8)
        axes = "TYX" if frames is None else "YX"
        tifffile.imwrite(folder / f"{name}.tif", movies[name].squeeze(), metadata={"axes": axes})
        rows = [(7 + number, t, 5, 6) for t in range(len(movies[name]))]
        table = pd.DataFrame(rows, columns=["ID", "T", "Y", "X"])
        table.to_csv(folder / f"{name}.txt", index=False, sep="\t")
        (folder / f"{name}.labels.csv").write_text(f"track_id,t,state\n{7 + number},0,s{number}\n")
    return movies


def check(out: Path, movies: dict[str, np.ndarray], wells: dict[str, list[str]], fovs: list[str]):
    entry = load_entry(out / "experiment.yaml")
    assert entry.condition_wells == wells
    positions = Plate(entry.data_path).positions
    assert list(positions) == fovs
    for fov, movie in zip(fovs, movies.values(), strict=True):
        assert np.array_equal(read_pixels(positions[fov])[:, 0, 0], movie)
    labels = pd.read_csv(out / "annotations.csv")
    assert labels["fov"].tolist() == fovs
    assert labels["state"].tolist() == ["s0", "s1", "s2"]


def test_names_of_files_say_what_is_where(tmp_path):
    movies, folder = write_movies(tmp_path / "in"), f"{tmp_path}/in/{{well}}_{{field}}"
    summary = import_stacks(
        {"GFP": f"{folder}.tif"},
        f"{folder}.txt",
        tmp_path / "out",
        OPTIONS,
        labels=f"{folder}.labels.csv",
    )
    counts = [summary[name] for name in ("fields", "frames", "rows", "tracks", "labels")]
    assert counts == [3, 10, 10, 3, 3]
    fovs = ["B/2/1", "B/2/2", "C/3/1"]
    check(tmp_path / "out", movies, {"untreated": ["B/2", "C/3"]}, fovs)


def test_a_table_says_what_is_where(tmp_path):
    movies = write_movies(tmp_path / "in")
    rows = [f"{name};{'drug' if name[0] == 'C' else ''}" for name in SIZES]
    table = tmp_path / "in" / "fields.csv"
    table.write_text("path;condition\n" + "\n".join(rows) + "\n")
    import_stacks(
        {"GFP": "{path}.tif"},
        "{path}.txt",
        tmp_path / "out",
        OPTIONS,
        labels="{path}.labels.csv",
        fields=table,
    )
    wells, fovs = {"untreated": ["A/1"], "drug": ["A/2"]}, ["A/1/0", "A/1/1", "A/2/0"]
    check(tmp_path / "out", movies, wells, fovs)


def test_stills_need_no_interval_and_movies_do(tmp_path):
    write_movies(tmp_path / "movies")
    write_movies(tmp_path / "stills", frames=1)

    def run(name):
        folder = f"{tmp_path}/{name}/{{well}}_{{field}}"
        out = tmp_path / f"{name} out"
        return import_stacks(
            {"GFP": f"{folder}.tif"}, f"{folder}.txt", out, ImportOptions(name="a")
        )

    assert run("stills")["frames"] == 3
    with pytest.raises(UserError, match="Give interval_minutes"):
        run("movies")


def test_sequences_of_the_challenge_become_fields(tmp_path):
    write_ctc(tmp_path / "sets" / "one")
    write_ctc(tmp_path / "sets" / "two", 5)
    (tmp_path / "sets" / "one" / "LICENSE").touch()
    summary = import_ctc(
        tmp_path / "sets" / "{name}", tmp_path / "out", OPTIONS, sequence="{sequence}"
    )
    counts = [summary[name] for name in ("fields", "frames", "rows", "tracks", "divisions")]
    assert counts == [2, 8, 18, 8, 2]
    assert list(Plate(tmp_path / "out" / "plate.zarr").positions) == ["A/1/0", "A/1/1"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("path\n", "lists no field of view"),
        ("path,well\na,B\nb,C/1\n", "'B' is no well"),
        ("path,well,field\na,B2,1\nb,B02,1\n", "two fields of view are B/2/1"),
        ("path,field\na,x y\n", "'A/1/x y' is no field of view"),
        ("path,well\na,B2,7\n", "line 2: has 3 fields, the header 2"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, rows, message):
    (tmp_path / "fields.csv").write_text(rows)
    with pytest.raises(UserError, match=message):
        list_fields("{path}", tmp_path / "fields.csv", "none")


def test_names_in_braces_must_be_known(tmp_path):
    (tmp_path / "a_1.tif").touch()
    (of,) = list_fields(f"{tmp_path}/{{movie}}_{{n}}.tif", None, "none")
    assert (of.name, of.values) == ("A/1/0", {"movie": "a", "n": "1"})
    with pytest.raises(UserError, match=r"nothing is known for {mvie}.*Did you mean 'movie'"):
        of.path("{mvie}.csv")
    with pytest.raises(UserError, match="no file has such a path"):
        list_fields(f"{tmp_path}/{{movie}}.png", None, "none")
