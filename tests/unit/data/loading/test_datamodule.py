"""Batches of a collection: composition, pixels, normalization, reproducibility."""

import errno

import numpy as np
import pytest
import torch
from iohub.ngff import open_ome_zarr
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import RunningStage

from dynaclr.config import UserError
from dynaclr.data import (
    MultiExperimentDataModule,
    NormalizationConfig,
    ObservationReader,
    PatchConfig,
    SamplingConfig,
    read_statistics,
)
from dynaclr.data.pixels.chunk_files import ChunkFiles
from dynaclr.transforms import CentreCrop, ChannelDropout, RandomGaussianNoise


def make(collection, **options) -> MultiExperimentDataModule:
    """A data module that is set up, with small patches unless options say otherwise."""
    settings = {
        "patches": PatchConfig(("phase", "reporter"), (24, 24)),
        "batch_size": 16,
        "tau_range": (0.5, 1.0),
    }
    module = MultiExperimentDataModule(
        collection.folder, collection.experiments, **(settings | options)
    )
    module.setup()
    return module


def rows_of(batches) -> list[tuple[list[int], list[int]]]:
    return [(b["anchor"]["row"].tolist(), b["positive"]["row"].tolist()) for b in batches]


def test_batches_are_of_one_experiment_and_balanced(collection):
    module = make(collection)
    experiment, _ = module.index.codes("experiment")
    condition, _ = module.index.codes("condition")
    seen = set()
    for batch in module.train_dataloader():
        rows = batch["anchor"]["row"].numpy()
        assert len(set(experiment[rows])) == 1
        assert abs(int((condition[rows] == 0).sum()) - 8) <= 1
        seen |= set(rows.tolist())
    assert set(module.index.rows("validation")).isdisjoint(seen)


def test_positive_is_the_same_cell_or_its_descendant_later(collection):
    module = make(collection)
    column = module.index.column
    hours, branch, end = column("hours"), column("branch"), column("branch_end")
    for batch in module.train_dataloader():
        anchor, positive = (batch[view]["row"].numpy() for view in ("anchor", "positive"))
        later = hours[positive] - hours[anchor]
        assert (later >= 0.5 - 1e-4).all()
        assert (later <= 1.0 + 1e-4).all()
        assert (branch[anchor] <= branch[positive]).all()
        assert (branch[positive] < end[anchor]).all()


def test_positives_of_the_same_track_leave_out_descendants(collection):
    def crossings(module):
        branch = module.index.column("branch")
        batches = list(module.train_dataloader())
        anchor, positive = (
            np.concatenate([batch[view]["row"].numpy() for batch in batches])
            for view in ("anchor", "positive")
        )
        return int((branch[anchor] != branch[positive]).sum())

    assert crossings(make(collection)) > 0
    assert crossings(make(collection, positives="track")) == 0


def test_positives_of_columns_agree_on_them_and_stay_on_their_side_of_the_split(collection):
    # All three experiments have these conditions; `three` alone validates.
    module = make(collection, positives=["condition", "t"], tau_range=(0.1, 0.2))
    condition, _ = module.index.codes("condition")
    experiment, _ = module.index.codes("experiment")
    t, others = module.index.column("t"), 0
    for split, loader in (("train", module.train_dataloader()), ("val", module.val_dataloader())):
        for batch in loader:
            anchor, positive = (batch[view]["row"].numpy() for view in ("anchor", "positive"))
            assert (condition[anchor] == condition[positive]).all()
            assert (t[anchor] == t[positive]).all()
            assert (anchor != positive).all()
            same = experiment[anchor] == experiment[positive]
            assert split == "train" or same.all()
            others += int((~same).sum())
    assert others > 0, "else the split was not needed"
    rows = set(module.index.rows("validation").tolist())
    anchors = module.index.rows("train")
    assert rows.isdisjoint(module.train_dataloader().dataset.positives(anchors, 0).tolist())


def test_what_is_unknown_agrees_with_nothing(collection):
    with pytest.raises(
        UserError, match="no train observation has a positive that agrees on organelle"
    ):
        make(collection, positives=["organelle"])


