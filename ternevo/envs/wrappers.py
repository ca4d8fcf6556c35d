"""Wrappers of environments, each a function from `Env` to `Env`.

`wrap` applies the wrappers that settings ask for. The state of a wrapper is `Wrapped`, so that a
renderer can get the state inside (`unwrapped`).
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.settings.wrappers import Wrappers
from ternevo.types import ActionSpec, Descriptor, Env, EnvState, Key, ObsSpec, Task, Timestep


class Wrapped(NamedTuple):
    """The state of the inner environment, and the wrapper's own."""

    inner: EnvState
    own: Any


class Life(NamedTuple):
    """The state of a lifetime: its task, and the number of finished episodes."""

    task: Task
    num_done: jax.Array


def wrap(env: Env, wrappers: Wrappers) -> Env:
    """Return the environment with all wrappers that the settings ask for.

    Raises:
      ValueError: an episode of the environment is one labelled example, which has no next step, or
        it runs outside JAX, or it tells right values and a wrapper would add them up.
    """
    text = wrappers.to_text(env.episode_length)
    if text and env.examples is not None:
        asked = text.partition(",")[2].replace(",", ", ")
        raise ValueError(f"{env.id} takes no wrappers, as an episode is one example; got {asked}")
    if text and env.host is not None:
        asked = text.partition(",")[2].replace(",", ", ")
        raise ValueError(f"{env.id} takes no wrappers, as it runs outside JAX; got {asked}")
    _check_told(env, wrappers)
    if wrappers.action_repeat > 1:
        env = action_repeat(env, wrappers.action_repeat)
    if wrappers.sticky_actions > 0:
        env = sticky_actions(env, wrappers.sticky_actions)
    if wrappers.frame_stack > 1:
        env = frame_stack(env, wrappers.frame_stack)
    if wrappers.delayed_reward > 1:
        env = delayed_reward(env, wrappers.delayed_reward)
    if wrappers.lifetime > 1:
        env = lifetime(env, wrappers.lifetime, wrappers.counted)
    return env._replace(wrappers=text, descriptor=_of_inner(env.descriptor))


def _check_told(env: Env, wrappers: Wrappers) -> None:
    """Refuse to add up what a policy is told of several steps where that is not rewards."""
    adding = {name: getattr(wrappers, name) for name in ("action_repeat", "delayed_reward")}
    asked = [f"{name}={steps}" for name, steps in adding.items() if steps > 1]
    if asked and env.tells == "labels":
        raise ValueError(
            f"{env.id} tells a policy the right value of each step, and --action_repeat and "
            f"--delayed_reward would add these up: both must be 1, got {', '.join(asked)}"
        )


def _of_inner(descriptor: Descriptor | None) -> Descriptor | None:
    """Return the descriptor of states inside all wrappers."""
    if descriptor is None:
        return None
    return descriptor._replace(of=lambda state: descriptor.of(unwrapped(state)))


def unwrapped(state: EnvState) -> EnvState:
    """Return the state inside all wrappers."""
    while isinstance(state, Wrapped):
        state = state.inner
    return state


