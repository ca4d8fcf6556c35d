"""The training loop: a compiled loop over a chunk of generations, plain Python between chunks.

The key of a generation depends only on its number and the key of the run, and one
compiled program with a dynamic trip count runs chunks of any size. So a run that was resumed,
or cut into different chunks, is bit for bit the same as an uninterrupted run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.machine import devices
from ternevo.training.evaluation import Evaluation, keys_of_generation
from ternevo.types import LEFT_OUT, Key, Metrics, Strategy, TrainState

MAX_CHUNK = 256
"""The number of generations whose metrics fit into the buffer of one compiled call."""

SECONDS_PER_CHUNK = 2.0
"""The target duration of an automatic chunk."""


class Diverged(RuntimeError):
    """A loss, or an update of a search, is not finite, so training cannot continue."""


class Divergence(NamedTuple):
    """The first loss or update that is not finite: its row in the chunk, and the seed's index."""

    row: int
    seed: int
    metric: str
    value: float


Rows = dict[str, np.ndarray]
"""Metrics of several generations, NumPy arrays [generations] or [generations, seeds]."""


class Chunk(NamedTuple):
    """The results of a chunk.

    `first_generation` is the number of generations before the chunk.
    """

    state: TrainState
    first_generation: int
    metrics: Rows
    seconds: float


def start(key: Key, strategy: Strategy) -> TrainState:
    """Return the state before the first generation.

    Args:
      key: the key of a seed, or keys [seeds] for a strategy `across_seeds`.
      strategy: the strategy.

    Raises:
      NotFloat32: JAX computes in float64.
    """
    devices.check_float32()
    keys = (jax.vmap(jax.random.split) if key.ndim else jax.random.split)(key)
    key_init, key_run = keys[..., 0], keys[..., 1]
    first = jax.jit(strategy.init)(key_init, *strategy.numbers())
    state = TrainState(key_run, jnp.zeros((), jnp.int32), first)
    return jax.tree.map(_strongly_typed, state)


