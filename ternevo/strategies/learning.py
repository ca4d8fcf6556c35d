"""What the strategies of gradient learners report, and how they sum observations up."""

import jax
import jax.numpy as jnp

from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.observation import Quantiser, Sums
from ternevo.machine import devices
from ternevo.rollouts.transitions import Tally, Yardsticks
from ternevo.types import Env, Metrics, ObservationMoments, PolicyParams


def moments_of_observations(env: Env, tally: Tally, yardsticks: Yardsticks) -> ObservationMoments:
    """Return the moments of the observations acted on."""
    if not observation.summed_size(env.obs):
        return observation.empty(env.obs.size)
    return moments_of(tally.observations, yardsticks.observations)


def moments_of(sums: Sums, yardstick: Quantiser) -> ObservationMoments:
    """Return the moments of the sums of all environments."""
    of_each = observation.from_sums(sums, yardstick.scale)
    return devices.combine_in_order(observation.merge, of_each)


def episode_metrics(tally: Tally) -> Metrics:
    """Return statistics of the episodes that ended; NaN if none did."""
    count = jnp.sum(tally.episodes).astype(jnp.float32)
    return {
        "return/mean": jnp.sum(tally.returns) / count,
        # As floats: the sum over long episodes of many environments may overflow an int32.
        "episode/length": jnp.sum(tally.lengths.astype(jnp.float32)) / count,
    }


def weight_metrics(before: PolicyParams, after: PolicyParams) -> Metrics:
    """Return the share of zeros, and the share of values that the update changed."""
    pairs = zip(ternary.tensors(before.weights), ternary.tensors(after.weights), strict=True)
    changed: list[jax.Array] = [old.values != new.values for old, new in pairs]
    return {
        "weights/zeros": ternary.zero_fraction(after.weights),
        "weights/changed": ternary.mean_over(changed),
    }
