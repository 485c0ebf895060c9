"""What every random transform promises, whatever it does."""

import copy
import pickle

import pytest
import torch

from dynaclr.transforms import (
    CentreCrop,
    ChannelDropout,
    Compose,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomGamma,
    RandomGaussianNoise,
    RandomGaussianSmooth,
    RandomIntensityScale,
    RandomIntensityShift,
    RandomMask,
    RandomZShift,
)

TRANSFORMS = {
    "affine": lambda p=1.0: RandomAffine(30, 0.2, 0.1, 2, p=p),
    "affine-cubic": lambda p=1.0: RandomAffine(30, 0.2, 0.1, 2, p=p, interpolation="cubic"),
    "affine-3d": lambda p=1.0: RandomAffine(30, 0.2, 0.1, 1, p=p, dimensions=3),
    "flip": lambda p=0.5: RandomFlip("ZYX", p=p),
    "z-shift": lambda p=1.0: RandomZShift(3, p=p),
    "gamma": lambda p=1.0: RandomGamma(p=p),
    "scale": lambda p=1.0: RandomIntensityScale(p=p),
    "shift": lambda p=1.0: RandomIntensityShift(p=p),
    "noise": lambda p=1.0: RandomGaussianNoise(p=p),
    "smooth": lambda p=1.0: RandomGaussianSmooth(sigma_z=(0.2, 1), p=p),
    "mask": lambda p=1.0: RandomMask((0.2, 0.6), (1, 3, 3), p=p),
    "channel-dropout": lambda p=0.5: ChannelDropout([0, 2], p=p),
    "compose": lambda p=0.5: Compose([RandomFlip(p=p), RandomIntensityScale(p=p)]),
}
CROPPING = {
    "crop": lambda: RandomCrop((3, 8, 9)),
    "affine-crop": lambda: RandomAffine(30, output_size=(3, 8, 9)),
    "affine-3d-crop": lambda: RandomAffine(30, dimensions=3, output_size=(3, 8, 9)),
    "compose-crop": lambda: Compose([RandomFlip(), CentreCrop((3, 8, 9)), RandomGamma()]),
}
every = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)
cropping = pytest.mark.parametrize("make", CROPPING.values(), ids=CROPPING)
all_of_them = pytest.mark.parametrize(
    "make", [*TRANSFORMS.values(), *CROPPING.values()], ids=[*TRANSFORMS, *CROPPING]
)


def patches(batch=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, 3, 5, 12, 14, generator=generator).to(dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@every
def test_nothing_happens_in_evaluation(make):
    x = patches()
    assert torch.equal(make().eval()(x, seeded()), x)


@cropping
def test_evaluation_sees_the_untouched_centre(make):
    x = patches()
    transform = make()
    assert transform(x, seeded()).shape == (6, 3, 3, 8, 9)
    assert torch.equal(transform.eval()(x, seeded()), x[:, :, 1:4, 2:10, 2:11])


@every
def test_probability_zero_is_the_identity(make):
    x = patches()
    assert torch.equal(make(p=0.0)(x, seeded()), x)


@all_of_them
def test_generator_decides_everything(make):
    x = patches()
    transform = make()
    state = torch.get_rng_state()
    first = transform(x, seeded(1))
    assert torch.equal(first, transform(x, seeded(1)))
    assert not torch.equal(first, transform(x, seeded(2)))
    assert torch.equal(torch.get_rng_state(), state)
    generator = seeded(1)
    assert torch.equal(first, transform(x, generator))
    assert not torch.equal(first, transform(x, generator))


@all_of_them
def test_samples_are_independent(make):
    x = patches()
    others = x.clone()
    others[1:] = others[1:] * 3 + 1
    transform = make()
    assert torch.equal(transform(x, seeded())[0], transform(others, seeded())[0])
    equal = x[:1].expand(16, -1, -1, -1, -1)
    results = transform(equal, seeded())
    assert any(not torch.equal(results[0], other) for other in results[1:])


@all_of_them
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept(make, dtype):
    x = patches(dtype=dtype)
    result = make()(x, seeded())
    assert result.dtype == dtype
    expected = make()(x.float(), seeded())
    tolerance = max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(result.float(), expected, rtol=tolerance, atol=tolerance)


@all_of_them
def test_autocast_changes_nothing(make):
    x = patches()
    expected = make()(x, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(make()(x, seeded()), expected)


@all_of_them
def test_input_is_not_changed(make):
    x = patches()
    before = x.clone()
    make()(x, seeded())
    assert torch.equal(x, before)


@all_of_them
def test_works_without_a_generator(make):
    torch.manual_seed(3)
    first = make()(patches())
    torch.manual_seed(3)
    assert torch.equal(make()(patches()), first)


@all_of_them
@pytest.mark.parametrize("training", [True, False])
def test_counts_and_missing_axes_are_errors(make, training):
    transform = make().train(training)
    with pytest.raises(TypeError, match=r"uint16.*Normalize"):
        transform(patches().abs().to(torch.uint16))
    with pytest.raises(ValueError, match=r"\(B, C, Z, Y, X\)"):
        transform(patches()[0])


@all_of_them
def test_pickles_and_copies(make):
    x = patches()
    transform = make()
    expected = transform(x, seeded())
    for other in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        assert torch.equal(other(x, seeded()), expected)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
@every
def test_no_probability_is_an_error(make, p):
    with pytest.raises(ValueError, match="p must be a probability"):
        make(p=p)


def test_compose_runs_in_order_on_one_generator():
    x = patches()
    flip, noise = RandomFlip(), RandomGaussianNoise()
    generator = seeded()
    expected = noise(flip(x, generator), generator)
    assert torch.equal(Compose([flip, noise])(x, seeded()), expected)
