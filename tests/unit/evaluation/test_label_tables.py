"""Labels of tables, joined to observations: classes and numbers."""

import numpy as np
import pytest

from dynaclr.config import TaskConfig, UserError
from dynaclr.evaluation.label_tables import (
    check_columns,
    class_names,
    join_labels,
    join_numbers,
)


def write(path, text):
    path.write_text(text)
    return path


def joined_from(observations, path):
    labels = {"a": {"annotations": path}}
    check_columns(TaskConfig(name="task", label="state"), observations.columns, labels)
    return join_labels(observations, ["state"], labels, "annotations", "state")


def classes_of(observations, path):
    return class_names(joined_from(observations, path).columns["state"], f"{path}: 'state'")


def test_labels_join_by_observation(tmp_path, observations):
    path = write(
        tmp_path / "labels.csv",
        "fov,track_id,t,state\nA/1/0,1,0,early\nA/1/0,1,4,late\nA/1/0,2,0,\nA/1/0,999,0,early\n",
    )
    labels = classes_of(observations, path)
    labelled = observations.assign(label=labels).dropna(subset="label")
    assert labelled[["fov", "track_id", "t", "label"]].to_numpy().tolist() == [
        ["A/1/0", 1, 0, "early"],
        ["A/1/0", 1, 4, "late"],
    ]
    joined = joined_from(observations, path)
    assert joined.notes == {"a": "1 rows of labels.csv match no observation"}
    assert set(joined.columns["state"]) == {"early", "late", "unknown"}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("fov,track_id,state\nA/1/0,1,divides\nB/1/0,7,dies\n", {"divides": 5, "dies": 5}),
        ("fov_name,track_id,state\n/A/1/0,1,divides\n/B/1/0,7,dies\n", {"divides": 5, "dies": 5}),
        ("fov,state\nA/1/0,sharp\n", {"sharp": 30}),
        ("fov,t,state\nA/1/0,1,sharp\n", {"sharp": 6}),
        ("experiment,fov,state\na,A/1/0,x\nb,A/1/0,y\n", {"x": 30}),
    ],
)
def test_labels_hold_for_what_their_key_names(tmp_path, observations, text, counts):
    path = write(tmp_path / "labels.csv", text)
    labels = classes_of(observations, path)
    assert observations.assign(label=labels).groupby("label").size().to_dict() == counts
    assert joined_from(observations, path).notes == {}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["1.0000", "0", "1"], {"0", "1"}),
        (["True", "False", "True"], {"True", "False"}),
        (["2", "x", "1.0"], {"2", "x", "1.0"}),
        (["None", "NA", "nan"], {"None", "NA", "nan"}),
        (["007", "7", "8"], {"007", "7", "8"}),
        (["1", "nan", ""], {"1"}),
    ],
)
def test_names_of_classes_are_as_typed_and_numbers_have_one_spelling(
    tmp_path, observations, values, classes
):
    rows = "".join(f"A/1/0,{n},0,{value}\n" for n, value in enumerate(values, 1))
    path = write(tmp_path / "labels.csv", "fov,track_id,t,state\n" + rows)
    assert {value for value in classes_of(observations, path) if value is not None} == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fov,track,t,state\nA/1/0,1,0,x\n", r"no column 'track_id', but one 'track'. Rename"),
        ("fov,track_id,t,stat\nA/1/0,1,0,x\n", r"no column 'state' .* Did you mean 'stat'\?"),
        ("fov,track_id,t,state\nA/1/0,1,0,x\n\nA/1/0,1,b,x\n", r"row 4: t is 'b', not a whole"),
        (
            "fov,track_id,t,state\nA/1/0,1,0,x\nA/1/0,1,1,x\nA/1/0,1,0,y\n",
            r"row 4: fov A/1/0, track_id 1, t 0 is in row 2 already \(1 repeated",
        ),
        (
            "fov,track_id,state\nA/1/0,1,x\nA/1/0,1,x\n",
            r"is in row 2 already.*the column that distinguishes them \(t,",
        ),
        (
            "fov,track_id,t,state\nZ/9/0,1,0,x\n",
            r"none of its 1 rows matches .* fov Z/9/0",
        ),
        ("track_id,t,state\n1,0,x\n", r"no column 'fov' or 'fov_name'.* has 4 fields of view"),
        ("fov,track_id,t,state\nA/1/0,1,0,0.37\n", "holds measurements such as 0.37"),
        ("", "cannot be read as CSV"),
    ],
)
def test_errors_of_a_label_table(tmp_path, observations, text, message):
    path = write(tmp_path / "labels.csv", text)
    with pytest.raises(UserError, match=message) as caught:
        classes_of(observations, path)
    assert str(path) in str(caught.value) or "annotations of a" in str(caught.value)


def test_a_key_is_no_class(tmp_path, observations):
    rows = "".join(f"A/1/0,1,{t},{t + 100}\n" for t in range(5))
    rows += "".join(f"A/1/0,2,{t},{t + 200}\n" for t in range(5))
    rows += "".join(f"A/1/0,3,{t},{t + 300}\n" for t in range(5))
    rows += "".join(f"A/1/1,4,{t},{t + 400}\n" for t in range(5))
    rows += "A/1/1,5,0,500\n"
    path = write(tmp_path / "labels.csv", "fov,track_id,t,state\n" + rows)
    with pytest.raises(UserError, match="has 21 distinct values; a task needs at most 20"):
        classes_of(observations, path)


def test_a_missing_table_is_an_error(tmp_path, observations):
    with pytest.raises(UserError, match="no such label table"):
        classes_of(observations, tmp_path / "none.csv")


def test_numbers_are_unknown_where_the_table_has_none(tmp_path, observations):
    path = write(tmp_path / "truth.csv", "fov,track_id,onset\nA/1/0,1,2.5\nA/1/0,2,\n")
    numbers = join_numbers(observations, path, "onset")
    assert np.isfinite(numbers).sum() == 5
    assert set(numbers[np.isfinite(numbers)]) == {2.5}
    write(path, "fov,track_id,onset\nA/1/0,1,2.5\nA/1/0,2,soon\n")
    with pytest.raises(UserError, match="column 'onset' holds 'soon', which is no number"):
        join_numbers(observations, path, "onset")
    write(path, "fov,track_id,onset\n")
    assert np.isnan(join_numbers(observations, path, "onset")).all()
