"""Train the policies that come with the package, and record episodes for their web pages.

    python experiments/gallery.py

runs some seeds of each recipe, takes the seed whose policy had the best evaluation during
training, and writes ternevo/hub/NAME.tvp, its record in ternevo/hub/policies.json and, for a task
that a web page cannot compute (brax, MinAtar), docs/gallery/NAME.json. The return in the record is
that of the final evaluation, whose episodes took no part in the choice. `--names hopper` does so
for one of them only; runs that are done are not run again.
"""

import base64
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from arms import ROOT, Arm, check_all

import ternevo
from ternevo import envs
from ternevo.deploy import html, tvp
from ternevo.deploy.runtime import Policy
from ternevo.envs import brax
from ternevo.files import replace_text, replacing
from ternevo.hub import catalogue
from ternevo.policies import policy_file
from ternevo.runs.sinks import read_jsonl

EPISODES = ROOT / "docs" / "gallery"
TERNARY_PPO = ("--weights", "ternary", "--activation", "int8")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A page, a strategy and options: what to train, and how many seeds of it."""

    page: str
    does: str
    num_seeds: int
    strategy: str = "ternary_nes"
    options: tuple[str, ...] = ()


RECIPES = {
    "CartPole-v1": Recipe("gymnax_cartpole", "balance this pole", 5),
    "Pendulum-v1": Recipe("gymnax_pendulum", "swing this pendulum up", 10),
    "Acrobot-v1": Recipe("gymnax_acrobot", "swing this arm up", 5),
    "MountainCar-v0": Recipe(
        *("gymnax_mountaincar", "drive this car up the hill", 10, "ternary_nes"),
        ("--observation_shift", "0", "--num_generations", "60"),
    ),
    "MountainCarContinuous-v0": Recipe(
        *("gymnax_mountaincar_continuous", "drive this car up the hill", 10, "ternary_nes"),
        ("--observation_shift", "0", "--num_generations", "40"),
    ),
    "Breakout-MinAtar": Recipe(
        *("gymnax_breakout_minatar", "play Breakout", 1, "ppo"),
        (*TERNARY_PPO, "--observation_shift", "3", "--lr", "0.002"),
    ),
    "Freeway-MinAtar": Recipe(
        *("gymnax_freeway_minatar", "play Freeway", 1, "ppo"),
        # 5.8 kB: with two layers of 64 it is 10, and MinAtar's network takes 27.
        (*TERNARY_PPO, "--observation_shift", "3", "--lr", "0.002", "--hidden_sizes", "(16,)"),
    ),
    "inverted_double_pendulum": Recipe(
        "brax_inverted_double_pendulum", "balance two poles", 1, "ppo", TERNARY_PPO
    ),
    "reacher": Recipe("brax_reacher", "reach for the target", 1, "ppo", TERNARY_PPO),
    "hopper": Recipe("brax_hopper", "leap", 3),
    "walker2d": Recipe("brax_walker2d", "stand on two legs", 1, "ppo", TERNARY_PPO),
    "halfcheetah": Recipe("brax_halfcheetah", "run", 1, "ppo", TERNARY_PPO),
    "ant": Recipe("brax_ant", "walk on four legs", 1, "ppo", TERNARY_PPO),
}
"""In the order of the gallery. All files take at most 30 kB."""


@dataclasses.dataclass(frozen=True)
class GalleryConfig:
    """Train policies of the hub, and write their files and records."""

    names: tuple[str, ...] = tuple(RECIPES)
    """Which of them."""
    runs_dir: Path = Path("runs/gallery")
    """Where the runs are kept, from the root of the project."""
    label_only: bool = False
    """Train nothing: write names and returns into the files that are there."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train them one after another."""
    config = tyro.cli(
        GalleryConfig, args=argv, prog="python experiments/gallery.py", use_underscores=True
    )
    check_all("policy", config.names, RECIPES)
    if config.label_only:
        for name in set(config.names) & set(catalogue.entries()):
            label(catalogue.entries()[name])
        return
    for name in config.names:
        recipe = RECIPES[name]
        options = (*recipe.options, "--num_eval_episodes", "64")
        arm = Arm(
            *(recipe.page, "gallery", recipe.strategy, options, config.runs_dir, recipe.num_seeds)
        )
        arm.run()
        entry = publish(name, recipe, arm)
        episode = record(entry)
        if episode is not None:
            replace_text(EPISODES / f"{name}.json", json.dumps(episode) + "\n")
        print(f"{name:<28}{entry.bytes:>8,} bytes  return {entry.returns.mean:.1f}", flush=True)


