"""Data options are held against the index and the movies before either is read."""

import pytest
from tests.unit.config.conftest import write_experiment

from dynaclr.config import CollectionConfig, ExperimentConfig, UserError
from dynaclr.data.loading.checks import check_collection

PATCHES = {"markers": ["phase"], "size": [16, 16]}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "labels.csv").write_text("fov,track_id,cell_state\nA/1/0,1,dead\n")
    contents = [write_experiment(folder, name) for name in ("one", "two")]
    contents[0]["annotations"] = "labels.csv"
    context = {"base": folder}
    found = [ExperimentConfig.model_validate(content, context=context) for content in contents]
    return {entry.name: entry for entry in found}


def check(entries, **options):
    split = options.pop("split", {"validation": ["two"]})
    data = {"patches": PATCHES, "tau_range": [0.5, 1.0]} | options
    check_collection(data, CollectionConfig(train=["one"], **split), entries, "training")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"positives": ["condition", "cell_state"], "carry": ["cell_state", "hours"]},
        {"sampling": {"stratify_by": ["cell_state", "split"], "batch_group_by": None}},
        {"sampling": {"stratify_by": "marker"}, "patches": PATCHES | {"bag_of_channels": True}},
        {"query": "cell_state != 'dead' and split == 'train'"},
        {"split": {"validation_fov_fraction": 0.5}},
        {"sampling": {"batch_group_by": "condition", "group_weights": {"mock": 1.0}}},
        {"tau_range": [0.5, 500]},
        {"tau_range": [-1, -0.5]},
        {"patches": PATCHES | {"size": [64, 64], "reference_pixel_size_um": 0.25}},
    ],
)
def test_options_that_fit(entries, options):
    check(entries, **options)


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"carry": ["cell_stat"]}, ["data.carry: .* no column 'cell_stat'. Did you mean 'cell_s"]),
        ({"positives": ["donor"]}, ["data.positives: the index will have no column 'donor'"]),
        ({"sampling": {"stratify_by": ["condition", "donor"]}}, ["stratify_by: .* 'donor'"]),
        ({"sampling": {"batch_group_by": "marker"}}, ["batch_group_by: .* no column 'marker'"]),
        ({"query": "donor == 1", "carry": ["age"]}, ["carry: .*'age'", "query: .* column 'donor'"]),
        (
            {"sampling": {"batch_group_by": "condition", "group_weights": {"mok": 1.0}}},
            ["data.sampling.group_weights: condition will never be 'mok'. Did you mean 'mock'"],
        ),
        ({"query": "condition == 'mok'"}, ["data.query: .* no well of one, two fulfils it"]),
        ({"tau_range": [2, 3]}, ["one: data.tau_range .* 4 frames away, but its movies have 3"]),
        ({"patches": PATCHES | {"size": [16, 33]}}, ["two: .* 32 x 32 pixels .* 16 x 33"]),
        (
            {"patches": PATCHES | {"reference_pixel_size_um": 1.1}},
            ["one: field of view A/1/0: .* smaller than a patch of 35 x 35"],
        ),
        ({"patches": PATCHES | {"depth": 2}}, ["stacks have 1 planes, fewer than .*depth 2"]),
    ],
)
def test_options_that_would_end_a_later_stage(entries, options, messages):
    for message in messages:
        with pytest.raises(UserError, match=f"(?s)training: .*{message}"):
            check(entries, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exclude_fovs": ["A/1/0"]}, "validation is empty, because no experiment has two fields"),
        ({"include_wells": []}, "experiment one: uses no field of view"),
    ],
)
def test_fields_of_view_that_are_left(entries, changes, message):
    one = entries["one"].model_copy(update=changes)
    with pytest.raises(UserError, match=message):
        check(entries | {"one": one}, split={"validation_fov_fraction": 0.5})
