"""Step, remember, replay: one generation of an off-policy learner on any environment."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from ternevo.arithmetic import observation
from ternevo.learners.critics import Lens
from ternevo.learners.learner import Learner
from ternevo.learners.replay import Experience, Replay, Shape, forgetting, replay
from ternevo.machine import device_memory, devices
from ternevo.policies.acting import Seen
from ternevo.rollouts import step_count
from ternevo.rollouts.transitions import (
    Agent,
    Carry,
    Slots,
    Step,
    Taken,
    Watch,
    Yardsticks,
    advance,
    begin,
    fresh,
    no_tally,
)
from ternevo.settings import wrappers
from ternevo.strategies.learning import (
    episode_metrics,
    moments_of_observations,
    weight_metrics,
)
from ternevo.types import (
    Buffer,
    Env,
    Key,
    Metrics,
    ObservationMoments,
    Policy,
    PolicyParams,
    Strategy,
)

if TYPE_CHECKING:
    from ternevo.settings.strategies.off_policy import OffPolicy

MOST_STARTS = 64
"""The number of starts of episodes that are drawn for a generation, besides one an environment.

Where more episodes end in a generation, starts come again; a start costs about as much as a step.
"""

Exploring = Callable[[jax.Array], jax.Array]
"""Maps the number of environment steps so far to the share of actions at random."""


class OffPolicyState(NamedTuple):
    """The state of an off-policy learner.

    `noise` is the exploration noise of the last step. `widest` [obs] are the largest deviations of
    observations so far, see `shown_moments`.
    """

    learner: Any
    experience: Buffer
    slots: Slots
    noise: Float[Array, "envs action"]
    moments: ObservationMoments
    widest: Float[Array, " obs"]
    steps: Int32[Array, ""]


class Draws(NamedTuple):
    """The randomness of steps, leaves [*steps, envs, ...].

    It is the noise of the learner, an action at random, whether that is taken, and a key.
    """

    noise: jax.Array
    action: jax.Array
    is_random: jax.Array
    key: Key


class Setting(NamedTuple):
    """What stays the same in a generation: how to step, how to see, whether to learn.

    `num_rewards` is the number of rewards that a target adds up; None for all.
    """

    starts: Slots
    watch: Watch
    lens: Lens
    is_learning: jax.Array
    num_rewards: jax.Array | None = None


class Loop(NamedTuple):
    """What an off-policy generation is made of, and its inner loops, from the outside in.

    Before `many_from` environment steps a target adds up one reward only.
    """

    settings: "OffPolicy"
    env: Env
    learner: Learner
    ring: Replay
    many_from: int = 0

    def rounds(
        self, setting: Setting, carry: tuple[Any, Any, Carry], draws: Draws, keys: Key
    ) -> tuple[tuple[Any, Any, Carry], Metrics]:
        """Step and learn in turns; return what was learned, the ring and the environments."""

        def one_round(carry: tuple, row: tuple) -> tuple[tuple, Metrics]:
            learned, experience, places = carry
            number, drawn, key = row
            places, steps = self.steps(setting, learned, places, drawn, number)
            experience = self.ring.add(experience, steps)
            learned, metrics = self.updates(setting, learned, experience, key)
            return (learned, experience, places), metrics

        rows = jnp.arange(self.settings.pace.num_rounds), draws, keys
        return jax.lax.scan(one_round, carry, rows)

    def steps(
        self, setting: Setting, learned: Any, places: Carry, drawn: Draws, number: jax.Array
    ) -> tuple[Carry, Experience]:
        """Step all environments a few times; return the steps [envs, steps]."""
        pace = self.settings.pace
        agent = at_random(self.learner.agent(learned, pace.num_envs))
        num_starts = setting.starts.episode_length.shape[0] - pace.num_envs + 1

        def one_step(places: Carry, row: tuple) -> tuple[Carry, Experience]:
            number, drawn = row
            start = fresh(setting.starts, number % num_starts, pace.num_envs)
            places, step = advance(self.env, agent, setting.watch, places, start, drawn, drawn.key)
            return places, experience_of(step, self.ring.forget is not None)

        numbers = number * pace.train_every + jnp.arange(pace.train_every)
        places, found = jax.lax.scan(one_step, places, (numbers, drawn))
        return places, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), found)

    def updates(
        self, setting: Setting, learned: Any, experience: Any, key: Key
    ) -> tuple[Any, Metrics]:
        """Take the gradient steps of a round; before learning starts, none."""

        def one_update(learned: Any, key: Key) -> tuple[Any, Metrics]:
            key_sample, key_update = jax.random.split(key)
            rows = self.ring.sample(experience, key_sample, setting.num_rewards)
            batch = setting.lens.batch(rows)
            return self.learner.update(key_update, learned, batch)

        def go() -> tuple[Any, Metrics]:
            keys = jax.random.split(key, self.settings.pace.num_updates)
            return jax.lax.scan(one_update, learned, keys)

        _, shapes = jax.eval_shape(go)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        # The ring stays outside: a `cond` that returns it would copy it for every seed under vmap.
        return jax.lax.cond(setting.is_learning, go, lambda: (learned, nothing))

    def forget(self, setting: Setting, learned: Any, experience: Any) -> tuple[Any, Metrics]:
        """Forget what is too old, if the ring does, once learning has started."""
        if self.ring.forget is None:
            return experience, {}
        agent = self.learner.agent(learned, self.settings.pace.num_envs)

        def distance_of(rows: Experience) -> jax.Array:
            seen = setting.lens.view(rows.seen).inputs
            taken = Taken(seen.obs.astype(jnp.int8), seen.feedback, seen.is_first, ())
            _, output, _ = agent.act(jnp.zeros_like(rows.meant), taken)
            apart = jnp.mean((jnp.clip(output, -1.0, 1.0) - rows.meant) ** 2, axis=-1) / 2
            return jnp.where(setting.is_learning, apart, 0.0)

        return self.ring.forget(experience, distance_of)


def learn(
    settings: "OffPolicy",
    env: Env,
    policy: Policy,
    learner: Learner,
    exploring: Exploring,
    many_from: int = 0,
) -> Strategy:
    """Return an off-policy learner as a strategy.

    Args:
      settings: its settings.
      env: the environment.
      policy: the policy.
      learner: a learner of `critics.Batch`es.
      exploring: how many of the actions are at random.
      many_from: environment steps before which a target adds up one reward only.

    Raises:
      ValueError: the buffer does not fit into memory, or not the frames of one sample into it.
    """
    pace = settings.pace
    ring = ring_of(settings, env)
    loop = Loop(settings, env, learner, ring, many_from)
    first_step = example(env, ring.forget is not None)

    def init(key: Key) -> OffPolicyState:
        key_learner, key_slots, key_noise = jax.random.split(key, 3)
        learned = learner.init(key_learner)
        params = learner.agent(learned, pace.num_envs).params
        return OffPolicyState(
            learned,
            Buffer(ring.init(first_step)),
            begin(env, policy, params, key_slots, pace.num_envs),
            jax.random.normal(key_noise, (pace.num_envs, env.action.size)),
            observation.empty(env.obs.size),
            jnp.zeros(env.obs.size),
            jnp.zeros((), jnp.int32),
        )

    def step(key: Key, state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        return devices.split(by_itself, (False, False))(key, state)

    def by_itself(device: jax.Array, key: Key, state: OffPolicyState) -> tuple[Any, Metrics]:
        del device  # every device does the same
        with devices.alone():
            return generation(key, state)

    def generation(key: Key, state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        key_draws, key_starts, key_learn = jax.random.split(key, 3)
        draws, noise = draw(settings, env, key_draws, state, exploring)
        params = learner.agent(state.learner, pace.num_envs).params
        num_starts = pace.num_envs + min(pace.num_rounds * pace.train_every, MOST_STARTS)
        starts = begin(env, policy, params, key_starts, num_starts)
        setting = setting_of(loop, state, starts)
        yardsticks = setting.watch.yardsticks
        carry = (
            state.learner,
            state.experience.data,
            Carry(state.slots, no_tally(env, state.slots, yardsticks)),
        )
        keys = jax.random.split(key_learn, pace.num_rounds)
        (learned, experience, places), metrics = loop.rounds(setting, carry, draws, keys)
        experience, forgotten = loop.forget(setting, learned, experience)
        seen = moments_of_observations(env, places.tally, yardsticks)
        moments, widest = measured(settings, state, seen)
        after = OffPolicyState(
            learned,
            Buffer(experience),
            places.slots,
            noise,
            moments,
            widest,
            state.steps + pace.steps_per_generation,
        )
        found = jax.tree.map(jnp.mean, metrics) | episode_metrics(places.tally) | forgotten
        found |= weight_metrics(params_of(state), params_of(after))
        found["replay/random_actions"] = jnp.mean(draws.is_random.astype(jnp.float32))
        return after, found | step_count.metrics(step_count.of_number(pace.steps_per_generation))

    def params_of(state: OffPolicyState) -> PolicyParams:
        return PolicyParams(learner.params(state.learner), shown_moments(state))

    return Strategy(init, step, params_of)


# ------------------------------------------------------------------------------- the pieces


def measured(
    settings: "OffPolicy", state: OffPolicyState, seen: ObservationMoments
) -> tuple[ObservationMoments, Float[Array, " obs"]]:
    """Return the moments of all observations so far, and the largest deviations.

    Like a look of evolution, the first generation only finds the unit, and does not stay part of
    them, unless there were moments at the start.
    """
    spent = settings.pace.steps_per_generation
    is_look = (state.steps <= spent) & (jnp.max(state.moments.count) <= spent)
    before = observation.choose(is_look, observation.empty(seen.mean.size), state.moments)
    moments = observation.merge(before, seen)
    widest = jnp.maximum(jnp.where(is_look, 0.0, state.widest), moments.deviation)
    return moments, widest


def shown_moments(state: OffPolicyState) -> ObservationMoments:
    """Return the moments with the largest deviations so far, with which policies see observations.

    Where a policy learns to keep still, deviations shrink. The quantiser would then double what the
    policy is shown, all at once, and a policy that is learned step by step would be lost. In
    evolution `observation.update` holds late exponents against small drifts; a generation here is
    too short for it to tell.
    """
    deviation = jnp.maximum(state.widest, state.moments.deviation)
    return state.moments._replace(deviation=deviation)


def setting_of(loop: Loop, state: OffPolicyState, starts: Slots) -> Setting:
    """Return what stays the same in the next generation.

    The first generation never learns: it measures observations, of which it sees the signs. A run
    that was resumed without its buffer refills it before it goes on to learn.
    """
    env, first = loop.env, loop.settings.replayed.learning_starts
    moments = shown_moments(state)
    quantiser = observation.freeze(moments, env.obs.kind)
    is_blind = ~observation.is_unit_known(env.obs, state.moments)
    shown = observation.shown(quantiser, is_blind)
    unused = observation.freeze(observation.empty(1))  # of discounted returns
    many = None
    if loop.many_from:
        many = jnp.where(state.steps < loop.many_from, 1, loop.settings.replayed.n_step)
    return Setting(
        starts,
        Watch(shown, Yardsticks(quantiser, unused), 0.0),
        Lens(env.obs, moments, shown),
        loop.ring.holds(state.experience.data, first),
        many,
    )


def draw(
    settings: "OffPolicy", env: Env, key: Key, state: OffPolicyState, exploring: Exploring
) -> tuple[Draws, jax.Array]:
    """Draw the randomness of a generation at once: [rounds, steps, envs, ...], and the last noise.

    Noise is normal in every step, and correlated from step to step. So are actions at random.
    """
    pace = settings.pace
    num_steps = pace.num_rounds * pace.train_every
    key_noise, key_action, key_random, key_env = jax.random.split(key, 4)
    sizes = num_steps, pace.num_envs
    noise, last = correlated(settings, key_noise, state.noise, num_steps)
    if env.action.kind == "discrete":
        action = jax.random.randint(key_action, sizes, 0, env.action.size)
    else:
        action = jax.lax.erf(noise / math.sqrt(2))  # uniform in [-1, 1], as the noise is normal
    so_far = state.steps + pace.num_envs * jnp.arange(num_steps)
    share = jnp.where(so_far < settings.replayed.learning_starts, 1.0, exploring(so_far))
    is_random = jax.random.uniform(key_random, sizes) < share[:, None]
    keys = jax.random.split(key_env, sizes)
    draws = Draws(noise, action, is_random, keys)
    cut = lambda x: x.reshape(pace.num_rounds, pace.train_every, *x.shape[1:])  # noqa: E731
    return jax.tree.map(cut, draws), last


def correlated(
    settings: "OffPolicy", key: Key, noise: Float[Array, "envs action"], num_steps: int
) -> tuple[Float[Array, "steps envs action"], Float[Array, "envs action"]]:
    """Return standard normal noise that goes on from the last, and the last of it."""
    fresh_noise = jax.random.normal(key, (num_steps, *noise.shape))
    share = settings.noise_correlation
    rest = jnp.sqrt(jnp.maximum(1.0 - jnp.square(share), 0.0))

    def one_step(noise: jax.Array, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = share * noise + rest * drawn
        return noise, noise

    last, found = jax.lax.scan(one_step, noise, fresh_noise)
    return found, last


def at_random(agent: Agent) -> Agent:
    """Return the agent that acts at random where its `Draws` say so.

    Then what it did is also what it meant, as its output, if that is an action itself (RLx2).
    """

    def act(drawn: Draws, taken: Taken) -> tuple[Any, jax.Array, jax.Array]:
        memory, output, action = agent.act(drawn.noise, taken)
        is_random = drawn.is_random.reshape(-1, *[1] * (action.ndim - 1))
        if action.shape == output.shape:
            output = jnp.where(is_random, drawn.action, output)
        return memory, output, jnp.where(is_random, drawn.action, action)

    return agent._replace(act=act)


def experience_of(step: Step, keeps_meant: bool = False) -> Experience:
    """Return what is kept of a step, and if asked what the policy meant: a share of the range."""
    timestep = step.timestep
    return Experience(
        step.seen,
        step.raw_action,
        timestep.reward,
        timestep.terminated,
        timestep.truncated,
        step.after,
        jnp.clip(step.output, -1.0, 1.0) if keeps_meant else (),
    )


def example(env: Env, keeps_meant: bool = False) -> Experience:
    """Return one step, from which the ring takes shapes and types."""
    seen = Seen(jnp.zeros(env.obs.size), jnp.zeros(()), jnp.zeros((), bool))
    is_discrete = env.action.kind == "discrete"
    action = jnp.zeros((), jnp.int32) if is_discrete else jnp.zeros(env.action.size)
    no = jnp.zeros((), bool)
    return Experience(seen, action, jnp.zeros(()), no, no, seen, action if keeps_meant else ())


def ring_of(settings: "OffPolicy", env: Env) -> Replay:
    """Return the replay buffer of an environment.

    Raises:
      ValueError: it does not fit into memory, or not the frames of one sample into it.
    """
    kept, num_envs = settings.replayed, settings.pace.num_envs
    num_frames = wrappers.from_text(env.wrappers)[1].frame_stack
    length = kept.buffer_size // num_envs
    shape = Shape(num_envs, length, kept.batch_size, kept.n_step, num_frames)
    least = min(length, -(-kept.learning_starts // num_envs))
    if shape.window > least:
        raise ValueError(
            f"a sample needs {shape.window} steps in a row, n_step {kept.n_step} and frame_stack "
            f"{num_frames}, and an environment has {least} when learning starts: lower --n_step "
            "or --frame_stack, or raise --learning_starts and --buffer_size"
        )
    worth = settings.worth
    if settings.forgets:
        if num_frames > 1:
            raise ValueError(f"--buffer_distance needs --frame_stack 1, got {num_frames}")
        limit = settings.buffer_distance  # pyright: ignore (of ActorCritic)
        ring = forgetting(shape, env.obs, worth.gamma, worth.reward_scale, limit)
    else:
        ring = replay(shape, env.obs, worth.gamma, worth.reward_scale)
    needed, free = size_of(ring, env), device_memory.available_bytes()
    if free is not None and needed > free:
        raise ValueError(
            f"a buffer of {kept.buffer_size:,} steps of {env.id} needs "
            f"{device_memory.shown(needed)}, and {device_memory.shown(free)} are free: lower "
            f"--buffer_size to {_fitting(settings, needed, free)}"
        )
    return ring


def size_of(ring: Replay, env: Env) -> int:
    """Return the bytes of a ring."""
    first_step = example(env, ring.forget is not None)
    leaves = jax.tree.leaves(jax.eval_shape(lambda: ring.init(first_step)))
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)


def _fitting(settings: "OffPolicy", needed: int, free: int) -> int:
    """Return a round number of steps that takes at most two thirds of the free memory."""
    most = settings.replayed.buffer_size * free / needed * 2 / 3
    return int(float(f"{most:.0e}")) if most >= 1 else 1
