"""Training: Lightning modules, callbacks, fitting and embedding."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "baselines": ["embed_baselines", "fit_pixels"],
        "check": ["check_project"],
        "classification": ["ClassificationModule"],
        "cli": ["TrainingCLI", "check_training"],
        "contrastive": ["ContrastiveModule"],
        "embedding": ["embed"],
        "embedding_figure": ["EmbeddingFigure"],
        "fit": ["train"],
        "health": ["CollapseWarning", "StepTimes"],
        "inspection": ["audit_batches", "inspect_batches"],
        "multimodal": ["MultiModalContrastiveModule"],
        "thumbnails": ["write_thumbnails"],
    },
)
