"""Rows of a task: conditions, groups, and experiments without a table."""

import pandas as pd
import pytest

from dynaclr.config import TaskConfig, UserError
from dynaclr.evaluation.tasks import group_codes, select_task


def write(path, text):
    path.write_text(text)
    return path


def test_groups_are_distinct_between_experiments(observations):
    both = pd.concat([observations, observations.assign(experiment="b")], ignore_index=True)
    lineages, fovs = group_codes(both, "lineage"), group_codes(both, "fov")
    assert len(set(lineages)) == 2 * observations["lineage_id"].nunique()
    assert len(set(fovs)) == 2 * 4
    assert not set(fovs[: len(observations)]) & set(fovs[len(observations) :])


def select(observations, tmp_path, where):
    path = write(tmp_path / "labels.csv", "fov,track_id,state\nA/1/0,1,x\nB/1/0,7,y\n")
    task = TaskConfig(name="task", label="state", where=where)
    return select_task(observations, task, {"a": {"annotations": path}})


def test_a_condition_keeps_rows(tmp_path, observations):
    rows = select(observations, tmp_path, "condition == 'infected' and 3.5 <= hours < 4.5")
    kept = observations.iloc[rows.rows]
    assert set(kept["condition"]) == {"infected"}
    assert set(kept["hours"]) == {3.5, 4.0}
    assert len(rows.labelled(["a"])) == 2
    assert len(select(observations, tmp_path, "fov in ['A/1/0', 'A/1/1'] and not t > 1").rows) == 24


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("conditon == 'infected'", r"no column 'conditon'. Did you mean 'condition'\?"),
        ("hours", "is not true or false"),
        ("condition > 3", "cannot be evaluated"),
    ],
)
def test_a_condition_that_cannot_be_used_is_reported(tmp_path, observations, where, message):
    with pytest.raises(UserError, match=message) as caught:
        select(observations, tmp_path, where)
    assert "task 'task'" in str(caught.value)


def test_an_experiment_without_the_table_is_noted_not_skipped(observations):
    task = TaskConfig(name="task", label="state", source="truth")
    rows = select_task(observations, task, {"a": {"annotations": None, "truth": None}})
    assert rows.notes == {"a": "experiment a has no truth"}
    assert len(rows.labelled(["a"])) == 0


def select_from(observations, tmp_path, text, **task):
    path = write(tmp_path / "labels.csv", text)
    given = {"name": "task", "label": "state", **task}
    return select_task(observations, TaskConfig(**given), {"a": {"annotations": path}})


def test_a_task_may_use_any_column_of_the_index(tmp_path, observations):
    annotated = "fov,track_id,quality\nA/1/0,1,good\nA/1/0,2,bad\n"
    rows = select_from(
        observations, tmp_path, annotated, label="condition", where="quality == 'good'"
    )
    kept = observations.iloc[rows.rows]
    assert set(kept["track_id"]) == {1}
    assert set(rows.labels) == {"mock"}
    rows = select_from(observations, tmp_path, annotated, label="condition")
    assert set(rows.labels) == {"mock", "infected"}
    assert rows.notes == {}


def test_labels_that_a_store_has_need_no_table(observations):
    appended = observations.assign(
        state=["x", None, "y", "unknown", "z"] * (len(observations) // 5)
    )
    rows = select_task(appended, TaskConfig(name="task", label="state"), {})
    assert [*rows.labels[:5]] == ["x", None, "y", None, "z"]


def test_groups_are_what_labels_are_shared_within(tmp_path, observations):
    both = pd.concat([observations, observations.assign(experiment="b")], ignore_index=True)
    well = both["fov"].str.rsplit("/", n=1).str[0]
    assert len(set(group_codes(both.assign(well=well), "well"))) == 4, "two in each experiment"
    donors = both.assign(donor=well.map({"A/1": "d1", "B/1": "d2"}))
    assert len(set(group_codes(donors, "donor"))) == 2, "the same in both"
    known = (donors["t"] == 0) & (donors["donor"] == "d1")
    partly = donors.assign(donor=donors["donor"].where(known, "unknown"))
    groups = group_codes(partly, "donor")
    assert len(set(groups[donors["donor"] == "d1"])) == 1, "a lineage follows its labelled rows"
    unlabelled = both.loc[donors["donor"] == "d2", ["experiment", "lineage_id"]]
    assert len(set(groups[donors["donor"] == "d2"])) == len(unlabelled.drop_duplicates())

    text = "fov,donor,state\nA/1/0,1,x\nA/1/1,1,x\nB/1/0,2,y\nB/1/1,2,y\n"
    rows = select_from(observations, tmp_path, text, groups="donor")
    assert len(set(rows.groups)) == 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [("donr", "groups: no column 'donr'"), ("t", "groups: column 't' splits 8 lineages")],
)
def test_groups_that_cannot_be_used_are_reported(tmp_path, observations, groups, message):
    with pytest.raises(UserError, match=message):
        select_from(observations, tmp_path, "fov,state\nA/1/0,x\n", groups=groups)
