"""Build strategies from settings, for the `build` methods of the classes of `--strategy`."""

from typing import Any

import jax
import optax

from ternevo import problems
from ternevo.algorithms.schedules import learning_rate
from ternevo.arithmetic.ternary import WeightName
from ternevo.problems import Plan
from ternevo.settings.strategies.evolution import Evolution, check_heeded
from ternevo.settings.strategies.ppo import PPO
from ternevo.strategies.evolve import evolve
from ternevo.strategies.latents import evolve_latents
from ternevo.strategies.numbered import numbered
from ternevo.strategies.on_policy import learn
from ternevo.strategies.search import search_of
from ternevo.types import Env, Policy, Strategy


def evolution(
    settings: Evolution, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of an algorithm over trits, or of its twin if weights are floats.

    Raises:
      ValueError: it cannot search such weights, or its twin does not support a setting.
    """
    if weights == "float":
        twin = settings.float_twin()
        check_heeded(settings, twin)
        return twin.build(env, policy, weights, num_generations)
    problem = problems.of(policy, env, plan(settings, env, num_generations))

    solution = policy.init(jax.random.key(0))

    def build(settings: Evolution) -> Strategy:
        algorithm, params = settings.search_algorithm(solution, weights, num_generations)
        draw = lambda key: policy.init(jax.random.split(key)[0])  # noqa: E731
        return evolve(search_of(algorithm, params, draw), problem)

    return numbered(settings, build)


def own_twin(
    settings: Evolution, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of an algorithm that also searches float weights, as lists of arrays."""
    build = latents if weights == "float" else evolution
    return build(settings, env, policy, weights, num_generations)


def latents(
    settings: Evolution, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of an algorithm over float latents, for any kind of weights."""
    problem = problems.of(policy, env, plan(settings, env, num_generations))

    def build(settings: Evolution) -> Strategy:
        def make(solution: Any) -> tuple[Any, Any]:
            return settings.search_algorithm(solution, weights, num_generations)

        return evolve_latents(make, problem, policy, weights)

    return numbered(settings, build)


def ppo(
    settings: PPO, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of proximal policy optimisation.

    Raises:
      ValueError: the action distribution does not fit the environment's actions.
    """
    steps = num_generations * settings.num_epochs * settings.num_minibatches

    def build(settings: PPO) -> Strategy:
        optimizer = optax.adam(learning_rate(settings, steps), eps=1e-5)
        if settings.max_grad_norm:
            optimizer = optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), optimizer)
        return learn(settings, env, policy, weights, optimizer)

    return numbered(settings, build)


def plan(settings: Evolution, env: Env, num_generations: int) -> Plan:
    """Return how a population is evaluated."""
    return Plan(
        settings.num_episodes,
        settings.common_random_numbers,
        settings.num_lanes,
        settings.population_chunk,
        _horizon(settings, env.episode_length, num_generations),
    )


def _horizon(settings: Evolution, episode_length: int, num_generations: int) -> Any:
    """Return the schedule of the time limit, or None to use the environment's own limit.

    The last generation has full episodes for any `horizon_growth`.

    Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement
    Learning", 2017, section 2, adapt such a cap to save time. Here it also keeps a
    policy from learning mainly to survive in tasks that reward each step alive.
    """
    if settings.init_horizon == 1:
        return None
    growing = max(1, round(settings.horizon_growth * num_generations))
    growing = min(growing, num_generations - 1)
    if growing == 0:  # there is only one generation
        return None
    first = max(1, round(settings.init_horizon * episode_length))
    return optax.linear_schedule(first, episode_length, growing)
