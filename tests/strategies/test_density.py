"""--density: what strategies over trits begin with, and where it means nothing."""

import jax
import numpy as np
import pytest

from ternevo import envs
from ternevo.arithmetic.ternary import with_density
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP, Graph, HillClimber
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.numbered import unwrapped

ENV = envs.make("probe/sign")
POLICY = MLP((20, 10)).build(ENV.obs, ENV.action)
LAYERS = ((1, 20), (20, 10), (10, 2))


def begun(name, **options):
    strategy = STRATEGIES[name].of(population_size=6, **options)
    built = strategy.build(ENV, POLICY, "ternary", 3)
    return unwrapped(jax.jit(built.init)(jax.random.key(0))).search


def test_first_members_of_ternary_ga_have_the_density():
    """Each of them in each layer; biases are 0 as ever, and exponents follow."""
    usual = jax.jit(POLICY.init)(jax.random.key(0))
    settings = STRATEGIES["ternary_ga"].of(population_size=6)
    algorithm, _ = settings.search_algorithm(usual, "ternary", 3)
    found = algorithm.get_population(begun("ternary_ga", density=0.1).algorithm)
    for layer, other, shape in zip(found, usual, LAYERS, strict=True):
        values = np.asarray(layer["weight"].values)
        assert values.shape == (6, *shape)
        counts = (values != 0).sum((1, 2))
        np.testing.assert_array_equal(counts, round(0.1 * values[0].size))
        assert not np.any(layer["bias"].values)
        for name in layer:
            np.testing.assert_array_equal(layer[name].exponent, [other[name].exponent - 1] * 6)
    assert len({row.tobytes() for row in np.asarray(found[1]["weight"].values)}) == 6


@pytest.mark.parametrize("name", ["pbil", "asng"])
def test_first_tables_have_the_density(name):
    tables = begun(name, density=0.1, margin=1e-3).tables
    weights = [np.asarray(x) for x in tables if x.ndim == 3]
    assert [x.shape[:2] for x in weights] == list(LAYERS)
    for table in weights:
        assert (1 - table[..., 1]).mean() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("name", ["pbil", "ternary_ga"])
def test_where_there_is_no_density_to_choose_it_is_refused(name):
    settings = STRATEGIES[name].of(density=0.5)
    signs = MLP((4,), weights="binary").build(ENV.obs, ENV.action)
    with pytest.raises(ValueError, match="--density must be None with --weights binary"):
        settings.build(ENV, signs, "binary", 3)
    floats = MLP((4,), weights="float").build(ENV.obs, ENV.action)
    with pytest.raises(ValueError, match=r"--weights float runs .* which ignores --density"):
        settings.build(ENV, floats, "float", 3)


def test_a_saved_policy_has_a_density_already(capsys):
    with pytest.raises(SystemExit):
        parse(["--strategy", "pbil", "--density", "0.2", "--init_from", "policy.tvp"])
    assert "--init_from gives them" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [Graph(), HillClimber()])
def test_policies_of_more_than_weights_and_biases_are_refused(settings):
    """A density would redraw what links say of nodes, and masks of what may change."""
    policy = settings.build(ENV.obs, ENV.action)
    with pytest.raises(ValueError, match="--density is for policies of weights and biases alone"):
        STRATEGIES["ternary_ga"].of(density=0.1).build(ENV, policy, "ternary", 3)


def test_a_small_layer_has_one_weight_at_least():
    drawn = with_density(jax.random.key(1), POLICY.init(jax.random.key(0)), 0.01)
    assert [int((layer["weight"].values != 0).sum()) for layer in drawn] == [1, 2, 1]
