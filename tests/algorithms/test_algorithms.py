"""The int8 evosax algorithms: expectations by enumeration, the interface, a known target."""

import functools

import chex
import evosax.algorithms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from enumeration import expected, random_problem, vector_probabilities
from jax.scipy.stats import norm
from marks import wide

from ternevo.algorithms import nes
from ternevo.algorithms.asng import ASNG
from ternevo.algorithms.cem import CEM
from ternevo.algorithms.compact_ga import CompactGA
from ternevo.algorithms.cosyne import CoSyNE
from ternevo.algorithms.distribution import MARGIN, possible_values
from ternevo.algorithms.nes import FISHER_DAMPING, TernaryNES
from ternevo.algorithms.one_plus_lambda import OnePlusLambda
from ternevo.algorithms.pbil import PBIL
from ternevo.algorithms.random_search import RandomSearch
from ternevo.algorithms.scale_search import ScaleSearchNES
from ternevo.algorithms.shaping import FITNESS_SHAPING
from ternevo.algorithms.ternary_ga import TernaryGA
from ternevo.algorithms.trust_region import TrustRegion
from ternevo.algorithms.vote import Vote
from ternevo.arithmetic import ternary
from ternevo.arithmetic.latents import scale
from ternevo.arithmetic.weights import kind_of
from ternevo.types import Tensor

VALUES = {"ternary": {-1, 0, 1}, "binary": {-1, 1}}
# Compiling is most of the time of these tests; unoptimised it takes a third.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# --- estimators, exact when averaged over every vector ----------------------------------------


each_size = pytest.mark.parametrize("num_weights", [1, pytest.param(2, marks=pytest.mark.slow), 3])


def estimator(distribution, vectors):
    """How a distribution estimates: its direction in expectation, and its probabilities."""

    @jax.jit
    def estimate(latent, spread, utilities):
        table = distribution.probabilities(latent, spread)
        stats = expected(table, utilities, vectors)
        return distribution.direction(latent, spread, stats), table

    return estimate


def estimated(distribution, latent, spread, utilities, vectors):
    return estimator(distribution, vectors)(latent, spread, utilities)


def cut_gaussian(latent, spread, cut, kind):
    """The probabilities of `threshold`, with the thresholds given: they are held fixed."""
    minus, plus = norm.cdf((-cut - latent) / spread), norm.cdf((latent - cut) / spread)
    possible = jnp.array([1.0, kind == "ternary", 1.0])
    table = jnp.stack([minus, 1 - minus - plus, plus], axis=-1)
    return MARGIN * possible + (1 - MARGIN * possible.sum()) * table * possible


@each_size
@pytest.mark.parametrize("kind", wide(["ternary", "binary"], keep=["ternary"]))
def test_threshold_direction_is_the_gradient_of_expected_utility(kind, num_weights):
    vectors, utilities, latent = random_problem(num_weights, num_weights)
    cut = scale(latent) / 2 if kind == "ternary" else 0.0

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def slope_of_expected_utility(latent, spread):
        table = cut_gaussian(latent, spread, cut, kind)
        return vector_probabilities(table, vectors) @ utilities, table

    estimate = estimator(nes.threshold(kind), vectors)
    for spread in (0.1, 0.5, 2.0):
        direction, table = estimate(latent, jnp.float32(spread), utilities)
        gradient, reference = slope_of_expected_utility(latent, jnp.float32(spread))
        np.testing.assert_allclose(table, reference, atol=1e-6)
        np.testing.assert_allclose(direction, gradient, rtol=2e-3, atol=2e-5)


@each_size
def test_logits_direction_is_the_gradient_of_expected_utility_but_for_the_margin(num_weights):
    """The score is that of a softmax whose probabilities are the ones sampled from."""
    vectors, utilities, latent = random_problem(num_weights, num_weights, (3,))

    @jax.jit
    def expected_utility(logits):
        return vector_probabilities(jax.nn.softmax(logits), vectors) @ utilities

    distribution = nes.logits()
    direction, table = estimated(distribution, latent, jnp.float32(0.1), utilities, vectors)
    gradient = jax.grad(expected_utility)(jnp.log(table))
    np.testing.assert_allclose(direction, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "sharp"])
