"""rejax's DQN and SAC with the settings of a case, and a policy of what they learned.

rejax 0.1.3 takes five values from `step`, and gymnax 1 returns six, so its environments are wrapped
into one that merges terminations and truncations, as gymnax 0.0.9 did. The package
distrax, which it needs, is imported here and nowhere else.
"""

from functools import partial
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import rejax  # pyright: ignore[reportMissingImports] (of the extra "bench")

from ternevo.bench.cases import BesideRejax
from ternevo.bench.contest import Act, Runner
from ternevo.types import Key


def runner(setting: BesideRejax) -> Runner:
    """Return rejax's learner; its states are donated, as ours are."""
    algorithm = _algorithm(setting)

    def init(key: Key) -> Any:
        return jax.tree.map(_strongly_typed, jax.jit(algorithm.init_state)(key))

    @partial(jax.jit, donate_argnums=0)
    def advance(state: Any, num_generations: jax.Array) -> Any:
        rounds = num_generations * (setting.steps_of_generation // setting.num_envs)
        state = jax.lax.fori_loop(0, rounds, lambda _, x: algorithm.train_iteration(x), state)
        return jax.tree.map(_strongly_typed, state)

    return Runner("rejax", init, advance, partial(_final, setting, algorithm))


def _strongly_typed(x: Any) -> jax.Array:
    """Fix the dtype of values from Python numbers; otherwise `advance` would compile twice."""
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)


def _algorithm(setting: BesideRejax) -> Any:
    """Return the algorithm with its settings. Observations are normalised, as ours are."""
    env, params = merging(setting.env.partition("/")[2], setting.episode_length)
    common = {
        "env": env,
        "env_params": params,
        "agent_kwargs": {"activation": "relu"},
        "total_timesteps": setting.num_steps,
        "learning_rate": setting.lr,
        "gamma": setting.gamma,
        "polyak": 1 - setting.tau,
        "num_envs": setting.num_envs,
        "buffer_size": setting.buffer_size,
        "fill_buffer": setting.learning_starts,
        "batch_size": setting.batch_size,
        "num_epochs": setting.num_updates,
        "normalize_observations": True,
    }
    if setting.algorithm == "dqn":
        return rejax.DQN.create(**common, exploration_fraction=setting.exploration_fraction)
    sizes = setting.hidden_sizes
    return rejax.SAC.create(**common, hidden_layer_sizes=sizes, target_entropy_ratio=None)


def merging(name: str, episode_length: int) -> tuple[Any, Any]:
    """Return a gymnax environment whose `step` returns five values, and its params.

    It is a subclass: rejax calls methods of an environment on the environment itself.
    """
    env, params = gymnax.make(name)

    class Merging(type(env)):
        """The environment of gymnax 0.0.9: one `done` for both."""

        @partial(jax.jit, static_argnames=("self",))
        def step(self, key: Key, state: Any, action: Any, params: Any = None) -> Any:
            """Return observation, state, reward, done and info."""
            obs, state, reward, terminated, truncated, info = super().step(
                key, state, action, params
            )
            return obs, state, reward, terminated | truncated, info

    return Merging(), params.replace(max_steps_in_episode=episode_length)


def _final(setting: BesideRejax, algorithm: Any, state: Any) -> Act:
    """Return what rejax's final policy does: its best action, or the median one."""

    def act(obs: jax.Array) -> jax.Array:
        seen = algorithm.normalize_obs(state.obs_rms_state, obs)[None]
        if setting.algorithm == "dqn":
            return jnp.argmax(algorithm.agent.apply(state.q_ts.params, seen)[0])
        actor = algorithm.actor
        drawn = actor.apply(state.actor_ts.params, seen, method="_action_dist")
        return actor.action_loc + actor.action_scale * jnp.tanh(drawn.mean()[0])

    return act
