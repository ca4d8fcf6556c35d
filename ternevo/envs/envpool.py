"""envpool: "envpool/LunarLander-v3". See `ternevo.host.envpool`."""

from ternevo.envs import outside

names, make, render = outside.suite("envpool")
