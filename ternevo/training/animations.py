"""Episodes drawn while training goes on, to see what the policy does by now."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
from tqdm import tqdm

from ternevo import envs, keys
from ternevo.arithmetic import observation
from ternevo.machine import devices
from ternevo.rollouts import episode
from ternevo.training.setup import Setup
from ternevo.types import PolicyParams


class Animations:
    """What `--render_every` asks for. It compiles once, and a picture that fails stops no run."""

    def __init__(self, setup: Setup):
        """Draw into the folder of the first seed."""
        self._every = setup.config.render_every
        self._seed = setup.config.seed
        self._folder = setup.seed_folders[self._seed].episodes
        self._env = setup.env
        self._play = episode.recorder(setup.policy, setup.env)

    def is_due(self, generation: int) -> bool:
        """Return whether an episode is to be drawn after so many generations."""
        return self._every > 0 and generation % self._every == 0

    def draw(
        self, params: PolicyParams, generation: int, show: Callable[[Path, int], None]
    ) -> None:
        """Draw an episode, and hand file and generation to `show`.

        Where one of them fails it says so in one line, and does not try again.
        """
        try:
            show(self._render(params, generation), generation)
        except Exception as error:  # a renderer may be anybody's: training goes on
            reason = " ".join(str(error).split()) or type(error).__name__
            tqdm.write(f"warning: no animation, and none to come: {reason}", file=sys.stderr)
            self._every = 0

    def _render(self, params: PolicyParams, generation: int) -> Path:
        stem = self._folder / f"generation-{generation:06d}"
        with devices.on_one_device():
            weights, moments = devices.own_copy(params)
            key = jax.random.fold_in(jax.random.key(self._seed), keys.WATCHED_EPISODE)
            recorded = self._play(weights, observation.freeze(moments, self._env.obs.kind), key)
            return envs.render(self._env.id, recorded.states, stem)
