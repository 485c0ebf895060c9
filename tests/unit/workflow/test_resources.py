"""What jobs ask of a cluster."""

import pytest

from dynaclr.workflow.resources import (
    doubled,
    loader_workers,
    training_cpus,
    training_megabytes,
)


def test_an_attempt_asks_for_twice_as_much_up_to_what_the_site_has():
    assert [doubled(2500.5, attempt) for attempt in (1, 2, 3, 4)] == [2500, 5001, 10002, 20004]
    limited = [doubled(40_000, attempt, 128_000) for attempt in (1, 2, 3, 4)]
    assert limited == [40_000, 80_000, 128_000, 128_000]
    assert doubled(200_000, 1, 128_000) == 128_000


@pytest.mark.parametrize(
    ("cpus", "processes", "threads", "workers"), [(16, 2, 1, 7), (8, 1, 2, 6), (1, 2, 1, 0)]
)
def test_loaders_use_the_cpus_that_torch_does_not(cpus, processes, threads, workers):
    assert loader_workers(cpus, processes, threads) == workers


def test_cpus_are_those_of_threads_and_loaders_or_more():
    assert training_cpus(4, 2, 8) == 40
    assert training_cpus(2, 2, 0, least=8) == 16


def test_memory_of_a_training_counts_every_process_that_is_started():
    alone = training_megabytes(1, 0, 256, 0)
    assert training_megabytes(1, 0, 256, 5000) == alone + 10_000
    assert training_megabytes(4, 0, 256, 0) == 4 * alone
    loader = training_megabytes(1, 1, 256, 0) - alone
    assert loader > 2 * 256, "one for training and one for validation, each with its cache"
    assert training_megabytes(1, 6, 256, 0) == alone + 6 * loader
