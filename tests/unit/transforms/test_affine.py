"""RandomAffine against matrices written out in the test.

Ramps, one channel for each coordinate, are resampled without error, so that the result *is* the
position each voxel was taken from.
"""

import math

import pytest
import torch

from dynaclr.transforms import CentreCrop, RandomAffine


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ramps(*lengths, batch=4):
    """Coordinates (Z, Y, X) as three channels, float64."""
    axes = [torch.arange(n, dtype=torch.float64) for n in lengths]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(batch, -1, -1, -1, -1)


def fixed(value):
    return (value, value)


def turn(degrees, i, j, n=3):
    matrix = torch.eye(n, dtype=torch.float64)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix[i, i] = matrix[j, j] = c
    matrix[j, i], matrix[i, j] = s, -s
    return matrix


def expected_positions(lengths, target, matrix, shift):
    """Where each voxel of the result comes from: the map, inverted, about the crop's centre."""
    start = torch.tensor([(n - m) // 2 for n, m in zip(lengths, target, strict=True)])
    centre = torch.tensor([(m - 1) / 2 for m in target], dtype=torch.float64)
    out = ramps(*target, batch=1)[0].movedim(0, -1)
    positions = (out - centre - shift) @ torch.linalg.inv(matrix).T + centre + start
    return positions.movedim(-1, 0)


def assert_positions(result, positions, lengths, atol=1e-4):
    """Compare where no padding was needed, which must be most of the result."""
    limit = torch.tensor(lengths)[:, None, None, None] - 1
    inside = ((positions >= 0) & (positions <= limit)).all(0)
    assert inside.float().mean() > 0.5
    for sample in result:
        torch.testing.assert_close(sample[:, inside], positions[:, inside], rtol=0, atol=atol)


# The cubic kernel of torch (a = -0.75) does not reproduce ramps exactly.
@pytest.mark.parametrize(("interpolation", "atol"), [("linear", 1e-4), ("cubic", 0.06)])
def test_two_dimensions_follow_the_definition(interpolation, atol):
    lengths, target = (3, 31, 40), (3, 16, 21)
    transform = RandomAffine(
        rotation=fixed(20),
        scale=[fixed(1.2), fixed(0.8)],
        shear=fixed(0.15),
        translation=[fixed(2.0), fixed(-1.5)],
        output_size=target[1:],
        interpolation=interpolation,
    )
    matrix = torch.eye(3, dtype=torch.float64)
    scale = torch.diag(torch.tensor([1.2, 0.8], dtype=torch.float64))
    shear = torch.tensor([[1, 0.15], [0, 1]], dtype=torch.float64)
    matrix[1:, 1:] = turn(20, 0, 1, n=2) @ shear @ scale
    shift = torch.tensor([0, 2.0, -1.5], dtype=torch.float64)
    positions = expected_positions(lengths, target, matrix, shift)
    assert_positions(transform(ramps(*lengths), seeded()), positions, lengths, atol)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 0.5, 0.5)])
