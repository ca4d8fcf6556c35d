"""CoSyNE, the (1 + lambda) algorithm and inherited mutation rates, beside copies in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from marks import wide
from test_algorithms import hidden, quick_jit, random_params, start, wrong_trits

from ternevo.algorithms.cosyne import CoSyNE, permutation_chances, permute_marked
from ternevo.algorithms.elites import Elitist
from ternevo.algorithms.one_plus_lambda import OnePlusLambda, winner_of
from ternevo.algorithms.ternary_ga import MAX_RATE, TernaryGA
from ternevo.arithmetic import ternary
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Tensor

# --- what they share --------------------------------------------------------------------------


def test_weights_are_marked_and_exponents_are_not():
    tensor = Tensor(jnp.zeros((2, 3), jnp.int8), jnp.asarray(5, jnp.int8))
    algorithm = Elitist(4, ({"bias": tensor, "weight": tensor},))
    flat = algorithm.solution_flat
    np.testing.assert_array_equal(algorithm.is_weight, flat == 0)
    assert algorithm.num_weights == 12
    flipped = algorithm.flip(jax.random.key(0), flat, jnp.float32(1.0))
    np.testing.assert_array_equal(flipped[flat == 5], 5)
    assert bool(jnp.any(flipped[flat == 0] != 0))
    of_arrays = Elitist(4, [jnp.zeros((2, 3)), jnp.zeros(4)], "float")
    assert bool(jnp.all(of_arrays.is_weight)) and of_arrays.num_weights == 10


# --- CoSyNE -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0, 1), st.booleans())
def test_a_permutation_keeps_the_values_of_every_column_and_moves_only_what_is_marked(
    seed, share, is_float
):
    rng = np.random.default_rng(seed)
    members = rng.integers(-1, 2, (12, 7)).astype(np.int8)
    members = rng.normal(size=(12, 7)).astype(np.float32) if is_float else members
    marked = rng.uniform(size=(12, 7)) < share
    after = np.asarray(
        permute_marked(jax.random.key(seed), jnp.asarray(members), jnp.asarray(marked))
    )
    assert after.dtype == members.dtype
    np.testing.assert_array_equal(after[~marked], members[~marked])
    np.testing.assert_array_equal(np.sort(after, axis=0), np.sort(members, axis=0))


def test_a_permutation_is_uniform_and_another_one_for_each_column():
    members = jnp.broadcast_to(jnp.arange(3.0)[:, None], (3, 6000))
    after = permute_marked(jax.random.key(0), members, jnp.ones((3, 6000), bool))
    codes = np.asarray(after[0] * 3 + after[1])
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 6
    assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(1000))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(10**6), 10**6), min_size=8, max_size=8), st.integers(1, 10_000))
def test_the_worse_a_member_the_more_probably_its_values_are_marked(fitness, num_weights):
    values = np.sort(np.asarray(fitness, np.float32))
    chances = np.asarray(permutation_chances(jnp.asarray(values), num_weights))
    assert np.all(np.diff(chances) > -1e-6)  # but for rounding
    assert np.all((chances >= 0) & (chances <= 1))
    assert chances[-1] == 1
    if values[0] < values[-1]:
        assert chances[0] < 1e-6


def test_permutation_chances_are_those_of_the_paper():
    """Relative fitness 1, 1/2, 1/4 and 0 of 100 weights."""
    chances = permutation_chances(jnp.array([1.0, 3.0, 4.0, 5.0]), 100)
    relative = np.array([1, 0.5, 0.25, 0])
    np.testing.assert_allclose(chances, 1 - relative**0.01, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(permutation_chances(jnp.full(4, 2.0), 100), 1)


def population_with_exponents(size: int):
    """Members whose exponents tell them apart."""
    keys = jax.random.split(jax.random.key(0), size)
    population = jax.vmap(lambda key: random_params(key, "ternary"))(keys)
    exponents = jnp.arange(size, dtype=jnp.int8)
    tensors = [t._replace(exponent=exponents) for t in ternary.tensors(population)]
    return ternary.replace_tensors(population, tensors)


@pytest.mark.parametrize("permutation", wide(["fitness", "all"], keep=["fitness"]))
def test_elites_stay_whole_and_exponents_travel_with_their_member(permutation):
    algorithm = CoSyNE(16, hidden("ternary"), num_survivors=3, permutation=permutation)
    params = algorithm.default_params
    population = population_with_exponents(16)
    fitness = jnp.asarray(np.random.default_rng(0).permutation(16), jnp.float32)
    state = algorithm.init(jax.random.key(1), population, fitness, params)
    asked, state = algorithm.ask(jax.random.key(2), state, params)
    order = np.argsort(fitness)
    for new, old in zip(jax.tree.leaves(asked), jax.tree.leaves(population), strict=True):
        np.testing.assert_array_equal(new[:3], old[order[:3]])
    for tensor in ternary.tensors(asked):
        np.testing.assert_array_equal(tensor.exponent[:12], order[:12])
        assert set(tensor.exponent[12:].tolist()) <= set(order[:4].tolist())
        np.testing.assert_array_equal(tensor.exponent, ternary.tensors(asked)[0].exponent)
    np.testing.assert_array_equal(state.evaluations, [1] * 3 + [0] * 13)
    told, _ = algorithm.tell(jax.random.key(3), asked, jnp.full(16, 5.0), state, params)
    np.testing.assert_allclose(told.fitness[:3], (np.arange(3) + 5) / 2)
    np.testing.assert_array_equal(told.fitness[3:], 5)


def chance_to_keep(chances) -> np.ndarray:
    """P(a value stays) of each rank: it is not marked, or it is and finds its place by luck."""
    kept = []
    for i, chance in enumerate(chances):
        others = np.ones(1)  # P(so many others are marked)
        for other in np.delete(chances, i):
            others = np.convolve(others, [1 - other, other])
        kept.append(1 - chance + chance * np.sum(others / np.arange(1, len(others) + 1)))
    return np.array(kept)


@pytest.mark.parametrize("permutation", wide(["fitness", "all"], keep=["fitness"]))
def test_how_many_values_of_a_member_move_depends_on_its_rank(permutation):
    """Members of three floats that say whose they are; the last place has a copy of the best."""
    algorithm = CoSyNE(8, [jnp.zeros(3)], "float", 1 / 8, 1, permutation)
    params = algorithm.default_params.replace(mutation_flips=0.0, crossover_rate=0.0)
    fitness = np.float32([5, 0, 7, 1, 6, 2, 30, 4])
    population = [jnp.broadcast_to(jnp.arange(8.0)[:, None], (8, 3))]
    state = algorithm.init(jax.random.key(0), population, jnp.asarray(fitness), params)
    keys = jax.random.split(jax.random.key(1), 4000)
    asked = np.asarray(jax.jit(jax.vmap(lambda k: algorithm.ask(k, state, params)[0][0]))(keys))
    order = np.argsort(fitness)
    stayed = np.mean(asked == np.append(order[:7], order[0])[:, None], axis=(0, 2))
    relative = (30 - np.sort(fitness)) / 30
    chances = 1 - relative ** (1 / 3) if permutation == "fitness" else np.ones(8)
    chances[0] = 0  # the survivor
    wanted = chance_to_keep(chances)
    assert np.all(np.abs(stayed - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / 12000) + 1e-9)
    if permutation == "fitness":
        assert stayed[0] == 1 and np.all(np.diff(stayed) < 0)


def test_without_mutation_a_column_has_the_values_of_parents_and_others():
    """All weights of all but the elite change places: what leaves are the worst quarter's."""
    algorithm = CoSyNE(16, hidden("ternary"), permutation="all")
    params = algorithm.default_params.replace(mutation_flips=0.0, crossover_rate=0.0)
    population = population_with_exponents(16)
    state = algorithm.init(jax.random.key(1), population, jnp.arange(16.0), params)
    asked, _ = algorithm.ask(jax.random.key(2), state, params)
    flat = jax.vmap(algorithm._ravel_solution)
    old, new = np.asarray(flat(population)), np.asarray(flat(asked))
    # The exponents say whose copies the children are.
    exponents = new[:, ~np.asarray(algorithm.is_weight)][:, 0]
    kept = old[exponents]
    np.testing.assert_array_equal(np.sort(new, axis=0), np.sort(kept, axis=0))
    assert np.any(new != kept)


