"""What the acceptance experiments share: trained seeds, rows on the disk, and verdicts.

A row is one seed of one arm, a line of JSON: experiment, arm, seed, value, steps, seconds, command,
commit. `Experiment.judge` turns the values of all arms into verdicts. `acceptance.py` runs the
experiments, and `systems.py` writes docs/systems.md from the rows.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ternevo import problems
from ternevo.arithmetic import observation
from ternevo.runs import provenance
from ternevo.types import Env, Policy, PolicyParams, Strategy

RESULTS = Path(__file__).parent / "results"
ROWS = RESULTS / "acceptance.jsonl"
"""The rows of the experiments here."""
RESAMPLES = 10_000
TEST_EPISODES = 100

Values = dict[str, list[float]]
"""The values of each arm that has all its seeds, in the order of the seeds."""
Judged = tuple[str, str, bool | None]
"""A statement, the figures, and whether it holds; None if arms of it were not run."""


class Result(NamedTuple):
    """What came of a seed: its value, environment steps, and further numbers by name."""

    value: float
    steps: int
    more: dict[str, Any] = {}  # noqa: RUF012 (never changed)


class Arm(NamedTuple):
    """A name, and what runs its seeds."""

    name: str
    run: Callable[[int], Result]


class Verdict(NamedTuple):
    """One statement, as docs/systems.md shows it.

    Attributes:
      claims: the claims of the lecture that it is about, such as "C10".
      experiment: such as "A-GA".
      statement: what was to be shown.
      found: the figures.
      verdict: "yes", "no", or "not run".
      command: what repeats it, or runs what is missing; "" if there is nothing yet that does.
    """

    claims: str
    experiment: str
    statement: str
    found: str
    verdict: str
    command: str


class Experiment(NamedTuple):
    """An experiment of the acceptance suite.

    Attributes:
      name: such as "A-GA".
      claims: the claims it is about.
      seeds: how many seeds each arm has.
      arms: returns its arms; called only to run them, as it builds environments.
      judge: maps the values of the complete arms to statements, figures and whether they hold; a
        KeyError says that an arm is missing, and nothing can be said.
      other_seeds: numbers of seeds of the arms that have others, by name.
    """

    name: str
    claims: str
    seeds: int
    arms: Callable[[], Sequence[Arm]]
    judge: Callable[[Values], Sequence[Judged]]
    other_seeds: Mapping[str, int] = {}

    def seeds_of(self, arm: str) -> int:
        """Return how many seeds an arm has."""
        return self.other_seeds.get(arm, self.seeds)


# ------------------------------------------------------------------------------------- rows


def rows() -> list[dict[str, Any]]:
    """Return all rows so far."""
    if not ROWS.exists():
        return []
    return [json.loads(line) for line in ROWS.read_text().splitlines()]


def complete(experiment: Experiment) -> None:
    """Run the seeds that have no row yet, one after another."""
    done = {(row["experiment"], row["arm"], row["seed"]) for row in rows()}
    origin = provenance.describe()
    for arm in experiment.arms():
        for seed in range(experiment.seeds_of(arm.name)):
            if (experiment.name, arm.name, seed) not in done:
                start = time.perf_counter()
                result = arm.run(seed)
                seconds = round(time.perf_counter() - start, 1)
                row = {
                    **{"experiment": experiment.name, "arm": arm.name, "seed": seed},
                    **{"value": result.value, "steps": result.steps, **result.more},
                    **{"seconds": seconds, "command": command(experiment.name)},
                    "commit": origin["commit"],
                }
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(experiment.name, arm.name, seed, result.value, f"{seconds} s", flush=True)


def command(name: str) -> str:
    """Return the command that runs an experiment."""
    return f"python experiments/acceptance.py {name}"


def values_of(experiment: Experiment) -> Values:
    """Return the values of the arms of an experiment that have all their seeds."""
    found: dict[str, dict[int, float]] = {}
    for row in rows():
        if row["experiment"] == experiment.name:
            found.setdefault(row["arm"], {})[row["seed"]] = row["value"]
    seeds = {arm: range(experiment.seeds_of(arm)) for arm in found}
    return {
        arm: [own[seed] for seed in seeds[arm]]
        for arm, own in found.items()
        if own.keys() >= set(seeds[arm])
    }


WORDS = {True: "yes", False: "no", None: "not run"}


def verdicts(experiment: Experiment) -> list[Verdict]:
    """Return what the rows of an experiment say; one line "not run" if nothing can be said."""
    claims, name = experiment.claims, experiment.name
    try:
        judged = experiment.judge(values_of(experiment))
    except KeyError:
        judged = [("", "", None)]
    return [
        Verdict(claims, name, said, found, WORDS[holds], command(name))
        for said, found, holds in judged
    ]


# --------------------------------------------------------------------------------- statistics


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of its 90 % bootstrap interval over seeds."""
    array = np.asarray(values, float)
    drawn = np.random.default_rng(0).choice(array, (RESAMPLES, len(array))).mean(1)
    low, high = np.quantile(drawn, (0.05, 0.95))
    return float(array.mean()), float(low), float(high)


def shown(values: Sequence[float]) -> str:
    """Return a mean with its interval: "3.2 [2.9, 3.5]"."""
    mean, low, high = interval(values)
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def is_above(left: Sequence[float], right: Sequence[float]) -> bool:
    """Return whether the 90 % interval of the paired difference over seeds is above 0."""
    return interval(np.subtract(left, right).tolist())[1] > 0


# ---------------------------------------------------------------------------------- training


def trained(
    env: Env, policy: Policy, strategy: Strategy, budget: int, test_env: Env | None = None
) -> Callable[[int], Result]:
    """Return what trains a seed for a budget of environment steps and tests what would ship.

    The program is compiled once for all seeds. The value is the mean of `TEST_EPISODES` fresh
    episodes, in `test_env` if it is another one.
    """
    advance = jax.jit(strategy.step)
    test = jax.jit(tester(test_env or env, policy))

    def run(seed: int) -> Result:
        key = jax.random.key(seed)
        state, steps, generation = strategy.init(key, *strategy.numbers()), 0, 0
        while steps < budget:
            state, metrics = advance(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
            generation += 1
        value = float(test(jax.random.key(10_000 + seed), strategy.params(state)))
        finals = {name: float(x) for name, x in metrics.items() if not name.startswith("weights")}
        return Result(value, steps, {"generations": generation, "metrics": finals})

    return run


def tester(env: Env, policy: Policy) -> Callable[..., jax.Array]:
    """Return the function of a key and what would ship to its mean return over fresh episodes."""
    test = problems.of(policy, env).test

    def run(key: jax.Array, params: PolicyParams, num_episodes: int = TEST_EPISODES) -> jax.Array:
        quantiser = observation.freeze(params.moments, env.obs.kind)
        return test(key, params.weights, quantiser, num_episodes).returns.mean()

    return run
