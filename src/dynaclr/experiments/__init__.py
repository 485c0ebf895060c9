"""Experiments: entries, registries and projects in YAML, turned into validated objects.

This room also holds what every room that touches the disk shares: readable errors, whole-or-nothing
files, digests, the plate's metadata and the names of variants.
"""

from dynaclr.experiments.config import ChannelConfig, ExperimentConfig
from dynaclr.experiments.errors import Problems, UserError
from dynaclr.experiments.plate import Plate, Position
from dynaclr.experiments.registry import ExperimentRegistry, load_entry
from dynaclr.experiments.simulation_config import SimulationConfig

__all__ = [
    "ChannelConfig",
    "ExperimentConfig",
    "ExperimentRegistry",
    "Plate",
    "Position",
    "Problems",
    "SimulationConfig",
    "UserError",
    "load_entry",
]
