"""Products are written whole or not at all, and known by their content."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynaclr.config import UserError
from dynaclr.io.artifacts import (
    atomic_path,
    digest_json,
    digest_path,
    read_digest,
    read_json,
    write_digest,
    write_json,
)
from dynaclr.io.parquet import read_parquet


def write_half(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def interrupt(path, old):
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert (path.read_text() if old else path.exists()) == (old or False)
    assert [file.name for file in path.parent.iterdir()] == ([path.name] if old else [])


def test_interrupted_write_leaves_nothing_new(tmp_path):
    path = tmp_path / "product.txt"
    interrupt(path, None)
    path.write_text("old")
    interrupt(path, "old")


def test_folder_replaces_folder_whole(tmp_path):
    for content in ("first", "second"):
        with atomic_path(tmp_path / "deep" / "store.zarr") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [f.name for f in (tmp_path / "deep" / "store.zarr").iterdir()] == ["second"]


def test_a_folder_stays_when_nothing_was_written(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").touch()
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "store"):
        pass
    assert [f.relative_to(tmp_path).as_posix() for f in sorted(tmp_path.rglob("*"))] == [
        "store",
        "store/old",
    ]


# Replaces a folder again and again, killed at its first, second, ... change of the file system.
KILLED = """
import os, sys
from pathlib import Path
from dynaclr.io.artifacts import atomic_path

path = Path(sys.argv[1])
CHANGES = ("os.rename", "os.remove", "os.rmdir")

def write(content):
    with atomic_path(path) as temporary:
        temporary.mkdir()
        for number in range(3):
            (temporary / f"{content}{number}").touch()

def die_at(step):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        seen += event in CHANGES
        if seen > step:
            os._exit(9)
    sys.addaudithook(hook)

for step in range(100):
    write("old")
    assert len(os.listdir(path.parent)) == 1, "leftovers of the killed writer"
    child = os.fork()
    if child == 0:
        die_at(step)
        write("new")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    names = sorted(os.listdir(path)) if path.exists() else []
    print("".join(names) or "nothing")
    if code == 0:
        break
"""


def test_a_writer_killed_at_any_moment_leaves_no_half_product(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "x" / "store.zarr")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    states = done.stdout.split()
    assert states[0] == "old0old1old2"
    assert states[-1] == "new0new1new2"
    assert len(states) >= 5
    assert set(states) <= {"old0old1old2", "nothing", "new0new1new2"}


def test_only_leftovers_of_the_same_product_are_removed(tmp_path):
    for name in (".a.0123abcd.csv", ".a.89abcdef.csv", "..a.0123abcd.89abcdef.csv"):
        (tmp_path / name).touch()
    others = {
        *(".a.0123abcd", ".a.0123abcd.json", ".b.0123abcd.csv", ".a.0123abc.csv"),
        *("..a.0123abcd.csv", ".a.0123abcd.89abcdef.csv"),
        *(".a.0123abcg.csv", "a.0123abcd.csv", ".a.b.0123abcd.csv", ".a.0123abcd.csv.digest"),
    }
    for name in others:
        (tmp_path / name).touch()
    with atomic_path(tmp_path / "a.csv") as temporary:
        temporary.touch()
    assert {file.name for file in tmp_path.iterdir()} == others | {"a.csv"}


def test_json_is_the_same_bytes_for_the_same_content(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "µ"})
    write_json(tmp_path / "b.json", {"a": "µ", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": "µ", "b": 1}
    assert digest_json({"b": 1, "a": 2}) == digest_json({"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"{", "cannot be read .JSONDecodeError"),
        (b"\xff", "cannot be read .UnicodeDecodeError"),
        (b"[" * 100_000, "cannot be read .RecursionError"),
    ],
)
def test_broken_json_is_an_error(tmp_path, content, message):
    path = tmp_path / "x.json"
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.json: {message}"):
        read_json(path)


@pytest.mark.parametrize("kind", ["dangling", "circular", "folder"])
def test_what_is_no_file_is_an_error(tmp_path, kind):
    path = tmp_path / "x.json"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if kind == "circular" else tmp_path / "absent")
    for read in (read_json, read_parquet):
        with pytest.raises(UserError, match=r"x\.json: (cannot be read|no such file)"):
            read(path)


def test_damaged_parquet_is_an_error(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": list(range(1000))}), path)
    whole = path.read_bytes()
    assert read_parquet(path, ["t"]).num_rows == 1000
    with pytest.raises(UserError, match=r"x\.parquet: cannot be read .ArrowInvalid.*other"):
        read_parquet(path, ["other"])
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"x\.parquet: cannot be read"):
        read_parquet(path)


def test_folder_digest_sees_content_and_names_only(tmp_path):
    folder = tmp_path / "store"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "chunk").write_bytes(b"1")
    before = digest_path(folder)
    os.utime(folder / "sub" / "chunk", (0, 0))
    (folder / ".snakemake_timestamp").touch()
    assert digest_path(folder) == before
    (folder / "sub" / "chunk").write_bytes(b"2")
    assert digest_path(folder) != before
    (folder / "sub" / "chunk").write_bytes(b"1")
    (folder / "sub" / "chunk").rename(folder / "sub" / "other")
    assert digest_path(folder) != before


def test_digest_is_read_back_and_its_absence_an_error(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"x")
    with pytest.raises(UserError, match="no digest file beside it"):
        read_digest(path)
    assert write_digest(path) == read_digest(path) == digest_path(path)
