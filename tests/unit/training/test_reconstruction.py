"""Modules that learn by reconstruction: what they learn, from what, and what starts from them."""

import anndata as ad
import numpy as np
import pytest
import torch
from torch import nn
from toy import Logged, fit, loader

from dynaclr.config import UserError
from dynaclr.inference import embed
from dynaclr.losses import VariationalLoss
from dynaclr.losses.reconstruction import divergence
from dynaclr.models import (
    BetaVaeMonai,
    FeatureEncoder,
    FullyConvolutionalMAE,
    Unet2d,
    UNeXt2,
    Variation,
)
from dynaclr.training import (
    BetaVaeModule,
    ContrastiveModule,
    MaskedAutoencoderModule,
    TranslationModule,
    check_training,
    train,
)
from dynaclr.training.schedule import CosineSchedule
from dynaclr.training.translation import L1AndStructure

SIDE = 32


def batches(n_batches=4, n=16, seed=0):
    """Disks of any place and size; the second channel is the first, shifted and inverted."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    made = []
    for _ in range(n_batches):
        views = {}
        for view in ("anchor", "positive"):
            top, left, radius = (
                torch.rand(n, 1, 1, generator=generator) * width + start
                for width, start in ((16, 8), (16, 8), (6, 3))
            )
            disks = torch.sigmoid(radius - ((y - top) ** 2 + (x - left) ** 2).sqrt())
            disks = 4 * disks - 1
            pixels = torch.stack([disks, 0.5 - disks.roll(2, dims=2)], dim=1)
            views[view] = {"patch": pixels.unsqueeze(2), "lineage_id": torch.arange(n)}
        made.append(views)
    return made


def mae():
    torch.manual_seed(0)
    return FullyConvolutionalMAE(
        2, 2, (1, 1), (16, 32), stem_kernel_size=(1, 4, 4), in_stack_depth=1
    )


def vae():
    torch.manual_seed(0)
    return BetaVaeMonai(2, (2, SIDE, SIDE), 2, 8, (8, 16), (2, 2), norm="batch")


def unet(**options):
    torch.manual_seed(0)
    return Unet2d(num_blocks=2, num_filters=(8, 16, 16), **options)


MODULES = {
    "vae": lambda: BetaVaeModule(vae(), VariationalLoss(0.1), learning_rate=0.01),
    "mae": lambda: MaskedAutoencoderModule(mae(), learning_rate=0.01),
    "translation": lambda: TranslationModule(unet(), [0], [1], learning_rate=0.01),
}


def history_of(module, epochs=8, train=None, val=None):
    history = Logged()
    fit(module, train or batches(), val or batches(1, seed=1), epochs, callbacks=[history])
    return history.rows


@pytest.mark.parametrize("kind", MODULES)
def test_it_learns_and_its_features_do_not_collapse(kind):
    module = MODULES[kind]()
    rows = history_of(module)
    for stage in ("train", "val"):
        assert rows[-1][f"loss/{stage}"] < 0.8 * rows[0][f"loss/{stage}"]
    assert rows[-1]["effective_rank/val"] > 2, "two of place, one of size"
    patches = batches(1)[0]["anchor"]["patch"]
    features, projections = module.eval().encoder(patches)
    assert features.shape == (len(patches), module.encoder.feature_dim)
    assert projections.shape[1] == module.encoder.projection_dim


@pytest.mark.parametrize("kind", MODULES)
def test_validation_draws_the_same_in_every_epoch(kind):
    module, made, losses = MODULES[kind](), batches(1), []
    trainer = fit(module, made, epochs=0)
    for draw in (1, 2):
        torch.manual_seed(draw)
        losses.append(trainer.validate(module, loader(made), verbose=False)[0]["loss/val"])
    assert losses[0] == losses[1]


class Blind(nn.Module):
    """A network whose output does not depend on the patches, of which it hides all."""

    feature_dim, in_channels, in_stack_depth, decoding = 1, 2, 1, ()

    def forward(self, x_BCZYX, mask_ratio=None):
        if mask_ratio is None:
            latent = torch.zeros(len(x_BCZYX), 1)
            return Variation(torch.zeros_like(x_BCZYX), latent, latent, latent)
        return torch.zeros_like(x_BCZYX), x_BCZYX[:, :1, 0] < torch.inf


@pytest.mark.parametrize(
    "module",
    [BetaVaeModule(Blind()), MaskedAutoencoderModule(Blind()), MODULES["translation"]().eval()],
    ids=MODULES,
)
def test_channels_that_were_not_imaged_are_not_learnt_from(module):
    patches = batches(1)[0]["anchor"]["patch"]
    present = torch.ones(len(patches), 2, dtype=torch.bool)
    present[::2, 1] = False
    losses = []
    for filling in (0.0, 50.0):
        patches[::2, 1] = filling
        losses.append(module.monitored(patches, present)["loss"].item())
    assert losses[0] == pytest.approx(losses[1])
    assert module.monitored(patches, ~present)["loss"].item() != pytest.approx(losses[0])


def test_a_batch_in_which_nothing_can_be_compared_is_no_harm():
    present = torch.zeros(4, 2, dtype=torch.bool)
    for make in MODULES.values():
        module = make()
        values = module.monitored(batches(1)[0]["anchor"]["patch"][:4], present)
        values["loss"].backward()
        assert all(torch.isfinite(value) for value in values.values())


def test_weight_of_the_divergence_follows_its_schedule_and_costs_reconstruction():
    schedules = {"beta": CosineSchedule(0.0, 200.0, 3)}
    free = history_of(BetaVaeModule(vae(), VariationalLoss(0.0), learning_rate=0.01), 6)
    bound = history_of(BetaVaeModule(vae(), schedules=schedules, learning_rate=0.01), 6)
    assert [row["beta/train"] for row in bound][:4] == pytest.approx([0, 100, 200, 200])
    assert bound[-1]["divergence/val"] < 0.5 * free[-1]["divergence/val"]
    assert bound[-1]["squared_error/val"] > free[-1]["squared_error/val"]


def test_divergence_is_that_of_torch():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    given = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(given, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), expected.sum(1).mean())
    patches = torch.randn(5, 1, 1, 4, 4)
    loss = VariationalLoss(3.0)(patches, patches + 1, mean, log_variance)
    torch.testing.assert_close(loss, 1 + 3 * expected.sum(1).mean() / 16)
    with pytest.raises(ValueError, match="not negative"):
        VariationalLoss(-1)


def test_contrastive_learning_starts_from_a_masked_autoencoder(tmp_path):
    module = MODULES["mae"]()
    fit(module, batches(), epochs=1).save_checkpoint(tmp_path / "best.ckpt")
    encoder = FeatureEncoder(mae(), projection_dim=8)
    start = ContrastiveModule(encoder, encoder_checkpoint=tmp_path / "best.ckpt")
    patches = batches(1)[0]["anchor"]["patch"]
    with torch.no_grad():
        expected = module.eval().encoder(patches)[0]
        torch.testing.assert_close(start.eval().encoder(patches)[0], expected)
    trained = {name for name, p in start.encoder.named_parameters() if p.requires_grad}
    assert any(name.startswith("model.encoder.stages") for name in trained)
    assert not any(name.startswith(("model.decoder", "model.head")) for name in trained)
    fit(start, batches(2), epochs=1)


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_networks_start_from_weights_of_viscy(prefix, tmp_path):
    published = Unet2d(num_blocks=2, num_filters=(8, 16, 16))
    state = {f"{prefix}{name}": value for name, value in published.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "viscy.ckpt")
    module = TranslationModule(unet(), [0], [1], encoder_checkpoint=tmp_path / "viscy.ckpt")
    for name, value in published.state_dict().items():
        assert torch.equal(module.network.state_dict()[name], value), name


@pytest.mark.parametrize("depth", [1, 5])
def test_fewer_predicted_planes_are_the_middle_ones(depth):
    network = UNeXt2(backbone="convnextv2_atto", out_stack_depth=depth, head_expansion_ratio=2)
    stacks = torch.randn(2, 2, 5, SIDE, SIDE)
    seen = []

    class Seen(nn.Module):
        def forward(self, made, wanted):
            seen.append(wanted)
            return (made - wanted).abs().mean()

    module = TranslationModule(network, ["phase"], ["reporter"], ["reporter", "phase"], Seen())
    module.monitored(stacks, torch.ones(2, 2, dtype=torch.bool))
    first = (5 - depth) // 2
    assert torch.equal(seen[0], stacks[:, [0], first : first + depth])


@pytest.mark.parametrize("side", [11, 21, 40, 64, 160, 176])
def test_structure_counts_in_planes_of_any_size(side):
    torch.manual_seed(0)
    made = torch.randn(2, 1, 2, side, side)
    loss = L1AndStructure()
    assert loss(made, made).item() == pytest.approx(0, abs=1e-5)
    assert loss(made, -made) > loss(made, made + 0.1) > 0
    half = L1AndStructure(structure=0.0)
    torch.testing.assert_close(half(made, made + 1), torch.tensor(1.0))


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        MaskedAutoencoderModule(mae(), mask_ratio=1.0)
    with pytest.raises(ValueError, match="'phase' is none of markers"):
        TranslationModule(unet(), ["phase"], [0], ["a", "b"])
    with pytest.raises(ValueError, match="patches have 2 channels"):
        TranslationModule(unet(), [0], [2], ["a", "b"])
    with pytest.raises(ValueError, match="in_channels 1"):
        TranslationModule(unet(), [0, 1], [1])
    with pytest.raises(ValueError, match="from 0 to 1"):
        L1AndStructure(structure=2)
    module = TranslationModule(unet(out_channels=2), [0], [1])
    with pytest.raises(UserError, match="predicts 2 channels, but target names 1"):
        fit(module, batches(1), epochs=1)


NETWORKS = {
    "BetaVaeModule": {
        "class_path": "dynaclr.models.BetaVaeMonai",
        "init_args": {"spatial_dims": 2, "in_shape": [2, 24, 24], "out_channels": 2}
        | {"latent_size": 8, "channels": [8, 16], "strides": [2, 2]},
    },
    "MaskedAutoencoderModule": {
        "class_path": "dynaclr.models.FullyConvolutionalMAE",
        "init_args": {"in_channels": 2, "out_channels": 2, "in_stack_depth": 1}
        | {"encoder_blocks": [1, 1], "dims": [16, 32], "stem_kernel_size": [1, 4, 4]},
    },
    "TranslationModule": {
        "class_path": "dynaclr.models.Unet2d",
        "init_args": {"num_blocks": 2, "num_filters": [8, 16, 16]},
    },
}


def configuration(kind, **arguments):
    if kind == "TranslationModule":
        arguments |= {"source": ["phase"], "target": ["reporter"]}
    return {
        "model": {
            "class_path": f"dynaclr.training.{kind}",
            "init_args": {"network": NETWORKS[kind]} | arguments,
        },
        "data": {
            "patches": {"markers": ["phase", "reporter"], "size": [24, 24]},
            "tau_range": [0.5, 1.0],
            "batch_size": 16,
        },
        "trainer": {"max_epochs": 1},
    }


@pytest.mark.parametrize("kind", NETWORKS)
def test_from_configuration_to_embedding(kind, collection, tmp_path):
    content = configuration(kind)
    check_training(content, "the test")
    train(content, collection.folder, collection.experiments, 0, tmp_path / "seed0", threads=1)
    embed([tmp_path / "seed0"], collection.experiments / "one", tmp_path, untrained=True)
    stores = [ad.read_zarr(tmp_path / f"{name}/one.zarr") for name in ("seed0", "seed0-untrained")]
    for store in stores:
        assert np.isfinite(store.X).all()
        assert store.X.std(axis=0).max() > 0
        assert np.array_equal(store.X, store.obsm["X_projections"])
    assert not np.array_equal(stores[0].X, stores[1].X)


def test_a_project_may_fine_tune_the_autoencoder_that_it_trains():
    start = "results/models/mae/seed0/best.ckpt"
    tuned = configuration("MaskedAutoencoderModule")
    encoder = {"network": NETWORKS["MaskedAutoencoderModule"], "projection_dim": 8}
    tuned["model"] = {
        "encoder": {"class_path": "dynaclr.models.FeatureEncoder", "init_args": encoder},
        "encoder_checkpoint": start,
    }
    check_training(tuned, "tuned", {start: configuration("MaskedAutoencoderModule")})
    with pytest.raises(UserError, match="holds no encoder with weights like"):
        check_training(tuned, "tuned", {start: configuration("TranslationModule")})


def test_networks_that_do_not_fit_the_patches_are_named_before_any_job():
    deep = configuration("TranslationModule")
    deep["data"]["patches"]["depth"] = 3
    with pytest.raises(UserError, match=r"in_stack_depth is 1 but data.patches.depth gives 3"):
        check_training(deep, "deep")
    other = configuration("MaskedAutoencoderModule")
    other["data"]["patches"]["markers"] = ["phase"]
    with pytest.raises(UserError, match=r"in_channels is 2 but data.patches.markers gives 1"):
        check_training(other, "other")