def test_float_weights_get_normal_noise_at_the_rate_asked_for():
    solution = [jnp.zeros((100, 50))]
    algorithm = CoSyNE(40, solution, "float", elite_ratio=0.5, num_survivors=1)
    params = algorithm.default_params.replace(mutation_flips=500.0, mutation_sigma=0.3)
    population = [jnp.zeros((40, 100, 50))]
    state = algorithm.init(jax.random.key(0), population, jnp.arange(40.0), params)
    asked, _ = algorithm.ask(jax.random.key(1), state, params)
    changed = np.asarray(asked[0])[np.asarray(asked[0]) != 0]
    assert abs(changed.size / (20 * 5000) - 0.1) < 0.005
    assert abs(changed.std() - 0.3) < 0.01
    assert asked[0].dtype == jnp.float32


def test_children_that_would_replace_survivors_are_refused():
    with pytest.raises(ValueError, match="num_survivors must be 0 to 4 with 4 children, got 5"):
        CoSyNE(8, hidden("ternary"), elite_ratio=0.5, num_survivors=5)


# --- the (1 + lambda) algorithm ---------------------------------------------------------------


def test_the_winner_is_any_of_the_best():
    keys = jax.random.split(jax.random.key(0), 900)
    fitness = jnp.array([2.0, 1.0, 3.0, 1.0, 1.0])
    winners = np.asarray(jax.vmap(winner_of, (0, None))(keys, fitness))
    counts = np.bincount(winners, minlength=5)
    assert counts[[0, 2]].sum() == 0
    assert np.all(np.abs(counts[[1, 3, 4]] - 300) < 5 * np.sqrt(200))