def test_negative_offsets_take_the_cell_or_its_ancestor_earlier(collection):
    module = make(collection, tau_range=(-1.0, -0.5))
    column = module.index.column
    hours, branch, end = column("hours"), column("branch"), column("branch_end")
    for batch in module.train_dataloader():
        anchor, positive = (batch[view]["row"].numpy() for view in ("anchor", "positive"))
        earlier = hours[anchor] - hours[positive]
        assert (earlier >= 0.5 - 1e-4).all()
        assert (earlier <= 1.0 + 1e-4).all()
        assert (branch[positive] <= branch[anchor]).all()
        assert (branch[anchor] < end[positive]).all()


def test_what_a_query_leaves_out_is_neither_anchor_nor_positive(collection):
    module = make(collection, query="generation == 0 and t != 3")
    generation, t = module.index.column("generation"), module.index.column("t")
    assert generation.max() > 0
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for batch in loader:
            for view in ("anchor", "positive"):
                rows = batch[view]["row"].numpy()
                assert (generation[rows] == 0).all()
                assert (t[rows] != 3).all()
    with pytest.raises(UserError, match=r"no train observation has a positive .*`data.query`"):
        make(collection, query="t < 0")


@pytest.mark.parametrize("limit", [0, 4])
def test_cells_whose_patch_would_move_too_far_are_neither_anchor_nor_positive(collection, limit):
    # 24 pixels of 0.6 um are 29 of 0.5 um: the border is wider in the finer experiment.
    patches = PatchConfig(("phase",), (24, 24), reference_pixel_size_um=0.6)
    module = make(collection, patches=patches, max_border_shift=limit)
    cells = module.index.tracks
    size = np.where(cells["experiment"] == "two", 29, 24)
    near = np.zeros(len(cells), bool)
    for axis in ("y", "x"):
        first = np.floor(cells[axis].to_numpy() + 0.5) - size // 2
        near |= (first < -limit) | (first + size > 96 + limit)
    assert 0 < near.sum() < len(cells)
    for split in ("train", "validation"):
        dataset = module._datasets[split]
        assert not near[dataset.anchors].any()
        assert not near[dataset.positives(dataset.anchors, 0)].any()


def test_pixels_are_those_of_the_plate_normalized(collection):
    module = make(collection)
    batch = next(iter(module.train_dataloader()))
    raw = {view: batch[view]["patch"].clone() for view in ("anchor", "positive")}
    module.on_after_batch_transfer(batch, 0)
    cells = module.index.tracks
    table = read_statistics(collection.experiments, ["one", "two"])
    table = table[table["level"] == "fov"].set_index(["experiment", "fov", "marker"])
    for view in ("anchor", "positive"):
        for number, row in enumerate(batch[view]["row"].tolist()):
            cell = cells.iloc[row]
            entry = module.index.registry[cell["experiment"]]
            with open_ome_zarr(entry.data_path, mode="r") as plate:
                frame = np.asarray(plate[cell["fov"]]["0"][cell["t"], :, 0])
            y, x = (
                int(np.clip(np.floor(cell[axis] + 0.5) - 12, 0, 96 - 24)) for axis in ("y", "x")
            )
            wanted = frame[:, y : y + 24, x : x + 24].astype(np.float32)
            phase = table.loc[(cell["experiment"], cell["fov"], "phase")]
            np.testing.assert_array_equal(raw[view][number, 0, 0], wanted[0])
            np.testing.assert_allclose(
                batch[view]["patch"][number, 0, 0],
                (wanted[0] - np.float32(phase["median"])) / np.float32(phase["std"]),
                rtol=1e-5,
                atol=1e-5,
            )
            if cell["well"] == "B/1":
                assert (batch[view]["patch"][number, 1] == 0).all(), "the marker is absent there"
            else:
                np.testing.assert_array_equal(raw[view][number, 1, 0], wanted[1])


def test_same_batches_for_any_number_of_workers(collection):
    alone = rows_of(make(collection).train_dataloader())
    assert rows_of(make(collection, num_workers=2).train_dataloader()) == alone


