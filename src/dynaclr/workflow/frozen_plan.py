"""What the jobs depend on that make frozen models of weights that are there."""

from __future__ import annotations

import os
import shlex

from dynaclr.config.model import ModelConfig
from dynaclr.config.pretrained import find_pretrained, own_checkpoint, own_training
from dynaclr.io.code_digest import code_digest
from dynaclr.workflow.fingerprint import checkpoint_fingerprint, modified_digests
from dynaclr.workflow.plan import Plan


class FrozenPlan:
    """The frozen models of a project as their rule sees them.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def models(self) -> list[str]:
        """Names of all frozen models."""
        return [name for name, model in self.plan.models.items() if model.frozen]

    def inputs(self, model: str) -> list[str]:
        """The training of this project that a frozen model is made of, if it is one."""
        given = self.plan.models[model]
        return [f"{own_checkpoint(given)}.digest"] if self._is_own(given) else []

    def content(self, model: str) -> dict[str, str]:
        """Settings of a frozen model and the digest of its weights, if they come from elsewhere."""
        given = self.plan.models[model]
        assert given.pretrained is not None, model
        checkpoint = find_pretrained(given.pretrained).checkpoint
        if self._is_own(given):
            return {"modified": modified_digests(checkpoint)}
        return {
            "settings": self.plan.training(model),
            "checkpoint": checkpoint_fingerprint(checkpoint),
        }

    def options(self, model: str) -> str:
        """Options of `dynaclr freeze`: weights, and settings where these lie elsewhere."""
        given = self.plan.models[model]
        options = ["--pretrained", os.path.relpath(str(given.pretrained))]
        if given.training is not None:
            options += ["--training", self.plan.training(model)]
        return shlex.join(options)

    def code(self, model: str) -> str:
        """Digest of the code that makes a frozen model, the user's own classes included."""
        return code_digest("training.frozen", config=self.plan.settings[model]["model"])

    def _is_own(self, given: ModelConfig) -> bool:
        return own_training(given, self.plan.models) is not None
