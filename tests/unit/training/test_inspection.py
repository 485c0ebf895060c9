"""The audit of batches counts what training really draws."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.cli.main import main
from dynaclr.data import MultiExperimentDataModule, PatchConfig, SamplingConfig
from dynaclr.training.inspection import audit_batches, example_pairs, same_lineage_share

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


@pytest.fixture(scope="module", params=[SamplingConfig(), ENRICHED], ids=["plain", "enriched"])
def module(request, collection) -> MultiExperimentDataModule:
    """A data module with each way of sampling."""
    module = MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase", "reporter"), (24, 24)),
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
def test_audit_tells_the_rows_that_the_loader_gives(module, epoch):
    audit = audit_of(module, epoch)
    loader, index = module.train_dataloader(), module.index
    loader.batches.set_epoch(epoch)
    hours, lineage = index.column("hours"), index.column("lineage_id")
    tracks = index.tracks
    batches = list(loader)
    assert len(batches) == len(audit.steps) == audit.epoch_steps
    for step, batch in enumerate(batches):
        rows, partners = (batch[view]["row"].numpy() for view in ("anchor", "positive"))
        drawn = audit.draws[audit.draws["step"] == step]
        assert sorted(drawn["row"]) == sorted(rows)
        offset = dict(zip(rows, hours[partners] - hours[rows], strict=True))
        assert drawn["offset_hours"].to_list() == pytest.approx([offset[r] for r in drawn["row"]])
        line = audit.steps.iloc[step]
        assert line["lineages"] == len(set(lineage[rows]))
        assert line["distinct_rows"] == len(set(rows))
        for column in ("experiment", "condition"):
            counted = tracks[column].iloc[rows].astype(str).value_counts()
            told = {k.split("=")[1]: line[k] for k in audit.steps if k.startswith(f"{column}=")}
            assert told == counted.reindex(told, fill_value=0).to_dict()
    parts = sorted(set(audit.draws["part"]))
    assert (audit.steps[parts].sum(axis=1) == audit.steps["rows"]).all()


def test_audit_of_a_long_epoch_stops(module):
    audit = audit_of(module, max_steps=2)
    assert len(audit.steps) == 2 < audit.epoch_steps


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_share_of_same_lineage_negatives_equals_counting(lineage):
    views = [(pair, line) for pair, line in enumerate(lineage) for _ in range(2)]
    negatives = [a[1] == b[1] for a, b in combinations(views, 2) if a[0] != b[0]]
    expected = np.mean(negatives) if negatives else 0.0
    assert same_lineage_share(np.array(lineage)) == pytest.approx(expected)


def test_example_pairs_are_the_pairs_told(module):
    audit = audit_of(module)
    dataset = module.train_dataloader().dataset
    shown, patches = example_pairs(module, dataset, audit.draws, 0)
    assert len(shown) == 12
    assert {view: x.shape for view, x in patches.items() if "augmented" not in view} == {
        "anchor": (12, 2, 24, 24),
        "positive": (12, 2, 24, 24),
    }
    reader = dataset.reader
    read = reader.read(shown["row"].to_numpy())
    normalized = (read["patch"][:, :, 0] - read["center"][..., None, None]).numpy()
    # Absent markers have spread 1 and stay zero; elsewhere the pattern is the same.
    phase = normalized[:, 0, 4:28, 4:28] / read["spread"][:, 0, None, None].numpy()
    np.testing.assert_allclose(patches["anchor"][:, 0], phase, rtol=1e-4, atol=1e-4)
    imaged = read["present"].numpy()
    assert imaged[:, 0].all()
    assert 0 < imaged[:, 1].sum() < len(imaged), "else this shows nothing"
    for view in ("anchor", "augmented anchor"):
        assert (np.isnan(patches[view]).all((-1, -2)) == ~imaged).all(), "told by no grey value"


def test_command_writes_table_and_figures(collection, tmp_path, monkeypatch):
    (tmp_path / "training.yaml").write_text(TRAINING)
    arguments = ["--training", str(tmp_path / "training.yaml")]
    arguments += ["--collection", str(collection.folder)]
    arguments += ["--experiments", str(collection.experiments), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["dynaclr", "inspect-batches", *arguments])
    main()
    table = pd.read_csv(tmp_path / "out/batches.csv")
    assert (table["rows"] == 16).all()
    assert {"experiment=one", "experiment=two", "condition=mock"} <= set(table)
    assert "experiment=three" not in table, "it validates"
    for name in ("batches.png", "batch_pairs.png"):
        assert (tmp_path / "out" / name).stat().st_size > 20_000