@functools.cache
def asked_of():
    """A (1 + 4) algorithm, its params, first population and state, and who is asked first."""
    algorithm = OnePlusLambda(5, hidden("ternary"))
    params = algorithm.default_params
    population = jax.vmap(lambda k: random_params(k, "ternary"))(
        jax.random.split(jax.random.key(1), 5)
    )
    state = algorithm.init(jax.random.key(2), population, jnp.array([4.0, 3, 0, 3, 1]), params)
    return algorithm, params, population, *algorithm.ask(jax.random.key(3), state, params)


def told_of(fitness, key=0):
    """A (1 + 4) algorithm: the first asked population, its state, and that after being told."""
    algorithm, params, population, first, asked = asked_of()
    state, _ = algorithm.tell(
        jax.random.key(key), first, jnp.asarray(fitness, jnp.float32), asked, params
    )
    return algorithm, population, first, state


def same_member(left, i: int, right, j: int) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(bool(jnp.array_equal(a[i], b[j])) for a, b in pairs)


@pytest.mark.parametrize(
    "fitness, parent",
    [
        ([9, 11, 8, 10, 12], 2),  # no matter how good the parent was before
        ([9, 11, 9, 10, 12], 2),  # not worse
        ([9, 11, 9.5, 10, 12], 0),
    ],
)
def test_a_child_that_is_not_worse_on_the_same_episodes_replaces_the_parent(fitness, parent):
    """Asked again, and shipped, is the same one."""
    algorithm, population, first, state = told_of(fitness)
    assert same_member(first, 0, population, 2), "the best of the first population"
    again, _ = algorithm.ask(jax.random.key(5), state, algorithm.default_params)
    shipped = jax.tree.map(lambda x: x[None], algorithm.get_best_solution(state))
    assert same_member(again, 0, first, parent) and same_member(shipped, 0, first, parent)
    assert float(state.fitness[0]) == fitness[parent]
    np.testing.assert_array_equal(np.sort(state.fitness), np.sort(fitness))


