"""Tiny environments with a known optimum, for tests.

A learner or a rollout that fails on one of these has a bug. Observations are
float32 vectors, and each docstring states the best possible return.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.envs import traces
from ternevo.names import lookup
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep

TWO_ACTIONS = ActionSpec("discrete", 2)
ONE_FORCE = ActionSpec("continuous", 1, (-1.0,), (1.0,))
NUM_CELLS = 5
NUM_LIVES = 3
OBS_NAMES = {
    "sign": ("x, -1 or +1",),
    "corridor": tuple(f"in cell {cell}" for cell in range(NUM_CELLS)),
    "afterlife": ("1 while alive",),
    "countdown": ("share of time left",),
    "random_length": ("length / time limit",),
    "double_integrator": ("position", "velocity (position per step)"),
    "recall": ("cue, -1 or +1, then 0", "distractor, -1 or +1"),
}
"""What the components of an observation are; the other probes show a constant."""
ACTION_NAMES = {
    "bandit": ("pays nothing", "pays 1"),
    "sign": ("say -1", "say +1"),
    "target": ("guess",),
    "corridor": ("go left", "go right"),
    "nan": ("pays 1", "pays NaN"),
    "double_integrator": ("push",),
    "hidden_arm": ("arm 0", "arm 1"),
    "recall": ("say -1", "say +1"),
}
"""What the actions are; those of the other probes change nothing."""


class ProbeState(NamedTuple):
    """The state of a probe: steps done (int32), memory, and current observation (float32)."""

    step: jax.Array
    inner: Any
    obs: jax.Array


def bandit(episode_length: int = 1) -> Env:
    """One step with observation 1; action 1 pays 1 and action 0 pays nothing. Optimum 1."""

    def move(inner: Any, action: jax.Array, step: jax.Array) -> tuple:
        return inner, action == 1, True

    return _env("bandit", TWO_ACTIONS, episode_length, lambda _: (), _show_one, move)


def sign(episode_length: int = 1) -> Env:
    """One step with observation x, -1 or +1; the action pays 1 if it equals x > 0. Optimum 1."""

    def start(key: Key) -> jax.Array:
        return jax.random.rademacher(key, (1,), jnp.float32)

    def move(x: jax.Array, action: jax.Array, step: jax.Array) -> tuple:
        return x, action == (x[0] > 0), True

    return _env("sign", TWO_ACTIONS, episode_length, start, lambda x, _: x, move)


def target(episode_length: int = 1) -> Env:
    """One step; the action a in [-1, 1] pays -(a - 1/2)^2. Optimum 0, at a = 1/2."""

    def move(inner: Any, action: jax.Array, step: jax.Array) -> tuple:
        return inner, -((action[0] - 0.5) ** 2), True

    return _env("target", ONE_FORCE, episode_length, lambda _: (), _show_one, move)


def corridor(episode_length: int = 20) -> Env:
    """Five cells in a row, shown one-hot; the right end pays 1 and terminates.

    Action 1 goes right, 0 goes left, and walls block. Optimum 1 by always going
    right, which takes 4 steps; 0 if the episode is shorter.
    """

    def move(cell: jax.Array, action: jax.Array, step: jax.Array) -> tuple:
        cell = jnp.clip(cell + 2 * action - 1, 0, NUM_CELLS - 1)
        is_end = cell == NUM_CELLS - 1
        return cell, is_end, is_end

    def observe(cell: jax.Array, step: jax.Array) -> jax.Array:
        return jax.nn.one_hot(cell, NUM_CELLS)

    return _env("corridor", TWO_ACTIONS, episode_length, _start_at_zero, observe, move)


def afterlife(episode_length: int = 10) -> Env:
    """Terminates at step 3; if stepped further, it keeps paying 1 and shows 1e6.

    Every action pays 1. Optimum min(3, episode_length), the return of every
    policy: a larger return means that rewards after the end were counted.
    """

    def move(inner: Any, action: jax.Array, step: jax.Array) -> tuple:
        return inner, 1.0, step >= NUM_LIVES

    def observe(inner: Any, step: jax.Array) -> jax.Array:
        return jnp.where(step < NUM_LIVES, 1.0, 1e6)[None]

    return _env("afterlife", TWO_ACTIONS, episode_length, lambda _: (), observe, move)


def countdown(episode_length: int = 20) -> Env:
    """Never terminates, pays 1 for every step, and shows the share of time left.

    Optimum episode_length, the return of every policy; only the time limit ends an episode.
    """

    def move(inner: Any, action: jax.Array, step: jax.Array) -> tuple:
        return inner, 1.0, False

    def observe(inner: Any, step: jax.Array) -> jax.Array:
        return ((episode_length - step) / episode_length)[None]

    return _env("countdown", TWO_ACTIONS, episode_length, lambda _: (), observe, move)


def nan(episode_length: int = 1) -> Env:
    """One step; action 0 pays 1 and action 1 pays NaN. Optimum 1."""

    def move(inner: Any, action: jax.Array, step: jax.Array) -> tuple:
        return inner, jnp.where(action == 0, 1.0, jnp.nan), True

    return _env("nan", TWO_ACTIONS, episode_length, lambda _: (), _show_one, move)


def random_length(episode_length: int = 20) -> Env:
    """Pays 1 for every step and terminates after n steps; shows n / episode_length.

    n is drawn at reset, uniformly from 1 to episode_length. Optimum n, the
    return of every policy, (episode_length + 1) / 2 on average.
    """

    def start(key: Key) -> jax.Array:
        return jax.random.randint(key, (), 1, episode_length + 1)

    def move(length: jax.Array, action: jax.Array, step: jax.Array) -> tuple:
        return length, 1.0, step >= length

    def observe(length: jax.Array, step: jax.Array) -> jax.Array:
        return (length / episode_length)[None]

    return _env("random_length", TWO_ACTIONS, episode_length, start, observe, move)


def double_integrator(episode_length: int = 20) -> Env:
    """Push a mass, at rest in [-1, 1], to 0: v += a, x += v; the reward is -x^2.

    The observation is (x, v), and an episode never terminates. Optimum 0, by
    a = -x - v: the mass is at 0 after one step and stays there from the second.
    """

    def start(key: Key) -> jax.Array:
        return jnp.array([1.0, 0.0]) * jax.random.uniform(key, minval=-1.0)

    def move(mass: jax.Array, action: jax.Array, step: jax.Array) -> tuple:
        velocity = mass[1] + jnp.clip(action[0], -1.0, 1.0)
        position = mass[0] + velocity
        return jnp.stack([position, velocity]), -(position**2), False

    return _env("double_integrator", ONE_FORCE, episode_length, start, lambda x, _: x, move)


def hidden_arm(episode_length: int = 1) -> Env:
    """A family of tasks: one step with observation 1; the action that equals the task pays 1.

    The task, 0 or 1, is hidden, so the best mean return of a single episode is 1/2.
    Over a lifetime of n episodes, a policy that sees rewards can find the task in the first one.
    Its last episode then pays 1 in every task, and all episodes together n - 1/2 on average.
    """

    def move(arm: Any, action: jax.Array, step: jax.Array) -> tuple:
        return arm, action == arm, True

    env = _env("hidden_arm", TWO_ACTIONS, episode_length, lambda _: (), _show_one, move)

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        state, obs = env.reset(key, ())
        return state._replace(inner=task), obs

    return env._replace(reset=reset, draw_task=lambda key: jax.random.randint(key, (), 0, 2))


def recall(episode_length: int = 5) -> Env:
    """Repeat in the last step a cue, -1 or +1, that is shown only in the first one.

    Each step also shows a distractor, a fair coin of its own. The last action pays 1 if it is that
    of the cue, and the actions before change nothing; then it terminates. Optimum 1.

    From 2 steps on, a policy without memory gets 1/2, whatever it does. In the last step it sees 0
    and a coin, which say nothing of the cue, so its action is that of the cue in half the episodes.
    """

    def start(key: Key) -> jax.Array:
        """Return the cue, and the distractor of each observation."""
        return jax.random.rademacher(key, (episode_length + 2,), jnp.float32)

    def move(signs: jax.Array, action: jax.Array, step: jax.Array) -> tuple:
        is_last = step == episode_length
        return signs, is_last & (action == (signs[0] > 0)), is_last

    def observe(signs: jax.Array, step: jax.Array) -> jax.Array:
        return jnp.stack([jnp.where(step == 0, signs[0], 0.0), signs[step + 1]])

    return _env("recall", TWO_ACTIONS, episode_length, start, observe, move)


PROBES: dict[str, Callable[..., Env]] = {
    "bandit": bandit,
    "sign": sign,
    "target": target,
    "corridor": corridor,
    "afterlife": afterlife,
    "countdown": countdown,
    "nan": nan,
    "random_length": random_length,
    "double_integrator": double_integrator,
    "hidden_arm": hidden_arm,
    "recall": recall,
}


def names() -> tuple[str, ...]:
    """Return the names of the probes."""
    return tuple(PROBES)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a probe, described at its function.

    Raises:
      UnknownName: there is no probe of that name.
    """
    probe = lookup("probe", name, PROBES)
    return probe() if episode_length is None else probe(episode_length)


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw the observations of an episode over time into `<stem>.png`."""
    observations = np.stack([np.asarray(episode.obs) for episode in trajectory])
    return traces.draw(f"probe/{name}", observations, stem)


def _env(
    name: str,
    action: ActionSpec,
    episode_length: int,
    start: Callable[[Key], Any],
    observe: Callable[[Any, jax.Array], jax.Array],
    move: Callable[[Any, jax.Array, jax.Array], tuple],
) -> Env:
    """Make an `Env` of a probe.

    Args:
      name: the probe's name.
      action: the action spec.
      episode_length: the time limit.
      start: key to the initial memory.
      observe: (memory, steps done) to the observation.
      move: (memory, action, steps done including this) to (memory, reward, terminated).
    """

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        step, inner = jnp.zeros((), jnp.int32), start(key)
        obs = jnp.asarray(observe(inner, step), jnp.float32)
        return ProbeState(step, inner, obs), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        count = state.step + 1
        inner, reward, terminated = move(state.inner, action, count)
        obs = jnp.asarray(observe(inner, count), jnp.float32)
        terminated = jnp.asarray(terminated, bool)
        truncated = (count >= episode_length) & ~terminated
        timestep = Timestep(obs, jnp.asarray(reward, jnp.float32), terminated, truncated)
        return ProbeState(count, inner, obs), timestep

    _, obs = jax.eval_shape(reset, jax.eval_shape(jax.random.key, 0), ())
    return Env(
        f"probe/{name}",
        ObsSpec(obs.shape),
        action,
        episode_length,
        reset,
        step,
        obs_names=OBS_NAMES.get(name, ("always 1",)),
        action_names=ACTION_NAMES.get(name, ("either", "or")),
    )


def _start_at_zero(key: Key) -> jax.Array:
    return jnp.zeros((), jnp.int32)


def _show_one(inner: Any, step: jax.Array) -> jax.Array:
    return jnp.ones((1,), jnp.float32)
