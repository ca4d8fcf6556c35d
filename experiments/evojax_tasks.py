"""A-EVOJAX: tasks of EvoJAX at its budgets, ternary and float; arms of acceptance.py.

The swing-up has EvoJAX's constants and its bars, 900 for the easy one and 600 for the hard one
(Tang et al. 2022 and its benchmark pages). EvoJAX reports 935 and 631 for PGPE and 929 and 605 for
OpenAI-ES after 1,000 generations, of 64 members with 16 episodes and of 100 with 16. PGPE and
OpenAI-ES are evosax's here, with the settings of those pages. Every `EVERY` generations the mean
policy plays `CHECKS` fresh episodes; steps and seconds to a bar are those of the first time that it
is reached, without compiling.

Digits stand for MNIST, which has to be downloaded: 8 x 8 pixels, 1,437 images to learn from and 360
to test on. Their value is the accuracy on the latter.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from claims import TEST_EPISODES, Arm, Judged, Result, Values, interval, rows, shown, tester

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.arithmetic.weights import kind_of
from ternevo.learners import imitation
from ternevo.learners.imitation import Labelled, Student
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import WeightName
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Env, Policy, PolicyParams, Strategy

# ---------------------------------------------------------------------------- the swing-up

BUDGET = 400_000_000
GENERATIONS = 1000
"""For schedules, which end there."""
EVERY, CHECKS = 20, 64
BARS = {"easy": 900.0, "hard": 600.0}


class Search(NamedTuple):
    """A strategy with its policy, and what it should return in the easy task in the end."""

    strategy: str
    weights: WeightName
    options: dict[str, Any]
    wanted: float


SEARCHES = {
    "ternary_nes, ternary": Search(
        "ternary_nes", "ternary", {"population_size": 64, "num_episodes": 4}, 800
    ),
    "PGPE, float": Search(
        *("latent", "float"),
        {
            **{"algorithm": "PGPE", "population_size": 64, "num_episodes": 16},
            **{"sigma": 0.1, "lr": 0.05},
        },
        850,
    ),
    "Open_ES, float": Search(
        *("latent", "float"),
        {
            **{"algorithm": "Open_ES", "population_size": 100, "num_episodes": 16},
            **{"sigma": 0.03, "lr": 0.02},
        },
        850,
    ),
}


def swing_arms() -> Iterator[Arm]:
    """Yield a search on a task; all policies have 64 hidden units, as EvoJAX's."""
    for task in BARS:
        env = envs.make(f"control/cartpole_swing_up_{task}")
        for name, search in SEARCHES.items():
            activation = "tanh" if search.weights == "float" else "int8"
            settings = MLP((64,), weights=search.weights, activation=activation)
            policy = settings.build(env.obs, env.action)
            built = STRATEGIES[search.strategy].of(**search.options)
            strategy = built.build(env, policy, search.weights, GENERATIONS)
            yield Arm(f"{task}, {name}", to_bar(env, policy, strategy, BARS[task]))


