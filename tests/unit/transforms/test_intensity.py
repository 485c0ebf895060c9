"""Intensity transforms against the formulas of their docstrings."""

import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from dynaclr.transforms import (
    RandomGamma,
    RandomGaussianNoise,
    RandomGaussianSmooth,
    RandomIntensityScale,
    RandomIntensityShift,
    RandomMask,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def patches(batch=4, channels=2, seed=9, width=12):
    return torch.randn(batch, channels, 3, 10, width, generator=seeded(seed))


def test_gamma_bends_between_own_minimum_and_maximum():
    x = patches(3)
    result = RandomGamma((2.0, 2.0), p=1.0)(x, seeded())
    for b in range(3):
        for c in range(2):
            low, high = x[b, c].min(), x[b, c].max()
            expected = low + ((x[b, c] - low) / (high - low)) ** 2 * (high - low)
            torch.testing.assert_close(result[b, c], expected)


def test_gamma_leaves_constant_channels():
    x = torch.full((2, 1, 1, 4, 4), -3.0)
    assert torch.equal(RandomGamma(p=1.0)(x, seeded()), x)


def test_scale_and_shift_fill_their_ranges():
    ones = torch.ones(4000, 1, 1, 1, 1)
    factor = RandomIntensityScale((0.5, 2.0), p=1.0)(ones, seeded()).flatten()
    offset = RandomIntensityShift(0.25, p=1.0)(0 * ones, seeded()).flatten()
    for drawn, low, high in ((factor, 0.5, 2.0), (offset, -0.25, 0.25)):
        assert low <= drawn.min()
        assert drawn.max() <= high
        torch.testing.assert_close(
            drawn.quantile(torch.tensor([0.0, 0.5, 1.0])),
            torch.tensor([low, (low + high) / 2, high]),
            rtol=0,
            atol=0.05 * (high - low),
        )


def test_one_factor_for_all_voxels_of_a_channel():
    x = patches()
    factor = RandomIntensityScale(0.5, p=1.0)(x, seeded()) / x
    torch.testing.assert_close(factor, factor[:, :, :1, :1, :1].expand_as(x))
    assert (factor[:, 0] != factor[:, 1]).all()
    shared = RandomIntensityScale(0.5, p=1.0, per_channel=False)(x, seeded()) / x
    torch.testing.assert_close(shared[:, 0], shared[:, 1])


def test_noise_is_normal_and_fresh_in_every_voxel_of_every_sample():
    zeros = torch.zeros(6, 2, 5, 40, 40)
    noise = RandomGaussianNoise(0.5, p=1.0)(zeros, seeded())
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.5, rel=0.01)
    assert (noise.abs() < 0.5).float().mean().item() == pytest.approx(0.6827, abs=0.01)
    correlation = torch.corrcoef(noise.reshape(12 * 5, -1)) - torch.eye(60)
    assert correlation.abs().max() < 0.12


def test_noise_strength_differs_between_samples():
    zeros = torch.zeros(500, 1, 1, 30, 30)
    std = RandomGaussianNoise((0.1, 0.3), p=1.0)(zeros, seeded()).std((1, 2, 3, 4))
    assert std.mean().item() == pytest.approx(0.2, abs=0.01)
    assert std.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.1)


@pytest.mark.parametrize("width", [10, 12])
def test_smoothing_is_a_gaussian_filter(width):
    x = patches(2, width=width).double()
    result = RandomGaussianSmooth(sigma=1.3, sigma_z=0.6, p=1.0)(x, seeded())
    # Scaling weights to sum 1 inside the patch: filter the patch and a patch of ones, with zeros
    # around both, and divide.
    filtered, ones = x.numpy(), torch.ones_like(x).numpy()
    for axis, sigma in ((4, 1.3), (3, 1.3), (2, 0.6)):
        filtered, ones = (
            gaussian_filter1d(values, sigma, axis=axis, mode="constant", truncate=12)
            for values in (filtered, ones)
        )
    torch.testing.assert_close(result, torch.from_numpy(filtered / ones), rtol=1e-6, atol=1e-6)


