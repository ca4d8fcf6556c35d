"""Convolutions beside an MLP on MinAtar, float and ternary, by gradients and by evolution.

    python experiments/minatar.py --num_seeds 3

runs what results/minatar.jsonl lacks, one line for each seed, and writes the table of
docs/seeing.md. Gradients get 2 million steps with the settings of the game's page, and convolutions
also 10 million on Breakout; evolution gets the budget that the study gave to its MLPs. Every arm is
an ordinary `python -m ternevo.run`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from arms import PAGES, ROOT, Arm, check_all, from_seed, lacking, origin, side_by_side
from study import outcome, size_of
from study_results import Row, values
from study_words import number, put, spread, table
from tune import append, read

from ternevo.policies import policy_file
from ternevo.runs.intervals import mean_interval

RESULTS = PAGES / "results" / "minatar.jsonl"
PAGE = ROOT / "docs" / "seeing.md"

CONV = ("--policy", "conv", "--hidden_sizes", "(128,)")
TERNARY = ("--weights", "ternary", "--activation", "int8")
SHORT = ("--num_generations", "245", "--eval_every", "35")
LONG = ("--num_generations", "1221", "--eval_every", "111")
GAMES = {
    "Breakout": "gymnax_breakout_minatar",
    "Asterix": "gymnax_asterix_minatar",
    "Freeway": "gymnax_freeway_minatar",
    "SpaceInvaders": "gymnax_space_invaders_minatar",
}
EVOLVED = {
    "Breakout": ("--population_size", "256", "--num_episodes", "2", "--num_generations", "60"),
    "Freeway": ("--population_size", "64", "--num_episodes", "1", "--num_generations", "20"),
}
"""The budgets of the study."""

CONV_TERNARY = (*CONV, *TERNARY, "--observation_shift", "0", "--lr", "0.002")
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "PPO, MLP, float": ("ppo", SHORT),
    "PPO, MLP, ternary": ("ppo", (*SHORT, *TERNARY, "--observation_shift", "3", "--lr", "0.002")),
    "PPO, conv, float": ("ppo", (*SHORT, *CONV)),
    "PPO, conv, ternary": ("ppo", (*SHORT, *CONV_TERNARY)),
    "PPO, conv, float, 10 M steps": ("ppo", (*LONG, *CONV)),
    "PPO, conv, ternary, 10 M steps": ("ppo", (*LONG, *CONV_TERNARY)),
    "evolution, MLP, ternary": ("ternary_nes", ("--observation_shift", "2")),
    "evolution, conv, ternary": ("ternary_nes", (*CONV, "--observation_shift", "2")),
}


@dataclasses.dataclass(frozen=True)
class MinAtarConfig:
    """Run what is not there yet, and write the table."""

    games: tuple[str, ...] = tuple(GAMES)
    """Which games."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms; evolution plays Breakout and Freeway only, and 10 M steps are for Breakout."""
    num_seeds: int = 3
    """Seeds of an arm, from 0; those that have lines are not run again."""
    jobs: int = 2
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/minatar")
    """Where the runs are kept."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the table."""
    config = tyro.cli(
        MinAtarConfig, args=argv, prog="python experiments/minatar.py", use_underscores=True
    )
    check_all("game", config.games, GAMES)
    check_all("arm", config.arms, ARMS)
    if not config.table_only:
        wanted = lacking(read(RESULTS), config.games, config.arms, config.num_seeds)
        work = [each for each in wanted if budget(*each[:2]) is not None]
        side_by_side(lambda w: run(*w, config), work, config.jobs, "minatar")
    text = page_of(read(RESULTS))
    put(PAGE, "table", text)
    print(text)


def budget(game: str, arm: str) -> tuple[str, ...] | None:
    """Return the options of a game's budget, None if the arm does not play it."""
    if arm.endswith("10 M steps"):
        return () if game == "Breakout" else None
    return EVOLVED.get(game) if arm.startswith("evolution") else ()


def run(game: str, arm: str, first: int, config: MinAtarConfig) -> None:
    """Run the seeds of an arm on a game from one on, and append a line for each."""
    strategy, options = ARMS[arm]
    asked, count = (*options, *(budget(game, arm) or ())), config.num_seeds - first
    own = from_seed(arm, first)
    of_arm = Arm(GAMES[game], own, strategy, asked, config.runs_dir, count, first)
    of_arm.run("--num_eval_episodes", "32")
    parts = zip(of_arm.folders(), of_arm.rows(), of_arm.results(), of_arm.origins(), strict=True)
    lines = []
    for seed, (folder, metrics, result, record) in enumerate(parts, first):
        size = size_of(policy_file.load(folder / "policy.tvp").weights)
        key = {"task": game, "arm": arm, "seed": seed, "num_seeds": count}
        lines.append({**key, **outcome(metrics, result), **size, **origin(record)})
    append(RESULTS, *lines)


def page_of(rows: list[Row]) -> str:
    """Return the table as Markdown, a row for each arm of each game that was run."""
    head = "game | arm | return of the last policy | lowest seed | seeds | steps | bytes"
    cells = [
        row_of(game, arm, found)
        for game in GAMES
        for arm in ARMS
        if (found := [r for r in rows if (r["task"], r["arm"]) == (game, arm)])
    ]
    return table(head, cells) + "\n"


def row_of(game: str, arm: str, rows: list[Row]) -> tuple[str, ...]:
    """Return what an arm reached on a game."""
    last = values(rows, "return_last")
    mean = spread(mean_interval(last)) if len(last) > 2 else number(float(np.mean(last)))
    steps = int(np.mean([row["env_steps"] for row in rows]))
    sizes = (f"{len(rows)}", f"{steps:,}", f"{rows[0]['bytes']:,}")
    return game, arm, mean, number(last.min()), *sizes


if __name__ == "__main__":
    main()
