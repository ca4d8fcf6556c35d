"""The search that is made of an algorithm computes what strategies read, and no more."""

import chex
import jax
import jax.numpy as jnp
import pytest
from evosax.algorithms import Open_ES
from marks import wide
from own_algorithms import SOLUTION

from ternevo.algorithms.nes import TernaryNES
from ternevo.algorithms.pbil import PBIL
from ternevo.strategies.search import search_of

SIZE = 8
FLOATS = jnp.zeros(5)


def flops(function, *arguments) -> float:
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("kind", "solution"),
    wide([(TernaryNES, SOLUTION), (PBIL, SOLUTION), (Open_ES, FLOATS)], keep=[PBIL, Open_ES]),
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_the_best_member_which_nobody_reads_is_not_computed_and_the_rest_is_as_before(
    kind, solution
):
    algorithm = kind(population_size=SIZE, solution=solution)
    params = algorithm.default_params
    search = search_of(algorithm, params, lambda key: solution)
    state = search.init(jax.random.key(0))
    population, state = search.ask(jax.random.key(1), state)
    fitness = jnp.arange(SIZE, dtype=jnp.float32)
    arguments = (jax.random.key(2), population, fitness, state)

    def tell_of_evosax(key, population, fitness, state):
        return algorithm.tell(key, population, fitness, state, params)[0]

    told, expected = jax.jit(search.tell)(*arguments), jax.jit(tell_of_evosax)(*arguments)
    assert float(expected.best_fitness) == 0 and jnp.isinf(told.best_fitness)
    kept = {"best_solution": told.best_solution, "best_fitness": told.best_fitness}
    chex.assert_trees_all_equal(told, expected.replace(**kept))
    chex.assert_trees_all_equal_shapes_and_dtypes(told, expected)  # checkpoints fit as before
    assert flops(search.tell, *arguments) < flops(tell_of_evosax, *arguments)


class Champion(Open_ES):
    """A user's own: what ships is the best member so far."""

    def get_mean(self, state):
        return self._unravel_solution(state.best_solution)


def test_an_algorithm_that_may_read_its_best_member_keeps_it():
    algorithm = Champion(population_size=SIZE, solution=FLOATS)
    search = search_of(algorithm, algorithm.default_params, lambda key: FLOATS)
    population, state = search.ask(jax.random.key(1), search.init(jax.random.key(0)))
    state = search.tell(jax.random.key(2), population, jnp.arange(float(SIZE)), state)
    chex.assert_trees_all_equal(search.solution(state), population[0])
