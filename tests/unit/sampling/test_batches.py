"""What batches must hold, one test for each property, on random tables and options."""

import pickle
import tracemalloc
import warnings
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampling_tables import REPLICAS, Table, options, tables

from dynaclr.sampling import BatchDescription, FixedEpochBatchSampler, FlexibleBatchSampler
from dynaclr.sampling.randomness import permute

few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
sizes = st.one_of(st.integers(1, 12), st.integers(1, 100))
PARTS_OF_GROUP = ("primary", "focal", "global")


def make(
    table: Table | pd.DataFrame, batch_size: int, weighted: bool = False, **chosen: Any
) -> FlexibleBatchSampler:
    columns = table.columns if isinstance(table, Table) else table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no other group to draw from
        if weighted:
            groups = FlexibleBatchSampler(columns, batch_size, **chosen).groups
            chosen["group_weights"] = {group: 1 + 2 * (i % 3) for i, group in enumerate(groups)}
        return FlexibleBatchSampler(columns, batch_size, **chosen)


def enough_rows(
    batch_size: int, table: Table, chosen: dict[str, Any], most_steps: int = 200
) -> int:
    """At least so many rows a replica that going through a whole epoch is quick."""
    return max(batch_size, len(table.columns) // (most_steps * chosen["num_replicas"]))


def describe_epoch(
    sampler: FlexibleBatchSampler, epoch: int = 0, most: int | None = None
) -> list[BatchDescription]:
    return [sampler.describe(epoch, step) for step in range(len(sampler))[:most]]


def codes_of(labels: tuple, of_rows: np.ndarray) -> np.ndarray:
    code = {label: i for i, label in enumerate(labels)}
    return np.array([code[label] for label in of_rows], dtype=np.int64)


def pools_of(sampler: FlexibleBatchSampler, table: Table, chosen: dict) -> tuple:
    """Return the sampler's group and stratum codes of all rows, from the table itself."""

    def values(names: str | list[str] | None) -> list:
        if names is None:
            return [None] * len(table.columns)
        if isinstance(names, str):
            return table.columns[names].tolist()
        return list(zip(*(table.columns[name].tolist() for name in names), strict=True))

    group = codes_of(sampler.groups, values(chosen["batch_group_by"]))
    stratum = codes_of(sampler.strata, values(chosen["stratify_by"]))
    return group, stratum


@few
@given(tables(), sizes, options(), st.data())
def test_a_batch_is_a_pure_function_of_seed_epoch_and_step(table, batch_size, chosen, data):
    sampler = make(table, enough_rows(batch_size, table, chosen), **chosen)
    epoch, step = data.draw(st.integers(0, 99)), data.draw(st.integers(0, len(sampler) - 1))
    expected = sampler.global_batch(epoch, step)
    sampler.set_epoch(epoch)
    replica = next(islice(sampler, step, None))
    assert replica == expected[sampler.describe(epoch, step).replica == 0].tolist()

    recoded = table.columns.copy()
    for name in ("experiment", "condition"):
        if isinstance(recoded[name].dtype, pd.CategoricalDtype):
            recoded[name] = recoded[name].cat.reorder_categories(recoded[name].cat.categories[::-1])
    again = make(recoded, sampler.batch_size, **chosen)
    np.testing.assert_array_equal(again.global_batch(epoch, step), expected)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(sampler)).global_batch(epoch, step), expected
    )


@few
@given(tables(), sizes, options(), st.data())
def test_a_saved_state_resumes_in_the_middle_of_an_epoch(table, batch_size, chosen, data):
    batch_size = enough_rows(batch_size, table, chosen, most_steps=20)
    sampler = make(table, batch_size, **chosen)
    epoch, done = data.draw(st.integers(0, 9)), data.draw(st.integers(0, len(sampler) - 1))
    sampler.set_epoch(epoch)
    whole = list(sampler)
    assert list(islice(sampler, done)) == whole[:done]
    state = sampler.state_dict()

    resumed = make(table, batch_size, **chosen)
    resumed.load_state_dict(state)
    resumed.set_epoch(epoch)  # the trainer says so again after restoring
    assert list(resumed) == whole[done:]
    assert list(resumed) == whole, "only the first iteration continues"


