"""Draw episodes during training, to show what the policy does so far."""

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
    """Draws the episodes of `--render_every`. It compiles once; a failure does not stop the run."""

    def __init__(self, setup: Setup):
        """Draw into the folder of the first seed."""
        self._every = setup.config.render_every
        self._seed = setup.config.seed
        self._folder = setup.seed_folders[self._seed].episodes
        self._env = setup.env
        self._play = episode.recorder(setup.policy, setup.env)

    def is_due(self, generation: int) -> bool:
        """Return whether to draw an episode after this number of generations."""
        return self._every > 0 and generation % self._every == 0

    def draw(
        self, params: PolicyParams, generation: int, show: Callable[[Path, int], None]
    ) -> None:
        """Draw an episode, and pass the file and the generation to `show`.

        If either fails, print one line and do not try again.
        """
        try:
            show(self._render(params, generation), generation)
        except Exception as error:  # a renderer may be user code: training goes on
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
