"""The columns of the cell index: their names, types and meaning.

======================  ===========  ==============================================================
column                  type         meaning
======================  ===========  ==============================================================
experiment              dictionary   name of the entry
well                    dictionary   ``row/column``
fov                     dictionary   ``row/column/fov``
condition               dictionary   what was done to the well
organelle, microscope,  dictionary   from the entry; null when it does not say
cell_type, date
moi                     float64      from the entry; null when it does not say
t                       int32        frame
hours                   float64      hours post infection (or perturbation)
track_id                int64        as in the tracking table
parent_track_id         int64        as in the tracking table after repair; -1 for none
lineage_id              int64        0 to L - 1 over all fields of view
generation              int16        divisions since the lineage's first track
branch, branch_end      int64        row j is the same track as row i or a descendant exactly if
                                     ``branch[i] <= branch[j] < branch_end[i]``
y, x, z                 float32      position in pixels; z is 0 for 2-D tracks
frames_to_division      int32        0 in the last frame before a division; -1 when none is seen
track_length            int32        observations of the track
metadata keys           any          constant within an experiment: text and truth values as
                                     dictionary, whole numbers int64, others float64
split                   dictionary   ``train`` or ``validation``; in a merged index alone
======================  ===========  ==============================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from dynaclr.config import ExperimentConfig

DICTIONARY = pa.dictionary(pa.int32(), pa.string())
ENTRY_TEXT = ("organelle", "microscope", "cell_type", "date")
SCHEMA = pa.schema(
    {
        "experiment": DICTIONARY,
        "well": DICTIONARY,
        "fov": DICTIONARY,
        "condition": DICTIONARY,
        **dict.fromkeys(ENTRY_TEXT, DICTIONARY),
        "moi": pa.float64(),
        "t": pa.int32(),
        "hours": pa.float64(),
        "track_id": pa.int64(),
        "parent_track_id": pa.int64(),
        "lineage_id": pa.int64(),
        "generation": pa.int16(),
        "branch": pa.int64(),
        "branch_end": pa.int64(),
        "y": pa.float32(),
        "x": pa.float32(),
        "z": pa.float32(),
        "frames_to_division": pa.int32(),
        "track_length": pa.int32(),
    }
)

_SHAPES = b"plate_shapes"


def with_shapes(table: Any, shapes: Mapping[str, Mapping[str, Sequence[int]]]) -> Any:
    """A table or batch that says how large each field of view was when it was indexed.

    Parameters
    ----------
    table : pyarrow.Table or pyarrow.RecordBatch
    shapes : dict
        Extent (T, C, Z, Y, X) by experiment and field of view.
    """
    return table.replace_schema_metadata({_SHAPES: json.dumps(shapes, sort_keys=True)})


def shapes_of(schema: pa.Schema) -> dict[str, dict[str, list[int]]]:
    """What `with_shapes` noted; empty where nothing is."""
    shapes: dict[str, dict[str, list[int]]] = json.loads((schema.metadata or {}).get(_SHAPES, "{}"))
    return shapes


def text_column(codes: ArrayLike, categories: Sequence[str]) -> pa.DictionaryArray:
    """Dictionary-encoded strings with int32 codes."""
    return pa.DictionaryArray.from_arrays(
        pa.array(np.asarray(codes, np.int32)), pa.array(categories, pa.string())
    )


def constant_column(value: Any, n: int) -> pa.Array:
    """Column of `n` equal values, as the type that the index uses for it.

    None becomes nulls of the dictionary type.
    """
    if value is None:
        return pa.nulls(n, DICTIONARY)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, str):
        return text_column(np.zeros(n, np.int32), [value])
    return pa.array(np.full(n, value, np.int64 if isinstance(value, int) else np.float64))


def entry_columns(entry: ExperimentConfig, n: int) -> dict[str, pa.Array]:
    """Columns that are constant within an experiment, ``metadata`` included."""
    columns = {name: constant_column(getattr(entry, name), n) for name in ENTRY_TEXT}
    columns["moi"] = (
        pa.nulls(n, pa.float64()) if entry.moi is None else constant_column(float(entry.moi), n)
    )
    metadata = {key: constant_column(entry.metadata[key], n) for key in sorted(entry.metadata)}
    return columns | metadata
