"""Imported stacks have the pixels and tracks of their source."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from tests.unit.importers.imported import OPTIONS, pixels, tracks, write_ctc

from dynaclr.config import UserError, load_entry
from dynaclr.importers import import_ctc, import_stacks


def write_stack(path: Path, movie: np.ndarray, **options) -> Path:
    tifffile.imwrite(path, movie, photometric="minisblack", **options)
    return path


def write_tracks(path: Path, columns: str = "track_id,t,y,x") -> Path:
    path.write_text(columns + "\n" + ",".join("1" for _ in columns.split(",")) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "channels", "counts"),
    [
        ("ecoli_phase_foci", {"Phase": "01_phase.tif", "GFP": "01_fluor.tif"}, [44, 16, 1148, 60]),
        ("t98g_phase_gaps", {"Phase": "01_phase.tif"}, [34, 0, 799, 37]),
    ],
)
def test_real_stacks(tmp_path, shared_data, name, channels, counts):
    source = shared_data / name
    stacks = {channel: source / file for channel, file in channels.items()}
    summary = import_stacks(stacks, source / "01.tracks.csv", tmp_path / "out", OPTIONS)
    assert [summary[key] for key in ("tracks", "divisions", "rows", "frames")] == counts
    images = np.stack([tifffile.imread(file) for file in stacks.values()], axis=1)
    assert np.array_equal(pixels(tmp_path / "out"), images)
    pd.testing.assert_frame_equal(tracks(tmp_path / "out"), pd.read_csv(source / "01.tracks.csv"))
    entry = load_entry(tmp_path / "out" / "experiment.yaml")
    assert [c.name for c in entry.channels] == list(channels)
    assert entry.markers == [channel.lower() for channel in channels]


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"compression": "zlib", "metadata": {"axes": "TYX"}},
        {"byteorder": ">", "metadata": {"axes": "TYX"}},
        {"tile": (16, 16), "ome": True, "metadata": {"axes": "TYX"}},
        {"compression": "lzw", "predictor": True, "metadata": {"axes": "TYX"}},
        {"compression": "zstd", "tile": (16, 16), "metadata": {"axes": "TYX"}},
        {"compression": "lzma", "metadata": {"axes": "ZYX"}},
    ],
    ids=["imagej", "compressed", "big-endian", "ome-tiled", "lzw", "zstd", "slices"],
)
def test_kinds_of_tiff(tmp_path, options):
    movie = np.random.default_rng(1).integers(0, 4000, (6, 40, 30)).astype(np.uint16)
    stack = write_stack(tmp_path / "movie.tif", movie, **options)
    import_stacks({"GFP": stack}, write_tracks(tmp_path / "t.csv"), tmp_path / "out", OPTIONS)
    assert np.array_equal(pixels(tmp_path / "out")[:, 0], movie)


def test_pages_without_a_word_about_axes_are_frames(tmp_path):
    movie = np.random.default_rng(4).integers(0, 255, (5, 20, 30)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "movie.tif") as file:
        for frame in movie:
            file.write(frame, contiguous=False, compression="packbits", metadata=None)
    import_stacks(
        {"GFP": tmp_path / "movie.tif"}, write_tracks(tmp_path / "t.csv"), tmp_path / "out", OPTIONS
    )
    assert np.array_equal(pixels(tmp_path / "out")[:, 0], movie)


def test_colours_and_channels_are_not_frames(tmp_path):
    table = write_tracks(tmp_path / "t.csv")
    rgb, channels = tmp_path / "rgb.tif", tmp_path / "channels.ome.tif"
    tifffile.imwrite(rgb, np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(channels, np.zeros((3, 64, 64)), ome=True, metadata={"axes": "CYX"})
    for path, message in (
        (rgb, "axes YXS .* a colour"),
        (channels, "axes CYX .* several channels"),
    ):
        with pytest.raises(UserError, match=message):
            import_stacks({"GFP": path}, table, tmp_path / "out", OPTIONS)


def test_a_damaged_plane_is_named(tmp_path):
    movie = np.random.default_rng(5).integers(0, 255, (4, 64, 64)).astype(np.uint8)
    path = write_stack(tmp_path / "movie.tif", movie, compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[2].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"movie.tif: plane 2 cannot be read"):
        import_stacks({"a": path}, write_tracks(tmp_path / "t.csv"), tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_channels_of_different_types_share_one(tmp_path):
    rng = np.random.default_rng(2)
    narrow = rng.integers(0, 255, (3, 20, 20)).astype(np.uint8)
    wide = rng.integers(0, 60000, (3, 20, 20)).astype(np.uint16)
    stacks = {
        "Phase": write_stack(tmp_path / "a.tif", narrow),
        "GFP": write_stack(tmp_path / "b.tif", wide),
    }
    import_stacks(stacks, write_tracks(tmp_path / "t.csv"), tmp_path / "out", OPTIONS)
    assert pixels(tmp_path / "out").dtype == np.uint16
    assert np.array_equal(pixels(tmp_path / "out"), np.stack([narrow, wide], axis=1))


def write_long_ctc(folder: Path, movie: np.ndarray) -> None:
    truth = folder / "01_GT" / "TRA"
    truth.mkdir(parents=True)
    (folder / "01").mkdir()
    mask = np.zeros(movie.shape[1:], np.uint16)
    mask[10:20, 10:20] = 1
    for t, image in enumerate(movie):
        tifffile.imwrite(folder / "01" / f"t{t:03d}.tif", image)
        tifffile.imwrite(truth / f"man_track{t:03d}.tif", mask)
    (truth / "man_track.txt").write_text(f"1 0 {len(movie) - 1} 0\n")


@pytest.mark.parametrize("kind", ["imagej", "compressed", "ctc"])
def test_memory_is_a_few_frames(tmp_path, kind):
    frame_bytes = 512 * 512 * 2
    movie = np.random.default_rng(3).integers(0, 4000, (40, 512, 512)).astype(np.uint16)
    table = write_tracks(tmp_path / "t.csv")
    if kind == "ctc":
        write_long_ctc(tmp_path / "set", movie)
    else:
        options = {"imagej": True} if kind == "imagej" else {"compression": "zlib"}
        stack = write_stack(tmp_path / "movie.tif", movie, metadata={"axes": "TYX"}, **options)
    del movie
    # What the array libraries keep for good is taken by a first, small import.
    write_ctc(tmp_path / "small")
    import_ctc(tmp_path / "small", tmp_path / "warm", OPTIONS)
    tracemalloc.start()
    if kind == "ctc":
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)
    else:
        import_stacks({"GFP": stack}, table, tmp_path / "out", OPTIONS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * frame_bytes


def test_wrong_stacks_are_refused(tmp_path):
    movie = np.zeros((3, 20, 20), np.uint8)
    good = write_stack(tmp_path / "good.tif", movie)
    short = write_stack(tmp_path / "short.tif", movie[:2])
    color = write_stack(tmp_path / "four.tif", np.zeros((3, 2, 20, 20), np.uint8))
    table = write_tracks(tmp_path / "t.csv")
    wrong = [
        ({}, table, "no stack given"),
        ({"a": good, "b": short}, table, r"short.tif: has \(T, Y, X\) = \(2, 20, 20\)"),
        ({"a": color}, table, "four.tif: has axes"),
        ({"a": tmp_path / "none.tif"}, table, "none.tif: no readable TIFF"),
        ({"a": good}, tmp_path / "none.csv", "none.csv: does not exist"),
        ({"a": good}, write_tracks(tmp_path / "few.csv", "track_id,t"), "lacks the columns y, x"),
    ]
    for stacks, tracks_csv, message in wrong:
        with pytest.raises(UserError, match=message):
            import_stacks(stacks, tracks_csv, tmp_path / "out", OPTIONS)
        assert not (tmp_path / "out").exists()
