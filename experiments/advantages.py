"""Three advantages that the lecture claims for ES, beside PPO and SAC: results/advantages.jsonl.

    python experiments/advantages.py --tasks Pendulum

An arm is a strategy on a task under a condition: each action taken for several steps, rewards paid
late, or long episodes. All arms of a task have the same budget of simulator steps, and settings
that no condition changes: a gradient learner goes on learning at its pace for each decision, of
which there are fewer where an action is repeated. Nothing is tuned for a condition.

The value is the mean return of `TEST_EPISODES` fresh episodes of the last policy, with actions
repeated as in training and the time limit of "plain"; a late payment does not change it. What that
is worth is its place between the return of who does nothing, 0, and a good one, 1.

The condition is data of the program, so that a strategy compiles once for a task, which takes
longer than its training. The file says what has been done, and is not done again;
`judged` makes verdicts of it.

ES has an advantage over a learner under a condition if it loses less of its worth to the condition
and ends above it. Both must have learned the task without one, or nothing is said: who has learned
nothing has nothing to lose. What frequencies of actions cost is the worth between the best and the
worst of 1, 2 and 4 steps in the mean over seeds, which noise alone makes positive.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from claims import RESULTS, TEST_EPISODES, WORDS, Verdict, is_above, shown
from tune import append, read

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.envs import wrappers
from ternevo.envs.wrappers import Wrapped
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.policies import contract
from ternevo.runs import provenance
from ternevo.settings.command_line import RunConfig, parse
from ternevo.types import Env, EnvState, Key, PolicyParams, Task as EnvTask, Timestep

FILE = RESULTS / "advantages.jsonl"
PAGES = RESULTS.parent
COMMAND = "python experiments/advantages.py"
SEEDS = 5
AT_THE_END = 10_000
"""Steps between payments that no episode has, so that its end pays all."""
LONGER = 5
"""How much longer long episodes are."""


class Condition(NamedTuple):
    """What an arm is under; numbers, or scalars int32 inside a program.

    Attributes:
      repeat: steps for which an action is taken.
      delay: decisions after which rewards are paid.
      length: the time limit in simulator steps, in units of that of the task.
    """

    repeat: Any = 1
    delay: Any = 1
    length: Any = 1


CONDITIONS = {
    "plain": Condition(),
    "each action twice": Condition(repeat=2),
    "each action four times": Condition(repeat=4),
    "paid every 10 steps": Condition(delay=10),
    "paid at the end": Condition(delay=AT_THE_END),
    "long episodes": Condition(length=LONGER),
}


class Task(NamedTuple):
    """A page, a budget, the conditions, and two returns.

    Attributes:
      page: the page in experiments/ with the settings.
      steps: simulator steps of an arm.
      length: the time limit of "plain" and of tests, in simulator steps.
      conditions: which of `CONDITIONS` it has.
      nothing: the return of who does nothing.
      good: a good return.
    """

    page: str
    steps: int
    length: int
    conditions: tuple[str, ...]
    nothing: float
    good: float

    def worth(self, value: float) -> float:
        """Return the place of a return between that of doing nothing and a good one."""
        return (value - self.nothing) / (self.good - self.nothing)


TASKS = {
    "Pendulum": Task("gymnax_pendulum", 1_000_000, 200, tuple(CONDITIONS), -1500, -150),
    "MountainCarContinuous": Task(
        "gymnax_mountaincar_continuous", 500_000, 999, tuple(CONDITIONS)[:5], 0, 90
    ),
}
STRATEGIES = {
    "ternary_nes": "--population_size 64 --num_episodes 1 --init_horizon 1 --sigma 0.2",
    "ppo": "--lr_schedule constant",
    "sac": "--lr_schedule constant --num_envs 100 --updates_per_step 0.01 "
    "--steps_per_generation 5000",
}
"""What an arm has that the page has not. Schedules would have to know how long the run is. With the
page's sigma of 0.4 evolution does not learn Pendulum in this budget (worths of 0.03 to 0.77, seeds
0 to 4); 0.2 is the best of five settings on seeds 1000 to 1002, without a condition."""


def main() -> None:
    """Run what is not in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    enable_compilation_cache()
    for task in given.tasks:
        for strategy in given.strategies:
            complete(task, strategy, given.seeds)


