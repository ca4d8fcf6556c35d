"""MuJoCo, with which published tables are made: "mujoco/Hopper-v5". See `ternevo.host.mujoco`."""

from ternevo.envs import outside

names, make, render = outside.suite("mujoco")
