"""Exponents of outputs through the strategies: what is drawn, moved, shipped and started from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import SMALL
from marks import wide

from ternevo import envs
from ternevo.algorithms import nes
from ternevo.algorithms.scale_search import ScaleSearchNES
from ternevo.algorithms.spread import Statistics
from ternevo.arithmetic import observation, ternary
from ternevo.policies import policy_file
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import warm_start
from ternevo.types import PolicyParams, Tensor

ENV = envs.make("probe/bandit")
SETTINGS = MLP((4,), scales="output")
EVOLUTION = {"population_size": 8, "num_episodes": 2}
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
TABLE = [
    ("ternary_nes", "ternary", EVOLUTION),
    ("ternary_nes", "binary", {**EVOLUTION, "search_scales": False}),
    ("latent", "ternary", EVOLUTION),
    ("ppo", "ternary", SMALL["ppo"]),
    ("dqn", "ternary", SMALL["dqn"]),
    ("ternary_nes", "ternary", {**EVOLUTION, "distribution": "mean"}),
    ("binary_nes", "binary", EVOLUTION),
    ("pbil", "ternary", EVOLUTION),
    ("vote", "ternary", EVOLUTION),
    ("ternary_ga", "ternary", EVOLUTION),
    ("deep_ga", "ternary", EVOLUTION),
    ("cosyne", "ternary", EVOLUTION),
    ("one_plus_lambda", "binary", EVOLUTION),
    ("random_search", "ternary", EVOLUTION),
]
DEFAULT = (TABLE[0], TABLE[2])
"""Exponents that are searched beside those that follow latents, and the latter alone."""


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    wide(
        [
            pytest.param(*row, id=f"{row[0]}-{i}", marks=[pytest.mark.slow] * (row not in DEFAULT))
            for i, row in enumerate(TABLE)
        ],
        keep=["ternary_nes-0"],
    ),
)
def test_a_strategy_ships_exponents_of_outputs_and_their_file_acts_alike(
    name, kind, options, tmp_path
):
    settings = MLP((4,), scales="output", weights=kind)
    policy = settings.build(ENV.obs, ENV.action)
    strategy = STRATEGIES[name].of(**options).build(ENV, policy, kind, 3)

    def go(key):
        state = strategy.init(key)
        return strategy.params(strategy.step(key, state)[0])

    shipped = quick_jit(go)(jax.random.key(0))
    shapes = [(t.values.shape, t.exponent.shape) for t in ternary.tensors(shipped.weights)]
    out = ENV.action.size
    assert shapes == [((4,), ()), ((ENV.obs.size, 4), (4,)), ((out,), ()), ((4, out), (out,))]
    path = tmp_path / "policy.tvp"
    policy_file.save(path, ENV, "mlp", settings, shipped)
    found = policy_file.load(path)
    assert found.settings == settings
    for ours, theirs in zip(
        jax.tree.leaves(found.weights), jax.tree.leaves(shipped.weights), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def solution(exponents) -> dict[str, Tensor]:
    values = jnp.asarray(np.random.default_rng(0).integers(-1, 2, (5, 3)), jnp.int8)
    return {
        "bias": Tensor(jnp.ones(3, jnp.int8), jnp.int8(1)),
        "weight": Tensor(values.at[0].set(1), jnp.asarray(exponents, jnp.int8)),
    }


@pytest.mark.wide  # of policies that ship they are above
@pytest.mark.parametrize(
    "exponents",
    [
        pytest.param((0, 1, 2), id="near", marks=pytest.mark.slow),
        pytest.param((-3, 5, 5), id="far"),
    ],
)
def test_members_differ_in_the_exponents_of_outputs(exponents):
    """Also where they are as far apart as they may be: offsets are -1, 0 and +1."""
    first = solution(exponents)
    algorithm = ScaleSearchNES(64, first)
    ask, tell = quick_jit(algorithm.ask), quick_jit(algorithm.tell)
    params = algorithm.default_params
    state = algorithm.init(jax.random.key(0), first, params)
    mode = algorithm.get_mean(state)
    np.testing.assert_array_equal(mode["weight"].exponent, exponents)
    np.testing.assert_array_equal(mode["weight"].values, first["weight"].values)
    population, state = ask(jax.random.key(1), state, params)
    drawn = population["weight"].exponent
    assert drawn.shape == (64, 3) and population["bias"].exponent.shape == (64,)
    assert len(np.unique(drawn, axis=0)) > 3
    offsets = algorithm.to_trits(ternary.tensors(population), state)[-1]
    assert offsets.shape == (64, 4) and set(np.unique(offsets)) <= {-1, 0, 1}
    assert np.all(np.ptp(np.asarray(drawn, int), axis=1) <= 8)
    fitness = jnp.asarray(drawn[:, 2], jnp.float32)  # less is better: larger levels
    for generation in range(8):
        state, _ = tell(jax.random.key(2), population, fitness, state, params)
        population, state = ask(jax.random.key(3 + generation), state, params)
        fitness = jnp.asarray(population["weight"].exponent[:, 2], jnp.float32)
    offsets = state.offsets
    assert float(offsets[3]) < -0.2 and float(offsets[3]) < float(jnp.min(offsets[:3]))


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_the_threshold_distribution_treats_each_output_as_a_tensor_of_its_own(kind):
    distribution, spread = nes.threshold(kind), jnp.float32(0.3)
    rng = np.random.default_rng(0)
    latent = jnp.asarray(rng.normal(size=(6, 3)) * [0.1, 1.0, 4.0], jnp.float32)
    first, second = jnp.asarray(rng.normal(size=(2, 6, 3)), jnp.float32)
    table = distribution.probabilities(latent, spread, True)
    stats = Statistics(jnp.float32(0.2), first, second)
    direction = distribution.direction(latent, spread, stats, True)
    for i, column in enumerate(latent.T):
        alone = distribution.probabilities(column, spread)
        np.testing.assert_allclose(table[:, i], alone, rtol=1e-6)
        of_column = Statistics(stats.utility, first[:, i], second[:, i])
        np.testing.assert_allclose(
            direction[:, i], distribution.direction(column, spread, of_column), rtol=1e-5
        )


# --- one scale or many, from a file --------------------------------------------------------------


def saved(path, settings: MLP, change=lambda tensor: tensor):
    policy = settings.build(ENV.obs, ENV.action)
    weights = policy.init(jax.random.key(1))
    tensors = [change(tensor) for tensor in ternary.tensors(weights)]
    weights = ternary.replace_tensors(weights, tensors)
    moments = observation.empty(ENV.obs.size)
    policy_file.save(path, ENV, "mlp", settings, PolicyParams(weights, moments))
    return weights


@pytest.mark.parametrize("before", ["layer", "output"])
def test_a_run_starts_from_a_policy_with_other_scales_where_they_stand_for_the_same(
    before, tmp_path
):
    after = "output" if before == "layer" else "layer"
    weights = saved(tmp_path / "p.tvp", MLP((4,), scales=before))
    policy = MLP((4,), scales=after).build(ENV.obs, ENV.action)
    start = warm_start.load(tmp_path / "p.tvp", ENV, policy, "ternary")
    template = ternary.tensors(policy.init(jax.random.key(0)))
    found = ternary.tensors(start.params.weights)
    for tensor, old, like in zip(found, ternary.tensors(weights), template, strict=True):
        assert tensor.exponent.shape == like.exponent.shape
        np.testing.assert_array_equal(tensor.values, old.values)
        np.testing.assert_array_equal(*np.broadcast_arrays(tensor.exponent, old.exponent))


def test_different_exponents_do_not_become_one(tmp_path):
    def spread_out(tensor):
        number = jnp.arange(tensor.exponent.size, dtype=jnp.int8).reshape(tensor.exponent.shape)
        return tensor._replace(exponent=number)

    saved(tmp_path / "p.tvp", SETTINGS, spread_out)
    policy = MLP((4,)).build(ENV.obs, ENV.action)
    with pytest.raises(ValueError, match="add --scales output"):
        warm_start.load(tmp_path / "p.tvp", ENV, policy, "ternary")


def test_floats_are_cut_with_a_scale_for_each_output(tmp_path):
    weights = saved(tmp_path / "p.tvp", MLP((4,), weights="float"))
    start = warm_start.load(tmp_path / "p.tvp", ENV, SETTINGS.build(ENV.obs, ENV.action), "ternary")
    for tensor, old in zip(
        ternary.tensors(start.params.weights), ternary.tensors(weights), strict=True
    ):
        assert tensor.exponent.shape == (old.values.shape[1:] if old.values.ndim == 2 else ())


def test_floats_have_no_scale():
    with pytest.raises(ValueError, match="--scales output needs ternary or binary weights"):
        MLP(weights="float", scales="output")