def action_repeat(env: Env, times: int | jax.Array) -> Env:
    """Repeat each action for up to `times` steps, until the episode ends; rewards add up.

    A number that is data of a program, int32 [], leaves `episode_length` as it is, as a bound; it
    must be at least 1, which is not checked.
    """
    is_data = isinstance(times, jax.Array)
    length = env.episode_length if is_data else -(-env.episode_length // int(times))

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        def again(i: jax.Array, carry: tuple) -> tuple:
            before, timestep = carry
            is_over = timestep.terminated | timestep.truncated
            state, after = env.step(jax.random.fold_in(key, i), before, action)
            told = _told(after)
            after = after._replace(
                reward=timestep.reward + after.reward,
                feedback=timestep.feedback + told.feedback,
                is_first=timestep.is_first | told.is_first,
            )
            return _choose(is_over, carry, (state, after))

        def stepped() -> Timestep:
            timestep = env.step(key, state, action)[1]
            return timestep._replace(**_told(timestep)._asdict())

        shapes = jax.eval_shape(stepped)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.fori_loop(0, times, again, (state, nothing))

    return env._replace(episode_length=length, step=step)


def sticky_actions(env: Env, probability: float) -> Env:
    """Repeat the previous action with a probability; before the first step it is 0, or no force.

    Machado et al., "Revisiting the Arcade Learning Environment", JAIR 2018, section 5.2.
    """

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        state, obs = env.reset(key, task)
        return Wrapped(state, _no_action(env.action)), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        key_stick, key_step = jax.random.split(key)
        is_stuck = jax.random.bernoulli(key_stick, probability)
        taken = jnp.where(is_stuck, state.own, action)
        inner, timestep = env.step(key_step, state.inner, taken)
        return Wrapped(inner, taken), timestep

    return env._replace(reset=reset, step=step)


def frame_stack(env: Env, count: int) -> Env:
    """Concatenate the last `count` observations along the last axis, the newest last.

    At the start of an episode, including an inner one, the first observation appears `count` times.
    """
    *outer, last = env.obs.shape

    def flat(frames: jax.Array) -> jax.Array:
        return jnp.concatenate(list(frames.reshape(count, *env.obs.shape)), axis=-1).ravel()

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        state, obs = env.reset(key, task)
        frames = jnp.tile(obs, (count, 1))
        return Wrapped(state, frames), flat(frames)

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        inner, timestep = env.step(key, state.inner, action)
        moved = jnp.concatenate([state.own[1:], timestep.obs[None]])
        frames = jnp.where(_told(timestep).is_first, jnp.tile(timestep.obs, (count, 1)), moved)
        return Wrapped(inner, frames), timestep._replace(obs=flat(frames))

    spec = ObsSpec((*outer, count * last), env.obs.kind)
    return env._replace(obs=spec, reset=reset, step=step, obs_names=_stacked_names(env, count))


def _stacked_names(env: Env, count: int) -> tuple[str, ...]:
    """Return the names of stacked frames: "ball t-1" is the ball one step before."""
    names = np.array(env.obs_names, dtype=object)
    if len(names) == env.obs.size:
        names = names.reshape(env.obs.shape)  # else there is a name for each channel, or none
    frames = [names + f" t-{age}" for age in range(count - 1, 0, -1)]
    return tuple(np.concatenate([*frames, names], axis=-1).ravel().tolist())


def delayed_reward(env: Env, every: int | jax.Array) -> Env:
    """Pay the rewards of `every` steps together; the end of an episode pays the rest.

    The number may be data of a program, int32 [], of at least 1, which is not checked.
    """

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        state, obs = env.reset(key, task)
        return Wrapped(state, (jnp.zeros((), jnp.int32), jnp.zeros(2))), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        inner, timestep = env.step(key, state.inner, action)
        told = _told(timestep)
        count, owed = state.own[0] + 1, state.own[1]
        owed = owed + jnp.stack([timestep.reward, told.feedback])
        is_paid = (count % every == 0) | timestep.terminated | timestep.truncated
        is_paid |= told.is_first
        reward, feedback = jnp.where(is_paid, owed, 0.0)
        own = count, jnp.where(is_paid, 0.0, owed)
        return Wrapped(inner, own), timestep._replace(reward=reward, feedback=feedback)

    return env._replace(reset=reset, step=step)


def lifetime(env: Env, num_episodes: int, counted: Literal["last", "all"]) -> Env:
    """Run consecutive episodes of one task as a single episode; a policy keeps its memory.

    A policy sees the reward of every step (`feedback`) and where an inner episode begins
    (`is_first`). The return sums only the rewards of the counted episodes.

    Args:
      env: the environment of the inner episodes; each step also computes a reset.
      num_episodes: number of episodes in a lifetime.
      counted: which episodes count, "last" or "all".
    """

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        state, obs = env.reset(key, task)
        return Wrapped(state, Life(task, jnp.zeros((), jnp.int32))), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        key_step, key_reset = jax.random.split(key)
        task, num_done = state.own
        inner, timestep = env.step(key_step, state.inner, action)
        is_last = num_done == num_episodes - 1
        is_over = timestep.terminated | timestep.truncated
        begins = is_over & ~is_last
        fresh = env.reset(key_reset, task)
        inner, obs = _choose(begins, fresh, (inner, timestep.obs))
        feedback = _told(timestep).feedback
        timestep = Timestep(
            obs,
            jnp.where(is_last | (counted == "all"), timestep.reward, 0.0),
            timestep.terminated & is_last,
            timestep.truncated & is_last,
            feedback,
            begins,
        )
        return Wrapped(inner, Life(task, num_done + is_over)), timestep

    return env._replace(
        episode_length=num_episodes * env.episode_length, reset=reset, step=step, examples=None
    )


class Told(NamedTuple):
    """What a policy sees of a step besides the observation."""

    feedback: jax.Array
    is_first: jax.Array


def _told(timestep: Timestep) -> Told:
    feedback, is_first = timestep.feedback, timestep.is_first
    return Told(
        timestep.reward if feedback is None else feedback,
        jnp.zeros((), bool) if is_first is None else is_first,
    )


def _choose(condition: jax.Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), chosen, other)


def _no_action(action: ActionSpec) -> jax.Array:
    if action.kind == "discrete":
        return jnp.zeros((), jnp.int32)
    return jnp.clip(jnp.zeros(action.size), jnp.asarray(action.low), jnp.asarray(action.high))
