"""Q-learning in the memory of a policy, against a table of values and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, problems
from ternevo.algorithms import neat
from ternevo.arithmetic import observation
from ternevo.policies import contract, policy_file, q_learner
from ternevo.problems.episodes import Plan
from ternevo.settings.policies import QLearner
from ternevo.settings.strategies.neat import NEAT
from ternevo.settings.wrappers import Wrappers
from ternevo.types import ActionSpec, Inputs, ObsSpec, Population

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
STATES, ACTIONS = 4, 2
SETTINGS = QLearner(
    max_hidden=1, weights="float", learns="weights", q_rate=0.5, q_scale=4.0, q_discount=0.9
)


def built(settings=SETTINGS):
    policy = contract.build(
        settings, ObsSpec((STATES,), "integers"), ActionSpec("discrete", ACTIONS)
    )
    return policy, policy.init(jax.random.key(1))


def lived(settings, states, rewards, begins):
    """Return the life after a list of states, each with the reward before it."""
    policy, params = built(settings)
    apply = quick_jit(policy.apply)
    memory, trail = policy.reset(params, jax.random.key(0)), []
    for state, reward, begin in zip(states, rewards, begins, strict=True):
        obs = 127.0 * jnp.eye(STATES)[state]
        memory, output = apply(params, memory, Inputs(obs, jnp.float32(reward), jnp.asarray(begin)))
        trail.append((state, int(memory.action), np.asarray(output)))
    return params, memory, trail


@pytest.mark.parametrize("trace", [0.0, 0.7])
def test_it_is_q_learning_of_a_table_where_states_are_one_hot(trace):
    """Without hidden nodes the links are the table; the oracle is Watkins's and Peng's update."""
    settings = QLearner(
        max_hidden=1,
        weights="float",
        learns="weights",
        q_rate=0.5,
        q_scale=4.0,
        q_discount=0.9,
        q_trace=trace,
    )
    rng = np.random.default_rng(0)
    states, rewards = rng.integers(0, STATES, 30), rng.normal(size=30)
    begins = np.arange(30) % 7 == 0
    params, life, trail = lived(settings, states.tolist(), rewards, begins.tolist())
    table = np.asarray(params[0]["weight"].values)[:STATES, :ACTIONS].astype(float)
    eligible, before = np.zeros_like(table), None
    for (state, action, output), reward, begin in zip(trail, rewards, begins, strict=True):
        if before is not None:
            eligible = 0.9 * trace * eligible
            eligible[before] += 1
            target = reward / 4.0 + (0 if begin else 0.9 * table[state].max())
            table = table + 0.5 * (target - table[before]) * eligible
            eligible *= not begin
        np.testing.assert_allclose(output, table[state], atol=1e-5)
        before = state, action
    np.testing.assert_allclose(life.learned.weight[:STATES, :ACTIONS], table, atol=1e-5)


def test_links_that_are_not_there_stay_away_and_params_do_not_change():
    policy, params = built()
    _, life, _ = lived(SETTINGS, [0, 1, 2, 3], [0, 1, 1, 1], [True, False, False, False])
    weight = np.asarray(params[0]["weight"].values)
    assert not np.asarray(life.learned.weight)[weight == 0].any()
    child = q_learner.inherited(policy.topology, params, life)
    changed = np.asarray(child[0]["weight"].values) != weight
    assert changed.any() and not changed[weight == 0].any()


def test_gains_learn_and_trits_stay_trits():
    settings = QLearner(max_hidden=1, learns="gains", q_rate=0.5, q_scale=4.0)
    params, life, _ = lived(settings, [0, 1, 2, 0], [0, 1, 1, 1], [True, False, False, False])
    np.testing.assert_array_equal(life.learned.weight, params[0]["weight"].values)
    assert np.asarray(life.learned.bias)[:ACTIONS].any()
    with pytest.raises(ValueError, match="only floats are inherited"):
        q_learner.inherited(built(settings)[0].topology, params, life)


def test_nothing_learns_nothing_and_rates_fall_to_nothing():
    for settings in (
        QLearner(max_hidden=1, weights="float", learns="nothing"),
        QLearner(max_hidden=1, weights="float", learns="weights", q_steps=1),
    ):
        params, life, _ = lived(settings, [0, 1, 2], [0, 1, 1], [True, False, False])
        np.testing.assert_array_equal(life.learned.weight, params[0]["weight"].values)


@pytest.mark.wide  # its lifetimes are below
def test_neat_searches_learners_through_lifetimes_and_the_file_keeps_them(tmp_path):
    env = envs.make("control/mountain_car_bins", 10, Wrappers(lifetime=2, counted="all"))
    settings = QLearner(max_hidden=2, learns="gains")
    policy = contract.build(settings, env.obs, env.action)
    strategy = NEAT.of(population_size=6, num_episodes=1).build(env, policy, "ternary", 2)
    state = strategy.init(jax.random.key(0))
    after, _ = jax.eval_shape(strategy.step, jax.random.key(0), state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    params = strategy.params(state)
    path = tmp_path / "policy.npz"
    policy_file.save(path, env, "q_learner", settings, params)
    there = policy_file.load(path)
    jax.tree.map(np.testing.assert_array_equal, there.weights, params.weights)
    assert there.settings == settings


def test_a_generation_of_neat_earns_more_in_lives_in_which_members_learn():
    """The same members in lives of eight episodes that pay 1 for the sign that is shown."""
    env = envs.make("probe/sign", 1, Wrappers(lifetime=8, counted="all"))
    learner, fixed = (
        contract.build(QLearner(max_hidden=1, max_depth=2, learns=what), env.obs, env.action)
        for what in ("gains", "nothing")
    )
    key, empty = jax.random.key(0), observation.empty(env.obs.size)
    search, decode = neat.search(NEAT.of(population_size=32), learner, "ternary")
    state = quick_jit(search.init)(key)

    def returns(policy):
        evaluate = problems.of(policy, env, Plan(num_episodes=1)).evaluate
        members = Population(jax.vmap(decode)(state.population))
        return evaluate(key, members, empty, jnp.int32(0)).returns

    learned, alone = (quick_jit(functools.partial(returns, x))()[:, 0] for x in (learner, fixed))
    assert np.isfinite(learned).all()
    assert learned.mean() > alone.mean()
    after = quick_jit(lambda: search.tell(key, state.population, -learned, state))()
    np.testing.assert_array_equal(after.score, learned)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learns": "weights"}, "use --learns gains"),
        ({"weights": "binary", "learns": "gains"}, "ternary or float"),
        ({"weights": "float", "q_scale": 0.0}, "q_scale"),
    ],
)
def test_what_cannot_learn_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        QLearner(**options)


def test_continuous_actions_have_no_values():
    with pytest.raises(ValueError, match="use --policy graph"):
        QLearner(weights="float").build(ObsSpec((2,)), ActionSpec("continuous", 1, (-1.0,), (1.0,)))
