"""Training: Lightning modules, callbacks, fitting and embedding."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cli": ["TrainingCLI", "check_training"],
        "embedding": ["embed", "embed_intensity"],
        "fit": ["train"],
        "inspection": ["audit_batches", "inspect_batches"],
        "modules": ["ContrastiveModule"],
    },
)
