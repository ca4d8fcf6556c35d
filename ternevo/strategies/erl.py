"""Evolutionary reinforcement learning: a population explores weights, a learner explores actions.

All members and the learner step side by side, each in an environment of its own, and all that they
do goes into one replay buffer. Members evolve by their returns. The learner takes gradient steps,
and its policy is copied into the last place of the population. Members are what would ship, so the
copy of a ternary policy is that policy, bit for bit.

Departures from the authors' code: the learner has a place of its own, so that it never overwrites
an elite; a generation is a fixed number of steps, in which who ends early begins again, and fitness
is the mean of the episodes that ended; ternary weights are flipped.

References:
  Khadka and Tumer, "Evolution-Guided Policy Gradient in Reinforcement Learning", NeurIPS 2018.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32

from ternevo.algorithms import variation
from ternevo.algorithms.guards import finite_fitness, is_usable
from ternevo.arithmetic import ternary
from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import WeightKind, kind_of
from ternevo.learners.learner import Learner
from ternevo.machine import devices
from ternevo.rollouts import step_count
from ternevo.rollouts.transitions import Agent, Carry, Slots, Taken, Tally, begin, no_tally
from ternevo.settings.strategies.erl import ERL
from ternevo.settings.strategies.off_policy import OffPolicy
from ternevo.strategies import off_policy
from ternevo.strategies.learning import episode_metrics, moments_of_observations, weight_metrics
from ternevo.strategies.off_policy import Draws, Exploring, Loop, OffPolicyState
from ternevo.types import (
    Buffer,
    Env,
    Key,
    Memory,
    Metrics,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    Strategy,
)


class Origins(NamedTuple):
    """Where members come from, and what became of the copies of the learner.

    Attributes:
      is_learned: whether a member is an unchanged copy of the learner's policy [population].
      is_fresh: whether the last member was copied since the last evaluation.
      copied: number of copies that were evaluated.
      became_elite: number of these that were among the elites at once.
    """

    is_learned: Bool[Array, " population"]
    is_fresh: Bool[Array, ""]
    copied: Int32[Array, ""]
    became_elite: Int32[Array, ""]


class ERLState(NamedTuple):
    """The fields of `OffPolicyState`, the population, and its best member, which ships."""

    learner: Any
    experience: Buffer
    slots: Slots
    noise: Float[Array, "envs action"]
    moments: ObservationMoments
    widest: Float[Array, " obs"]
    steps: Int32[Array, ""]
    population: Params
    champion: Params
    origins: Origins
    generation: Int32[Array, ""]


class Crew(NamedTuple):
    """What a generation is made of: the learner's settings, the environment, and who acts."""

    settings: ERL
    own: OffPolicy
    env: Env
    policy: Policy
    kind: WeightKind
    learner: Learner
    exploring: Exploring


def learning_of(state: ERLState) -> OffPolicyState:
    """Return the part of the state that an off-policy learner has, too."""
    found = state._asdict()
    return OffPolicyState(**{name: found[name] for name in OffPolicyState._fields})


def evolve_and_learn(
    settings: ERL,
    own: OffPolicy,
    env: Env,
    policy: Policy,
    weights: WeightName,
    learner: Learner,
    exploring: Exploring,
) -> Strategy:
    """Return ERL as a strategy.

    Args:
      settings: its settings; rates may be traced.
      own: the settings of the learner, of `ERL.of_learner`.
      env: the environment.
      policy: the policy of members and the learner.
      weights: the kind of its weights.
      learner: a learner of `critics.Batch`es.
      exploring: maps steps to the share of the learner's actions that are at random.

    Raises:
      ValueError: the buffer does not fit into memory.
    """
    crew = Crew(settings, own, env, policy, kind_of(weights), learner, exploring)
    ring = off_policy.ring_of(own, env)
    loop = Loop(own, env, learner._replace(agent=lambda both, _: crowd(crew, both)), ring)
    alone = off_policy.learn(own, env, policy, learner, exploring)

    def init(key: Key) -> ERLState:
        key_learner, key_members = jax.random.split(key)
        size = settings.population_size
        members = jax.vmap(policy.init)(jax.random.split(key_members, size))
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        origins = Origins(jnp.zeros(size, bool), no, zero, zero)
        champion = jax.tree.map(lambda x: x[0], members)
        return ERLState(
            **alone.init(key_learner)._asdict(),
            population=members,
            champion=champion,
            origins=origins,
            generation=zero,
        )

    def step(key: Key, state: ERLState) -> tuple[ERLState, Metrics]:
        return devices.split(by_itself, (False, False))(key, state)

    def by_itself(device: jax.Array, key: Key, state: ERLState) -> tuple[Any, Metrics]:
        del device  # every device does the same
        with devices.alone():
            return generation(crew, loop, key, state)

    def params(state: ERLState) -> PolicyParams:
        return PolicyParams(state.champion, off_policy.shown_moments(learning_of(state)))

    return Strategy(init, step, params)