def test_a_replica_draws_and_reads_its_own_share_alone(collection, monkeypatch):
    module = make(collection, batch_size=8)
    module.trainer = Trainer(accelerator="cpu", devices=2, logger=False, enable_checkpointing=False)
    loader = module.train_dataloader()
    asked = {"positives": [], "read": []}

    def watch(owner, name):
        original = getattr(owner, name)

        def counted(rows, *more):
            asked[name].append(rows.tolist())
            return original(rows, *more)

        monkeypatch.setattr(owner, name, counted)

    watch(loader.dataset, "positives")
    watch(loader.dataset.reader, "read")
    shares = rows_of(loader)
    assert asked["positives"] == [anchors for anchors, _ in shares]
    assert asked["read"] == [anchors + positives for anchors, positives in shares]
    for step, (anchors, _) in enumerate(shares):
        whole = loader.dataset.anchors[loader.batches.global_batch(0, step)].tolist()
        assert len(anchors) == 8 < len(whole)
        assert set(anchors) <= set(whole)


def test_lightning_does_not_wrap_composed_batches_unseen(collection):
    # By default it gives every replica other rows of the batches that are shared already.
    trainer = Trainer(accelerator="cpu", devices=2, logger=False, enable_checkpointing=False)
    loader = make(collection).train_dataloader()
    prepare = trainer._data_connector._prepare_dataloader
    with pytest.raises(TypeError, match="use_distributed_sampler=False"):
        prepare(loader, shuffle=True, mode=RunningStage.TRAINING)
    trainer._accelerator_connector.use_distributed_sampler = False
    assert prepare(loader, shuffle=True, mode=RunningStage.TRAINING) is loader


def test_epochs_differ_and_validation_does_not(collection):
    module = make(collection)
    train, validation = module.train_dataloader(), module.val_dataloader()
    first = rows_of(train), rows_of(validation)
    for loader in (train, validation):
        loader.batches.set_epoch(1)
    second = rows_of(train), rows_of(validation)
    assert first[0] != second[0]
    assert first[1] == second[1]
    for loader in (train, validation):
        loader.batches.set_epoch(0)
    assert (rows_of(train), rows_of(validation)) == first


def test_physical_size_is_the_same_in_every_experiment(collection):
    patches = PatchConfig(("phase",), (20, 20), reference_pixel_size_um=0.6)
    module = make(collection, patches=patches)
    sizes = set(module.fields.patch_sizes(patches).values())
    assert sizes == {(20, 20), (24, 24)}, "0.6 um and 0.5 um a pixel"
    for batch in module.train_dataloader():
        batch = module.on_after_batch_transfer(batch, 0)
        assert batch["anchor"]["patch"].shape[1:] == (1, 1, 20, 20)


def test_augmentation_is_of_training_only_and_reproducible(collection):
    module = make(
        collection,
        extraction_size=(32, 32),
        augmentations=[RandomGaussianNoise(std=(0.5, 0.5), p=1.0), CentreCrop((24, 24))],
    )
    module.trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)

    module.trainer.training = True
    first, second = (
        module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0) for _ in range(2)
    )
    assert torch.equal(first["anchor"]["patch"], second["anchor"]["patch"])
    assert not torch.equal(first["anchor"]["patch"], first["positive"]["patch"])
    assert first["anchor"]["patch"].shape[-2:] == (24, 24)
    module.trainer.validating = True
    batch = module.on_after_batch_transfer(next(iter(module.val_dataloader())), 0)
    plain = make(collection)
    wanted = plain.on_after_batch_transfer(next(iter(plain.val_dataloader())), 0)
    assert torch.equal(batch["anchor"]["patch"], wanted["anchor"]["patch"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tau_range": (0.1, 0.2)},
            r"(?s)3 problems:.*experiment one: .*experiment three: .*experiment two: .*interval",
        ),
        ({"positives": ["conditon"]}, "data.positives: .*no column 'conditon'.*mean 'condition'"),
        ({"patches": PatchConfig(("nucleus",), (24, 24))}, "marker 'nucleus': no experiment"),
        ({"patches": PatchConfig(("phase",), (200, 24))}, "a patch needs 200 x 24"),
        ({"patches": PatchConfig(("phase",), (24, 24), depth=3)}, "has 1 z planes, 3 are asked"),
        ({"tau_range": (30.0, 40.0)}, "no train observation has a positive 30 to 40 hours later"),
    ],
)
def test_what_does_not_fit_is_reported(collection, options, message):
    with pytest.raises(UserError, match=message):
        make(collection, **options)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (SamplingConfig(stratify_by="conditon"), "conditon"),
        (SamplingConfig(group_weights={"one": 1}), "data.sampling: .*has no group 'two'"),
    ],
)
def test_sampling_that_does_not_fit_the_index_is_reported(collection, sampling, message):
    module = make(collection, sampling=sampling)
    with pytest.raises(UserError, match=message):
        module.train_dataloader()


