"""Episode returns of a whole population: on all devices, in chunks that fit into memory.

On each device, lanes run the episodes from a queue (`ternevo.rollouts.lanes`). On CPU, returns,
lengths, moments and what was learned are the same, bit for bit, for any number of lanes and chunks;
for several devices see docs/scaling.md.

Axis words: `population` members, `episodes` each, `obs` components.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.machine import devices
from ternevo.rollouts import step_count
from ternevo.rollouts.lanes import Tally, Work, begin_episode, no_tally, run_blocks
from ternevo.types import (
    Env,
    Inheritance,
    Key,
    ObservationMoments,
    Packing,
    Params,
    Policy,
    Scores,
)

CPU_LANE_BYTES = 2**18
"""The total size of the lanes of a CPU core, so that they fit into its cache."""

CPU_LANES = (64, 128)
"""Minimum and maximum lanes of a CPU core: fewer waste vector units, more wait for each other."""

ACCELERATOR_LANES = 2**16
"""Lanes of a GPU or TPU; not measured yet."""

PACKED_BYTES = 2**28
"""The maximum size of the packed weights of the members in the queue at once."""


class Rollout(NamedTuple):
    """A policy, an environment, and how to run episodes; lanes and chunks do not affect results.

    Attributes:
      policy: the policy.
      env: the environment.
      num_lanes: episodes at once on a device, rounded up to whole tiles; 0 for one tile.
      chunk_size: members in the queue at once on a device, 0 for as many as `PACKED_BYTES` allows;
        the memory of the loop is proportional to it.
      inheritance: that of the policy, to return what members learned, which takes the memory of a
        vector for each episode of each member; None for nothing.
    """

    policy: Policy
    env: Env
    num_lanes: int = 0
    chunk_size: int = 0
    inheritance: Inheritance | None = None


CommonRandomNumbers = Literal["all", "pairs", "none"]
"""Which members share the same episodes: all, each antithetic pair, or none."""


def episode_keys(
    key: Key,
    num_episodes: int,
    population_size: int,
    shared_by: CommonRandomNumbers = "all",
    pairs_are_adjacent: bool = False,
) -> Key:
    """Return keys [1 or population, episodes]; one row if all members share the same episodes.

    A pair is members i and i + population / 2, or 2 i and 2 i + 1 if `pairs_are_adjacent`.

    Raises:
      ValueError: pairs share episodes, but the population is odd.
    """
    if shared_by == "all":
        return jax.random.split(key, (1, num_episodes))
    if shared_by == "none":
        return jax.random.split(key, (population_size, num_episodes))
    if population_size % 2:
        raise ValueError(f"pairs need an even population_size, got {population_size}")
    keys = jax.random.split(key, (population_size // 2, num_episodes))
    return jnp.repeat(keys, 2, axis=0) if pairs_are_adjacent else jnp.concatenate([keys, keys])


def size_of(params: Params) -> int:
    """Return the number of members of params [population, ...]."""
    return jax.tree.leaves(params)[0].shape[0]


def evaluate(
    rollout: Rollout,
    params: Params,
    keys: Key,
    quantiser: Quantiser,
    yardstick: Quantiser | None = None,
    horizon: jax.Array | None = None,
    is_spread: bool = False,
) -> Scores:
    """Run every member on its episodes, on all devices of the mesh that is set.

    Args:
      rollout: the policy, the environment, and how to run them.
      params: the params of the members, [population, ...].
      keys: [1 or population, episodes], see `episode_keys`.
      quantiser: the frozen observation quantiser, the same for all members.
      yardstick: the expected location of the observations, and the units in which they are summed;
        None for the quantiser.
      horizon: steps after which episodes are cut off, None for the time limit of the environment.
      is_spread: whether each device holds only its own members; otherwise each device has all
        members, and runs its own.
    """
    size = size_of(params)
    rows = devices.padded(size) // devices.count()
    limit = jnp.int32(rollout.env.episode_length)
    if horizon is not None:
        limit = jnp.minimum(limit, horizon.astype(jnp.int32))

    def run(
        device: jax.Array,
        quantisers: tuple[Quantiser, Quantiser],
        keys: Key,
        limit: jax.Array,
        params: Params,
    ) -> tuple:
        first_row = device * rows
        num_moments = observation.summed_size(rollout.env.obs)
        work = _work(rollout, quantisers, keys, first_row, rows, limit, num_moments)
        own = Own(params, jnp.zeros_like(first_row) if is_spread else first_row)
        num_members = jnp.clip(size - first_row, 0, rows)
        tally = _run_members(work, own, rows, num_members, rollout)
        moments = _block_moments(work, tally)
        first_life = tally.learned[:, 0] if rollout.inheritance else ()
        found = tally.returns, tally.lengths, moments, tally.descriptor, first_life
        return devices.gather(found)

    run_split = devices.split(run, (False, False, False, is_spread))
    quantisers = quantiser, yardstick or quantiser
    returns, lengths, moments, descriptors, learned = run_split(quantisers, keys, limit, params)
    lengths = lengths[:size]
    if moments is None:
        moments = observation.empty(rollout.env.obs.size)
    else:
        moments = devices.combine_in_order(observation.merge, moments)
    described = jnp.mean(descriptors[:size], axis=1) if rollout.env.descriptor else None
    learned = learned[:size] if rollout.inheritance else None
    returns, steps = returns[:size], step_count.of_lengths(lengths)
    return Scores(returns, lengths, moments, steps, described, learned)


def evaluate_policy(
    rollout: Rollout,
    params: Params,
    keys: Key,
    quantiser: Quantiser,
    count: jax.Array | None = None,
) -> Scores:
    """Run one policy on episodes, on all devices of the mesh that is set, for their rewards alone.

    Each episode is run as a member with one episode, so that devices can share the work.

    Args:
      rollout: the policy, the environment, and how to run them.
      params: the params of the policy.
      keys: [episodes].
      quantiser: the frozen observation quantiser.
      count: the number of episodes to run, from the first; the others return 0 after 0 steps.
        None for all. As it may be traced, one program serves any number.

    Returns:
      The scores [1, episodes], without moments; descriptors are the mean over what was run.
    """
    rollout = rollout._replace(policy=rollout.policy._replace(credit=None), inheritance=None)
    rows = devices.padded(keys.size) // devices.count()
    limit = jnp.int32(rollout.env.episode_length)
    asked = jnp.int32(keys.size if count is None else count)
    share = jnp.maximum(-(-asked // devices.count()), 1)

    def run(
        device: jax.Array,
        quantiser: Quantiser,
        keys: Key,
        counts: tuple[jax.Array, jax.Array],
        params: Params,
    ) -> tuple:
        count, share = counts
        first = device * share
        work = _work(rollout, (quantiser, quantiser), keys[:, None], first, rows, limit, 0)
        # All members take the only one that there is.
        packed = jax.vmap(work.packing.pack)(jax.tree.map(lambda x: x[None], params))
        blocks = jnp.zeros_like(first), jnp.clip(count - first, 0, share)
        tally = no_tally((rows, 1), work)
        tally = run_blocks(work, packed, blocks[0], blocks, work.tile_slots, tally)
        totals = tally.returns, tally.lengths, tally.descriptor
        return devices.gather(jax.tree.map(lambda x: x[:, 0], totals))

    run_split = devices.split(run, (False, False, False, False))
    *found, descriptors = run_split(quantiser, keys, (asked, share), params)
    episode = jnp.arange(keys.size)
    is_asked = episode < asked
    row = jnp.where(is_asked, episode // share * rows + episode % share, 0)
    returns, lengths = (jnp.where(is_asked, x[row], 0)[None] for x in found)
    described = None
    if rollout.env.descriptor:
        described = jnp.mean(descriptors[row], axis=0, where=is_asked[:, None])[None]
    moments = observation.empty(rollout.env.obs.size)
    return Scores(returns, lengths, moments, step_count.of_lengths(lengths), described)


def _work(
    rollout: Rollout,
    quantisers: tuple[Quantiser, Quantiser],
    keys: Key,
    first_row: jax.Array,
    rows: int,
    limit: jax.Array,
    num_moments: int,
) -> Work:
    """Return the work of a device."""
    policy, env = rollout.policy, rollout.env
    packing = policy.packing(keys.shape[1])
    lanes = choose_lanes(policy, env, keys.shape[1])
    if jax.default_backend() != "cpu":
        lanes = min(lanes, rows * keys.shape[1])
    tile_slots = max(1, lanes // packing.together)
    own = policy, env, *quantisers, keys, first_row, packing, tile_slots, limit, num_moments
    return Work(*own, rollout.inheritance)


def _block_moments(work: Work, tally: Tally) -> ObservationMoments | None:
    """Merge the moments of the episodes [members, episodes] of each block, if there are any."""
    if work.num_moments == 0:
        return None
    moments = observation.from_sums(tally.sums, work.yardstick.scale)
    of_episodes = jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2]), moments)
    return devices.combine_blocks(observation.merge, of_episodes)


# ------------------------------------------------------------------- how many at once


def choose_lanes(policy: Policy, env: Env, num_episodes: int) -> int:
    """Return the number of episodes a device runs at once, given `num_episodes` of each member.

    On a CPU core, this is the power of two for which states and packed weights take
    about `CPU_LANE_BYTES`, within `CPU_LANES`. It does not depend on the
    population; `ternevo.rollouts.lanes` explains why. On a GPU or TPU, it is
    `ACCELERATOR_LANES`, not measured yet.
    """
    if jax.default_backend() != "cpu":
        return ACCELERATOR_LANES
    packing = policy.packing(num_episodes)
    of_weights = packed_bytes(policy, packing) // packing.together
    num_bytes = _episode_bytes(policy, env, packing) + of_weights
    fewest, most = CPU_LANES
    return min(max(2 ** round(math.log2(CPU_LANE_BYTES / num_bytes)), fewest), most)


def _episode_bytes(policy: Policy, env: Env, packing: Packing) -> int:
    """Return the bytes taken by an episode's state and observation, and by a memory."""
    key = jax.random.key(0)
    started = jax.eval_shape(partial(begin_episode, env), key)
    begin = lambda key: policy.reset(packing.pack(policy.init(key)), key)  # noqa: E731
    memory = jax.eval_shape(begin, key)
    return _num_bytes((started, memory))


