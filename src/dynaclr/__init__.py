"""DynaCLR: from many time-lapse microscopy experiments to one embedding of cell states.

Public names are imported when they are first used, so ``import dynaclr`` takes no time and a
part can be used without the packages of the others.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data": ["MultiExperimentDataModule", "MultiExperimentTripletDataset"],
        "config": ["ExperimentConfig", "ExperimentRegistry"],
        "index": ["MultiExperimentIndex"],
        "losses": ["NTXentHCL"],
        "models": ["ContrastiveEncoder", "ResNet3dEncoder"],
        "sampling": ["FlexibleBatchSampler"],
        "training": ["ClassificationModule", "ContrastiveModule", "MultiModalContrastiveModule"],
        "transforms": ["ChannelDropout"],
    },
)
