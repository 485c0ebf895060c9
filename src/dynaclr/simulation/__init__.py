"""Synthetic experiments with known truth, written in the form of real ones.

Read `simulate` (what an entry describes is made) first, then `population` (cells move, divide and
respond), `cell` and `microscope` (their images), `tables` (what a tracker and a person see).
"""

from dynaclr.simulation.simulate import provenance_path, simulate

__all__ = ["provenance_path", "simulate"]
