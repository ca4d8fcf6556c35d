"""Lanes that run episodes, and the queue from which they take them.

The work of a device is members x episodes, cut into *blocks*: some episodes of
one member. A *slot* runs a block, one episode in each of its lanes, side by side.
When all of them are over, it takes the next block inside the compiled loop. So the
cost is the sum of the episode lengths, not members x time limit.

The result of an episode does not depend on the slot that runs it. XLA may round a
product differently in a larger batch, so everything is compiled for one *tile* of
slots. More slots are more tiles, one after another.

Nothing of size steps x state is ever stored: rewards, lengths and observation
sums are added up in the loop, and only while an episode is alive.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Shaped

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser, Sums
from ternevo.keys import MEMORY, START, TASK
from ternevo.policies.acting import Actor, Seen, seen_after, seen_first
from ternevo.types import Env, EnvState, Inheritance, Key, Memory, Packing, Policy


class Tally(NamedTuple):
    """The totals of an episode, the `Descriptor` of its last state, and what its memory learned.

    What there is not, or is not kept, is ().
    """

    returns: Float[Array, "*lanes"]
    lengths: Int32[Array, "*lanes"]
    sums: Sums
    descriptor: Any = ()
    learned: Any = ()


class Lanes(NamedTuple):
    """The episodes that are being run, [slots, lanes]."""

    env_state: EnvState
    seen: Seen
    memory: Memory
    is_alive: Bool[Array, "slots lanes"]
    tally: Tally


class Work(NamedTuple):
    """The work of a device, and how to run it.

    `keys` [1 or population, episodes] belong to the whole population. The device's own members
    begin at `first_member`; everywhere else, indices count from there. An episode is cut off
    after `horizon` steps. Policies see observations through `quantiser`. The first `num_moments`
    components of observations are summed, in the units of `yardstick`. What memories learned
    is kept if there is an `inheritance`.
    """

    policy: Policy
    env: Env
    quantiser: Quantiser
    yardstick: Quantiser
    keys: Key
    first_member: Int32[Array, ""]
    packing: Packing
    tile_slots: int
    horizon: Int32[Array, ""]
    num_moments: int
    inheritance: Inheritance | None = None

    @property
    def blocks_per_member(self) -> int:
        """Return the number of blocks per member."""
        return self.keys.shape[1] // self.packing.together

    def member_of(self, block: Int32[Array, " slots"]) -> Int32[Array, " slots"]:
        """Return the member that a block belongs to."""
        return block // self.blocks_per_member

    def keys_of(self, block: Int32[Array, " slots"]) -> Key:
        """Return the keys [slots, lanes] of a block's episodes."""
        first = block % self.blocks_per_member * self.packing.together
        episodes = first[:, None] + jnp.arange(self.packing.together)
        # A single row of keys is shared by all members.
        row = jnp.minimum(self.first_member + self.member_of(block), self.keys.shape[0] - 1)
        return self.keys[row[:, None], episodes]


class Queue(NamedTuple):
    """The loop state. `block` is what each slot runs; an idle slot holds an out-of-range number.

    `done` holds the tallies [blocks, lanes] of finished episodes.
    """

    next_block: Int32[Array, ""]
    block: Int32[Array, " slots"]
    lanes: Lanes
    done: Tally