def _strongly_typed(x: jax.Array) -> jax.Array:
    """Fix the dtype of values from Python numbers, or the second chunk would compile again."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)


def generation(strategy: Strategy, state: TrainState) -> tuple[TrainState, Metrics]:
    """Run one generation, of one seed or of several."""
    keys_of = jax.vmap(keys_of_generation, (0, None)) if state.key.ndim else keys_of_generation
    key, _ = keys_of(state.key, state.generation)
    strategy_state, metrics = strategy.step(key, state.strategy)
    if not state.key.ndim:
        # On several devices, everything except the population is the same on each device. If
        # devices share several seeds, each has its own.
        strategy_state, metrics = devices.replicated((strategy_state, metrics))
    strategy_state = jax.tree.map(_strongly_typed, strategy_state)
    return TrainState(state.key, state.generation + 1, strategy_state), metrics


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def advance(
    strategy: Strategy, state: TrainState, num_generations: jax.Array
) -> tuple[TrainState, Metrics]:
    """Run up to `MAX_CHUNK` generations; only the first `num_generations` metrics rows are valid.

    The number is traced, not static, so that chunks of any size share one program.
    """
    # The inner jit caches its trace, so that the loop below does not trace the generation again.
    step = jax.jit(partial(generation, strategy), inline=True)
    _, shapes = jax.eval_shape(step, state)
    rows = {name: jnp.zeros((MAX_CHUNK, *m.shape), m.dtype) for name, m in shapes.items()}

    def one_generation(row: jax.Array, carry: tuple[TrainState, Metrics]):
        state, rows = carry
        state, metrics = step(state)
        return state, {name: rows[name].at[row].set(metrics[name]) for name in rows}

    return jax.lax.fori_loop(0, num_generations, one_generation, (state, rows))


def compiled(
    strategy: Strategy, state: TrainState, evaluation: Evaluation | None = None
) -> TrainState:
    """Compile all that `train` runs, by running no generation and no episode.

    Return the state, whose buffers are reused.
    """
    if evaluation:
        evaluation.compile(strategy, state)
    return _advanced(strategy, state, 0)[0]


def _advanced(strategy: Strategy, state: TrainState, count: int) -> tuple[TrainState, Rows]:
    """Run generations; the best policy so far stays outside the compiled program."""
    after, metrics = advance(strategy, state._replace(best=None), jnp.asarray(count, jnp.int32))
    rows = {name: np.asarray(values)[:count] for name, values in metrics.items()}
    return after._replace(best=state.best), rows


def _evaluated(
    strategy: Strategy, state: TrainState, count: int, evaluation: Evaluation
) -> tuple[TrainState, Rows]:
    """Run generations, and evaluate the policy after those where that is due."""
    parts: list[Rows] = []
    while count:
        part = min(count, evaluation.generations_until(int(state.generation)))
        state, rows = _advanced(strategy, state, part)
        state, rows = evaluation.after(strategy, state, rows)
        parts.append(rows)
        count -= part
    return state, {name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]}


def divergence(metrics: dict[str, np.ndarray]) -> Divergence | None:
    """Return the first "loss/..." of a chunk that is not finite, or the first skipped update.

    Return None if there is neither.
    """
    found = []
    for name, values in metrics.items():
        by_seed = values.reshape(len(values), -1)
        if name.startswith("loss/"):
            is_bad = ~np.isfinite(by_seed)
        elif name == LEFT_OUT:
            is_bad = by_seed > 0
        else:
            continue
        found += [
            Divergence(int(row), int(seed), name, float(by_seed[row, seed]))
            for row, seed in np.argwhere(is_bad)[:1]
        ]
    return min(found, default=None)


def train(
    strategy: Strategy,
    state: TrainState,
    num_generations: int,
    chunk_size: int = 0,
    stop_every: Sequence[int] = (),
    should_stop: Callable[[], bool] = lambda: False,
    evaluation: Evaluation | None = None,
    around: Callable[[bool], AbstractContextManager[None]] = lambda is_last: nullcontext(),
) -> Iterator[Chunk]:
    """Yield chunk after chunk until `num_generations` generations are done, or `should_stop()`.

    The state handed in is consumed (its buffers are reused).

    Args:
      strategy: the strategy.
      state: the state to continue from.
      num_generations: the run's total, counted from its start.
      chunk_size: the number of generations in a chunk; 0 chooses about two seconds' worth.
      stop_every: end a chunk at every multiple of each of these numbers of generations; 0 never.
      should_stop: called between chunks.
      evaluation: evaluates the policy between generations; None for never.
      around: called for each chunk with whether it ends the run. The context it returns is active
        while the chunk runs and while the caller processes it.
    """
    done = int(state.generation)
    size = min(chunk_size, MAX_CHUNK) or 1
    is_compiled = False
    if evaluation and state.best is None:
        state = evaluation.begun(strategy, state)
    while done < num_generations and not devices.agreed(should_stop()):
        to_stops = [every - done % every for every in stop_every if every]
        count = min(devices.agreed(size), num_generations - done, *to_stops)
        with around(done + count == num_generations):
            if not is_compiled:  # so that the seconds count only training
                state, is_compiled = compiled(strategy, state, evaluation), True
            begin = time.perf_counter()
            if evaluation:
                state, rows = _evaluated(strategy, state, count, evaluation)
            else:
                state, rows = _advanced(strategy, state, count)
            seconds = time.perf_counter() - begin
            yield Chunk(state, done, rows, seconds)
        done += count
        if not chunk_size:
            size = _next_size(count, seconds)


def _next_size(count: int, seconds: float) -> int:
    """Return how many generations take about `SECONDS_PER_CHUNK`, at most four times as many."""
    fitting = int(SECONDS_PER_CHUNK * count / max(seconds, 1e-6))
    return max(1, min(fitting, 4 * count, MAX_CHUNK))
