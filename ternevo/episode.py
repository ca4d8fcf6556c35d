"""One recorded episode of a saved policy, to look at."""

from typing import NamedTuple

import jax
import numpy as np

from ternevo import actions, observation
from ternevo.policy_file import SavedPolicy
from ternevo.types import Env, EnvState, Key, Memory, Timestep


class Episode(NamedTuple):
    """The states from reset to the end, one more than there are rewards."""

    states: list[EnvState]
    rewards: np.ndarray
    terminated: bool

    @property
    def total(self) -> float:
        """The episode's return."""
        return float(self.rewards.sum())


def record(saved: SavedPolicy, env: Env, key: Key) -> Episode:
    """Run the policy for one episode, step by step, and keep every state.

    Raises:
      ValueError: the policy is for observations or actions of another size.
    """
    obs_size = saved.quantiser.mean.shape[0]
    if obs_size != env.obs_size or saved.action != env.action:
        raise ValueError(
            f"a policy of {saved.env_id} ({obs_size} observations, {saved.action.size} actions) "
            f"does not fit {env.id} ({env.obs_size} observations, {env.action.size} actions)"
        )

    @jax.jit
    def advance(
        key: Key, state: EnvState, memory: Memory, obs: jax.Array
    ) -> tuple[EnvState, Memory, Timestep]:
        quantised = observation.quantise(saved.quantiser, obs)
        memory, output = saved.policy.apply(saved.weights, memory, quantised)
        state, timestep = env.step(key, state, actions.mode(env.action, output))
        return state, memory, timestep

    state, obs = jax.jit(env.reset)(jax.random.fold_in(key, 0))
    states, rewards, memory = [state], [], saved.policy.reset()
    for step in range(1, env.episode_length + 1):
        state, memory, timestep = advance(jax.random.fold_in(key, step), state, memory, obs)
        states.append(state)
        rewards.append(float(timestep.reward))
        obs = timestep.obs
        if timestep.terminated or timestep.truncated:
            break
    return Episode(states, np.asarray(rewards), bool(timestep.terminated))
