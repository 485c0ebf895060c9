"""Everything a user writes, as validated models; the one place where a key gets its default.

Read `experiment` (an experiment entry) and `project` (the workflow's configuration) first. `errors`
holds what every room raises for a person to read.
"""

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.experiment import ChannelConfig, ExperimentConfig
from dynaclr.config.registry import ExperimentRegistry, load_entry
from dynaclr.config.simulation import SimulationConfig

__all__ = [
    "ChannelConfig",
    "ExperimentConfig",
    "ExperimentRegistry",
    "Problems",
    "SimulationConfig",
    "UserError",
    "load_entry",
]
