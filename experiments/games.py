"""The lecture's table of Atari games, on the five games of MinAtar: returns, and what they cost.

    python experiments/games.py --algorithms GA ES RS

runs what results/games.jsonl lacks, a line for each seed, and writes the tables of docs/games.md.
All arms have the same network and train until they have taken `FRAMES` environment steps; a
generation that has begun is finished. Options were chosen before the runs, and not tuned for them:
those of gradient learners stand on the pages of the games, those of evolution are mostly defaults.

The value is the mean return of `TEST_EPISODES` fresh episodes of what would ship. Seconds are those
of training, without compiling.
"""

import argparse
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from arms import PAGES, ROOT
from claims import WORDS, Verdict, is_above, tester
from study_results import Row, values
from study_words import NONE, number, put, spread, table
from tune import append, read

from ternevo import envs
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.policies import contract
from ternevo.runs import provenance
from ternevo.runs.intervals import mean_interval
from ternevo.settings.command_line import RunConfig, parse
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.ppo import PPO
from ternevo.settings.strategies.settings import Settings

RESULTS = PAGES / "results" / "games.jsonl"
PAGE = ROOT / "docs" / "games.md"
COMMAND = "python experiments/games.py"

GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
FRAMES = 500_000
SEEDS = 3
WEIGHTS = {
    "float": "--weights float --activation relu",
    "ternary": "--weights ternary --activation int8",
}
ALGORITHMS = {
    "DQN": "--strategy dqn --num_envs 16 --train_every 1 --updates_per_step 0.0625 "
    "--steps_per_generation 4096 --learning_starts 4096",
    "PPO": "--strategy ppo --num_minibatches 8 --lr_schedule linear --critic_activation relu",
    "ES": "--population_size 64 --num_episodes 1",
    "GA": "--strategy deep_ga --population_size 64 --truncation 8 --elite_candidates 4 "
    "--validation_episodes 5 --common_random_numbers none",
    "RS": "--strategy random_search --population_size 64",
}
OWN = {
    ("DQN", "float"): "--observation_shift 0",
    ("DQN", "ternary"): "--observation_shift 3",
    ("PPO", "float"): "--observation_shift 0 --lr 0.003",
    ("PPO", "ternary"): "--observation_shift 3 --lr 0.002",
    ("ES", "float"): "--strategy latent --algorithm Open_ES --fitness_shaping centered_rank "
    "--sigma 0.05 --lr 0.02",
    ("ES", "ternary"): "--strategy ternary_nes",
    ("GA", "float"): "--mutation_power 0.02",
}
"""What an algorithm has with one kind of weights only."""

Cells = dict[tuple[str, str], list[Row]]
"""The rows of a game and an algorithm, by seed."""


