"""The most memory that one generation ever holds, seen from a process of its own.

`python -m ternevo.bench.fresh '{"env": ...}'` is that process. It prints one
line of JSON. Other cases of the same process would only add to its peak.
"""

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from ternevo.bench.cases import PeakMemory
from ternevo.bench.measure import CaseError, Contest, Contestant, in_bytes


def build(setting: PeakMemory) -> Contest:
    """Return a process with the whole population, and one with two members; each was run once."""
    two = dataclasses.replace(setting, population_size=2)
    ours, small = run_fresh(setting), run_fresh(two)
    contestants = [
        _contestant("ternevo", setting, ours),
        _contestant("two members", two, small),
    ]
    notes = {
        "weights": ours["weights"],
        "population_int8_bytes": setting.population_size * ours["weights"],
        "peak_bytes": ours["peak_bytes"],
        "over_two_members_bytes": ours["peak_bytes"] - small["peak_bytes"],
    }
    return Contest(contestants, notes)


def _contestant(name: str, setting: PeakMemory, found: dict[str, Any]) -> Contestant:
    print(f"  {name}: held {in_bytes(found['peak_bytes'])} at most", flush=True)
    return Contestant(
        name,
        lambda: None,
        env_steps=found["env_steps"],
        peak_bytes=found["peak_bytes"],
        skipped="its memory is measured, not its time: that would be mostly compiling",
    )


def run_fresh(setting: PeakMemory) -> dict[str, Any]:
    """Run one generation in a fresh process; return its "peak_bytes", "env_steps", "weights".

    Raises:
      CaseError: the process failed, or was killed for want of memory (status -9).
    """
    command = [sys.executable, "-m", "ternevo.bench.fresh", json.dumps(dataclasses.asdict(setting))]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        size = setting.population_size
        raise CaseError(f"a generation of {size:,} ended with status {result.returncode}")
    return json.loads(result.stdout.splitlines()[-1])


def peak_resident_bytes() -> int:
    """Return the most memory that this process ever held resident.

    Linux hands getrusage's number on to the programs that a process starts, so
    that a small child of a large parent seems large; VmHWM begins anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def one_generation(setting: PeakMemory) -> dict[str, Any]:
    """Run one generation of ternary_nes here."""
    import jax
    import jax.numpy as jnp

    from ternevo import envs
    from ternevo.arithmetic import ternary
    from ternevo.runs import sinks
    from ternevo.settings.policies import MLP
    from ternevo.settings.strategies.ternary_nes import TernaryNES
    from ternevo.training import loop

    env = envs.make(setting.env, setting.episode_length)
    policy = MLP(hidden_sizes=setting.hidden_sizes).build(env.obs, env.action)
    nes = TernaryNES(
        population_size=setting.population_size, population_chunk=setting.population_chunk
    )
    strategy = nes.build(env, policy, "ternary", 1)
    state = loop.start(jax.random.key(0), strategy)
    num_weights = ternary.num_weights(strategy.params(state.strategy).weights)
    state, metrics = loop.advance(strategy, state, jnp.asarray(1, jnp.int32))
    return {
        "env_steps": sinks.steps_of(metrics, 0),
        "weights": num_weights,
        "peak_bytes": peak_resident_bytes(),
    }


def main() -> None:
    """Run what the argument says."""
    values = json.loads(sys.argv[1])
    values["hidden_sizes"] = tuple(values["hidden_sizes"])
    from ternevo.machine import devices

    devices.use_cores()
    with devices.on_all_devices():
        found = one_generation(PeakMemory(**values))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
