"""optax schedules and optimisers from settings."""

import jax.numpy as jnp
import optax

from ternevo.algorithms.guards import bounded_by_past
from ternevo.names import check
from ternevo.settings.strategies.parts import Noise, Optimization, Rate
from ternevo.settings.strategies.ppo import PPO
from ternevo.types import Number


def schedule(name: str, start: Number, end: Number, num_generations: int) -> optax.Schedule:
    """Return an optax schedule from `start` to `end` over the run.

    Raises:
      UnknownName: `name` is not one of constant, linear, cosine, exponential.
    """
    check("schedule", name, ("constant", "linear", "cosine", "exponential"))
    if name == "constant":
        return optax.constant_schedule(start)
    if name == "linear":
        return optax.linear_schedule(start, end, num_generations)
    if name == "cosine":
        return optax.cosine_decay_schedule(start, num_generations, alpha=end / start)
    # optax's exponential decay branches on its rate, which may be traced.
    return lambda count: start * (end / start) ** jnp.minimum(count / num_generations, 1.0)


def optimizer(
    name: str, learning_rate: optax.ScalarOrSchedule, adam_b2: float = 0.99
) -> optax.GradientTransformation:
    """Return an optax optimiser by its name on the command line.

    Raises:
      UnknownName: `name` is not one of adam, sgd, momentum.
    """
    check("optimizer", name, ("adam", "sgd", "momentum"))
    if name == "adam":
        return optax.adam(learning_rate, b1=0.9, b2=adam_b2)
    return optax.sgd(learning_rate, momentum=0.9 if name == "momentum" else None)


def learning_rate(rate: Rate | PPO, num_generations: int) -> optax.Schedule:
    """Return the schedule of a learning rate."""
    return schedule(rate.lr_schedule, rate.lr, rate.lr_end, num_generations)


def spread(noise: Noise, num_generations: int) -> optax.Schedule:
    """Return the schedule of sigma."""
    return schedule(noise.sigma_schedule, noise.sigma, noise.sigma_end, num_generations)


def scheduled_optimizer(
    settings: Optimization, fitness_shaping: str, num_generations: int
) -> optax.GradientTransformation:
    """Return an optimiser with its learning rate schedule and weight decay.

    The utilities of `--fitness_shaping baseline` are as large as returns. There, one generation
    of huge returns must not determine the length of all later steps.
    """
    rate = learning_rate(settings.rate, num_generations)
    found = optimizer(settings.optimizer, rate, settings.adam_b2)
    if settings.weight_decay:
        found = optax.chain(optax.add_decayed_weights(settings.weight_decay), found)
    return optax.chain(bounded_by_past(), found) if fitness_shaping == "baseline" else found
