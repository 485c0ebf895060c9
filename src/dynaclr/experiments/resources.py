"""What a job asks of a cluster, in numbers: memory, time and processors."""

from __future__ import annotations

# Megabytes that the interpreter, its libraries and Snakemake around it need.
BASE_MB = 2000
# Megabytes of a training process, and of one that loads for it, beside their caches.
_TRAINING_MB, _LOADER_MB = 1000, 300
# Batches that wait to be used, and chunks being decoded, take about as much as the cache.
_CACHES = 2
# Loaders of training and of validation stay, each with its processes.
_LOADERS = 2


def grown(amount: float, attempt: int, most: float | None = None) -> int:
    """What an attempt asks for: twice as much as the one before, up to the most there is.

    Parameters
    ----------
    amount : float
        What the first attempt asks for.
    attempt : int
        Counted from 1.
    most : float, optional
        Limit of the site.
    """
    asked = amount * 2 ** (attempt - 1)
    return int(asked if most is None else min(asked, most))


def loader_workers(cpus: int, processes: int, threads: int) -> int:
    """Loader processes for each training process: its CPUs that torch's threads do not use.

    Parameters
    ----------
    cpus : int
        CPUs of the job on a node.
    processes : int
        Training processes on a node.
    threads : int
        CPU threads of each of them.
    """
    return max(0, cpus // processes - threads)


def training_cpus(processes: int, threads: int, workers: int, least: int = 0) -> int:
    """CPUs of a training on a node: of its processes and of those that load for them.

    Parameters
    ----------
    processes, threads : int
        As in `loader_workers`.
    workers : int
        Loader processes that its configuration asks for, for each training process.
    least : int
        CPUs that a training process gets at least.
    """
    return processes * max(threads + workers, least)


def training_megabytes(processes: int, workers: int, cache_mb: float, index_mb: float) -> float:
    """Memory of a training on a node, beside `BASE_MB`.

    Parameters
    ----------
    processes : int
        Training processes on a node.
    workers : int
        Loader processes that are started for each of them.
    cache_mb : float
        Cache of chunks of each process, loaders included.
    index_mb : float
        Size of the index, of which a node holds one copy.
    """
    cache = _CACHES * cache_mb
    each = _TRAINING_MB + cache + _LOADERS * workers * (_LOADER_MB + cache)
    return 2 * index_mb + processes * each
