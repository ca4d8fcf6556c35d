"""POET on the hop-runner, and its hardest solved environment without it: results/poet.jsonl.

    python experiments/poet.py --seeds 3

For each seed three arms, with ternary weights and `ternary_nes`. "POET" runs `GENERATIONS`
generations. "direct" searches from scratch in the hardest environment that it solved, and
"curriculum" on the straight way to it from the first environment in five equal parts. Both take as
many generations as POET, and so the evaluations of one niche from the first to the last generation.
A score is the mean of `TABLES` times `score_episodes` fresh episodes of what there is at the end.
The hardest environment is chosen by such scores; then all arms, POET too, are scored again on other
episodes, so that no arm is chosen and judged by the same ones.

All arms share one compiled program: a control is POET with one niche that has no children. The file
says what has been done, and is not done again.
"""

import argparse
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from claims import RESULTS

from ternevo import envs
from ternevo.envs import hop_runner
from ternevo.runs import provenance
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Strategy

FILE = RESULTS / "poet.jsonl"
GENERATIONS, STAGES, TABLES, SOLVED = 2000, 5, 4, 200.0
SETTINGS = STRATEGIES["poet"].of(
    **{"population_size": 32, "num_episodes": 2, "niches": 4, "retired": 4, "children": 4},
    **{"transfer_every": 15, "reproduce_every": 15, "task_step": 1.5},
)
CHOOSING, JUDGING = 10_000, 20_000
"""The first keys of the episodes that choose the hardest environment, and of those that judge."""
NEVER = 1e9
"""A score that nobody reaches: niches that are solved at it have no children."""


def main() -> None:
    """Run what is not in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    env = envs.make("control/hop_runner")
    policy = MLP((16,)).build(env.obs, env.action)
    strategy = SETTINGS.build(env, policy, "ternary", GENERATIONS)
    step = jax.jit(strategy.step)
    for seed in range(seeds):
        found = run(strategy, step, "POET", seed, {})
        for arm in ("direct", "curriculum"):
            if found["hardest"]:
                run(strategy, step, arm, seed, found["hardest"])


def run(
    strategy: Strategy, step: Any, arm: str, seed: int, hardest: dict[str, Any]
) -> dict[str, Any]:
    """Run a seed of an arm, unless it is in the file; return its row."""
    for row in rows():
        if (row["arm"], row["seed"]) == (arm, seed):
            return row
    begin = time.perf_counter()
    key = jax.random.key(seed)
    (numbers,) = strategy.numbers()
    if arm != "POET":
        numbers = {**numbers, "reproduce_return": NEVER}
    state, steps = strategy.init(key, numbers), 0
    for generation in range(GENERATIONS):
        if arm != "POET":
            state = placed(state, task_at(arm, generation, hardest["task"]))
        state, metrics = step(jax.random.fold_in(key, generation), state)
        steps += int(metrics["episode/steps"])
        if generation % 150 == 149:
            shown = {name: float(x) for name, x in metrics.items() if name.startswith("poet/")}
            print(arm, seed, generation + 1, shown, flush=True)
    first = tested(step, state, CHOOSING + seed)
    niches = tested(step, state, JUDGING + seed)
    both = [{**niche, "chosen_by": x["score"]} for niche, x in zip(niches, first, strict=True)]
    solved = [niche for niche in both if niche["chosen_by"] >= SOLVED]
    row = {
        **{"system": "POET", "task": "control/hop_runner", "arm": arm, "seed": seed},
        **{"generations": GENERATIONS, "steps": steps, "niches": niches},
        "hardest": max(solved, key=lambda niche: niche["hardness"], default=None),
        "metrics": {name: float(x) for name, x in metrics.items() if name.startswith("poet/")},
        "seconds": round(time.perf_counter() - begin, 1),
        **{"command": "python experiments/poet.py", "commit": provenance.describe()["commit"]},
    }
    with FILE.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    return row


def rows() -> list[dict[str, Any]]:
    """Return the rows so far."""
    return [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []


def task_at(arm: str, generation: int, target: list[float]) -> jax.Array:
    """Return the task of a control: the target, or a part of the way to it."""
    start, end = np.array(hop_runner.SPACE.start), np.array(target)
    stage = STAGES if arm == "direct" else 1 + generation * STAGES // GENERATIONS
    return jnp.asarray(start + (end - start) * stage / STAGES, jnp.float32)


def placed(state: Any, task: jax.Array) -> Any:
    """Return the state whose first niche has a task; scores of the one before are no matter."""
    poet = state.strategy
    niches = poet.niches._replace(task=poet.niches.task.at[0].set(task))
    return state._replace(strategy=poet._replace(niches=niches))


def tested(step: Any, state: Any, seed: int) -> list[dict[str, Any]]:
    """Return the active niches with fresh scores: tables of the same state, by keys of a seed."""
    due = jnp.int32(SETTINGS.transfer_every - 1)
    nobody = state.strategy.guests._replace(is_there=jnp.zeros(SETTINGS.niches, bool))
    still = state._replace(strategy=state.strategy._replace(generation=due, guests=nobody))
    still = still._replace(numbers=still.numbers | {"reproduce_return": jnp.float32(NEVER)})
    found = []
    for i in range(TABLES):
        key = jax.random.fold_in(jax.random.key(seed), i)
        found.append(np.asarray(step(key, still)[0].strategy.niches.scores[:, 0]))
    niches, scores = state.strategy.niches, np.mean(found, axis=0)
    high = np.array(hop_runner.SPACE.high)
    return [
        {
            "task": [round(float(x), 4) for x in task],
            "hardness": float(np.mean(np.asarray(task) / high)),
            "score": float(score),
            "number": int(number),
        }
        for task, score, number, is_there in zip(
            *(niches.task, scores, niches.number, niches.is_active), strict=True
        )
        if is_there
    ]


if __name__ == "__main__":
    main()
