"""The genetic algorithm of Such et al.: who is evaluated again, who leads, who has children."""

import functools

import chex
import fake_suite
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from marks import wide

from ternevo import envs
from ternevo.algorithms import variation
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.weights import TERNARY
from ternevo.machine import devices
from ternevo.policies import contract
from ternevo.rollouts import step_count
from ternevo.runs import claims
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP, Conv
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import deep_ga
from ternevo.strategies.deep_ga import DeepGAState
from ternevo.strategies.seed_lists import Genomes, seed_lists
from ternevo.training import loop
from ternevo.training.checkpoint import Checkpoints
from ternevo.types import Scores, Tensor

ENV = envs.make("probe/sign")


def members(numbers) -> list[Tensor]:
    """Return a population of one number each, so that members can be told apart."""
    return [Tensor(jnp.asarray(numbers, jnp.float32)[:, None], jnp.zeros(len(numbers), jnp.int8))]


def numbers(params) -> list[float]:
    return params[0].values[..., 0].tolist()


def state_of(elite: float, generation: int) -> DeepGAState:
    one = jax.tree.map(lambda x: x[0], members([elite]))
    zero = jnp.zeros(())
    parents = members([elite])
    return DeepGAState(parents, one, zero, zero, observation.empty(1), jnp.int32(generation))


def scores(returns) -> Scores:
    returns = jnp.asarray(returns, jnp.float32)
    lengths = jnp.ones(returns.shape, jnp.int32)
    return Scores(returns, lengths, observation.empty(1), step_count.of_lengths(lengths))