def complete(task: str, strategy: str, seeds: int) -> None:
    """Run the seeds of a strategy on a task that are not in the file, under all conditions."""
    run, origin = None, provenance.describe()
    names = ("task", "strategy", "condition", "seed", "options")
    done = {tuple(row[name] for name in names) for row in read(FILE)}
    for seed in range(seeds):
        for condition in TASKS[task].conditions:
            key = (task, strategy, condition, seed, STRATEGIES[strategy])
            if key in done:
                continue
            run = run or runner(TASKS[task], strategy)
            begin = time.perf_counter()
            row = {**dict(zip(names, key, strict=True)), **run(CONDITIONS[condition], seed)}
            row |= {"seconds": round(time.perf_counter() - begin, 1), "command": COMMAND}
            row |= {"commit": origin["commit"], "processor": origin["machine"]["processor"]}
            append(FILE, row)
            print(*key[:4], round(row["return"], 2), row["seconds"], flush=True)


# -------------------------------------------------------------------------------- conditions


def under(env: Env, condition: Condition, length: int) -> Env:
    """Return the environment under a condition, which may be data of a program.

    Args:
      env: the environment, with the longest time limit of all conditions.
      condition: what it is under.
      length: the time limit in simulator steps for a `condition.length` of 1.
    """
    limited = time_limit(env, length * condition.length)
    return wrappers.delayed_reward(
        wrappers.action_repeat(limited, condition.repeat), condition.delay
    )


def time_limit(env: Env, limit: Any) -> Env:
    """Truncate episodes after a number of steps, which may be data of a program."""

    def reset(key: Key, task: EnvTask) -> tuple[EnvState, jax.Array]:
        state, obs = env.reset(key, task)
        return Wrapped(state, jnp.zeros((), jnp.int32)), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        inner, timestep = env.step(key, state.inner, action)
        count = state.own + 1
        is_over = timestep.truncated | ((count >= limit) & ~timestep.terminated)
        return Wrapped(inner, count), timestep._replace(truncated=is_over)

    return env._replace(reset=reset, step=step)


# ------------------------------------------------------------------------------------ training


class Programs(NamedTuple):
    """A strategy on a task, of conditions as data: its beginning, a generation, and a test."""

    start: Callable[[Condition, Key], Any]
    step: Callable[[Condition, Key, Any], tuple[Any, dict[str, jax.Array]]]
    test: Callable[[Condition, Key, Any], jax.Array]


def config_of(task: Task, strategy: str) -> RunConfig:
    """Return the settings of a strategy on a task: those of the page, and its own."""
    page = f"--config {PAGES / task.page}.yaml --strategy {strategy}"
    longest = task.length * max(CONDITIONS[name].length for name in task.conditions)
    return parse(f"{page} --episode_length {longest} {STRATEGIES[strategy]}".split())


def programs(config: RunConfig, length: int) -> Programs:
    """Return the programs of an arm whose plain episodes have a time limit."""
    env = contract.shown_to(config.policy, envs.make(config.env, config.episode_length))
    policy = contract.build(config.policy, env.obs, env.action)

    def strategy(condition: Condition) -> Any:
        around, kind = under(env, condition, length), config.policy.weights
        return config.strategy.build(around, policy, kind, config.num_generations)

    def start(condition: Condition, key: Key) -> Any:
        built = strategy(condition)
        return built.init(key, *built.numbers())

    def step(condition: Condition, key: Key, state: Any) -> tuple[Any, dict[str, jax.Array]]:
        return strategy(condition).step(key, state)

    def test(condition: Condition, key: Key, state: Any) -> jax.Array:
        params: PolicyParams = strategy(condition).params(state)
        quantiser = observation.freeze(params.moments, env.obs.kind)
        problem = problems.of(policy, under(env, Condition(condition.repeat), length))
        return problem.test(key, params.weights, quantiser, TEST_EPISODES).returns.mean()

    return Programs(jax.jit(start), jax.jit(step), jax.jit(test))


def runner(task: Task, strategy: str) -> Callable[[Condition, int], dict[str, Any]]:
    """Return what trains and tests a seed under a condition, and returns the figures of a row."""
    start, step, test = programs(config_of(task, strategy), task.length)

    def run(asked: Condition, seed: int) -> dict[str, Any]:
        condition = Condition(*map(jnp.int32, asked))
        key = jax.random.key(seed)
        state, steps, generation = start(condition, key), 0, 0
        while steps < task.steps:
            state, metrics = step(condition, jax.random.fold_in(key, generation), state)
            steps += asked.repeat * int(metrics["episode/steps"])
            generation += 1
        value = float(test(condition, jax.random.key(10_000 + seed), state))
        return {
            **{"return": value, "worth": task.worth(value)},
            **{"steps": steps, "generations": generation},
        }

    return run


# ----------------------------------------------------------------------------------- verdicts