def run_blocks(
    work: Work,
    packed: Any,
    first_packed: jax.Array,
    blocks: tuple[jax.Array, jax.Array],
    num_slots: int,
    done: Tally,
) -> Tally:
    """Run blocks [from, to) in turns: free slots take the next blocks, then all step for a while.

    A refill costs about one step of all slots. So it waits until free slots have
    wasted that many steps: then waiting and refilling cost the same.

    Args:
      work: the work.
      packed: the packed params of the members of these blocks; what is beyond takes the last.
      first_packed: the member whose params come first.
      blocks: from and to, see `Work`.
      num_slots: the number of slots, a multiple of the tile.
      done: the tallies [blocks, lanes] so far; this fills in the tallies of these blocks.
    """
    none = done.returns.shape[0]
    last_block = blocks[1]
    advance = _advance(work)

    def turn(queue: Queue) -> Queue:
        is_free = _is_free(queue.lanes)
        queue = _take_blocks(queue, is_free, last_block, none)
        keys = work.keys_of(queue.block)
        member = work.member_of(queue.block) - first_packed
        weights = jax.tree.map(lambda x: jnp.take(x, member, axis=0, mode="clip"), packed)
        fresh = _begin(work, weights, keys, queue.block < none)
        queue = queue._replace(lanes=_where_free(is_free, fresh, queue.lanes))

        def is_worth_it(carry: tuple[Lanes, jax.Array]) -> jax.Array:
            lanes, wasted = carry
            is_last_turn = queue.next_block >= last_block
            return jnp.any(lanes.is_alive) & (is_last_turn | (wasted < num_slots))

        def step(carry: tuple[Lanes, jax.Array]) -> tuple[Lanes, jax.Array]:
            lanes = _in_tiles(advance, work.tile_slots, weights, keys, carry[0])
            return lanes, carry[1] + jnp.sum(_is_free(lanes), dtype=jnp.int32)

        lanes, _ = jax.lax.while_loop(is_worth_it, step, (queue.lanes, jnp.zeros((), jnp.int32)))
        index = jnp.where(_is_free(lanes), queue.block, none)
        done = jax.tree.map(
            lambda all_, new: all_.at[index].set(new, mode="drop"), queue.done, lanes.tally
        )
        return queue._replace(lanes=lanes, done=done)

    def is_unfinished(queue: Queue) -> jax.Array:
        return (queue.next_block < last_block) | jnp.any(queue.lanes.is_alive)

    slots = jnp.full(num_slots, none, jnp.int32)
    nobody = _nobody(work, slots, packed)
    start = Queue(blocks[0], slots, nobody, done)
    return jax.lax.while_loop(is_unfinished, turn, start).done


def _is_free(lanes: Lanes) -> Bool[Array, " slots"]:
    return ~jnp.any(lanes.is_alive, axis=1)


def _take_blocks(
    queue: Queue, is_free: Bool[Array, " slots"], last_block: jax.Array, none: int
) -> Queue:
    """Give each free slot the next block, if there is one; do not change the lanes."""
    candidate = queue.next_block + jnp.cumsum(is_free, dtype=jnp.int32) - 1
    candidate = jnp.where(candidate < last_block, candidate, none)
    block = jnp.where(is_free, candidate, queue.block)
    next_block = jnp.minimum(queue.next_block + jnp.sum(is_free, dtype=jnp.int32), last_block)
    return queue._replace(next_block=next_block, block=block)


def _where_free(is_free: Bool[Array, " slots"], fresh: Lanes, lanes: Lanes) -> Lanes:
    return jax.tree.map(
        lambda new, old: jnp.where(is_free.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        fresh,
        lanes,
    )


def _begin(work: Work, weights: Any, keys: Key, exists: jax.Array) -> Lanes:
    """Return lanes at the start of their episodes, with keys [slots, lanes]."""
    env_state, obs, memory = _in_tiles(_begin_all(work), work.tile_slots, weights, keys)
    is_alive = jnp.broadcast_to(exists[:, None], keys.shape)
    tally = no_tally(keys.shape, work)
    tally = tally._replace(sums=_start_sums(work, obs))
    return Lanes(env_state, seen_first(obs), memory, is_alive, tally)


def _begin_all(work: Work) -> Callable[[Any, Key], tuple[EnvState, jax.Array, Memory]]:
    """Return the function that begins the episodes of a tile."""

    def begin(weights: Any, key: Key) -> tuple[EnvState, jax.Array, Memory]:
        state, obs = begin_episode(work.env, key)
        return state, obs, work.policy.reset(weights, jax.random.fold_in(key, MEMORY))

    return jax.vmap(jax.vmap(begin, (None, 0)))


def begin_episode(env: Env, key: Key) -> tuple[EnvState, jax.Array]:
    """Draw a task with the episode's key, and begin an episode of it."""
    task = env.draw_task(jax.random.fold_in(key, TASK))
    return env.reset(jax.random.fold_in(key, START), task)


def _start_sums(work: Work, obs: Float[Array, "slots lanes obs"]) -> Sums:
    return observation.start_sums(
        obs[..., : work.num_moments], work.yardstick.mean[: work.num_moments]
    )


def _in_tiles(function: Callable, tile_slots: int, *arguments: Any) -> Any:
    """Call a function of arrays [slots, ...] tile after tile."""
    if jax.tree.leaves(arguments)[0].shape[0] == tile_slots:
        return function(*arguments)
    cut = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // tile_slots, tile_slots, *x.shape[1:]), arguments
    )
    tiles = jax.lax.map(lambda tile: function(*tile), cut)
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), tiles)


