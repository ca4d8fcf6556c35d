"""The experiment on NEAT+Q: what children inherit, and which arms there are for trits."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import programs

from ternevo.algorithms import genomes
from ternevo.policies import contract
from ternevo.settings.policies import QLearner
from ternevo.types import ActionSpec, ObsSpec


@pytest.fixture(scope="module")
def neat_q():
    """The program as a module."""
    with programs("neat_q") as found:
        yield found["neat_q"]


def test_links_that_are_off_keep_their_weights_for_when_they_are_on_again(neat_q):
    settings = QLearner(max_hidden=1, weights="float", learns="weights")
    policy = contract.build(settings, ObsSpec((2,), "integers"), ActionSpec("discrete", 2))
    graph = genomes.Graph(policy.topology, is_float=True)
    genome = genomes.from_params(graph, policy.init(jax.random.key(1)))
    genome = genome._replace(is_on=genome.is_on.at[0, 1].set(False))
    life = policy.reset(genomes.to_params(graph, genome), jax.random.key(0))
    learned = life.learned._replace(weight=life.learned.weight.at[0, 0].add(1.0))
    child = neat_q.inherited(genome, life._replace(learned=learned))
    assert genome.weight[0, 1] != 0
    wanted = genome.weight.at[0, 0].add(1.0)
    np.testing.assert_allclose(child.weight, jnp.asarray(wanted), rtol=1e-6)


@pytest.mark.parametrize("arm", ["lamarck", "fixed0"])
def test_trits_are_refused_where_only_floats_make_sense(neat_q, monkeypatch, capsys, arm):
    options = f"control/mountain_car_bins --arm none {arm} --weights"
    monkeypatch.setattr(sys, "argv", ["neat_q.py", *options.split(), "ternary"])
    with pytest.raises(SystemExit):
        neat_q.parsed()
    assert f"--arm {arm} needs --weights float, not ternary" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["neat_q.py", *options.split(), "float"])
    assert neat_q.parsed().arm == ["none", arm]