def test_negative_weights_of_groups_are_refused(collection):
    with pytest.raises(ValueError, match=r"group_weights is .*'two': -1"):
        make(collection, sampling=SamplingConfig(group_weights={"one": 1, "two": -1}))


@pytest.mark.filterwarnings("error")
def test_one_experiment_that_validates_is_no_reason_to_warn(collection):
    module = make(collection, sampling=SamplingConfig(leaky=0.25))
    parts = {
        split: set(module.batches(split).describe(0, 0).part) for split in ("train", "validation")
    }
    assert parts == {"train": {"primary", "leaked"}, "validation": {"primary"}}


def test_weights_decide_how_many_batches_an_experiment_leads(collection):
    module = make(collection, sampling=SamplingConfig(group_weights={"one": 3, "two": 1}))
    sampler = module.train_dataloader().batches
    led = [sampler.describe(0, step).group for step in range(len(sampler))]
    assert abs(led.count("one") - 0.75 * len(led)) < 1
    assert len(module.val_dataloader()) > 0


@pytest.mark.parametrize("level", ["frame", "fov", "experiment"])
def test_normalization_levels_use_their_own_statistics(collection, level):
    module = make(collection, normalization=NormalizationConfig(level, "mean", "std"))
    anchor = next(iter(module.train_dataloader()))["anchor"]
    cells = module.index.tracks.iloc[anchor["row"].numpy()]
    table = read_statistics(collection.experiments, ["one", "two"])
    table = table[(table["level"] == level) & (table["marker"] == "phase")]
    for number, (_, cell) in enumerate(cells.iterrows()):
        rows = table[table["experiment"] == cell["experiment"]]
        if level != "experiment":
            rows = rows[rows["fov"] == cell["fov"]]
        if level == "frame":
            rows = rows[rows["t"] == cell["t"]]
        (mean,), (std,) = rows["mean"], rows["std"]
        assert anchor["center"][number, 0] == np.float32(mean)
        assert anchor["spread"][number, 0] == np.float32(std)


def test_patches_are_normalized_by_a_range_of_percentiles(collection):
    options = {"patches": PatchConfig(("phase",), (24, 24)), "num_workers": 0}
    raw = next(iter(make(collection, **options).train_dataloader()))["anchor"]
    module = make(collection, normalization=NormalizationConfig("fov", "p5", "p5_p95"), **options)
    anchor = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)["anchor"]
    cells = module.index.tracks.iloc[anchor["row"].numpy()]
    table = read_statistics(collection.experiments, ["one", "two"])
    table = table[(table["level"] == "fov") & (table["marker"] == "phase")]
    rows = (
        cells[["experiment", "fov"]]
        .astype(str)
        .merge(table.astype({"experiment": str, "fov": str}), how="left")
    )
    low, high = (
        torch.tensor(rows[name].to_numpy(np.float32))[:, None, None, None, None]
        for name in ("p5", "p95")
    )
    torch.testing.assert_close(anchor["patch"], (raw["patch"] - low) / (high - low))


def test_a_margin_for_augmentation_moves_no_training_patch(collection):
    # A cell at the border is where validation and embedding see it, not pushed out of the patch.
    plain = make(collection).train_dataloader().dataset
    with_margin = make(collection, extraction_size=(60, 60)).train_dataloader().dataset
    rows = plain.anchors
    expected = plain.reader.read(rows)["patch"]
    found = with_margin.reader.read(rows)["patch"]
    assert found.shape[-2:] == (60, 60)
    torch.testing.assert_close(found[..., 18:42, 18:42], expected, rtol=0, atol=0)


def test_batches_carry_columns_with_the_same_codes_in_both_splits(collection):
    module = make(collection, carry=["condition", "experiment", "hours", "organelle"])
    assert module.classes == {
        "condition": ["infected", "mock"],
        "experiment": ["one", "three", "two"],
        "organelle": [],
    }
    cells = module.index.tracks
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for batch in loader:
            for view in ("anchor", "positive"):
                found = cells.iloc[batch[view]["row"].numpy()]
                for name in ("condition", "experiment"):
                    values = [module.classes[name][code] for code in batch[view][name]]
                    assert values == found[name].tolist()
                assert batch[view]["hours"].tolist() == found["hours"].tolist()
                assert (batch[view]["organelle"] == -1).all(), "no entry says it"
    counts = cells["condition"].iloc[module._datasets["train"].anchors].value_counts()
    assert module.class_counts("condition").tolist() == counts[["infected", "mock"]].tolist()