def generation(crew: Crew, loop: Loop, key: Key, state: ERLState) -> tuple[ERLState, Metrics]:
    """Step all, remember, learn, breed, and copy the learner's policy."""
    key_step, key_learn, key_breed, key_slots = jax.random.split(key, 4)
    before = learning_of(state)
    setting, places, steps, noise = stepped(crew, loop, key_step, state)
    experience = loop.ring.add(state.experience.data, steps)
    learned, metrics = loop.updates(setting, state.learner, experience, key_learn)
    seen = moments_of_observations(crew.env, places.tally, setting.watch.yardsticks)
    moments, widest = off_policy.measured(crew.own, before, seen)
    cost = cost_of(places.tally, crew.settings.population_size)
    order = jnp.argsort(cost)
    shipped = crew.learner.params(learned)
    is_due = (state.generation + 1) % crew.settings.sync_every == 0
    copies = setting.is_learning & is_due
    population, origins = bred(crew, key_breed, state, order, shipped, copies)
    taken = crew.own.pace.steps_per_generation
    after = ERLState(
        learned,
        Buffer(experience),
        begin(crew.env, crew.policy, shipped, key_slots, crew.own.pace.num_envs),
        noise,
        moments,
        widest,
        state.steps + taken,
        population,
        jax.tree.map(lambda x: x[order[0]], state.population),
        origins,
        state.generation + 1,
    )
    found = jax.tree.map(jnp.mean, metrics) | step_count.metrics(step_count.of_number(taken))
    found |= population_metrics(places.tally, cost, crew.settings.population_size)
    found |= origin_metrics(state, origins, order)
    still = PolicyParams(state.champion, moments), PolicyParams(after.champion, moments)
    return after, found | weight_metrics(*still)


# -------------------------------------------------------------------------------- all act


def crowd(crew: Crew, both: tuple[Any, Params]) -> Agent:
    """Return the agent in which each member acts in its environment, and the learner in the last.

    Members do what they would do as shipped policies, and do not explore.

    Args:
      crew: who acts.
      both: the learner's state, and the population.
    """
    learned, population = both
    agent, size = crew.learner.agent(learned, 1), crew.settings.population_size

    def outputs(params: Params, row: Any) -> jax.Array:
        return crew.policy.apply(params, (), row)[1]

    def act(draw: jax.Array, taken: Taken) -> tuple[Memory, jax.Array, jax.Array]:
        first = jax.tree.map(lambda x: x[:size], taken)
        last = jax.tree.map(lambda x: x[size:], taken)
        found = jax.vmap(outputs)(population, first.inputs())
        _, own, action = agent.act(draw[size:], last)
        chosen = jnp.argmax(found, -1).astype(jnp.int32) if action.ndim == 1 else found
        if action.ndim > 1:
            chosen = jnp.clip(chosen, -1.0, 1.0)
        return (), jnp.concatenate([found, own]), jnp.concatenate([chosen, action])

    return agent._replace(act=act)


def stepped(
    crew: Crew, loop: Loop, key: Key, state: ERLState
) -> tuple[off_policy.Setting, Carry, Any, jax.Array]:
    """Step all environments for a generation, from the start of episodes.

    Returns:
      What stayed the same, the environments at the end, the steps [envs, steps], the last noise.
    """
    key_draws, key_starts = jax.random.split(key)
    before, pace = learning_of(state), crew.own.pace
    draws, noise = off_policy.draw(crew.own, crew.env, key_draws, before, crew.exploring)
    draws = without_chance(jax.tree.map(lambda x: x[0], draws), crew.settings.population_size)
    params = crew.learner.agent(state.learner, pace.num_envs).params
    num_starts = pace.num_envs + min(pace.train_every, off_policy.MOST_STARTS)
    starts = begin(crew.env, crew.policy, params, key_starts, num_starts)
    setting = off_policy.setting_of(loop, before, starts)
    tally = no_tally(crew.env, state.slots, setting.watch.yardsticks)
    both = state.learner, state.population
    places, steps = loop.steps(
        setting, both, Carry(state.slots, tally), draws, jnp.zeros((), jnp.int32)
    )
    # The next generation begins other episodes: nothing may be learned across that.
    cut = steps.truncated.at[:, -1].set(True)
    return setting, places, steps._replace(truncated=cut), noise


def without_chance(draws: Draws, size: int) -> Draws:
    """Return the randomness of steps [steps, envs, ...] in which members take no random actions."""
    return draws._replace(is_random=draws.is_random.at[:, :size].set(False))


def cost_of(tally: Tally, size: int) -> Float32[Array, " population"]:
    """Return minus the mean return of the episodes that each member ended; finite, see guards."""
    returns = (tally.returns / tally.episodes)[:size]
    return finite_fitness(jnp.where(is_usable(returns), -returns, jnp.inf))


# ----------------------------------------------------------------------------------- breed