def test_of_equal_children_one_is_drawn_and_it_is_the_one_that_is_shipped():
    fitness = [9, 7, 8, 7, 7]
    chosen = []
    for key in range(30):
        algorithm, _, first, state = told_of(fitness, key)
        again, _ = algorithm.ask(jax.random.key(5), state, algorithm.default_params)
        shipped = jax.tree.map(lambda x: x[None], algorithm.get_best_solution(state))
        (parent,) = [i for i in range(5) if same_member(again, 0, first, i)]
        assert same_member(shipped, 0, first, parent)
        chosen.append(parent)
    assert set(chosen) == {1, 3, 4}


def test_the_parent_is_never_a_worse_one():
    algorithm = OnePlusLambda(9, hidden("ternary"))
    params = algorithm.default_params

    def one_generation(state, key):
        population, asked = algorithm.ask(key, state, params)
        fitness = wrong_trits(population, "ternary")
        state, _ = algorithm.tell(key, population, fitness, asked, params)
        shipped = jax.tree.map(lambda x: x[None], algorithm.get_best_solution(state))
        return state, (wrong_trits(shipped, "ternary")[0], fitness)

    @quick_jit
    def go(key):
        state = start(algorithm, "ternary", key)
        return jax.lax.scan(one_generation, state, jax.random.split(key, 80))[1]

    wrong, fitness = go(jax.random.key(0))
    np.testing.assert_array_equal(fitness[1:, 0], wrong[:-1])  # evaluated again
    np.testing.assert_array_equal(wrong, fitness.min(1))
    assert float(wrong[-1]) < float(wrong[0])


@pytest.mark.parametrize("kind", wide(["ternary", "binary"], keep=["ternary"]))
def test_every_child_differs_from_its_parent(kind):
    """At one redrawn weight on average about half of them would not."""
    algorithm = OnePlusLambda(400, hidden(kind), kind)
    params = algorithm.default_params
    population = jax.vmap(lambda k: random_params(k, kind))(
        jax.random.split(jax.random.key(0), 400)
    )
    state = algorithm.init(jax.random.key(1), population, jnp.arange(400.0), params)
    asked, _ = algorithm.ask(jax.random.key(2), state, params)
    flat = np.asarray(jax.vmap(algorithm._ravel_solution)(asked))
    is_weight = np.asarray(algorithm.is_weight)
    differ = np.sum(flat[1:, is_weight] != flat[0, is_weight], axis=1)
    assert differ.min() == 1
    assert np.mean(differ[:199] == 1) > 0.5
    np.testing.assert_array_equal(
        flat[:, ~is_weight], np.broadcast_to(flat[0, ~is_weight], (400, 3))
    )


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_where_nothing_is_redrawn_any_one_weight_takes_any_other_value(kind):
    algorithm = OnePlusLambda(5, hidden(kind), kind)
    parent = algorithm.solution_flat
    keys = jax.random.split(jax.random.key(0), 4000)
    children = jax.vmap(algorithm._child, (0, None, None))(keys, parent, jnp.float32(0.0))
    differs = np.asarray(children != parent)
    np.testing.assert_array_equal(differs.sum(1), 1)
    assert not np.any(differs[:, ~np.asarray(algorithm.is_weight)])
    others = 2 if kind == "ternary" else 1
    for place in np.flatnonzero(algorithm.is_weight):
        values, counts = np.unique(
            np.asarray(children)[differs[:, place], place], return_counts=True
        )
        assert len(values) == others
        mean = 4000 / 20 / others
        assert np.all(np.abs(counts - mean) < 5 * np.sqrt(mean))


