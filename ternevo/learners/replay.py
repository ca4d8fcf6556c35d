"""Replay: what was experienced, in a ring that learners sample from, with returns of n steps.

The ring is flashbax's trajectory buffer. Observations are kept as environments gave them, in the
smallest type that holds them, and quantised when sampled, so that old ones are seen as new ones.
Each row also keeps what followed it: under auto-reset the next row of an environment may belong to
another episode. A stack of frames is kept as its newest frame, and stacked when sampled.

References:
  Lin 1992, "Self-Improving Reactive Agents Based On Reinforcement Learning, Planning and Teaching".
  Mnih et al. 2015, "Human-level control through deep reinforcement learning".
  Pardo et al. 2018, "Time Limits in Reinforcement Learning", section 3: bootstrap at time limits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Num

from ternevo.policies.acting import Seen
from ternevo.types import Key, Metrics, Number, ObsKind, ObsSpec

DTYPES: dict[ObsKind, Any] = {
    "floats": jnp.float32,
    "bits": jnp.uint8,
    "planes": jnp.uint8,
    "pixels": jnp.uint8,
    "integers": jnp.int8,
}
"""How each kind of observation is kept."""

RANGES: dict[ObsKind, tuple[float, float, float]] = {
    "bits": (0.0, 1.0, 0.0),
    "planes": (0.0, 1.0, 0.0),
    "pixels": (0.0, 255.0, 128.0),
    "integers": (-127.0, 127.0, 0.0),
}
"""Range of each kind that is kept as integers, and what stands for NaN; see `quantise`."""


class Experience(NamedTuple):
    """Steps of environments, leaves [*batch, ...]: what was seen, done and found.

    `action` is in units of the learner: a number, or a share of the range, -1 to 1. `after` is what
    the environment showed then; where an episode ended, its final observation. `meant` is what the
    policy did without noise, for rings that forget, else ().
    """

    seen: Seen
    action: Num[Array, "*batch"]
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    after: Seen
    meant: Any = ()


class Sampled(NamedTuple):
    """What is drawn from a ring, leaves [batch, ...]; see `critics.Batch` for what learners get.

    Attributes:
      seen: what the policy saw.
      action: what it did.
      reward: the discounted sum of the rewards of the next n steps, up to the end of the episode.
      after: what it saw then.
      discount: the factor of the value of `after`: gamma to the power of the number of steps, and
        0 where the task ended. A time limit is not an end.
    """

    seen: Seen
    action: Num[Array, "batch *action"]
    reward: Float[Array, " batch"]
    after: Seen
    discount: Float[Array, " batch"]


class Replay(NamedTuple):
    """A ring of experience, as pure functions; its state is a flashbax state.

    Attributes:
      init: maps one step (leaves without axes) to an empty ring.
      add: maps a ring and steps [envs, steps] to the ring with them in place of the oldest.
      sample: maps a ring, a key and the number of rewards to add up, None for all steps of a
        window, to a batch; the ring must hold at least one window.
      holds: maps a ring and a number of environment steps to whether it holds as many, or is full.
      forget: maps a ring and a function from its oldest steps [rows] to distances [rows] to the
        ring without some of them, if they are too far, and metrics; None for rings that keep all.
    """

    init: Callable[[Experience], Any]
    add: Callable[[Any, Experience], Any]
    sample: Callable[..., Sampled]
    holds: Callable[[Any, int], jax.Array]
    forget: Callable[[Any, Callable[[Experience], jax.Array]], tuple[Any, Metrics]] | None = None


class Shape(NamedTuple):
    """The sizes of a ring, and of the batches that are drawn from it.

    `num_frames` is how many frames of an observation are stacked along its last axis.
    """

    num_envs: int
    length: int
    batch_size: int
    num_steps: int
    num_frames: int = 1

    @property
    def window(self) -> int:
        """Return the number of steps in a row that one sample needs."""
        return self.num_steps + self.num_frames - 1


def replay(shape: Shape, obs: ObsSpec, gamma: Number, reward_scale: Number) -> Replay:
    """Return a ring of the experience with such observations.

    Args:
      shape: its sizes; `length` must be at least `window`.
      obs: the observations.
      gamma: the discount of a step.
      reward_scale: rewards are multiplied by it when sampled.
    """
    ring = flashbax.make_trajectory_buffer(
        add_batch_size=shape.num_envs,
        sample_batch_size=shape.batch_size,
        sample_sequence_length=shape.window,
        period=1,
        min_length_time_axis=shape.window,
        max_length_time_axis=shape.length,
    )
    frames = Frames(obs, shape.num_frames)

    def sample(state: Any, key: Key, num_rewards: Int32[Array, ""] | None = None) -> Sampled:
        rows = ring.sample(state, key).experience
        return batch_of(rows, frames, gamma, reward_scale, num_rewards)

    return Replay(
        lambda one: ring.init(frames.kept(one)),
        lambda state, rows: ring.add(state, frames.kept(rows)),
        sample,
        lambda state, count: state.is_full | (shape.num_envs * state.current_index >= count),
    )


class Window(NamedTuple):
    """A ring, and the number of steps of each environment, the newest, that are still used."""

    ring: Any
    size: Int32[Array, ""]


NUM_BATCHES = 8
"""How many batches of the oldest steps are compared with the policy."""

FORGOTTEN, LEAST = 0.1, 0.1
"""The share of the steps in use that is forgotten at once, and that of the ring that is left."""


def forgetting(
    shape: Shape, obs: ObsSpec, gamma: Number, reward_scale: Number, limit: Number
) -> Replay:
    """Return a ring that forgets its oldest steps where the policy of then is too far from today's.

    This is the dynamic-capacity buffer of RLx2 (Tan et al. 2023, section 4.2). The ring stays as it
    is, and fewer of its newest steps are sampled: as a first-in first-out queue of variable length.

    Args:
      shape: its sizes; `length` must be at least `window`.
      obs: the observations, without stacks of frames.
      gamma: the discount of a step.
      reward_scale: rewards are multiplied by it when sampled.
      limit: the mean distance above which steps are forgotten.
    """
    plain = replay(shape, obs, gamma, reward_scale)
    frames = Frames(obs, shape.num_frames)
    count = min(-(-NUM_BATCHES * shape.batch_size // shape.num_envs), shape.length)
    least = max(shape.window, round(LEAST * shape.length))

    def add(state: Window, rows: Experience) -> Window:
        size = jnp.minimum(state.size + rows.reward.shape[1], shape.length)
        return Window(plain.add(state.ring, rows), size)

    def sample(state: Window, key: Key, num_rewards: Int32[Array, ""] | None = None) -> Sampled:
        key_env, key_age = jax.random.split(key)
        env = jax.random.randint(key_env, (shape.batch_size,), 0, shape.num_envs)
        most = jnp.maximum(state.size - shape.window + 1, 1)
        ages = jax.random.randint(key_age, (shape.batch_size, 1), 0, most)
        place = oldest(state, ages + jnp.arange(shape.window), shape.length)
        rows = jax.tree.map(lambda x: x[env[:, None], place], state.ring.experience)
        return batch_of(rows, frames, gamma, reward_scale, num_rewards)

    def forget(
        state: Window, distance_of: Callable[[Experience], jax.Array]
    ) -> tuple[Window, Metrics]:
        ages = jnp.arange(count)
        place = oldest(state, ages, shape.length)
        rows = jax.tree.map(lambda x: x[:, place].reshape(-1, *x.shape[2:]), state.ring.experience)
        is_there = jnp.tile(ages < state.size, shape.num_envs)
        total = jnp.sum(jnp.where(is_there, distance_of(rows), 0.0))
        distance = total / jnp.maximum(jnp.sum(is_there), 1)
        fewer = jnp.maximum(state.size - jnp.int32(FORGOTTEN * state.size), least)
        size = jnp.where((distance > limit) & (state.size > least), fewer, state.size)
        used = (shape.num_envs * size).astype(jnp.float32)
        return state._replace(size=size), {"replay/used": used, "replay/distance": distance}

    return Replay(
        lambda one: Window(plain.init(one), jnp.zeros((), jnp.int32)),
        add,
        sample,
        lambda state, number: plain.holds(state.ring, number),
        forget,
    )


def oldest(state: Window, ages: Int32[Array, "*steps"], length: int) -> Int32[Array, "*steps"]:
    """Return the places in the ring of steps that are counted from the oldest in use."""
    return (state.ring.current_index - state.size + ages) % length


def batch_of(
    rows: Experience,
    frames: "Frames",
    gamma: Number,
    reward_scale: Number,
    num_rewards: Int32[Array, ""] | None = None,
) -> Sampled:
    """Return what is learned from windows of steps [batch, window], the last n of which count.

    With a number of rewards, only as many of those are added up.
    """
    before = frames.count - 1
    is_done = (rows.terminated | rows.truncated)[:, before:]
    num_over = jnp.cumsum(is_done, axis=1) - is_done  # episodes that ended before each step
    is_alive = num_over == 0
    if num_rewards is not None:
        is_alive &= jnp.arange(is_done.shape[1]) < num_rewards
    powers = jnp.power(jnp.asarray(gamma, jnp.float32), jnp.arange(is_done.shape[1]))
    rewards = jnp.where(is_alive, powers * rows.reward[:, before:], 0.0)
    last = jnp.sum(is_alive, axis=1) - 1
    ends = _at(rows.terminated, before + last)
    return Sampled(
        frames.seen(rows, jnp.full_like(last, before)),
        rows.action[:, before],
        reward_scale * jnp.sum(rewards, axis=1),
        frames.after(rows, before + last),
        jnp.where(ends, 0.0, gamma * powers[last]),
    )


def _at(x: jax.Array, index: jax.Array) -> jax.Array:
    """Return the step with an index [batch] of each window [batch, window, ...]."""
    return jnp.take_along_axis(x, index.reshape(-1, *[1] * (x.ndim - 1)), axis=1)[:, 0]


def _in_type(kind: ObsKind, obs: jax.Array) -> jax.Array:
    """Return observations as they are kept; what is outside its contract is rounded and clipped.

    A plain cast would wrap a pixel of 300 to 44, and policies are shown 255.
    """
    if kind in RANGES:
        low, high, middle = RANGES[kind]
        obs = jnp.round(jnp.clip(jnp.where(jnp.isnan(obs), middle, obs), low, high))
    return obs.astype(DTYPES[kind])


class Frames(NamedTuple):
    """How stacks of `count` frames are kept and put together; a count of 1 changes nothing.

    See `envs.wrappers.frame_stack`: at the start of an episode its first frame fills the stack.
    """

    obs: ObsSpec
    count: int

    def kept(self, steps: Experience) -> Experience:
        """Return steps with the newest frame of each observation, in the type of its kind."""

        def keep(seen: Seen) -> Seen:
            return seen._replace(obs=_in_type(self.obs.kind, self._newest(seen.obs)))

        return steps._replace(seen=keep(steps.seen), after=keep(steps.after))

    def seen(self, rows: Experience, index: jax.Array) -> Seen:
        """Return what was seen before the step with an index [batch] of each window."""
        found = jax.tree.map(lambda x: _at(x, index), rows.seen)
        return found._replace(obs=self._stacked(rows, index, self.count).astype(jnp.float32))

    def after(self, rows: Experience, index: jax.Array) -> Seen:
        """Return what was seen after the step with an index [batch] of each window."""
        found: Seen = jax.tree.map(lambda x: _at(x, index), rows.after)
        if self.count > 1:
            older = self._stacked(rows, index, self.count - 1)
            newest = self._frame(found.obs)
            # An inner episode of a lifetime may begin with what was seen.
            older = jnp.where(
                found.is_first.reshape(-1, *[1] * (older.ndim - 1)), self._tiled(newest), older
            )
            found = found._replace(obs=self._flat(jnp.concatenate([older, newest], axis=-1)))
        return found._replace(obs=found.obs.astype(jnp.float32))

    def _stacked(self, rows: Experience, index: jax.Array, count: int) -> jax.Array:
        """Return `count` frames up to an index, none older than the start of its episode."""
        if self.count == 1:
            return _at(rows.seen.obs, index)
        places = jnp.arange(rows.reward.shape[1])
        starts = jnp.where(rows.seen.is_first & (places <= index[:, None]), places, 0)
        first = jnp.max(starts, axis=1)
        wanted = [jnp.maximum(index - age, first) for age in range(count - 1, -1, -1)]
        found = jnp.concatenate([self._frame(_at(rows.seen.obs, i)) for i in wanted], axis=-1)
        return self._flat(found) if count == self.count else found

    def _newest(self, obs: jax.Array) -> jax.Array:
        """Return the newest frames, flat [*batch, size / count], of flat observations."""
        if self.count == 1:
            return obs
        stack = obs.reshape(*obs.shape[:-1], *self.obs.shape)
        size = self.obs.shape[-1] // self.count
        return stack[..., -size:].reshape(*obs.shape[:-1], -1)

    def _frame(self, flat: jax.Array) -> jax.Array:
        """Return flat frames [batch, size] with the axes of an observation."""
        *outer, last = self.obs.shape
        return flat.reshape(-1, *outer, last // self.count)

    def _tiled(self, newest: jax.Array) -> jax.Array:
        return jnp.concatenate([newest] * (self.count - 1), axis=-1)

    def _flat(self, stack: jax.Array) -> jax.Array:
        return stack.reshape(stack.shape[0], -1)
