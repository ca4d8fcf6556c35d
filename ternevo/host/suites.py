"""The suites of simulators outside JAX, imported when one of their environments is named."""

import importlib

from ternevo.host.worlds import Suite

SUITES = {
    "mujoco": "ternevo.host.mujoco",
    "box2d": "ternevo.host.box2d",
    "atari": "ternevo.host.atari",
    "envpool": "ternevo.host.envpool",
}
"""The module of each suite, which has a `SUITE`."""


def suite(name: str) -> Suite:
    """Return a suite by its name, or the one of a user's module by the name of the module."""
    return importlib.import_module(SUITES.get(name, name)).SUITE