@each_size
def test_mean_and_sharp_directions_are_the_covariance_of_centred_utility_and_weight(
    name, num_weights
):
    """Not the gradient in their latent, but how utility goes along with the weight."""
    distribution, spread = nes.DISTRIBUTIONS[name](), jnp.float32(0.3)
    vectors, utilities, latent = random_problem(num_weights, num_weights)
    table = distribution.probabilities(latent, spread)
    chances = np.asarray(vector_probabilities(table, vectors))
    utilities = utilities - chances @ utilities
    direction, _ = estimated(distribution, latent, spread, utilities, vectors)
    covariance = (chances * utilities) @ (vectors - chances @ vectors)
    np.testing.assert_allclose(direction, covariance, rtol=1e-4, atol=1e-6)


def test_mean_samples_the_mean_it_says_and_keeps_variance_least():
    latent = jnp.linspace(-1, 1, 9)
    table = nes.mean().probabilities(latent, jnp.float32(0.0))
    np.testing.assert_allclose(table @ jnp.array([-1.0, 0, 1]), latent, atol=1e-6)
    # The least variance at a mean m has no mass on the far sign: |m| (1 - |m|).
    variance = table @ jnp.array([1.0, 0, 1]) - latent**2
    np.testing.assert_allclose(variance, jnp.abs(latent) * (1 - jnp.abs(latent)), atol=1e-6)
    mixed = nes.mean().probabilities(latent, jnp.float32(0.3))
    np.testing.assert_allclose(mixed, 0.7 * table + 0.1, atol=1e-6)


def test_sharp_stays_at_its_centre_but_for_the_flip_rate():
    latent = jnp.array([-1.2, -0.6, -0.4, 0.0, 0.4, 0.6, 1.2])
    table = np.asarray(nes.sharp().probabilities(latent, jnp.float32(0.25)))
    low, zero, high = [0.75, 0.25, 0], [0.125, 0.75, 0.125], [0, 0.25, 0.75]
    np.testing.assert_array_equal(table, [low, low, zero, zero, zero, high, high])


@pytest.mark.parametrize("name", list(nes.DISTRIBUTIONS))
def test_probabilities_are_probabilities_even_far_out(name):
    shape = (5, 3) if name == "logits" else (5,)
    latent = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, shape), jnp.float32)
    factor = 1.0 if name == "mean" else 50.0
    for spread in (0.0 if name in ("mean", "sharp") else 1e-3, 0.1, 1.0):
        table = nes.DISTRIBUTIONS[name]().probabilities(factor * latent, jnp.float32(spread))
        assert table.shape == (5, 3)
        assert bool(jnp.all((table >= 0) & (table <= 1)))
        np.testing.assert_allclose(table.sum(-1), 1, atol=1e-6)


@each_size
def test_binary_natural_gradient_is_the_exact_gradient_over_the_damped_fisher_information(
    num_weights,
):
    vectors, utilities, logits = random_problem(num_weights, num_weights)
    logits = 3 * logits

    def table(z):
        return jnp.stack([1 - jax.nn.sigmoid(z), jnp.zeros_like(z), jax.nn.sigmoid(z)], -1)

    @jax.jit
    def expected_utility(z):
        return vector_probabilities(table(z), vectors) @ utilities

    fisher = jax.nn.sigmoid(logits) * (1 - jax.nn.sigmoid(logits))
    exact = jax.grad(expected_utility)(logits) / (fisher + FISHER_DAMPING)
    spread = jnp.float32(0.1)
    estimate, _ = estimated(nes.bernoulli(), logits, spread, utilities, vectors)
    np.testing.assert_allclose(estimate, exact, rtol=1e-4, atol=1e-5)


# --- the evosax interface ---------------------------------------------------------------------