def test_columns_that_cannot_be_carried_are_reported(collection):
    with pytest.raises(UserError, match=r"no column 'conditon'.*condition"):
        make(collection, carry=["conditon"])
    with pytest.raises(UserError, match=r"data.carry: batches have a 'patch' of their own"):
        make(collection, carry=["patch"])


def test_dropped_channels_leave_no_patch_empty_where_the_other_was_not_imaged(collection):
    module = make(collection, augmentations=[ChannelDropout([0, 1], p=0.9)])
    module.trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
    module.trainer.training = True
    for batch in module.train_dataloader():
        anchor = module.on_after_batch_transfer(batch, 0)["anchor"]
        kept = anchor["patch"].abs().amax((2, 3, 4)) > 0
        assert kept.any(1).all()
        assert not (kept & ~anchor["present"]).any()


def test_pairs_that_cannot_be_read_are_counted_and_reported_at_the_end(
    collection, monkeypatch, caplog
):
    module, original = make(collection, unreadable="skip"), ChunkFiles.open

    def lossy(self, array, layout, index):
        if index[0] == 2:
            raise FileNotFoundError(errno.ENOENT, "No such file", str(index))
        return original(self, array, layout, index)

    monkeypatch.setattr(ChunkFiles, "open", lossy)
    t, replaced = module.index.column("t"), 0
    for batch in module.train_dataloader():
        batch = module.on_before_batch_transfer(batch, 0)
        replaced += int(batch["replaced"].sum())
        for view in ("anchor", "positive"):
            assert (t[batch[view]["row"].numpy()] != 2).all()
    assert module.replaced == replaced > 0
    caplog.clear()
    module.teardown("fit")
    assert f"{replaced} pairs could not be read and were replaced" in caplog.text


@pytest.mark.parametrize(("workers", "share"), [(0, 2), (2, 1)])
def test_decoded_chunks_of_a_process_stay_within_the_limit(collection, workers, share):
    module = make(collection, cache_mb=64, num_workers=workers)
    limits = [
        module._datasets[split].reader._reader.chunks.cache_bytes
        for split in ("train", "validation")
    ]
    assert limits == [(64 << 20) // share] * 2


def test_frames_without_statistics_are_normalized_as_their_field_of_view(collection, caplog):
    module = make(collection)
    table = read_statistics(collection.experiments, ["one", "two", "three"])
    numbers = table.columns.intersection(["mean", "std", "median"])
    unreadable_rows = (table["level"] == "frame") & (table["t"] == 3)
    gone = (table["fov"] == "A/1/0") & (table["marker"] == "reporter")
    table.loc[unreadable_rows | gone, numbers] = np.nan
    reader = ObservationReader(module.fields, table, module.patches, NormalizationConfig("frame"))
    fovs = table[(table["level"] == "fov") & (table["marker"] == "phase")]
    fovs = fovs.set_index(["experiment", "fov"])["median"]
    cells = module.index.tracks
    rows = np.flatnonzero(cells["t"] == 3)
    batch = reader.read(rows)
    wanted = [fovs[cell.experiment, cell.fov] for cell in cells.iloc[rows].itertuples()]
    np.testing.assert_allclose(batch["center"][:, 0], wanted, rtol=1e-6)
    whole = reader.read(np.arange(len(cells)))
    assert all(np.isfinite(whole[name]).all() for name in ("center", "spread"))
    assert "A/1/0: pixels of reporter cannot be read, so it has no statistics" in caplog.text


def test_batches_show_which_channels_were_imaged(collection):
    module = make(collection)
    wells = module.index.tracks["well"]
    for batch in module.train_dataloader():
        for view in ("anchor", "positive"):
            imaged = (wells.iloc[batch[view]["row"].numpy()] == "A/1").tolist()
            assert batch[view]["present"].tolist() == [[True, reporter] for reporter in imaged]
            blank = (batch[view]["patch"] == 0).flatten(2).all(dim=2)
            assert torch.equal(blank, ~batch[view]["present"])
