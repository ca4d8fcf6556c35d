"""What QDax is timed on is our task, and its archive keeps whom ours keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.algorithms import archives
from ternevo.bench.cases import BesideQDax

pytest.importorskip("qdax")
from qdax.core.containers.mapelites_repertoire import (
    MapElitesRepertoire,
    compute_euclidean_centroids,
)

from ternevo.bench import qdax_runner


def test_the_same_members_stay():
    env = envs.make("control/maze")
    cells = archives.grid(env.descriptor, (4, 3))
    centres = compute_euclidean_centroids((4, 3), env.descriptor.low, env.descriptor.high)
    ours = archives.empty(cells, {"w": jnp.zeros(2)})
    theirs = MapElitesRepertoire.init_default({"w": jnp.zeros(2)}, centres)
    rng = np.random.default_rng(0)
    for _ in range(5):
        members = {"w": jnp.asarray(rng.normal(size=(50, 2)), jnp.float32)}
        fitness = jnp.asarray(rng.normal(size=50), jnp.float32)
        places = jnp.asarray(rng.uniform(size=(50, 2)), jnp.float32)
        valid = jnp.ones(50, bool)
        ours = archives.entered(ours, cells, members, fitness, places, valid).archive
        theirs = theirs.add(members, places, fitness)
        # QDax numbers cells in the order of a meshgrid: match them by their middles.
        apart = jnp.abs(ours.centres[:, None] - theirs.centroids).sum(-1)
        order = jnp.argmin(apart, 1)
        assert jnp.array_equal(jnp.sort(order), jnp.arange(12))
        occupied = theirs.fitnesses[order, 0] > -jnp.inf
        assert jnp.array_equal(ours.is_occupied, occupied)
        assert jnp.array_equal(ours.fitness[occupied], theirs.fitnesses[order, 0][occupied])
        kept = theirs.genotypes["w"][order]
        assert jnp.array_equal(ours.members["w"][occupied], kept[occupied])
    assert 0 < int(ours.is_occupied.sum()) <= 12


def test_who_does_not_move_is_paid_alike():
    setting = BesideQDax("control/maze", 7, 4, 1, (4, 4))
    env = envs.make(setting.env, setting.episode_length)

    class Standing:
        def apply(self, genotype, obs):
            return jnp.array([0.0, -1.0])

    returns, places, _ = qdax_runner.scores(
        env, Standing(), {"w": jnp.zeros((2, 1))}, jax.random.key(0)
    )
    np.testing.assert_allclose(returns, -0.8, atol=0.01)
    np.testing.assert_allclose(places, [[0.12, 0.1]] * 2, atol=1e-6)


def test_generations_fill_an_archive():
    setting = BesideQDax("control/maze", 20, 16, 2, (8, 8))
    one = qdax_runner.illuminator(setting)
    state = one.advance(one.init(jax.random.key(0)), jnp.int32(3))
    coverage, score = one.found(state)
    assert 0 < coverage <= 1
    assert score > 0
