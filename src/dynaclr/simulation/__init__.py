"""Simulation: experiments with known truth, written in the form of real ones.

`simulate` makes what an entry describes.
"""

from dynaclr.simulation.simulate import provenance_path, simulate

__all__ = ["provenance_path", "simulate"]
