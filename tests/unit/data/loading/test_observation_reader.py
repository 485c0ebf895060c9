"""Patches by index row: planes, levels, channels, and what cannot be read."""

import itertools
import json
import logging
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from tests.counting import opened_by
from torch.utils.data import DataLoader

from dynaclr.config import ExperimentConfig, ExperimentRegistry, UserError
from dynaclr.data import (
    FieldsOfView,
    MultiExperimentDataModule,
    MultiExperimentTripletDataset,
    NormalizationConfig,
    ObservationReader,
    PatchConfig,
    at_common_size,
)
from dynaclr.data.loading.resumable_loader import EpochBatches
from dynaclr.index import MultiExperimentIndex, build_index, merge_indexes
from dynaclr.io import plate as plate_of
from dynaclr.io.plate_writer import PlateLayout, new_plate

FOVS, FRAMES, PLANES, EDGE = ("A/1/0", "B/1/0"), 4, 5, 64


@pytest.fixture(scope="module")
def entry(tmp_path_factory) -> ExperimentConfig:
    """Two fields of view of stacks, six cells each, and a second resolution level."""
    root, rng = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    with new_plate(
        root / "plate.zarr",
        positions=FOVS,
        channels=["Phase3D", "GFP"],
        shape_TZYX=(FRAMES, PLANES, EDGE, EDGE),
        dtype=np.uint16,
        interval_minutes=30,
        pixel_size_um=0.25,
        layout=PlateLayout(chunk_yx=32),
    ) as plate:
        for name in FOVS:
            with plate.position(name) as frames:
                for _ in range(FRAMES):
                    stack = rng.integers(1, 5000, (2, PLANES, EDGE, EDGE), dtype=np.uint16)
                    frames.append(stack)
    for name in FOVS:
        add_level(root / "plate.zarr" / name)
        folder = root / "tracks" / name
        folder.mkdir(parents=True)
        where = rng.uniform(0, EDGE - 1, (6, 2))
        pd.DataFrame(
            {
                "track_id": np.repeat(np.arange(1, 7), FRAMES),
                "t": np.tile(np.arange(FRAMES), 6),
                "y": np.repeat(where[:, 0], FRAMES),
                "x": np.repeat(where[:, 1], FRAMES),
                "parent_track_id": -1,
            }
        ).to_csv(folder / "tracks.csv", index=False)
    return ExperimentConfig(
        name="e",
        data_path=root / "plate.zarr",
        tracks_path=root / "tracks",
        channels=[
            {"name": "Phase3D", "marker": "phase"},
            {"name": "GFP", "marker": "reporter", "wells": ["A/1"]},
        ],
        condition_wells={"mock": ["A/1"], "infected": ["B/1"]},
        interval_minutes=30,
        start_hpi=0,
    )


