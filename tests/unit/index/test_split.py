"""The split by fields of view, and errors of a split's definition."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.config import UserError
from dynaclr.index.split import check_split, split_units

plates = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.dictionaries(
        st.integers(0, 50).map("A/1/{}".format), st.sampled_from("xyz"), min_size=1, max_size=30
    ),
    min_size=1,
)


@settings(max_examples=150, deadline=None)
@given(plates, st.floats(0.01, 0.99), st.integers(0, 5))
def test_sizes_and_balance(conditions, fraction, seed):
    if all(len(fovs) < 2 for fovs in conditions.values()):
        with pytest.raises(UserError, match="validation is empty"):
            split_units(conditions, fraction, seed)
        return
    chosen = split_units(conditions, fraction, seed)
    assert set(chosen) == {name for name, fovs in conditions.items() if len(fovs) > 1}
    for name, listed in chosen.items():
        fovs = conditions[name]
        assert len(set(listed)) == len(listed)
        assert set(listed) < set(fovs)
        assert abs(len(listed) - fraction * len(fovs)) <= 0.5 or len(listed) in (1, len(fovs) - 1)
        sizes = {c: sum(v == c for v in fovs.values()) for c in fovs.values()}
        taken = {c: sum(fovs[fov] == c for fov in listed) for c in sizes}
        if len(listed) <= len(fovs) - len(sizes):
            assert all(taken[c] < sizes[c] for c in sizes), "each condition stays in training"
        if min(sizes.values()) > 1 and len(listed) <= len(fovs) / 2:
            for condition, size in sizes.items():
                assert abs(taken[condition] - len(listed) * size / len(fovs)) < 1.5


def test_without_a_second_unit_the_message_says_what_else_there_is():
    with pytest.raises(UserError, match=r"no experiment has two fields of view .one.*_lineage_fra"):
        split_units({"one": {"A/1/0": "mock"}}, 0.5, 0)
    with pytest.raises(UserError, match=r"no experiment has two lineages \(one\). Name whole"):
        split_units({"one": {"A/1/0/7": "mock"}}, 0.5, 0, "lineages")


def test_the_choice_depends_on_seed_and_names_alone():
    fovs = {f"A/1/{i}": "mock" for i in range(20)}
    alone = split_units({"one": fovs}, 0.3, 0)["one"]
    turned = dict(reversed(fovs.items()))
    assert split_units({"two": fovs, "one": turned}, 0.3, 0)["one"] == alone
    assert split_units({"one": fovs}, 0.3, 1)["one"] != alone
    assert split_units({"two": fovs}, 0.3, 0)["two"] != alone


@pytest.mark.parametrize(
    ("train", "validation", "fraction", "message"),
    [
        ([], ["one", "two"], None, "no experiment is named for training"),
        (["one", "two"], [], None, "nothing is left for validation"),
        (["one"], ["two"], 0.2, "more than one of validation, validation_fov_fraction is given"),
        (["one", "two"], [], 1.0, "validation_fov_fraction is 1.0"),
        (["one", "two"], ["two"], None, "two is in training and in validation"),
        (["one"], ["two", "tow"], None, "tow is not among the experiments given"),
        (["one"], [], 0.5, "two is on neither side"),
    ],
)
def test_errors_are_named(train, validation, fraction, message):
    with pytest.raises(UserError, match=message):
        check_split(["one", "two"], train, validation, fraction)
