"""rejax's SAC on a brax environment, to tell our learner from the task.

    python experiments/brax_sac_check.py --env hopper@spring

prints the return of its policy without noise during training, as `python -m ternevo.run` does for
ours. It needs the extra `bench` (rejax 0.1.3). rejax's actor has a spread for each observation,
both networks see floats normalised by their moments, and a time limit counts as an end.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rejax  # pyright: ignore[reportMissingImports] (of the extra "bench")
import tyro
from gymnax.environments import spaces

from ternevo.envs import brax
from ternevo.types import Env, Key

FIRST_EPISODES = 77
"""The seed of the episodes of an evaluation, the same for each."""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Train rejax's SAC, and print its learning curve."""

    env: str = "hopper@spring"
    """A brax environment, with a backend or without."""
    episode_length: int = 1000
    """Time limit, in training and evaluation."""
    seed: int = 0
    """The seed."""
    num_steps: int = 196_608
    """Environment steps."""
    eval_every: int = 16_384
    """Environment steps between evaluations."""
    num_episodes: int = 32
    """Episodes of an evaluation."""
    num_envs: int = 8
    """Environments side by side."""
    updates_per_step: float = 1.0
    """Gradient steps per environment step."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Hidden layers, with relu, of the policy and of the critics."""
    batch_size: int = 256
    """Samples of a gradient step."""
    buffer_size: int = 200_000
    """Environment steps that are kept."""
    learning_starts: int = 8192
    """Environment steps before learning starts."""
    lr: float = 3e-4
    """Learning rate of Adam."""
    gamma: float = 0.99
    """Discount of a step."""
    tau: float = 0.005
    """How far targets move in each update."""


class Limits(NamedTuple):
    """The params that rejax hands to environments."""

    max_steps_in_episode: int


class Merging:
    """One of our environments as rejax takes it: auto-reset, and one `done` for both ends."""

    def __init__(self, env: Env) -> None:
        """Wrap an environment with continuous actions in [-1, 1]."""
        self.env = env
        self.num_actions = env.action.size
        self.default_params = Limits(env.episode_length)

    def reset(self, key: Key, params: Any = None) -> tuple[jax.Array, Any]:
        """Return the first observation and the state."""
        del params
        state, obs = self.env.reset(key, self.env.draw_task(key))
        return obs, state

    def step(self, key: Key, state: Any, action: jax.Array, params: Any = None) -> tuple:
        """Return observation, state, reward, done and info."""
        after, timestep = self.env.step(key, state, action)
        is_over = timestep.terminated | timestep.truncated
        first = self.reset(key, params)
        obs, after = jax.tree.map(partial(jnp.where, is_over), first, (timestep.obs, after))
        return obs, after, timestep.reward, is_over, {}

    def action_space(self, params: Any = None) -> spaces.Box:
        """Return the space of actions."""
        return spaces.Box(low=-1.0, high=1.0, shape=(self.num_actions,))

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Return the space of observations."""
        return spaces.Box(low=-jnp.inf, high=jnp.inf, shape=(self.env.obs.size,))


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and print a line for each evaluation."""
    config = tyro.cli(CheckConfig, args=argv, use_underscores=True)
    env = brax.make(config.env, config.episode_length)
    algorithm = _algorithm(config, env)

    @partial(jax.jit, donate_argnums=0)
    def advance(state: Any) -> Any:
        rounds = config.eval_every // config.num_envs
        state = jax.lax.fori_loop(0, rounds, lambda _, x: algorithm.train_iteration(x), state)
        return jax.tree.map(_strongly_typed, state)

    evaluate = jax.jit(partial(_evaluate, config, env, algorithm))
    state = jax.jit(algorithm.init_state)(jax.random.key(config.seed))
    state = jax.tree.map(_strongly_typed, state)
    for done in range(config.eval_every, config.num_steps + 1, config.eval_every):
        state = advance(state)
        returns, length = evaluate(state)
        print(f"{done:,} steps: return {returns:.0f}, length {length:.0f}", flush=True)


def _algorithm(config: CheckConfig, env: Env) -> Any:
    return rejax.SAC.create(
        env=Merging(env),
        agent_kwargs={"activation": "relu"},
        hidden_layer_sizes=config.hidden_sizes,
        total_timesteps=config.num_steps,
        learning_rate=config.lr,
        gamma=config.gamma,
        polyak=1 - config.tau,
        num_envs=config.num_envs,
        buffer_size=config.buffer_size,
        fill_buffer=config.learning_starts,
        batch_size=config.batch_size,
        num_epochs=max(1, round(config.updates_per_step * config.num_envs)),
        normalize_observations=True,
        target_entropy_ratio=None,
    )


def _strongly_typed(x: Any) -> jax.Array:
    """Fix the dtype of values from Python numbers; otherwise `advance` would compile twice."""
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)


def _evaluate(config: CheckConfig, env: Env, algorithm: Any, state: Any) -> Any:
    """Return the mean return and length of episodes with the median action."""

    def act(obs: jax.Array) -> jax.Array:
        seen = algorithm.normalize_obs(state.obs_rms_state, obs)
        drawn = algorithm.actor.apply(state.actor_ts.params, seen, method="_action_dist")
        return jnp.tanh(drawn.mean())

    def one_step(carry: tuple, key: Key) -> tuple[tuple, None]:
        states, obs, is_alive, returns, length = carry
        states, timestep = jax.vmap(env.step, (None, 0, 0))(key, states, act(obs))
        returns = returns + jnp.where(is_alive, timestep.reward, 0.0)
        goes_on = is_alive & ~(timestep.terminated | timestep.truncated)
        return (states, timestep.obs, goes_on, returns, length + is_alive), None

    keys = jax.random.split(jax.random.key(FIRST_EPISODES), config.num_episodes)
    states, obs = jax.vmap(lambda key: env.reset(key, env.draw_task(key)))(keys)
    nothing = jnp.zeros(config.num_episodes)
    carry = states, obs, nothing == 0, nothing, nothing
    steps = jax.random.split(jax.random.key(0), config.episode_length)
    *_, returns, length = jax.lax.scan(one_step, carry, steps)[0]
    return jnp.mean(returns), jnp.mean(length)


if __name__ == "__main__":
    main()
