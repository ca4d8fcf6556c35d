"""Folders as runs leave them, without training."""

import json

from ternevo.runs.run_folder import RunFolder

STRATEGY = {"lr": 0.1, "population_size": 8}


def write_run(
    root,
    name="seed0",
    seed=0,
    returns=(1.0, 2.0),
    final=None,
    total=2,
    env="probe/corridor",
    strategy="ternary_nes",
    settings=STRATEGY,
    joint=None,
):
    """Write what a run leaves: a row of 10 steps and half a second for each return."""
    folder = RunFolder(root / env / strategy / name)
    folder.path.mkdir(parents=True)
    common = {"strategy_name": strategy, "num_generations": total, "num_seeds": 1, "seed": seed}
    record = {
        "env": env,
        "settings": {**common, "name": name, "strategy": settings, "policy": {"weights": "binary"}},
    }
    folder.config.write_text(json.dumps(record | ({"joint": joint} if joint else {})))
    rows = [
        {"generation": i, "env_steps": 10 * i, "wall_time": i / 2, "eval/return": value}
        for i, value in enumerate(returns, 1)
    ]
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.best_policy.write_bytes(b"x" * 1234)
    if final is not None:
        result = {
            "generation": len(rows),
            "policy": {"return_mean": 0.0},
            "best_policy": {"return_mean": final},
        }
        folder.result.write_text(json.dumps(result))
    return folder