@few
@given(tables(), st.sampled_from([24, 48, 120]), options())
def test_replicas_share_the_global_batch_whatever_their_number(table, global_size, chosen):
    del chosen["num_replicas"]
    single = make(table, global_size, **chosen)
    steps = range(min(len(single), 5))
    for n in REPLICAS:
        replicas = [
            make(table, global_size // n, num_replicas=n, rank=rank, **chosen) for rank in range(n)
        ]
        assert {len(replica) for replica in replicas} == {len(single)}
        for step in steps:
            whole = single.describe(3, step)
            shares = [replica.replica_batch(3, step) for replica in replicas]
            assert {share.size for share in shares} == {global_size // n}
            assert Counter(np.concatenate(shares).tolist()) == Counter(whole.rows.tolist())
            own = np.isin(whole.part, PARTS_OF_GROUP)
            assert all(label == whole.group for label in whole.group_of_row[own])
            assert not any(label == whole.group for label in whole.group_of_row[~own])
            assert_balanced_shares(replicas[0].describe(3, step), n)


@pytest.mark.parametrize("leaky", [0.0, 0.25])
def test_a_replica_finds_the_rows_of_its_own_share_alone(monkeypatch, leaky):
    columns = {"experiment": ["a", "b"] * 500, "condition": ["x", "y", "y", "x"] * 250}
    sampler = make(columns, 16, num_replicas=8, rank=3, leaky=leaky)
    placed = []

    def counted(index, size, key):
        placed.append(len(index))
        return permute(index, size, key)

    for module in ("steps", "coverage"):
        monkeypatch.setattr(f"dynaclr.sampling.{module}.permute", counted)
    share = sampler.replica_batch(0, 2)
    assert placed == [1, 16], "the step, and the rows"
    whole = sampler.describe(0, 2)
    assert share.tolist() == whole.rows[whole.replica == 3].tolist()


def assert_balanced_shares(batch: BatchDescription, num_replicas: int) -> None:
    shares = np.bincount(batch.replica, minlength=num_replicas)
    assert shares.min() == shares.max()
    cells = Counter(zip(batch.part, map(repr, batch.stratum_of_row), batch.replica, strict=True))
    for part, stratum in {cell[:2] for cell in cells}:
        counts = [cells[part, stratum, replica] for replica in range(num_replicas)]
        assert max(counts) - min(counts) <= 1
    for part in set(batch.part):
        counts = np.bincount(batch.replica[batch.part == part], minlength=num_replicas)
        assert counts.max() - counts.min() <= 1


@few
@given(tables(), sizes, options())
def test_every_part_has_exact_quotas_whose_remainders_rotate(table, batch_size, chosen):
    sampler = make(table, enough_rows(batch_size, table, chosen), **chosen)
    group, stratum = pools_of(sampler, table, chosen)
    over_epoch: dict[tuple, np.ndarray] = {}
    for batch in describe_epoch(sampler):
        leader = sampler.groups.index(batch.group)
        codes = codes_of(sampler.strata, batch.stratum_of_row)
        for part in set(batch.part):
            mine = group == leader if part in PARTS_OF_GROUP else group != leader
            present = np.unique(stratum[mine])
            counts = np.bincount(codes[batch.part == part], minlength=len(sampler.strata))
            assert counts.sum() == counts[present].sum()
            counts = counts[present]
            assert counts.max() - counts.min() <= 1
            over_epoch[leader, part] = over_epoch.get((leader, part), 0) + counts
    for (leader, part), counts in over_epoch.items():
        assert counts.max() - counts.min() <= 1
        if part == "focal" and (leader, "global") in over_epoch:
            together = counts + over_epoch[leader, "global"]
            assert together.max() - together.min() <= 1


@few
@given(tables(), sizes, options(enriched=False), st.integers(0, 5))
def test_draws_of_a_pool_differ_by_at_most_one_over_an_epoch(table, batch_size, chosen, epoch):
    sampler = make(table, enough_rows(batch_size, table, chosen), **chosen)
    group, stratum = pools_of(sampler, table, chosen)
    drawn = np.zeros(len(table.columns), dtype=int)
    for step in range(len(sampler)):
        np.add.at(drawn, sampler.global_batch(epoch, step), 1)
    pool = group * len(sampler.strata) + stratum
    for number in np.unique(pool):
        assert np.ptp(drawn[pool == number]) <= 1


@few
@given(tables(), sizes, options())
def test_no_row_comes_twice_while_its_pool_lasts(table, batch_size, chosen):
    sampler = make(table, batch_size, **chosen)
    group, stratum = pools_of(sampler, table, chosen)
    for batch in describe_epoch(sampler, 1, most=12):
        leader = sampler.groups.index(batch.group)
        drawn = np.bincount(batch.rows, minlength=group.size)
        for own in (True, False):
            for code in np.unique(stratum):
                pool = ((group == leader) == own) & (stratum == code)
                if pool.any():
                    assert drawn[pool].max() - drawn[pool].min() <= 1
                    if drawn[pool].sum() <= pool.sum():
                        assert drawn[pool].max() <= 1


@few
@given(tables(), sizes, st.sampled_from(REPLICAS))
def test_an_epoch_without_strata_and_cross_group_rows_sees_every_row(table, batch_size, n):
    chosen = {"stratify_by": None, "num_replicas": n}
    batch_size = enough_rows(batch_size, table, chosen, most_steps=50)
    replicas = [make(table, batch_size, rank=rank, **chosen) for rank in range(n)]
    seen = {row for replica in replicas for batch in replica for row in batch}
    assert seen == set(range(len(table.columns)))


@few
@given(tables(), sizes, options(enriched=True))
def test_focal_rows_lie_in_the_window_or_in_the_smallest_that_holds_enough(
    table, batch_size, chosen
):
    sampler = make(table, batch_size, **chosen)
    group, stratum = pools_of(sampler, table, chosen)
    size = sampler.global_batch_size
    n_leaked = round(chosen["leaky"] * size) if len(sampler.groups) > 1 else 0
    global_fraction = chosen["temporal_global_fraction"]
    for batch in describe_epoch(sampler, 2, most=12):
        leader = sampler.groups.index(batch.group)
        distance = np.abs(table.hours - batch.focal_hour)
        assert distance[group == leader].min() == 0
        parts = Counter(batch.part.tolist())
        n_primary = size - n_leaked
        assert parts["global"] == round(global_fraction * n_primary)
        assert parts["focal"] == n_primary - parts["global"]
        assert parts["leaked_global"] == round(global_fraction * n_leaked)
        assert parts["leaked_focal"] == n_leaked - parts["leaked_global"]
        widened = outside = 0
        for part in ("focal", "leaked_focal"):
            rows = batch.rows[batch.part == part]
            for code in np.unique(stratum[rows]):
                drawn = rows[stratum[rows] == code]
                pool = ((group == leader) == (part == "focal")) & (stratum == code)
                needed = min(drawn.size, pool.sum())
                nearest = np.sort(distance[pool])[needed - 1]
                reach = max(chosen["temporal_window_hours"], nearest)
                assert distance[drawn].max() <= reach + 1e-6
                widened += nearest > chosen["temporal_window_hours"]
                outside += np.sum(distance[drawn] > chosen["temporal_window_hours"] + 1e-6)
        assert (batch.widened, batch.outside_window) == (widened, outside)


def test_no_cross_group_row_comes_twice_whichever_group_is_left_out():
    columns = pd.DataFrame(
        {"experiment": np.repeat(["a", "b", "c"], 30), "hours": np.tile(np.arange(30) / 3, 3)}
    )
    sampler = make(
        columns, 60, stratify_by=None, leaky=0.8, temporal_enrichment=True,
        temporal_global_fraction=0.5,
    )  # fmt: skip
    for epoch in range(5):
        for batch in describe_epoch(sampler, epoch):
            assert np.unique(batch.rows).size == 60


@pytest.mark.parametrize("enriched", [False, True])
def test_no_stratum_keeps_the_odd_row_over_epochs(enriched):
    # One step an epoch of five rows for two strata: which of them has three changes.
    columns = pd.DataFrame({"experiment": "a", "condition": ["x", "y"] * 2, "hours": 0.0})
    sampler = make(columns, 5, temporal_enrichment=enriched, temporal_global_fraction=0.0)
    of_first = [np.count_nonzero(sampler.global_batch(epoch, 0) % 2 == 0) for epoch in range(200)]
    assert set(of_first) == {2, 3}
    assert np.mean(of_first) == pytest.approx(2.5, abs=0.15)


def test_no_replica_is_dealt_more_of_a_stratum_in_the_long_run():
    # Three rows of each stratum for two replicas: one of them gets two.
    columns = pd.DataFrame({"experiment": "a", "condition": ["x", "y"] * 1500})
    sampler = make(columns, 3, num_replicas=2)
    of_first = np.concatenate([sampler.replica_batch(0, step) for step in range(len(sampler))])
    assert np.mean(of_first % 2) == pytest.approx(0.5, abs=0.03)


def test_focal_hours_take_turns_among_the_hours_of_the_group():
    hours = np.tile(np.arange(20) * 0.5, 40)
    columns = pd.DataFrame({"experiment": np.repeat(["a", "b"], 400), "hours": hours})
    columns.loc[400:, "hours"] += 100
    sampler = make(columns, 10, stratify_by=None, temporal_enrichment=True)
    focal = Counter((batch.group, batch.focal_hour) for batch in describe_epoch(sampler))
    assert len(focal) == 40
    assert set(focal.values()) == {2}
    assert focal["a", 3.5] == 2
    assert focal["b", 103.5] == 2


def test_rows_from_all_hours_come_from_all_hours():
    columns = pd.DataFrame({"hours": np.arange(2000) % 100})
    sampler = make(
        columns, 50, batch_group_by=None, stratify_by=None, temporal_enrichment=True,
        temporal_window_hours=1.0, temporal_global_fraction=0.5,
    )  # fmt: skip
    seen = np.concatenate(
        [
            batch.rows[batch.part == "global"] % 100
            for epoch in range(20)
            for batch in describe_epoch(sampler, epoch)
        ]
    )
    counts = np.bincount(seen, minlength=100)
    assert counts.min() > 0.6 * counts.mean()
    assert counts.max() < 1.4 * counts.mean()


def test_a_window_holds_the_frames_on_its_very_ends():
    # Frames every 7 minutes, 3 of them to either side: not exact in floating point.
    frame = np.tile(np.arange(31), 20)
    columns = pd.DataFrame({"hours": 4.3 + frame * (7 / 60)})
    sampler = make(
        columns, 100, batch_group_by=None, stratify_by=None, temporal_enrichment=True,
        temporal_window_hours=21 / 60, temporal_global_fraction=0.0,
    )  # fmt: skip
    seen = set()
    for epoch in range(20):
        for batch in describe_epoch(sampler, epoch):
            focal = round((batch.focal_hour - 4.3) * 60 / 7)
            if 3 <= focal <= 27:
                assert set(frame[batch.rows] - focal) == set(range(-3, 4))
                seen.add(focal)
    assert len(seen) > 20


def test_cross_group_rows_do_not_depend_on_how_many_are_laid_out_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    columns = pd.DataFrame({"experiment": rng.integers(0, 4, 500), "condition": 0})
    expected = make(columns, 20, leaky=0.4).global_batch(0, 20)
    monkeypatch.setattr("dynaclr.sampling.cross_group._BLOCK", 16)
    np.testing.assert_array_equal(make(columns, 20, leaky=0.4).global_batch(0, 20), expected)


def test_cross_group_rows_come_from_other_groups_in_proportion_to_their_rows():
    columns = pd.DataFrame({"experiment": np.repeat(["a", "b", "c"], [1000, 3000, 6000])})
    sampler = make(columns, 100, stratify_by=None, leaky=0.4)
    leaked = Counter()
    for batch in describe_epoch(sampler):
        of_batch = Counter(batch.group_of_row[batch.part == "leaked"])
        assert sum(of_batch.values()) == 40
        leaked.update({(batch.group, other): n for other, n in of_batch.items()})
    assert leaked["a", "c"] == pytest.approx(2 * leaked["a", "b"], rel=0.05)
    assert leaked["b", "c"] == pytest.approx(6 * leaked["b", "a"], rel=0.05)


def test_composing_a_batch_needs_the_same_memory_for_a_hundred_times_the_rows():
    def peak(n_rows: int) -> int:
        rng = np.random.default_rng(0)
        columns = {
            "experiment": rng.integers(0, 8, n_rows),
            "condition": rng.integers(0, 4, n_rows),
            "hours": rng.integers(0, 200, n_rows) / 4,
        }
        sampler = make(columns, 256, leaky=0.2, temporal_enrichment=True)
        sampler.global_batch(0, 0)
        tracemalloc.start()
        sampler.global_batch(0, 1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(5_000), peak(500_000)
    assert large < 1.2 * small
    assert large < 1_000_000


def test_set_up_keeps_few_integers_for_each_row():
    n_rows = 400_000
    rng = np.random.default_rng(0)
    columns = {
        "experiment": rng.integers(0, 8, n_rows),
        "condition": rng.integers(0, 4, n_rows),
        "hours": rng.integers(0, 200, n_rows) / 4,
    }
    for chosen in ({"leaky": 0.5}, {"leaky": 0.5, "temporal_enrichment": True}):
        tracemalloc.start()
        sampler = make(columns, 256, **chosen)
        kept, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(sampler) > 0
        assert kept < 8 * n_rows
        assert most < 40 * n_rows


def test_groups_lead_steps_by_rows_or_by_weight():
    columns = pd.DataFrame({"experiment": np.repeat(["a", "b", "c"], [10, 2000, 7990])})
    by_rows = Counter(b.group for b in describe_epoch(make(columns, 100, stratify_by=None)))
    assert by_rows == {"a": 1, "b": 20, "c": 80}
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}
    weighted = make(columns, 100, stratify_by=None, group_weights=weights)
    assert Counter(b.group for b in describe_epoch(weighted)) == {"a": 25, "b": 25, "c": 50}
    for same in (pd.Series(weights), {group: 4e307 * w for group, w in weights.items()}):
        again = make(columns, 100, stratify_by=None, group_weights=same)
        np.testing.assert_array_equal(again.global_batch(0, 7), weighted.global_batch(0, 7))


def test_fewer_rows_than_a_batch_still_make_a_batch():
    columns = pd.DataFrame({"experiment": ["a"] * 3, "condition": ["x", "x", "y"]})
    sampler = make(columns, 4, num_replicas=2, rank=1)
    assert len(sampler) == 1
    assert Counter(sampler.global_batch(0, 0).tolist()) == {0: 2, 1: 2, 2: 4}
    assert [len(batch) for batch in sampler] == [4]


def test_epochs_differ_and_seeds_differ_but_validation_stays_the_same():
    columns = pd.DataFrame({"experiment": ["a"] * 500, "condition": ["x"] * 500})
    sampler = make(columns, 50)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(make(columns, 50, seed=1)) != first
    validation = FixedEpochBatchSampler(columns, 50)
    validation.set_epoch(1)
    assert list(validation) == first


def test_lightning_finds_set_epoch():
    sampler = make(pd.DataFrame({"experiment": ["a"], "condition": ["x"]}), 1)
    sampler.sampler.set_epoch(7)
    assert sampler.epoch == 7


def test_moving_on_to_the_next_epoch_forgets_a_restored_position():
    columns = pd.DataFrame({"experiment": ["a"] * 50, "condition": ["x"] * 50})
    sampler = make(columns, 5)
    sampler.load_state_dict({**sampler.state_dict(), "step": 4})
    sampler.set_epoch(1)
    assert len(list(sampler)) == 10


def test_a_state_moves_to_another_number_of_replicas_but_not_to_other_data():
    columns = pd.DataFrame({"experiment": ["a"] * 50, "condition": ["x"] * 50})
    state = make(columns, 8).state_dict()
    make(columns, 4, num_replicas=2).load_state_dict(state)
    with pytest.raises(ValueError, match="rows 50 \\(now 49\\)"):
        make(columns[1:], 8).load_state_dict(state)
    with pytest.raises(ValueError, match="global_batch_size 8 \\(now 16\\)"):
        make(columns, 8, num_replicas=2).load_state_dict(state)
    with pytest.raises(ValueError, match="under other conditions: composition"):
        make(columns.assign(condition=["x", "y"] * 25), 8).load_state_dict(state)
    # Other rows in pools of the same sizes, and other hours of the same rows.
    halves = columns.assign(condition=["x", "y"] * 25, hours=np.arange(50) / 2)
    state_of_halves = make(halves, 8, temporal_enrichment=True).state_dict()
    make(halves.copy(), 8, temporal_enrichment=True).load_state_dict(state_of_halves)
    for other in (halves.assign(condition=["y", "x"] * 25), halves.assign(hours=np.arange(50) / 4)):
        with pytest.raises(ValueError, match="under other conditions: composition"):
            make(other, 8, temporal_enrichment=True).load_state_dict(state_of_halves)
    sampler = make(columns, 8)
    sampler.load_state_dict(state | {"step": len(sampler)})
    for position in ({"step": len(sampler) + 1}, {"step": -1}, {"epoch": -1}):
        with pytest.raises(ValueError, match="an epoch has 7 steps"):
            sampler.load_state_dict(state | position)


def test_several_columns_make_groups_of_tuples():
    columns = pd.DataFrame({"e": ["a", "a", "b"], "well": [1, 2, 2], "condition": ["x"] * 3})
    sampler = make(columns, 1, batch_group_by=["e", "well"])
    assert sampler.groups == (("a", 1), ("a", 2), ("b", 2))
    assert {batch.group for batch in describe_epoch(sampler)} == set(sampler.groups)


def test_a_single_group_has_no_cross_group_rows_and_warns():
    columns = pd.DataFrame({"experiment": ["a"] * 9, "condition": ["x"] * 9})
    with pytest.warns(UserWarning, match=r"leaky=0.5 has no effect.*single group"):
        sampler = FlexibleBatchSampler(columns, 4, leaky=0.5)
    assert set(sampler.describe(0, 0).part) == {"primary"}


GOOD = pd.DataFrame(
    {"experiment": ["a", "b"], "condition": ["x", "y"], "hours": [0.0, 1.0], "hole": ["p", None]}
)


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"batch_group_by": "wel"}, ValueError, "batch_group_by names the column 'wel'.*'hours'"),
        ({"stratify_by": ["condition", "moi"]}, ValueError, "stratify_by names the column 'moi'"),
        ({"temporal_enrichment": True, "time_column": "h"}, ValueError, "time_column .* 'h'"),
        ({"stratify_by": "hole"}, ValueError, "Column 'hole' has 1 missing .* row 1"),
        ({"temporal_enrichment": True, "time_column": "hole"}, ValueError, "'hole'.* not numbers"),
        ({"group_weights": {"a": 1, "b": 1, "c": 1}}, ValueError, "names 'c', which is not in"),
        ({"group_weights": {"a": 1}}, ValueError, "has no group 'b'"),
        ({"group_weights": {"a": 1, "b": 0}}, ValueError, "group_weights of 'b' is 0;"),
        ({"group_weights": {"a": float("nan"), "b": 1}}, ValueError, "group_weights of 'a'"),
        ({"group_weights": {"a": np.inf, "b": 1}}, ValueError, "group_weights of 'a' is inf"),
        ({"group_weights": {"a": 10**400, "b": 1}}, ValueError, "group_weights of 'a' .* finite"),
        ({"group_weights": {"a": "much", "b": 1}}, TypeError, "group_weights of 'a' .*'much'"),
        ({"group_weights": {"a": True, "b": 1}}, TypeError, "group_weights of 'a' .* True"),
        ({"group_weights": [1, 2]}, TypeError, "group_weights must map groups to weights"),
        ({"group_weights": pd.Series({"a": 1})}, ValueError, "has no group 'b'"),
        ({"group_weights": pd.Series([1, 1, 2], ["a", "b", "b"])}, ValueError, "a group twice"),
        ({"batch_group_by": 3}, TypeError, "batch_group_by must be a column name.* not 3"),
        ({"stratify_by": ["hours", 3]}, TypeError, "stratify_by must be a column name"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, not True"),
        ({"rank": True, "num_replicas": 2}, TypeError, "rank must be an integer, not True"),
        ({"leaky": "a"}, TypeError, "leaky must be a number, not 'a'"),
        ({"leaky": None}, TypeError, "leaky must be a number, not None"),
        ({"leaky": True}, TypeError, "leaky must be a number, not True"),
        ({"leaky": np.zeros(2)}, TypeError, "leaky must be a number, not array"),
        ({"temporal_global_fraction": "a"}, TypeError, "temporal_global_fraction must be a number"),
        ({"temporal_window_hours": "2"}, TypeError, "temporal_window_hours must be .* not '2'"),
        ({"temporal_window_hours": None}, TypeError, "temporal_window_hours must be .* not None"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"batch_size": np.zeros(2, int)}, TypeError, "batch_size must be an integer, not array"),
        ({"num_replicas": 0}, ValueError, "num_replicas=0"),
        ({"num_replicas": 2, "rank": 2}, ValueError, "rank=2 is outside 0 to 1"),
        ({"rank": -1}, ValueError, "rank=-1"),
        ({"leaky": 1.5}, ValueError, "leaky=1.5 is outside 0 to 1"),
        ({"leaky": float("nan")}, ValueError, "leaky=nan"),
        ({"temporal_global_fraction": -0.1}, ValueError, "temporal_global_fraction=-0.1"),
        ({"temporal_window_hours": -1}, ValueError, "temporal_window_hours=-1"),
        ({"seed": "today"}, TypeError, "seed must be an integer"),
    ],
)
def test_wrong_options_are_errors_at_construction(chosen, error, message):
    with pytest.raises(error, match=message):
        FlexibleBatchSampler(GOOD, **{"batch_size": 2, **chosen})