def bred(
    crew: Crew,
    key: Key,
    state: ERLState,
    order: Int32[Array, " population"],
    shipped: Params,
    copies: Bool[Array, ""],
) -> tuple[Params, Origins]:
    """Return the next population: elites, children, and in the last place the learner's policy.

    Args:
      crew: who breeds.
      key: a key.
      state: the generation that was evaluated.
      order: its members, the best first.
      shipped: the learner's policy.
      copies: whether it is copied; otherwise the last place is a child's.
    """
    size, num_elites = crew.settings.population_size, crew.settings.num_elites
    elites = jax.tree.map(lambda x: x[order[:num_elites]], state.population)
    keys = jax.random.split(key, size - num_elites)
    children = jax.vmap(lambda own: child(crew, own, state.population, order))(keys)
    population = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), elites, children)
    population = jax.tree.map(
        lambda x, own: x.at[-1].set(jnp.where(copies, own, x[-1])), population, shipped
    )
    before = state.origins
    kept = before.is_learned[order[:num_elites]]
    is_learned = jnp.concatenate([kept, jnp.zeros(size - num_elites, bool)]).at[-1].set(copies)
    rose = before.is_fresh & jnp.any(order[:num_elites] == size - 1)
    return population, Origins(
        is_learned,
        copies,
        before.copied + before.is_fresh,
        before.became_elite + rose,
    )


def child(crew: Crew, key: Key, population: Params, order: Int32[Array, " population"]) -> Params:
    """Return a child of the winner of a tournament, perhaps crossed with an elite and mutated."""
    settings = crew.settings
    key_rank, key_elite, key_cross, key_mate, key_change, key_mutate = jax.random.split(key, 6)
    ranks = jax.random.randint(key_rank, (settings.tournament_size,), 0, settings.population_size)
    elite = jax.random.randint(key_elite, (), 0, settings.num_elites)
    winner, mate = (
        jax.tree.map(lambda x, i=i: x[order[i]], population) for i in (jnp.min(ranks), elite)
    )
    mates = jax.random.bernoulli(key_cross, settings.crossover_probability)
    crossed = variation.crossed(key_mate, winner, mate, jnp.where(mates, 0.5, 0.0))
    changed = mutated(crew, key_change, crossed)
    is_mutated = jax.random.bernoulli(key_mutate, settings.mutation_probability)
    return jax.tree.map(lambda new, old: jnp.where(is_mutated, new, old), changed, crossed)


MUTATED, STRONG, RESET = 0.1, 0.05, 0.1
"""Share of float weights that mutation changes, and from 0 to 0.05 strongly, to 0.1 afresh."""


def mutated(crew: Crew, key: Key, parent: Params) -> Params:
    """Return a mutated member: flips, or the noise of the authors' code for floats.

    That changes a tenth of the weights: w + 10 |w| n in 5 %, n in 5 %, else w + 0.1 |w| n, with
    standard normal n.
    """
    if not crew.kind.is_float:
        flips = crew.settings.flips
        key_rate, key_flip = jax.random.split(key)
        count = ternary.num_weights(parent)
        rate = variation.flip_rate(key_rate, count, flips.min_flips, flips.max_flips)
        return variation.flipped(key_flip, parent, rate, crew.kind)

    def change(own: Key, x: jax.Array) -> jax.Array:
        key_where, key_how, key_noise = jax.random.split(own, 3)
        noise, how = (
            jax.random.normal(key_noise, x.shape),
            jax.random.uniform(key_how, x.shape),
        )
        weak, strong = x + 0.1 * jnp.abs(x) * noise, x + 10.0 * jnp.abs(x) * noise
        found = jnp.where(how < STRONG, strong, jnp.where(how < RESET, noise, weak))
        return jnp.where(jax.random.uniform(key_where, x.shape) < MUTATED, found, x)

    return variation.varied(key, change, parent)


# --------------------------------------------------------------------------------- metrics


def population_metrics(tally: Tally, cost: jax.Array, size: int) -> Metrics:
    """Return statistics of the members' returns, and the return of the learner as it explores."""
    own = jax.tree.map(lambda x: x[size:], tally)
    members = tally._replace(
        episodes=tally.episodes[:size], returns=tally.returns[:size], lengths=tally.lengths[:size]
    )
    learner_return = jnp.sum(own.returns) / jnp.sum(own.episodes)
    return episode_metrics(members) | {
        "return/max": -jnp.min(cost),
        "return/min": -jnp.max(cost),
        "erl/learner_return": learner_return,
    }


def origin_metrics(state: ERLState, origins: Origins, order: jax.Array) -> Metrics:
    """Return whether the best member is an unchanged copy of the learner, and what copies became.

    `erl/copies_elite` is the share of all copies so far that were among the elites at once.
    """
    copied = origins.copied.astype(jnp.float32)
    return {
        "erl/champion_learned": state.origins.is_learned[order[0]].astype(jnp.float32),
        "erl/copies": copied,
        "erl/copies_elite": origins.became_elite / jnp.maximum(copied, 1.0),
    }
