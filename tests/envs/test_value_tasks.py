"""The tasks of NEAT+Q: the car is gymnax's in bins, and a server does every job once."""

import itertools

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from ternevo import envs
from ternevo.envs import value_tasks

KEY = jax.random.key(0)


def test_the_car_moves_as_in_gymnax_and_is_shown_in_one_bin_each():
    env, (other, params) = envs.make("control/mountain_car_bins"), gymnax.make("MountainCar-v0")
    state, _ = env.reset(KEY, ())
    other_state = other.reset(KEY, params)[1]
    other_state = other_state.replace(position=state.position, velocity=state.velocity)
    step, other_step = jax.jit(env.step), jax.jit(other.step_env)
    for action in [0] * 30 + [2] * 60 + [1] * 5:
        state, timestep = step(KEY, state, jnp.int32(action))
        other_state = other_step(KEY, other_state, action, params)[1]
        found = float(state.position), float(state.velocity)
        there = float(other_state.position), float(other_state.velocity)
        np.testing.assert_allclose(found, there, atol=1e-5)
        bins = np.asarray(timestep.obs).reshape(2, 10)
        assert (bins.sum(1) == 127).all()
        shares = (found[0] + 1.2) / 1.8, (found[1] / 0.07 + 1) / 2
        assert abs(bins.argmax(1) + 0.5 - 10 * np.array(shares)).max() <= 0.51


def test_pushing_along_with_the_motion_reaches_the_top():
    env = envs.make("control/mountain_car_bins")
    state, _ = env.reset(KEY, ())
    step, count = jax.jit(env.step), 0
    is_there = False
    while not is_there and count < 200:
        state, timestep = step(KEY, state, jnp.where(state.velocity < 0, 0, 2))
        is_there, count = bool(timestep.terminated), count + 1
    assert 80 < count < 150


def served(choose):
    """Return all timesteps and states; `choose` maps counts of jobs to an action."""
    env = envs.make("control/job_scheduling")

    def one(carry, _):
        state, obs = carry
        state, timestep = env.step(KEY, state, choose(obs))
        return (state, timestep.obs), (timestep, state)

    return jax.jit(lambda: jax.lax.scan(one, env.reset(KEY, ()), None, 200)[1])()


def test_a_server_does_each_job_once_and_ends_with_the_last():
    steps, states = served(lambda obs: jnp.argmax(obs))
    assert np.asarray(states.is_done.sum(1)).tolist() == list(range(1, 201))
    assert steps.terminated.tolist() == [False] * 199 + [True]
    waiting = np.asarray(steps.obs).sum(1)
    assert waiting[0] == 100 and waiting[98] == 100 and waiting[-1] == 0
    assert (np.asarray(steps.obs)[:49, 1::4] == 0).all()  # none is 50 steps old yet


def test_the_first_job_of_the_chosen_group_is_paid_by_its_utility():
    """Type 3 last and only when it is about to lose all; the others by hand."""
    env = envs.make("control/job_scheduling")
    state, _ = env.reset(KEY, ())
    chosen = int(np.argmax(np.asarray(state.type[:100]) == 2))
    after, timestep = env.step(KEY, state._replace(time=jnp.int32(120)), jnp.int32(2 * 4 + 2))
    assert np.flatnonzero(np.asarray(after.is_done)).tolist() == [chosen]
    np.testing.assert_allclose(timestep.reward, -(2 * 120 / 200 - 1), rtol=1e-6)


def test_utilities_fall_from_0_to_minus_1():
    ages = jnp.arange(201)
    for kind in range(4):
        paid = np.asarray(value_tasks.utility(jnp.full(201, kind), ages))
        assert paid[0] == 0 and abs(paid[-1] + 1) < 1e-6 and (np.diff(paid) <= 1e-7).all()
    halfway = [float(value_tasks.utility(jnp.int32(kind), jnp.int32(100))) for kind in range(4)]
    np.testing.assert_allclose(halfway, [-0.5, -0.8, 0, 0], atol=1e-6)


# --- a server by the rules in words, in plain Python -------------------------------------------


def paid_for(kind: int, age: int) -> float:
    """What a job of a type is worth at an age: four curves from 0 to -1 in 200 steps."""
    if kind == 0:
        return -age / 200
    if kind == 1:  # falls to -2/3 in the first sixth
        return -max(0.0, age / 50) if 4 * age < 0.6 * 200 + 0.4 * age else -0.6 - age / 500
    if kind == 2:
        return -max(0, age - 100) / 100
    return -1.0 if age >= 150 else 0.0


