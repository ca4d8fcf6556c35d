"""The states in which a student learns: its own, visited in real environments."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo import gym
from ternevo.deploy import runtime
from ternevo.distil.spaces import Rows, Spaces
from ternevo.distil.teachers import Labels, Teacher


class Visited(NamedTuple):
    """Labelled states of a round, before anything was learned from them.

    Attributes:
      obs: float32 [states, obs].
      targets: float32 [states, outputs], see `Labels`.
      difference: share of states in which teacher and student act differently, or the root mean
        squared difference as a share of half the action range; NaN without a student.
    """

    obs: Rows
    targets: NDArray[np.float32]
    difference: float


class World:
    """Environments that are stepped together; episodes go on from round to round."""

    def __init__(self, spaces: Spaces, make_kwargs: dict[str, Any], num_envs: int, seed: int):
        """Begin the first episodes, with seeds from `seed`."""
        self.spaces, self.num_envs = spaces, num_envs
        self.env = gym.make_vector(spaces.env_id, make_kwargs, num_envs)
        self._observe = gym.observer(self.env.single_observation_space)
        self._to_action = gym.actor(self.env.single_action_space)
        self.obs = self._rows(self.env.reset(seed=seed)[0])

    def visit(
        self,
        num_steps: int,
        teacher: Teacher,
        student: runtime.Policy | None,
        share: float,
        numbers: np.random.Generator,
    ) -> Visited:
        """Visit states, and let the teacher label them.

        Args:
          num_steps: the least number of states; a step visits one in each environment.
          teacher: who labels.
          student: who acts, in the form in which it ships; None lets the teacher act.
          share: probability that the teacher acts in a step of an environment.
          numbers: decides who acts.
        """
        seen, targets, differences = [], [], []
        for _ in range(-(-num_steps // self.num_envs)):
            labels = teacher.label(self.obs)
            seen.append(self.obs)
            targets.append(labels.targets)
            actions = labels.actions
            if student is not None:
                own = student.act_batch(self.obs)
                differences.append(self._difference(labels, own))
                by_teacher = numbers.random(self.num_envs) < share
                actions = np.where(by_teacher.reshape(-1, *[1] * (own.ndim - 1)), actions, own)
            stepped = self.env.step([self._to_action(action) for action in actions])
            self.obs = self._rows(stepped[0])
        return Visited(np.concatenate(seen), np.concatenate(targets), self._mean(differences))

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def _rows(self, obs: Any) -> Rows:
        return np.stack([self._observe(one) for one in obs])

    def _difference(self, labels: Labels, own: NDArray) -> float:
        """Return the share of other actions, or the mean squared difference."""
        if own.ndim == 1:
            return float(np.mean(own != labels.actions))
        return float(np.mean((self.spaces.shares(own) - labels.targets) ** 2))

    def _mean(self, differences: list[float]) -> float:
        if not differences:
            return float("nan")
        mean = float(np.mean(differences))
        return mean if self.spaces.action.kind == "discrete" else mean**0.5