def packed_bytes(policy: Policy, packing: Packing) -> int:
    """Return the bytes that the packed params of one member take."""
    key = jax.random.key(0)
    return _num_bytes(jax.eval_shape(lambda key: packing.pack(policy.init(key)), key))


def _num_bytes(shapes: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


class Own(NamedTuple):
    """The weights that a device holds, and the index of its own first member."""

    weights: Params
    offset: Int32[Array, ""]


def _run_members(
    work: Work,
    own: Own,
    rows: int,
    num_members: jax.Array,
    rollout: Rollout,
) -> Tally:
    """Run a device's first `num_members` members, chunk after chunk; tallies [rows, episodes]."""
    held = jax.tree.leaves(own.weights)[0].shape[0]
    fitting = max(1, PACKED_BYTES // packed_bytes(work.policy, work.packing))
    chunk = min(rollout.chunk_size or fitting, rows, held)
    tile_lanes = work.tile_slots * work.packing.together
    num_slots = max(1, -(-rollout.num_lanes // tile_lanes)) * work.tile_slots
    shape = rows * work.blocks_per_member, work.packing.together

    def run_chunk(number: jax.Array, done: Tally) -> Tally:
        begin = number * chunk
        end = jnp.minimum(begin + chunk, num_members)
        # The last chunk is as large as the others, so it may begin with members it does not run.
        first = jnp.minimum(own.offset + begin, held - chunk)
        members = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, chunk), own.weights)
        packed = jax.vmap(work.packing.pack)(members)
        blocks = begin * work.blocks_per_member, end * work.blocks_per_member
        return run_blocks(work, packed, first - own.offset, blocks, num_slots, done)

    done = no_tally(shape, work)
    if chunk == min(rows, held):
        done = run_chunk(jnp.zeros((), jnp.int32), done)
    else:
        done = jax.lax.fori_loop(0, -(-num_members // chunk), run_chunk, done)
    return jax.tree.map(lambda x: x.reshape(rows, work.keys.shape[1], *x.shape[2:]), done)
