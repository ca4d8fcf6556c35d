"""What an agent of a wandb sweep tells the process that it starts, in the environment.

`wandb agent` sets WANDB_SWEEP_ID and WANDB_RUN_ID; the rest of what it sets (WANDB_PROJECT,
WANDB_SWEEP_PARAM_PATH, ...) is for `wandb.init`, which reads it by itself.
"""

import os
from typing import NamedTuple


class AgentTrial(NamedTuple):
    """One trial of a sweep, by wandb's ids."""

    sweep: str
    run: str

    @property
    def name(self) -> str:
        """A name for the trial's folder that no other trial has."""
        return f"{self.sweep}-{self.run}"


def trial() -> AgentTrial | None:
    """Return the trial that an agent started this process for, None if none did."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return AgentTrial(sweep, run) if sweep and run else None