SHAPES, EXPONENTS = ((3, 4), (4,), (4, 1)), (1, 1, -2)
# Of 20: two settle or hover, and from -1 to +1 a vote goes by 0, which is as wrong as -1 is.
NEARLY = {
    "ternary_nes-threshold": 4,
    "ternary_nes-threshold-scales": 4,
    "ternary_nes-threshold-spreads": 4,
    "ternary_nes-sharp": 5,
    "vote": 2,
}
NES = [
    *[(f"ternary_nes-{name}", "ternary") for name in nes.DISTRIBUTIONS],
    ("ternary_nes-threshold", "binary"),
    ("ternary_nes-threshold-scales", "ternary"),
    ("ternary_nes-threshold-spreads", "ternary"),
    ("binary_nes", "binary"),
]
BUILD = {
    "pbil": lambda size, solution, kind: PBIL(size, solution, kind=kind),
    "cem": lambda size, solution, kind: CEM(size, solution, kind=kind),
    "compact_ga": lambda size, solution, kind: CompactGA(size, solution, kind=kind),
    "asng": lambda size, solution, kind: ASNG(size, solution, kind),
    "trust_region": lambda size, solution, kind: TrustRegion(size, solution, kind=kind),
    "vote": lambda size, solution, kind: Vote(size, solution, kind),
    "ternary_ga": lambda size, solution, kind: TernaryGA(size, solution, kind),
    "cosyne": lambda size, solution, kind: CoSyNE(size, solution, kind),
    "one_plus_lambda": lambda size, solution, kind: OnePlusLambda(size, solution, kind),
    "random_search": lambda size, solution, kind: RandomSearch(size, solution, kind),
}
"""The algorithms that search both kinds of weights: from population size, solution and kind."""
TABLES = ("pbil", "cem", "compact_ga", "asng", "trust_region")
TABULAR = [(name, kind) for name in TABLES for kind in VALUES]
ALGORITHMS = [*NES, *[(name, kind) for name in BUILD for kind in VALUES]]
NES += TABULAR


DEFAULT = {
    *((f"ternary_nes-{name}", "ternary") for name in ("logits", "mean")),
    *((f"ternary_nes-threshold-{name}", "ternary") for name in ("scales", "spreads")),
    *(("binary_nes", "binary"), ("pbil", "binary")),
    *((name, "ternary") for name in BUILD),
}
"""Each algorithm, with trits where it has the choice; of the tables one with signs. `threshold` is
in what is searched beside it, and `sharp` steps as `mean` does."""
KEPT = [("ternary_nes-threshold-scales", "ternary"), ("pbil", "ternary"), ("ternary_ga", "ternary")]
"""The others are wide: distributions and what else differs have tests of their own."""
AS_PBIL = {(name, "ternary") for name in ("cem", "asng", "trust_region")}
"""What these make of fitness is in `test_categorical.py`, exactly."""


def marked(rows, default):
    """Return the mark for the rows; of those that are not slow tests, some are wide."""
    marks = [pytest.param(*row, marks=[] if row in default else pytest.mark.slow) for row in rows]
    return pytest.mark.parametrize("name, kind", wide(marks, [row for row in KEPT if row in rows]))


each_algorithm = marked(ALGORITHMS, DEFAULT)
each_nes = marked(NES, DEFAULT - AS_PBIL)


def params_of(arrays):
    """A params pytree like that of two layers, the second without bias."""
    first, bias, second = (
        Tensor(jnp.asarray(x), jnp.asarray(e, jnp.int8))
        for x, e in zip(arrays, EXPONENTS, strict=True)
    )
    return ({"weight": first, "bias": bias}, {"weight": second})


@functools.cache
def hidden(kind: str):
    rng = np.random.default_rng(7)
    return params_of([rng.choice(sorted(VALUES[kind]), s).astype(np.int8) for s in SHAPES])


@functools.partial(jax.jit, static_argnums=1)
def random_params(key, kind: str):
    keys = jax.random.split(key, len(SHAPES))
    return params_of([kind_of(kind).draw(k, s) for k, s in zip(keys, SHAPES, strict=True)])


def wrong_trits(population, kind: str) -> jax.Array:
    """The fitness to minimise: the number of weights that differ from the hidden ones."""
    pairs = zip(ternary.tensors(population), ternary.tensors(hidden(kind)), strict=True)
    return sum(
        jnp.sum(member.values != target.values, axis=tuple(range(1, member.values.ndim)))
        for member, target in pairs
    ).astype(jnp.float32)