def add_level(position) -> None:
    """Add means over 2 x 2 pixels as a second resolution level."""
    fine = zarr.open(position / "0", mode="r")
    pixels = fine[...].reshape(FRAMES, 2, PLANES, EDGE // 2, 2, EDGE // 2, 2).mean(axis=(4, 6))
    zarr.create_array(
        position / "1", data=pixels.astype(np.uint16), chunks=(1, 1, 5, 32, 32), zarr_format=2
    )
    attributes = json.loads((position / ".zattrs").read_text())
    datasets = attributes["multiscales"][0]["datasets"]
    scale = datasets[0]["coordinateTransformations"][0]["scale"]
    coarse = [*scale[:3], 2 * scale[3], 2 * scale[4]]
    datasets.append(
        {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": coarse}]}
    )
    (position / ".zattrs").write_text(json.dumps(attributes))


def statistics(focus=None) -> pd.DataFrame:
    """The plane in focus moves by one a frame, or is not known."""
    rows = [
        {
            "level": level,
            "experiment": "e",
            "fov": fov,
            "t": t,
            "marker": marker,
            "focus": -1 if focus is None or t < 0 else focus + t,
        }
        for fov in FOVS
        for marker in ("phase", "reporter")
        for level, frames in (("frame", range(FRAMES)), ("fov", [-1]))
        for t in frames
    ]
    return pd.DataFrame(rows).assign(median=100.0, std=10.0)


def reader_of(entry, patches, table=None, level="fov", **options) -> ObservationReader:
    registry = ExperimentRegistry([entry])
    index = MultiExperimentIndex.from_registry(registry)
    table = statistics() if table is None else table
    return ObservationReader(
        FieldsOfView(index, registry), table, patches, NormalizationConfig(level), **options
    )


def pixels_of(entry, reader, level="0") -> np.ndarray:
    """All frames of each row's field of view, (N, C, Z, Y, X)."""
    cells = reader.index.tracks
    arrays = {fov: zarr.open(entry.data_path / fov / level, mode="r")[...] for fov in FOVS}
    return np.stack([arrays[cell.fov][cell.t] for cell in cells.itertuples()])


def origins(reader, size, extent, shrink=1) -> np.ndarray:
    centers = reader.index.tracks[["y", "x"]].to_numpy(np.float64)
    centers = (centers + 0.5) / shrink - 0.5
    return np.clip(np.floor(centers + 0.5).astype(int) - size // 2, 0, extent - size)


def test_window_is_around_the_focus_of_each_frame(entry):
    patches = PatchConfig(("phase",), (16, 16), depth=2)
    reader = reader_of(entry, patches, statistics(focus=1))
    found = reader.read(np.arange(len(reader.index)))["patch"].numpy()
    t = reader.index.column("t")
    whole, first = pixels_of(entry, reader), origins(reader, 16, EDGE)
    for number, (frame, (y, x)) in enumerate(zip(t, first, strict=True)):
        start = min(1 + frame - 1, PLANES - 2)
        wanted = whole[number, :1, start : start + 2, y : y + 16, x : x + 16]
        np.testing.assert_array_equal(found[number], wanted)


@pytest.mark.parametrize("patches", [{"z_window": "center"}, {}])
def test_window_is_in_the_middle_without_a_focus(entry, patches):
    reader = reader_of(entry, PatchConfig(("phase",), (16, 16), depth=3, **patches))
    found = reader.read(np.arange(len(reader.index)))["patch"].numpy()
    whole, first = pixels_of(entry, reader), origins(reader, 16, EDGE)
    for number, (y, x) in enumerate(first):
        np.testing.assert_array_equal(found[number], whole[number, :1, 1:4, y : y + 16, x : x + 16])


def test_projections_are_of_the_window(entry):
    rows = np.arange(10)
    stack = reader_of(entry, PatchConfig(("phase",), (16, 16), depth=5)).read(rows)["patch"]
    for projection in ("max", "mean"):
        patches = PatchConfig(("phase",), (16, 16), depth=5, projection=projection)
        found = reader_of(entry, patches).read(rows)["patch"].numpy()
        wanted = getattr(stack.numpy().astype(np.float64), projection)(axis=2, keepdims=True)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        assert found.shape == (10, 1, 1, 16, 16)


def test_patches_have_the_type_of_the_plate(entry):
    read = reader_of(entry, PatchConfig(("phase",), (16, 16), depth=5)).read(np.arange(4))
    assert read["patch"].dtype == torch.uint16


@pytest.mark.parametrize(
    ("pixel", "level", "native"), [(0.3, "0", 19), (0.5, "1", 16), (0.75, "1", 24)]
)
def test_coarser_level_is_read_where_it_is_fine_enough(entry, pixel, level, native):
    patches = PatchConfig(("phase",), (16, 16), depth=5, reference_pixel_size_um=pixel)
    reader = reader_of(entry, patches)
    read = reader.read(np.arange(len(reader.index)))
    shrink = {"0": 1, "1": 2}[level]
    whole = pixels_of(entry, reader, level)
    first = origins(reader, native, EDGE // shrink, shrink)
    patch = read["patch"].numpy()
    for number, (y, x) in enumerate(first):
        wanted = whole[number, :1, :, y : y + native, x : x + native]
        np.testing.assert_array_equal(patch[number], wanted)
    common = at_common_size(read)
    assert common.shape == (len(patch), 1, 5, 16, 16)
    if native == 16:
        assert torch.equal(common, read["patch"])
        return
    resampled = torch.nn.functional.interpolate(
        torch.from_numpy(patch[:, 0].astype(np.float32)), (16, 16), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(common[:, 0], resampled, rtol=0, atol=0)


def test_a_gpu_need_not_index_unsigned_numbers_of_16_bits(entry, monkeypatch):
    patches = PatchConfig(("phase",), (16, 16), depth=5, reference_pixel_size_um=0.3)
    read = reader_of(entry, patches).read(np.arange(4))
    wanted, original = at_common_size(read), torch.Tensor.__getitem__

    def as_on_a_gpu(self, key):
        if self.dtype == torch.uint16:
            raise NotImplementedError('"index_cuda" not implemented for UInt16')
        return original(self, key)

    monkeypatch.setattr(torch.Tensor, "__getitem__", as_on_a_gpu)
    assert read["patch"].dtype == torch.uint16
    torch.testing.assert_close(at_common_size(read), wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtypes", "kept"),
    [((">u2",), "uint16"), (("|u1",), "uint8"), (("<f4",), "float32"), ((">u2", "|u1"), "float32")],
)
def test_patches_of_other_types_equal_slices(dtypes, kept, entry, tmp_path):
    arrays = {}
    shutil.copytree(entry.data_path, tmp_path / "plate.zarr")
    for number, fov in enumerate(FOVS):
        path, dtype = tmp_path / "plate.zarr" / fov / "0", dtypes[number % len(dtypes)]
        arrays[fov] = (zarr.open(path, mode="r")[...] % 251).astype(dtype)
        shutil.rmtree(path)
        zarr.create_array(path, data=arrays[fov], chunks=(1, 1, 2, 32, 32), zarr_format=2)
    other = entry.model_copy(update={"data_path": tmp_path / "plate.zarr"})
    reader = reader_of(other, PatchConfig(("phase",), (16, 16), depth=5))
    found = reader.read(np.arange(len(reader.index)))["patch"].numpy()
    assert found.dtype == np.dtype(kept)
    cells, first = reader.index.tracks, origins(reader, 16, EDGE)
    for number, (cell, (y, x)) in enumerate(zip(cells.itertuples(), first, strict=True)):
        wanted = arrays[cell.fov][cell.t, :1, :, y : y + 16, x : x + 16]
        np.testing.assert_array_equal(found[number], wanted)


def test_experiments_of_several_pixel_sizes_share_a_batch(entry):
    patches = PatchConfig(("phase",), (16, 16), depth=5, reference_pixel_size_um=0.3)
    other = entry.model_copy(update={"name": "f", "pixel_size_um": 0.2})
    registry = ExperimentRegistry([entry, other])
    index = MultiExperimentIndex.from_registry(registry)
    table = pd.concat([statistics(), statistics().assign(experiment="f")])
    reader = ObservationReader(FieldsOfView(index, registry), table, patches, NormalizationConfig())
    rows = np.array([0, len(index) - 1, 3, len(index) - 5])
    together = at_common_size(reader.read(rows))
    for number in range(4):
        alone = at_common_size(reader.read(rows[number : number + 1]))
        torch.testing.assert_close(together[number], alone[0], rtol=0, atol=0)


def test_pass_in_order_decodes_each_chunk_once(entry, monkeypatch):
    opened = opened_by(monkeypatch)
    patches = PatchConfig(("phase", "reporter"), (40, 40), depth=5)
    reader = reader_of(entry, patches, cache_bytes=0)
    reader.keep_frames()
    for start in range(0, len(reader.index), 5):
        reader.read(np.arange(start, min(start + 5, len(reader.index))))
    assert len(opened) == len(set(opened)) > 0


def test_bag_of_channels_takes_one_marker_where_it_was_imaged(entry):
    markers = ("phase", "reporter")
    bag = reader_of(entry, PatchConfig(markers, (16, 16), depth=5, bag_of_channels=True))
    every = reader_of(entry, PatchConfig(markers, (16, 16), depth=5))
    pairs = bag.marker_pairs(np.arange(len(bag.index)))
    cells = bag.index.tracks
    assert len(pairs) == len(cells) + (cells["well"] == "A/1").sum()
    rows, chosen = pairs[np.arange(len(pairs))]
    found, whole = bag.read(rows, chosen), every.read(rows)
    for number, marker in enumerate(chosen):
        assert torch.equal(found["patch"][number, 0], whole["patch"][number, marker])
    assert found["present"].all()
    dataset = MultiExperimentTripletDataset(bag, pairs, lambda rows, epoch: rows)
    batch = dataset.__getitems__([0, 5, len(pairs) - 1])
    assert batch["anchor"]["patch"].shape == (3, 1, 5, 16, 16)
    assert batch["positive"]["marker"].tolist() == chosen[[0, 5, len(pairs) - 1]].tolist()


@pytest.fixture
def damaged(entry, tmp_path) -> ExperimentConfig:
    """The same plate; one chunk of frame 2 is missing and one of frame 3 is damaged."""
    shutil.copytree(entry.data_path, tmp_path / "plate.zarr")
    (tmp_path / "plate.zarr/A/1/0/0/2/0/0/0/0").unlink()
    chunk = tmp_path / "plate.zarr/A/1/0/0/3/1/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-100])
    return entry.model_copy(update={"data_path": tmp_path / "plate.zarr"})


def test_what_cannot_be_read_names_plate_field_frame_and_channel(damaged):
    reader = reader_of(damaged, PatchConfig(("phase", "reporter"), (40, 40), depth=5))
    cells = reader.index.tracks.query("fov == 'A/1/0'")
    for frame, channel, reason in ((2, "Phase3D", "missing"), (3, "GFP", "damaged")):
        message = rf"plate.zarr/A/1/0: .*frame {frame} of .*A/1/0, channel {channel} .*{reason}"
        with pytest.raises(UserError, match=message):
            reader.read(cells.index[cells["t"] == frame].to_numpy())


def test_missing_chunk_is_reported_once_from_metadata_of_its_field(damaged, monkeypatch, caplog):
    reader = reader_of(damaged, PatchConfig(("phase", "reporter"), (40, 40), depth=5))
    asked, original = [], plate_of.read_position

    def counting(plate, name):
        asked.append(name)
        return original(plate, name)

    monkeypatch.setattr("dynaclr.data.pixels.unreadable.read_position", counting)
    monkeypatch.setattr(plate_of.Plate, "positions", None)
    rows = np.arange(len(reader.index))
    for _ in range(3):
        flags = np.zeros(len(rows), bool)
        reader.read(rows, unreadable=flags)
        assert flags.any()
    assert asked == ["A/1/0", "A/1/0"], "two chunks"
    assert len([line for line in caplog.messages if "cannot read frame" in line]) == 2


def test_what_is_absent_or_uneven_is_reported(entry, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    reader_of(entry, PatchConfig(("phase", "reporter"), (16, 16), depth=5))
    assert "experiment e: no reporter in wells B/1" in caplog.text
    assert "um wide" not in caplog.text
    shutil.copytree(entry.data_path, tmp_path / "plate.zarr")
    for fov in FOVS:
        path = tmp_path / "plate.zarr" / fov / ".zattrs"
        attributes = json.loads(path.read_text())
        for dataset in attributes["multiscales"][0]["datasets"]:
            dataset["coordinateTransformations"][0]["scale"][4] *= 2
        path.write_text(json.dumps(attributes))
    uneven = entry.model_copy(update={"data_path": tmp_path / "plate.zarr"})
    reader_of(uneven, PatchConfig(("phase",), (16, 16), depth=5))
    assert "pixels are 0.25 um high but 0.5 um wide; the height is used" in caplog.text


def test_skipped_pairs_are_replaced_by_the_next_that_can_be_read(damaged, caplog):
    reader = reader_of(damaged, PatchConfig(("phase", "reporter"), (40, 40), depth=5))
    rows = np.arange(len(reader.index))
    flags = np.zeros(len(rows), bool)
    reader.read(rows, unreadable=flags)
    assert 0 < flags.sum() <= 12
    assert "cannot be read" in caplog.text or "cannot read frame" in caplog.text
    dataset = MultiExperimentTripletDataset(
        reader, rows, lambda rows, epoch: (rows + 1) % len(flags), unreadable="skip"
    )
    batch = dataset.__getitems__(rows.tolist())
    unread = flags | np.roll(flags, -1)
    np.testing.assert_array_equal(batch["replaced"], unread)
    good = np.flatnonzero(~unread)
    for row in rows:
        chosen = good[good >= row][0] if (good >= row).any() else good[0]
        assert batch["anchor"]["row"][row] == chosen
        assert batch["positive"]["row"][row] == (chosen + 1) % len(flags)
    whole = reader.read(batch["anchor"]["row"].numpy())["patch"]
    assert torch.equal(batch["anchor"]["patch"], whole)
    with pytest.raises(UserError, match="none of the pixels"):
        dataset.__getitems__(np.flatnonzero(flags)[:1].tolist())


@pytest.fixture
def module(collection) -> MultiExperimentDataModule:
    patches = PatchConfig(("phase", "reporter"), (24, 24))
    made = MultiExperimentDataModule(
        collection.folder, collection.experiments, patches, batch_size=16, tau_range=(0.5, 1.0)
    )
    made.setup()
    return made


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_any_kind_read_the_same_batches(module, method):
    dataset = module._datasets["train"]
    batches = EpochBatches(module.batches("train"), dataset)
    alone = [dataset.__getitems__(drawn) for drawn in batches][:4]
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=as_is,
        num_workers=2,
        multiprocessing_context=method,
    )
    assert_same(list(itertools.islice(loader, 4)), alone)


def test_threads_read_the_same_batches(module):
    dataset = module._datasets["train"]
    drawn = list(EpochBatches(module.batches("train"), dataset))[:6]
    alone = [dataset.__getitems__(rows) for rows in drawn]
    with ThreadPoolExecutor(3) as pool:
        assert_same(list(pool.map(dataset.__getitems__, drawn)), alone)


def assert_same(batches, others) -> None:
    assert len(others) > 0
    for found, wanted in zip(batches, others, strict=True):
        for view in ("anchor", "positive"):
            for name, values in wanted[view].items():
                assert torch.equal(found[view][name], values), name


def as_is(batch):
    return batch


def test_pickled_dataset_is_small_and_reads_what_was_drawn(module):
    dataset = module._datasets["train"]
    packed = pickle.dumps(dataset)
    assert len(packed) < 20_000
    drawn = dataset.draw(np.arange(8))
    wanted, found = dataset.__getitems__(drawn), pickle.loads(packed).__getitems__(drawn)
    assert torch.equal(found["positive"]["patch"], wanted["positive"]["patch"])
    with pytest.raises(RuntimeError, match="EpochBatches"):
        pickle.loads(packed).__getitems__([0, 1])


def test_pickled_dataset_grows_by_little_with_every_field_of_view(tmp_path):
    sizes = {}
    for n in (50, 250):
        root = tmp_path / str(n)
        bare_experiment(root, n)
        entry = ExperimentConfig(
            name="e",
            data_path=root / "plate.zarr",
            tracks_path=root / "tracks",
            channels=[{"name": "GFP", "marker": "reporter"}],
            condition_wells={"mock": ["A/1"]},
            interval_minutes=30,
            start_hpi=0,
        )
        build_index(entry, root / "results/e")
        merge_indexes([root / "results/e"], root / "merged", ["e"], validation_fov_fraction=0.2)
        index = MultiExperimentIndex.from_merged(root / "merged/index.arrow")
        fovs = index.codes("fov")[1]
        table = pd.DataFrame({"level": "fov", "experiment": "e", "fov": fovs, "t": -1})
        table = table.assign(marker="reporter", median=0.0, std=1.0, focus=-1)
        patches, options = PatchConfig(("reporter",), (8, 8)), NormalizationConfig()
        reader = ObservationReader(FieldsOfView(index, index.registry), table, patches, options)
        sizes[n] = len(pickle.dumps(MultiExperimentTripletDataset(reader, np.arange(n))))
    # 10,000 fields of view are 4 MB for a spawned worker; the path of each is some of it.
    assert (sizes[250] - sizes[50]) / 200 < 300 + len(str(tmp_path))


def bare_experiment(root, n) -> None:
    """A plate without pixels, and one cell in each of its fields of view."""
    names = [str(number) for number in range(n)]
    write(root / "plate.zarr/.zattrs", {"plate": {"wells": [{"path": "A/1"}]}})
    images = [{"path": name} for name in names]
    write(root / "plate.zarr/A/1/.zattrs", {"well": {"images": images}})
    scale = [{"type": "scale", "scale": [1.0] * 5}]
    image = {
        "axes": [{"name": name} for name in "tczyx"],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
    }
    array = {"zarr_format": 2, "shape": [2, 1, 1, 16, 16], "chunks": [1, 1, 1, 16, 16]}
    array |= {"dtype": "<u2", "order": "C", "compressor": None, "fill_value": 0}
    for name in names:
        position = root / "plate.zarr/A/1" / name
        write(position / "0/.zarray", array)
        write(
            position / ".zattrs",
            {"multiscales": [image], "omero": {"channels": [{"label": "GFP"}]}},
        )
        folder = root / "tracks/A/1" / name
        folder.mkdir(parents=True)
        (folder / "tracks.csv").write_text("track_id,t,y,x,parent_track_id\n1,0,8,8,-1\n")


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_bag_of_channels_trains_on_pairs_of_one_marker(collection):
    made = MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase", "reporter"), (24, 24), bag_of_channels=True),
        batch_size=16,
        tau_range=(0.5, 1.0),
    )
    made.setup()
    wells, seen = made.index.tracks["well"].to_numpy(), set()
    for batch in made.train_dataloader():
        anchor, positive = batch["anchor"], batch["positive"]
        assert anchor["patch"].shape[1:] == (1, 1, 24, 24)
        assert torch.equal(anchor["marker"], positive["marker"])
        imaged = wells[anchor["row"].numpy()] == "A/1"
        assert (imaged | (anchor["marker"].numpy() == 0)).all()
        seen |= set(anchor["marker"].tolist())
    assert seen == {0, 1}


def without_statistics(*levels) -> pd.DataFrame:
    """Those of the experiment are others; these levels have none of phase in A/1."""
    table = statistics()
    pooled = table[(table["level"] == "fov") & (table["fov"] == "B/1/0")]
    pooled = pooled.assign(level="experiment", fov="", median=70.0, std=7.0)
    table = pd.concat([table, pooled], ignore_index=True)
    own = table["fov"].isin(["A/1/0", ""]) & (table["marker"] == "phase")
    table.loc[own & table["level"].isin(levels), ["median", "std"]] = np.nan
    return table


@pytest.mark.parametrize("level", ["frame", "fov"])
def test_statistics_of_the_experiment_serve_where_a_field_of_view_has_none(entry, caplog, level):
    table, patches = without_statistics("frame", "fov"), PatchConfig(("phase",), (16, 16), depth=5)
    reader = reader_of(entry, patches, table, level)
    read, own = reader.read(np.arange(48)), reader.index.tracks["fov"].to_numpy() == "A/1/0"
    np.testing.assert_array_equal(read["center"][:, 0], np.where(own, 70, 100))
    np.testing.assert_array_equal(read["spread"][:, 0], np.where(own, 7, 10))
    assert "e A/1/0: pixels of phase cannot be read, so it has no statistics; those of the" in (
        caplog.text
    )


def test_what_no_statistics_are_of_is_reported_or_flagged(entry):
    table = without_statistics("frame", "fov", "experiment")
    reader = reader_of(entry, PatchConfig(("phase",), (16, 16), depth=5), table)
    own, flags = reader.index.tracks["fov"].to_numpy() == "A/1/0", np.zeros(48, bool)
    reader.read(np.arange(48), unreadable=flags)
    np.testing.assert_array_equal(flags, own)
    with pytest.raises(UserError, match="frame 0 of field of view A/1/0 cannot be normalized"):
        reader.read(np.flatnonzero(own)[:3])
