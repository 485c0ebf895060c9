"""The contrastive module's options, each by a real training on toy batches."""

from itertools import pairwise

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from toy import Logged, ToyEncoder, batches, fit

from dynaclr.config import UserError
from dynaclr.data import MultiExperimentDataModule, PatchConfig
from dynaclr.losses import CosineMarginLoss, NTXentHCL, TripletMarginLoss
from dynaclr.training import ContrastiveModule
from dynaclr.training.callbacks import MetricsHistory, StepSeed
from dynaclr.training.heads import AuxiliaryHead
from dynaclr.training.schedule import CosineSchedule


def make(seed: int = 0, **options) -> ContrastiveModule:
    torch.manual_seed(seed)
    encoder = options.pop("encoder", None) or ToyEncoder()
    return ContrastiveModule(encoder, **({"learning_rate": 0.01} | options))


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def history_of(module, epochs=5, train=None, val=None) -> list[dict]:
    history = Logged()
    fit(module, train or batches(), val, epochs, callbacks=[history])
    return history.rows


@pytest.mark.parametrize(
    "loss",
    [
        NTXentHCL(0.2, beta=0.0),
        NTXentHCL(0.2, beta=1.0),
        NTXentHCL(0.2, tau_plus=0.05),
        TripletMarginLoss(),
        CosineMarginLoss(),
    ],
    ids=["nt-xent", "hard", "debiased", "triplet", "cosine"],
)
def test_every_loss_trains_through_the_one_interface(loss):
    rows = history_of(make(loss=loss), epochs=12, val=batches(2, seed=1))
    assert rows[-1]["loss/train"] < 0.85 * rows[0]["loss/train"]
    assert rows[-1]["loss/val"] < 0.9 * rows[0]["loss/val"]
    assert rows[-1]["effective_rank/val"] > 3, "four latents"


def test_history_holds_loss_and_health_of_both_splits():
    history = MetricsHistory()
    made = batches(2)
    for batch in made:
        for view in batch.values():
            view["lineage_id"] = view["lineage_id"] // 2
    fit(make(), made, made, epochs=2, callbacks=[history])
    monitors = {"loss", "alignment", "uniformity", "effective_rank", "similarity_margin"}
    monitors |= {"hardest_margin", "same_lineage_negatives"}
    for row in history.rows:
        named = {f"{name}/{stage}" for name in monitors for stage in ("train", "val")}
        assert set(row) == named | {"epoch", "step", "learning_rate"}
        assert row["same_lineage_negatives/train"] == pytest.approx(1 / 31)
        assert -2 < row["hardest_margin/train"] < row["similarity_margin/train"] < 2


def test_temperature_and_beta_follow_the_cosine_over_epochs():
    schedules = {"temperature": CosineSchedule(0.5, 0.1, 3), "beta": CosineSchedule(0.0, 1.0)}
    rows = history_of(make(schedules=schedules), epochs=5)
    assert [row["temperature/train"] for row in rows] == pytest.approx([0.5, 0.3, 0.1, 0.1, 0.1])
    assert [row["beta/train"] for row in rows] == pytest.approx(
        [0, 0.146447, 0.5, 0.853553, 1], rel=1e-5
    )


def test_scheduled_loss_is_used_in_training_and_its_end_in_validation():
    schedules = {"temperature": CosineSchedule(5.0, 0.1)}
    # Nothing is learnt, so that only the temperature changes the loss.
    still = {"learning_rate": 0.0, "encoder": ToyEncoder(p=0.0)}
    made = batches()
    start, end = (
        history_of(make(loss=NTXentHCL(temperature), **still), epochs=1, train=made)[0]
        for temperature in (5.0, 0.1)
    )
    rows = history_of(make(schedules=schedules, **still), epochs=3, train=made, val=made)
    assert rows[0]["loss/train"] == pytest.approx(start["loss/train"], rel=1e-5)
    assert rows[2]["loss/train"] == pytest.approx(end["loss/train"], rel=1e-5)
    assert start["loss/train"] - end["loss/train"] > 1
    # Running statistics move on during training, but no temperature changes validation.
    of_val = [row["loss/val"] for row in rows]
    assert max(of_val) - min(of_val) < 0.1


def test_schedules_that_fit_no_loss_are_refused():
    with pytest.raises(ValueError, match="TripletMarginLoss has no number 'temperature'"):
        make(loss=TripletMarginLoss(), schedules={"temperature": CosineSchedule(0.5, 0.1)})
    with pytest.raises(ValueError, match="temperature must be positive"):
        make(schedules={"temperature": CosineSchedule(0.5, 0.0)})
    module = make(schedules={"beta": CosineSchedule(0.0, 1.0)})
    with pytest.raises(ValueError, match="Give `epochs`"):
        fit(module, batches(2), epochs=-1, max_steps=2)


