"""The audit of batches counts what training really draws."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.cli.main import main
from dynaclr.config import UserError
from dynaclr.data import MultiExperimentDataModule, PatchConfig, SamplingConfig
from dynaclr.inference.batch_inspection import (
    audit_batches,
    example_pairs,
    inspect_batches,
    same_lineage_share,
)

ENRICHED = SamplingConfig(leaky=0.25, temporal_enrichment=True, temporal_window_hours=0.5)
TRAINING = """
model:
  encoder:
    class_path: dynaclr.models.SmallEncoder
    init_args: {in_channels: 2, width: 8}
  encoder_checkpoint: of_a_model_yet_to_be_trained.ckpt
data:
  patches: {markers: [phase, reporter], size: [24, 24]}
  extraction_size: [32, 32]
  augmentations:
    - class_path: dynaclr.transforms.RandomAffine
      init_args: {rotation: 180, output_size: [24, 24]}
  tau_range: [0.5, 1.0]
  batch_size: 16
"""


BAG = SamplingConfig(stratify_by=["condition", "marker"])


@pytest.fixture(
    scope="module", params=[SamplingConfig(), ENRICHED, BAG], ids=["plain", "enriched", "bag"]
)
def module(request, collection) -> MultiExperimentDataModule:
    """A data module with each way of sampling."""
    module = MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase", "reporter"), (24, 24), bag_of_channels=request.param is BAG),
        extraction_size=(32, 32),
        tau_range=(0.5, 1.0),
        sampling=request.param,
        batch_size=16,
    )
    module.setup()
    return module


def audit_of(module, epoch=0, **options):
    loader = module.train_dataloader()
    sampler = loader.batches
    return audit_batches(sampler, loader.dataset, module.index, epoch, **options)


@pytest.mark.parametrize("epoch", [0, 3])
def test_audit_reports_the_rows_that_the_loader_gives(module, epoch):
    audit = audit_of(module, epoch)
    loader, index = module.train_dataloader(), module.index
    loader.batches.set_epoch(epoch)
    hours, lineage = index.column("hours"), index.column("lineage_id")
    tracks = index.tracks
    bag = loader.dataset.pairs is not None
    batches = list(loader)
    assert len(batches) == len(audit.steps) == audit.epoch_steps
    for step, batch in enumerate(batches):
        rows, partners = (batch[view]["row"].numpy() for view in ("anchor", "positive"))
        drawn = audit.draws[audit.draws["step"] == step]
        anchors = list(rows)
        if bag:
            marker = np.array(["phase", "reporter"])[batch["anchor"]["marker"].numpy()]
            anchors = list(zip(rows, marker, strict=True))
            assert sorted(zip(drawn["row"], drawn["marker"], strict=True)) == sorted(anchors)
            assert audit.steps.iloc[step]["marker=phase"] == (marker == "phase").sum()
        assert sorted(drawn["row"]) == sorted(rows)
        offset = dict(zip(rows, hours[partners] - hours[rows], strict=True))
        assert drawn["offset_hours"].to_list() == pytest.approx([offset[r] for r in drawn["row"]])
        line = audit.steps.iloc[step]
        assert line["lineages"] == len(set(lineage[rows]))
        assert line["distinct_rows"] == len(set(anchors))
        for column in ("experiment", "condition"):
            counted = tracks[column].iloc[rows].astype(str).value_counts()
            counts = {k.split("=")[1]: line[k] for k in audit.steps if k.startswith(f"{column}=")}
            assert counts == counted.reindex(counts, fill_value=0).to_dict()
    parts = sorted(set(audit.draws["part"]))
    assert (audit.steps[parts].sum(axis=1) == audit.steps["rows"]).all()
    known = audit.available[["position", "row"]].to_numpy()
    assert known[:, 0].tolist() == list(range(len(loader.dataset)))
    np.testing.assert_array_equal(known[audit.draws["position"], 1], audit.draws["row"])


def test_audit_of_a_long_epoch_stops(module):
    audit = audit_of(module, max_steps=2)
    assert len(audit.steps) == 2 < audit.epoch_steps


def inspect(collection, out, trainer, **options):
    training = yaml.safe_load(TRAINING) | {"trainer": trainer}
    folders = (collection.folder, collection.experiments)
    return inspect_batches(training, *folders, 0, out, **options)[0]


def test_audit_shows_batches_as_the_trainer_asks_for_them(collection, tmp_path):
    alone = inspect(collection, tmp_path, {"devices": 1})
    # Two GPUs on each of two nodes, which this machine need not have.
    many = inspect(collection, tmp_path, {"accelerator": "gpu", "devices": [0, 1], "num_nodes": 2})
    assert set(alone.steps["rows"]) == {16}
    assert set(many.steps["rows"]) == {64}
    assert many.epoch_steps < alone.epoch_steps
    for limit, expected in ((3, 3), (0.5, alone.epoch_steps // 2), (1.0, alone.epoch_steps)):
        limited = inspect(collection, tmp_path, {"devices": 1, "limit_train_batches": limit})
        assert limited.epoch_steps == len(limited.steps) == expected


@pytest.mark.parametrize(
    ("trainer", "options", "message"),
    [
        ({}, {"max_steps": 0}, "max_steps 0"),
        ({}, {"epoch": -1}, "epoch is -1"),
        ({"limit_train_batches": 0.01}, {}, r"limit_train_batches is 0.01: .* none is left"),
        ({"limit_train_batches": 0}, {}, r"limit_train_batches is 0: .* none is left"),
    ],
)
def test_an_audit_of_nothing_is_refused(collection, tmp_path, trainer, options, message):
    with pytest.raises(UserError, match=message):
        inspect(collection, tmp_path, {"devices": 1} | trainer, **options)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_share_of_same_lineage_negatives_equals_counting(lineage):
    views = [(pair, line) for pair, line in enumerate(lineage) for _ in range(2)]
    negatives = [a[1] == b[1] for a, b in combinations(views, 2) if a[0] != b[0]]
    expected = np.mean(negatives) if negatives else 0.0
    assert same_lineage_share(np.array(lineage)) == pytest.approx(expected)


def test_example_pairs_are_those_of_the_audit(module):
    audit = audit_of(module)
    dataset = module.train_dataloader().dataset
    shown, patches, named = example_pairs(module, dataset, audit.draws, 0)
    assert len(shown) == 12
    markers, n_channels = None, 2
    if dataset.pairs is not None:
        markers = shown["marker"].map({"phase": 0, "reporter": 1}).to_numpy()
        n_channels = 1
        assert set(markers) == {0, 1}, "else this shows nothing"
    assert named == (("phase", "reporter") if markers is None else ())
    assert {view: x.shape for view, x in patches.items() if "augmented" not in view} == {
        "anchor": (12, n_channels, 24, 24),
        "positive": (12, n_channels, 24, 24),
    }
    read = dataset.reader.read(shown["row"].to_numpy(), markers)
    normalized = (read["patch"][:, :, 0] - read["center"][..., None, None]).numpy()
    # Absent markers have spread 1 and stay zero; elsewhere the pattern is the same.
    first = normalized[:, 0, 4:28, 4:28] / read["spread"][:, 0, None, None].numpy()
    np.testing.assert_allclose(patches["anchor"][:, 0], first, rtol=1e-4, atol=1e-4)
    imaged = read["present"].numpy()
    assert imaged[:, 0].all()
    assert n_channels == 1 or 0 < imaged[:, 1].sum() < len(imaged), "else this shows nothing"
    for view in ("anchor", "augmented anchor"):
        assert (np.isnan(patches[view]).all((-1, -2)) == ~imaged).all(), (
            "absent markers have no grey value"
        )


@pytest.mark.parametrize("bag", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_command_writes_table_and_figures(collection, tmp_path, monkeypatch, bag):
    training = TRAINING
    if bag:
        training = training.replace("in_channels: 2", "in_channels: 1")
        training = training.replace("24]}\n  ext", "24], bag_of_channels: true}\n  ext")
    (tmp_path / "training.yaml").write_text(training)
    arguments = ["--training", str(tmp_path / "training.yaml")]
    arguments += ["--collection", str(collection.folder)]
    arguments += ["--experiments", str(collection.experiments), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["dynaclr", "inspect-batches", *arguments])
    main()
    table = pd.read_csv(tmp_path / "out/batches.csv")
    assert (table["rows"] == 16).all()
    assert {"experiment=one", "experiment=two", "condition=mock"} <= set(table)
    assert "experiment=three" not in table, "it validates"
    assert ("marker=phase" in table) == bag
    for name in ("batches.png", "batch_pairs.png"):
        assert (tmp_path / "out" / name).stat().st_size > 20_000
