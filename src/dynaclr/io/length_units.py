"""Units of length in micrometres: those that NGFF names (of UDUNITS-2), and common symbols."""

from __future__ import annotations

_PREFIXES = {
    **{"yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9},
    **{"micro": -6, "milli": -3, "centi": -2, "deci": -1, "": 0, "hecto": 2, "kilo": 3},
    **{"mega": 6, "giga": 9, "tera": 12, "peta": 15, "exa": 18, "zetta": 21, "yotta": 24},
}
_MICROMETRES = {
    **{f"{prefix}meter": 10.0 ** (power + 6) for prefix, power in _PREFIXES.items()},
    **{"angstrom": 1e-4, "inch": 25_400.0, "foot": 304_800.0, "yard": 914_400.0},
    **{"mile": 1.609344e9, "parsec": 3.0856775814913673e22, "micron": 1.0},
    **{"um": 1.0, "\u03bcm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "å": 1e-4},
}


def micrometres_of(unit: str) -> float | None:
    """Micrometres in a unit; None where it is none of length that is known.

    The case of names, their plural and British spelling do not matter.
    """
    # Case folding makes a Greek mu of the micro sign.
    name = unit.strip().casefold().replace("metre", "meter")
    return _MICROMETRES.get(name, _MICROMETRES.get(name.removesuffix("s")))
