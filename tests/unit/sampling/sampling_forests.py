"""Random lineage forests, and positives found by walking from track to track."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Forest:
    """Observations of a random forest of tracks, in random row order."""

    t: np.ndarray
    track: np.ndarray
    parent_of_track: np.ndarray
    branch: np.ndarray
    branch_end: np.ndarray
    experiment: np.ndarray

    def is_ancestor_or_self(self, elder: int, younger: int) -> bool:
        while younger >= 0:
            if younger == elder:
                return True
            younger = self.parent_of_track[younger]
        return False

    def candidates(self, row: int, offset: int) -> list[int]:
        """Return the rows `offset` frames away that may be the positive of `row`."""
        found = []
        for other in np.flatnonzero(self.t == self.t[row] + offset):
            elder, younger = (row, other) if offset >= 0 else (other, row)
            if self.is_ancestor_or_self(self.track[elder], self.track[younger]):
                found.append(int(other))
        return found


def random_forest(rng: np.random.Generator, n_roots: int, n_experiments: int = 1) -> Forest:
    """Return tracks with gaps that end, go on as one track, or divide into two or three."""
    parents, frames, roots = [], [], []

    def grow(parent: int, begin: int, depth: int, root: int) -> None:
        track = len(parents)
        parents.append(parent)
        roots.append(root)
        length = int(rng.integers(1, 9))
        kept = rng.random(length) > 0.25
        kept[0] = True
        frames.append(begin + np.flatnonzero(kept))
        n_children = rng.choice([0, 1, 2, 3], p=[0.3, 0.2, 0.4, 0.1]) if depth < 4 else 0
        for _ in range(n_children):
            grow(track, begin + length + int(rng.integers(0, 3)), depth + 1, root)

    for root in range(n_roots):
        grow(-1, int(rng.integers(0, 6)), 0, root)
    parent_of_track = np.array(parents)
    return _observe(rng, parent_of_track, frames, np.array(roots) % n_experiments)


def _observe(
    rng: np.random.Generator,
    parent_of_track: np.ndarray,
    frames: list[np.ndarray],
    experiment_of_track: np.ndarray,
) -> Forest:
    # Tracks were grown depth first: a track's number is its position, and its subtree is a stretch.
    n_tracks = parent_of_track.size
    end = np.arange(1, n_tracks + 1)
    for track in range(n_tracks - 1, -1, -1):
        if parent_of_track[track] >= 0:
            end[parent_of_track[track]] = max(end[parent_of_track[track]], end[track])
    track = np.repeat(np.arange(n_tracks), [len(own) for own in frames])
    shuffled = rng.permutation(track.size)
    track = track[shuffled]
    return Forest(
        t=np.concatenate(frames)[shuffled],
        track=track,
        parent_of_track=parent_of_track,
        branch=track,
        branch_end=end[track],
        experiment=experiment_of_track[track],
    )