def test_auxiliary_head_learns_a_separable_label_of_the_batch():
    heads = {"sign": AuxiliaryHead(2, weight=1.0), "half": AuxiliaryHead(2, weight=0.0)}
    rows = history_of(make(auxiliary_heads=heads), epochs=15, val=batches(2, seed=1))
    assert rows[-1]["sign_accuracy/val"] > 0.9
    assert rows[-1]["sign_loss/train"] < 0.5 * rows[0]["sign_loss/train"]
    for row in rows:
        total = row["contrastive_loss/train"] + row["sign_loss/train"]
        assert row["loss/train"] == pytest.approx(total, rel=1e-4)


def test_unknown_labels_are_not_learnt_from():
    made = batches()
    for batch in made:
        for view in batch.values():
            view["half"] = torch.where(view["half"] >= 0, view["sign"], -1)
    rows = history_of(make(auxiliary_heads={"half": AuxiliaryHead(2, 1.0)}), 15, made)
    assert rows[-1]["half_accuracy/train"] > 0.9
    for batch in made:
        for view in batch.values():
            view["half"] = torch.full_like(view["half"], -1)
    module = make(auxiliary_heads={"half": AuxiliaryHead(2, 1.0)}, weight_decay=0.0)
    before = state_of(module.auxiliary)
    plain = make(weight_decay=0.0)
    fit(module, made)
    fit(plain, made)
    for name, value in module.auxiliary.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in plain.encoder.state_dict().items():
        assert torch.equal(module.encoder.state_dict()[name], value), name


def test_labels_that_batches_do_not_carry_are_reported():
    with pytest.raises(UserError, match=r"no column 'phase'.*`data.carry`"):
        fit(make(auxiliary_heads={"phase": AuxiliaryHead(2)}), batches(1))
    with pytest.raises(ValueError, match=r"auxiliary_heads.sign .*two classes"):
        make(auxiliary_heads={"sign": AuxiliaryHead(1)})


def test_frozen_backbone_keeps_weights_statistics_and_mode():
    module = make(freeze_backbone=True)
    before = state_of(module.encoder)
    seen = []

    class Modes(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            encoder = pl_module.encoder
            seen.append((encoder.body.training, encoder.projection.training))

    trainer = fit(module, batches(), batches(1), epochs=3, callbacks=[Modes()])
    assert set(seen) == {(False, True)}, "also after validation"
    module.train()
    assert not module.encoder.body[2].training
    for name, value in module.encoder.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("body"), name
    trained = {p for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert trained == set(module.encoder.projection.parameters())
    with pytest.raises(ValueError, match="has no part `projection`"):
        make(encoder=nn.Linear(2, 2), freeze_backbone=True)


def test_weight_decay_is_kept_off_norms_and_biases():
    module = make(weight_decay=0.3, auxiliary_heads={"sign": AuxiliaryHead(2)})
    trainer = fit(module, batches(1), epochs=1)
    names = {parameter: name for name, parameter in module.named_parameters()}
    decay = {
        names[p]: g["weight_decay"] for g in trainer.optimizers[0].param_groups for p in g["params"]
    }
    assert set(decay) == set(names.values())
    norms = {"encoder.body.2.weight", "encoder.projection.1.weight"}
    for name, value in decay.items():
        assert value == (0.0 if name.endswith("bias") or name in norms else 0.3), name


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    fit(make(warmup_fraction=0.2), batches(5), epochs=4, callbacks=[Rates()])
    assert rates[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])
    assert all(a >= b for a, b in pairwise(rates[4:]))
    assert 0 < rates[-1] < 2e-4


def test_accumulated_batches_share_a_step_but_no_random_draws(collection):
    augmented, trained = [], []

    class Augmentation(nn.Module):
        def forward(self, x_BCZYX, generator):
            augmented.append(generator.initial_seed())
            return x_BCZYX

    class Draws(Callback):
        def on_before_backward(self, *_):
            trained.append(torch.initial_seed())

    data = MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase", "reporter"), (6, 6)),
        augmentations=[Augmentation()],
        tau_range=(0.5, 1.0),
        batch_size=16,
    )
    callbacks = [StepSeed(0), Draws()]
    trainer = fit(make(), [], data=data, epochs=2, accumulate_grad_batches=2, callbacks=callbacks)
    assert trainer.global_step < len(trained)
    assert len(set(trained)) == len(trained)
    assert len(set(augmented)) == len(augmented) == 2 * len(trained)


def test_encoder_starts_from_a_checkpoint(tmp_path):
    trained = make(seed=1)
    trainer = fit(trained, batches(2), epochs=1)
    trainer.save_checkpoint(tmp_path / "best.ckpt")
    torch.save(trained.encoder.state_dict(), tmp_path / "bare.pt")
    for name in ("best.ckpt", "bare.pt"):
        module = make(seed=2, encoder_checkpoint=tmp_path / name)
        for key, value in trained.encoder.state_dict().items():
            assert torch.equal(module.encoder.state_dict()[key], value), key
    with pytest.raises(ValueError, match=r"best.ckpt: holds another encoder.*size mismatch"):
        make(encoder=ToyEncoder(feature_dim=8), encoder_checkpoint=tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best.ckpt: holds no encoder with weights like 'weight'"):
        make(encoder=nn.Linear(2, 2), encoder_checkpoint=tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"none.ckpt: no such file"):
        make(encoder_checkpoint=tmp_path / "none.ckpt")
