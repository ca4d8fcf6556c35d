"""The algorithms on tables of probabilities, against plain NumPy and exact enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import enumerate_vectors, expected, random_problem, vector_probabilities
from hypothesis import given, settings, strategies as st
from marks import wide

from ternevo.algorithms.asng import ASNG
from ternevo.algorithms.categorical import (
    fisher_root,
    keep_margin,
    natural_gradient,
    towards_density,
)
from ternevo.algorithms.cem import CEM
from ternevo.algorithms.compact_ga import CompactGA
from ternevo.algorithms.distribution import possible_values
from ternevo.algorithms.pbil import PBIL
from ternevo.algorithms.shaping import best_and_worst, duels, of_unit_energy, truncation
from ternevo.algorithms.trust_region import TrustRegion, noise_energy
from ternevo.arithmetic.weights import kind_of
from ternevo.settings.command_line import parse
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Tensor

KINDS = ("ternary", "binary")


def each(names: str, *values, default: list):
    """Return the mark for all combinations of values; those not in `default` are slow tests.

    A table of signs is one of trits with a column of zeros, and is told as such. So by default
    each value comes up, and not with each of the others.
    """
    rows = itertools.product(*values)
    marks = ((row, [] if row in default else pytest.mark.slow) for row in rows)
    return pytest.mark.parametrize(names, [pytest.param(*row, marks=mark) for row, mark in marks])


each_kind = each("kind", KINDS, default=[("ternary",)])
BUILD = {
    "pbil": lambda size, solution, **options: PBIL(size, solution, lambda _: 2.0, **options),
    "cem": CEM,
    "compact_ga": CompactGA,
    "asng": ASNG,
    "trust_region": TrustRegion,
}


def solution_of(num_weights: int):
    return ({"weight": Tensor(jnp.ones((num_weights, 1), jnp.int8), jnp.zeros((), jnp.int8))},)


def random_table(rng, num_weights: int, kind: str) -> np.ndarray:
    table = 0.1 + rng.uniform(size=(num_weights, 3))
    table *= np.asarray(possible_values(kind_of(kind)))
    return (table / table.sum(1, keepdims=True)).astype(np.float32)


class Told:
    """An algorithm told of one generation, and what went in and came out, in plain NumPy."""

    def __init__(self, name, fitness, kind="ternary", memory=None, table=None, **options):
        """`fitness` is an array, or a function of the trits of 64 members."""
        size = 64 if callable(fitness) else len(fitness)
        self.table = random_table(np.random.default_rng(3), 5, kind) if table is None else table
        self.algorithm = BUILD[name](size, solution_of(len(self.table)), kind=kind, **options)
        params = self.algorithm.default_params
        state = self.algorithm.init(jax.random.key(0), self.algorithm.solution, params)
        self.before = state.replace(
            tables=(jnp.asarray(self.table)[:, None],),
            memory=state.memory if memory is None else memory,
        )
        self.population, _ = self.algorithm.ask(jax.random.key(1), self.before, params)
        trits = np.asarray(self.population[0]["weight"].values)[..., 0]
        self.one_hot = (trits[..., None] == np.array([-1, 0, 1])).astype(np.float64)
        self.fitness = np.float32(fitness(trits) if callable(fitness) else fitness)
        self.after = self.told(jnp.asarray(self.fitness))
        self.moved = np.asarray(self.after.tables[0])[:, 0]

    def told(self, fitness):
        """Return the state after this fitness of the same population."""
        params = self.algorithm.default_params
        return self.algorithm.tell(
            jax.random.key(2), self.population, fitness, self.before, params
        )[0]

    def natural_gradient(self, utilities) -> np.ndarray:
        u = np.asarray(utilities)[:, None, None]
        return np.mean(u * (self.one_hot - self.table), axis=0)


def total(trits) -> np.ndarray:
    return trits.sum(1)


def different(size: int, seed: int = 0) -> np.ndarray:
    """Fitnesses no two of which are equal."""
    return np.random.default_rng(seed).permutation(size).astype(np.float32)


# --- the natural gradient ---------------------------------------------------------------------


def fisher_information(table, vectors) -> np.ndarray:
    """E[score score^T] over all vectors, in P(-1) and P(0) of every weight."""
    scores = scores_of(table, vectors)
    chances = np.asarray(vector_probabilities(jnp.asarray(table), vectors), np.float64)
    return np.einsum("n,ni,nj->ij", chances, scores, scores)


def scores_of(table, vectors) -> np.ndarray:
    """The derivative of log P(x) in P(-1) and P(0), of which P(+1) is the rest."""
    one_hot = vectors[..., None] == np.array([-1, 0, 1])
    by_value = one_hot / np.asarray(table, np.float64)
    return (by_value[..., :2] - by_value[..., 2:]).reshape(len(vectors), -1)


@pytest.mark.parametrize("num_weights", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_natural_gradient_is_the_gradient_over_the_fisher_information(num_weights):
    vectors, utilities, _ = random_problem(num_weights, num_weights)
    table = random_table(np.random.default_rng(num_weights), num_weights, "ternary")

    def expected_utility(free):
        full = jnp.concatenate([free, 1 - free.sum(1, keepdims=True)], axis=1)
        return vector_probabilities(full, vectors) @ utilities

    slope = jax.jit(jax.grad(expected_utility))
    gradient = np.asarray(slope(jnp.asarray(table[:, :2]))).ravel()
    exact = np.linalg.solve(fisher_information(table, vectors), gradient).reshape(-1, 2)
    stats = expected(jnp.asarray(table), utilities, vectors)
    estimate = natural_gradient(jnp.asarray(table), stats)
    np.testing.assert_allclose(estimate[:, :2], exact, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(estimate.sum(1), 0, atol=1e-5)


@pytest.mark.parametrize("num_weights", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_the_root_of_the_fisher_information_gives_its_inner_product(num_weights):
    rng = np.random.default_rng(num_weights)
    table = random_table(rng, num_weights, "ternary")
    fisher = fisher_information(table, enumerate_vectors(num_weights))
    changes = rng.normal(size=(2, num_weights, 3)).astype(np.float32)
    changes -= changes.mean(-1, keepdims=True)
    left, right = (np.asarray(fisher_root(jnp.asarray(table), jnp.asarray(c))) for c in changes)
    free = changes[..., :2].reshape(2, -1)
    for one, two, a, b in [(left, left, 0, 0), (left, right, 0, 1), (right, right, 1, 1)]:
        np.testing.assert_allclose(np.sum(one * two), free[a] @ fisher @ free[b], rtol=1e-4)


def test_the_root_is_zero_where_a_value_is_impossible():
    table, change = jnp.array([0.25, 0.0, 0.75]), jnp.array([0.5, 0.0, -0.5])
    np.testing.assert_allclose(fisher_root(table, change), [1.0, 0.0, -0.5 / 0.75**0.5])


# --- a prior on the density -------------------------------------------------------------------


def share_of(table) -> np.ndarray:
    """Return how likely each weight is not 0."""
    return 1 - np.asarray(table, np.float64)[..., 1]


@pytest.mark.parametrize("num_weights", [1, 3])
@pytest.mark.parametrize("density", [0.1, 0.7])
def test_the_pull_to_a_density_is_the_natural_gradient_of_the_divergence(num_weights, density):
    """KL over all 3^d vectors, from tables of that density with the same odds of the signs."""
    vectors = enumerate_vectors(num_weights)
    table = random_table(np.random.default_rng(num_weights), num_weights, "ternary")
    odds = table[:, ::2] / share_of(table)[:, None]
    wanted = np.insert(density * odds, 1, 1 - density, axis=1)
    chances = np.asarray(vector_probabilities(jnp.asarray(wanted, jnp.float32), vectors))

    def divergence(free):
        full = jnp.concatenate([free, 1 - free.sum(1, keepdims=True)], axis=1)
        return chances @ (np.log(chances) - jnp.log(vector_probabilities(full, vectors)))

    slope = np.asarray(jax.jit(jax.grad(divergence))(jnp.asarray(table[:, :2]))).ravel()
    exact = np.linalg.solve(fisher_information(table, vectors), -slope).reshape(-1, 2)
    found = np.asarray(towards_density(jnp.asarray(table), density))
    np.testing.assert_allclose(found[:, :2], exact, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-6)
    np.testing.assert_allclose(share_of(table + found), density, atol=1e-6)


def test_a_pull_of_dead_values_is_finite():
    table = jnp.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    moved = keep_margin(table + 0.5 * towards_density(table, 0.25), 0.0, jnp.ones(3))
    np.testing.assert_array_equal(moved, table)


def sparse_solution():
    """Half of 60 weights are not 0, and a bias of zeros."""
    signs = np.tile([1, 0, -1, 0], 15).reshape(12, 5)
    zero = jnp.zeros((), jnp.int8)
    weight, bias = (jnp.asarray(x, jnp.int8) for x in (signs, np.zeros(5)))
    return ({"bias": Tensor(bias, zero), "weight": Tensor(weight, zero)},)


@pytest.mark.parametrize("name", wide(BUILD, keep=["pbil"]))
def test_first_tables_have_the_density_and_so_have_members(name):
    """The first policy has it, and what stands for uniform; biases are as without it."""
    solution, key = sparse_solution(), jax.random.key(0)
    algorithm = BUILD[name](512, solution, density=0.5)
    state = algorithm.init(key, solution, algorithm.default_params)
    plain = BUILD[name](512, solution).init(key, solution, algorithm.default_params)
    np.testing.assert_array_equal(state.tables[0], plain.tables[0])
    table = np.asarray(state.tables[1])
    assert share_of(table).mean() == pytest.approx(0.5, abs=1e-6)
    is_there = np.asarray(solution[0]["weight"].values) != 0
    np.testing.assert_allclose(share_of(table)[is_there], 0.6 * 0.5 + 0.4, atol=1e-6)
    mode = algorithm.get_mean(state)[0]["weight"].values
    np.testing.assert_array_equal(mode, solution[0]["weight"].values)
    members, _ = algorithm.ask(jax.random.key(1), state, algorithm.default_params)
    found = np.mean(np.asarray(members[0]["weight"].values) != 0)
    deviation = 0.5 / np.sqrt(512 * 60)
    assert abs(found - 0.5) < 4 * deviation


@pytest.mark.parametrize("name", wide(BUILD, keep=["pbil"]))
def test_without_a_signal_the_pull_takes_its_share_of_the_way_and_leaves_biases(name):
    solution, key = sparse_solution(), jax.random.key(0)
    algorithm = BUILD[name](8, solution, density=0.2, density_pull=0.25)
    params = algorithm.default_params
    before = algorithm.init(key, solution, params)
    members, _ = algorithm.ask(key, before, params)
    after, _ = algorithm.tell(key, members, jnp.zeros(8), before, params)
    np.testing.assert_array_equal(after.tables[0], before.tables[0])
    old, new = (np.asarray(state.tables[1]) for state in (before, after))
    np.testing.assert_allclose(share_of(new), 0.75 * share_of(old) + 0.25 * 0.2, atol=1e-6)
    np.testing.assert_allclose(new[..., 0] * old[..., 2], new[..., 2] * old[..., 0], atol=1e-6)


# --- utilities --------------------------------------------------------------------------------


def utilities_of(shaping, fitness) -> np.ndarray:
    return -np.asarray(shaping(None, jnp.asarray(fitness, jnp.float32), None, None))


def test_truncation_gives_the_elite_their_share_and_divides_it_among_equals():
    np.testing.assert_allclose(
        utilities_of(truncation(0.25), [5, 1, 7, 0, 9, 8, 6, 4]), [0, 4, 0, 4, 0, 0, 0, 0]
    )
    np.testing.assert_allclose(
        utilities_of(truncation(0.5), [0, 1, 1, 1]), [2, 2 / 3, 2 / 3, 2 / 3]
    )
    # A share of a member is one member.
    np.testing.assert_allclose(utilities_of(truncation(0.01), [3, 1, 2, 4]), [0, 4, 0, 0])
    np.testing.assert_allclose(utilities_of(truncation(0.3), [3, 1, 2, 4]), [0, 2, 2, 0])


def test_best_and_worst_are_one_and_minus_one():
    np.testing.assert_allclose(
        utilities_of(best_and_worst(0.25), [5, 1, 7, 0, 9, 8, 6, 4]), [0, 1, 0, 1, -1, -1, 0, 0]
    )
    np.testing.assert_allclose(
        utilities_of(best_and_worst(0.25), [0, 0, 2, 3, 3, 3, 3, 3]),
        [1, 1, 0, *[-2 / 5] * 5],
        atol=1e-6,
    )
    np.testing.assert_allclose(utilities_of(best_and_worst(0.25), [3, 1]), [-1, 1])


def test_the_winner_of_a_duel_gets_one_and_equals_nothing():
    fitness = [3, 1, 2, 2, -1, 4]
    np.testing.assert_array_equal(utilities_of(duels, fitness), [-1, 1, 0, 0, 1, -1])


def test_unit_energy_scales_and_leaves_zeros_alone():
    shaping = of_unit_energy(lambda population, fitness, state, params: fitness)
    np.testing.assert_allclose(np.mean(utilities_of(shaping, [3, -4, 12, 0.5]) ** 2), 1, rtol=1e-6)
    np.testing.assert_array_equal(utilities_of(shaping, [0, 0]), [0, 0])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=4, max_size=4), st.sampled_from([0.1, 0.25, 0.5]))
def test_utilities_sum_to_the_members_or_to_zero_and_do_not_fall_as_fitness_improves(values, ratio):
    is_equal = len(set(values)) == 1
    order = np.argsort(values)
    for shaping, total in [(truncation(ratio), 4.0), (best_and_worst(ratio), 0.0)]:
        utilities = utilities_of(shaping, values)
        np.testing.assert_allclose(utilities.sum(), 0 if is_equal else total, atol=1e-5)
        assert np.all(np.diff(utilities[order]) <= 1e-6)
        if is_equal:
            np.testing.assert_array_equal(utilities, 0)


# --- one generation against the literature ----------------------------------------------------


@each_kind
def test_pbil_takes_the_step_of_information_geometric_optimisation(kind):
    told = Told("pbil", different(16), kind)
    utilities = 0.5 - np.argsort(np.argsort(told.fitness)) / 15
    step = np.zeros((5, 3))
    for utility, member in zip(utilities, told.one_hot, strict=True):
        step += utility * (member - told.table) / 16
    np.testing.assert_allclose(told.moved, told.table + 2 * step, atol=1e-6)


@each("kind, lr", KINDS, [0.2, 1.0], default=[("ternary", 0.2), ("binary", 1.0)])
def test_cem_moves_to_the_frequencies_of_the_elite(kind, lr):
    told = Told("cem", different(16), kind, elite_ratio=0.25, lr_schedule=lambda _: lr, margin=0.0)
    elite = told.one_hot[np.argsort(told.fitness)[:4]]
    np.testing.assert_allclose(told.moved, (1 - lr) * told.table + lr * elite.mean(0), atol=1e-6)


each_pairing = each(
    "kind, antithetic", KINDS, [False, True], default=[("ternary", False), ("binary", True)]
)


@each_pairing
def test_compact_ga_moves_a_member_from_the_losers_to_the_winners_value(kind, antithetic):
    fitness = different(16)
    fitness[4] = fitness[5]
    told = Told(
        "compact_ga", fitness, kind, virtual_population=500, use_antithetic_sampling=antithetic
    )
    wanted = told.table.astype(np.float64)
    for i in (0, 2, 6, 8, 10, 12, 14):
        winner, loser = (i, i + 1) if fitness[i] < fitness[i + 1] else (i + 1, i)
        wanted += (told.one_hot[winner] - told.one_hot[loser]) / 500
    np.testing.assert_allclose(told.moved, wanted, atol=1e-6)


def test_the_least_probability_of_compact_ga_is_one_virtual_member():
    table = np.array([[0.1, 0.1, 0.8]] * 5, np.float32)
    told = Told("compact_ga", total, virtual_population=10, table=table)
    assert told.algorithm.margin == 0.1
    assert told.moved.min() == pytest.approx(0.1)


# --- ASNG -------------------------------------------------------------------------------------


def asng_of_the_paper(theta, one_hot, utilities, path, gamma, divisor, init_step, threshold):
    """One update of categorical weights (Akimoto et al., 2019), the norm by the matrix F."""
    is_possible = theta[0] > 0
    theta, one_hot = theta[:, is_possible].astype(np.float64), one_hot[..., is_possible]
    num_free = theta.shape[0] * (theta.shape[1] - 1)
    step = init_step / divisor
    beta = step / np.sqrt(num_free)
    gradient = np.mean(utilities[:, None, None] * (one_hot - theta), axis=0)
    fisher = [np.diag(1 / t[:-1]) + 1 / t[-1] for t in theta]
    norm = np.sqrt(sum(g[:-1] @ f @ g[:-1] for g, f in zip(gradient, fisher, strict=True)))
    push = np.sqrt(beta * (2 - beta)) * gradient / np.sqrt(theta) / norm
    path = (1 - beta) * path[:, is_possible] + push
    gamma = (1 - beta) ** 2 * gamma + beta * (2 - beta)
    divisor = divisor * np.exp(beta * (gamma - np.sum(path**2) / threshold))
    return theta + step * gradient / norm, path, gamma, divisor


@each_kind
def test_asng_is_the_recursion_of_the_paper(kind):
    """Three generations, each from the memory that the one before has left."""
    is_possible = np.asarray(possible_values(kind_of(kind))) > 0
    memory, path, gamma, divisor = None, np.zeros((5, 3)), 0.0, 1.0
    for seed in range(3):
        options = {"init_step": 0.2, "noise_threshold": 1.3, "margin": 1e-3}
        told = Told("asng", different(16, seed), kind, memory, **options)
        ranks = np.argsort(np.argsort(told.fitness))
        utilities = (ranks < 4) * 1.0 - (ranks >= 12)
        table, path_after, gamma, divisor = asng_of_the_paper(
            told.table, told.one_hot, utilities, path, gamma, divisor, 0.2, 1.3
        )
        path = np.zeros((5, 3))
        path[:, is_possible] = path_after
        memory = told.after.memory
        np.testing.assert_allclose(told.moved[:, is_possible], table, atol=1e-5)
        np.testing.assert_allclose(memory.path[0][:, 0], path, atol=1e-5)
        np.testing.assert_allclose([memory.gamma, memory.divisor], [gamma, divisor], rtol=1e-5)
    assert divisor != 1


def test_asng_of_equal_fitness_changes_neither_tables_nor_memory():
    memory = Told("asng", different(16)).after.memory
    told = Told("asng", np.ones(16), memory=memory)
    np.testing.assert_array_equal(told.moved, told.table)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), told.after.memory, memory))


def test_asng_goes_faster_where_steps_agree_and_slower_where_they_do_not():
    """The least probability holds for every length of a step, and nothing overflows."""

    def divisors(fitness_of):
        algorithm = ASNG(16, solution_of(5))
        params = algorithm.default_params

        def generation(state, key):
            keys = jax.random.split(key, 3)
            population, state = algorithm.ask(keys[0], state, params)
            fitness = fitness_of(keys[1], population[0]["weight"].values)
            state, _ = algorithm.tell(keys[2], population, fitness, state, params)
            return state, (state.memory.divisor, state.tables[0])

        state = algorithm.init(jax.random.key(0), solution_of(5), params)
        _, (divisors, tables) = jax.lax.scan(
            generation, state, jax.random.split(jax.random.key(1), 300)
        )
        assert bool(jnp.all(jnp.isfinite(tables)))
        assert float(tables.min()) >= algorithm.margin - 1e-6
        return np.asarray(divisors)

    assert divisors(lambda key, trits: trits.sum((1, 2)).astype(jnp.float32)).min() < 0.5
    assert divisors(lambda key, trits: jax.random.normal(key, (16,)))[-1] > 2


@pytest.mark.parametrize(
    "kind, num_weights, margin",
    [("ternary", 10, 1 / 20), ("binary", 10, 1 / 10), ("ternary", 1, 1 / 6), ("binary", 1, 1 / 4)],
)
def test_the_least_probability_of_asng_is_the_papers_where_that_leaves_a_choice(
    kind, num_weights, margin
):
    assert ASNG(8, solution_of(num_weights), kind).margin == pytest.approx(margin)


# --- the trust region -------------------------------------------------------------------------


def kl(new, old) -> float:
    """KL(new || old) of all weights together, in nats."""
    is_possible = old > 0
    new, old = new[is_possible].astype(np.float64), old[is_possible].astype(np.float64)
    return float(np.sum(new * np.log(new / old)))


def noise_of(utilities, table, antithetic) -> float:
    """The energy to expect of noise: E of the sum over all pairs of members, weight by weight."""
    total = 0.0
    for row in np.asarray(table, np.float64):
        is_possible = row > 0
        total += np.sum(utilities**2) * (is_possible.sum() - 1)
        if antithetic:
            same = np.diag(joint_of_a_pair(row))[is_possible] / row[is_possible]
            total += 2 * np.sum(utilities[::2] * utilities[1::2]) * (same.sum() - 1)
    return total / len(utilities) ** 2


def joint_of_a_pair(row) -> np.ndarray:
    """P(value of U, value of 1 - U) of the inverse CDF, piece by piece between all its steps."""
    steps = np.cumsum(row)[:2]
    edges = np.unique(np.clip(np.concatenate([[0, 1], steps, 1 - steps]), 0, 1))
    joint = np.zeros((3, 3))
    for low, high in itertools.pairwise(edges):
        middle = (low + high) / 2
        joint[np.sum(middle > steps), np.sum(1 - middle > steps)] += high - low
    return joint


def energy_of(gradient, table) -> float:
    is_possible = table > 0
    return float(np.sum(gradient[is_possible] ** 2 / table[is_possible]))


@each_pairing
def test_the_step_goes_as_far_as_the_signal_allows_along_the_natural_gradient(kind, antithetic):
    told = Told("trust_region", total, kind, max_kl=1e-3, use_antithetic_sampling=antithetic)
    order = np.unique(told.fitness, return_inverse=True)[1]
    counts = np.bincount(order)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[order]
    utilities = -(ranks - ranks.mean())
    utilities /= np.sqrt(np.mean(utilities**2))
    gradient = told.natural_gradient(utilities)
    energy = energy_of(gradient, told.table)
    share = 1 - noise_of(utilities, told.table, antithetic) / energy
    assert 0.3 < share < 1
    wanted = told.table + np.sqrt(share * 1e-3 * 5 / energy) * gradient
    np.testing.assert_allclose(told.moved, wanted, atol=1e-5)
    np.testing.assert_allclose(kl(told.moved, told.table), share * 1e-3 * 5 / 2, rtol=0.1)


@each("kind, max_kl", KINDS, [1e-3, 0.1, 10.0], default=[("ternary", 1e-3), ("binary", 10.0)])
def test_kl_stays_within_the_bound_also_at_the_margin(kind, max_kl):
    values = np.asarray(possible_values(kind_of(kind)))
    table = np.where(values > 0, [[1e-3, 2e-3, 0.0], [0.3, 0.3, 0.0], [0.0, 1e-3, 0.1]], 0.0)
    table[[0, 1], 2] = 1 - table[[0, 1]].sum(1)
    table[2, 0] = 1 - table[2].sum()
    told = Told("trust_region", total, kind, max_kl=max_kl, table=np.float32(table))
    assert 0 < kl(told.moved, told.table) <= max_kl * 3
    assert told.moved[:, values > 0].min() >= 1e-3 - 1e-6


@each_kind
def test_noise_moves_little_and_equal_fitness_nothing(kind):
    """Where fitness is noise, about half of all estimates of the signal are zero: then no step."""
    equal = Told("trust_region", np.ones(64), kind)
    np.testing.assert_array_equal(equal.moved, equal.table)
    noise = jnp.array([different(64, seed) for seed in range(24)])
    moved = jax.jit(jax.vmap(lambda fitness: equal.told(fitness).tables[0][:, 0]))(noise)
    spent = np.array([kl(each, equal.table) for each in np.asarray(moved)])
    signal = Told("trust_region", total, kind)
    assert 5 <= np.sum(spent == 0) <= 19
    assert spent.mean() < 0.3 * kl(signal.moved, signal.table)


FITNESS = {
    "noise": lambda rng: rng.normal(size=32),
    "even": lambda rng: np.repeat(rng.normal(size=16), 2),
    "odd": lambda rng: np.outer(rng.normal(size=16), [1, -1]).ravel(),
}
"""Fitness that knows nothing of the weights: of each member, or equal or opposite in a pair."""


@each(
    *("kind, antithetic, name", KINDS, [False, True], FITNESS),
    default=[("ternary", True, name) for name in FITNESS]
    + [("ternary", False, "noise"), ("binary", True, "noise")],
)
def test_the_energy_of_noise_is_what_is_taken_for_it(kind, antithetic, name):
    """Over 4000 populations; utilities stay, so that the energy is all that varies."""
    table = random_table(np.random.default_rng(0), 5, kind)
    table[0] = np.asarray(possible_values(kind_of(kind))) / np.sum(possible_values(kind_of(kind)))
    utilities = FITNESS[name](np.random.default_rng(1))
    algorithm = TrustRegion(32, solution_of(5), kind=kind, use_antithetic_sampling=antithetic)
    params = algorithm.default_params
    state = algorithm.init(jax.random.key(0), algorithm.solution, params)
    state = state.replace(tables=(jnp.asarray(table)[:, None],))
    keys = jax.random.split(jax.random.key(1), 4000)
    populations = jax.jit(jax.vmap(lambda key: algorithm.ask(key, state, params)[0]))(keys)
    trits = np.asarray(populations[0]["weight"].values)[..., 0]
    one_hot = trits[..., None] == np.array([-1, 0, 1])
    gradients = np.einsum("n,bnwv->bwv", utilities, one_hot - table) / 32
    by_value = np.where(table > 0, gradients**2 / np.where(table > 0, table, 1.0), 0.0)
    energies = by_value.sum(-1)
    taken = noise_energy(jnp.asarray(utilities, jnp.float32), jnp.asarray(table), antithetic)
    error = energies.std(0) / np.sqrt(len(energies)) + 1e-6
    assert np.all(np.abs(energies.mean(0) - taken) < 5 * error)
    np.testing.assert_allclose(np.sum(taken), noise_of(utilities, table, antithetic), rtol=1e-4)
    if name == "noise" and not antithetic:
        free = 5 * (2 if kind == "ternary" else 1)
        np.testing.assert_allclose(np.sum(taken), free / 32 * np.mean(utilities**2), rtol=1e-5)


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("row", [(0.2, 0.5, 0.3), (0.05, 0.1, 0.85), (0.7, 0.3, 0), (0.4, 0, 0.6)])
def test_the_energy_of_noise_by_enumeration(row, antithetic):
    """Over all 3^4 draws of a weight by four members."""
    row = np.array(row)
    is_possible = row > 0
    utilities = np.random.default_rng(2).normal(size=4)
    draws = enumerate_vectors(4).astype(int) + 1
    chances = row[draws].prod(1)
    if antithetic:
        joint = joint_of_a_pair(row)
        np.testing.assert_allclose(joint.sum(0), row, atol=1e-12)
        chances = joint[draws[:, ::2], draws[:, 1::2]].prod(1)
    gradients = np.einsum("n,bnv->bv", utilities, np.eye(3)[draws] - row) / 4
    energies = np.sum(gradients[:, is_possible] ** 2 / row[is_possible], axis=1)
    taken = noise_energy(jnp.asarray(utilities, jnp.float32), jnp.float32(row), antithetic)
    np.testing.assert_allclose(taken, chances @ energies, rtol=1e-5)


def test_pairs_that_always_differ_and_score_the_same_have_no_energy_at_all():
    """Signs of even odds: the gradient of an even fitness is exactly zero, and so is its noise."""
    utilities = jnp.repeat(jnp.array([1.0, -2.0, 3.0]), 2)
    assert float(noise_energy(utilities, jnp.array([0.5, 0.0, 0.5]), True)) == 0


# --- the margin -------------------------------------------------------------------------------

margins = st.floats(0, 0.3)
weights = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3).filter(lambda x: sum(x) > 0.1)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3), margins, st.sampled_from(KINDS)
)
def test_a_table_with_margin_is_one_of_probabilities(step, margin, kind):
    values = np.asarray(possible_values(kind_of(kind)))
    moved = (np.array(step) - np.mean(np.array(step)[values > 0])) * values
    table = np.asarray(
        keep_margin(jnp.float32(values / values.sum() + moved), margin, jnp.float32(values))
    )
    np.testing.assert_allclose(table.sum(), 1, atol=1e-5)
    assert table[values > 0].min() >= margin - 1e-6
    assert np.all(table[values == 0] == 0)


@settings(deadline=None, max_examples=200)
@given(weights, margins, st.sampled_from(KINDS))
def test_a_table_that_has_the_margin_stays(odds, margin, kind):
    values = np.asarray(possible_values(kind_of(kind)))
    odds = (np.array(odds) + 1e-3) * values
    table = np.float32(margin * values + (1 - margin * values.sum()) * odds / odds.sum())
    kept = keep_margin(jnp.asarray(table), margin, jnp.asarray(values))
    np.testing.assert_allclose(kept, table, atol=1e-6)


@pytest.mark.parametrize("name", list(BUILD))
def test_the_first_tables_have_the_margin_too(name):
    """Else a value that a confident start has excluded would never come up."""
    algorithm = BUILD[name](8, solution_of(5), margin=0.05, init_confidence=1.0)
    state = algorithm.init(jax.random.key(0), algorithm.solution, algorithm.default_params)
    np.testing.assert_allclose(state.tables[0][:, 0], [[0.05, 0.05, 0.9]] * 5, atol=1e-6)


OWN_MARGINS = {
    "pbil": 1e-3,
    "cem": 1e-3,
    "trust_region": 1e-3,
    "asng": 1 / 10,
    "compact_ga": 1 / 200,
}


@pytest.mark.parametrize("name", wide(BUILD, keep=["pbil"]))
def test_margin_is_the_algorithms_own_or_the_one_given_and_zero_is_given(name):
    def margin_of(*arguments):
        settings = parse(["--strategy", name, *arguments]).strategy
        return settings.search_algorithm(solution_of(5), "ternary", 3)[0].margin

    assert margin_of() == margin_of("--margin", "None") == pytest.approx(OWN_MARGINS[name])
    assert margin_of("--margin", "0") == 0
    assert margin_of("--margin", "0.02") == 0.02


# --- what is refused --------------------------------------------------------------------------

WRONG = [
    ("cem", {"elite_ratio": 0.0}, "elite_ratio must be above 0 and at most 1, got 0.0"),
    ("cem", {"elite_ratio": 1.5}, "elite_ratio must be above 0 and at most 1, got 1.5"),
    ("cem", {"lr": 1.5}, "lr must be above 0 and at most 1, got 1.5"),
    ("cem", {"lr_end": 1.5}, "lr_end must be above 0 and at most 1, got 1.5"),
    ("cem", {"lr_end": 0.0}, "lr_end must be positive, got 0.0"),
    ("compact_ga", {"virtual_population": 3}, "virtual_population must be at least 4, got 3"),
    ("compact_ga", {"population_size": 7, "antithetic": False}, "pairs.*even population_size"),
    ("asng", {"init_step": 0.0}, "init_step must be positive, got 0.0"),
    ("asng", {"noise_threshold": -1.0}, "noise_threshold must be positive, got -1.0"),
    ("trust_region", {"max_kl": 0.0}, "max_kl must be positive, got 0.0"),
    ("pbil", {"margin": 0.4}, "margin must be at least 0 and below 1/3, got 0.4"),
    ("pbil", {"init_confidence": 1.4}, "init_confidence must be above 0 and at most 1, got 1.4"),
    ("cem", {"init_confidence": 0.0}, "init_confidence must be above 0 and at most 1, got 0.0"),
    ("asng", {"margin": -0.1}, "margin must be at least 0 and below 1/3, got -0.1"),
    ("pbil", {"density": 0.0}, "density must be above 0 and at most 1, got 0.0"),
    ("ternary_ga", {"density": 1.5}, "density must be above 0 and at most 1, got 1.5"),
    ("cem", {"density_pull": 0.1}, "--density_pull 0.1 does nothing without --density"),
    ("cem", {"density": 0.5, "density_pull": 1.1}, "density_pull must be 0 to 1, got 1.1"),
]


@pytest.mark.parametrize("name, options, message", WRONG)
def test_settings_that_mean_nothing_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES[name].of(**options)


def test_a_density_that_the_margin_does_not_allow_is_refused():
    settings = STRATEGIES["compact_ga"].of(density=0.05, virtual_population=20)
    message = r"--density must be from 0\.1 to 0\.95, as .* 0\.05 \(--margin\), got 0\.05"
    with pytest.raises(ValueError, match=message):
        settings.search_algorithm(solution_of(5), "ternary", 3)


@pytest.mark.wide  # as those above
def test_the_compact_ga_of_the_library_refuses_them_too():
    with pytest.raises(ValueError, match=r"population_size must be even.*got 7"):
        CompactGA(7, solution_of(1))
    with pytest.raises(ValueError, match="at least 4, got 3"):
        CompactGA(8, solution_of(1), virtual_population=3)
