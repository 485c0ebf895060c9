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
