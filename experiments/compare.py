"""Evolution and PPO on the same tasks, networks and seeds: one table, from one command.

    python experiments/compare.py

runs every arm of every task (an hour or two on two cores; what is done already is not done
again), and prints the table as Markdown, also into <runs_dir>/compare.md. Each arm is an ordinary
`python -m ternevo.run` of a page in this folder, and its command is in its config.json.

The arms are evolution with ternary weights, its float twin (SNES), PPO with ternary weights
by straight-through gradients, PPO with float weights, and that one's policy
ternarised after training. All get the same hidden layers. PPO has the settings of each page.
Evolution has the policy of the page, such as its shifts, and the same search on all tasks: the
defaults of `ternary_nes`, with one episode for each member, as the budgets are short. It goes on
until it has had as many environment steps as PPO; the table has the last evaluation within them.
"""

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path

import tyro
from arms import ROOT, Arm, side_by_side

from ternevo.files import replace_text
from ternevo.policies import policy_file
from ternevo.runs.sinks import Row
from ternevo.settings.export import ExportConfig
from ternevo.training.ternarizing import export_ternarized, packed_size


@dataclasses.dataclass(frozen=True)
class Task:
    """A page, a budget, and what counts as solved or good."""

    page: str
    threshold: float
    ppo_generations: int
    evolution_generations: int
    options: tuple[str, ...] = ()