@functools.cache
def build(name: str, kind: str, population_size: int = 64, optimizer=None):
    solution = hidden(kind)
    if name.startswith("ternary_nes"):
        chosen = name.split("-")[1]
        make = nes.DISTRIBUTIONS[chosen]
        distribution = make(kind) if chosen == "threshold" else make()
        # The latents of so small a layer are about 0.5: less noise would hardly flip any.
        spread = optax.constant_schedule(0.5 if chosen == "threshold" else 0.1)
        make = ScaleSearchNES if name.endswith("scales") else TernaryNES
        if name.endswith("spreads"):
            own = {"is_natural": True, "spreads": "weight"}
            own["fitness_shaping_fn"] = FITNESS_SHAPING["nes"]
            optimizer = optimizer or optax.sgd(1.0)
            return make(population_size, solution, distribution, optimizer, spread, **own)
        return make(population_size, solution, distribution, optimizer, spread)
    if name == "binary_nes":
        distribution = nes.bernoulli(init_logit_std=1.0)
        return TernaryNES(population_size, solution, distribution, optimizer or optax.sgd(0.5))
    return BUILD[name](population_size, solution, kind)


def is_distribution(algorithm) -> bool:
    return hasattr(algorithm, "get_mean")


@functools.partial(jax.jit, static_argnums=(0, 1))
def start(algorithm, kind, key):
    """Initialise as evosax documents it: from a mean, or from an evaluated population."""
    params = algorithm.default_params
    key_draw, key_init = jax.random.split(key)
    if is_distribution(algorithm):
        return algorithm.init(key_init, random_params(key_draw, kind), params)
    keys = jax.random.split(key_draw, algorithm.population_size)
    population = jax.vmap(lambda k: random_params(k, kind))(keys)
    return algorithm.init(key_init, population, wrong_trits(population, kind), params)


@functools.cache
def history(name: str, kind: str, generations: int = 120):
    """Ask and tell inside jit(scan); keep populations and what would be shipped."""
    algorithm = build(name, kind)
    params = algorithm.default_params

    def one_generation(state, key):
        key_ask, key_tell = jax.random.split(key)
        population, state = algorithm.ask(key_ask, state, params)
        fitness = wrong_trits(population, kind)
        state, _ = algorithm.tell(key_tell, population, fitness, state, params)
        wrong = wrong_trits(jax.tree.map(lambda x: x[None], shipped(algorithm, state)), kind)[0]
        return state, (population, fitness, wrong)

    @quick_jit
    def go(key):
        key_start, key_run = jax.random.split(key)
        state = start(algorithm, kind, key_start)
        return jax.lax.scan(one_generation, state, jax.random.split(key_run, generations))

    return algorithm, *go(jax.random.key(0))


def shipped(algorithm, state):
    get = algorithm.get_mean if is_distribution(algorithm) else algorithm.get_best_solution
    return get(state)


def assert_discrete(params, kind: str) -> None:
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("int8")}
    for tensor in ternary.tensors(params):
        assert set(np.unique(tensor.values).tolist()) <= VALUES[kind]


@each_algorithm
def test_everything_asked_and_kept_is_int8_and_in_the_value_set(name, kind):
    algorithm, state, (populations, _, _) = history(name, kind)
    assert_discrete(populations, kind)
    assert jax.tree.structure(populations) == jax.tree.structure(hidden(kind))
    assert_discrete(shipped(algorithm, state), kind)
    assert state.best_solution.dtype == jnp.int8
    if is_distribution(algorithm):
        assert state.mean.dtype == jnp.int8
    else:
        assert state.population.dtype == jnp.int8
    for leaf in jax.tree.leaves(state):
        assert bool(jnp.all(jnp.isfinite(leaf)))


@each_algorithm
def test_exponents_of_a_population_are_those_of_its_algorithm(name, kind):
    """Only `threshold` moves them: then every member has the ones of the mode, but for `scales`."""
    if name.endswith("scales"):
        pytest.skip("its members differ in them")
    _, _, (populations, _, _) = history(name, kind)
    for tensor, given in zip(
        ternary.tensors(populations), ternary.tensors(hidden(kind)), strict=True
    ):
        assert bool(jnp.all(tensor.exponent == tensor.exponent[:, :1]))
        if "threshold" not in name:
            assert bool(jnp.all(tensor.exponent == given.exponent))


