"""Statistics from one streamed pass equal NumPy's on all pixels at once."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from iohub.ngff import open_ome_zarr
from scipy.ndimage import gaussian_filter

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data.pixels.chunk_reader import ChunkReader
from dynaclr.data.statistics import frames
from dynaclr.data.statistics.compute import compute_statistics, statistics_table
from dynaclr.data.statistics.distribution import PERCENTILES, Distribution, Pool
from dynaclr.data.statistics.frames import FrameCounter, chunks_of
from dynaclr.io import Plate, Position
from dynaclr.io.plate import Level
from dynaclr.io.plate_writer import PlateLayout, new_plate


def expected(pixels: np.ndarray) -> dict[str, float]:
    """Statistics of finite pixels by NumPy's own functions."""
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    low, high = np.percentile(finite, [25, 75])
    values = {f"p{q}": np.percentile(finite, q) for q in PERCENTILES}
    return values | {
        "mean": finite.mean(),
        "std": finite.std(),
        "median": np.median(finite),
        "iqr": high - low,
        "min": finite.min(),
        "max": finite.max(),
        "n": finite.size,
        "n_nan": pixels.size - finite.size,
    }


def assert_row(row: dict, pixels: np.ndarray) -> None:
    truth = expected(pixels)
    # The variance is a difference of squares, of which each is rounded.
    rounding = 1e-6
    if pixels.dtype.kind == "f":
        rounding = max(rounding, 5e-8 * max(abs(truth["min"]), abs(truth["max"])))
    for name, value in truth.items():
        atol = rounding if name == "std" else 1e-6
        np.testing.assert_allclose(row[name], value, rtol=1e-9, atol=atol, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["u1", "<u2", ">u2", "i1", "<i2", ">i2"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=12))
    )
)
def test_integer_frames_add_up_exactly(movie_TYX):
    counted = [Distribution.of(frame) for frame in movie_TYX]
    assert_row(Distribution.sum(counted).statistics(), movie_TYX)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.floats(-100, 100, width=32) | st.just(np.nan) | st.just(np.inf),
    )
)
def test_float_frame_leaves_out_what_is_not_finite(frame):
    row = Distribution.of(frame).statistics()
    if np.isfinite(frame).any():
        assert_row(row, frame)
    else:
        assert row["n"] == 0
        assert np.isnan(row["mean"])


def test_large_float_frames_pool_closely():
    movie = np.random.default_rng(0).normal(100, 10, (5, 256, 256)).astype(np.float32)
    pooled = Distribution.sum(Distribution.of(frame).thinned() for frame in movie).statistics()
    field = Distribution.sum(Distribution.of(frame).thinned() for frame in movie).thinned()
    assert field.values.size <= 16_384, "what a field of view keeps does not grow with frames"
    assert field.n == movie.size
    truth = expected(movie)
    assert field.statistics()["median"] == pytest.approx(truth["median"], abs=0.02)
    assert pooled["mean"] == pytest.approx(truth["mean"], rel=1e-9)
    assert pooled["std"] == pytest.approx(truth["std"], rel=1e-6)
    for name in ("median", "p1", "p99"):
        assert pooled[name] == pytest.approx(truth[name], abs=0.02)


@pytest.fixture(params=[("0.4", None), ("0.5", None), ("0.5", 2)], ids=["v2", "v3", "v3-sharded"])
def experiment(request, tmp_path):
    """A plate of two wells with random pixels, and its entry."""
    ngff, shard = request.param
    rng = np.random.default_rng(1)
    with new_plate(
        tmp_path / "plate.zarr",
        positions=["A/1/0", "B/1/0", "C/1/0"],
        channels=["Phase3D", "GFP"],
        shape_TZYX=(4, 2, 24, 20),
        dtype=np.uint16,
        interval_minutes=10,
        layout=PlateLayout(ngff=ngff, chunk_yx=16, shard_frames=shard),
    ) as plate:
        for name in plate.positions:
            with plate.position(name) as frames:
                for _ in range(4):
                    frames.append(rng.integers(0, 4000, (2, 2, 24, 20), dtype=np.uint16))
    return ExperimentConfig(
        name="e",
        data_path=tmp_path / "plate.zarr",
        tracks_path=tmp_path,
        channels=[
            {"name": "GFP", "marker": "reporter", "wells": ["B/1"]},
            {"name": "Phase3D", "marker": "phase"},
        ],
        condition_wells={"mock": ["A/1"], "infected": ["B/1"]},
        interval_minutes=10,
        start_hpi=0,
    )


def test_table_equals_numpy_on_every_level(experiment):
    table = statistics_table(experiment)
    with open_ome_zarr(experiment.data_path, mode="r") as plate:
        pixels = {fov: np.asarray(plate[fov]["0"]) for fov in ("A/1/0", "B/1/0")}
    for row in table.to_dict("records"):
        channel = ["Phase3D", "GFP"].index(row["channel"])
        if row["level"] == "experiment":
            used = ["B/1/0"] if row["marker"] == "reporter" else list(pixels)
            chosen = np.stack([pixels[fov][:, channel] for fov in used])
        else:
            chosen = pixels[row["fov"]][:, channel]
            chosen = chosen if row["level"] == "fov" else chosen[row["t"]]
        assert_row(row, chosen)
    # One row a frame, one a field of view and one in all, where the marker is present.
    counts = table.groupby(["marker", "level"], observed=True).size()
    assert counts["phase"].to_dict() == {"frame": 8, "fov": 2, "experiment": 1}
    assert counts["reporter"].to_dict() == {"frame": 4, "fov": 1, "experiment": 1}


