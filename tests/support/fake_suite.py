"""A suite of simulators outside JAX that are simple, and some that fail."""

import time

import numpy as np

from ternevo.host.worlds import Spec, Stepped, Suite

NAMES = ("drift", "raises", "nan", "shape", "hangs", "dies")
FAILS_AT = 5


class FakeWorlds:
    """A number drifts by the action and by a phase that the seed gives; it ends beyond 1.2."""

    def __init__(self, name, count):
        self.name = name
        self.x, self.phase = np.zeros(count), np.zeros(count)
        self.steps = np.zeros(count, int)

    def reset(self, rows, seeds):
        self.phase[rows] = (seeds % 97) / 97
        self.x[rows], self.steps[rows] = self.phase[rows] - 0.5, 0
        return self._obs(rows)

    def step(self, rows, actions):
        self.steps[rows] += 1
        if self.name != "drift" and self.steps[rows].max() == FAILS_AT:
            return self._fail(rows)
        self.x[rows] += 0.4 * (2.0 * actions - 1) + 0.3 * np.sin(
            self.steps[rows] + self.phase[rows]
        )
        return Stepped(self._obs(rows), 1.0 - 0.1 * self.x[rows] ** 2, self._ends(rows))

    def _fail(self, rows):
        if self.name == "raises":
            raise ArithmeticError("the drift is lost")
        if self.name == "hangs":
            time.sleep(1000)
        if self.name == "dies":
            raise SystemExit(7)
        obs = self._obs(rows)
        ends = np.zeros(len(rows), bool)
        if self.name == "nan":
            return Stepped(np.full_like(obs, np.nan), np.zeros(len(rows)), ends)
        return Stepped(obs[:, :1], np.zeros(len(rows)), ends)

    def _ends(self, rows):
        return (np.abs(self.x[rows]) > 1.2) & (self.name == "drift")

    def _obs(self, rows):
        return np.stack([self.x[rows], np.cos(self.steps[rows])], 1).astype(np.float32)

    def picture(self, row):
        return np.full((8, 8, 3), 100, np.uint8)

    def close(self):
        self.x = None


def spec(name):
    return Spec(f"fake/{name}", (2,), "floats", "discrete", 2, (), (), 40)


SUITE = Suite(
    lambda: NAMES, spec, lambda name, count, num_threads: FakeWorlds(name, count), lambda name: 10.0
)


def make(name, episode_length=None):
    """Return the `Env`."""
    from ternevo.envs import outside

    return outside.make("fake_suite", name, episode_length)


def hangs(episode_length=None):
    """The factory of `--env fake_suite:hangs`."""
    return make("hangs", episode_length)


def drift(episode_length=None):
    """The factory of `--env fake_suite:drift`."""
    return make("drift", episode_length)


def raises(episode_length=None):
    """The factory of `--env fake_suite:raises`."""
    return make("raises", episode_length)
