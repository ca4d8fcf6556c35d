"""`python -m ternevo.bench.one_generation '{"env": ...}'`: run one, print one line of JSON.

The line contains the peak memory of the process; see `ternevo.bench.fresh`.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ternevo import envs
from ternevo.arithmetic import ternary
from ternevo.bench.cases import PeakMemory
from ternevo.machine import devices
from ternevo.runs import sinks
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.training import loop


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process.

    On Linux, child processes inherit getrusage's number, so
    a small child of a large parent seems large; VmHWM starts from zero.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def one_generation(setting: PeakMemory) -> dict[str, Any]:
    """Run one generation of ternary_nes in this process."""
    env = envs.make(setting.env, setting.episode_length)
    policy = MLP(hidden_sizes=setting.hidden_sizes).build(env.obs, env.action)
    nes = TernaryNES(
        population_size=setting.population_size,
        num_episodes=1,
        population_chunk=setting.population_chunk,
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
    """Run the generation described by the argument."""
    values = json.loads(sys.argv[1])
    values["hidden_sizes"] = tuple(values["hidden_sizes"])
    devices.use_cores()
    with devices.on_all_devices():
        found = one_generation(PeakMemory(**values))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