def test_wrong_tables_are_errors_at_construction():
    for empty in (GOOD[:0], pd.DataFrame(), {}):
        with pytest.raises(ValueError, match="anchors is empty"):
            FlexibleBatchSampler(empty, 2)
    for no_table in ([[1], [2]], pa.table({"experiment": [1], "condition": [1]}), None):
        with pytest.raises(TypeError, match=r"anchors must be a pandas.DataFrame or a mapping"):
            FlexibleBatchSampler(no_table, 2)
    with pytest.raises(ValueError, match=r"'x' \(anchors\) has 0 dimensions"):
        FlexibleBatchSampler({"x": 3, "experiment": [1], "condition": [1]}, 2)
    with pytest.raises(ValueError, match=r"'hours' .* not finite, the first in row 1"):
        FlexibleBatchSampler(GOOD.assign(hours=[0.0, np.nan]), 2, temporal_enrichment=True)
    with pytest.raises(ValueError, match="'condition' has 3 rows where others have 2"):
        FlexibleBatchSampler({"experiment": [1, 2], "condition": [1, 2, 3]}, 2)
    for n_hours in (1, 3):
        columns = {"experiment": [1, 2], "condition": [1, 2], "hours": np.arange(n_hours)}
        with pytest.raises(ValueError, match=f"'hours' has {n_hours} rows where others have 2"):
            FlexibleBatchSampler(columns, 2, temporal_enrichment=True)
    with pytest.raises(ValueError, match="2 dimensions"):
        FlexibleBatchSampler({"experiment": np.zeros((2, 2)), "condition": [1, 2]}, 2)


def test_steps_and_epochs_out_of_range_are_errors():
    sampler = make(GOOD, 2)
    with pytest.raises(IndexError, match="step=2 is outside the epoch, which has 2 steps"):
        sampler.global_batch(0, 2)
    with pytest.raises(ValueError, match="epoch=-1"):
        sampler.set_epoch(-1)
