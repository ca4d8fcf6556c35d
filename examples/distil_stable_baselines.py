"""Distil a PPO of Stable-Baselines3 on the pendulum, with five seeds.

    pip install stable-baselines3
    python examples/distil_stable_baselines.py pendulum.zip

The model is trained if the file is not there, for 100,000 steps with the settings of RL Zoo.
"""

import sys
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from ternevo.distil import compared
from ternevo.settings.distil import Distil

ENV = "Pendulum-v1"
SEEDS = range(5)


def trained(path: Path) -> PPO:
    """Return a PPO from its file, or train it and write that file."""
    if not path.exists():
        settings = {"gamma": 0.9, "gae_lambda": 0.95, "n_steps": 1024, "n_epochs": 10}
        settings |= {"learning_rate": 1e-3, "use_sde": True, "sde_sample_freq": 4, "seed": 1}
        model = PPO("MlpPolicy", make_vec_env(ENV, n_envs=4, seed=1), **settings, device="cpu")
        model.learn(100_000).save(path)
    return PPO.load(path, device="cpu")


if __name__ == "__main__":
    teacher = trained(Path(sys.argv[1] if len(sys.argv) > 1 else "pendulum.zip"))
    for seed in SEEDS:
        done = compared(teacher, ENV, Distil(seed=seed))
        print(
            f"seed {seed}: teacher {done.teacher.mean:.1f}, student {done.student.mean:.1f}, "
            f"{done.share:.1%}, {done.policy.info()['bytes']:,} bytes",
            flush=True,
        )
        done.policy.save(f"pendulum-{seed}.tvp")
