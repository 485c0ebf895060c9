"""Codes of labels: by value, whatever holds them."""

import numpy as np
import pandas as pd
import pytest

from dynaclr.sampling.columns import encode, encode_numbers, encode_together

NAMES = ["b", "a", "c", "a"]


@pytest.mark.parametrize(
    "column",
    [
        NAMES,
        np.array(NAMES),
        np.array(NAMES, dtype=object),
        pd.Series(NAMES, index=[9, 8, 7, 6]),
        pd.Series(NAMES, dtype="string"),
        pd.Categorical(NAMES, categories=["c", "unused", "b", "a"]),
        pd.Series(NAMES, dtype=pd.CategoricalDtype(["c", "b", "a"])),
    ],
)
def test_labels_are_sorted_by_value(column):
    codes, labels = encode(column, "condition")
    assert labels == ["a", "b", "c"]
    assert codes.tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, bool])
def test_numbers_may_be_labels(kind):
    values = np.array([1, 0, 1]).astype(kind)
    codes, labels = encode(values, "well")
    assert codes.tolist() == [1, 0, 1]
    assert labels == [0, 1]
    assert not isinstance(labels[0], np.generic)


def test_labels_of_several_types_are_codes_too():
    codes, labels = encode(np.array(["x", 1, "x", 2.5], dtype=object), "mixed")
    assert [labels[code] for code in codes] == ["x", 1, "x", 2.5]


def test_more_labels_than_sixteen_bits():
    values = np.random.default_rng(0).permutation(70_000)
    for column in (values, pd.Series(values), values.astype(str)):
        codes, labels = encode(column, "lineage_id")
        assert len(labels) == 70_000
        assert np.all(np.array(labels)[codes] == np.asarray(column))


@pytest.mark.parametrize(
    "column",
    [
        ["a", None, "b"],
        np.array([0.0, np.nan, 1.0]),
        np.array(["a", pd.NA, "b"], dtype=object),
        pd.Series(["a", pd.NA, "b"], dtype="string"),
        pd.Categorical(["a", None, "b"]),
        pd.Series([1, None, 2], dtype="Int64"),
    ],
)
def test_missing_values_are_errors(column):
    with pytest.raises(ValueError, match=r"'well' has 1 missing value\(s\), the first in row 1"):
        encode(column, "well")


def test_several_columns_make_tuples():
    table = {"a": [1, 0, 1, 0], "b": ["y", "x", "x", "x"], "c": [5, 5, 5, 5]}
    codes, labels = encode_together(table, ("a", "b", "c"), 4, "stratify_by")
    assert labels == [(0, "x", 5), (1, "x", 5), (1, "y", 5)]
    assert codes.tolist() == [2, 0, 1, 0]
    assert encode_together(table, ("a",), 4, "stratify_by")[1] == [0, 1]
    assert encode_together(table, (), 4, "stratify_by")[1] == [None]


def test_numbers_are_coded_in_ascending_order():
    codes, values = encode_numbers(pd.Series([2.5, -1.0, 2.5]), "hours")
    assert values.tolist() == [-1.0, 2.5]
    assert codes.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"'hours' holds .* not numbers"):
        encode_numbers(["late"], "hours")