@marked([*TABULAR, ("vote", "ternary")], {("pbil", "ternary"), ("vote", "ternary")})
def test_exponents_are_those_of_the_solution_to_start_from(name, kind):
    """And not those of the solution that gave the shapes; they stay when it moves."""
    algorithm = build(name, kind, 32)
    params = algorithm.default_params
    tensors = ternary.tensors(hidden(kind))
    given = [t._replace(exponent=jnp.int8(i + 3)) for i, t in enumerate(tensors)]

    @quick_jit
    def go():
        mean = ternary.replace_tensors(hidden(kind), given)
        state = algorithm.init(jax.random.key(0), mean, params)
        population, state = algorithm.ask(jax.random.key(1), state, params)
        fitness = -wrong_trits(population, kind)
        state, _ = algorithm.tell(jax.random.key(2), population, fitness, state, params)
        later, state = algorithm.ask(jax.random.key(3), state, params)
        return population, later, algorithm.get_mean(state)

    for params_of_some in go():
        for i, tensor in enumerate(ternary.tensors(params_of_some)):
            np.testing.assert_array_equal(tensor.exponent, i + 3)


@each_algorithm
def test_a_hidden_vector_is_found(name, kind):
    """Or nearly. Random search is the control: some thousands of 3^20 vectors are only better."""
    _, state, (_, fitness, wrong) = history(name, kind)
    if name == "random_search":
        assert float(state.best_fitness) < float(jnp.mean(fitness[0])) - 3
        return
    assert float(wrong[-1]) <= NEARLY.get(name, 0)
    assert float(state.best_fitness) <= NEARLY.get(name, 0)
    assert float(fitness[-1].mean()) < 0.6 * float(fitness[0].mean())


@each_algorithm
def test_best_solution_and_fitness_are_the_least_of_all_generations(name, kind):
    algorithm, state, (_, fitness, _) = history(name, kind)
    assert float(state.best_fitness) <= float(fitness.min())
    best = jax.tree.map(lambda x: x[None], algorithm._unravel_solution(state.best_solution))
    assert float(wrong_trits(best, kind)[0]) == float(state.best_fitness)


# --- what fitness means -----------------------------------------------------------------------


SGD = optax.sgd(1000.0)  # so large that a rounding error shows, as it does under Adam


@functools.cache
def one_step(name: str, kind: str):
    """Return the first state, and from it, fitness and an order to the next and the population."""
    algorithm = build(name, kind, 32, SGD)
    params = algorithm.default_params

    @quick_jit
    def step(state, fitness, order):
        population, state = algorithm.ask(jax.random.key(2), state, params)
        population = jax.tree.map(lambda x: x[order], population)
        after, _ = algorithm.tell(jax.random.key(3), population, fitness[order], state, params)
        return after, population

    return quick_jit(lambda: start(algorithm, kind, jax.random.key(1)))(), step


def told(name: str, kind: str, fitness, order=None):
    """One generation from the same start with the fitness given."""
    state, step = one_step(name, kind)
    order = jnp.arange(32) if order is None else jnp.asarray(order)
    return state, step(state, fitness, order)[0]


def asked(name: str, kind: str, state):
    """The population that a state asks for."""
    return one_step(name, kind)[1](state, jnp.zeros(32), jnp.arange(32))[1]


def meaningful(name: str, kind: str) -> jax.Array:
    """A fitness of that population that tells something: a trust region ignores mere noise."""
    return wrong_trits(asked(name, kind, one_step(name, kind)[0]), kind)


def latents(state):
    return state.latents if hasattr(state, "latents") else state.tables


def with_latents(state, new):
    return state.replace(**{"latents" if hasattr(state, "latents") else "tables": new})


def undecided(kind: str):
    """Zero latents, and uniform tables."""

    def of(latent):
        zero = jnp.zeros_like(latent)
        if latent.shape[-1] != 3:
            return zero
        is_table = jnp.allclose(latent.sum(-1), 1.0)
        return jnp.where(is_table, possible_values(kind_of(kind)) / len(VALUES[kind]), zero)

    return of


def rows(population, members):
    return jax.tree.map(lambda x: x[members], population)


def distance(left, right) -> float:
    pairs = zip(latents(left), latents(right), strict=True)
    return max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs)


@each_nes
def test_equal_fitness_moves_nothing(name, kind):
    """Not even by a rounding error, of which Adam makes a step: every sparse reward starts so."""
    before, after = told(name, kind, jnp.full(32, 0.1, jnp.float32))  # not of a weak type
    assert distance(before, after) == 0
    np.testing.assert_array_equal(before.mean, after.mean)


