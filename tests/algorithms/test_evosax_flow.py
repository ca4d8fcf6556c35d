"""The flow of evosax's algorithm tests, over every algorithm of ours: construct, init, ask, tell.

evosax has tests in its repository, not in its wheel. Their flow: a loop under `jit` and
`scan`, one over keys under `vmap`, and metrics that a user reads from `tell`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms.base import metrics_fn as evosax_metrics
from evosax.algorithms.distribution_based.base import metrics_fn as of_distributions
from marks import wide
from own_algorithms import ALGORITHMS, SOLUTION, is_distribution, population_of, start

from ternevo.arithmetic import ternary

SIZE, GENERATIONS = 8, 5
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
QUICK = ("ScaleSearchNES", "PBIL", "TernaryGA", "RandomSearch")
"""In no slow test: trits that are drawn, with exponents and from a table, and kept members. Loops
of the others are in `test_algorithms.py` and `test_guards.py`; metrics are traced below."""
each_loop = pytest.mark.parametrize(
    "name",
    wide(
        [
            pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
            for name in ALGORITHMS
        ],
        keep=["TernaryGA"],
    ),
)


def cost(population) -> jax.Array:
    """Return how many trits of each member are not +1."""
    wrong = [x.values.reshape(x.values.shape[0], -1) != 1 for x in ternary.tensors(population)]
    return jnp.sum(jnp.concatenate(wrong, axis=1), axis=1).astype(jnp.float32)


def test_the_table_has_every_algorithm():
    assert {"TernaryNES", "ScaleSearchNES", "PBIL", "CEM", "CompactGA", "ASNG"} <= set(ALGORITHMS)
    assert {"TrustRegion", "Vote", "TernaryGA", "CoSyNE"} <= set(ALGORITHMS)
    assert {"OnePlusLambda", "RandomSearch"} <= set(ALGORITHMS) and len(ALGORITHMS) == 12


@functools.cache
def flow(name: str):
    """Return the algorithm, and the last states, populations and metrics of two keys."""
    algorithm = ALGORITHMS[name](population_size=SIZE, solution=SOLUTION)
    params = algorithm.default_params

    def one_generation(state, key):
        key_ask, key_tell = jax.random.split(key)
        population, state = algorithm.ask(key_ask, state, params)
        state, metrics = algorithm.tell(key_tell, population, cost(population), state, params)
        return state, (population, metrics)

    def go(key):
        key_start, key_run = jax.random.split(key)
        state = start(algorithm, key_start, cost)
        return jax.lax.scan(one_generation, state, jax.random.split(key_run, GENERATIONS))

    return algorithm, *quick_jit(jax.vmap(go))(jax.random.split(jax.random.key(0), 2))


@each_loop
def test_a_population_is_the_solution_with_one_more_axis(name):
    _, _, (populations, _) = flow(name)
    assert jax.tree.structure(populations) == jax.tree.structure(SOLUTION)
    for found, given in zip(jax.tree.leaves(populations), jax.tree.leaves(SOLUTION), strict=True):
        assert found.dtype == given.dtype == jnp.int8
        assert found.shape == (2, GENERATIONS, SIZE, *given.shape)


@each_loop
def test_tell_returns_the_scalar_metrics_of_evosax(name):
    algorithm, states, (populations, metrics) = flow(name)
    names = {"generation_counter", "best_fitness_in_generation", "best_fitness"}
    names |= {"best_solution_norm"} | ({"mean_norm"} if is_distribution(algorithm) else set())
    assert set(metrics) == names
    assert {value.shape for value in metrics.values()} == {(2, GENERATIONS)}
    assert all(bool(jnp.all(jnp.isfinite(value))) for value in metrics.values())
    costs = jax.vmap(jax.vmap(cost))(populations)
    in_generation, best = metrics["best_fitness_in_generation"], metrics["best_fitness"]
    np.testing.assert_array_equal(in_generation, costs.min(axis=2))
    np.testing.assert_array_equal(best, np.minimum.accumulate(best, axis=1))
    assert bool(jnp.all(best <= in_generation))
    np.testing.assert_array_equal(best[:, -1], states.best_fitness)
    np.testing.assert_array_equal(metrics["generation_counter"], [range(GENERATIONS)] * 2)


@each_loop
def test_the_best_solution_has_the_best_fitness_and_what_is_shipped_is_a_solution(name):
    algorithm, states, _ = flow(name)
    best = jax.vmap(algorithm._unravel_solution)(states.best_solution)
    np.testing.assert_array_equal(cost(best), states.best_fitness)
    get = algorithm.get_mean if is_distribution(algorithm) else algorithm.get_best_solution
    shipped = get(jax.tree.map(lambda x: x[0], states))
    assert jax.tree.structure(shipped) == jax.tree.structure(SOLUTION)
    assert {x.dtype for x in jax.tree.leaves(shipped)} == {jnp.dtype("int8")}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_metrics_of_a_users_own_are_heeded(name):
    """Also evosax's, which look a member up in a flat population."""

    def own(key, population, fitness, state, params):
        own = evosax_metrics(key, population, fitness, state, params)
        return own | {"spread": jnp.max(fitness) - jnp.min(fitness)}

    algorithm = ALGORITHMS[name](population_size=SIZE, solution=SOLUTION, metrics_fn=own)
    state = jax.eval_shape(functools.partial(start, algorithm, fitness_of=cost), jax.random.key(0))
    population = jax.eval_shape(lambda: population_of(jax.random.key(0), SIZE))
    fitness = jax.ShapeDtypeStruct((SIZE,), jnp.float32)
    tell = functools.partial(algorithm.tell, jax.random.key(0), params=algorithm.default_params)
    _, metrics = jax.eval_shape(tell, population, fitness, state)
    assert metrics["spread"].shape == ()
    assert metrics["best_solution_in_generation"].shape == algorithm.solution_flat.shape


def test_names_and_values_are_those_that_evosax_would_return():
    """On the flat members, of which its own function takes the best."""
    algorithm = ALGORITHMS["PBIL"](population_size=SIZE, solution=SOLUTION)
    state = start(algorithm, jax.random.key(0), cost)
    population, state = algorithm.ask(jax.random.key(1), state, algorithm.default_params)
    fitness = cost(population)
    _, metrics = algorithm.tell(
        jax.random.key(2), population, fitness, state, algorithm.default_params
    )
    members = jax.vmap(algorithm._ravel_solution)(population)
    best = jnp.argmin(fitness)
    told = state.replace(best_fitness=fitness[best], best_solution=members[best])
    theirs = of_distributions(jax.random.key(2), members, fitness, told, None)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-6)
