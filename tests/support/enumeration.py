"""Expectations by enumeration: with d weights there are 3^d vectors, so that none is left to luck.

Handing all of them to an estimator, with utilities 3^d P(x) u(x), makes its batch means the exact
expectations under P.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.algorithms import spread


def enumerate_vectors(num_weights: int) -> np.ndarray:
    return np.array(list(itertools.product([-1, 0, 1], repeat=num_weights)), np.int8)


def vector_probabilities(table: jax.Array, vectors: np.ndarray) -> jax.Array:
    """P(x) of every vector, from P(-1), P(0), P(+1) of every weight."""
    weights = np.arange(vectors.shape[1])
    return jnp.prod(table[weights, vectors.astype(int) + 1], axis=1)


def expected(table, utilities, vectors) -> spread.Statistics:
    """The batch means of u, u x, u x^2 under P."""
    weighted = len(vectors) * vector_probabilities(table, vectors) * utilities
    return spread.sum_up(weighted, [jnp.asarray(vectors)])[0][0]


def random_problem(seed: int, num_weights: int, latent_shape=()):
    rng = np.random.default_rng(seed)
    vectors = enumerate_vectors(num_weights)
    utilities = jnp.asarray(rng.normal(size=len(vectors)), jnp.float32)
    latent = jnp.asarray(rng.uniform(-1, 1, (num_weights, *latent_shape)), jnp.float32)
    return vectors, utilities, latent