@each_nes
def test_a_constant_added_to_every_fitness_changes_nothing(name, kind):
    fitness = meaningful(name, kind)
    before, plain = told(name, kind, fitness)
    _, shifted = told(name, kind, fitness + 64)
    assert distance(before, plain) > 1e-3
    assert distance(plain, shifted) < 1e-4 * distance(before, plain)


@each_nes
def test_the_order_of_the_population_does_not_matter(name, kind):
    fitness = meaningful(name, kind)
    order = np.random.default_rng(0).permutation(32)
    if name in ("compact_ga", "trust_region"):  # it matters who make a pair, not who comes first
        order = np.random.default_rng(0).permutation(np.arange(32).reshape(16, 2)[:, ::-1]).ravel()
    before, plain = told(name, kind, fitness)
    _, permuted = told(name, kind, fitness, order)
    assert distance(before, plain) > 1e-3
    assert distance(plain, permuted) < 1e-4 * distance(before, plain)


@each_nes
def test_a_step_goes_towards_the_better_half(name, kind):
    """Fitness is minus the first weight of the bias: its latent, or mean, has to rise."""
    state, step = one_step(name, kind)
    state = with_latents(state, jax.tree.map(undecided(kind), latents(state)))
    bias = asked(name, kind, state)[0]["bias"].values[:, 0].astype(jnp.float32)
    after, _ = step(state, -bias, jnp.arange(32))
    moved = latents(after)[0][0]  # "bias" comes before "weight"
    assert float(moved[2] - moved[0] if moved.ndim else moved) > 0


@pytest.mark.parametrize("name", list(FITNESS_SHAPING))
def test_shaped_fitness_has_mean_zero_and_keeps_the_order(name):
    fitness = jnp.array([3.0, -1.0, 10.0, 4.0, 4.0, -7.0])
    utilities = FITNESS_SHAPING[name](None, fitness, None, None)
    assert abs(float(utilities.mean())) < 1e-6
    if name == "nes":  # which does not tell the worse half apart
        utilities, fitness = (x[fitness < 4.0] for x in (utilities, fitness))
    assert bool(jnp.all((utilities[:, None] < utilities) == (fitness[:, None] < fitness)))


@pytest.mark.parametrize("size", [6, 32])
@pytest.mark.parametrize("name", list(FITNESS_SHAPING))
def test_equal_fitness_is_shaped_to_exactly_zero(name, size):
    shape = jax.jit(lambda fitness: FITNESS_SHAPING[name](None, fitness, None, None))
    for fitness in (0.1, -3.3, 1e5):
        np.testing.assert_array_equal(shape(jnp.full(size, fitness)), 0)


@pytest.mark.parametrize(
    "name, kind", [("ternary_nes-logits", "ternary"), ("binary_nes", "binary")]
)
def test_entropy_is_the_mean_over_weights_in_bits(name, kind):
    algorithm = build(name, kind)
    state = start(algorithm, kind, jax.random.key(0))
    uniform = with_latents(state, jax.tree.map(jnp.zeros_like, latents(state)))
    assert abs(float(algorithm.entropy(uniform)) - np.log2(len(VALUES[kind]))) < 1e-5
    sure = with_latents(state, jax.tree.map(lambda z: 40 * jnp.sign(z - 0.1), latents(state)))
    assert float(algorithm.entropy(sure)) < 0.03


def test_antithetic_pairs_of_a_centred_distribution_are_sign_flips():
    algorithm = build("ternary_nes-logits", "ternary")
    state = start(algorithm, "ternary", jax.random.key(0))
    state = state.replace(latents=jax.tree.map(jnp.zeros_like, state.latents))
    population, _ = algorithm.ask(jax.random.key(1), state, algorithm.default_params)
    for tensor in ternary.tensors(population):
        np.testing.assert_array_equal(tensor.values[::2], -tensor.values[1::2])


# --- elites and leaders -----------------------------------------------------------------------


def random_population(size: int):
    keys = jax.random.split(jax.random.key(0), size)
    return jax.vmap(lambda key: random_params(key, "ternary"))(keys)