def _nobody(work: Work, slots: jax.Array, packed: Any) -> Lanes:
    """Return idle lanes of the right shapes, without compiling a reset."""

    def begin(block: jax.Array, packed: Any) -> Lanes:
        weights = jax.tree.map(lambda x: x[jnp.zeros_like(block)], packed)
        return _begin(work, weights, work.keys_of(block), block < 0)

    shapes = jax.eval_shape(begin, slots, packed)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def no_tally(shape: tuple[int, ...], work: Work) -> Tally:
    """Return the tallies of episodes that have not begun."""
    num_moments, described = work.num_moments, work.env.descriptor
    sums = observation.start_sums(jnp.zeros((*shape, num_moments)), jnp.zeros(num_moments))
    descriptor = jnp.zeros((*shape, described.size)) if described else ()
    learned = nothing_learned(shape, work.policy, work.inheritance) if work.inheritance else ()
    return Tally(jnp.zeros(shape), jnp.zeros(shape, jnp.int32), sums, descriptor, learned)


def nothing_learned(
    shape: tuple[int, ...], policy: Policy, inheritance: Inheritance
) -> Shaped[Array, "*shape weights"]:
    """Return zeros in place of what lives learned."""

    def of_life(key: Key) -> Array:
        return inheritance.learned(policy.reset(policy.init(key), key))

    one = jax.eval_shape(of_life, jax.random.key(0))
    return jnp.zeros((*shape, *one.shape), one.dtype)


def _advance(work: Work) -> Callable[[Any, Key, Lanes], Lanes]:
    """Return the loop body: every lane acts, steps, and is counted while it is alive."""
    env = work.env
    actor = Actor(work.policy, env.obs, env.action)

    def act(weights: Any, memory: Memory, seen: Seen) -> tuple[Memory, jax.Array]:
        return actor.act(weights, work.quantiser, memory, seen)

    def step(key: Key, length: jax.Array, state: EnvState, action: jax.Array) -> tuple:
        return env.step(jax.random.fold_in(key, length + 1), state, action)

    act_all = jax.vmap(jax.vmap(act, (None, 0, 0)))
    step_all = jax.vmap(jax.vmap(step))

    def advance(weights: Any, keys: Key, lanes: Lanes) -> Lanes:
        memory, action = act_all(weights, lanes.memory, lanes.seen)
        env_state, timestep = step_all(keys, lanes.tally.lengths, lanes.env_state, action)
        paid = _paid(work.policy, timestep.reward, lanes.memory, memory)
        tally = _count(work, lanes, paid, (env_state, memory))
        is_over = timestep.terminated | timestep.truncated | (tally.lengths >= work.horizon)
        return Lanes(env_state, seen_after(timestep), memory, lanes.is_alive & ~is_over, tally)

    return advance


def _paid(policy: Policy, reward: jax.Array, before: Memory, after: Memory) -> jax.Array:
    """Return the rewards of a step [slots, lanes], and what the credit of memories gains in it."""
    if policy.credit is None:
        return reward
    credit = jax.vmap(jax.vmap(policy.credit))
    return reward + credit(after) - credit(before)


def _count(work: Work, lanes: Lanes, reward: jax.Array, after: tuple[EnvState, Memory]) -> Tally:
    """Record one step: what was seen, paid and reached count only while the episode is alive."""
    alive, tally = lanes.is_alive, lanes.tally
    env_state, memory = after
    described = work.env.descriptor.of if work.env.descriptor else None
    learned = work.inheritance.learned if work.inheritance else None
    obs = lanes.seen.obs[..., : work.num_moments]
    return Tally(
        tally.returns + jnp.where(alive, reward, 0.0),
        tally.lengths + alive,
        observation.add(tally.sums, obs, alive, work.yardstick.scale[: work.num_moments]),
        _latest(described, alive, env_state, tally.descriptor),
        _latest(learned, alive, memory, tally.learned),
    )


def _latest(
    of: Callable[[Any], Array] | None, alive: Bool[Array, "slots lanes"], after: Any, before: Any
) -> Any:
    """Return the vectors `of` what is after a step; episodes that are over keep what they had."""
    if of is None:
        return ()
    return jnp.where(alive[..., None], jax.vmap(jax.vmap(of))(after), before)
