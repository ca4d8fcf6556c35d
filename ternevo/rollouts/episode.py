"""One recorded episode of a policy, to look at."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from ternevo.arithmetic.observation import Quantiser
from ternevo.deploy import runtime
from ternevo.host import showing
from ternevo.keys import MEMORY
from ternevo.policies import contract
from ternevo.policies.acting import Actor, Seen, seen_after, seen_first
from ternevo.policies.policy_file import SavedPolicy
from ternevo.rollouts.lanes import begin_episode
from ternevo.types import Env, EnvState, Key, Memory, Params, Policy, Timestep


class Recording(NamedTuple):
    """One episode: all states from reset to the end, one more than the rewards.

    Of a simulator outside JAX, states are a `Picture` of some of its steps.

    `observations` [steps, obs] are what the policy saw before each step.
    """

    states: list[EnvState]
    observations: np.ndarray
    rewards: np.ndarray
    terminated: bool

    @property
    def total(self) -> float:
        """The episode's return."""
        return float(self.rewards.sum())


def recorder(policy: Policy, env: Env) -> Callable[[Params, Quantiser, Key], Recording]:
    """Return the function that runs weights for one episode, step by step, and keeps every state.

    It compiles only once, and then accepts other weights, quantisers and keys.
    """
    if env.host:
        return _recorder_outside(policy, env)
    actor = Actor(policy, env.obs, env.action)

    @jax.jit
    def advance(
        weights: Params,
        quantiser: Quantiser,
        key: Key,
        state: EnvState,
        memory: Memory,
        seen: Seen,
    ) -> tuple[EnvState, Memory, Timestep]:
        memory, action = actor.act(weights, quantiser, memory, seen)
        state, timestep = env.step(key, state, action)
        return state, memory, timestep

    @jax.jit
    def begin(weights: Params, key: Key) -> tuple[EnvState, jax.Array, Memory]:
        memory = policy.reset(weights, jax.random.fold_in(key, MEMORY))
        return *begin_episode(env, key), memory

    def play(weights: Params, quantiser: Quantiser, key: Key) -> Recording:
        state, obs, memory = begin(weights, key)
        states, shown, rewards, seen, terminated = [state], [], [], seen_first(obs), False
        for step in range(1, env.episode_length + 1):
            key_step = jax.random.fold_in(key, step)
            shown.append(np.asarray(seen.obs))
            state, memory, timestep = advance(weights, quantiser, key_step, state, memory, seen)
            states.append(state)
            rewards.append(float(timestep.reward))
            seen, terminated = seen_after(timestep), bool(timestep.terminated)
            if terminated or timestep.truncated:
                break
        return Recording(states, np.stack(shown), np.asarray(rewards), terminated)

    return play


def _recorder_outside(policy: Policy, env: Env) -> Callable[[Params, Quantiser, Key], Recording]:
    """Return a recorder of a simulator outside JAX; its states are `Picture`s."""
    assert env.host and policy.encoder
    host, encode = env.host, policy.encoder()

    def play(weights: Params, quantiser: Quantiser, key: Key) -> Recording:
        weights, quantiser = jax.tree.map(np.asarray, (weights, quantiser))
        deployed = runtime.Policy.from_bytes(encode(weights, quantiser))
        seed = int(jax.random.bits(key, (), np.uint32) >> 1)
        found = showing.play(host.suite, host.name, deployed, seed, env.episode_length)
        return Recording(*found)

    return play


def record(saved: SavedPolicy, env: Env, key: Key) -> Recording:
    """Run a saved policy for one episode.

    Raises:
      ValueError: the policy is for observations or actions of another size.
    """
    check_fits(saved, env)
    env = contract.shown_to(saved.settings, env)
    return recorder(saved.policy, env)(saved.weights, saved.quantiser, key)


def check_fits(saved: SavedPolicy, env: Env) -> None:
    """Refuse an environment with other observations or actions than those of a saved policy.

    Raises:
      ValueError: they differ.
    """
    obs_size = saved.quantiser.mean.shape[0]
    if obs_size != env.obs.size or saved.action != env.action:
        raise ValueError(
            f"a policy of {saved.env_id} ({obs_size} observations, {saved.action.size} actions) "
            f"does not fit {env.id} ({env.obs.size} observations, {env.action.size} actions)"
        )
