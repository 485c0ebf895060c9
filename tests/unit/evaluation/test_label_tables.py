"""Label tables: their join to observations, and what is wrong with them."""

import pytest

from dynaclr.config import UserError
from dynaclr.evaluation.label_tables import join_labels


def write(path, text):
    path.write_text(text)
    return path


def test_labels_join_by_observation(tmp_path, observations):
    path = write(
        tmp_path / "labels.csv",
        "fov,track_id,t,state\nA/1/0,1,0,early\nA/1/0,1,4,late\nA/1/0,2,0,\nA/1/0,999,0,early\n",
    )
    joined = join_labels(observations, path, "state")
    labelled = observations.assign(label=joined.values).dropna(subset="label")
    assert labelled[["fov", "track_id", "t", "label"]].to_numpy().tolist() == [
        ["A/1/0", 1, 0, "early"],
        ["A/1/0", 1, 4, "late"],
    ]
    assert joined.n_unmatched == 1


def test_labels_without_a_frame_hold_for_the_whole_track(tmp_path, observations):
    path = write(tmp_path / "labels.csv", "fov,track_id,fate\nA/1/0,1,divides\nB/1/0,7,dies\n")
    joined = join_labels(observations, path, "fate")
    counts = observations.assign(label=joined.values).groupby(["track_id", "label"]).size()
    assert counts.to_dict() == {(1, "divides"): 5, (7, "dies"): 5}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["1.0000", "0", "1"], {"0", "1"}),
        (["True", "False", "True"], {"True", "False"}),
        (["2", "x", "1.0"], {"2", "x", "1.0"}),
        (["None", "NA", "nan"], {"None", "NA"}),
    ],
)
def test_names_of_classes_do_not_depend_on_the_spelling_of_numbers(
    tmp_path, observations, values, classes
):
    rows = "".join(f"A/1/0,{n},0,{value}\n" for n, value in enumerate(values, 1))
    path = write(tmp_path / "labels.csv", "fov,track_id,t,state\n" + rows)
    joined = join_labels(observations, path, "state")
    assert {value for value in joined.values if value is not None} == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fov,track,t,state\nA/1/0,1,0,x\n", r"no column 'track_id'. Did you mean 'track'\?"),
        ("fov,track_id,t,stat\nA/1/0,1,0,x\n", r"no column 'state'. Did you mean 'stat'\?"),
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
        ("fov,track_id,t,state\nA/1/0,1,0,\n", "column 'state' is empty in every row"),
        ("fov,track_id,t,state\nA/1/0,1,0,0.37\n", "holds measurements such as 0.37"),
        ("", "cannot be read as CSV"),
    ],
)
def test_errors_of_a_label_table(tmp_path, observations, text, message):
    path = write(tmp_path / "labels.csv", text)
    with pytest.raises(UserError, match=message) as caught:
        join_labels(observations, path, "state")
    assert str(path) in str(caught.value)


def test_a_key_is_no_class(tmp_path, observations):
    rows = "".join(f"A/1/0,1,{t},{t + 100}\n" for t in range(40))
    path = write(tmp_path / "labels.csv", "fov,track_id,t,root\n" + rows)
    with pytest.raises(UserError, match="has 40 distinct values; a task needs at most 20"):
        join_labels(observations, path, "root")


def test_a_missing_table_is_an_error(tmp_path, observations):
    with pytest.raises(UserError, match="no such label table"):
        join_labels(observations, tmp_path / "none.csv", "state")
