"""Evaluations of the policy that would ship: every k generations, and after the last one.

On a CPU all of them run one compiled program, because that of a simulator takes long to compile.
The best policy so far is kept as NumPy arrays beside the state of the strategy.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.strategies.across_seeds import of_all_seeds
from ternevo.types import (
    Best,
    Key,
    ObsKind,
    Params,
    PolicyParams,
    Problem,
    Scores,
    Strategy,
    TrainState,
)


class Episodes(NamedTuple):
    """Returns and lengths of episodes, NumPy arrays [episodes] or [seeds, episodes].

    `descriptors` [size] or [seeds, size] is their mean `Descriptor`, if the environment has one.
    """

    returns: np.ndarray
    lengths: np.ndarray
    descriptors: np.ndarray | None

    @classmethod
    def of(cls, scores: Scores) -> "Episodes":
        """Return the episodes of the only policy of some scores."""
        own = scores.returns, scores.lengths, scores.descriptors
        return cls(*jax.tree.map(lambda x: np.asarray(x[0]), own))


class _Due(NamedTuple):
    """What an evaluation needs of a state, of one seed or of several."""

    policy: PolicyParams
    quantiser: Quantiser
    key_data: jax.Array


class Evaluation:
    """Evaluates the policy of a state on fresh episodes, and keeps the best one.

    The first generation is evaluated too. The metrics "eval/..." are NaN in generations without
    an evaluation. The best policy is the one with the highest mean return; of equals it is the
    latest, which has learned the most.
    """

    def __init__(
        self,
        problem: Problem,
        every: int,
        num_episodes: int,
        num_final_episodes: int = 0,
        num_seeds: int = 1,
        best_from: int = 0,
    ):
        """Compile nothing yet.

        Args:
          problem: whose episodes of `test` are the fresh ones.
          every: the number of generations from one evaluation to the next.
          num_episodes: the number of episodes of an evaluation.
          num_final_episodes: the number of episodes that `run` will be asked for at the end; 0 for
            none.
          num_seeds: the number of seeds, as in `across_seeds`.
          best_from: the generation from which on only policies from then on count.

        Raises:
          ValueError: `every` or `num_episodes` is less than 1.
        """
        if every < 1 or num_episodes < 1:
            raise ValueError(
                "eval_every and num_eval_episodes must be at least 1, got "
                f"{every} and {num_episodes}"
            )
        self.every = every
        self._problem, self._best_from, self._num_seeds = problem, best_from, num_seeds
        self._num_episodes = num_episodes
        # An accelerator runs all episodes of a program side by side, also those not asked for.
        is_shared = jax.default_backend() == "cpu"
        self._most = max(num_episodes, num_final_episodes if is_shared else 0)
        self._test = jax.jit(self._test_all, static_argnums=4)

    def is_due(self, generation: int) -> bool:
        """Return whether there is an evaluation after this number of generations."""
        return generation == 1 or generation % self.every == 0

    def generations_until(self, done: int) -> int:
        """Return after how many more generations the next evaluation is due."""
        return self.every - done % self.every if done else 1

    def begun(self, strategy: Strategy, state: TrainState) -> TrainState:
        """Return the state before the first generation with its policy as the best so far."""
        policy = _copied(self.policy_of(strategy, state))
        worst = np.full(state.key.shape, -np.inf, np.float32)
        return state._replace(best=Best(policy, np.zeros(state.key.shape, np.int32), worst))

    def policy_of(self, strategy: Strategy, state: TrainState) -> PolicyParams:
        """Return the policy that would ship, by a program that every evaluation runs as well."""
        return self._due_of(strategy, state).policy

    def compile(self, strategy: Strategy, state: TrainState) -> None:
        """Compile what `after` runs, by running no episode, or all examples where those are run."""
        due = self._due_of(strategy, state)
        self._run(due.key_data, due.policy.weights, due.quantiser, 0, self._most)

    def after(
        self, strategy: Strategy, state: TrainState, metrics: dict[str, np.ndarray]
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """Evaluate the policy of a state, if that is due; keep it, if it is the best so far.

        Args:
          strategy: the strategy.
          state: the state after some generations, of which only the last may be due for an
            evaluation; its `best` is from before them.
          metrics: those of these generations, [generations] or [generations, seeds].

        Returns:
          The state, and the metrics with those of evaluations.
        """
        best = state.best
        assert best is not None
        shape = next(iter(metrics.values())).shape
        rows = {name: np.full(shape, np.nan, np.float32) for name in _EVALUATED}
        rows["eval/best_return"] = np.broadcast_to(np.asarray(best.mean_return), shape).copy()
        generation = int(state.generation)
        if self.is_due(generation):
            due = self._due_of(strategy, state)
            found = self.run(due.key_data, due.policy.weights, due.quantiser, self._num_episodes)
            mean, std = mean_and_std(found.returns)
            best = self._better(best, due.policy, generation, mean)
            length = found.lengths.astype(np.float32).mean(-1)
            for name, value in zip(_EVALUATED, (mean, std, length), strict=True):
                rows[name][-1] = value
            rows["eval/best_return"][-1] = best.mean_return
        return state._replace(best=best), {**metrics, **rows}

    def run(
        self, key_data: Any, weights: Params, quantiser: Quantiser, num_episodes: int
    ) -> Episodes:
        """Run a policy on fresh episodes.

        Args:
          key_data: the data of a key, or of the keys [seeds]. This and all else has an axis of
            seeds in front if there are several.
          weights: the weights of the policy.
          quantiser: its frozen quantiser.
          num_episodes: the number of episodes; all held-out examples where episodes are examples.
        """
        most = self._most if num_episodes <= self._most else num_episodes
        found = self._run(key_data, weights, quantiser, num_episodes, most)
        returns, lengths, descriptors = found
        shown = self._problem.num_tests or num_episodes
        return Episodes(returns[..., :shown], lengths[..., :shown], descriptors)

    def _due_of(self, strategy: Strategy, state: TrainState) -> _Due:
        return _due(strategy, self._problem.obs.kind, state._replace(best=None))

    def _run(self, key_data: Any, weights: Any, quantiser: Any, count: int, most: int) -> Any:
        # As NumPy arrays, so that one program serves arrays that come from anywhere.
        arguments = jax.tree.map(np.asarray, (key_data, weights, quantiser))
        counts = np.full(() if self._num_seeds == 1 else self._num_seeds, count, np.int32)
        return jax.tree.map(np.asarray, self._test(*arguments, counts, most))

    def _test_all(
        self, key_data: Any, weights: Any, quantiser: Any, counts: jax.Array, most: int
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        def test(key_data: jax.Array, weights: Any, quantiser: Any, count: jax.Array) -> tuple:
            key = jax.random.wrap_key_data(key_data)
            scores = self._problem.test(key, weights, quantiser, most, count)
            own = scores.returns, scores.lengths, scores.descriptors
            return jax.tree.map(lambda x: x[0], own)

        return of_all_seeds(test, self._num_seeds)(key_data, weights, quantiser, counts)

    def _better(self, best: Best, policy: PolicyParams, generation: int, mean: np.ndarray) -> Best:
        """Return the best of each seed after an evaluation."""
        is_better = mean >= np.asarray(best.mean_return)
        if self._best_from:
            is_better |= np.asarray(best.generation) < self._best_from
        is_better = np.asarray(is_better & np.isfinite(mean))
        new = Best(policy, np.full_like(mean, generation, np.int32), mean)

        def choose(new: Any, old: Any) -> np.ndarray:
            new = np.asarray(new)
            mask = np.expand_dims(is_better, tuple(range(is_better.ndim, new.ndim)))
            return np.where(mask, new, np.asarray(old))

        return jax.tree.map(choose, new, best)


_EVALUATED = ("eval/return", "eval/return_std", "eval/length")


def mean_and_std(returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over the last axis, not finite where a return is not."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(returns.mean(-1)), np.asarray(returns.std(-1))


@partial(jax.jit, static_argnums=(0, 1))
def _due(strategy: Strategy, kind: ObsKind, state: TrainState) -> _Due:
    """Return what an evaluation needs, with its key, see `keys_of_generation`."""

    def key_data(key: Key) -> jax.Array:
        _, key_test = keys_of_generation(key, state.generation - 1)
        return jax.random.key_data(key_test)

    policy = strategy.params(state.strategy)
    freeze = partial(observation.freeze, kind=kind)
    if state.key.ndim:
        return _Due(policy, jax.vmap(freeze)(policy.moments), jax.vmap(key_data)(state.key))
    return _Due(policy, freeze(policy.moments), key_data(state.key))


def keys_of_generation(key: Key, generation: jax.Array) -> tuple[Key, Key]:
    """Return the keys of a generation, counted from 0, and of the evaluation after it."""
    key_step, key_test = jax.random.split(jax.random.fold_in(key, generation))
    return key_step, key_test


def _copied(tree: Any) -> Any:
    return jax.tree.map(np.array, tree)