def test_survivors_are_copied_unchanged_and_their_fitness_is_the_mean_of_all_evaluations():
    """Fitness is noise: only averaging tells. A second copy of the bookkeeping, in NumPy."""
    algorithm = TernaryGA(8, hidden("ternary"), num_survivors=3)
    params = algorithm.default_params
    ask, tell = quick_jit(algorithm.ask), quick_jit(algorithm.tell)
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=8).astype(np.float32) for _ in range(12)]
    population = random_population(8)
    state = algorithm.init(jax.random.key(1), population, jnp.asarray(draws[0]), params)
    scores = [[float(x)] for x in draws[0]]
    for generation, drawn in enumerate(draws[1:]):
        best = np.argsort([np.mean(s) for s in scores], kind="stable")[:3]
        key = jax.random.fold_in(jax.random.key(2), generation)
        asked, state = ask(key, state, params)
        chex.assert_trees_all_equal(rows(asked, slice(3)), rows(population, best))
        scores = [scores[i] for i in best] + [[] for _ in range(5)]
        scores = [[*s, float(x)] for s, x in zip(scores, drawn, strict=True)]
        state, _ = tell(key, asked, jnp.asarray(drawn), state, params)
        population = asked
        np.testing.assert_allclose(state.fitness, [np.mean(s) for s in scores], atol=1e-5)
        np.testing.assert_array_equal(state.evaluations, [len(s) for s in scores])
    assert max(len(s) for s in scores) > 2, "nobody survived twice: the test says nothing"


def test_children_are_near_the_elite():
    """Without crossover a child differs from a parent of the best fifth by few flips."""
    algorithm = TernaryGA(40, hidden("ternary"), num_survivors=1, elite_ratio=0.1)
    params = algorithm.default_params.replace(min_flips=1.0, max_flips=1.5)
    population = random_population(40)
    state = algorithm.init(jax.random.key(1), population, jnp.arange(40.0), params)
    asked, _ = quick_jit(algorithm.ask)(jax.random.key(2), state, params)
    flat = jax.vmap(algorithm._ravel_solution)
    differs = np.asarray(flat(asked))[:, None] != np.asarray(flat(population))[None, :4]
    nearest = differs.sum(-1).min(1)
    assert nearest[0] == 0
    assert 0 < nearest[1:].mean() < 2  # at most 1.5 redrawn, some to what they were
    assert nearest.max() < 8


@pytest.mark.parametrize("num_survivors", [-1, 8])
def test_more_survivors_than_members_are_refused(num_survivors):
    with pytest.raises(ValueError, match="num_survivors must be 0 to 7"):
        TernaryGA(8, hidden("ternary"), num_survivors=num_survivors)


def test_random_search_evaluates_its_leader_again_and_replaces_it_when_beaten():
    algorithm = RandomSearch(4, hidden("ternary"))
    params = algorithm.default_params
    population = random_population(4)
    state = algorithm.init(jax.random.key(1), population, jnp.array([4.0, 1.0, 3.0, 2.0]), params)
    flat = jax.vmap(algorithm._ravel_solution)
    # (fitness told, who leads afterwards, the leader's mean fitness, how often it was evaluated)
    rounds = [
        ([2.0, 9.0, 9.0, 9.0], 0, 1.5, 2),  # the leader stays: (1 + 2) / 2
        ([6.0, 9.0, 9.0, 9.0], 0, 3.0, 3),  # (1 + 2 + 6) / 3
        ([3.0, 9.0, 2.5, 9.0], 2, 2.5, 1),  # beaten by a fresh member
        ([3.5, 9.0, 9.0, 9.0], 0, 3.0, 2),  # the new leader: (2.5 + 3.5) / 2
    ]
    leader = 1
    for i, (fitness, leads, mean, count) in enumerate(rounds):
        before = flat(population)[leader]
        population, state = algorithm.ask(jax.random.key(10 + i), state, params)
        np.testing.assert_array_equal(flat(population)[0], before)
        state, _ = algorithm.tell(jax.random.key(0), population, jnp.array(fitness), state, params)
        leader = int(jnp.argmin(state.fitness))
        assert (leader, float(state.fitness[leader])) == (leads, pytest.approx(mean))
        assert int(state.evaluations[leader]) == count
        best = algorithm._ravel_solution(algorithm.get_best_solution(state))
        np.testing.assert_array_equal(best, flat(population)[leader])