def test_smoothing_keeps_constants_and_zero_width_keeps_everything():
    constant = torch.full((3, 1, 2, 8, 8), 4.0)
    smooth = RandomGaussianSmooth((0.0, 3.0), (0.0, 2.0), p=1.0)
    torch.testing.assert_close(smooth(constant, seeded()), constant)
    x = patches()
    torch.testing.assert_close(RandomGaussianSmooth(0.0, p=1.0)(x, seeded()), x)


def test_smoothing_keeps_planes_apart_unless_asked():
    x = torch.zeros(1, 1, 3, 9, 9)
    x[:, :, 1, 4, 4] = 1
    apart = RandomGaussianSmooth(1.0, p=1.0)(x, seeded())
    assert apart[:, :, [0, 2]].eq(0).all()
    assert RandomGaussianSmooth(1.0, 1.0, p=1.0)(x, seeded())[:, :, [0, 2]].gt(0).any()


@pytest.mark.parametrize("per_channel", [True, False])
def test_mask_covers_whole_blocks_with_the_fraction_asked_for(per_channel):
    ones = torch.ones(200, 2, 3, 10, 12)
    mask = RandomMask((0.4, 0.4), (1, 4, 3), p=1.0, per_channel=per_channel)
    result = mask(ones, seeded())
    assert set(result.unique().tolist()) == {0.0, 1.0}
    assert result.mean().item() == pytest.approx(0.6, abs=0.02)
    blocks = result[..., :8, :].unflatten(4, (4, 3)).unflatten(3, (2, 4))
    assert (blocks.amax((4, 6)) == blocks.amin((4, 6))).all()
    assert torch.equal(result[:, 0], result[:, 1]) != per_channel


INTENSITY = [
    lambda **o: RandomGamma((2, 3), **o),
    lambda **o: RandomIntensityScale((2, 3), **o),
    lambda **o: RandomIntensityShift((2, 3), **o),
    lambda **o: RandomGaussianNoise((2, 3), **o),
    lambda **o: RandomGaussianSmooth((2, 3), **o),
    lambda **o: RandomMask((0.5, 0.6), **o),
]


@pytest.mark.parametrize("make", INTENSITY)
def test_only_the_named_channels_change(make):
    x = patches(channels=3)
    result = make(p=1.0, channels=[0, 2])(x, seeded())
    assert torch.equal(result[:, 1], x[:, 1])
    assert (result[:, [0, 2]] != x[:, [0, 2]]).any()
    with pytest.raises(ValueError, match="channels"):
        make(p=1.0, channels=[3])(x, seeded())


@pytest.mark.parametrize("make", INTENSITY)
def test_samples_and_channels_change_with_their_probability(make):
    x = patches(1, 1).expand(2000, 2, -1, -1, -1)
    changed = (make(p=0.3)(x, seeded()) != x).any(4).any(3).any(2)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert changed.all(1).float().mean().item() == pytest.approx(0.09, abs=0.03)
    together = (make(p=0.3, per_channel=False)(x, seeded()) != x).any(4).any(3).any(2)
    assert torch.equal(together[:, 0], together[:, 1])
    assert together.float().mean().item() == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RandomGamma((-0.5, 1)), "gamma"),
        (lambda: RandomGamma((0, 1)), "gamma"),
        (lambda: RandomGamma(1), "gamma"),
        (lambda: RandomIntensityScale((2, 1)), "factor"),
        (lambda: RandomIntensityShift((0, 1, 2)), "offset"),
        (lambda: RandomGaussianNoise(-0.1), "std"),
        (lambda: RandomGaussianSmooth((0, float("inf"))), "sigma"),
        (lambda: RandomGaussianSmooth(1, (-1, 0)), "sigma_z"),
        (lambda: RandomMask((0, 1.5)), "fraction"),
        (lambda: RandomMask(block=(1, 0, 1)), "block"),
        (lambda: RandomGamma(channels=[]), "channels"),
        (lambda: RandomGamma(channels=[1, 1]), "channels"),
        (lambda: RandomGamma(channels=[-1]), "channels"),
    ],
)
def test_wrong_options_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
