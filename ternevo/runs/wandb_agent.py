"""The environment variables that an agent of a wandb sweep sets for the process it starts.

`wandb agent` sets WANDB_SWEEP_ID and WANDB_RUN_ID. It also sets others, such as WANDB_PROJECT
and WANDB_SWEEP_PARAM_PATH, which `wandb.init` reads by itself.
"""

import os
from typing import NamedTuple


class AgentTrial(NamedTuple):
    """One trial of a sweep, identified by wandb's ids."""

    sweep: str
    run: str

    @property
    def name(self) -> str:
        """A name for the trial's folder that no other trial has."""
        return f"{self.sweep}-{self.run}"


def trial() -> AgentTrial | None:
    """Return the trial for which an agent started this process, or None if there is none."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return AgentTrial(sweep, run) if sweep and run else None
