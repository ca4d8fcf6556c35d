r"""Floating-point operations of sparse policies and learners, counted by a stated rule.

A layer with $I$ inputs, $O$ outputs and the density $d$ takes $d (2 I - 1) O$ operations for each
input (RLx2, appendix A): products and sums of the weights that are not 0, biases and activations
left out. A gradient step takes, for each sample of the batch,

- one pass forward through the target's actor and critics,
- three through the critics: forward, and twice as much backward,
- and for the actor, in every `delay`-th step, three through the actor, and through the critics that
  rate its action one forward and one back to the action. TD3 asks one critic, and SAC both, of
  which the lower counts.

Masks, optimisers, SAC's noise and temperature, and topology steps are left out; those of RigL need
the gradients of all weights, once in so many updates. What this counts is what hardware would need
that skips zeros; the code here multiplies by them.

References:
  Tan et al. 2023, "RLx2", appendix A and table 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

Layer = tuple[int, int, float]
"""Inputs, outputs, and the share of the weights that is not 0."""


def forward(layers: Sequence[Layer]) -> float:
    """Return the operations of a network for one input.

    Examples:
      >>> forward([(17, 256, 1.0), (256, 256, 0.1), (256, 6, 1.0)])
      24595.6
    """
    return float(sum(density * (2 * inputs - 1) * outputs for inputs, outputs, density in layers))


class Networks(NamedTuple):
    """The operations of one pass forward: of the actor, and of one critic."""

    actor: float
    critic: float


def td3(networks: Networks, delay: int = 2) -> float:
    """Return the operations of TD3 for one sample of a gradient step.

    Examples:
      >>> td3(Networks(1.0, 1.0))
      11.5
    """
    actor, critic = networks
    return actor + (2 + 6) * critic + (3 * actor + 2 * critic) / delay


def td3_of_rlx2(networks: Networks) -> float:
    """Return the same by the rule that gives the published table: 2.5 actors and 8 critics.

    It leaves out the critic of the actor's loss.

    Examples:
      >>> dense, sparse = Networks(1.0, 1.0), Networks(0.1, 0.15)
      >>> round(td3_of_rlx2(sparse) / td3_of_rlx2(dense), 3)  # HalfCheetah: .138
      0.138
    """
    return 2.5 * networks.actor + 8 * networks.critic


def sac(networks: Networks) -> float:
    """Return the operations of SAC with two critics for one sample of a gradient step.

    Its actor is sampled for the target and for its own loss, and learns in every step. A target of
    several steps takes no more: it counts the entropy after the last one only.

    Examples:
      >>> sac(Networks(1.0, 1.0))
      16.0
    """
    actor, critic = networks
    return actor + (2 + 6) * critic + 3 * actor + 2 * 2 * critic


def sac_of_rlx2(networks: Networks, n_step: int = 1) -> float:
    """Return the same by the rule that gives the published table: 2.5 actors and 13 critics.

    It was found from the table, which does not tell it, and fits all four tasks to its last digit.
    A target of n steps takes an actor more for each further one, whose entropy counts there.

    Examples:
      >>> dense, sparse = Networks(1.0, 1.0), Networks(0.1, 0.2)
      >>> round(sac_of_rlx2(sparse, 3) / sac_of_rlx2(dense), 3)  # HalfCheetah: .197
      0.197
    """
    return (2.5 + n_step - 1) * networks.actor + 13 * networks.critic
