"""Names under which programs write the columns of a tracking table.

====================  =========================================================================
column                names, in any case, with or without blanks, ``_``, ``-`` and a unit behind
====================  =========================================================================
``track_id``          Ultrack, TrackMate ``TRACK_ID``, ilastik ``trackId``, ``track``, trackpy
                      ``particle``, CellProfiler ``TrackObjects_Label_50``, napari and btrack ``ID``
``t``                 ``frame``, TrackMate ``FRAME``, ``timepoint``, ``time``, CellProfiler
                      ``Metadata_Frame``, ``Metadata_T``, ``ImageNumber``
``y``, ``x``, ``z``   TrackMate ``POSITION_Y``, ``centroid_y``, ``pos_y``, ilastik
                      ``Object_Center_1`` (x is 0), CellProfiler ``Location_Center_Y``,
                      ``AreaShape_Center_Y``; ``row`` and ``col``, ``column``
``parent_track_id``   Ultrack, ilastik ``parentTrackId``, ``parent_track``, btrack ``parent``
====================  =========================================================================

The column's own name comes first, then the others in this order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NEEDED = ("track_id", "t", "y", "x")
OPTIONAL = ("z", "parent_track_id")

NAMES = {
    "track_id": "trackid track particle trackobjectslabel id",
    "t": "frame frames t timepoint time metadataframe metadatat metadatatimepoint imagenumber",
    "y": "y positiony centroidy posy objectcenter1 centeroftheobject1 locationcentery "
    "areashapecentery row",
    "x": "x positionx centroidx posx objectcenter0 centeroftheobject0 locationcenterx "
    "areashapecenterx col column",
    "z": "z positionz centroidz posz objectcenter2 centeroftheobject2 locationcenterz "
    "areashapecenterz",
    "parent_track_id": "parenttrackid parenttrack parent",
}
_UNIT = re.compile(
    r"[\s_]*[\s_(\[](?P<unit>px|pixels?|um|[µμ]m|microns?|micromet(?:er|re)s?)[)\]]?$",
    re.IGNORECASE,
)


def simple_name(name: str) -> str:
    """Return a name in lower case, without blanks, ``_``, ``-``, ``.`` and a unit behind it.

    >>> simple_name("POSITION_X [µm]")
    'positionx'
    """
    unit = _UNIT.search(name)
    plain = re.sub(r"[\s_.-]+", "", name[: unit.start()] if unit else name).lower()
    # CellProfiler adds the distance that objects may move.
    return re.sub(r"^(trackobjectslabel)\d+$", r"\1", plain)


def unit_of(name: str) -> str | None:
    """``um`` or ``pixel``, where a name or a unit in brackets says so."""
    found = _UNIT.search(name)
    if found is None:
        return None
    return "pixel" if found["unit"].lower().startswith("p") else "um"


def find_columns(header: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Find the columns of a tracking table among those of a file.

    Parameters
    ----------
    header : sequence of str

    Returns
    -------
    columns : dict of str to str
        Name in the file of each column of `NEEDED` and `OPTIONAL` that there is.
    twice : list of str
        Names in the file that more than one column has, or that mean the same.
    """
    simple = [simple_name(name) for name in header]
    columns: dict[str, str] = {}
    twice: list[str] = []
    for column in (*NEEDED, *OPTIONAL):
        alike = [name for name in header if name == column]
        for name in () if alike else NAMES[column].split():
            alike = [header[i] for i, other in enumerate(simple) if other == name]
            if alike:
                break
        if alike:
            columns[column] = alike[0]
        if len(alike) > 1:
            twice += dict.fromkeys(alike)
    return columns, twice
