"""Training: Lightning modules, callbacks, and one training from collection to checkpoint.

Read `fit` (what a training does) and `contrastive` (what it optimizes) first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "autoencoder": ["BetaVaeModule", "MaskedAutoencoderModule"],
        "builder": ["TrainingCLI"],
        "check": ["check_project", "check_training"],
        "classification": ["ClassificationModule"],
        "contrastive": ["ContrastiveModule"],
        "embedding_figure": ["EmbeddingFigure"],
        "fit": ["train"],
        "health": ["CollapseWarning", "StepTimes"],
        "multimodal": ["MultiModalContrastiveModule"],
        "translation": ["TranslationModule"],
    },
)
