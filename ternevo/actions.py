"""From a policy's raw output to an action of the environment."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ternevo.types import ActionSpec


def mode(spec: ActionSpec, output: Float[Array, " size"]) -> Shaped[Array, "..."]:
    """Return the action that the output stands for.

    Discrete: the argmax, the lowest index wins a tie. Continuous: the output
    clipped to [-1, 1] and mapped linearly to [low, high]; the mapping is the
    one step outside the integer contract.
    """
    if spec.kind == "discrete":
        return jnp.argmax(output).astype(jnp.int32)
    low, high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
    # About the centre: for a symmetric range nothing is added, and so nothing rounded, twice.
    action = (low + high) / 2 + jnp.clip(output, -1.0, 1.0) * ((high - low) / 2)
    return jnp.clip(action, low, high)