# ---------------------------------------------------------------------------------- the policies


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What a seed would ship: the file, its last evaluation during training, the final one."""

    folder: Path
    policy: Path
    evaluation: float
    final: dict[str, Any]


def candidate(folder: Path) -> Candidate:
    """Return the last policy of a seed.

    Its best one is settled by the final episodes, whose return would then be no fresh one.
    """
    result = json.loads((folder / "result.json").read_text())
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "eval/return" in row]
    return Candidate(folder, folder / "policy.tvp", rows[-1]["eval/return"], result["policy"])


def publish(name: str, recipe: Recipe, arm: Arm) -> catalogue.Entry:
    """Copy the policy of the best seed into the package, and write its record."""
    chosen = max(map(candidate, arm.folders()), key=lambda each: each.evaluation)
    target = catalogue.FOLDER / f"{name}.tvp"
    shutil.copyfile(chosen.policy, target)
    entry = entry_of(name, recipe, chosen, ternevo.load(target))
    there = {} if not catalogue.RECORDS.exists() else dict(catalogue.entries())
    there[name] = entry
    ordered = [there[each] for each in RECIPES if each in there]
    records = [{**each._asdict(), "returns": each.returns._asdict()} for each in ordered]
    replace_text(catalogue.RECORDS, json.dumps(records, indent=1) + "\n")
    catalogue.entries.cache_clear()
    label(entry)
    return entry


def label(entry: catalogue.Entry) -> None:
    """Write into a policy file what its inputs and actions are called, and what it returns.

    Moments, which only further training needs, are left out where they take more than the weights.
    """
    record = tvp.load(entry.path)
    if entry.env.endswith("-MinAtar"):
        record = dataclasses.replace(record, moments=None)
    told = {"return": policy_file.to_text(entry.returns.mean)}
    told |= policy_file.names_of(envs.make(entry.env))
    with replacing(entry.path) as temporary:
        temporary.write_bytes(
            tvp.encode(dataclasses.replace(record, metadata=record.metadata | told))
        )


def entry_of(name: str, recipe: Recipe, chosen: Candidate, policy: Policy) -> catalogue.Entry:
    """Return the record of a policy."""
    config = json.loads((chosen.folder / "config.json").read_text())
    result = json.loads((chosen.folder / "result.json").read_text())
    mean, std, episodes = (chosen.final[key] for key in ("return_mean", "return_std", "episodes"))
    half = 1.96 * std / episodes**0.5
    info = policy.info()
    return catalogue.Entry(
        name=name,
        env=info["env"],
        does=recipe.does,
        sizes=list(info["sizes"]),
        bytes=info["bytes"],
        sha256=info["sha256"],
        returns=catalogue.Returns(mean, mean - half, mean + half, std, episodes),
        strategy=recipe.strategy,
        seeds=recipe.num_seeds,
        seed=int(policy.record.metadata["seed"]),
        env_steps=result["env_steps"],
        command=" ".join(config["command"]),
        commit=config["commit"],
        machine=f"{config['machine']['processor']}, jax {config['versions']['jax']}",
    )


# ---------------------------------------------------------------------------------- the episodes

SECONDS = 6.0
"""How long an episode is shown."""
FRAMES_A_SECOND = 30
GRID_STEPS = 240
GRID_ACTIONS = {
    "gymnax/Breakout-MinAtar": ["stay", "left", "right"],
    "gymnax/Freeway-MinAtar": ["stay", "up", "down"],
}
SCALE = 500
"""Parts of a unit that positions are rounded to."""


def record(entry: catalogue.Entry) -> dict[str, Any] | None:
    """Return an episode of a policy for its web page, None where the page computes the task."""
    suite, _, name = entry.env.partition("/")
    policy = ternevo.load(entry.path)
    if suite == "brax":
        return record_bodies(entry.env, policy)
    return record_grid(entry.env, policy) if name.endswith("-MinAtar") else None


def play(env: Any, policy: Policy, num_steps: int) -> tuple[list, np.ndarray, np.ndarray]:
    """Return states, observations [steps, in] and rewards [steps] of the shipped file at work."""
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    key = jax.random.key(0)
    state, obs = reset(key, env.draw_task(key))
    states, seen, rewards = [state], [], []
    for i in range(num_steps):
        seen.append(np.asarray(obs))
        action = policy.act(seen[-1])
        state, timestep = step(jax.random.fold_in(key, i), state, np.asarray(action))
        states.append(state)
        rewards.append(float(timestep.reward))
        obs = timestep.obs
        if timestep.terminated or timestep.truncated:
            break
    return states, np.array(seen), np.array(rewards, "<f4")


def record_bodies(env_id: str, policy: Policy) -> dict[str, Any]:
    """Return an episode on brax: observations as integers, bodies as capsules seen from the side.

    The arm of the reacher moves on a table and is seen from above.
    """
    name, backend = env_id.removeprefix("brax/").split("@")
    with brax.quiet():
        from brax.envs import get_environment

        bare = get_environment(name, backend=backend)
    seconds = float(bare.dt)
    states, seen, rewards = play(envs.make(env_id), policy, round(SECONDS / seconds))
    every = max(1, round(1 / seconds / FRAMES_A_SECOND))
    axes = (0, 1) if name == "reacher" else (0, 2)
    ends, radii = capsules(bare.sys, jax.device_get(states[::every]), axes)
    low = min(0.0, float(ends[..., 1::2].min()))
    return {
        "rate": round(1 / seconds),
        "observations": base64_of(quantised(policy, seen)),
        "rewards": base64_of(rewards),
        "bodies": {
            "ends": base64_of(np.round(ends * SCALE).astype("<i2")),
            "radii": [round(float(radius), 4) for radius in radii],
            "every": every,
            "scale": SCALE,
            "low": round(low, 3),
            "high": round(float((ends[..., 1::2] + radii[:, None]).max()), 3),
            "follows": bool(np.ptp(ends[:, 0, 0]) > 1 or name in ("hopper", "walker2d", "ant")),
        },
    }


def capsules(
    system: Any, states: Sequence[Any], axes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends [frames, shapes, 4] of all bodies in the plane of two axes, and their radii.

    A sphere is a capsule without a length. The floor is left out.
    """
    model = system.mj_model
    plane, sphere = 0, 2
    shapes = [i for i in range(model.ngeom) if model.geom_type[i] != plane and model.geom_bodyid[i]]
    links = model.geom_bodyid[shapes] - 1
    halves = np.where(model.geom_type[shapes] == sphere, 0, model.geom_size[shapes, 1])
    frames = []
    for state in states:
        where, turn = np.asarray(state.physics.x.pos), np.asarray(state.physics.x.rot)
        centre = where[links] + rotated(turn[links], model.geom_pos[shapes])
        axis = rotated(model.geom_quat[shapes], np.array([0.0, 0.0, 1.0]) * halves[:, None])
        axis = rotated(turn[links], axis)
        ends = np.stack([centre - axis, centre + axis], axis=1)  # [shapes, 2, 3]
        frames.append(ends[..., axes].reshape(len(shapes), 4))
    return np.array(frames), model.geom_size[shapes, 0]


