"""Replay: transitions come back unchanged, returns of n steps, ends and limits, stacked frames."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.learners.replay import (
    DTYPES,
    Experience,
    Frames,
    Shape,
    batch_of,
    forgetting,
    replay,
)
from ternevo.policies.acting import Seen
from ternevo.rollouts.transitions import Agent, Carry, Watch, Yardsticks, advance, begin, no_tally
from ternevo.settings.policies import MLP
from ternevo.settings.wrappers import Wrappers
from ternevo.strategies.off_policy import example, experience_of
from ternevo.types import ObsSpec

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NUMBER = ObsSpec((1,))


def steps(number, num_envs=2):
    """Return one step of each environment [envs, 1], all of whose numbers tell which it is."""
    which = number * num_envs + jnp.arange(num_envs)[:, None]
    one = which.astype(jnp.float32)
    seen = Seen(one[..., None], one, number == 0 * which)
    after = Seen(one[..., None] + 0.5, one + 0.5, which < 0)
    return Experience(seen, which, 2 * one, which % 3 == 0, which % 5 == 0, after)


def one_of(tree):
    return jax.tree.map(lambda x: x[0, 0], tree)


def test_a_transition_comes_back_unchanged_under_jit_scan_and_several_seeds():
    ring = replay(Shape(2, 6, 64, 1), NUMBER, 0.9, 1.0)

    @quick_jit
    def filled(key):
        def add(state, number):
            return ring.add(state, steps(number)), None

        state, _ = jax.lax.scan(add, ring.init(one_of(steps(0))), jnp.arange(11))
        return ring.sample(state, key)

    batches = jax.vmap(filled)(jax.random.split(jax.random.key(0), 3))
    which = np.asarray(batches.action)
    assert set(which.ravel()) == set(range(10, 22))  # the newest six of two environments
    np.testing.assert_array_equal(batches.seen.obs[..., 0], which)
    np.testing.assert_array_equal(batches.seen.feedback, which)
    np.testing.assert_array_equal(batches.after.obs[..., 0], which + 0.5)
    np.testing.assert_array_equal(batches.reward, 2 * which)
    np.testing.assert_allclose(batches.discount, np.where(which % 3 == 0, 0, 0.9), rtol=1e-6)
    assert not np.array_equal(which[0], which[1])  # each seed samples for itself


def windows(draw_ends, num_frames=1):
    """Return windows [1, n] of rewards 1, 10, 100, ... with these (terminated, truncated)."""
    n = len(draw_ends)
    obs = jnp.arange(1.0, n + 1)[None, :, None]
    seen = Seen(obs, jnp.zeros((1, n)), jnp.zeros((1, n), bool))
    terminated, truncated = (jnp.asarray(x, bool)[None] for x in zip(*draw_ends, strict=True))
    rewards = 10.0 ** jnp.arange(n)[None]
    return Experience(
        seen, jnp.arange(n)[None], rewards, terminated, truncated, seen._replace(obs=obs + 0.5)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_n_step_returns_stop_at_an_end_and_bootstrap_at_a_time_limit(ends):
    """The second route: a loop over the steps, as one would write it down."""
    gamma, total, factor = 0.5, 0.0, 1.0
    for i, (terminated, truncated) in enumerate(ends):
        total += factor * 10.0**i
        factor *= gamma
        if terminated or truncated:
            break
    batch = batch_of(windows(ends), Frames(NUMBER, 1), gamma, 3.0)
    assert batch.reward.item() == 3.0 * total
    assert batch.discount.item() == (0.0 if terminated else factor)
    assert batch.after.obs.item() == i + 1.5
    assert (batch.seen.obs.item(), batch.action.item()) == (1.0, 0)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4), st.integers(1, 4))
def test_a_delayed_return_of_n_steps_is_that_of_a_shorter_window(ends, count):
    count = min(count, len(ends))
    delayed = batch_of(windows(ends), Frames(NUMBER, 1), 0.5, 3.0, jnp.int32(count))
    short = batch_of(windows(ends[:count]), Frames(NUMBER, 1), 0.5, 3.0)
    jax.tree.map(np.testing.assert_array_equal, delayed, short)


LENGTH, WINDOW, LEAST = 10, 2, 2
QUEUE = forgetting(Shape(2, LENGTH, 128, WINDOW), NUMBER, 0.9, 1.0, 0.2)


@quick_jit
def added(state, number):
    rows = steps(number)
    return QUEUE.add(state, rows._replace(meant=rows.reward))


@quick_jit
def forgotten(state, distance):
    """Return the ring after it was told a distance, metrics, and what it compares."""
    seen = []

    def distance_of(rows):
        seen.append(rows.meant)
        return jnp.full(rows.reward.shape, distance)

    assert QUEUE.forget is not None
    return *QUEUE.forget(state, distance_of), seen[0]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=12))
def test_a_ring_that_forgets_is_a_queue_that_loses_its_oldest_tenth(turns):
    """The second route: a list for each environment, from which the oldest steps are removed."""
    one = one_of(steps(0))
    state, queue, number = QUEUE.init(one._replace(meant=one.reward)), [], 0
    for count, is_far in turns:
        for _ in range(count):
            state = added(state, number)
            queue = [*queue, number][-LENGTH:]
            number += 1
        before = len(queue)
        state, metrics, meant = forgotten(state, 0.3 if is_far else 0.1)
        if is_far and before > LEAST:
            queue = queue[before - max(before - int(0.1 * before), LEAST) :]
        assert state.size.item() == len(queue)
        assert metrics["replay/used"] == 2 * len(queue)
        assert metrics["replay/distance"].item() == pytest.approx(0.3 if is_far else 0.1)
        oldest = meant.reshape(2, -1)[:, 0] / 2
        np.testing.assert_array_equal(oldest, [2 * (number - before), 2 * (number - before) + 1])
    if len(queue) >= WINDOW:
        which = np.asarray(quick_jit(QUEUE.sample)(state, jax.random.key(0)).action).ravel()
        starts = [2 * step + env for step in queue[: len(queue) - WINDOW + 1] for env in (0, 1)]
        assert set(which) == set(starts)


@pytest.mark.parametrize("kind", DTYPES)
def test_observations_are_kept_in_the_smallest_type_that_holds_them(kind):
    obs = ObsSpec((3,), kind)
    env = envs.make("probe/bandit")._replace(obs=obs)
    ring = replay(Shape(1, 4, 2, 1), obs, 0.9, 1.0)
    kept = ring.init(example(env)).experience.seen.obs
    assert kept.dtype == DTYPES[kind]
    values = {"bits": [0, 1, 1], "planes": [0, 1, 1], "pixels": [0, 128, 255]}
    shown = jnp.asarray(values.get(kind, [-127, 0, 127]), jnp.float32)
    step = example(env)._replace(seen=Seen(shown, jnp.zeros(()), jnp.zeros((), bool)))
    one = jax.tree.map(lambda x: x[None, None], step)
    batch = ring.sample(ring.add(ring.init(example(env)), one), jax.random.key(0))
    np.testing.assert_array_equal(batch.seen.obs, [shown, shown])
    assert batch.seen.obs.dtype == jnp.float32


@pytest.mark.parametrize("kind", ["planes", "pixels", "integers"])
def test_observations_outside_their_contract_are_replayed_as_policies_see_them(kind):
    shown = jnp.array([-300, -1, 0.4, 0.6, 1, 127.6, 254.5, 300, jnp.inf, -jnp.inf, jnp.nan])
    obs = ObsSpec(shown.shape, kind)
    env = envs.make("probe/bandit")._replace(obs=obs)
    frames, quantiser = Frames(obs, 1), observation.freeze(observation.empty(obs.size), kind)
    step = example(env)._replace(seen=Seen(shown, jnp.zeros(()), jnp.zeros((), bool)))
    kept = frames.kept(step).seen.obs
    assert kept.dtype == DTYPES[kind]
    replayed, acted = (
        observation.quantise(quantiser, x.astype(jnp.float32), kind) for x in (kept, shown)
    )
    np.testing.assert_array_equal(replayed, acted)


@pytest.mark.parametrize(
    "num_steps, lifetime",
    [
        (3, 2),
        pytest.param(1, 1, marks=pytest.mark.slow),
        pytest.param(1, 2, marks=pytest.mark.slow),
        pytest.param(3, 1, marks=pytest.mark.slow),
    ],
)
def test_stacked_frames_are_kept_once_and_stacked_when_sampled(num_steps, lifetime):
    """The second route: the same steps, kept as the stacks that the wrapper made of them."""
    wrapped = envs.make("probe/countdown", 5, Wrappers(frame_stack=3, lifetime=lifetime))
    assert wrapped.obs.shape == (3,)
    policy = MLP(()).build(wrapped.obs, wrapped.action)
    params = policy.init(jax.random.key(0))
    agent = Agent(
        params,
        lambda draw, taken: ((), jnp.zeros((1, wrapped.action.size)), jnp.zeros(1, jnp.int32)),
        lambda action: action,
        lambda obs, memory: obs[:, 0],
    )
    unit = observation.freeze(observation.empty(3))
    yardsticks = Yardsticks(unit, observation.freeze(observation.empty(1)))
    slots = begin(wrapped, policy, params, jax.random.key(1), 1)
    carry = Carry(slots, no_tally(wrapped, slots, yardsticks))
    starts = begin(wrapped, policy, params, jax.random.key(2), 1)

    def one_step(carry, key):
        watch = Watch(unit, yardsticks, 0.0)
        carry, step = advance(wrapped, agent, watch, carry, starts, key, key[None])
        return carry, experience_of(step)

    rows = quick_jit(lambda: jax.lax.scan(one_step, carry, jax.random.split(slots_key(), 24))[1])()
    rows = jax.tree.map(lambda x: x[:, 0], rows)
    frames, plain = Frames(wrapped.obs, 3), Frames(wrapped.obs, 1)
    kept = frames.kept(rows)
    assert kept.seen.obs.shape == (24, 1)
    window = num_steps + 2
    at = jnp.arange(24 - window + 1)[:, None] + jnp.arange(window)
    found = batch_of(jax.tree.map(lambda x: x[at], kept), frames, 0.5, 1.0)
    wanted = batch_of(jax.tree.map(lambda x: x[at[:, 2:]], rows), plain, 0.5, 1.0)
    # The first frames of a window whose episode began before it are all there.
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def slots_key():
    return jax.random.key(3)
