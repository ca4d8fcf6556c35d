"""The seam of all gradient learners: how one begins, acts, learns and ships.

A learner knows nothing of environments. What collects experience for it
(`strategies/on_policy.py`, `strategies/off_policy.py`) knows nothing of losses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ternevo.rollouts.transitions import Agent
from ternevo.types import Key, Metrics, Params

LearnerState = Any
"""The state of a learner: latents, what does not ship, and the optimiser's state."""


class Learner(NamedTuple):
    """A gradient learner over latents, as pure functions.

    Attributes:
      init: maps a key to a state.
      agent: maps a state and a number of environments to the agent that explores in them.
      update: maps a key, a state and experience to the next state and metrics. What experience
        is depends on the learner: `ppo.Rollout`, or `critics.Batch`.
      params: maps a state to the weights that would ship.
      has_memory: whether it learns from sequences, as the policy has a memory.
    """

    init: Callable[[Key], LearnerState]
    agent: Callable[[LearnerState, int], Agent]
    update: Callable[[Key, LearnerState, Any], tuple[LearnerState, Metrics]]
    params: Callable[[LearnerState], Params]
    has_memory: bool = False
