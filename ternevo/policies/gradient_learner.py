"""A policy that adapts its weights by gradient descent within a life: MAML-Baldwin.

Evolution gives the weights at the start of a life, a learning rate for each layer and a mask of
which weights may change; nothing is differentiated through the learning. What acts are trits all
life long: their latents, in memory, take the steps, with the straight-through derivative. The start
of a life has latents -1, 0 and +1, which act as these trits up to a change of 0.5.

From rewards, the gradient is that of REINFORCE: the sum over the steps of
`(reward - b) * sum of decay**age * slope`, where the slope is that of the log-probability of an
action and b the mean reward of a step before the last update. From examples it is that of the mean
squared error.

With `--inner a2c` it is that of an advantage actor-critic instead: the sum of `(G - V) * slope`,
where G is the return from a step to the end of its episode, with a discount of `credit_decay`, and
V the value of the observation. V is linear, in floats, begins at 0 in each life and is not evolved;
its steps, of the same episodes, go down the mean of `(G - V)**2 / 2`. Segments are whole episodes,
so nothing is bootstrapped, and there is no bonus for entropy.

References:
  Fernando et al., "Meta-Learning by the Baldwin Effect", GECCO Companion 2018.
  Williams, "Simple statistical gradient-following algorithms", Machine Learning 1992 (REINFORCE).
  Mnih et al., "Asynchronous methods for deep reinforcement learning", ICML 2016 (A3C, of which A2C
  is the synchronous form).
  Hinton and Nowlan, "How learning can guide evolution", Complex Systems 1987.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, UInt32

from ternevo import keys
from ternevo.arithmetic.observation import FULL_SCALE
from ternevo.deploy import hashing, hill_climber as trials
from ternevo.policies import adaptable
from ternevo.policies.adaptable import Adaptable
from ternevo.settings.policies.gradient_learner import GradientLearner
from ternevo.types import (
    ActionSpec,
    Inputs,
    Key,
    Memory,
    ObsSpec,
    Packing,
    Params,
    Policy,
    Tensor,
)


class Critic(NamedTuple):
    """A linear value of observations, of their components over full scale and a 1.

    Attributes:
      weights: its weights, that of the 1 last.
      trace: slopes that the next reward is multiplied by.
      total: the gradient so far, of the batch of episodes since the last step.
    """

    weights: Float32[Array, " features"]
    trace: Float32[Array, " features"]
    total: Float32[Array, " features"]


class Life(NamedTuple):
    """The memory of a learner.

    Attributes:
      latents: the weights before they are cut, in the order of `adaptable.flat`.
      trace: slopes that the next reward or right value is multiplied by.
      total: the gradient so far, of the batch of episodes since the last step.
      guess: the last output; of examples.
      paid: what was told in this batch.
      baseline: the mean of what was told at each step of the batch before.
      told: number of steps of this batch of which it was told.
      episodes: number of episodes that have begun.
      updates: number of gradient steps.
      age: number of steps lived.
      seed: from which the noise is drawn.
      critic: what it takes a return for, with `--inner a2c`.
    """

    latents: Float32[Array, " weights"]
    trace: Float32[Array, " weights"]
    total: Float32[Array, " weights"]
    guess: Float32[Array, ""]
    paid: Float32[Array, ""]
    baseline: Float32[Array, ""]
    told: Int32[Array, ""]
    episodes: Int32[Array, ""]
    updates: Int32[Array, ""]
    age: Int32[Array, ""]
    seed: UInt32[Array, ""]
    critic: Critic | None = None


class Packed(NamedTuple):
    """Params, and the learning rate of each weight, in the order of `adaptable.flat`."""

    params: Params
    speed: Float32[Array, " weights"]


class Explored(NamedTuple):
    """An output to act by, and the slope of the log-probability of the action by the output."""

    output: Float[Array, " outputs"]
    slope: Float[Array, " outputs"]


def build(settings: GradientLearner, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for observations of `obs.size` and actions of `action.size`.

    Raises:
      ValueError: the network does not fit into a policy file, or predictions are to be learned and
        an action is not a single number.
    """
    if settings.learns_from == "examples" and (action.kind, action.size) != ("continuous", 1):
        raise ValueError(
            "--learns_from examples predicts one number, and actions are "
            f"{action.size} {action.kind}; use --learns_from rewards"
        )
    own = adaptable.build(settings.layered, obs, action, "gradient_learner", settings.evolve_mask)

    def pack(params: Params) -> Packed:
        return Packed(params, _speeds(settings, own, params))

    def packed(params: Params | Packed) -> Packed:
        return params if isinstance(params, Packed) else pack(params)

    def reset(params: Params | Packed, key: Key) -> Memory:
        start = packed(params).params
        if settings.start == "random":
            start = adaptable.init(own, jax.random.fold_in(key, keys.FIRST_WEIGHTS))
        latents = adaptable.flat(own, start).astype(jnp.float32)
        none, nothing, count = jnp.zeros(()), jnp.zeros(latents.shape), jnp.zeros((), jnp.int32)
        seed = jax.random.bits(key, (), jnp.uint32)
        numbers = none, none, none, count, count, count, count
        life = Life(latents, nothing, nothing, *numbers, seed)
        return life._replace(critic=_critic(obs.size)) if settings.inner == "a2c" else life

    def apply(params: Params | Packed, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
        plain, speed = packed(params)
        told = _told(settings, action, memory, inputs.feedback)
        life = _stepped(settings, own, speed, told, inputs.is_first)
        return _acted(settings, own, action, (plain, life), inputs.obs)

    inheritance = adaptable.inheritance(own, lambda life: life.latents)
    return Policy(
        lambda key: _init(settings, own, key),
        reset,
        apply,
        packing=lambda num_episodes: Packing(pack, num_episodes),
        inheritance=inheritance if settings.start == "evolved" else None,
    )


def _init(settings: GradientLearner, own: Adaptable, key: Key) -> Params:
    """Draw a network, whose rates start at their middle; see `_speeds`."""
    is_float = settings.weights == "float"
    digits = jnp.zeros((1, 1)) if is_float else jnp.zeros((2, 1), jnp.int8)
    rate = Tensor(digits, jnp.zeros((), jnp.int8))
    return tuple({**layer, "rate": rate} for layer in adaptable.init(own, key))


def _speeds(
    settings: GradientLearner, own: Adaptable, params: Params
) -> Float32[Array, " weights"]:
    """Return the learning rate of each weight, in the order of `adaptable.flat`.

    That of a layer is 2**-rate, times 2**e; e has two digits of base 3, or is a float.
    """
    exponents = []
    for layer in params:
        digits, shift = layer["rate"].values.astype(jnp.float32), layer["rate"].exponent
        own_exponent = digits[0, 0] if len(digits) == 1 else digits[0, 0] + 3 * digits[1, 0]
        exponents.append(own_exponent - settings.rate + shift)
    spread = adaptable.per_layer(own, params, exponents)
    return jnp.exp2(spread.clip(-24.0, 16.0)) * adaptable.paces(own, params)


def _told(
    settings: GradientLearner, action: ActionSpec, life: Life, feedback: Float[Array, ""]
) -> Life:
    """Return the life once it was told what the step before was worth, or should have said."""
    if settings.learns_from == "examples":
        low, high = action.low[0], action.high[0]
        right = (feedback - (low + high) / 2) * (2 / (high - low))
        signal = 2 * (right - life.guess)
    else:
        signal = feedback if life.critic else feedback - life.baseline
    is_told = life.age > 0
    if critic := life.critic:
        life = life._replace(critic=critic._replace(total=critic.total + feedback * critic.trace))
    return life._replace(
        total=life.total + jnp.where(is_told, signal, 0.0) * life.trace,
        paid=life.paid + feedback,
        told=life.told + is_told,
    )


def _stepped(
    settings: GradientLearner,
    own: Adaptable,
    speed: Float32[Array, " weights"],
    life: Life,
    is_first: Bool[Array, ""],
) -> Life:
    """Return the life after a gradient step, if an episode begins after those of a step."""
    is_whole = (life.episodes > 0) & (life.episodes % settings.step_episodes == 0)
    is_due = is_first & is_whole
    does_step = is_due & (life.updates < settings.num_gradient_steps)
    told = jnp.maximum(life.told, 1)
    size = told if settings.learns_from == "examples" else settings.step_episodes
    moved = adaptable.bounded(own, life.latents + speed * life.total / size)
    if critic := life.critic:
        better = critic.weights + 2.0**-settings.value_rate * critic.total / told
        life = life._replace(
            critic=Critic(
                jnp.where(does_step, better, critic.weights),
                jnp.where(is_first, 0.0, critic.trace),
                jnp.where(is_due, 0.0, critic.total),
            )
        )
    return life._replace(
        latents=jnp.where(does_step, moved, life.latents),
        trace=jnp.where(is_first, 0.0, life.trace),
        total=jnp.where(is_due, 0.0, life.total),
        paid=jnp.where(is_due, 0.0, life.paid),
        baseline=jnp.where(is_due, life.paid / told, life.baseline),
        told=jnp.where(is_due, 0, life.told),
        episodes=life.episodes + is_first,
        updates=life.updates + does_step,
    )


def _acted(
    settings: GradientLearner,
    own: Adaptable,
    action: ActionSpec,
    now: tuple[Params, Life],
    obs: Float[Array, "*shape"],
) -> tuple[Life, Float[Array, " outputs"]]:
    """Return the life after it acted, with the slopes of what it did, and the output."""
    params, life = now

    def run(latents: jax.Array) -> jax.Array:
        return adaptable.output(own, params, adaptable.cut(own, latents), obs)

    output, slopes = jax.vjp(run, life.latents)
    if settings.learns_from == "examples":
        trace, output, guess = slopes(jnp.ones(1))[0], output, output[0]
    else:
        explored = _explored(settings, action, life, output)
        faded, slope = settings.credit_decay * life.trace, slopes(explored.slope)[0]
        trace, life = faded + slope, _valued(settings, life, slope, obs)
        is_done = life.updates >= settings.num_gradient_steps
        output, guess = jnp.where(is_done, output, explored.output), life.guess
    return life._replace(trace=trace, guess=guess, age=life.age + 1), output


def _critic(num_obs: int) -> Critic:
    """Return the critic at the start of a life, which takes all values for 0."""
    nothing = jnp.zeros(num_obs + 1)
    return Critic(nothing, nothing, nothing)


def _valued(
    settings: GradientLearner,
    life: Life,
    slope: Float[Array, " weights"],
    obs: Float[Array, "*shape"],
) -> Life:
    """Return the life once the value of what it sees was taken off the return that follows."""
    if life.critic is None:
        return life
    weights, trace, total = life.critic
    features = jnp.append(obs.ravel() / FULL_SCALE, 1.0)
    value = features @ weights
    trace = settings.credit_decay * trace + features
    critic = Critic(weights, trace, total - value * features)
    return life._replace(total=life.total - value * slope, critic=critic)


def _explored(
    settings: GradientLearner, action: ActionSpec, life: Life, output: Float[Array, " outputs"]
) -> Explored:
    """Return an output with noise: of a normal action, or of one drawn from the softmax."""
    size = np.uint32(action.size)
    counter = jnp.arange(size, dtype=jnp.uint32) + life.age.astype(jnp.uint32) * size
    if action.kind == "continuous":
        noise = trials.normals(life.seed, hashing.EXPLORE, counter)
        return Explored(output + settings.action_noise * noise, noise / settings.action_noise)
    drawn = hashing.bits(life.seed, hashing.EXPLORE, counter) >> np.uint32(8)
    uniform = (drawn.astype(jnp.float32) + 0.5) * 2.0**-24
    noisy = output - jnp.log(-jnp.log(uniform))  # Gumbel's noise: its argmax is a softmax sample
    taken = jax.nn.one_hot(jnp.argmax(noisy), action.size)
    return Explored(noisy, taken - jax.nn.softmax(output))
