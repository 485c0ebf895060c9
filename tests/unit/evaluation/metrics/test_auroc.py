"""AUROC and average precision against scikit-learn, and within strata against the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from dynaclr.evaluation.metrics.auroc import auroc, average_precision, stratified_auroc


@st.composite
def binary_cases(draw):
    n = draw(st.integers(4, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positive = rng.random(n) < 0.4
    positive[:2] = True, False
    # Few distinct scores, so that ties are common.
    score = rng.integers(0, draw(st.integers(1, 20)), n) / 7.0
    weight = rng.integers(0, 4, (3, n)).astype(float)
    weight[:, :2] = 1
    return positive, score, weight


@settings(max_examples=60, deadline=None)
@given(binary_cases())
def test_rank_scores_equal_sklearn_for_every_weighting(case):
    positive, score, weight = case
    assert auroc(positive, score) == pytest.approx(metrics.roc_auc_score(positive, score))
    assert average_precision(positive, score) == pytest.approx(
        metrics.average_precision_score(positive, score)
    )
    many_auroc, many_average = (
        auroc(positive, score, weight),
        average_precision(positive, score, weight),
    )
    for row, one_auroc, one_average in zip(weight, many_auroc, many_average, strict=True):
        assert one_auroc == pytest.approx(metrics.roc_auc_score(positive, score, sample_weight=row))
        assert one_average == pytest.approx(
            metrics.average_precision_score(positive, score, sample_weight=row)
        )


@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 2), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    )
)
def test_only_pairs_of_one_stratum_count(rows):
    positive, score, strata, weight = map(np.array, zip(*rows, strict=True))
    ordered = pairs = 0.0
    for p, s, k, w in rows:
        for q, r, m, v in rows:
            if p and not q and k == m:
                pairs += w * v
                ordered += w * v * ((s > r) + 0.5 * (s == r))
    value = stratified_auroc(positive, score.astype(float), strata, weight.astype(float))
    if pairs == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(ordered / pairs)


def test_one_stratum_is_the_auroc():
    rng = np.random.default_rng(0)
    positive, score = rng.random(100) < 0.3, rng.normal(size=100)
    assert stratified_auroc(positive, score, np.zeros(100)) == auroc(positive, score)
