import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.transforms import Normalize


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.float32])
def test_each_sample_and_channel_has_its_own_numbers(dtype):
    x = torch.arange(2 * 3 * 8).reshape(2, 3, 2, 2, 2).to(dtype)
    subtrahend = torch.tensor([[5.0, 1, 2], [3, 4, 50]])
    divisor = torch.tensor([[1.0, 2, 4], [8, 16, 32]])
    result = Normalize()(x, subtrahend, divisor)
    assert result.dtype == torch.float32
    for b in range(2):
        for c in range(3):
            expected = (x[b, c].float() - subtrahend[b, c]) / divisor[b, c]
            torch.testing.assert_close(result[b, c], expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e4), st.floats(-1e4, 1e4))
def test_own_statistics_give_mean_zero_and_deviation_one(seed, spread, level):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 2, 4, 6, 6, generator=generator, dtype=torch.float64) * spread + level
    result = Normalize()(x, x.mean((2, 3, 4)), x.std((2, 3, 4)))
    assert result.dtype == torch.float64
    torch.testing.assert_close(result.mean((2, 3, 4)), torch.zeros(3, 2, dtype=x.dtype))
    torch.testing.assert_close(result.std((2, 3, 4)), torch.ones(3, 2, dtype=x.dtype))


def test_constant_channels_become_their_difference():
    x = torch.full((1, 2, 1, 2, 2), 7.0)
    result = Normalize()(x, torch.tensor([[7.0, 5.0]]), torch.tensor([[0.0, 1e-9]]))
    assert result[0, 0].eq(0).all()
    assert result[0, 1].eq(2).all()


def test_same_in_training_and_evaluation():
    x, ones = torch.randn(2, 1, 1, 3, 3), torch.ones(2, 1)
    assert torch.equal(Normalize()(x, ones, ones), Normalize().eval()(x, ones, ones))


def test_numbers_may_be_shared_and_come_as_arrays():
    x = torch.randn(2, 3, 1, 2, 2)
    one = torch.ones(1, 1)
    torch.testing.assert_close(Normalize()(x, one, 2 * one), (x - 1) / 2)
    torch.testing.assert_close(Normalize()(x, one.numpy(), 2 * one.numpy()), (x - 1) / 2)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (3, 3), (2, 3, 1)])
def test_statistics_that_do_not_fit_are_named(shape):
    x, good = torch.randn(2, 3, 1, 2, 2), torch.ones(2, 3)
    with pytest.raises(ValueError, match="subtrahend"):
        Normalize()(x, torch.ones(shape), good)
    with pytest.raises(ValueError, match="divisor"):
        Normalize()(x, good, torch.ones(shape))


def test_wrong_axes_and_options_are_named():
    with pytest.raises(ValueError, match="axes"):
        Normalize()(torch.ones(2, 3), torch.ones(1, 1), torch.ones(1, 1))
    with pytest.raises(ValueError, match="smallest_divisor"):
        Normalize(0)
