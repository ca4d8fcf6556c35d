"""envpool: "envpool/Hopper-v5". See `ternevo.host.envpool`."""

from ternevo.envs import outside

names, make, render = outside.suite("envpool")