TASKS = {
    "CartPole-v1": Task("gymnax_cartpole", 475, 586, 20),
    "Acrobot-v1": Task("gymnax_acrobot", -100, 977, 30),
    "Pendulum-v1": Task("gymnax_pendulum", -200, 488, 10),
    "MountainCarContinuous-v0": Task("gymnax_mountaincar_continuous", 90, 489, 20),
    "Breakout-MinAtar": Task("gymnax_breakout_minatar", 15, 245, 100, ("--observation_shift", "3")),
    "hopper@spring": Task("brax_hopper", 850, 245, 40, ("--episode_length", "1000")),
}
TERNARY = ("--weights", "ternary", "--activation", "int8")
FLOAT = ("--weights", "float", "--activation", "tanh")
SEARCH = (
    *("--population_size", "128", "--num_episodes", "1", "--sigma", "0.2", "--lr", "1.2"),
    *("--eta", "0.2", "--scale_sigma", "0.2", "--scale_lr", "0.1", "--averaging", "0.8"),
    *("--common_random_numbers", "all"),
    # Nothing that is stretched over the run, so that it can go on.
    *("--lr_schedule", "constant", "--init_horizon", "1.0"),
)
"""The defaults of `--strategy ternary_nes`, whatever a page says, but for the episodes."""
ARMS = {
    "evolution, ternary": ("ternary_nes", (*SEARCH, *TERNARY)),
    "evolution, float": ("ternary_nes", (*SEARCH, *FLOAT)),
    "PPO, ternary": ("ppo", TERNARY),
    "PPO, float": ("ppo", FLOAT),
}
EVALUATIONS = 20
"""About how often a policy is looked at in a run; evolution is told how many generations to begin
with, and may go on."""


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Run the comparison of evolution and PPO, and print its table."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Which tasks."""
    num_seeds: int = 5
    """Seeds of each arm."""
    jobs: int = 2
    """Runs side by side, each on one device."""
    runs_dir: Path = Path("runs/compare_steps")
    """Where the runs are kept, from the root of the project."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One arm on one task, and how long it is to go on."""

    task: Task
    name: str
    config: CompareConfig

    @property
    def is_evolution(self) -> bool:
        """Whether it is evolution, which runs as long as it is told to."""
        return self.name.startswith("evolution")

    @property
    def arm(self) -> Arm:
        """The run, and what its seeds left behind."""
        strategy, options = ARMS[self.name]
        options = ("--hidden_sizes", "(64, 64)", *self.task.options, *options)
        config = self.config
        return Arm(self.task.page, self.name, strategy, options, config.runs_dir, config.num_seeds)

    def rows(self) -> list[list[Row]]:
        """Return the metrics of each seed."""
        return self.arm.rows()

    def run(self, num_generations: int) -> None:
        """Run it up to so many generations, from where it is."""
        total = self.task.evolution_generations if self.is_evolution else num_generations
        self.arm.run(
            *("--num_generations", str(num_generations), "--checkpoint_every", str(total)),
            *("--eval_every", str(max(1, total // EVALUATIONS)), "--num_eval_episodes", "64"),
        )


def main() -> None:
    """Run what is not there yet, and print the table."""
    config = tyro.cli(CompareConfig, prog="python experiments/compare.py", use_underscores=True)
    arms = [arm for name in config.tasks for arm in arms_of(name, config)]
    side_by_side(run_ppo, arms, config.jobs, "PPO")
    side_by_side(run_evolution, arms, config.jobs, "evolution")  # as many steps as PPO took
    text = table(config)
    replace_text(ROOT / config.runs_dir / "compare.md", text)
    print(text)


def arms_of(task: str, config: CompareConfig) -> list[Contender]:
    """Return the arms of a task by name."""
    return [Contender(TASKS[task], name, config) for name in ARMS]


def run_ppo(arm: Contender) -> None:
    """Run an arm of PPO, if it is one and is not done."""
    if not arm.is_evolution and not all_rows(arm, lambda row: reached(row, arm)):
        arm.run(arm.task.ppo_generations)


def run_evolution(arm: Contender) -> None:
    """Run an arm of evolution until it has had PPO's steps."""
    if not arm.is_evolution:
        return
    steps = budget(arm)
    generations = arm.task.evolution_generations
    while not all_rows(arm, lambda row: row["env_steps"] >= steps):
        arm.run(generations)
        generations *= 2


def all_rows(arm: Contender, is_done: Callable[[Row], bool]) -> bool:
    """Return whether the last row of every seed says that it is done."""
    rows = arm.rows()
    return len(rows) == arm.config.num_seeds and all(bool(r) and is_done(r[-1]) for r in rows)


def reached(row: Row, arm: Contender) -> bool:
    """Return whether PPO is through."""
    return row["generation"] >= arm.task.ppo_generations


def budget(arm: Contender) -> int:
    """Return the steps of PPO on this task."""
    return dataclasses.replace(arm, name="PPO, float").rows()[0][-1]["env_steps"]


# ------------------------------------------------------------------------------------ the table


def table(config: CompareConfig) -> str:
    """Return the table of all tasks as Markdown."""
    lines = [
        "| task | arm | return | steps to threshold | bytes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in config.tasks:
        steps = budget(arms_of(name, config)[0])
        head = f"{name}, {steps:,} steps, threshold {TASKS[name].threshold:g}"
        for arm in arms_of(name, config):
            lines.append(f"| {head} | " + " | ".join(row_of(arm, steps)) + " |")
            head = ""
        lines.append("| | " + " | ".join(ternarised(arms_of(name, config)[-1])) + " |")
    return "\n".join(lines) + "\n"


def row_of(arm: Contender, steps: int) -> list[str]:
    """Return the cells of an arm: each return is of the last evaluation within the budget."""
    rows = arm.rows()
    policy = policy_file.load(arm.arm.folders()[0] / "policy.tvp")
    return [
        arm.name,
        in_words([last_return(r, steps) for r in rows]),
        steps_to_threshold(rows, arm.task.threshold, steps),
        f"{packed_size(policy.weights):,}",
    ]


def last_return(rows: list[Row], steps: int) -> float | None:
    """Return the newest evaluation within so many steps."""
    return next(
        (
            row["eval/return"]
            for row in reversed(rows)
            if "eval/return" in row and row["env_steps"] <= steps
        ),
        None,
    )


def steps_to_threshold(rows: list[list[Row]], threshold: float, steps: int) -> str:
    """Return the median over the seeds that got there within the steps, and how many did."""
    first = [
        next((row["env_steps"] for row in r if row.get("eval/return", -1e9) >= threshold), None)
        for r in rows
    ]
    there = [s for s in first if s is not None and s <= steps]
    return f"{statistics.median(there):,.0f} ({len(there)} of {len(rows)})" if there else "none"


def ternarised(arm: Contender) -> list[str]:
    """Return the cells of float PPO's last policies, ternarised after training."""
    exported = [
        export_ternarized(ExportConfig(run=folder, ternarize=True, which="last"))
        for folder in arm.arm.folders()
    ]
    size = packed_size(policy_file.load(exported[0].path).weights)
    returns = [float(policy.returns.mean()) for policy in exported]
    return ["PPO, float, ternarised after training", in_words(returns), "", f"{size:,}"]


def in_words(returns: list[float | None]) -> str:
    """Return mean, standard deviation over seeds, and range."""
    there = [r for r in returns if r is not None]
    if not there:
        return "no evaluation yet"
    mean, std = statistics.mean(there), statistics.pstdev(there)
    return f"{mean:.1f} ± {std:.1f} ({min(there):.0f} to {max(there):.0f})"


if __name__ == "__main__":
    main()
