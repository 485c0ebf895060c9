"""Crops, flips and Z shifts move whole voxels; each is compared with plain indexing."""

import pytest
import torch

from dynaclr.transforms import CentreCrop, RandomCrop, RandomFlip, RandomZShift


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(batch, *shape):
    """All voxels of a sample different; all samples equal."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape).float().expand(batch, *shape)


@pytest.mark.parametrize("training", [True, False])
def test_centre_crop_keeps_the_centre(training):
    x = numbered(2, 3, 5, 10, 11)
    assert torch.equal(CentreCrop((4, 3)).train(training)(x), x[..., 3:7, 4:7])
    assert torch.equal(CentreCrop((2, 10, 10)).train(training)(x), x[:, :, 1:3, :, 0:10])


def test_random_crop_takes_boxes_from_all_positions_alike():
    x = numbered(3000, 2, 4, 7, 5)
    crops = RandomCrop((3, 4, 5))(x, seeded())
    corner = crops[:, 0, 0, 0, 0].long()
    z, y = corner // 35, corner % 35 // 5
    counts = torch.zeros(2, 4).index_put_((z, y), torch.ones(3000), accumulate=True)
    assert (corner % 5 == 0).all()
    assert counts.sum() == 3000
    assert (counts - 375).abs().max() < 80
    for sample in range(20):
        i, j = z[sample], y[sample]
        assert torch.equal(crops[sample], x[sample, :, i : i + 3, j : j + 4])


@pytest.mark.parametrize("crop", [CentreCrop((9, 3)), RandomCrop((2, 3, 3))])
def test_crop_larger_than_the_patch_is_an_error(crop):
    with pytest.raises(ValueError, match="cannot crop"):
        crop(numbered(1, 1, 1, 8, 8))


@pytest.mark.parametrize("size", [(0, 4), (4,), (1, 2, 3, 4)])
@pytest.mark.parametrize("crop", [CentreCrop, RandomCrop])
def test_wrong_sizes_are_named(crop, size):
    with pytest.raises(ValueError, match="size"):
        crop(size)


def test_flips_axes_independently_with_their_probability():
    x = numbered(4000, 1, 3, 4, 5)
    result = RandomFlip("ZX", p=0.3)(x, seeded())
    one = x[0]
    counts = {}
    for z in (False, True):
        for across in (False, True):
            axes = [axis for axis, flipped in ((1, z), (3, across)) if flipped]
            counts[z, across] = (result == one.flip(axes)).all((1, 2, 3, 4)).float().mean().item()
    expected = {(False, False): 0.49, (True, False): 0.21, (False, True): 0.21, (True, True): 0.09}
    assert counts == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("axes", ["", "YY", "C"])
def test_wrong_axes_are_named(axes):
    with pytest.raises(ValueError, match="axes"):
        RandomFlip(axes)


def test_z_shift_moves_all_channels_by_whole_planes_and_repeats_the_edge():
    planes = torch.arange(5.0)[None, None, :, None, None].expand(3000, 2, 5, 3, 3)
    result = RandomZShift(2, p=1.0)(planes, seeded())
    shift = 2 - result[:, 0, 2, 0, 0].long()
    for s in range(-2, 3):
        expected = (torch.arange(5) - s).clamp(0, 4).float()
        of_shift = result[shift == s]
        assert len(of_shift) == pytest.approx(600, abs=120)
        assert (of_shift == expected[None, None, :, None, None]).all()


def test_z_shift_spares_samples_that_are_not_chosen():
    planes = torch.arange(9.0)[None, None, :, None, None].expand(3000, 1, 9, 1, 1)
    moved = (RandomZShift(1, p=0.5)(planes, seeded()) != planes).any((1, 2, 3, 4))
    assert moved.float().mean() == pytest.approx(0.5 * 2 / 3, abs=0.04)


def test_z_shift_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="max_shift"):
        RandomZShift(0)
    with pytest.raises(ValueError, match="more than one plane"):
        RandomZShift(1)(torch.zeros(1, 1, 1, 4, 4))
