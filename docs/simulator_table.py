"""Print the table of environments of docs/how-to/simulators.md, with steps per second.

    python docs/simulator_table.py

Steps are those of 16 worlds with random actions, in one process that acts, observes and rewards.
Time is that of the CPU, so that other work on the machine counts little.
"""

import time

from ternevo import installation
from ternevo.bench.outside_alone import step_worlds
from ternevo.host.suites import suite

SECONDS = 1.5
"""How long to measure an environment."""
WORLDS = 16
LICENCES = {
    "mujoco": "Apache-2.0, MIT",
    "box2d": "zlib, MIT",
    "atari": "GPL-2.0",
    "envpool": "Apache-2.0",
}
"""Of the simulator, and of Gymnasium, which has the tasks."""
GAMES = ("pong", "frostbite", "venture")
"""What is measured of Atari; the emulator's speed differs little."""


def speed(suite_name: str, name: str) -> float:
    """Return steps per second of CPU time."""
    step_worlds(suite_name, name, WORLDS, 1, 1000, 0)  # opens the worlds
    steps, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < SECONDS:
        steps += step_worlds(suite_name, name, WORLDS, 25, 1000, steps)
    return steps / spent


def main() -> None:
    """Print one row for each environment."""
    print("| `--env` | observation | actions | time limit | licence | steps/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for suite_name, licence in LICENCES.items():
        if not installation.has(suite_name):
            continue
        for name in GAMES if suite_name == "atari" else suite(suite_name).names():
            spec = suite(suite_name).spec(name)
            seen = "x".join(map(str, spec.obs_shape))
            low, high = (f"{min(side):g}" if side else "" for side in (spec.low, spec.high))
            within = f", {low} to {high}" if spec.low else ""
            cells = (
                *(f"`{spec.id}`", f"{seen} {spec.obs_kind}"),
                f"{spec.action_size} {spec.action_kind}{within}",
                *(f"{spec.episode_length:,}", licence, f"{speed(suite_name, name):,.0f}"),
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
