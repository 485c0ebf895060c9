"""Cached values are read again exactly when their files may have changed."""

import os
from pathlib import Path

import pytest

from dynaclr.io import file_cache


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a folder of files, and counts how often."""
    monkeypatch.setattr(file_cache, "_folder", None)
    monkeypatch.setattr(file_cache, "_MIN_AGE_NS", -1)
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.csv").write_text("one")
    calls = []

    def read_folder(path: Path):
        calls.append(path)
        files = sorted(path.iterdir())
        return [file.read_text() for file in files], [path, *files]

    def read_cached():
        # As a new process would.
        file_cache.use_cache_folder(tmp_path / "cache")
        return file_cache.read_cached("texts", folder, read_folder)

    return folder, read_cached, calls


def test_unchanged_files_are_read_once(read):
    _, read_cached, calls = read
    assert read_cached() == read_cached() == ["one"]
    assert len(calls) == 1


@pytest.mark.parametrize("time_is_set_back", [False, True])
def test_edited_file_is_read_again_though_size_and_time_are_the_same(read, time_is_set_back):
    folder, read_cached, calls = read
    read_cached()
    before = (folder / "a.csv").stat()
    (folder / "a.csv").write_text("two")
    if time_is_set_back:
        os.utime(folder / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_cached() == ["two"]
    assert len(calls) == 2


def test_new_and_removed_files_are_noticed(read):
    folder, read_cached, _ = read
    read_cached()
    (folder / "b.csv").write_text("two")
    assert read_cached() == ["one", "two"]
    (folder / "a.csv").unlink()
    assert read_cached() == ["two"]


def test_file_that_changed_just_now_is_not_trusted(read, monkeypatch):
    _, read_cached, calls = read
    monkeypatch.setattr(file_cache, "_MIN_AGE_NS", 10**12)
    read_cached()
    read_cached()
    assert len(calls) == 2


def test_damaged_entry_is_replaced(read, tmp_path):
    _, read_cached, _ = read
    read_cached()
    (entry,) = (tmp_path / "cache").rglob("*.json")
    entry.write_text("{")
    assert read_cached() == ["one"]


def test_one_process_checks_once(read, tmp_path):
    folder, read_cached, _ = read
    read_cached()
    (folder / "a.csv").write_text("two")
    assert file_cache.read_cached("texts", folder, None) == ["one"]
    assert read_cached() == ["two"]