def rotated(quaternions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return vectors [n, 3] turned by unit quaternions [n, 4], the real part first."""
    real, imaginary = quaternions[:, :1], quaternions[:, 1:]
    twice = 2 * np.cross(imaginary, vectors)
    return vectors + real * twice + np.cross(imaginary, twice)


def quantised(policy: Policy, seen: np.ndarray) -> np.ndarray:
    """Return observations as the integers that the policy makes of them, int8 [steps, in].

    Raises:
      ValueError: numbers made of the integers, as the page does, would give other integers.
    """
    integers, record = policy.quantise(seen), policy.record
    again = (record.mean.astype(float) + integers / 2.0**record.exponent).astype(np.float32)
    if not np.array_equal(policy.quantise(again), integers):
        raise ValueError("observations do not survive being written as integers")
    return integers


def record_grid(env_id: str, policy: Policy) -> dict[str, Any]:
    """Return an episode of MinAtar: observations are bits, and the picture as well."""
    env = envs.make(env_id)
    _, seen, rewards = play(env, policy, GRID_STEPS)
    return {
        **html.replay_of_grid(seen, rewards, env.obs.shape),
        "actions": GRID_ACTIONS[env_id],
    }


def base64_of(array: np.ndarray) -> str:
    """Return the bytes of an array as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


if __name__ == "__main__":
    main()
