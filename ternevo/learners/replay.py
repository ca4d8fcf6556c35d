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
from jaxtyping import Array, Bool, Float, Num

from ternevo.policies.acting import Seen
from ternevo.types import Key, Number, ObsKind, ObsSpec

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
    the environment showed then; where an episode ended, its final observation.
    """

    seen: Seen
    action: Num[Array, "*batch"]
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    after: Seen


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
      sample: maps a ring and a key to a batch; the ring must hold at least one window.
      holds: maps a ring and a number of environment steps to whether it holds as many, or is full.
    """

    init: Callable[[Experience], Any]
    add: Callable[[Any, Experience], Any]
    sample: Callable[[Any, Key], Sampled]
    holds: Callable[[Any, int], jax.Array]


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

    def sample(state: Any, key: Key) -> Sampled:
        rows = ring.sample(state, key).experience
        return batch_of(rows, frames, gamma, reward_scale)

    return Replay(
        lambda one: ring.init(frames.kept(one)),
        lambda state, rows: ring.add(state, frames.kept(rows)),
        sample,
        lambda state, count: state.is_full | (shape.num_envs * state.current_index >= count),
    )


def batch_of(rows: Experience, frames: "Frames", gamma: Number, reward_scale: Number) -> Sampled:
    """Return what is learned from windows of steps [batch, window], the last n of which count."""
    before = frames.count - 1
    is_done = (rows.terminated | rows.truncated)[:, before:]
    num_over = jnp.cumsum(is_done, axis=1) - is_done  # episodes that ended before each step
    is_alive = num_over == 0
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
