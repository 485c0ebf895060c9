import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.transforms import ChannelDropout, Compose


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dropped(transform, batch, channels, seed=0):
    """Which channels of which samples are all zero, shape (B, C)."""
    x = torch.rand(batch, channels, 2, 3, 3, generator=seeded(99)) + 1
    result = transform(x, seeded(seed))
    gone = (result == 0).all(4).all(3).all(2)
    assert torch.equal(result[~gone], x[~gone])
    return gone


def test_channels_are_dropped_independently_with_their_probability():
    gone = dropped(ChannelDropout([0, 2], p=0.3), 5000, 3).float()
    assert gone.mean(0).tolist() == pytest.approx([0.3, 0.0, 0.3], abs=0.03)
    assert (gone[:, 0] * gone[:, 2]).mean().item() == pytest.approx(0.09, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0, 1))
def test_a_channel_always_stays(seed, channels, p):
    gone = dropped(ChannelDropout(range(channels), p=p), 50, channels, seed)
    assert not gone.all(1).any()


def test_the_channel_that_stays_is_any_with_the_same_probability():
    kept = ~dropped(ChannelDropout([0, 1, 2], p=1.0), 3000, 3)
    assert (kept.sum(1) == 1).all()
    assert kept.float().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: Compose([one])])
def test_of_the_channels_that_were_imaged_one_stays(wrap):
    present = torch.rand(3000, 3, generator=seeded(1)) < 0.5
    x = (torch.rand(3000, 3, 2, 3, 3, generator=seeded(99)) + 1) * present[:, :, None, None, None]
    for p in (0.7, 1.0):
        kept = wrap(ChannelDropout([0, 1, 2], p=p))(x, seeded(), present).amax((2, 3, 4)) > 0
        assert (kept.any(1) == present.any(1)).all()
    pairs = present[:, 0] & present[:, 1] & ~present[:, 2]
    assert (kept[pairs].sum(1) == 1).all()
    assert kept[pairs, 0].float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_wrong_channels_are_named():
    for channels in ([], [-1], [0, 0]):
        with pytest.raises(ValueError, match="channels"):
            ChannelDropout(channels)
    with pytest.raises(ValueError, match="channels"):
        ChannelDropout([2])(torch.ones(1, 2, 1, 2, 2))
    with pytest.raises(ValueError, match="more than one channel"):
        ChannelDropout([0])(torch.ones(1, 1, 1, 2, 2))
