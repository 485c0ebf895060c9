"""What an index will hold is known before it is built."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.config.conftest import write_experiment

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.config.columns import INDEX_COLUMNS
from dynaclr.index.build import index_experiment
from dynaclr.index.columns import SCHEMA
from dynaclr.io.planned_index import MovieShape, PlannedIndex, label_names, movie_shapes


@pytest.fixture
def entries(tmp_path):
    """Two experiments, one with annotations and more facts than the other."""
    (tmp_path / "labels.csv").write_text("fov,track_id,t,cell_state,\nA/1/0,1,0,dead,x\n")
    facts = {"organelle": "ER", "metadata": {"dose uM": 2, "plate": "7", "fresh": True}}
    facts |= {"annotations": "labels.csv"}
    contents = [write_experiment(tmp_path, "a") | facts, write_experiment(tmp_path, "b")]
    context = {"base": tmp_path}
    return [ExperimentConfig.model_validate(content, context=context) for content in contents]


def test_columns_and_their_types_are_those_of_the_index(entries):
    planned = PlannedIndex(entries)
    assert planned.groups("condition") == ["infected", "mock"]
    assert planned.groups("hours") is planned.groups("fov") is None
    table, _ = index_experiment(entries[0])
    assert {*planned.wells.columns} == {*table.column_names} - {"cell_state"}
    assert {*INDEX_COLUMNS} == {*SCHEMA.names} < {*planned.wells.columns}
    for name in planned.wells:
        is_text = pa.types.is_dictionary(table.schema.field(name).type)
        assert (planned.wells[name].dtype == "category") == is_text, name
    assert planned.labels == ["cell_state"]


@pytest.mark.parametrize(
    "text",
    [
        "condition == 'mock' and hours > 3",
        "`dose uM` > 1 and plate == '7' and fresh == 'true'",
        "organelle != 'unknown'",
        "cell_state == 'anything' and t > 100",
        "hours > 1000",
        "split == 'train'",
    ],
)
def test_conditions_that_some_row_may_fulfil(entries, text):
    PlannedIndex(entries).check(text, "query", "split")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conditon == 'mock'", "no column 'conditon'. Did you mean 'condition'"),
        ("condition == 'mok'", "no well of a, b fulfils it"),
        ("experiment == 'b' and organelle == 'ER'", "no well of a, b fulfils it"),
        ("well == 'A/1' and condition == 'infected'", "no well of a, b fulfils it"),
        ("hours > 'late'", "cannot be evaluated"),
        ("t + 1", "not true or false"),
        ("split == 'train'", "no column 'split'"),
    ],
)
def test_conditions_that_no_row_can_fulfil(entries, text, message):
    with pytest.raises(UserError, match=f"query: .*{message}"):
        PlannedIndex(entries).check(text, "query")


def test_labels_that_cannot_be_columns(entries, tmp_path):
    (tmp_path / "labels.csv").write_text("fov,track_id,y,condition\nA/1/0,1,2.5,mock\n")
    with pytest.raises(UserError, match=r"labels.csv: column 'condition' is a column of the index"):
        PlannedIndex(entries)


def test_labels_of_tables_that_are_there_and_of_those_yet_to_be_simulated(entries, tmp_path):
    assert label_names(entries[0], "annotations") == ["cell_state"]
    assert label_names(entries[1], "annotations") == label_names(entries[0], "truth") == []
    pq.write_table(pa.table({"fov": ["A/1/0"], "fate": [1]}), tmp_path / "labels.pq")
    changed = entries[0].model_copy(update={"truth": tmp_path / "labels.pq"})
    assert label_names(changed, "truth") == ["fate"]
    (tmp_path / "labels.pq").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"experiment a: truth: .* cannot be read"):
        label_names(changed, "truth")


def test_shapes_of_movies_that_are_used(entries):
    shape = MovieShape(frames=3, planes=1, height=32, width=32, pixel_size_um=0.5)
    assert movie_shapes(entries[0]) == {"A/1/0": shape, "B/1/0": shape}
    less = entries[0].model_copy(update={"exclude_fovs": ["A/1/0"], "pixel_size_um": 0.3})
    assert movie_shapes(less) == {"B/1/0": shape._replace(pixel_size_um=0.3)}