def test_chunks_cover_a_frame_once(experiment):
    position = Plate(experiment.data_path).positions["B/1/0"]
    reader = reader_of(position)
    with open_ome_zarr(experiment.data_path, mode="r") as plate:
        pixels = np.asarray(plate["B/1/0"]["0"])
    seen = [
        chunk for z in range(reader.layouts[0].grid[2]) for chunk in chunks_of(reader, 0, (1, 0), z)
    ]
    assert [chunk.shape[:2] for chunk in seen] == [(1, 1)] * len(seen)
    seen = np.concatenate([chunk.ravel() for chunk in seen])
    np.testing.assert_array_equal(np.sort(seen), np.sort(pixels[1, 0].ravel()))


def reader_of(position: Position) -> ChunkReader:
    path = str(position.levels[0].path)
    return ChunkReader([path], [position.layout()], np.zeros(1, int), cache_bytes=0)


def position_of(path, pixels, chunks) -> Position:
    """An array on disk that stands for a field of view."""
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path / "0")}}
    array = ts.open(
        spec,
        create=True,
        dtype=pixels.dtype,
        shape=pixels.shape,
        chunk_layout=ts.ChunkLayout(chunk_shape=chunks),
    ).result()
    array[...] = pixels
    return Position("A/1/0", path, ("a", "b", "c"), (Level(path / "0", (1.0,) * 5),))


def test_float_frames_beyond_the_bound_are_sampled(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).normal(100, 10, (3, 256, 256)).astype(np.float32)
    reader = reader_of(position_of(tmp_path, pixels[None, None], (1, 1, 1, 128, 256)))
    exact = FrameCounter(reader).count(0, 0, [0])[0][0].pixels.statistics()
    assert_row(exact, pixels)
    monkeypatch.setattr(frames, "_EXACT_PER_FRAME", 1000)
    sampled = FrameCounter(reader).count(0, 0, [0])[0][0].pixels
    assert sampled.values.size <= pixels.size / 2
    for name in ("mean", "std", "min", "max"):
        assert sampled.statistics()[name] == pytest.approx(exact[name], rel=1e-6)
    assert sampled.statistics()["median"] == pytest.approx(exact["median"], abs=0.02)


def test_continuous_pixels_of_a_frame_are_held_once(tmp_path):
    pixels = np.random.default_rng(0).normal(100, 10, (8, 512, 512)).astype(np.float32)
    reader = reader_of(position_of(tmp_path, pixels[None, None], (1, 1, 1, 256, 256)))
    FrameCounter(reader).count(0, 0, [0])
    tracemalloc.start()
    try:
        (frame,) = FrameCounter(reader).count(0, 0, [0])[0]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_row(frame.pixels.statistics(), pixels)
    # Beside the frame: a chunk, the bins, and the pixels of those that are sorted.
    assert peak < 1.6 * pixels.nbytes


def test_chunks_of_several_channels_and_frames_are_kept_apart(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (4, 3, 2, 20, 20), dtype=np.uint16)
    reader = reader_of(position_of(tmp_path, pixels, (2, 2, 1, 8, 20)))
    counted = FrameCounter(reader).count(0, 2, [2, 0])
    for frame, t in zip(counted, (2, 3), strict=True):
        for found, channel in zip(frame, (2, 0), strict=True):
            assert_row(found.pixels.statistics(), pixels[t, channel])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "dtype", ["|u1", ">u2", "|i1", "<i2", ">i2", "<i4", "<f2", "<f4", ">f4", "<f8"]
)
def test_statistics_of_every_type_and_order_of_pixels(dtype, order, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.normal(0 if "u" not in dtype else 90, 25, (2, 2, 3, 20, 21)).astype(dtype)
    chunks = (1, 2, 2, 16, 21)
    zarr.create_array(tmp_path / "0", data=pixels, chunks=chunks, order=order, zarr_format=2)
    position = Position("A/1/0", tmp_path, ("a", "b"), (Level(tmp_path / "0", (1.0,) * 5),))
    for t in range(2):
        for c, frame in enumerate(FrameCounter(reader_of(position)).count(0, t, [0, 1])[0]):
            assert_row(frame.pixels.statistics(), pixels[t, c])
            planes = pixels[t, c].astype(np.float64)
            contrast = planes.var(axis=(1, 2))
            if planes.min() >= 0:
                contrast /= planes.mean(axis=(1, 2))
            assert frame.focus == contrast.argmax()


def test_pools_hold_few_of_many_frames():
    rng = np.random.default_rng(0)
    for dtype in (np.uint16, np.float32):
        movie, pool = rng.normal(100, 10, (200, 160, 160)).astype(dtype), Pool()
        for frame in movie:
            pool.add(Distribution.of(frame))
            assert len(pool._parts) <= 65
        row, truth = pool.sum().statistics(), expected(movie)
        for name in ("n", "mean", "std", "min", "max"):
            assert row[name] == pytest.approx(truth[name], rel=1e-6)
        for name in ("median", "p1", "p99"):
            assert row[name] == pytest.approx(truth[name], abs=0.05)


def test_a_counter_goes_on_after_a_chunk_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "message_of", lambda *_: "no plate to name")
    pixels = np.random.default_rng(0).integers(0, 4000, (6, 1, 1, 20, 20), dtype=np.uint16)
    position = position_of(tmp_path, pixels, (1, 1, 1, 10, 20))
    (tmp_path / "0/2.0.0.1.0").write_bytes(b"")
    counter = FrameCounter(reader_of(position), skip=True)
    counted = [counter.count(0, t, [0])[0][0].pixels for t in range(6)]
    assert counted[2].n == 0
    for t in (0, 1, 3, 4, 5):
        assert_row(counted[t].statistics(), pixels[t])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("planes", [1, 3])
