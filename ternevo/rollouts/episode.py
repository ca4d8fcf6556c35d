"""One recorded episode of a policy, to look at."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from ternevo.arithmetic import actions, observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.policies.policy_file import SavedPolicy
from ternevo.types import Env, EnvState, Key, Memory, Params, Policy, Timestep


class Episode(NamedTuple):
    """The states from reset to the end, one more than there are rewards."""

    states: list[EnvState]
    rewards: np.ndarray
    terminated: bool

    @property
    def total(self) -> float:
        """The episode's return."""
        return float(self.rewards.sum())


def recorder(policy: Policy, env: Env) -> Callable[[Params, Quantiser, Key], Episode]:
    """Return the function that runs weights for one episode, step by step, and keeps every state.

    It compiles once, and then takes other weights, quantisers and keys as they come.
    """

    @jax.jit
    def advance(
        weights: Params,
        quantiser: Quantiser,
        key: Key,
        state: EnvState,
        memory: Memory,
        obs: jax.Array,
    ) -> tuple[EnvState, Memory, Timestep]:
        quantised = observation.quantise(quantiser, obs)
        memory, output = policy.apply(weights, memory, quantised)
        state, timestep = env.step(key, state, actions.mode(env.action, output))
        return state, memory, timestep

    reset = jax.jit(env.reset)

    def play(weights: Params, quantiser: Quantiser, key: Key) -> Episode:
        state, obs = reset(jax.random.fold_in(key, 0))
        states, rewards, memory, terminated = [state], [], policy.reset(), False
        for step in range(1, env.episode_length + 1):
            key_step = jax.random.fold_in(key, step)
            state, memory, timestep = advance(weights, quantiser, key_step, state, memory, obs)
            states.append(state)
            rewards.append(float(timestep.reward))
            obs, terminated = timestep.obs, bool(timestep.terminated)
            if terminated or timestep.truncated:
                break
        return Episode(states, np.asarray(rewards), terminated)

    return play


def record(saved: SavedPolicy, env: Env, key: Key) -> Episode:
    """Run a saved policy for one episode.

    Raises:
      ValueError: the policy is for observations or actions of another size.
    """
    obs_size = saved.quantiser.mean.shape[0]
    if obs_size != env.obs_size or saved.action != env.action:
        raise ValueError(
            f"a policy of {saved.env_id} ({obs_size} observations, {saved.action.size} actions) "
            f"does not fit {env.id} ({env.obs_size} observations, {env.action.size} actions)"
        )
    return recorder(saved.policy, env)(saved.weights, saved.quantiser, key)
