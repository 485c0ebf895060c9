"""Callbacks that watch a training: collapse, times, figures."""

import csv
import logging

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import Ready, ToyEncoder, batches, fit

from dynaclr.config import UserError
from dynaclr.data import MultiExperimentDataModule, PatchConfig
from dynaclr.models import SmallEncoder
from dynaclr.training import ContrastiveModule, EmbeddingFigure, StepTimes
from dynaclr.training.callbacks import MetricsHistory
from dynaclr.training.embedding_figure import principal_components
from dynaclr.training.health import CollapseWarning


class OneLine(ToyEncoder):
    """An encoder whose features all lie on one line."""

    def forward(self, x_BCZYX):
        features, projections = super().forward(x_BCZYX)
        return features[:, :1] * torch.ones(self.feature_dim), projections


class OnePoint(ToyEncoder):
    """An encoder that gives all cells the same features, but for rounding."""

    def forward(self, x_BCZYX):
        features, projections = super().forward(x_BCZYX)
        return 1 + 1e-7 * features, projections


def warnings_in(caplog) -> list[str]:
    found = [r for r in caplog.records if r.name.startswith("dynaclr")]
    return [r.getMessage() for r in found if r.levelno == logging.WARNING]


@pytest.mark.parametrize("encoder", [OneLine, OnePoint])
def test_collapse_is_reported_exactly_once_and_not_again_by_a_resumed_run(
    encoder, caplog, tmp_path
):
    with caplog.at_level(logging.INFO):
        trainer = fit(ContrastiveModule(encoder()), batches(2), epochs=3)
        (message,) = warnings_in(caplog)
        assert "epoch 1: the embedding has collapsed" in message
        assert "effective_rank/train is 1.0" in message
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        fit(ContrastiveModule(encoder()), batches(2), epochs=5, resume=tmp_path / "last.ckpt")
    assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize(
    ("state", "warned"), [({"warned": True}, True), ({"older_name": True}, True), ({}, False)]
)
def test_checkpoints_of_older_versions_say_whether_the_run_has_warned(state, warned):
    callback = CollapseWarning()
    callback.load_state_dict(state)
    assert callback.warned == warned


def test_healthy_embedding_is_not_warned_about(caplog):
    with caplog.at_level(logging.INFO):
        fit(ContrastiveModule(ToyEncoder()), batches(2), epochs=2)
    assert warnings_in(caplog) == []


class Clock:
    """Stands in for the module `time`: its time passes when a test adds to it."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dynaclr.training.health.time", clock)
    monkeypatch.setattr("dynaclr.data.loading.datamodule.time", clock)
    return clock


def logged(folder) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as stream:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    return [row for row in rows if "time/data_wait_share" in row]


def test_times_reach_loggers_but_never_the_history(clock, tmp_path):
    class Loading(Ready):
        def __getitem__(self, number):
            clock.now += 3
            return super().__getitem__(number)

    class Learning(MetricsHistory):
        def on_before_backward(self, *_):
            clock.now += 1

    history, made = Learning(), Loading(batches(4, n=32))
    trainer = fit(
        ContrastiveModule(ToyEncoder()),
        made,
        made,
        epochs=2,
        callbacks=[history],
        logger=CSVLogger(tmp_path, "", ""),
        val_check_interval=2,
    )
    rows = logged(tmp_path)
    assert [row["step"] for row in rows] == [4, 8]
    for row in rows:
        assert row["time/data_wait_share"] == 0.75
        assert row["time/seconds_per_step"] == 4
        assert row["time/samples_per_second"] == 8
    assert not any("time" in name for row in history.rows for name in row)
    assert not any("time" in name for name in trainer.callback_metrics)


def test_augmentation_is_no_wait_for_data(clock, collection, tmp_path):
    class Augmenting(torch.nn.Module):
        def forward(self, x_BCZYX, generator):
            clock.now += 2
            return x_BCZYX

    data = data_of(collection, augmentations=[Augmenting()])
    fit(of_collection(), [], data=data, epochs=1, logger=CSVLogger(tmp_path, "", ""))
    (row,) = logged(tmp_path)
    assert row["time/seconds_per_step"] == 4, "two views"
    assert row["time/data_wait_share"] == 0


def data_of(collection, **options) -> MultiExperimentDataModule:
    return MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase",), (16, 16)),
        tau_range=(0.5, 1.0),
        batch_size=32,
        **options,
    )


def of_collection() -> ContrastiveModule:
    torch.manual_seed(0)
    return ContrastiveModule(SmallEncoder(1, width=8))


def test_embedding_figure_goes_to_tensorboard_every_n_epochs(collection, tmp_path):
    logger = TensorBoardLogger(tmp_path, "", "")
    figure = EmbeddingFigure(["condition", "hours", "experiment"], every_n_epochs=2, max_cells=40)
    with_figure, without = MetricsHistory(), MetricsHistory()
    options = {"data": data_of(collection), "epochs": 4}
    trainer = fit(of_collection(), [], callbacks=[figure, with_figure], logger=logger, **options)
    events = EventAccumulator(str(tmp_path), {"images": 0}).Reload()
    images = events.Images("embedding/val")
    steps = trainer.global_step // 4
    assert [image.step for image in images] == [2 * steps, 4 * steps]
    assert images[0].encoded_image_string != images[1].encoded_image_string
    assert images[0].width > 2 * images[0].height
    options["data"] = data_of(collection)
    fit(of_collection(), [], callbacks=[without], **options)
    assert with_figure.rows == without.rows, "watching changes nothing"


def test_embedding_figure_goes_to_weights_and_biases(collection, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    fit(
        of_collection(),
        [],
        data=data_of(collection),
        epochs=1,
        callbacks=[EmbeddingFigure(["condition"], every_n_epochs=1)],
        logger=logger,
    )
    logger.experiment.finish()
    assert len(list(tmp_path.rglob("media/images/embedding/*.png"))) == 1


def test_embedding_figure_refuses_unknown_columns_and_numbers(collection):
    with pytest.raises(UserError, match=r"no column 'conditon'.*condition"):
        fit(
            of_collection(),
            [],
            data=data_of(collection),
            callbacks=[EmbeddingFigure(["conditon"])],
        )
    with pytest.raises(UserError, match=r"EmbeddingFigure: needs MultiExperimentDataModule"):
        fit(ContrastiveModule(ToyEncoder()), batches(1), callbacks=[EmbeddingFigure()])
    with pytest.raises(ValueError, match="every_n_epochs 0"):
        EmbeddingFigure(every_n_epochs=0)


def test_principal_components_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3)) @ np.diag([5.0, 2.0, 0.1]) + 7
    coordinates, shares = principal_components(features.astype(np.float32))
    values, vectors = np.linalg.eigh(np.cov(features.T))
    np.testing.assert_allclose(shares, values[::-1][:2] / values.sum(), rtol=1e-4)
    expected = np.abs((features - features.mean(0)) @ vectors[:, ::-1][:, :2])
    np.testing.assert_allclose(np.abs(coordinates), expected, rtol=1e-3, atol=1e-3)
    mirrored, _ = principal_components(features.astype(np.float32)[:, [2, 1, 0]])
    np.testing.assert_allclose(mirrored, coordinates, atol=1e-4)
    assert (principal_components(np.ones((1, 3), np.float32))[0] == 0).all()


def test_every_module_brings_its_watchers():
    kinds = {type(one).__name__ for one in ContrastiveModule(ToyEncoder()).configure_callbacks()}
    assert kinds == {"CollapseWarning", StepTimes.__name__}
