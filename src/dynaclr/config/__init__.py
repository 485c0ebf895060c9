"""Everything a user writes, as validated models: a section's keys and defaults are in its file.

Read `experiment` (an experiment entry) and `project` (the workflow's configuration) first. `errors`
holds what every room raises for a person to read.
"""

from dynaclr.config.collection import CollectionConfig
from dynaclr.config.comparison import ComparisonConfig
from dynaclr.config.errors import Problems, UserError
from dynaclr.config.evaluation import EvaluationConfig, TaskConfig
from dynaclr.config.experiment import ChannelConfig, ExperimentConfig
from dynaclr.config.model import ModelConfig
from dynaclr.config.registry import ExperimentRegistry, load_entry
from dynaclr.config.report import ReportConfig
from dynaclr.config.simulation import SimulationConfig

__all__ = [
    "ChannelConfig",
    "CollectionConfig",
    "ComparisonConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "ExperimentRegistry",
    "ModelConfig",
    "Problems",
    "ReportConfig",
    "SimulationConfig",
    "TaskConfig",
    "UserError",
    "load_entry",
]