@given(
    st.lists(st.integers(-5, 5), min_size=6, max_size=6),
    st.lists(st.integers(-5, 5), min_size=3, max_size=3),
    st.integers(0, 2),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_leaders_and_parents_are_those_of_the_algorithm_in_words(first, second, generation):
    """Two routes: sorted lists in Python, and the arrays. Ties go to who comes first."""
    config = STRATEGIES["deep_ga"].of(population_size=6, truncation=3, elite_candidates=3)
    best = sorted(range(6), key=lambda i: -first[i])
    elite = 99.0
    wanted = [float(i) for i in best[:3]]
    if generation:
        wanted = [elite, *wanted[:2]]
    population, fitness = members(range(6)), -jnp.asarray(first, jnp.float32)
    found = deep_ga.candidates_of(config, population, fitness, state_of(elite, generation))
    assert numbers(found) == wanted
    leader = max(range(3), key=lambda i: (second[i], -i))
    ranked = deep_ga.ranked(config, population, fitness, found, scores([[x] for x in second]))
    assert numbers(ranked.elite) == wanted[leader]
    assert numbers(ranked.parents) == [wanted[leader], *map(float, best[:2])]
    assert float(ranked.validation) == second[leader]
    assert bool(ranked.is_kept) == (leader == 0)


def genomes_of(config, policy, weights="ternary") -> Genomes:
    mutate = functools.partial(deep_ga.mutated, config, weights)
    return Genomes(policy.init, mutate, lambda member: member)


def population(config, policy, state: DeepGAState):
    """Return the members that a state of trits makes of a key."""
    make = deep_ga.maker(config, genomes_of(config, policy), state.parents, state.generation)
    return jax.vmap(make)(jax.random.split(jax.random.key(1), config.population_size))


def test_every_child_has_one_parent_and_no_crossover():
    """With at most some flips expected, a child is close to one parent, and far from the others."""
    policy = MLP((32,)).build(ENV.obs, ENV.action)
    config = STRATEGIES["deep_ga"].of(
        population_size=40, truncation=4, min_flips=1.0, max_flips=1.0
    )
    strategy = config.build(ENV, policy, "ternary", 5)
    state = jax.jit(strategy.init)(jax.random.key(0)).strategy
    children = population(config, policy, state._replace(generation=jnp.int32(1)))

    def flat(params):
        return np.concatenate([np.asarray(t.values).reshape(len(t.values), -1) for t in params], 1)

    parents = flat(ternary.tensors(state.parents))
    children = flat(ternary.tensors(children))
    differing = (children[:, None] != parents[None]).sum(-1)
    assert differing.min(1).max() <= 6 < np.sort(differing, 1)[:, 1].min()
    assert set(differing.argmin(1)) == {0, 1, 2, 3}


def test_without_truncation_it_is_random_search():
    """Members depend on the key only, and not on the state."""
    policy = MLP((4,)).build(ENV.obs, ENV.action)
    config = STRATEGIES["deep_ga"].of(population_size=8, truncation=0)
    strategy = config.build(ENV, policy, "ternary", 5)
    init = jax.jit(strategy.init)
    first = init(jax.random.key(0)).strategy
    later = init(jax.random.key(7)).strategy._replace(generation=jnp.int32(3))
    one, other = (
        jax.jit(population, static_argnums=(0, 1))(config, policy, s) for s in (first, later)
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.wide  # layers are shapes to it
def test_it_evolves_convolutions():
    env = envs.make("gymnax/Breakout-MinAtar", 20)
    env = env._replace(obs=env.obs._replace(kind="planes"))
    policy = Conv(filters=((4, 3, 1),), hidden_sizes=(8,)).build(env.obs, env.action)
    config = STRATEGIES["deep_ga"].of(population_size=4, validation_episodes=2)
    strategy = config.build(env, policy, "ternary", 2)
    state, step = jax.jit(strategy.init)(jax.random.key(0)), jax.jit(strategy.step)
    for generation in range(2):
        state, metrics = step(jax.random.key(generation), state)
    values = [np.asarray(t.values) for t in ternary.tensors(strategy.params(state).weights)]
    assert {v.dtype.name for v in values} == {"int8"}
    assert bool(jnp.isfinite(metrics["search/validation"]))


# ------------------------------------------------------------------- lists of seeds

GENERATIONS = 4
SMALL = {
    **{"population_size": 8, "truncation": 3, "elite_candidates": 3, "validation_episodes": 2},
    "mutation_power": 0.3,
}


@pytest.mark.exact
@pytest.mark.parametrize("weights", wide(["ternary", "binary", "float"], keep=["ternary"]))
def test_replayed_weights_are_those_that_were_mutated_all_along(weights):
    """Two routes, through parents that are drawn at random in each generation."""
    policy = MLP((16,), weights=weights).build(ENV.obs, ENV.action)
    config = STRATEGIES["deep_ga"].of(**SMALL)
    plain = genomes_of(config, policy, weights)
    lists = seed_lists(plain, GENERATIONS)

    @functools.partial(jax.jit, static_argnums=0)
    def members(genomes, key, parents, generation):
        make = deep_ga.maker(config, genomes, parents, generation)
        return jax.vmap(make)(jax.random.split(key, 8))

    parents = [jax.vmap(x.first)(jax.random.split(jax.random.key(0), 3)) for x in (plain, lists)]
    replay = jax.jit(lambda members: jax.lax.map(lists.weights, members))
    for generation in range(GENERATIONS):
        key = jax.random.key(generation)
        kept, listed = (
            members(genomes, key, own, jnp.int32(generation))
            for genomes, own in zip((plain, lists), parents, strict=True)
        )
        chex.assert_trees_all_equal(replay(listed), kept, strict=True)
        chosen = np.random.default_rng(generation).choice(8, 3, replace=False)
        parents = [jax.tree.map(lambda x, i=chosen: x[i], own) for own in (kept, listed)]
    assert int(listed.length.min()) == GENERATIONS


def evolved(genomes: str, env, weights: str, folder=None, **options):
    """Return the policy and the metrics of each generation; with a folder, stop in the middle."""
    activation = "tanh" if weights == "float" else "int8"
    settings = MLP((4,), weights=weights, activation=activation)
    policy = contract.build(settings, env.obs, env.action)
    config = STRATEGIES["deep_ga"].of(**SMALL, genomes=genomes, **options)
    strategy = config.build(env, policy, weights, GENERATIONS)
    state, found = loop.start(jax.random.key(0), strategy), []
    step, params = jax.jit(strategy.step), jax.jit(strategy.params)
    for generation in range(GENERATIONS):
        key = jax.random.fold_in(state.key, generation)
        after, metrics = step(key, state.strategy)
        state = state._replace(strategy=after, generation=jnp.int32(generation + 1))
        found.append(jax.device_get((metrics, params(after))))
        if folder and generation == 1:
            with Checkpoints(folder) as checkpoints:
                checkpoints.save(state)
            with Checkpoints(folder) as checkpoints:
                state = checkpoints.restore(loop.start(jax.random.key(0), strategy))
    return found, state.strategy.strategy


@pytest.mark.wide  # of a generation they are above
@pytest.mark.exact
@pytest.mark.parametrize("weights", ["ternary", pytest.param("float", marks=pytest.mark.slow)])
def test_lists_of_seeds_and_weights_are_two_routes_to_the_same_run(weights, tmp_path):
    """Also where children are made three at a time, and the run is stopped and resumed."""
    env = envs.make("probe/random_length", 6)
    wanted, _ = evolved("weights", env, weights)
    found, state = evolved("seeds", env, weights, tmp_path, population_chunk=3)
    chex.assert_trees_all_equal(found, wanted, strict=True)
    assert int(state.parents.length.max()) > 2  # some have grandparents


@pytest.mark.exact
@pytest.mark.slow
@pytest.mark.parametrize("where", ["outside JAX", "examples"])
def test_they_are_so_without_lanes_too(where):
    env = fake_suite.drift() if where == "outside JAX" else envs.make("digits/8x8")
    with devices.on_one_device():
        routes = [evolved(genomes, env, "ternary")[0] for genomes in ("weights", "seeds")]
    chex.assert_trees_all_equal(*routes, strict=True)


def test_a_state_of_seeds_is_as_large_for_any_number_of_weights():
    def sizes(genomes, hidden):
        policy = MLP((hidden, hidden)).build(ENV.obs, ENV.action)
        config = STRATEGIES["deep_ga"].of(genomes=genomes)
        strategy = config.build(ENV, policy, "ternary", 50)
        state = jax.eval_shape(strategy.init, jax.random.key(0))
        return [(x.shape, x.dtype) for x in jax.tree.leaves(state)]

    assert sizes("seeds", 4) == sizes("seeds", 64)
    assert sizes("weights", 4) != sizes("weights", 64)


def test_a_list_has_the_key_of_each_mutation_in_order():
    """By hand: a member is a number, a key adds its own to ten times the parent."""
    own = {seed: jax.random.key(seed) for seed in (1, 2, 3)}
    number = lambda key: jax.random.key_data(key)[-1].astype(jnp.int32)  # noqa: E731
    plain = Genomes(number, lambda key, parent: 10 * parent + number(key), lambda member: member)
    lists = seed_lists(plain, 3)
    member = lists.first(own[1])
    assert int(lists.weights(member)) == 1
    child = lists.mutated(own[2], member)
    grandchild = lists.mutated(own[3], child)
    assert [int(lists.weights(x)) for x in (member, child, grandchild)] == [1, 12, 123]


def test_a_resumed_run_of_seeds_has_no_room_for_more_generations():
    argv = ["--env", "probe/sign", "--strategy", "deep_ga"]
    assert "num_generations" in claims.free_on_resume(parse(argv))
    assert "num_generations" not in claims.free_on_resume(parse([*argv, "--genomes", "seeds"]))


# ------------------------------------------------------------------- mutations


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_crossing_takes_its_share_from_the_second_parent(share):
    first, second = ([Tensor(jnp.full(4000, x, jnp.int8), jnp.int8(x))] for x in (-1, 1))
    (child,) = variation.crossed(jax.random.key(0), first, second, share)
    assert abs(float((child.values == 1).mean()) - share) < 0.03
    assert int(child.exponent) == -1
    assert child.values.dtype == jnp.int8


@given(st.floats(0.5, 4), st.floats(1, 8), st.integers(1, 100))
@hypothesis_settings(max_examples=30, deadline=None)
def test_flip_rates_are_within_their_range(low, factor, seed):
    rate = variation.flip_rate(jax.random.key(seed), 100, low, low * factor)
    assert low / 100 * 0.999 <= float(rate) <= low * factor / 100 * 1.001


def test_flips_keep_int8_and_change_about_half_of_what_they_redraw():
    zeros = [Tensor(jnp.zeros(9000, jnp.int8), jnp.int8(3))]
    (child,) = variation.flipped(jax.random.key(0), zeros, 0.2, TERNARY)
    assert child.values.dtype == jnp.int8
    assert abs(float((child.values != 0).mean()) - 0.1) < 0.015


def test_iso_line_of_equal_parents_is_noise_and_without_noise_is_a_line():
    a, b = ([Tensor(jnp.asarray(x), jnp.int8(0))] for x in ([0.0, 0.0], [2.0, -4.0]))
    (same,) = variation.along_line(jax.random.key(0), a, a, 0.0, 0.5)
    np.testing.assert_array_equal(same.values, [0.0, 0.0])
    (child,) = variation.along_line(jax.random.key(0), a, b, 0.0, 0.5)
    assert float(child.values[1]) == -2 * float(child.values[0]) != 0
