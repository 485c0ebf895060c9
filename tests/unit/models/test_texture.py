"""Features of texture and shape: what they depend on, and what they do not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.models import IntensityFeatures, PixelComponents, TextureFeatures

MODULE = TextureFeatures()
NAMES = MODULE.feature_names(["phase"])


def features_of(x_NYX):
    """Features by name, each (N,), of single planes of one channel."""
    values, _ = MODULE(x_NYX[:, None, None].float())
    return dict(zip((name.partition(":")[0] for name in NAMES), values.T, strict=True))


def numbers_of(x_1YX):
    """Features by name of a single plane."""
    return {name: float(values[0]) for name, values in features_of(x_1YX).items()}


def noise(seed, n=3, height=25, width=25):
    """Whole 32nds from -8 to 8: sums of a few of them are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-256, 257, (n, height, width), generator=generator) / 32


def disk(radius_y, radius_x=None, size=41, centre=(20, 20)):
    y, x = np.mgrid[:size, :size] - np.array(centre)[:, None, None]
    inside = (y / radius_y) ** 2 + (x / (radius_x or radius_y)) ** 2 <= 1
    return torch.from_numpy(inside)[None].float()


def test_names_are_distinct_and_say_feature_and_marker():
    names = MODULE.feature_names(["phase", "reporter"])
    features, projections = MODULE(torch.randn(2, 2, 1, 20, 24))
    assert features.shape == (2, len(names))
    assert projections is features
    assert len(set(names)) == len(names)
    assert {"intensity_mean:phase", "intensity_p05:reporter", "lbp1_03:phase"} <= {*names}
    # In a bag of channels a row has a marker; its only channel has none.
    assert MODULE.feature_names([]) == [name.partition(":")[0] for name in NAMES]
    assert IntensityFeatures().feature_names(["a"]) == [
        *("intensity_mean:a", "intensity_std:a", "intensity_p01:a", "intensity_p05:a"),
        *("intensity_p25:a", "intensity_p50:a", "intensity_p75:a", "intensity_p95:a"),
        "intensity_p99:a",
    ]
    fitted = PixelComponents(torch.zeros(4), torch.eye(4)[:2])
    assert fitted.feature_names(["phase", "reporter"]) == ["pixels_00", "pixels_01"]


def test_features_are_in_the_order_of_channels():
    x_BCZYX = torch.randn(3, 2, 2, 20, 20)
    both = MODULE(x_BCZYX)[0]
    apart = torch.cat([MODULE(x_BCZYX[:, [c]])[0] for c in (0, 1)], dim=1)
    torch.testing.assert_close(both, apart)


def test_what_is_taken_at_once_changes_nothing(monkeypatch):
    x_BCZYX = torch.randn(5, 2, 1, 20, 20)
    whole = MODULE(x_BCZYX)[0]
    monkeypatch.setattr("dynaclr.models.texture._PIXELS_AT_ONCE", 1000)
    torch.testing.assert_close(MODULE(x_BCZYX)[0], whole)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), quarter_turns=st.integers(0, 3), mirrored=st.booleans())
def test_the_side_from_which_a_patch_is_seen_changes_nothing(seed, quarter_turns, mirrored):
    x_NYX = noise(seed)
    turned = torch.rot90(x_NYX.flip(1) if mirrored else x_NYX, quarter_turns, (1, 2))
    features, of_turned = features_of(x_NYX), features_of(turned)
    for name, values in features.items():
        torch.testing.assert_close(of_turned[name], values, rtol=1e-3, atol=1e-3, msg=name)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), shift=st.integers(-64, 64))
def test_an_offset_changes_intensity_alone(seed, shift):
    x_NYX = noise(seed)
    features, of_shifted = features_of(x_NYX), features_of(x_NYX + shift)
    for name, values in features.items():
        is_level = name.startswith("intensity") and name != "intensity_std"
        torch.testing.assert_close(
            of_shifted[name], values + shift * is_level, rtol=1e-3, atol=2e-3, msg=name
        )


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), power=st.integers(-2, 3))
def test_a_gain_multiplies_levels_shifts_logarithms_and_leaves_shapes(seed, power):
    x_NYX, gain = noise(seed), 2.0**power
    features, of_scaled = features_of(x_NYX), features_of(x_NYX * gain)
    logarithms = ("contrast", "gradient", "laplacian", "ring_std", "object_std", "object_contrast")
    for name, values in features.items():
        expected = values
        if name.startswith(("intensity", "ring_mean")):
            expected = values * gain
        elif name.startswith(logarithms):
            expected = values + power * np.log(2)
        torch.testing.assert_close(of_scaled[name], expected, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("level", [0.0, -3.5, 1e4])
@pytest.mark.parametrize("shape", [(8, 8), (20, 33)])
def test_an_even_patch_has_finite_features_and_no_object(level, shape):
    features = features_of(torch.full((2, *shape), level))
    for name, values in features.items():
        assert torch.isfinite(values).all(), name
    assert features["bright_area"].tolist() == [0, 0]
    assert features["object_area"].tolist() == [0, 0]
    assert features["lbp1_00"].tolist() == [1, 1]


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 999),
    height=st.integers(8, 30),
    width=st.integers(8, 30),
    spike=st.sampled_from([0.0, 1.0, 1e6]),
)
def test_features_are_finite(seed, height, width, spike):
    x_NYX = noise(seed, 2, height, width)
    x_NYX[0, 0, 0] += spike
    assert all(torch.isfinite(values).all() for values in features_of(x_NYX).values())


def test_area_axes_and_contrast_are_those_of_the_object_in_the_middle():
    other = disk(4, centre=(5, 36))
    found = numbers_of(2.0 + 3 * disk(12, 6) + 3 * other)
    area = float(disk(12, 6).sum())
    assert found["object_area"] == pytest.approx(np.log(area))
    assert found["bright_area"] == pytest.approx((area + float(other.sum())) / 41**2)
    # The second moment of an ellipse along an axis is a quarter of that axis squared.
    assert found["object_long_axis"] == pytest.approx(np.log(6), abs=0.03)
    assert found["object_short_axis"] == pytest.approx(np.log(3), abs=0.03)
    assert found["object_eccentricity"] == pytest.approx(np.sqrt(0.75), rel=0.02)
    assert found["object_extent"] == pytest.approx(1, rel=0.02)
    assert found["object_contrast"] == pytest.approx(np.log(3))
    hollow = numbers_of(disk(12) - disk(8))
    assert hollow["object_extent"] > 1.5 > numbers_of(disk(12))["object_extent"]
    away = numbers_of(disk(5, centre=(20, 27)))
    assert away["object_distance"] > found["object_distance"]


def test_fine_and_coarse_texture_differ_where_they_should():
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(20, 40, 40, generator=generator)
    coarse = torch.nn.functional.interpolate(fine[:, None, ::8, ::8], (40, 40), mode="bilinear")
    coarse = coarse[:, 0] / coarse.std() * fine.std()
    of_fine, of_coarse = features_of(fine), features_of(coarse)
    assert (of_fine["laplacian_1"] > of_coarse["laplacian_1"] + 0.5).all()
    assert (of_fine["gradient_4"] < of_coarse["gradient_4"]).float().mean() > 0.9
    assert (of_fine["lbp1_09"] > of_coarse["lbp1_09"]).all()
