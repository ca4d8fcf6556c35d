"""Kill runs at any moment, resume them, and compare what comes out with a run never stopped.

    python tests/training/kills.py --kills 1000 --seed 0

The process imports everything once and forks each run, before JAX starts any thread. A run is
killed by SIGKILL, either at its k-th operation on a file of its folder (counted by an audit hook,
so that saves and replacements are hit as often as training) or after some time (start-up,
compilation, the final evaluation). Some are killed twice in a row, some have a rival that starts at
the same moment. When a run has ended, its rows, policies, results and the names of all its files
must be those of the run that nobody stopped.
"""

import argparse
import collections
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax

from ternevo import run
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.off_policy import ActorCritic, OffPolicy
from ternevo.training import session  # noqa: F401

OPTIONS = [
    *("--episode_length", "6", "--resume"),
    *("--eval_every", "2", "--num_eval_episodes", "1", "--num_final_episodes", "1"),
    *("--checkpoint_every", "2", "--num_generations", "8", "--chunk_size", "1"),
    *("--num_devices", "1", "--name", "x", "--render_every", "4"),
]
POPULATION = ("--population_size", "4")
REPLAY = (
    *("--num_envs", "2", "--train_every", "2", "--updates_per_step", "0.5", "--batch_size", "4"),
    *("--steps_per_generation", "8", "--learning_starts", "8", "--buffer_size", "32"),
    *("--critic_hidden_sizes", "(4,)"),
)
OFF_POLICY = [name for name, kind in STRATEGIES.items() if issubclass(kind, OffPolicy)]
OF_STRATEGY = {
    "binary_nes": (*POPULATION, "--weights", "binary"),
    "ppo": ("--num_envs", "2", "--num_steps", "4", "--num_minibatches", "2"),
    **dict.fromkeys(OFF_POLICY, REPLAY),
    "latent": (*POPULATION, "--algorithm", "Open_ES"),
    "evosax": (*POPULATION, "--algorithm", "SimpleGA"),
    "map_elites": (*POPULATION, "--grid", "(4,4)"),
    "poet": (
        *(*POPULATION, "--niches", "2", "--retired", "1", "--children", "1"),
        *("--score_episodes", "1", "--transfer_every", "2", "--reproduce_every", "2"),
        *("--reproduce_return", "-100", "--least_return", "-200"),
    ),
    "erl": (
        *("--population_size", "3", "--updates_per_step", "0.1", "--batch_size", "4"),
        *("--learning_starts", "8", "--buffer_size", "64", "--critic_hidden_sizes", "(4,)"),
    ),
    "neat": (*POPULATION, "--policy", "graph", "--max_hidden", "2"),
}


WORLDS = {"map_elites": "control/maze", "poet": "control/hop_runner"}


def scenario(strategy: str, *further: str) -> tuple[str, ...]:
    """Return the options of a strategy, on a probe with actions that it takes."""
    is_pushed = strategy == "erl" or issubclass(STRATEGIES[strategy], ActorCritic)
    env = "probe/double_integrator" if is_pushed else "probe/corridor"
    env = WORLDS.get(strategy, env)
    own = OF_STRATEGY.get(strategy, POPULATION)
    own = own if "--policy" in own else (*own, "--hidden_sizes", "(2,)")
    return ("--env", env, "--strategy", strategy, *own, *further)


SCENARIOS = {name: scenario(name) for name in STRATEGIES}
SCENARIOS["two seeds"] = scenario("ternary_nes", "--num_seeds", "2")
SCENARIOS["two buffers"] = scenario("dqn", "--num_seeds", "2")
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "fcntl.flock", "os.chmod"}


@dataclasses.dataclass
class Counts:
    """What has happened so far."""

    kills: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    refused: int = 0
    finished: int = 0

    def __str__(self) -> str:
        """Return it in a line."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kinds}), {self.refused} rivals refused, "
            f"{self.finished} runs finished and compared"
        )


def started(root: Path, options: tuple[str, ...], hook: Callable | None = None) -> int:
    """Fork a run in `root`; return its process."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        log = os.open(root.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if hook:
            sys.addaudithook(hook)
        run.main([*OPTIONS, *options, "--runs_dir", str(root)])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(status)