def test_random_search_draws_floats_of_the_usual_size():
    solution = [jnp.zeros((64, 50)), jnp.zeros(16)]
    algorithm = RandomSearch(20, solution, "float")
    params = algorithm.default_params
    population = jax.tree.map(lambda x: jnp.zeros((20, *x.shape)), solution)
    state = algorithm.init(jax.random.key(0), population, jnp.arange(20.0), params)
    asked, _ = algorithm.ask(jax.random.key(1), state, params)
    np.testing.assert_array_equal(asked[0][0], 0)
    for layer, deviation in zip(asked, (1 / 8, 1 / 4), strict=True):
        fresh = np.asarray(layer)[1:].ravel()
        assert layer.dtype == jnp.float32
        assert abs(fresh.mean()) < 5 * deviation / np.sqrt(fresh.size)
        assert abs(fresh.std() / deviation - 1) < 5 / np.sqrt(2 * fresh.size)


# --- why these classes exist ------------------------------------------------------------------


def test_evosax_itself_turns_int8_solutions_into_float32_and_open_es_does_not_move_them():
    """If this fails, evosax has changed: then ask whether the int8 classes are still needed."""
    solution = jnp.zeros(6, jnp.int8)
    target = jnp.array([1, -1, 1, -1, 1, -1])

    def fitness_of(population):
        return jnp.sum((population - target) ** 2, axis=1).astype(jnp.float32)

    open_es = evosax.algorithms.Open_ES(16, solution, optimizer=optax.sgd(0.1))
    simple_ga = evosax.algorithms.SimpleGA(16, solution)
    population = jnp.zeros((16, 6), jnp.int8)
    states = {
        open_es: open_es.init(jax.random.key(0), solution, open_es.default_params),
        simple_ga: simple_ga.init(
            jax.random.key(0), population, fitness_of(population), simple_ga.default_params
        ),
    }
    for algorithm, state in states.items():
        for seed in range(5):
            key, params = jax.random.key(seed), algorithm.default_params
            asked, state = algorithm.ask(key, state, params)
            assert asked.dtype == jnp.float32
            state, _ = algorithm.tell(key, asked, fitness_of(asked), state, params)
        if algorithm is open_es:
            np.testing.assert_array_equal(open_es.get_mean(state), 0)


# --- searched scales --------------------------------------------------------------------------


def exponent_of_bias(population) -> jax.Array:
    return population[0]["bias"].exponent.astype(jnp.float32)


def test_members_differ_in_their_exponents_by_at_most_one():
    algorithm = build("ternary_nes-threshold-scales", "ternary", 256)
    state = start(algorithm, "ternary", jax.random.key(0))
    population, _ = quick_jit(algorithm.ask)(jax.random.key(1), state, algorithm.default_params)
    modes = ternary.tensors(algorithm.get_mean(state))
    for tensor, mode in zip(ternary.tensors(population), modes, strict=True):
        offsets = tensor.exponent - mode.exponent
        assert set(np.unique(offsets).tolist()) == {-1, 0, 1}
        share_at_rest = 1 - 2 / 3 * algorithm.scale_sigma  # the flip rate
        assert abs(float(jnp.mean(offsets == 0)) - share_at_rest) < 0.08


def test_an_exponent_climbs_to_where_fitness_is_best():
    """Fitness is the distance of one exponent from 3 below its start; the others do not matter."""
    algorithm = build("ternary_nes-threshold-scales", "ternary", 64)
    params = algorithm.default_params
    state = start(algorithm, "ternary", jax.random.key(0))
    goal = exponent_of_bias(algorithm.get_mean(state)) - 3

    def one_generation(state, key):
        key_ask, key_tell = jax.random.split(key)
        population, state = algorithm.ask(key_ask, state, params)
        fitness = jnp.abs(exponent_of_bias(population) - goal)
        return algorithm.tell(key_tell, population, fitness, state, params)[0], None

    run = quick_jit(lambda state, keys: jax.lax.scan(one_generation, state, keys)[0])
    state = run(state, jax.random.split(jax.random.key(1), 80))
    assert float(exponent_of_bias(algorithm.get_mean(state)) - goal) == 0
    best = algorithm._unravel_solution(state.best_solution)
    assert float(exponent_of_bias(best) - goal) == float(state.best_fitness) == 0
