"""A search that evosax knows nothing of, and what searches say of themselves."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms
from marks import wide
from own_algorithms import ALGORITHMS, SOLUTION

from ternevo import envs, problems
from ternevo.algorithms.traits import FORGETFUL, Described, Traits, traits_of
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.weights import TERNARY, flip
from ternevo.problems import Plan
from ternevo.settings.policies import MLP
from ternevo.strategies.evolve import evolve
from ternevo.types import Key, Params, Policy, Problem, Scores, Search, StepCount

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def hill_climbing(policy: Policy, population_size: int, rate: float) -> Search:
    """Return a search in 40 lines: the best of a parent and its flipped children goes on.

    The state is the parent's params and nothing else: no evosax, no raveling.
    """

    def child(key: Key, parent: Params) -> Params:
        tensors = ternary.tensors(parent)
        keys = jax.random.split(key, len(tensors))
        flipped = [
            tensor._replace(values=flip(k, tensor.values, jnp.asarray(rate), TERNARY))
            for k, tensor in zip(keys, tensors, strict=True)
        ]
        return ternary.replace_tensors(parent, flipped)

    def ask(key: Key, parent: Params):
        children = jax.vmap(child, (0, None))(jax.random.split(key, population_size - 1), parent)
        population = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), parent, children)
        return population, parent

    def tell(key: Key, population: Params, fitness: jax.Array, parent: Params):
        best = jnp.argmin(fitness)
        return jax.tree.map(lambda x: x[best], population)

    return Search(
        init=policy.init,
        ask=ask,
        tell=tell,
        solution=lambda parent: parent,
        metrics=lambda parent: {"search/ones": jnp.sum(parent[0]["weight"].values == 1)},
        population_size=population_size,
        name="hill climbing",
        remembers_fitness=False,
    )


def test_a_search_of_ones_own_solves_a_probe():
    """Signs are told apart by one weight, and int8 stays int8 from `ask` to what ships."""
    env = envs.make("probe/sign")
    policy = MLP(()).build(env.obs, env.action)
    search = hill_climbing(policy, 8, 0.5)
    strategy = evolve(search, problems.of(policy, env, Plan(16)))

    @quick_jit
    def go(key):
        keys = jax.random.split(key, 10)
        state = strategy.init(key)
        state, metrics = jax.lax.scan(lambda s, k: strategy.step(k, s), state, keys)
        return strategy.params(state), metrics

    shipped, metrics = go(jax.random.key(0))
    assert float(metrics["return/max"][-1]) == 1.0
    assert {t.values.dtype for t in ternary.tensors(shipped.weights)} == {jnp.dtype("int8")}
    assert metrics["search/ones"].shape == (10,)


def test_what_a_search_and_a_problem_say_of_themselves_is_what_is_heeded():
    """Scores that grow are refused by whoever keeps them, whatever its state looks like."""
    env = envs.make("probe/countdown", 10)
    policy = MLP(()).build(env.obs, env.action)
    growing = problems.of(policy, env, Plan(1, horizon=lambda generation: generation + 1))
    assert not growing.is_steady
    search = hill_climbing(policy, 4, 0.1)
    evolve(search, growing)
    with pytest.raises(ValueError, match="must be 1 with hill climbing: it keeps the fitness"):
        evolve(search._replace(remembers_fitness=True), growing)


def test_a_problem_needs_no_environment():
    """Its return is the number of weights that are one: the optimum is all of them."""
    env = envs.make("probe/bandit")
    policy = MLP((), use_bias=False).build(env.obs, env.action)

    def evaluate(key, population, moments, generation):
        ones = jnp.sum(population.params[0]["weight"].values == 1, axis=(1, 2))
        returns = ones[:, None].astype(jnp.float32)
        steps = StepCount(jnp.uint32(ones.size), jnp.uint32(0))
        return Scores(returns, jnp.ones(returns.shape, jnp.int32), moments, steps)

    problem = Problem(env.obs, evaluate, test=lambda *arguments: None)
    strategy = evolve(hill_climbing(policy, 16, 0.5), problem)
    state = strategy.init(jax.random.key(0))
    for generation in range(8):
        state, metrics = quick_jit(strategy.step)(jax.random.key(generation), state)
    assert float(metrics["return/max"]) == 2
    np.testing.assert_array_equal(strategy.params(state).weights[0]["weight"].values, 1)
    assert int(metrics["episode/steps"]) == 16
    np.testing.assert_array_equal(observation.empty(1).count, state.moments.count)


# --- evosax's algorithms, of which a table says it ----------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_our_algorithms_describe_themselves(name):
    algorithm = ALGORITHMS[name](population_size=8, solution=SOLUTION)
    assert isinstance(algorithm, Described)
    assert isinstance(traits_of(algorithm), Traits)


def keeps_fitness(algorithm) -> bool:
    """Return whether a state of evosax has fitness besides the best so far, a mere record."""
    state = jax.eval_shape(algorithm._init, jax.random.key(0), algorithm.default_params)
    names = {field.name for field in dataclasses.fields(state)} - {"best_fitness"}
    return any("fitness" in name for name in names)


@pytest.mark.parametrize(
    "name",
    wide([name for name in algorithms if not name.startswith("SV_")], keep=("Open_ES", "SimpleGA")),
)
def test_the_table_is_right_of_every_algorithm_of_evosax(name):
    draw = {"sampling_fn": lambda key: jnp.zeros(4)} if name == "RandomSearch" else {}
    algorithm = algorithms[name](population_size=16, solution=jnp.zeros(4), **draw)
    assert traits_of(algorithm).remembers_fitness == keeps_fitness(algorithm)
    assert set(algorithms) >= FORGETFUL


def test_an_algorithm_that_nobody_described_is_taken_to_remember():
    class Unknown(algorithms["Open_ES"]):
        pass

    assert traits_of(Unknown(population_size=4, solution=jnp.zeros(2))).remembers_fitness
