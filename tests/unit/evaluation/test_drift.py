"""Drift: what other experiments lead to expect, and what is seen of pixels, patches and cells."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.evaluation.drift import (
    channel_values,
    distance_values,
    drift_rows,
    texture_values,
)
from dynaclr.evaluation.maps import fit_map
from dynaclr.evaluation.metrics.prediction_interval import expect


@settings(max_examples=10, deadline=None)
@given(n=st.integers(3, 12), level=st.sampled_from([0.05, 0.2]), shift=st.floats(-100, 100))
def test_a_further_value_is_outside_as_often_as_is_said(n, level, shift):
    rng = np.random.default_rng(n)
    values = shift + rng.normal(size=(3000, n + 1))
    found = [expect(one[:-1], one[-1], 0.0, level) for one in values]
    outside = [not f.low <= one[-1] <= f.high for f, one in zip(found, values, strict=True)]
    assert np.mean(outside) == pytest.approx(level, abs=0.025)
    assert outside == [f.p < level for f in found]


def test_two_values_lead_to_no_expectation():
    assert np.isnan(expect(np.array([1.0, 2.0, np.nan]), 9.0, 0.1, 0.05).p)


def statistics_of(path, level, spread, n_dead=0):
    rows = []
    for t in range(10):
        width = 0.0 if t < n_dead else spread
        rows.append(
            {"level": "frame", "marker": "phase", "t": t, "n": 100, "median": level}
            | {"p1": level - width, "p99": level + width, "std": width, "max": level + 2 * width}
        )
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_pixels_are_judged_in_doublings_and_shares_of_frames(tmp_path):
    training = {
        f"e{k}": channel_values(statistics_of(tmp_path / f"{k}.parquet", 100 + k, 10 + 0.1 * k))
        for k in range(6)
    }
    assert training["e0"]["level:phase"] == pytest.approx(np.log2(100))
    assert training["e0"]["contrast:phase"] == pytest.approx(np.log2(20))
    new = channel_values(statistics_of(tmp_path / "new.parquet", 300, 30, n_dead=3))
    assert new["dead:phase"] == 0.3
    rows = pd.DataFrame(drift_rows("new", new, training)).set_index("check")
    assert rows["verdict"].to_dict() == {
        **{"level:phase": "fail", "contrast:phase": "fail", "dead:phase": "fail"},
        "saturated:phase": "pass",
    }
    alike = drift_rows("e0", training["e0"], training)
    assert {row["verdict"] for row in alike} == {"pass"}
    few = pd.DataFrame(drift_rows("new", {"level:phase": 8.0}, {"e0": training["e0"]}))
    assert few["verdict"].tolist() == ["not judged"]


def test_cells_far_from_those_of_training_are_far_and_controls_are_judged_apart():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(400, 6))
    fitted = fit_map(reference, np.arange(400), seed=0, with_phate=False)
    control = np.arange(400) % 2 == 0
    everywhere = np.ones(400, dtype=bool)
    near = distance_values(fitted, rng.normal(size=(100, 6)), control[:100], everywhere, control)
    moved = rng.normal(size=(100, 6)) + 5.0 * control[:100, None]
    far = distance_values(fitted, moved, control[:100], everywhere, control)
    assert far["distance of controls"] > near["distance of controls"] + 1
    assert far["distance"] > near["distance"] + 0.1
    assert np.isnan(distance_values(fitted, moved, None, ~everywhere, None)["distance"])


def test_sharpness_and_size_are_medians_of_texture_features():
    names = ["laplacian_1:phase", "object_area:phase", "lbp1_00:phase"]
    features = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [2.0, np.nan, 4.0]])
    found = texture_values(features, names)
    assert found == {"sharpness:phase": 2.0, "cell size:phase": 3.0}