def main() -> None:
    """Run what is not in the file, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", nargs="+", choices=GAMES, default=GAMES)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=WEIGHTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table_only", action="store_true")
    given = parser.parse_args()
    if not given.table_only:
        enable_compilation_cache()
        for arm in itertools.product(given.algorithms, given.games, given.weights):
            complete(*arm, given.seeds)
    text = page_of(read(RESULTS))
    put(PAGE, "table", text)
    print(text)


def complete(algorithm: str, game: str, weights: str, seeds: int) -> None:
    """Run the seeds of an arm that are not in the file."""
    origin, done = provenance.describe(), cells(read(RESULTS), weights).get((game, algorithm), [])
    missing = sorted(set(range(seeds)) - {row["seed"] for row in done})
    if not missing:
        return
    run = runner(config_of(algorithm, game, weights))
    for seed in missing:
        row = {"task": game, "algorithm": algorithm, "weights": weights, "seed": seed, **run(seed)}
        row |= {"budget": FRAMES, "options": options_of(algorithm, weights), "command": COMMAND}
        row |= {"commit": origin["commit"], "processor": origin["machine"]["processor"]}
        append(RESULTS, row)
        print(algorithm, game, weights, seed, row["return"], f"{row['seconds']} s", flush=True)


# ------------------------------------------------------------------------------------- training


def options_of(algorithm: str, weights: str) -> str:
    """Return the options of an algorithm, as on the command line."""
    own = OWN.get((algorithm, weights), "")
    return " ".join(f"{WEIGHTS[weights]} {ALGORITHMS[algorithm]} {own}".split())


def config_of(algorithm: str, game: str, weights: str) -> RunConfig:
    """Return the settings of an arm; schedules of gradient learners span its frames."""
    config = parse(f"--env gymnax/{game}-MinAtar {options_of(algorithm, weights)}".split())
    size = generation_size(config.strategy)
    count = math.ceil(FRAMES / size) if size else config.num_generations
    return dataclasses.replace(config, num_generations=count)


def generation_size(settings: Settings) -> int:
    """Return the frames of a generation, 0 if they depend on how long episodes last."""
    if isinstance(settings, PPO):
        return settings.batch_size
    return settings.pace.steps_per_generation if isinstance(settings, DQN) else 0


def runner(config: RunConfig) -> Callable[[int], dict[str, Any]]:
    """Return what trains and tests a seed, and returns the figures of a row."""
    env = contract.shown_to(config.policy, envs.make(config.env))
    policy = contract.build(config.policy, env.obs, env.action)
    weights, total = config.policy.weights, config.num_generations
    strategy = config.strategy.build(env, policy, weights, total)
    advance, test = jax.jit(strategy.step), jax.jit(tester(env, policy))
    init = jax.jit(lambda key: strategy.init(key, *strategy.numbers()))
    jax.block_until_ready(advance(jax.random.key(0), init(jax.random.key(0))))  # compiles it

    def run(seed: int) -> dict[str, Any]:
        key = jax.random.key(seed)
        state, frames, generation, begin = init(key), 0, 0, time.perf_counter()
        while frames < FRAMES:
            state, metrics = advance(jax.random.fold_in(key, generation), state)
            frames += int(metrics["episode/steps"])
            generation += 1
        seconds = round(time.perf_counter() - begin, 1)
        value = float(test(jax.random.key(10_000 + seed), strategy.params(state)))
        cost = cost_of(config.strategy, frames, generation)
        paid = {**cost._asdict(), "operations": cost.operations, "seconds": seconds}
        return {"return": value, "generations": generation, **paid}

    return run


# ----------------------------------------------------------------------------------------- costs


class Cost(NamedTuple):
    """What a run asks of its environment and of its network.

    Attributes:
      frames: environment steps.
      forward: passes forward of one observation through the network of the policy.
      backward: passes back.
    """

    frames: int
    forward: int
    backward: int

    @property
    def operations(self) -> int:
        """Passes in units of one forward, where one back is two (Such et al. 2017)."""
        return self.forward + 2 * self.backward


def cost_of(settings: Settings, frames: int, generations: int) -> Cost:
    """Return what a run costs by its settings, after some frames and generations.

    Everybody takes a pass forward for each frame, to act; evolution takes no others. A learner
    takes one forward and one back for each sample of a gradient step, and DQN also one forward for
    its target, with double DQN two. Networks that do not ship are left out: the critic of PPO and
    the value of a dueling DQN, each of which is asked nearly as often as the policy.
    """
    if isinstance(settings, PPO):
        samples = generations * settings.num_epochs * settings.batch_size
        return Cost(frames, frames + samples, samples)
    if isinstance(settings, DQN):
        samples = settings.num_updates(generations) * settings.replayed.batch_size
        return Cost(frames, frames + (2 + settings.double) * samples, samples)
    return Cost(frames, frames, 0)


# --------------------------------------------------------------------------------------- tables


def cells(rows: list[Row], weights: str) -> Cells:
    """Return the rows of each cell of a table, by seed; those of other options are left out."""
    options = {algorithm: options_of(algorithm, weights) for algorithm in ALGORITHMS}
    found: Cells = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        today = weights, FRAMES, options.get(row["algorithm"])
        if (row["weights"], row["budget"], row["options"]) == today:
            found.setdefault((row["task"], row["algorithm"]), []).append(row)
    return found


def page_of(rows: list[Row]) -> str:
    """Return the tables of both kinds of weights as Markdown, the costs beneath the games."""
    parts = []
    for weights in WEIGHTS:
        found = cells(rows, weights)
        games = [(game, *(returns(found.get((game, a), [])) for a in ALGORITHMS)) for game in GAMES]
        lines = [*games, *costs(found)]
        parts.append(f"**{weights}**\n\n{table(' | '.join(('', *ALGORITHMS)), lines)}\n")
    return "\n".join(parts)


def returns(rows: list[Row]) -> str:
    """Return the mean return of a cell with its interval, of two seeds or fewer each."""
    if len(rows) > 2:
        return spread(mean_interval(values(rows, "return")))
    return ", ".join(number(row["return"]) for row in rows) or NONE


COSTS = {
    "frames, millions": ("frames", 1e6),
    "forward passes, millions": ("forward", 1e6),
    "backward passes, millions": ("backward", 1e6),
    "operations, millions": ("operations", 1e6),
    "seconds": ("seconds", 1),
}
"""The numbers of a row beneath the games, and their units."""


def costs(found: Cells) -> Iterator[tuple[str, ...]]:
    """Yield the lines of costs: means over the games and seeds that were run."""
    for said, (name, unit) in COSTS.items():
        paid: dict[str, list[float]] = {algorithm: [] for algorithm in ALGORITHMS}
        for (_, algorithm), rows in found.items():
            paid[algorithm] += [row[name] / unit for row in rows]
        yield said, *(number(float(np.mean(own))) if own else NONE for own in paid.values())


# ------------------------------------------------------------------------------------- verdicts


def judged(rows: list[Row]) -> Iterator[Verdict]:
    """Yield the verdicts on both kinds of weights, "not run" where cells lack seeds."""
    for weights in WEIGHTS:
        every = cells(rows, weights)
        found = {cell: own[:SEEDS] for cell, own in every.items() if len(own) >= SEEDS}
        lacks = len(found) < len(GAMES) * len(ALGORITHMS)
        for claims, said, judge in STATEMENTS:
            words, holds = ("", None) if lacks else judge(found)
            said = f"five games of MinAtar, {weights}: {said}"
            yield Verdict(claims, "A-GA", said, words, WORDS[holds], COMMAND)


def nobody_leads(found: Cells) -> tuple[str, bool]:
    """Return who has the highest mean in each game, and whether that is not always the same."""

    def mean(game: str, algorithm: str) -> float:
        return float(values(found[game, algorithm], "return").mean())

    leaders = {game: max(ALGORITHMS, key=lambda a: mean(game, a)) for game in GAMES}
    words = ", ".join(f"{algorithm} in {game}" for game, algorithm in leaders.items())
    return words, len(set(leaders.values())) > 1


def above_dqn(algorithm: str) -> Callable[[Cells], tuple[str, bool]]:
    """Return what finds the games in which an algorithm ends above DQN, and whether any is."""

    def judge(found: Cells) -> tuple[str, bool]:
        own, other = (
            {game: values(found[game, name], "return").tolist() for game in GAMES}
            for name in (algorithm, "DQN")
        )
        games = [game for game in GAMES if is_above(own[game], other[game])]
        return ", ".join(games) or "in none", bool(games)

    return judge


STATEMENTS: tuple[tuple[str, str, Callable[[Cells], tuple[str, bool]]], ...] = (
    ("C10", "nobody leads in all of them", nobody_leads),
    ("C10", "the GA ends above DQN in some", above_dqn("GA")),
    ("C11", "random search ends above DQN in some", above_dqn("RS")),
)


if __name__ == "__main__":
    main()
