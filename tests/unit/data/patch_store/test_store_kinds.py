"""Patch stores of stacks, resolution levels and all kinds of pixels, against the plate."""

import json
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from tests.counting import opened_by

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data import (
    FieldsOfView,
    NormalizationConfig,
    ObservationReader,
    PatchConfig,
    PatchSpec,
    build_patches,
    compute_statistics,
    read_statistics,
)
from dynaclr.data.patch_store import builder
from dynaclr.data.patch_store.encoding import RoundingLoss, encoded, normalized
from dynaclr.index import MultiExperimentIndex, build_index
from dynaclr.io.plate_writer import new_plate

FOVS, FRAMES, EDGE, CELLS = ("A/1/0", "B/1/0"), 4, 64, 6
BOTH, REPORTER = ("phase", "reporter"), ("reporter",)
STACK = PatchConfig(BOTH, (17, 16), depth=2)


def stack_of(rng, dtype, planes) -> np.ndarray:
    """Frames of two channels that are in focus at different planes."""
    top = 250 if np.dtype(dtype).itemsize == 1 else 5000
    pixels = rng.integers(top // 2 - 5, top // 2 + 5, (FRAMES, 2, planes, EDGE, EDGE))
    for t in range(FRAMES):
        for channel, plane in ((0, t % planes), (1, (planes - 1 - t) % planes)):
            pixels[t, channel, plane] = rng.integers(1, top, (EDGE, EDGE))
    return pixels.astype(dtype)


def add_level(position, fine: np.ndarray) -> None:
    """Add every other pixel as a second resolution level."""
    coarse = fine[..., ::2, ::2]
    chunks = (1, 1, coarse.shape[2], 32, 32)
    zarr.create_array(position / "1", data=coarse, chunks=chunks, zarr_format=2)
    attributes = json.loads((position / ".zattrs").read_text())
    datasets = attributes["multiscales"][0]["datasets"]
    scale = datasets[0]["coordinateTransformations"][0]["scale"]
    transformation = {"type": "scale", "scale": [*scale[:3], 2 * scale[3], 2 * scale[4]]}
    datasets.append({"path": "1", "coordinateTransformations": [transformation]})
    (position / ".zattrs").write_text(json.dumps(attributes))


def write_plate(root, dtypes, planes, chunk_frames, levels) -> None:
    rng = np.random.default_rng(0)
    with new_plate(
        root / "plate.zarr",
        positions=FOVS,
        channels=["Phase3D", "GFP"],
        shape_TZYX=(FRAMES, 1, EDGE, EDGE),
        dtype=np.uint16,
        interval_minutes=30,
        pixel_size_um=0.25,
    ) as plate:
        for name in FOVS:
            with plate.position(name) as frames:
                for _ in range(FRAMES):
                    frames.append(np.zeros((2, 1, EDGE, EDGE), np.uint16))
    for name, dtype, depth in zip(FOVS, dtypes, planes, strict=True):
        position, pixels = root / "plate.zarr" / name, stack_of(rng, dtype, depth)
        chunks = (chunk_frames, 1, depth, 32, 32)
        array = zarr.create_array(
            position / "0",
            shape=pixels.shape,
            dtype=dtype,
            chunks=chunks,
            zarr_format=2,
            overwrite=True,
        )
        array[...] = pixels
        if levels:
            add_level(position, pixels)


def write_tracks(root) -> None:
    rng = np.random.default_rng(1)
    for name in FOVS:
        folder = root / "tracks" / name
        folder.mkdir(parents=True)
        where = rng.uniform(0, EDGE - 1, (CELLS, 2))
        table = {
            "track_id": np.repeat(np.arange(1, CELLS + 1), FRAMES),
            "t": np.tile(np.arange(FRAMES), CELLS),
            "y": np.repeat(where[:, 0], FRAMES),
            "x": np.repeat(where[:, 1], FRAMES),
            "parent_track_id": -1,
        }
        pd.DataFrame(table).to_csv(folder / "tracks.csv", index=False)


def make(root, dtypes=("u2", "u2"), planes=(5, 5), chunk_frames=1, levels=False, wells=None):
    """Plate, tracks, index and statistics of two fields of view."""
    write_plate(root, dtypes, planes, chunk_frames, levels)
    write_tracks(root)
    entry = ExperimentConfig(
        name="e",
        data_path=root / "plate.zarr",
        tracks_path=root / "tracks",
        channels=[
            {"name": "Phase3D", "marker": "phase"},
            {"name": "GFP", "marker": "reporter", "wells": wells},
        ],
        condition_wells={"mock": ["A/1"], "infected": ["B/1"]},
        interval_minutes=30,
        start_hpi=0,
        patches=True,
    )
    build_index(entry, root / "results/e")
    compute_statistics(entry, root / "results/e")
    return root, entry


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Experiments by what they were made with; each is made once."""
    kept = {}

    def get(**options):
        key = repr(options)
        if key not in kept:
            kept[key] = make(tmp_path_factory.mktemp("made"), **options)
        return kept[key]

    return get


@pytest.fixture
def experiment(made, tmp_path):
    """Gives the entry and the results of an experiment that the test may change."""

    def copy(**options):
        root, entry = made(**options)
        shutil.copytree(root, tmp_path / "copy")
        moved = {"data_path": tmp_path / "copy/plate.zarr", "tracks_path": tmp_path / "copy/tracks"}
        return entry.model_copy(update=moved), tmp_path / "copy/results/e"

    return copy


def spec_of(patches, extraction_size=None) -> PatchSpec:
    return PatchSpec(patches, extraction_size or patches.size, NormalizationConfig())


def with_store(entry, **options) -> ExperimentConfig:
    return ExperimentConfig.model_validate(entry.model_dump() | {"patches": options})


def reader_of(entry, folder, patches, stores=True) -> ObservationReader:
    return ObservationReader(
        FieldsOfView(MultiExperimentIndex.from_parquet([folder]), {"e": entry}),
        read_statistics(folder.parent, ["e"]),
        patches,
        NormalizationConfig(),
        stores=folder.parent if stores else None,
    )


def assert_equal_to_plate(entry, folder, patches) -> torch.Tensor:
    plate, store = (reader_of(entry, folder, patches, which) for which in (False, True))
    assert store._stores, "the store is used"
    wanted, found = (reader.read(np.arange(len(reader.index))) for reader in (plate, store))
    assert wanted.keys() == found.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    assert found["patch"].any()
    return found["patch"]


@pytest.mark.parametrize("window", ["focus", "center"])
@pytest.mark.parametrize("compressor", ["none", "lz4"])
def test_windows_of_stacks_are_those_of_the_plate(experiment, window, compressor):
    entry, folder = experiment()
    patches = replace(STACK, z_window=window)
    spec = spec_of(patches, (24, 23))
    report = build_patches(with_store(entry, compressor=compressor), folder, [spec])
    assert (report["depth"], report["z_window"]) == (2, window)
    assert_equal_to_plate(entry, folder, patches)
    assert_equal_to_plate(entry, folder, replace(patches, size=(9, 10), projection="max"))


def test_models_with_different_windows_share_whole_stacks(experiment):
    entry, folder = experiment()
    others = [replace(STACK, depth=3, z_window="center"), replace(STACK, depth=4, size=(20, 20))]
    report = build_patches(entry, folder, [spec_of(patches) for patches in (*others, STACK)])
    assert (report["depth"], report["z_window"]) == (5, "stack")
    for patches in (STACK, *others):
        assert_equal_to_plate(entry, folder, patches)


@pytest.mark.parametrize("order", [1, -1])
def test_models_that_follow_the_focus_of_different_markers_share_whole_stacks(experiment, order):
    entry, folder = experiment()
    both = [STACK, replace(STACK, markers=REPORTER)][::order]
    report = build_patches(entry, folder, [spec_of(patches) for patches in both])
    assert report["z_window"] == "stack"
    for patches in both:
        assert_equal_to_plate(entry, folder, patches)


def test_planes_follow_the_first_marker_that_is_there(experiment):
    entry, folder = experiment(wells=["A/1"])
    patches = replace(STACK, markers=("reporter", "phase"))
    report = build_patches(
        entry, folder, [spec_of(patches), spec_of(replace(patches, size=(9, 9)))]
    )
    assert report["leading"] == {"A/1": "reporter", "B/1": "phase"}
    assert_equal_to_plate(entry, folder, patches)


def test_store_that_follows_another_focus_is_not_used(experiment, caplog):
    entry, folder = experiment()
    build_patches(entry, folder, [spec_of(STACK)])
    assert not reader_of(entry, folder, replace(STACK, markers=REPORTER))._stores
    assert "its planes follow the focus of phase, not of reporter" in caplog.text


def test_stacks_that_differ_in_depth_share_a_store_for_one_window(experiment):
    entry, folder = experiment(planes=(5, 3))
    build_patches(entry, folder, [spec_of(STACK)])
    assert_equal_to_plate(entry, folder, STACK)
    with pytest.raises(UserError, match=r"experiment e: .* stacks that differ in depth"):
        build_patches(entry, folder, [spec_of(STACK), spec_of(replace(STACK, depth=3))])


@pytest.mark.parametrize(("pixel", "level"), [(0.3, 0), (0.5, 1), (0.75, 1)])
def test_crops_of_a_resolution_level_are_those_of_the_plate(experiment, pixel, level):
    entry, folder = experiment(levels=True)
    patches = replace(STACK, size=(11, 12), reference_pixel_size_um=pixel)
    assert build_patches(entry, folder, [spec_of(patches, (14, 13))])["level"] == level
    assert_equal_to_plate(entry, folder, patches)
    other = replace(patches, reference_pixel_size_um=0.5 if level == 0 else 0.3)
    with pytest.raises(UserError, match="read different resolution levels"):
        build_patches(entry, folder, [spec_of(patches), spec_of(other)])


@pytest.mark.parametrize(
    ("dtypes", "kept"),
    [
        ((">u2", ">u2"), "uint16"),
        ((">u2", "<u2"), "uint16"),
        (("u1", "u1"), "uint8"),
        (("f4", "f4"), "float32"),
        ((">f4", ">f4"), "float32"),
        (("i2", "i2"), "int16"),
        (("u1", "u2"), "float32"),
        (("f4", "u2"), "float32"),
        (("i4", "i4"), "float32"),
    ],
)
def test_native_pixels_of_any_type_are_those_of_the_plate(experiment, dtypes, kept):
    entry, folder = experiment(dtypes=dtypes, planes=(5, 3))
    report = build_patches(with_store(entry, compressor="zstd"), folder, [spec_of(STACK)])
    assert report["pixels"] == kept
    found = assert_equal_to_plate(entry, folder, STACK)
    assert found.dtype == getattr(torch, kept)
    # They are what the plate's own array holds there.
    reader = reader_of(entry, folder, replace(STACK, size=(EDGE, EDGE)), stores=False)
    whole = reader.read(np.arange(3))["patch"].numpy()
    pixels = zarr.open(entry.data_path / FOVS[0] / "0", mode="r")[0]
    assert any(np.array_equal(whole[0], pixels[:, z : z + 2]) for z in range(4))


@pytest.mark.parametrize("chunk_frames", [1, 2, 4])
def test_building_reads_each_chunk_once(experiment, monkeypatch, chunk_frames):
    entry, folder = experiment(chunk_frames=chunk_frames)
    opened = opened_by(monkeypatch)
    monkeypatch.setattr(builder, "_BLOCK_BYTES", 20_000)
    build_patches(entry, folder, [spec_of(STACK)])
    assert len(opened) == len(set(opened)) > 0


def test_plate_that_was_made_again_is_read_instead_of_its_store(experiment, caplog):
    entry, folder = experiment()
    build_patches(entry, folder, [spec_of(STACK)])
    metadata = entry.data_path / FOVS[0] / ".zattrs"
    metadata.write_text(metadata.read_text().replace("0.25", "0.26"))
    assert not reader_of(entry, folder, STACK)._stores
    assert "plate changed since it was made" in caplog.text


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_memory_is_bounded_in_bytes(experiment, monkeypatch, dtype):
    entry, folder = experiment()
    patches = replace(STACK, size=(EDGE, EDGE))
    job = builder._Builder(with_store(entry, dtype=dtype), folder, [spec_of(patches)])
    # As it is read, in single precision three times, as it is rounded and in its crop.
    pixel_bytes = 2 + 12 + 2 * job.dtype.itemsize
    limit = 6 * pixel_bytes * int(np.prod(job.writer.shape[1:]))
    monkeypatch.setattr(builder, "_BLOCK_BYTES", limit)
    blocks = list(job._blocks(np.arange(*job.bounds[:2])))
    assert [len(rows) for rows in blocks] == [6] * 4
    reader = job._reader(0)
    job._read(reader, 0, blocks[0])
    tracemalloc.start()
    try:
        crops, _ = job._read(reader, 0, blocks[0])
        crops = normalized(crops, *job._center_and_spread(0, blocks[0]))
        assert np.isfinite(crops).all()
        encoded(crops, job.dtype, np.ones(2, bool), RoundingLoss())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit + 300_000


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "native"])
def test_pixels_that_are_not_finite_are_reported_or_left_out(experiment, dtype, value):
    entry, folder = experiment(dtypes=("f4", "f4"))
    entry, patches = with_store(entry, dtype=dtype), PatchConfig(BOTH, (17, 16), depth=5)
    zarr.open(entry.data_path / "A/1/0/0", mode="r+")[2, 1] = value
    message = "frame 2 of field of view A/1/0, channel .* NaN or infinite"
    with pytest.raises(UserError, match=message):
        build_patches(entry, folder, [spec_of(patches)])
    entry = entry.model_copy(update={"unreadable": "skip"})
    report = build_patches(entry, folder, [spec_of(patches)])
    assert np.isfinite(list(report.get("loss", {}).values())).all()
    cells = MultiExperimentIndex.from_parquet([folder]).tracks
    absent = (cells["fov"] == "A/1/0") & (cells["t"] == 2)
    np.testing.assert_array_equal(np.load(folder / "patches.zarr/slots.npy") < 0, absent)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("options", [{}, {"reference_pixel_size_um": 0.5}])
def test_what_a_native_store_cannot_hold_is_read_from_the_plate(experiment, shared, options):
    entry, folder = experiment(levels=True)
    patches = replace(STACK, **options)
    specs = [spec_of(patches), spec_of(replace(patches, z_window="center"))][: 1 + shared]
    level, skipping = "1" if options else "0", entry.model_copy(update={"unreadable": "skip"})
    array = entry.data_path / "A/1/0" / level
    (array / "2.1.0.0.0").rename(folder / "away")
    build_patches(skipping, folder, specs)
    absent = np.load(folder / "patches.zarr/slots.npy") < 0
    assert 0 < absent.sum() < len(absent)
    (folder / "away").rename(array / "2.1.0.0.0")
    for patch_spec in specs:
        assert_equal_to_plate(entry, folder, patch_spec.patches)
