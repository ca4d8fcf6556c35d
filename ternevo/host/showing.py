"""Play one episode to look at, with a picture of each step or so."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy.runtime import Policy
from ternevo.host.scoring import check
from ternevo.host.suites import suite

MOST_PICTURES = 250
"""About how many pictures of an episode are kept."""


class Picture(NamedTuple):
    """A picture [height, width, 3] of a world after some number of steps."""

    step: int
    pixels: NDArray[np.uint8]


class Shown(NamedTuple):
    """An episode: how it looks, what the policy saw, and what it earned."""

    pictures: list[Picture]
    observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: bool


def play(suite_name: str, name: str, policy: Policy, seed: int, horizon: int) -> Shown:
    """Play the episode of a seed, of at most `horizon` steps.

    Raises:
      HostError: the simulator returns what it must not.
    """
    found = suite(suite_name)
    spec, worlds, row = found.spec(name), found.open_worlds(name, 1, 1), np.zeros(1, np.intp)
    try:
        obs = worlds.reset(row, np.asarray([seed], np.int64))
        pictures, seen, rewards, terminated, every = [], [], [], False, 1
        memory = policy.reset()
        while len(rewards) < horizon and not terminated:
            if len(rewards) % every == 0:
                pictures.append(Picture(len(rewards), worlds.picture(0)))
            if len(pictures) > MOST_PICTURES:  # a longer episode than it seemed: show half of them
                pictures, every = pictures[::2], 2 * every
            seen.append(obs[0])
            memory, action = policy.step(memory, obs[0])
            stepped = worlds.step(row, np.asarray([action]))
            check(spec, stepped, [seed], np.asarray([len(rewards)]))
            obs, terminated = stepped.obs, bool(stepped.terminated[0])
            rewards.append(stepped.reward[0])
        pictures.append(Picture(len(rewards), worlds.picture(0)))
    finally:
        worlds.close()
    return Shown(pictures, np.stack(seen), np.asarray(rewards), terminated)
