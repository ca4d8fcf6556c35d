"""Build strategies from settings, for the `build` methods of the classes of `--strategy`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ternevo import problems
from ternevo.algorithms import neat as neat_search
from ternevo.algorithms.schedules import learning_rate
from ternevo.arithmetic.ternary import WeightName, is_tensor, with_density
from ternevo.arithmetic.weights import discretize_all, kind_of, latents_of
from ternevo.learners import actor_critic, q_learning, sparsity, topology
from ternevo.learners.latents import LatentPolicy, latent_policy
from ternevo.learners.learner import Learner
from ternevo.learners.ppo import learner as ppo_learner
from ternevo.problems import Plan
from ternevo.settings.flat import flat, with_numbers
from ternevo.settings.policies.settings import Ternarizer
from ternevo.settings.strategies.deep_ga import DeepGA
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.erl import ERL
from ternevo.settings.strategies.evolution import Evolution, check_heeded
from ternevo.settings.strategies.map_elites import MAPElites
from ternevo.settings.strategies.neat import NEAT
from ternevo.settings.strategies.off_policy import ActorCritic, OffPolicy
from ternevo.settings.strategies.parts import Pruning, density_of
from ternevo.settings.strategies.poet import Poet
from ternevo.settings.strategies.ppo import PPO
from ternevo.settings.strategies.sac import SAC
from ternevo.settings.strategies.settings import Settings
from ternevo.strategies import off_policy
from ternevo.strategies.deep_ga import evolve_deeply
from ternevo.strategies.erl import evolve_and_learn
from ternevo.strategies.evolve import evolve
from ternevo.strategies.latents import evolve_latents, template_of
from ternevo.strategies.map_elites import cells_of, illuminate
from ternevo.strategies.numbered import numbered
from ternevo.strategies.on_policy import learn
from ternevo.strategies.poet import Crew, Inner, trailblaze
from ternevo.strategies.search import search_of
from ternevo.types import Env, Inheritance, Key, Params, Policy, Strategy


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
    inheritance = _inheritance(settings, env, policy)
    planned = plan(settings, env, num_generations)._replace(inheritance=inheritance)
    problem = problems.of(policy, env, planned)

    solution = template_of(policy)
    draw = _drawing(policy, weights, density_of(settings))

    def build(settings: Evolution) -> Strategy:
        algorithm, params = settings.search_algorithm(solution, weights, num_generations)
        search = search_of(algorithm, params, draw)
        return evolve(search, problem, write=inheritance and inheritance.write)

    return numbered(settings, build)


def _has_only_weights(policy: Policy) -> bool:
    """Return whether all tensors of a policy are called weight or bias."""
    drawn = jax.eval_shape(policy.init, jax.random.key(0))
    paths, _ = jax.tree_util.tree_flatten_with_path(drawn, is_leaf=is_tensor)
    names = {jax.tree_util.keystr(path[-1:], simple=True) for path, _ in paths}
    return names <= {"weight", "bias"}


def _drawing(policy: Policy, weights: WeightName, density: float | None) -> Callable[[Key], Params]:
    """Return what draws the first policies, of which a share of the weights is not 0 if given.

    Raises:
      ValueError: a share is given of weights that are never 0, or of a policy that has more than
        weights and biases, such as rates or masks, or whose links say what is a node.
    """
    if density is not None and not kind_of(weights).has_zero:
        raise ValueError(f"--density must be None with --weights {weights}, which are never 0")
    if density is not None and (policy.topology or not _has_only_weights(policy)):
        raise ValueError(
            "--density is for policies of weights and biases alone: use --policy mlp, conv, resnet "
            "or recurrent, or leave it out"
        )

    def draw(key: Key) -> Params:
        key_policy, key_density = jax.random.split(key)
        params = policy.init(key_policy)
        return params if density is None else with_density(key_density, params, density)

    return draw


def own_twin(
    settings: Evolution, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of an algorithm that also searches float weights, as lists of arrays."""
    build = latents if weights == "float" else evolution
    return build(settings, env, policy, weights, num_generations)


