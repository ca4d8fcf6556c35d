"""OpenAI-ES with its published settings: evosax's Open_ES beside the paper's rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ternevo.algorithms import evosax_by_name, schedules
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.parts import Optimization, Rate

SIGMA, L2, LR, SIZE = 0.02, 0.005, 0.01, 8


def published_step(theta, moments, eps, returns, t):
    """Salimans et al. 2017, algorithm 2, with Adam and L2 as in the authors' starter code.

    There the gradient is not divided by sigma: g = 1/2n sum (u+ - u-) eps, and L2 theta is added.
    """
    ranks = np.empty(2 * SIZE)
    ranks[np.argsort(returns.ravel())] = np.arange(2 * SIZE)
    plus, minus = ranks.reshape(2, SIZE) / (2 * SIZE - 1) - 0.5
    g = -(plus - minus) @ eps / (2 * SIZE) + L2 * theta
    first, second = 0.9 * moments[0] + 0.1 * g, 0.999 * moments[1] + 0.001 * g * g
    size = np.sqrt(second / (1 - 0.999**t)) + 1e-8
    return theta - LR * first / (1 - 0.9**t) / size, (first, second)


def test_decay_over_sigma_is_the_decay_of_the_paper():
    """Three steps: the first of Adam has the same length whatever the gradient is."""
    settings = STRATEGIES["latent"].of(
        **{"population_size": 2 * SIZE, "sigma": SIGMA, "lr": LR, "adam_b2": 0.999},
        **{"fitness_shaping": "centered_rank", "weight_decay": L2 / SIGMA},
    )
    rng = np.random.default_rng(0)
    theta = rng.normal(size=5)
    algorithm, params = evosax_by_name.from_settings(settings, jnp.zeros(5), "float", 3)
    state = algorithm.init(jax.random.key(0), jnp.asarray(theta, jnp.float32), params)
    moments = np.zeros(5), np.zeros(5)
    for t in range(1, 4):
        population, state = algorithm.ask(jax.random.key(t), state, params)
        eps = (np.asarray(population, np.float64)[:SIZE] - np.asarray(state.mean)) / SIGMA
        returns = rng.normal(size=(2, SIZE))
        theta, moments = published_step(theta, moments, eps, returns, t)
        fitness = jnp.asarray(-returns.ravel(), jnp.float32)
        state, _ = algorithm.tell(jax.random.key(t), population, fitness, state, params)
    np.testing.assert_allclose(algorithm.get_mean(state), theta, atol=2e-5)


def test_a_step_of_descent_also_shrinks_the_latents():
    """By hand, for a tree of latents, as `ternary_nes` has."""
    settings = Optimization(Rate(lr=0.1), optimizer="sgd", weight_decay=0.5)
    found = schedules.scheduled_optimizer(settings, "nes", 10)
    latents = (jnp.array([1.0, -2.0]), jnp.array([[4.0]]))
    gradient = (jnp.array([0.5, 0.25]), jnp.array([[-1.0]]))
    updates, _ = found.update(gradient, found.init(latents), latents)
    np.testing.assert_allclose(updates[0], [-0.1 * (0.5 + 0.5), -0.1 * (0.25 - 1.0)], rtol=1e-6)
    np.testing.assert_allclose(updates[1], [[-0.1 * (-1.0 + 2.0)]], rtol=1e-6)


def test_by_default_the_program_is_that_of_adam_alone():
    def program(optimizer):
        x = jnp.ones(3)
        return str(jax.make_jaxpr(lambda g: optimizer.update(g, optimizer.init(x), x))(x))

    plain = optax.adam(optax.constant_schedule(0.1), b1=0.9, b2=0.99)
    assert program(schedules.scheduled_optimizer(Optimization(), "nes", 10)) == program(plain)


def test_decay_is_refused_where_there_is_no_optimiser():
    settings = STRATEGIES["latent"].of(algorithm="CMA_ES", weight_decay=0.1)
    with pytest.raises(ValueError, match=r"weight_decay must be 0 with --algorithm CMA_ES.*0\.1"):
        evosax_by_name.from_settings(settings, jnp.zeros(5), "float", 3)
