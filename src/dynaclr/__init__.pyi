from .config import ExperimentConfig, ExperimentRegistry
from .data import MultiExperimentDataModule, MultiExperimentTripletDataset
from .index import MultiExperimentIndex
from .losses import NTXentHCL
from .models import ContrastiveEncoder, ResNet3dEncoder
from .sampling import FlexibleBatchSampler
from .training import ClassificationModule, ContrastiveModule, MultiModalContrastiveModule
from .transforms import ChannelDropout

__all__ = [
    "ChannelDropout",
    "ClassificationModule",
    "ContrastiveEncoder",
    "ContrastiveModule",
    "ExperimentConfig",
    "ExperimentRegistry",
    "FlexibleBatchSampler",
    "MultiExperimentDataModule",
    "MultiExperimentIndex",
    "MultiExperimentTripletDataset",
    "MultiModalContrastiveModule",
    "NTXentHCL",
    "ResNet3dEncoder",
]
