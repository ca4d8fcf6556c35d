"""Fingerprints of short runs, to show that a rebuilt program is the same program.

    python -m tests.fingerprints record before.json     # in the old checkout
    python -m tests.fingerprints record after.json      # in the new one, on the same machine
    python -m tests.fingerprints compare before.json after.json

Every strategy of the table runs for a few generations on CartPole and on a brax task, on one
and on two CPU devices. A fingerprint is the SHA-256 of `policy.tvp`, and that of the rows of
`metrics.jsonl` without the clock's columns. XLA compiles at its default level of optimisation.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = ("gymnax/CartPole-v1", "brax/inverted_pendulum")
EVOLUTION = "--population_size=16 --num_episodes=2"
GRADIENTS = "--num_envs=16 --num_steps=32 --num_minibatches=4"
REPLAY = "--num_envs=4 --train_every=4 --updates_per_step=0.5 --steps_per_generation=320"
NEEDS = {"dqn": ENVS[0], "td3": ENVS[1], "ddpg": ENVS[1], "sac": ENVS[1], "erl": ENVS[1]}
"""The only one of the two whose actions a learner takes."""
COMMON = (
    "--episode_length=60 --num_generations=4 --eval_every=2 --num_eval_episodes=4 "
    "--num_final_episodes=4 --hidden_sizes=(16,16) --render=false --seed=3"
)
CLOCK = ("seconds", "per_second", "time")


def options_of(strategy: str) -> list[str]:
    """Return the options of a short run of a strategy."""
    replay = {**dict.fromkeys(NEEDS, REPLAY), "erl": "--population_size=3"}
    own = {"ppo": GRADIENTS, **replay}.get(strategy, EVOLUTION)
    kind = "--weights=binary" if strategy == "binary_nes" else "--weights=ternary"
    return [kind, *own.split(), *COMMON.split()]


def fingerprint(strategy: str, env: str, num_devices: int, folder: Path) -> dict[str, str]:
    """Run one strategy on one environment in this process; return its hashes."""
    from ternevo import run

    name = f"{num_devices}-devices"
    run.main(
        [
            *(f"--strategy={strategy}", f"--env={env}", f"--num_devices={num_devices}"),
            *(f"--runs_dir={folder}", f"--name={name}", *options_of(strategy)),
        ]
    )
    (policy,) = folder.glob(f"**/{strategy}/{name}/policy.tvp")
    rows = [json.loads(line) for line in (policy.parent / "metrics.jsonl").open()]
    kept = [
        {key: value for key, value in row.items() if not any(word in key for word in CLOCK)}
        for row in rows
    ]
    text = json.dumps(kept, sort_keys=True)
    return {
        "policy.tvp": hashlib.sha256(policy.read_bytes()).hexdigest(),
        "metrics": hashlib.sha256(text.encode()).hexdigest(),
        "columns": " ".join(sorted(kept[-1])),
    }


def record_on(num_devices: int, path: Path) -> None:
    """Write the fingerprints of all strategies on so many devices."""
    import jax

    from ternevo.settings.strategies import STRATEGIES

    found = {}
    for env in ENVS:
        for strategy in [name for name in STRATEGIES if NEEDS.get(name, env) == env]:
            with tempfile.TemporaryDirectory() as folder:
                mine = fingerprint(strategy, env, num_devices, Path(folder) / env.split("/")[1])
            found[f"{strategy} {env} {num_devices}"] = mine
            jax.clear_caches()  # a process has maps of memory for so many programs only
    path.write_text(json.dumps(found, indent=1))


def record(path: Path) -> None:
    """Write the fingerprints on one device and on two, each in a process of its own."""
    found = {}
    for num_devices in (1, 2):
        part = path.with_suffix(f".{num_devices}.json")
        command = [sys.executable, __file__, "record_on", str(num_devices), str(part)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
        found |= json.loads(part.read_text())
        part.unlink()
    path.write_text(json.dumps(found, indent=1))


def compare(before: Path, after: Path) -> int:
    """Print a table of what is equal; return the number of rows that are not."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    different = 0
    for name in sorted(old | new):
        pair = old.get(name, {}), new.get(name, {})
        words = [
            f"{part}: {'equal' if pair[0].get(part) == pair[1].get(part) else 'DIFFERENT'}"
            for part in ("policy.tvp", "metrics")
        ]
        different += any("DIFFERENT" in word for word in words)
        print(f"{name:55} {'  '.join(words)}")
    print(f"{len(old | new)} runs, {different} different")
    return different


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(Path(sys.argv[2]))
    elif sys.argv[1] == "record_on":
        record_on(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        raise SystemExit(compare(Path(sys.argv[2]), Path(sys.argv[3])) > 0)
