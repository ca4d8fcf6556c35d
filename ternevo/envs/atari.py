"""Atari 2600 games: "atari/pong". See `ternevo.host.atari`."""

from ternevo.envs import outside

names, make, render = outside.suite("atari")
