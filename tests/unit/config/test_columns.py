"""Names of columns: which can be stored, and which a section uses."""

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.config.columns import (
    INDEX_COLUMNS,
    SPLIT,
    check_column_name,
    check_storable,
    columns_of_training,
    names_in,
)
from dynaclr.index.columns import SCHEMA


def test_the_index_has_the_columns_that_checks_know():
    assert tuple(SCHEMA.names) == INDEX_COLUMNS


@pytest.mark.parametrize("name", [*INDEX_COLUMNS, SPLIT])
def test_columns_of_the_index_are_taken(name):
    with pytest.raises(ValueError, match="of the index itself; rename"):
        check_column_name(name)


@pytest.mark.parametrize(
    "name", ["drug/dose uM", "/", "_index", "", ".", "..", ".zattrs", "a\nb", "a" * 300]
)
def test_names_that_anndata_cannot_store_are_refused(name):
    with pytest.raises(ValueError, match="cannot be the name of a column"):
        check_column_name(name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=40))
def test_what_is_not_refused_can_be_stored(tmp_path_factory, name):
    try:
        check_storable(name)
    except ValueError:
        return
    path = tmp_path_factory.mktemp("stores") / "store.zarr"
    obs = pd.DataFrame({name: pd.Categorical(["x", "y"])}, index=["a", "b"])
    anndata.AnnData(np.zeros((2, 1), np.float32), obs=obs).write_zarr(path)
    assert anndata.read_zarr(path).obs[name].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("condition == 'cell_state' and hours > 3", {"condition", "hours"}),
        ("`cell state` in ['a', 'b'] or not t < 2", {"cell state", "t"}),
        ("condition = 1", set()),
        ("", set()),
    ],
)
def test_names_in_an_expression(expression, names):
    assert names_in(expression) == names


def test_columns_of_a_training_are_found_wherever_it_names_them():
    training = {
        "data": {
            "positives": ["condition", "cell_state"],
            "carry": ["fate"],
            "query": "quality == 'good'",
            "sampling": {"batch_group_by": "experiment", "stratify_by": ["donor", "phase"]},
        },
        "trainer": {"callbacks": [{"class_path": "F", "init_args": {"columns": ["dose"]}}]},
    }
    found = {"condition", "cell_state", "fate", "quality", "experiment", "donor", "phase", "dose"}
    assert columns_of_training(training) == found
    assert columns_of_training({"data": {"positives": "track", "carry": None}}) == set()
