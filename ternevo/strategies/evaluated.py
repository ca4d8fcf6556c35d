"""Every k generations, evaluate the policy that would ship on fresh episodes; keep the best."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ternevo.arithmetic import observation
from ternevo.types import Key, Metrics, PolicyParams, Problem, Scores, State, Strategy


class EvaluationState(NamedTuple):
    """The inner strategy's state, and the best policy so far with its generation and return."""

    strategy: State
    generation: jax.Array
    best: PolicyParams
    best_generation: jax.Array
    best_return: Float[Array, ""]


def evaluated(
    strategy: Strategy, problem: Problem, every: int, num_episodes: int, best_from: int = 0
) -> Strategy:
    """Return the strategy that also evaluates its current policy, on keys not used in training.

    The first generation is evaluated too. The metrics "eval/..." are NaN in
    generations without an evaluation. `best` is the policy with the highest mean
    return in such an evaluation; of equals it is the latest, which has learned the most.
    From generation `best_from` on, only policies from then on count.

    Raises:
      ValueError: `every` or `num_episodes` is less than 1.
    """
    if every < 1 or num_episodes < 1:
        raise ValueError(
            f"eval_every and num_eval_episodes must be at least 1, got {every} and {num_episodes}"
        )

    def init(key: Key, *numbers: Any) -> EvaluationState:
        inner = strategy.init(key, *numbers)
        zero, worst = jnp.zeros((), jnp.int32), jnp.asarray(-jnp.inf)
        return EvaluationState(inner, zero, strategy.params(inner), zero, worst)

    def step(key: Key, state: EvaluationState) -> tuple[EvaluationState, Metrics]:
        key_step, key_eval = jax.random.split(key)
        inner, metrics = strategy.step(key_step, state.strategy)
        generation = state.generation + 1
        current = strategy.params(inner)
        mean, std, length = jax.lax.cond(
            (generation % every == 0) | (generation == 1),
            lambda: _summary(
                problem.test(
                    key_eval,
                    current.weights,
                    observation.freeze(current.moments, problem.obs.kind),
                    num_episodes,
                )
            ),
            lambda: (jnp.asarray(jnp.nan),) * 3,
        )
        is_better = mean >= state.best_return
        if best_from:
            is_better |= state.best_generation < best_from
        is_better &= jnp.isfinite(mean)
        best, best_generation, best_return = jax.tree.map(
            lambda new, old: jnp.where(is_better, new, old),
            (current, generation, mean),
            (state.best, state.best_generation, state.best_return),
        )
        metrics |= {
            "eval/return": mean,
            "eval/return_std": std,
            "eval/length": length,
            "eval/best_return": best_return,
        }
        state = EvaluationState(inner, generation, best, best_generation, best_return)
        return state, metrics

    kept = strategy.archive
    return strategy._replace(
        init=init,
        step=step,
        params=lambda state: strategy.params(state.strategy),
        archive=kept and kept._replace(read=lambda state: kept.read(state.strategy)),
    )


def _summary(scores: Scores) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the mean and standard deviation of the returns, and the mean length."""
    length = jnp.mean(scores.lengths.astype(jnp.float32))
    return jnp.mean(scores.returns), jnp.std(scores.returns), length