def by_rules(types, waiting, time: int, action: int) -> int:
    """The job that is done next: the oldest of the named type and age range, or the oldest."""
    ages = {job: time - max(0, job - 99) for job in waiting}
    there = [job for job in waiting if ages[job] >= 0]
    named = [
        job for job in there if types[job] == action // 4 and min(ages[job] // 50, 3) == action % 4
    ]
    return min(named or there)


def test_jobs_are_done_and_paid_as_by_the_rules():
    actions = jax.random.randint(jax.random.key(1), (200,), 0, 16)
    env = envs.make("control/job_scheduling")

    def one(state, action):
        state, timestep = env.step(KEY, state, action)
        return state, (state.is_done, timestep.reward)

    state, _ = env.reset(KEY, ())
    _, (is_done, rewards) = jax.jit(lambda: jax.lax.scan(one, state, actions))()
    types, waiting = np.asarray(state.type), set(range(200))
    for time, action in enumerate(np.asarray(actions)):
        job = by_rules(types, waiting, time, int(action))
        waiting.remove(job)
        assert set(np.flatnonzero(~np.asarray(is_done[time]))) == waiting
        age = time - max(0, job - 99)
        np.testing.assert_allclose(rewards[time], paid_for(types[job], age), atol=1e-6)


def best_of(jobs: list[tuple[int, int]], first: int) -> float:
    """The most that jobs (type, arrival) are worth, one done a step from a time on, in any order.

    It is an assignment of jobs to times, so it bounds what any policy gets.
    """
    worth = np.array(
        [
            [paid_for(kind, time - came) if time >= came else -1e9 for kind, came in jobs]
            for time in range(first, first + len(jobs))
        ]
    )
    return float(worth[linear_sum_assignment(-worth)].sum())


def test_the_best_order_of_the_last_jobs_is_found_by_trying_all_of_them():
    """Five jobs are left at time 195, of all types; the environment pays the best order as much."""
    env = envs.make("control/job_scheduling")
    left = {46 + 99: 3, 60 + 99: 1, 80 + 99: 2, 95 + 99: 0, 44 + 99: 3}
    types = np.zeros(200, np.int32)
    types[list(left)] = list(left.values())
    state, _ = env.reset(KEY, ())
    is_done = jnp.asarray([job not in left for job in range(200)])
    state = state._replace(type=jnp.asarray(types), is_done=is_done, time=jnp.int32(195))
    step, found = jax.jit(env.step), {}
    for order in itertools.permutations(left):
        ages = [195 + i - (job - 99) for i, job in enumerate(order)]
        found[order] = sum(paid_for(left[job], age) for job, age in zip(order, ages, strict=True))
    best = max(found, key=lambda order: found[order])
    total, timestep = 0.0, None
    for i, job in enumerate(best):
        action = 4 * left[job] + min((195 + i - (job - 99)) // 50, 3)
        state, timestep = step(KEY, state, jnp.int32(action))
        total += float(timestep.reward)
    assert timestep is not None and bool(timestep.terminated)
    np.testing.assert_allclose(total, found[best], atol=1e-5)
    np.testing.assert_allclose(best_of([(left[job], job - 99) for job in left], 195), total, 1e-5)
    assert found[best] > np.median(list(found.values())) + 0.5


def test_an_order_of_types_does_better_than_the_oldest_first_and_worse_than_the_bound():
    """Type 1 loses most at once, so it goes first; the bound knows what will come."""
    types = np.random.default_rng(0).integers(0, 4, 200)
    env = envs.make("control/job_scheduling")
    start = env.reset(KEY, ())[0]._replace(type=jnp.asarray(types, jnp.int32))

    @jax.jit
    def paid(actions):
        def one(state, action):
            state, timestep = env.step(KEY, state, action)
            return state, timestep.reward

        return jax.lax.scan(one, start, actions)[1].sum()

    totals = {}
    for name, groups in {"oldest": [], "type 1": [4, 5, 6, 7]}.items():
        waiting, actions = set(range(200)), []
        for time in range(200):
            found = [by_rules(types, waiting, time, group) for group in groups]
            named = [job for job in found if types[job] == 1]
            job = named[0] if named else min(waiting)
            waiting.remove(job)
            actions.append(4 * types[job] + min((time - max(0, job - 99)) // 50, 3))
        totals[name] = float(paid(jnp.asarray(actions, jnp.int32)))
    bound = best_of([(int(kind), max(0, i - 99)) for i, kind in enumerate(types)], 0)
    assert -50 < totals["oldest"] < totals["type 1"] - 5 < bound - 10 < -20
