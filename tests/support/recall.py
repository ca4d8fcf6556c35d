"""Every episode of `probe/recall`, so that an expected return is exact."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ternevo.types import Env

CUE = slice(0, 1)
FIRST = slice(0, 2)


def all_episodes(env: Env) -> jax.Array:
    """Return all episodes, each as its cue and the distractors of all observations."""
    return jnp.array(list(itertools.product([-1.0, 1.0], repeat=env.episode_length + 2)))


def returns_of_all(env: Env, act: Callable, memory) -> jax.Array:
    """Return the returns of all episodes.

    Args:
      env: the probe.
      act: (memory, obs) to (memory, action).
      memory: the memory at the start.
    """

    def play(signs):
        def one_step(carry, _):
            state, memory, obs = carry
            memory, action = act(memory, obs)
            state, timestep = env.step(jax.random.key(0), state, action)
            return (state, memory, timestep.obs), timestep.reward

        state, _ = env.reset(jax.random.key(0), ())
        begun = state._replace(inner=signs, obs=signs[FIRST]), memory, signs[FIRST]
        return jnp.sum(jax.lax.scan(one_step, begun, length=env.episode_length)[1])

    return jax.vmap(play)(all_episodes(env))