def test_plane_in_focus_has_the_largest_normalised_variance(dtype, planes, tmp_path):
    rng = np.random.default_rng(0)
    scene = rng.random((64, 64))
    # Blur of each plane by its distance from the one in focus, which moves; the lamp flickers.
    focus = [1, 4, 2]
    movie = np.stack(
        [
            np.stack([flicker * gaussian_filter(scene, abs(z - plane)) for z in range(6)])
            for plane, flicker in zip(focus, (60, 200, 100), strict=True)
        ]
    )
    pixels = movie[:, None].astype(dtype)
    reader = reader_of(position_of(tmp_path, pixels, (2, 1, planes, 32, 64)))
    found = [
        frame[0].focus for first in (0, 2) for frame in FrameCounter(reader).count(0, first, [0])
    ]
    assert found == focus
    if dtype == np.float32:
        shifted = reader_of(position_of(tmp_path / "b", pixels - 100, (2, 1, planes, 32, 64)))
        assert [frame[0].focus for frame in FrameCounter(shifted).count(0, 0, [0])] == focus[:2]


def test_single_and_constant_planes_have_no_focus(tmp_path):
    flat = np.full((1, 1, 3, 8, 8), 7, np.uint16)
    reader = reader_of(position_of(tmp_path / "a", flat, (1, 1, 1, 8, 8)))
    assert FrameCounter(reader).count(0, 0, [0])[0][0].focus == -1
    single = np.random.default_rng(0).integers(0, 9, (1, 1, 1, 8, 8), dtype=np.uint16)
    reader = reader_of(position_of(tmp_path / "b", single, (1, 1, 1, 8, 8)))
    assert FrameCounter(reader).count(0, 0, [0])[0][0].focus == -1


def test_same_bytes_for_any_number_of_threads(experiment, tmp_path):
    digests = set()
    for threads in (1, 3):
        compute_statistics(experiment, tmp_path / str(threads), threads)
        digests.add((tmp_path / str(threads) / "statistics.parquet.digest").read_text())
    assert len(digests) == 1
    assert len(pd.read_parquet(tmp_path / "1" / "statistics.parquet")) == 17


def damage(experiment) -> None:
    """Cut off the largest chunk, or shard, of a field of view."""
    files = (experiment.data_path / "B/1/0/0").rglob("*")
    chunks = [f for f in files if f.is_file() and f.suffix != ".json" and f.name[0] != "."]
    chunk = max(chunks, key=lambda file: file.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])


def test_frames_that_cannot_be_read_are_skipped_where_the_entry_says_so(
    experiment, tmp_path, caplog
):
    damage(experiment)
    skipping = experiment.model_copy(update={"unreadable": "skip"})
    compute_statistics(skipping, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out/statistics.parquet")
    with open_ome_zarr(experiment.data_path, mode="r") as plate:
        pixels = {fov: np.asarray(plate[fov]["0"]) for fov in ("A/1/0",)}
    frames = table[table["level"] == "frame"]
    absent = frames[frames["n"] == 0]
    assert 0 < len(absent) <= 4
    assert set(absent["fov"]) == {"B/1/0"}
    assert absent["median"].isna().all()
    assert f"{len(absent)} frames of a channel cannot be read" in caplog.text
    assert "cannot read frame" in caplog.text
    n = table[table["level"] == "fov"].set_index(["fov", "marker"])["n"]
    per_frame = frames.groupby(["fov", "marker"], observed=True)["n"].sum()
    assert (n[per_frame.index] == per_frame).all()
    good = frames[(frames["fov"] == "A/1/0") & (frames["t"] == 1)].iloc[0].to_dict()
    assert_row(good, pixels["A/1/0"][1, 0])


def test_damaged_chunk_is_an_error(experiment):
    damage(experiment)
    with pytest.raises(UserError, match=r"B/1/0.*cannot read frame \d of field of view B/1/0"):
        statistics_table(experiment)
