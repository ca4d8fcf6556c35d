"""Box2D: "box2d/LunarLander-v3". See `ternevo.host.box2d`."""

from ternevo.envs import outside

names, make, render = outside.suite("box2d")