@pytest.mark.parametrize("given, first", wide([(0.1, 2.0), (3.0, 3.0), (1e6, 5.0)], keep=[0.1]))
def test_the_first_rate_is_within_the_range_too(given, first):
    """20 weights: r in [2, 5]."""
    algorithm = OnePlusLambda(9, hidden("ternary"))
    params = algorithm.default_params.replace(init_flips=given)
    population = jax.vmap(lambda k: random_params(k, "ternary"))(
        jax.random.split(jax.random.key(0), 9)
    )
    state = algorithm.init(jax.random.key(0), population, jnp.arange(9.0), params)
    assert float(state.memory) == first


def test_the_rate_goes_where_the_best_child_is_three_times_of_four_and_stays_in_its_range():
    algorithm = OnePlusLambda(9, hidden("ternary"))  # 20 weights: r in [2, 5]
    params = algorithm.default_params
    np.testing.assert_array_equal(algorithm.is_fast, [False] * 4 + [True] * 4)
    key, keys = jax.random.key(0), jax.random.split(jax.random.key(1), 1000)
    population = jax.vmap(lambda k: random_params(k, "ternary"))(jax.random.split(key, 9))
    state = algorithm.init(key, population, jnp.arange(9.0), params)

    def after(flips, winner):
        fitness = jnp.ones(9).at[1 + winner].set(0.0)
        told = jax.vmap(
            lambda k: (
                algorithm.tell(
                    k, population, fitness, state.replace(memory=jnp.float32(flips)), params
                )[0].memory
            )
        )(keys)
        return np.unique(np.asarray(told), return_counts=True)

    for flips, slower, faster in ((2.0, 2.0, 4.0), (2.4, 2.0, 4.8), (4.0, 2.0, 5.0)):
        for winner, share in ((0, 0.25), (3, 0.25), (4, 0.75), (7, 0.75)):
            values, counts = after(flips, winner)
            np.testing.assert_allclose(values, [slower, faster])
            assert abs(counts[1] / 1000 - share) < 5 * np.sqrt(share * (1 - share) / 1000)


def test_half_of_the_children_have_four_times_the_flips_of_the_others():
    solution = ({"weight": Tensor(jnp.ones((20_000,), jnp.int8), jnp.asarray(3, jnp.int8))},)
    algorithm = OnePlusLambda(17, solution, "binary")
    params = algorithm.default_params.replace(init_flips=1000.0)
    population = jax.tree.map(lambda x: jnp.broadcast_to(x, (17, *x.shape)), solution)
    state = algorithm.init(jax.random.key(0), population, jnp.arange(17.0), params)
    asked, _ = algorithm.ask(jax.random.key(1), state, params)
    flips = np.asarray(jnp.sum(asked[0]["weight"].values == -1, axis=1))
    np.testing.assert_array_equal(asked[0]["weight"].exponent, 3)
    assert flips[0] == 0
    assert abs(flips[1:9].mean() - 250) < 5 * np.sqrt(250 / 8)  # a redrawn sign is the same
    assert abs(flips[9:].mean() - 1000) < 5 * np.sqrt(1000 / 8)  # half of the time


# --- inherited mutation rates -----------------------------------------------------------------