def to_bar(env: Env, policy: Policy, strategy: Strategy, bar: float) -> Callable[[int], Result]:
    """Return what trains a seed for the budget, and notes when it is above the bar."""
    advance = jax.jit(strategy.step)
    test = jax.jit(tester(env, policy), static_argnums=2)

    def run(seed: int) -> Result:
        key, key_test = jax.random.key(seed), jax.random.key(10_000 + seed)
        state = strategy.init(key, *strategy.numbers())
        jax.block_until_ready(advance(key, state))  # compiles
        test(key_test, strategy.params(state), CHECKS)
        steps, generation, reached, begun = 0, 0, None, time.perf_counter()
        while steps < BUDGET:
            state, metrics = advance(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
            generation += 1
            if reached is None and generation % EVERY == 0:
                checked = jax.random.fold_in(key_test, generation)
                if float(test(checked, strategy.params(state), CHECKS)) >= bar:
                    reached = [steps, round(time.perf_counter() - begun, 1)]
        value = float(test(key_test, strategy.params(state), TEST_EPISODES))
        return Result(value, steps, {"generations": generation, "to_bar": reached})

    return run


def judge_swing(values: Values) -> Iterator[Judged]:
    """Compare with what was asked for, and with EvoJAX's bars."""
    found = {(row["arm"], row["seed"]): row["to_bar"] for row in rows() if "to_bar" in row}
    for task, bar in BARS.items():
        for name, search in SEARCHES.items():
            arm = f"{task}, {name}"
            own = values.get(arm, ())
            if task == "easy":
                said = f"easy swing-up, {name}: at least {search.wanted:g} after"
                yield f"{said} {BUDGET // 10**6} million steps", *above(own, search.wanted)
            reached = [found[arm, seed] for seed in range(len(own))]
            yield f"{task} swing-up, {name}: reaches EvoJAX's bar of {bar:g}", *to_words(reached)


def above(found: Sequence[float], wanted: float) -> tuple[str, bool | None]:
    """Return a mean with its interval, and whether it is as wanted; None if it was not run."""
    return (shown(found), interval(found)[0] >= wanted) if found else ("", None)


def to_words(reached: list[list[float] | None]) -> tuple[str, bool | None]:
    """Return how many seeds reached a bar, and in how many steps and seconds at the median."""
    if not reached:
        return "", None
    done = [own for own in reached if own]
    words = f"{len(done)} of {len(reached)} seeds"
    if done:
        steps, seconds = np.median(done, axis=0)
        words += f"; {steps / 1e6:.0f} million steps, {seconds:.0f} s"
    return words, len(done) == len(reached)


# ---------------------------------------------------------------------------------- digits

BATCH, EPOCHS, LR = 64, 100, 3e-3
ES_OPTIONS: dict[str, Any] = {
    **{"algorithm": "Open_ES", "population_size": 256, "num_episodes": 512},
    **{"sigma": 0.15, "lr": 0.05},
}
ES_GENERATIONS = 2000
DIGITS: dict[str, tuple[WeightName, float]] = {
    "digits, ternary by gradients": ("ternary", 0.95),
    "digits, float by gradients": ("float", 0.97),
    "digits, latents cut into trits by Open_ES": ("ternary", 0.88),
}
"""Weights, and the accuracy that was asked for; all have 64 hidden units."""


def digit_arms() -> Iterator[Arm]:
    """Yield straight-through gradients with trits, gradients with floats, and evolved latents."""
    env = envs.make("digits/8x8")
    for name, (weights, _) in DIGITS.items():
        activation = "relu" if weights == "float" else "int8"
        settings = MLP((64,), weights=weights, activation=activation, observation_shift=0)
        policy = settings.build(env.obs, env.action)
        learn = evolved if "Open_ES" in name else descended
        yield Arm(name, learn(env, policy, weights))


def descended(env: Env, policy: Policy, weights: WeightName) -> Callable[[int], Result]:
    """Return what learns the labels by Adam, straight through the weights."""
    assert env.examples is not None
    template = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(policy.init, jax.random.key(0))
    )
    student = Student(policy, template, kind_of(weights), env.obs, env.action)
    known = len(env.examples.labels) - env.examples.num_test
    labels = jax.nn.one_hot(env.examples.labels[:known], env.action.size)
    data = Labelled(jnp.asarray(env.examples.inputs[:known]), labels)
    quantiser = observation.freeze(observation.empty(env.obs.size), env.obs.kind)
    updates = EPOCHS * known // BATCH
    optimizer = optax.adam(optax.linear_schedule(LR, 0.0, updates))
    test = jax.jit(tester(env, policy), static_argnums=2)

    def learn(key: jax.Array) -> PolicyParams:
        key_start, key_rows = jax.random.split(key)
        rows = jax.random.randint(key_rows, (updates, BATCH), 0, known)
        start = student.init(key_start)
        learned, _ = imitation.train(student, optimizer, quantiser, start, data, rows)
        return PolicyParams(student.shipped(learned), observation.empty(env.obs.size))

    learn = jax.jit(learn)

    def run(seed: int) -> Result:
        params = learn(jax.random.key(seed))
        return Result(float(test(jax.random.key(0), params, 1)), updates * BATCH)

    return run


def evolved(env: Env, policy: Policy, weights: WeightName) -> Callable[[int], Result]:
    """Return what evolves latents by the accuracy of what they are cut into."""
    settings = STRATEGIES["latent"].of(**ES_OPTIONS)
    strategy = settings.build(env, policy, weights, ES_GENERATIONS)
    advance = jax.jit(strategy.step)
    test = jax.jit(tester(env, policy), static_argnums=2)

    def run(seed: int) -> Result:
        key, steps = jax.random.key(seed), 0
        state = strategy.init(key, *strategy.numbers())
        for generation in range(ES_GENERATIONS):
            state, metrics = advance(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
        return Result(float(test(jax.random.key(0), strategy.params(state), 1)), steps)

    return run


def judge_digits(values: Values) -> Iterator[Judged]:
    """Compare accuracies with those that were asked for."""
    for name, (_, wanted) in DIGITS.items():
        yield f"{name}: an accuracy of {wanted}", *above(values.get(name, ()), wanted)


# ------------------------------------------------------------------------------ both


def arms_of_evojax() -> list[Arm]:
    """Return the arms of both kinds of tasks."""
    return [*digit_arms(), *swing_arms()]


def judge_evojax(values: Values) -> list[Judged]:
    """Judge both kinds of tasks."""
    return [*judge_digits(values), *judge_swing(values)]
