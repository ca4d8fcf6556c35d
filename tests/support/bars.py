"""The smallest task that is seen: which way a bar lies, wherever it is."""

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep

SIZE, LENGTH = 5, 3


def pictures() -> np.ndarray:
    """Return all pictures [30, 5, 5] of a bar of 3 bits: 15 that lie, then 15 that stand."""
    lying = np.zeros((SIZE, SIZE - LENGTH + 1, SIZE, SIZE), np.float32)
    for row, column in np.ndindex(lying.shape[:2]):
        lying[row, column, row, column : column + LENGTH] = 1
    lying = lying.reshape(-1, SIZE, SIZE)
    return np.concatenate([lying, lying.transpose(0, 2, 1)])


def bars() -> Env:
    """One step with a picture drawn from all; the action pays 1 if it is 1 where the bar stands.

    Optimum 1. A constant action gets 1/2, and so does every linear rule that weighs all places
    alike, since each picture has three bits.
    """
    shown = jnp.asarray(pictures()).reshape(-1, SIZE * SIZE)

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        place = jax.random.randint(key, (), 0, len(shown))
        return place, shown[place]

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        reward = jnp.asarray(action == (state >= len(shown) // 2), jnp.float32)
        return state, Timestep(shown[state], reward, jnp.asarray(True), jnp.asarray(False))

    spec = ObsSpec((SIZE, SIZE, 1), "bits")
    return Env("", spec, ActionSpec("discrete", 2), 1, reset, step)
