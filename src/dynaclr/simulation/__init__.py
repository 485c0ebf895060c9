"""Simulation: experiments with known truth, written in the form of real ones.

`simulate` makes what an entry describes; `overview_figure` shows it.
"""

from dynaclr.simulation.overview import overview_figure
from dynaclr.simulation.simulate import provenance_path, simulate

__all__ = ["overview_figure", "provenance_path", "simulate"]
