"""Imported movies have the pixels, tracks and labels of their source."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorstore as ts
import tifffile

from dynaclr.config import UserError, load_entry
from dynaclr.io import Plate
from dynaclr.io.plate_writer import PlateLayout
from dynaclr.io.tiff_import import ImportOptions, import_ctc, import_stacks

OPTIONS = ImportOptions(interval_minutes=5)
# Two cells; the first divides after frame 1 into cells 3 and 4, cell 2 is lost in frame 1.
TRACKS = {1: (0, 1, 0), 2: (0, 3, 0), 3: (2, 3, 1), 4: (2, 3, 1)}
SEEN = [{1, 2}, {1}, {2, 3, 4}, {2, 3, 4}]
PLACES = {1: (2, 3), 2: (12, 4), 3: (3, 14), 4: (12, 14)}


def pixels(out: Path) -> np.ndarray:
    """All pixels of an imported movie, (T, C, Y, X)."""
    position = Plate(out / "plate.zarr").positions["A/1/0"]
    array = ts.open(
        {
            "driver": {2: "zarr", 3: "zarr3"}[position.zarr_format],
            "kvstore": {"driver": "file", "path": str(position.levels[0].path)},
        }
    ).result()
    return array[:, :, 0].read().result()


def tracks(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "tracks" / "A" / "1" / "0" / "tracks.csv")


def write_ctc(folder: Path, first_frame: int = 0) -> np.ndarray:
    """Write a small Cell Tracking Challenge sequence; returns its images."""
    movie = np.random.default_rng(0).integers(0, 255, (4, 20, 24)).astype(np.uint8)
    (folder / "01").mkdir(parents=True)
    truth = folder / "01_GT" / "TRA"
    truth.mkdir(parents=True)
    for t, labels in enumerate(SEEN):
        mask = np.zeros(movie.shape[1:], np.uint16)
        for label in labels:
            y, x = PLACES[label]
            mask[y : y + 3, x : x + 4] = label
        number = f"{t + first_frame:03d}"
        tifffile.imwrite(folder / "01" / f"t{number}.tif", movie[t])
        tifffile.imwrite(truth / f"man_track{number}.tif", mask, compression="zlib")
    lines = [
        f"{label} {begin + first_frame} {end + first_frame} {parent}"
        for label, (begin, end, parent) in TRACKS.items()
    ]
    (truth / "man_track.txt").write_text("\n".join(lines) + "\n")
    return movie


@pytest.mark.parametrize("first_frame", [0, 7])
def test_ctc_gives_images_centroids_and_lineage(tmp_path, first_frame):
    movie = write_ctc(tmp_path / "set", first_frame)
    seen = []
    summary = import_ctc(
        tmp_path / "set",
        tmp_path / "out",
        OPTIONS,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert summary == {
        "experiment": "out",
        "channels": ["Phase"],
        "frames": 4,
        "observations": 9,
        "tracks": 4,
        "divisions": 1,
    }
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert np.array_equal(pixels(tmp_path / "out")[:, 0], movie)
    table = tracks(tmp_path / "out").set_index(["track_id", "t"])
    assert list(table.index) == [
        *[(1, 0), (1, 1), (2, 0), (2, 2), (2, 3)],
        *[(3, 2), (3, 3), (4, 2), (4, 3)],
    ]
    for (track, _), row in table.iterrows():
        y, x = PLACES[track]
        assert (row["y"], row["x"]) == (y + 1, x + 1.5)
    assert table["id"].is_unique
    assert table.loc[3, "parent_track_id"].tolist() == [1, 1]
    assert table.loc[(4, 2), "parent_id"] == table.loc[(1, 1), "id"]
    assert table.loc[(2, 2), "parent_id"] == table.loc[(2, 0), "id"]
    assert table.loc[(1, 0), ["parent_track_id", "parent_id"]].tolist() == [-1, -1]


def test_entry_is_ready_to_use(tmp_path):
    write_ctc(tmp_path / "set")
    options = ImportOptions(
        interval_minutes=5,
        name="colony",
        start_hpi=-1.5,
        condition="drug",
        pixel_size_um=0.65,
        markers={"DIC": "label-free"},
        extra={"microscope": "lab-2", "metadata": {"plate": 7}},
    )
    import_ctc(tmp_path / "set", tmp_path / "out", options, channel="DIC")
    entry = load_entry(tmp_path / "out" / "experiment.yaml")
    assert entry.name == "colony"
    assert entry.data_path == tmp_path / "out" / "plate.zarr"
    assert entry.tracks_path == tmp_path / "out" / "tracks"
    assert entry.condition_of_well == {"A/1": "drug"}
    assert entry.channel_name("label-free") == "DIC"
    assert (entry.interval_minutes, entry.start_hpi) == (5, -1.5)
    assert (entry.pixel_size_um, entry.microscope) == (0.65, "lab-2")
    assert entry.metadata == {"plate": 7}
    assert entry.annotations is None
    scale = Plate(entry.data_path).positions["A/1/0"].levels[0].scale
    assert scale == (300.0, 1.0, 1.0, 0.65, 0.65)


def test_real_ctc_sequence(tmp_path, shared_data):
    source = shared_data / "ecoli_phase_ctc"
    out = tmp_path / "out"
    options = ImportOptions(interval_minutes=1, layout=PlateLayout("0.5", shard_frames=4))
    summary = import_ctc(source, out, options, labels=source / "01.labels.csv")
    counts = [summary[key] for key in ("tracks", "divisions", "observations", "frames")]
    assert counts == [714, 356, 3519, 53]
    images = np.stack([tifffile.imread(file) for file in sorted((source / "01").glob("*.tif"))])
    assert np.array_equal(pixels(out)[:, 0], images)

    known = pd.read_csv(source / "01.tracks.csv")
    both = tracks(out).merge(known, on=["track_id", "t"], suffixes=("", "_known"))
    assert len(both) == len(known)
    assert (both["parent_track_id"] == both["parent_track_id_known"]).all()
    # Both tables are rounded to 0.001 pixel.
    for axis in "yx":
        assert (both[axis] - both[f"{axis}_known"]).abs().max() < 0.0015
    mother = tracks(out).set_index("id")["track_id"]
    births = both[(both["parent_track_id"] >= 0) & ~both["track_id"].duplicated()]
    assert (births["parent_id"].map(mother) == births["parent_track_id"]).all()

    labels = pd.read_csv(source / "01.labels.csv").drop(columns="id")
    written = pd.read_csv(out / "annotations.csv")
    assert (written.pop("fov") == "A/1/0").all()
    pd.testing.assert_frame_equal(written, labels)


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
    assert [summary[key] for key in ("tracks", "divisions", "observations", "frames")] == counts
    images = np.stack([tifffile.imread(file) for file in stacks.values()], axis=1)
    assert np.array_equal(pixels(tmp_path / "out"), images)
    pd.testing.assert_frame_equal(tracks(tmp_path / "out"), pd.read_csv(source / "01.tracks.csv"))
    entry = load_entry(tmp_path / "out" / "experiment.yaml")
    assert [c.name for c in entry.channels] == list(channels)
    assert entry.markers == [channel.lower() for channel in channels]


def write_stack(path: Path, movie: np.ndarray, **options) -> Path:
    tifffile.imwrite(path, movie, photometric="minisblack", **options)
    return path


def write_tracks(path: Path, columns: str = "track_id,t,y,x") -> Path:
    path.write_text(columns + "\n" + ",".join("1" for _ in columns.split(",")) + "\n")
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"compression": "zlib", "metadata": {"axes": "TYX"}},
        {"byteorder": ">", "metadata": {"axes": "TYX"}},
        {"tile": (16, 16), "ome": True, "metadata": {"axes": "TYX"}},
    ],
    ids=["imagej", "compressed", "big-endian", "ome-tiled"],
)
def test_kinds_of_tiff(tmp_path, options):
    movie = np.random.default_rng(1).integers(0, 4000, (6, 40, 30)).astype(np.uint16)
    stack = write_stack(tmp_path / "movie.tif", movie, **options)
    import_stacks({"GFP": stack}, write_tracks(tmp_path / "t.csv"), tmp_path / "out", OPTIONS)
    assert np.array_equal(pixels(tmp_path / "out")[:, 0], movie)


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


def drop(path: str):
    return lambda folder: (folder / path).unlink()


def replace_man_track(text: str):
    return lambda folder: (folder / "01_GT/TRA/man_track.txt").write_text(text)


def widen(path: str):
    return lambda folder: tifffile.imwrite(folder / path, np.zeros((21, 24), np.uint8))


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (drop("01/t001.tif"), [r"frames \[1\] are missing"]),
        (drop("01/t003.tif"), [r"frames \[3\] have an image or a label mask, but not both"]),
        (drop("01_GT/TRA/man_track.txt"), ["man_track.txt: no readable table"]),
        (widen("01/t002.tif"), [r"t002.tif: has shape \(21, 24\)"]),
        (widen("01_GT/TRA/man_track002.tif"), [r"man_track002.tif: has shape \(21, 24\)"]),
        (replace_man_track("1 0 1\n"), ["four whole numbers"]),
        (replace_man_track("1 0 1 0\n1 0 1 0\n"), ["label 1 stands twice"]),
        (
            replace_man_track("1 0 1 0\n2 0 2 0\n3 2 3 9\n5 0 1 0\n"),
            [
                "label 4 of the masks has no line",
                "label 5 is in no mask",
                "label 2 shall live from frame 0 to 2, but is seen from 0 to 3",
                "parent 9 of label 3 has no line",
            ],
        ),
    ],
)
def test_damaged_ctc_sets_are_told_and_leave_nothing(tmp_path, damage, messages):
    write_ctc(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(UserError) as error:
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)
    for message in messages:
        assert error.match(message)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_three_dimensional_ctc_sets_are_refused(tmp_path):
    write_ctc(tmp_path / "set")
    tifffile.imwrite(tmp_path / "set" / "01" / "t000.tif", np.zeros((3, 20, 24), np.uint8))
    with pytest.raises(UserError, match="only two-dimensional"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)


def test_faulty_stacks_are_told(tmp_path):
    movie = np.zeros((3, 20, 20), np.uint8)
    good = write_stack(tmp_path / "good.tif", movie)
    short = write_stack(tmp_path / "short.tif", movie[:2])
    color = write_stack(tmp_path / "four.tif", np.zeros((3, 2, 20, 20), np.uint8))
    table = write_tracks(tmp_path / "t.csv")
    faults = [
        ({}, table, "no stack given"),
        ({"a": good, "b": short}, table, r"short.tif: has \(T, Y, X\) = \(2, 20, 20\)"),
        ({"a": color}, table, "four.tif: has axes"),
        ({"a": tmp_path / "none.tif"}, table, "none.tif: no readable TIFF"),
        ({"a": good}, tmp_path / "none.csv", "none.csv: no readable table"),
        ({"a": good}, write_tracks(tmp_path / "few.csv", "track_id,t"), "lacks the columns y, x"),
    ]
    for stacks, tracks_csv, message in faults:
        with pytest.raises(UserError, match=message):
            import_stacks(stacks, tracks_csv, tmp_path / "out", OPTIONS)
        assert not (tmp_path / "out").exists()


def test_faulty_options_are_told_before_any_work(tmp_path):
    write_ctc(tmp_path / "set")
    with pytest.raises(UserError, match="interval_minutes"):
        import_ctc(tmp_path / "set", tmp_path / "out", ImportOptions(interval_minutes=-1))
    with pytest.raises(UserError, match="microscpe: unknown key"):
        import_ctc(
            tmp_path / "set",
            tmp_path / "out",
            ImportOptions(interval_minutes=1, extra={"microscpe": "x"}),
        )


def test_labels_of_another_movie_are_refused(tmp_path):
    write_ctc(tmp_path / "set")
    labels = tmp_path / "labels.csv"
    labels.write_text("track_id,t,mitotic\n77,0,1\n")
    with pytest.raises(UserError, match="none of its track_ids"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS, labels=labels)
    labels.write_text("track,t,mitotic\n1,0,1\n")
    with pytest.raises(UserError, match="lacks the columns track_id"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS, labels=labels)


def test_an_existing_folder_is_never_replaced(tmp_path):
    write_ctc(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]
