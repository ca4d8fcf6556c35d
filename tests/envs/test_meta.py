"""Families of tasks: their optima by hand-made policies, what each body does, a damaged leg."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide

from ternevo import envs
from ternevo.envs import bodies, contract, meta
from ternevo.names import UnknownName
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.search import search_of
from ternevo.types import Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

KEY = jax.random.key(0)
POINTS = [name for name in meta.names() if name not in bodies.TASKS]


def played(env, act, task, key=KEY):
    """Return the timesteps of an episode: act maps an observation to an action."""
    state, obs = env.reset(key, task)

    def one(carry, step):
        state, obs = carry
        state, timestep = env.step(jax.random.fold_in(key, step), state, act(obs))
        return (state, timestep.obs), timestep

    return jax.lax.scan(one, (state, obs), jnp.arange(1, env.episode_length + 1))[1]


@pytest.mark.parametrize("name", wide(POINTS, keep=("navigation", "sines")))
def test_tasks_keep_the_contract(name):
    env = contract.check(envs.make(f"meta/{name}"))
    assert (len(env.obs_names), len(env.action_names)) == (env.obs.size, env.action.size)
    steps = played(env, lambda obs: jnp.ones(env.action.size), env.draw_task(KEY))
    np.testing.assert_array_equal(steps.truncated[:-1], False)
    assert bool(steps.truncated[-1]) and steps.obs.dtype == jnp.float32
    assert np.abs(steps.obs).max() <= 127.5  # what is rounded to 8 bits fits into them


def test_who_knows_the_corner_gets_what_is_possible():
    env = envs.make("meta/four_corners")
    for corner in ((2.0, 2.0), (-2.0, 2.0), (2.0, -2.0)):
        target = jnp.array(corner)
        steps = played(env, lambda obs, to=target: (to - obs / 16) / 0.1, target)
        assert float(steps.reward.sum()) == pytest.approx(-40.3, abs=0.01)
        away = played(env, lambda obs, to=target: -to, target)
        assert float(away.reward.sum()) == -400


def test_corners_are_drawn_evenly_and_noise_is_on_the_return():
    env = envs.make("meta/noisy_corners")
    corners = jax.vmap(env.draw_task)(jax.random.split(KEY, 400))
    found, counts = np.unique(np.asarray(corners), axis=0, return_counts=True)
    assert len(found) == 4 and counts.min() > 70
    rest = lambda obs: jnp.zeros(2)  # noqa: E731
    total = lambda key: played(env, rest, corners[0], key).reward.sum()  # noqa: E731
    returns = np.asarray(jax.vmap(total)(jax.random.split(KEY, 400)))
    assert abs(returns.mean() + 400) < 4 and 17 < returns.std() < 23


def test_a_goal_that_is_reached_ends_the_episode():
    env, goal = envs.make("meta/navigation"), jnp.array([0.35, -0.8])
    steps = played(env, lambda obs: (goal - obs / 64) / 0.1, goal)
    np.testing.assert_array_equal(np.flatnonzero(steps.terminated)[:1], 7)
    np.testing.assert_allclose(steps.reward[0], -(0.25**2 + 0.7**2), rtol=1e-5)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_the_hidden_direction_pays_ten_and_the_other_minus_ten(direction):
    env = envs.make("meta/hidden_direction")
    for force in (-1.0, 1.0):
        steps = played(env, lambda obs, force=force: jnp.full(1, force), jnp.float32(direction))
        assert float(steps.reward.sum()) == 10 * direction * force


def test_sines_tell_the_right_value_and_pay_the_squared_error():
    """Who knows the phase pays nothing, who says 0 half the squared amplitude."""
    env, phase = envs.make("meta/sines"), jnp.float32(np.pi / 4)
    right = played(env, lambda obs: 0.9 * jnp.sin(obs / meta.SINE_UNIT + phase), phase)
    assert float(right.reward.sum()) == pytest.approx(0, abs=1e-6)
    nothing = played(env, jnp.zeros_like, phase)
    assert float(nothing.reward.sum()) == pytest.approx(-(0.9**2) / 2, abs=0.05)
    seen = np.append(np.asarray(env.reset(KEY, phase)[1]), nothing.obs[:-1]) / meta.SINE_UNIT
    np.testing.assert_allclose(np.asarray(nothing.feedback), 0.9 * np.sin(seen + phase), atol=1e-5)
    part = 4 * np.pi / meta.NUM_POINTS
    np.testing.assert_array_equal(np.sort(np.floor(seen / part + 12.5)), np.arange(25))
    assert np.abs(np.diff(seen)).min() > part  # no neighbours in a row


def test_sines_have_eight_phases_and_all_where_they_are_unseen():
    few, all_of_them = (
        np.asarray(jax.vmap(envs.make(f"meta/sines{suffix}").draw_task)(jax.random.split(KEY, 99)))
        for suffix in ("", "@unseen")
    )
    np.testing.assert_allclose(np.unique(few), 2 * np.pi * np.arange(8) / 8, rtol=1e-5)
    assert len(np.unique(all_of_them)) == 99


def test_the_needle_pays_for_guesses_that_are_left():
    """Means over lives against the sum of the series: a chance of 2**-open in each of 1,000."""

    def mean(env, string):
        return np.asarray(
            jax.vmap(lambda key: played(env, lambda _: string, (), key).reward[0])(
                jax.random.split(KEY, 4000)
            )
        ).mean()

    learning, instinct = envs.make("meta/needle"), envs.make("meta/needle@instinct")
    string = jnp.ones(20)
    assert mean(learning, string) == mean(instinct, string) == pytest.approx(20)
    assert mean(learning, string.at[3].set(-1.0)) == mean(instinct, string.at[3].set(0.0)) == 1
    for num_open in (1, 10):
        before = np.arange(1000)
        chance = 2.0**-num_open * (1 - 2.0**-num_open) ** before
        wanted = 1 + 19 * np.sum(chance * (1000 - before) / 1000)
        found = mean(learning, string.at[:num_open].set(0.0))
        assert found == pytest.approx(wanted, rel=0.02)


def test_learning_finds_the_needle_and_instinct_does_not():
    """Hinton and Nowlan (1987): 20 genes, 1,000 strings, 1,000 guesses, 50 generations."""
    envs_of = [envs.make(f"meta/needle{family}") for family in ("", "@instinct")]
    solution = [Tensor(jnp.zeros(20, jnp.int8), jnp.int8(0))]

    def draw(key):
        return [solution[0]._replace(values=jax.random.randint(key, (20,), -1, 2, jnp.int8))]

    settings = STRATEGIES["ternary_ga"].of(population_size=1000)
    algorithm, params = settings.search_algorithm(solution, "ternary", 50)
    search = search_of(algorithm, params, draw)

    def paid_in(env, key, string):
        return env.step(key, env.reset(key, ())[0], string)[1].reward

    @quick_jit
    def generation(key, state, learns):
        key_ask, key_live, key_tell = jax.random.split(key, 3)
        population, state = search.ask(key_ask, state)
        strings = population[0].values.astype(jnp.float32)
        keys = jax.random.split(key_live, 1000)
        with_, without = (jax.vmap(functools.partial(paid_in, env)) for env in envs_of)
        paid = jnp.where(learns, with_(keys, strings), without(keys, strings))
        genes = population[0].values[jnp.argmax(paid)]
        return search.tell(key_tell, population, -paid, state), paid.max(), genes

    init = quick_jit(search.init)
    for seed in range(3):
        for learns in (True, False):
            key = jax.random.key(seed)
            state, best = init(key), 0.0
            for number in range(50):
                state, paid, genes = generation(jax.random.fold_in(key, number), state, learns)
                best = max(best, float(paid))
            assert best == pytest.approx(20 if learns else 1)
            assert bool(np.all(np.asarray(genes) == 1)) == learns


def test_who_knows_the_body_reaches_and_who_takes_it_for_another_does_not():
    """The transpose of the body leads to each goal; the wrong sign leads away."""
    env = envs.make("meta/babble_and_reach")
    run = jax.jit(lambda body, use: played(env, lambda obs: use @ obs[:2] / 8, body))
    for name, body in meta.BODIES.items():
        body = jnp.array(body)
        assert float(run(body, body.T).reward.sum()) > 0.94, name
        assert float(run(body, -body.T).reward.sum()) < -1, name
    still = run(jnp.eye(2), jnp.zeros((2, 2)))
    assert float(still.reward.sum()) == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(still.obs[:, 2], 64)


def test_babbling_shows_how_the_body_moves():
    env = envs.make("meta/babble_and_reach")
    body, action = jnp.array(meta.BODIES["rotated"]), jnp.array([1.0, 0.5])
    felt = played(env, lambda obs: action, body).obs[: meta.BABBLE_STEPS - 1, :2] / 64
    np.testing.assert_allclose(felt.mean(0), [-0.5, 1.0], atol=0.05)
    assert 0.02 < float(felt.std(0).mean()) < 0.08


def test_families_hold_the_bodies_that_they_say():
    for suffix, wanted in (("", meta.SEEN_BODIES), ("@unseen", meta.UNSEEN_BODIES)):
        env = envs.make(f"meta/babble_and_reach{suffix}")
        assert env.id == f"meta/babble_and_reach{suffix}"
        drawn = jax.vmap(env.draw_task)(jax.random.split(KEY, 100))
        assert {tuple(map(tuple, body.tolist())) for body in np.asarray(drawn)} == {
            meta.BODIES[name] for name in wanted
        }
    with pytest.raises(UnknownName, match=r"unknown family .swaped.\. Did you mean .swapped"):
        envs.make("meta/babble_and_reach@swaped")
    with pytest.raises(UnknownName, match="unknown family 'unseen'"):
        envs.make("meta/navigation@unseen")


@pytest.mark.parametrize(
    "name",
    [
        *("navigation", "four_corners", "noisy_corners"),
        pytest.param("hidden_direction", marks=pytest.mark.wide),  # a body, which is dear to trace
    ],
)
def test_sides_part_the_tasks_of_training_and_of_tests(name):
    """All tasks are on a side or its mirror, and nothing else of them changes."""
    keys = jax.random.split(KEY, 50)
    drawn = {}
    for family in ("", "@left", "@right"):
        env = envs.make(f"meta/{name}{family}")
        assert env.id == f"meta/{name}{family}"
        drawn[family] = np.asarray(jax.vmap(env.draw_task)(keys)).reshape(50, -1)
    assert (drawn["@left"][:, 0] < 0).all() and (drawn["@right"][:, 0] > 0).all()
    assert len(np.unique(np.sign(drawn[""][:, 0]))) == 2
    for family in ("@left", "@right"):
        np.testing.assert_array_equal(np.abs(drawn[family]), np.abs(drawn[""]))
        np.testing.assert_array_equal(drawn[family][:, 1:], drawn[""][:, 1:])