def ended(child: int) -> int:
    """Wait for a process; return its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counting(root: Path, at: int, counted: list[int]) -> Callable:
    """Return an audit hook that kills its process at operation `at` on files below `root`."""

    def hook(event: str, arguments: tuple) -> None:
        is_ours = event == "fcntl.flock" or str(arguments[:1]).find(str(root)) >= 0
        if event in EVENTS and is_ours:
            counted[0] += 1
            if counted[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def measured(root: Path, options: tuple[str, ...]) -> tuple[int, float]:
    """Run without a stop; return how many operations and seconds it took."""
    reading, writing = os.pipe()
    counted = [0]
    begin = time.monotonic()
    real = os._exit

    def telling(status: int) -> None:
        os.write(writing, str(counted[0]).encode())
        real(status)

    os._exit = telling  # in the fork only
    child = started(root, options, counting(root, -1, counted))
    os._exit = real
    assert ended(child) == 0, root.with_suffix(".log").read_text()
    os.close(writing)
    return int(os.read(reading, 20)), time.monotonic() - begin


def outcome(root: Path) -> dict:
    """Return what a finished run left: rows and results without times, policies, names of files."""
    (folder,) = root.glob("*/*/*/x")
    found: dict = {"files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))}
    found["files"] = [name for name in found["files"] if "/ocdbt" not in name and "/d/" not in name]
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".tvp":
            found[name] = path.read_bytes()
        elif path.name == "metrics.jsonl":
            rows = map(json.loads, path.read_text().splitlines())
            found[name] = [{**row, "wall_time": 0} for row in rows]
        elif path.name == "result.json":
            found[name] = {**json.loads(path.read_text()), "wall_time": 0}
    return found


class Victim:
    """The runs of one scenario, killed and resumed until they end, again and again."""

    def __init__(self, options: tuple[str, ...], folder: Path, chance: random.Random):
        """Run once without a stop, to compare with."""
        self.options, self.folder, self.chance = options, folder, chance
        self.operations, self.seconds = measured(folder / "whole", options)
        self.expected = outcome(folder / "whole")
        self.number = 0

    @property
    def root(self) -> Path:
        """Where the present run is."""
        return self.folder / f"run{self.number}"

    def attack(self, counts: Counts) -> None:
        """Start or resume the run and try to kill it; compare where it ended before that."""
        way = self.chance.choice(["operation"] * 5 + ["time"] * 2 + ["rivals"])
        statuses = getattr(self, f"_{way}")()
        counts.kills[way] += statuses.count(-signal.SIGKILL)
        counts.refused += statuses.count(2)
        self.check_log(statuses)
        if 0 in statuses:
            self.compare(counts)

    def finish(self, counts: Counts) -> None:
        """Let the present run end, and compare."""
        if not self.root.exists():
            return
        status = ended(started(self.root, self.options))
        self.check_log([status])
        assert status == 0, (self.root, status)
        self.compare(counts)

    def compare(self, counts: Counts) -> None:
        """Compare a run that has ended with the one that nobody stopped, and begin another."""
        found = outcome(self.root)
        assert found.keys() == self.expected.keys(), self.root
        for name, expected in self.expected.items():
            assert found[name] == expected, (self.root, name, found[name], expected)
        shutil.rmtree(self.root)
        counts.finished += 1
        self.number += 1

    def check_log(self, statuses: list[int]) -> None:
        """Refuse any end but success, a kill, and a line for a rival."""
        log = self.root.with_suffix(".log").read_text()
        assert set(statuses) <= {0, 2, -signal.SIGKILL} and "Traceback" not in log, (statuses, log)
        errors = [line for line in log.splitlines() if line.startswith("error:")]
        assert all("is in use by" in line for line in errors), log
        assert statuses.count(2) <= len(errors), log

    def _operation(self) -> list[int]:
        # Early ones more often: a resumed run has fewer, and those are of any phase.
        at = 1 + int(self.operations * self.chance.random() ** 2)
        hook = counting(self.root, at, [0])
        return [ended(started(self.root, self.options, hook))]

    def _time(self) -> list[int]:
        child = started(self.root, self.options)
        time.sleep(self.chance.uniform(0, self.seconds))
        os.kill(child, signal.SIGKILL)
        return [ended(child)]

    def _rivals(self) -> list[int]:
        """Start two at once; kill one of them, or the other one, or both."""
        children = [started(self.root, self.options) for _ in range(2)]
        time.sleep(self.chance.uniform(0, self.seconds))
        for child in self.chance.sample(children, self.chance.randint(1, 2)):
            os.kill(child, signal.SIGKILL)
        return [ended(child) for child in children]


def main() -> None:
    """Kill, resume, compare; print a line now and then, and at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    arguments = parser.parse_args()
    chance, counts = random.Random(arguments.seed), Counts()
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", str(Path(folder) / "cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for number, name in enumerate(arguments.scenarios, 1):
            (Path(folder) / str(number)).mkdir()
            victim = Victim(SCENARIOS[name], Path(folder) / str(number), chance)
            while counts.kills.total() < arguments.kills * number / len(arguments.scenarios):
                victim.attack(counts)
            victim.finish(counts)
            print(f"{name}: {counts}", flush=True)
    print(f"nothing lost, nothing left over: {counts}")


if __name__ == "__main__":
    main()