def test_three_dimensions_follow_the_definition(spacing):
    lengths, target = (17, 30, 33), (8, 14, 15)
    angles = (25, -8, 6)
    transform = RandomAffine(
        rotation=[fixed(angle) for angle in angles],
        scale=[fixed(0.9), fixed(1.1), fixed(1.2)],
        shear=[fixed(0.02), fixed(-0.03), fixed(0.1)],
        translation=[fixed(0.5), fixed(1.0), fixed(-2.0)],
        dimensions=3,
        spacing=spacing,
        output_size=target,
    )
    rotation = turn(25, 1, 2) @ turn(-8, 0, 2) @ turn(6, 0, 1)
    shear = torch.tensor([[1, 0.02, -0.03], [0, 1, 0.1], [0, 0, 1]], dtype=torch.float64)
    scale = torch.diag(torch.tensor([0.9, 1.1, 1.2], dtype=torch.float64))
    unit = torch.diag(torch.tensor(spacing, dtype=torch.float64))
    matrix = torch.linalg.inv(unit) @ rotation @ shear @ scale @ unit
    shift = torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64)
    positions = expected_positions(lengths, target, matrix, shift)
    assert_positions(transform(ramps(*lengths), seeded()), positions, lengths)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_quarter_turn_is_counter_clockwise_as_displayed(dimensions):
    x = torch.randn(2, 2, 3, 9, 9, generator=seeded())
    result = RandomAffine(rotation=fixed(90), dimensions=dimensions)(x, seeded())
    torch.testing.assert_close(result, x.rot90(1, (3, 4)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("size", [(8, 9), (4, 9, 8), None])
def test_map_that_moves_nothing_is_the_centre_crop(dimensions, size):
    x = torch.randn(2, 2, 5, 12, 13, generator=seeded())
    result = RandomAffine(dimensions=dimensions, output_size=size)(x, seeded())
    expected = x if size is None else CentreCrop(size)(x)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_crop_in_the_resampling_equals_resampling_then_crop():
    x = torch.randn(4, 2, 3, 24, 26, generator=seeded())
    options = {"rotation": 90, "scale": 0.3, "shear": 0.2, "translation": 3}
    whole = CentreCrop((10, 12))(RandomAffine(**options)(x, seeded(3)))
    at_once = RandomAffine(**options, output_size=(10, 12))(x, seeded(3))
    torch.testing.assert_close(at_once, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_mirrored_samples_are_flipped_along_x_and_no_other(dimensions):
    x = torch.randn(64, 2, 3, 9, 9, generator=seeded())
    result = RandomAffine(mirror=0.5, dimensions=dimensions)(x, seeded())
    flipped = torch.tensor(
        [bool(torch.allclose(a, b.flip(-1), atol=1e-5)) for a, b in zip(result, x, strict=True)]
    )
    assert 16 < flipped.sum() < 48
    torch.testing.assert_close(result[~flipped], x[~flipped])


def test_samples_that_are_not_chosen_are_cropped_exactly():
    x = torch.randn(400, 1, 1, 9, 9, generator=seeded())
    result = RandomAffine((10, 20), p=0.3, output_size=(5, 5))(x, seeded())
    untouched = (result == CentreCrop((5, 5))(x)).all((1, 2, 3, 4))
    assert untouched.float().mean() == pytest.approx(0.7, abs=0.07)


def maps(transform, batch=4000):
    inverse, shift = transform.draw_maps(torch.zeros(batch, 1, 4, 4, 4), seeded())
    return torch.linalg.inv(inverse), shift


def test_parameters_fill_their_ranges():
    matrix, shift = maps(RandomAffine(rotation=(-30, 60)))
    angle = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert -30 <= angle.min() < -29
    assert 59 < angle.max() <= 60
    assert angle.mean() == pytest.approx(15, abs=2)
    assert (shift == 0).all()
    matrix, shift = maps(RandomAffine(scale=(0.5, 2), translation=[(0, 1), (5, 6)]))
    assert torch.equal(matrix[:, 0, 0], matrix[:, 1, 1])
    assert matrix[:, 0, 0].mean() == pytest.approx(1.25, abs=0.03)
    assert shift.mean(0).tolist() == pytest.approx([0.5, 5.5], abs=0.03)


def test_axes_draw_their_own_scale_when_each_has_a_range():
    matrix, _ = maps(RandomAffine(scale=[(0.8, 1.2), (0.8, 1.2)]))
    correlation = torch.corrcoef(torch.stack((matrix[:, 0, 0], matrix[:, 1, 1])))[0, 1]
    assert abs(correlation) < 0.06


def test_one_rotation_in_three_dimensions_is_about_z():
    matrix, _ = maps(RandomAffine(rotation=180, dimensions=3, spacing=(3, 1, 1)))
    assert torch.allclose(matrix[:, 0], torch.tensor([1.0, 0, 0]))
    assert matrix[:, 1, 1].min() < -0.99


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("padding", ["reflection", "border", "zeros"])
def test_padding_invents_no_new_values(dimensions, padding):
    x = 1 + torch.rand(8, 1, 1, 16, 16, generator=seeded())
    transform = RandomAffine(45, 0.3, translation=6, dimensions=dimensions, padding=padding)
    result = transform(x, seeded())
    assert result.isfinite().all()
    assert result.max() <= x.max() + 1e-5
    assert (result.min() < 1) == (padding == "zeros")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dimensions": 4}, "dimensions"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": 1.5}, "scale"),
        ({"rotation": (30, 10)}, "rotation"),
        ({"rotation": [(0, 1), (0, 1)]}, "rotation"),
        ({"shear": [(0, 1)] * 3}, "shear"),
        ({"translation": (1, 2, 3)}, "translation"),
        ({"output_size": (4,)}, "output_size"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"padding": "mirror"}, "padding"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"interpolation": "cubic", "dimensions": 3}, "interpolation"),
    ],
)
def test_wrong_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        RandomAffine(**options)


@pytest.mark.parametrize("training", [True, False])
def test_patches_smaller_than_the_result_are_errors(training):
    with pytest.raises(ValueError, match="cannot crop"):
        RandomAffine(output_size=(9, 4)).train(training)(torch.zeros(1, 1, 1, 8, 8))