def latents(
    settings: Evolution, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of an algorithm over float latents, for any kind of weights.

    Raises:
      ValueError: weights that are not ternary are to be cut into trits.
    """
    problem = problems.of(policy, env, plan(settings, env, num_generations))
    ternarizer = _ternarizer(settings, weights)

    def build(settings: Evolution) -> Strategy:
        def make(solution: Any) -> tuple[Any, Any]:
            return settings.search_algorithm(solution, weights, num_generations)

        return evolve_latents(make, problem, policy, weights, ternarizer)

    return numbered(settings, build)


def neat(
    settings: NEAT, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy that searches the topology of a graph.

    Raises:
      ValueError: the policy is not a graph.
    """
    problem = problems.of(policy, env, plan(settings, env, num_generations))

    def build(settings: NEAT) -> Strategy:
        search, decode = neat_search.search(settings, policy, weights)
        return evolve(search, problem, decode)

    return numbered(settings, build)


def deep_ga(
    settings: DeepGA, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of the genetic algorithm of Such et al., for any kind of weights."""
    planned = plan(settings, env, num_generations)
    problem = problems.of(policy, env, planned)
    again = planned._replace(num_episodes=settings.validation_episodes, horizon=None)
    validation = problems.of(policy._replace(credit=None), env, again)
    tested_on = problem, validation, problems.of_keys(problem, policy, env, planned)

    def build(settings: DeepGA) -> Strategy:
        return evolve_deeply(settings, policy, weights, *tested_on, num_generations)

    return numbered(settings, build)


def map_elites(
    settings: MAPElites, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy that fills an archive of behaviours, for any kind of weights.

    Raises:
      ValueError: the environment does not say what behaviour is, or the grid does not fit it.
    """
    cells = cells_of(settings, env)
    problem = problems.of(policy, env, plan(settings, env, num_generations))
    return numbered(
        settings, lambda settings: illuminate(settings, cells, policy, weights, problem)
    )


def poet(
    settings: Poet, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy that makes environments and policies together.

    Raises:
      ValueError: the environment has no space of tasks, or returns are not comparable.
    """
    space = env.task_space
    if space is None:
        raise ValueError(
            f"--strategy poet needs an environment with a space of tasks, and {env.id} has none: "
            "use control/hop_runner, or give an environment of your own a `task_space`"
        )
    planned = plan(settings, env, num_generations)
    if planned.horizon is not None:
        raise ValueError(
            "--init_horizon must be 1 with poet: it keeps the scores of earlier generations, and "
            "returns of shorter episodes are not comparable"
        )
    inner = _inner(settings, policy, weights, num_generations)

    def build(settings: Poet) -> Strategy:
        return trailblaze(Crew(settings, env, space, policy, inner, planned))

    return numbered(settings, build)


def _inner(settings: Poet, policy: Policy, weights: WeightName, num_generations: int) -> Inner:
    """Return the search within a niche: over trits or signs, or its float baseline."""
    own, template, kind = settings.searching, template_of(policy), kind_of(weights)
    if not kind.is_float:
        algorithm, params = own.search_algorithm(template, weights, num_generations)

        def start(key: Key, begin: Params) -> Any:
            return search_of(algorithm, params, lambda key: begin).init(key)

        return Inner(search_of(algorithm, params, policy.init), lambda params: params, start)
    first = latents_of(jax.random.key(0), template, kind)
    algorithm, params = own.float_twin().search_algorithm(first, weights, num_generations)

    def start_latents(key: Key, begin: Params) -> Any:
        return search_of(algorithm, params, lambda key: latents_of(key, begin, kind)).init(key)

    draw = lambda key: latents_of(key, policy.init(key), kind)  # noqa: E731
    decode = lambda latents: discretize_all(template, latents, kind)  # noqa: E731
    return Inner(search_of(algorithm, params, draw), decode, start_latents)


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
        optimizer = _pruning_both(settings, optimizer, steps)
        learner = ppo_learner(settings, env, _learned(policy, weights, settings, steps), optimizer)
        return learn(settings, env, policy, learner)

    return numbered(settings, build)


def dqn(
    settings: DQN, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of deep Q-learning.

    Raises:
      ValueError: actions are continuous, or the policy or its buffer does not fit.
    """
    total = num_generations * settings.pace.steps_per_generation

    def build(settings: DQN) -> Strategy:
        learner = _learner(settings, env, policy, weights, num_generations)
        span = settings.exploration_fraction * total

        def exploring(steps: jax.Array) -> jax.Array:
            done = jnp.minimum(steps / span, 1.0)
            return settings.epsilon_start + done * (settings.epsilon_end - settings.epsilon_start)

        many_from = round(settings.n_step_start * total)
        return off_policy.learn(settings, env, policy, learner, exploring, many_from)

    return numbered(settings, build)


def continuous(
    settings: ActorCritic, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of SAC, TD3 or DDPG.

    Raises:
      ValueError: actions are discrete, or the policy or its buffer does not fit.
    """
    many_from = round(settings.n_step_start * num_generations * settings.pace.steps_per_generation)

    def build(settings: ActorCritic) -> Strategy:
        learner = _learner(settings, env, policy, weights, num_generations)
        return off_policy.learn(settings, env, policy, learner, _never, many_from)

    return numbered(settings, build)


def erl(
    settings: ERL, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Strategy:
    """Return the strategy of a population and an off-policy learner.

    Raises:
      ValueError: the learner is for other actions, or the policy or the buffer does not fit.
    """
    if (env.action.kind == "discrete") != (settings.learner == "dqn"):
        fitting = "dqn" if env.action.kind == "discrete" else "td3, ddpg or sac"
        raise ValueError(
            f"--learner must be {fitting} in {env.id}, whose actions are {env.action.kind}, got "
            f"{settings.learner}"
        )
    plain = settings.of_learner(env.episode_length)

    def build(settings: ERL) -> Strategy:
        own = with_numbers(plain, flat(settings))
        learner = _learner(own, env, policy, weights, num_generations)
        share = settings.epsilon if settings.learner == "dqn" else 0.0
        exploring = lambda steps: jnp.full(steps.shape, share)  # noqa: E731
        return evolve_and_learn(settings, own, env, policy, weights, learner, exploring)

    return numbered(settings, build)


def _learner(
    settings: OffPolicy, env: Env, policy: Policy, weights: WeightName, num_generations: int
) -> Learner:
    """Return the learner of the settings of SAC, TD3, DDPG or DQN, for a run of some generations.

    Raises:
      ValueError: it is for other actions, or the policy has a memory.
    """
    if isinstance(settings, DQN):
        updates = settings.num_updates(num_generations)
        rate = learning_rate(settings.rate, updates)
        optimizer = _pruning(settings.pruning, _adam(settings, rate), updates)
        latent = _learned(policy, weights, settings, updates)
        return q_learning.learner(settings, env, latent, optimizer)
    assert isinstance(settings, ActorCritic)
    optimizers = _optimizers(settings, num_generations)
    make = actor_critic.sac if isinstance(settings, SAC) else actor_critic.td3
    latent = _learned(policy, weights, settings, settings.num_updates(num_generations))
    return make(settings, env, latent, optimizers)  # pyright: ignore (TD3 else)


def _never(steps: jax.Array) -> jax.Array:
    """Return that no action is at random once learning has started."""
    return jnp.zeros(steps.shape)


def _optimizers(settings: ActorCritic, num_generations: int) -> actor_critic.Optimizers:
    """Return Adam for the actor, the critics and the temperature."""
    updates = settings.num_policy_updates(num_generations)
    rate = learning_rate(settings.rate, updates)
    own = _of_critic(settings)
    critics = _adam(settings, settings.critic_lr)
    critics = _pruning(own, critics, settings.num_updates(num_generations), sparsity.STACKED)
    actor = _pruning(settings.pruning, _adam(settings, rate), updates)
    return actor_critic.Optimizers(actor, critics, optax.adam(settings.critic_lr))


def _learned(
    policy: Policy, weights: WeightName, settings: PPO | OffPolicy, num_updates: int
) -> LatentPolicy:
    """Return the policy as a gradient learner learns it in a run of some updates.

    Raises:
      ValueError: weights that are not ternary are to be cut into trits, or the policy is to be paid
        for its memory, which is no reward that a learner sees.
    """
    if policy.credit is not None:
        raise ValueError(
            "--reward_shaping must be none with a gradient learner, which is not paid for what a "
            "memory holds; use a strategy that evolves, such as ternary_ga"
        )
    ternarizer = _ternarizer(settings, weights)
    quantise_from = settings.quantizing.quantise_from(weights, num_updates)
    sparse = topology.sparse(settings.pruning, settings.pruning.sparsity)
    return latent_policy(policy, weights, sparse, quantise_from, ternarizer)


def _ternarizer(settings: Settings, weights: WeightName) -> Ternarizer:
    """Return how latents are cut into trits; absmean for strategies that do not have the option.

    Raises:
      ValueError: weights that are not ternary are to be cut into trits.
    """
    ternarizer = flat(settings).get("ternarizer", "absmean")
    if weights != "ternary" and ternarizer != "absmean":
        raise ValueError(
            f"--ternarizer {ternarizer} needs --weights ternary, got --weights {weights}"
        )
    return ternarizer


def _pruning(
    settings: Pruning,
    optimizer: optax.GradientTransformation,
    num_updates: int,
    layers: sparsity.Layers = sparsity.POLICY,
) -> optax.GradientTransformation:
    """Return the optimiser, which also prunes if the settings say so, in a run of some updates."""
    if not settings.sparsity:
        return optimizer
    if settings.sparse_training != "gradual":
        return topology.rewired(optimizer, _rewiring(settings, num_updates), layers)
    first = round(settings.prune_start * num_updates)
    span = max(1, round(settings.prune_end * num_updates) - first)
    num_events = min(settings.prune_events, span)
    plan = sparsity.Plan(
        settings.sparsity, first, num_events, span // num_events, settings.sparsity_allocation
    )
    return sparsity.pruned(optimizer, plan, layers)


def _pruning_both(
    settings: PPO, optimizer: optax.GradientTransformation, num_updates: int
) -> optax.GradientTransformation:
    """Return the one optimiser of policy and critic, which also prunes either as it is to be."""
    own, of_critic = settings.pruning, _of_critic(settings)
    if own.is_on and of_critic.is_on and own.sparse_training != "gradual":
        # A topology step replaces that of the optimiser, so both networks take it at once.
        return _pruning(own, optimizer, num_updates, sparsity.POLICY_AND_CRITIC)
    optimizer = _pruning(own, optimizer, num_updates)
    return _pruning(of_critic, optimizer, num_updates, sparsity.CRITIC)


def _of_critic(settings: PPO | ActorCritic) -> Pruning:
    """Return how the critics are pruned."""
    return dataclasses.replace(settings.pruning, sparsity=settings.critic_sparsity)


LEAST_BETWEEN = 10
"""Updates from topology step to topology step, which replaces a step of the optimiser."""


def _rewiring(settings: Pruning, num_updates: int) -> topology.Rewiring:
    """Return when the topology changes in a run of some updates.

    Raises:
      ValueError: it would change so often that too few steps of the optimiser were left.
    """
    growth, num_events = settings.sparse_training, settings.prune_events
    span = max(1, round(settings.prune_end * num_updates))
    between = -(-span // num_events)
    if growth != "static" and between < LEAST_BETWEEN:
        raise ValueError(
            f"--prune_events {num_events} is too many for --sparse_training {growth} in this run: "
            f"one of its networks has {num_updates} updates, {span} of them up to --prune_end, and "
            f"each topology step needs {LEAST_BETWEEN}: lower --prune_events, or raise "
            "--num_generations"
        )
    fraction = settings.topology_fraction
    return topology.Rewiring(growth, fraction, between, span)  # pyright: ignore (not gradual)


def _adam(settings: OffPolicy, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Return Adam, of gradients that are cut to the largest norm, if there is one."""
    if not settings.max_grad_norm:
        return optax.adam(rate)
    return optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), optax.adam(rate))


def plan(settings: Evolution, env: Env, num_generations: int) -> Plan:
    """Return how a population is evaluated."""
    return Plan(
        settings.num_episodes,
        settings.common_random_numbers,
        settings.num_lanes,
        settings.population_chunk,
        _horizon(settings, env.episode_length, num_generations),
    )


def _inheritance(settings: Evolution, env: Env, policy: Policy) -> Inheritance | None:
    """Return how children inherit what members learned; None if they do not.

    Raises:
      ValueError: they are to inherit it, and lives have nothing of that kind.
    """
    if not flat(settings).get("lamarckian", False):
        return None
    if env.host or env.examples:
        raise ValueError(
            f"--lamarckian needs lives in JAX, and {env.id} has none: use --lamarckian False, or "
            "a task of suite meta"
        )
    if policy.inheritance is None:
        raise ValueError(
            "--lamarckian needs a policy that learns weights in its life, from a start that is "
            "evolved: use --policy es_learner, or gradient_learner or hill_climber with --start "
            "evolved"
        )
    return policy.inheritance


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