@pytest.mark.wide  # what they fall to is below
def test_rates_are_inherited_with_a_log_normal_factor_and_bounded():
    solution = ({"weight": Tensor(jnp.ones((1000,), jnp.int8), jnp.zeros((), jnp.int8))},)
    algorithm = TernaryGA(2000, solution, elite_ratio=0.0, mutation="self_adaptive")
    params = algorithm.default_params
    population = jax.tree.map(lambda x: jnp.broadcast_to(x, (2000, *x.shape)), solution)
    state = algorithm.init(jax.random.key(0), population, jnp.arange(2000.0), params)
    assert bool(jnp.all((state.memory >= 0.99e-3) & (state.memory <= 6.01e-3)))
    state = state.replace(memory=state.memory.at[0].set(0.03))  # the only parent
    ask = quick_jit(algorithm.ask)
    asked, state = ask(jax.random.key(1), state, params)
    np.testing.assert_array_equal(state.memory[0], np.float32(0.03))
    factors = np.log(np.asarray(state.memory[2:]) / 0.03)
    assert abs(factors.mean()) < 5 * 0.7 / np.sqrt(1998)
    assert abs(factors.std() - 0.7) < 0.05
    changed = np.asarray(jnp.mean(asked[0]["weight"].values != 1, axis=1))[2:]
    np.testing.assert_allclose(changed.sum() / (0.75 * np.asarray(state.memory[2:]).sum()), 1, 0.03)
    for rate, bound in ((1e-9, 1e-3), (1e9, MAX_RATE)):
        extreme = state.replace(memory=jnp.full(2000, rate))
        _, extreme = ask(jax.random.key(1), extreme, params)
        np.testing.assert_allclose(extreme.memory[2:], bound)


def test_inherited_rates_fall_to_what_the_hidden_vector_needs():
    """Near the optimum one redrawn weight of 20 is best; the first members redraw half."""
    algorithm = TernaryGA(64, hidden("ternary"), mutation="self_adaptive")
    params = algorithm.default_params.replace(min_flips=5.0, max_flips=10.0)

    def one_generation(state, key):
        population, state = algorithm.ask(key, state, params)
        fitness = wrong_trits(population, "ternary")
        return algorithm.tell(key, population, fitness, state, params)[0], state.memory[2:]

    @quick_jit
    def go(key):
        state = start(algorithm, "ternary", key)
        # As `start` initialises with the default rates.
        state = state.replace(memory=algorithm.init_memory(key, params))
        return jax.lax.scan(one_generation, state, jax.random.split(key, 60))

    state, rates = go(jax.random.key(0))
    assert float(jnp.min(state.fitness)) == 0
    assert float(jnp.median(rates[0])) > 0.2
    assert float(jnp.median(rates[-20:])) < 2 / 20
    assert bool(jnp.all((rates >= 0.999 / 20) & (rates <= MAX_RATE)))


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("cosyne", {"elite_ratio": 0.6}, "elite_ratio must be above 0 and at most 1/2, got 0.6"),
        ("cosyne", {"num_survivors": -1}, "num_survivors must be 0 to 128, got -1"),
        ("cosyne", {"crossover_rate": 2.0}, "crossover_rate must be 0 to 1, got 2.0"),
        ("cosyne", {"mutation_flips": -1.0}, "mutation_flips must be 0 or more, got -1.0"),
        ("cosyne", {"mutation_sigma": -1.0}, "mutation_sigma must be 0 or more, got -1.0"),
        ("one_plus_lambda", {"population_size": 2}, "population_size must be at least 3, got 2"),
        ("one_plus_lambda", {"init_flips": 0.0}, "init_flips must be positive, got 0.0"),
        (
            "ternary_ga",
            {"min_flips": 9.0},
            "min_flips must be above 0 and at most max_flips, got 9",
        ),
        ("ternary_ga", {"min_flips": 0.0}, "min_flips must be above 0 .* got 0.0 and 6.0"),
        ("ternary_ga", {"elite_ratio": 0.0}, "elite_ratio must be above 0 and at most 1, got 0.0"),
        ("ternary_ga", {"elite_ratio": 1.5}, "elite_ratio must be above 0 and at most 1, got 1.5"),
        ("ternary_ga", {"crossover_rate": 1.5}, "crossover_rate must be 0 to 1, got 1.5"),
        ("ternary_ga", {"crossover_rate": -0.5}, "crossover_rate must be 0 to 1, got -0.5"),
        ("ternary_ga", {"rate_step": -1.0}, "rate_step must be 0 or more, got -1.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES[name].of(**options)