LEARNED = 0.7
"""The mean worth at which a task counts as learned, as in A-ERL."""
FREQUENCIES = ("plain", "each action twice", "each action four times")
ALL = "frequencies of actions and late rewards cost ternary_nes less than PPO and SAC", "", None
"""The statement on a task of which nothing was run."""


class Arms(NamedTuple):
    """The worths of a task's arms by strategy and condition, each [seeds]."""

    task: str
    worths: dict[tuple[str, str], np.ndarray]

    def lost(self, strategy: str, condition: str) -> list[float]:
        """Return what each seed loses to a condition."""
        plain = self.worths[strategy, "plain"]
        return (plain - self.worths[strategy, condition]).tolist()

    def span(self, strategy: str) -> list[float]:
        """Return how far frequencies of actions move each seed."""
        return np.ptp([self.worths[strategy, name] for name in FREQUENCIES], axis=0).tolist()

    def has_learned(self, strategy: str) -> bool:
        """Return whether a strategy has learned the task without a condition."""
        return bool(self.worths[strategy, "plain"].mean() >= LEARNED)


def judged(found: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield the verdicts on each task, one line "not run" where there are no rows."""
    for task in TASKS:
        own = [row for row in found if row["task"] == task]
        command = f"{COMMAND} --tasks {task}"
        for said, words, holds in statements(Arms(task, complete_arms(own))) if own else (ALL,):
            yield Verdict("C9", "A-ES", f"{task}: {said}", words, WORDS[holds], command)


def complete_arms(found: list[dict[str, Any]]) -> dict[tuple[str, str], np.ndarray]:
    """Return the worths of the arms that have all seeds at the options of today, by seed."""
    by_arm: dict[tuple[str, str], dict[int, float]] = {}
    today = [row for row in found if row["options"] == STRATEGIES.get(row["strategy"])]
    for row in today:
        by_arm.setdefault((row["strategy"], row["condition"]), {})[row["seed"]] = row["worth"]
    return {
        arm: np.array([own[seed] for seed in range(SEEDS)])
        for arm, own in by_arm.items()
        if own.keys() >= set(range(SEEDS))
    }


def statements(arms: Arms) -> Iterator[tuple[str, str, bool | None]]:
    """Yield what was to be shown, the figures, and whether it holds; None if arms lack seeds."""
    evolution, *learners = STRATEGIES
    for strategy in STRATEGIES:
        if (strategy, "plain") in arms.worths:
            words = shown(arms.worths[strategy, "plain"].tolist())
            said = f"{strategy} learns it, a worth of {LEARNED}"
            yield said, words, arms.has_learned(strategy)
    for learner in learners:
        said = f"actions of 1, 2 and 4 steps move {evolution} less than {learner}"
        yield said, *compared(arms, learner, FREQUENCIES, arms.span)
    for condition in TASKS[arms.task].conditions:
        for learner in learners if condition not in FREQUENCIES else ():
            said = f"{condition}, {evolution} loses less than {learner}"
            yield said, *compared(arms, learner, ("plain", condition), lost_to(arms, condition))


def lost_to(arms: Arms, condition: str) -> Callable[[str], list[float]]:
    """Return the function from a strategy to what its seeds lose to a condition."""
    return lambda strategy: arms.lost(strategy, condition)


def compared(
    arms: Arms, learner: str, conditions: tuple[str, ...], cost: Callable[[str], list[float]]
) -> tuple[str, bool | None]:
    """Return the figures of evolution and a learner, and whether the learner's cost is above.

    Args:
      arms: all arms of the task.
      learner: the gradient learner.
      conditions: what must have been run.
      cost: maps a strategy to what a condition costs each seed.
    """
    evolution = next(iter(STRATEGIES))
    pair = evolution, learner
    short = {one for one in pair for name in conditions if (one, name) not in arms.worths}
    if short:
        return f"fewer than {SEEDS} seeds of {' and '.join(sorted(short))}", None
    own, other = cost(evolution), cost(learner)
    ends = [arms.worths[one, conditions[-1]].tolist() for one in pair]
    first, second = map(statistics.fmean, ends)
    words = f"{shown(own)} against {shown(other)}; worth {first:.2f} and {second:.2f} in the end"
    unlearned = [one for one in pair if not arms.has_learned(one)]
    if unlearned:
        return f"{words}; not learned without it: {', '.join(unlearned)}", None
    ends_above = conditions == FREQUENCIES or is_above(*ends)
    return words, is_above(other, own) and ends_above


if __name__ == "__main__":
    main()
