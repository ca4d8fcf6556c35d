"""Tasks for policies with a memory that they write and read: copy, seasons of foods, a T-maze.

Observations are bits, shown as the integers 0 and 1, and actions are numbers from 0 to 1, or turns
in the maze.

References:
  Graves, Wayne and Danihelka, "Neural Turing Machines", 2014 (copy).
  Greve, Jacobsen and Risi, "Evolving Neural Turing Machines", GECCO 2016 (copy by evolution).
  Lueders, Schlaeger, Korach and Risi, "Continual and One-Shot Learning through Neural Networks with
  Dynamic External Memory", 2017 (seasons).
  Soltoggio et al., "Evolutionary Advantages of Neuromodulated Plasticity in Dynamic, Reward-based
  Scenarios", ALIFE 2008 (the double T-maze whose reward moves).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from ternevo.envs import traces
from ternevo.names import check, lookup
from ternevo.types import ActionSpec, Descriptor, Env, EnvState, Key, ObsSpec, Task, Timestep

LONGEST = 10
"""Largest number of vectors to copy, unless another is asked for."""


class MemoryState(NamedTuple):
    """The state of a task: what was drawn, the steps done, and what is shown."""

    drawn: Any
    step: Int32[Array, ""]
    obs: Float32[Array, " obs"]


# ----------------------------------------------------------------------------------------- copy


class Vectors(NamedTuple):
    """Vectors to copy, of which the first `length` count."""

    vectors: Float32[Array, "longest bits"]
    length: Int32[Array, ""]


def copy(
    episode_length: int | None = None, bits: int = 1, shortest: int = 1, longest: int = LONGEST
) -> Env:
    """Repeat a sequence of vectors of bits, which is shown once.

    The observation is a start bit, a delimiter bit and a vector. The first step shows the start
    bit, then come the vectors, then the delimiter, and then zeros for as many steps, in which
    actions must be the vectors. A component that is off by e pays `1 - min(e, 1/4) * 4`, and all
    answers are worth 1 together, so the optimum is 1 for every length.

    Args:
      episode_length: the time limit; by default that of the longest sequence.
      bits: components of a vector.
      shortest: least number of vectors.
      longest: largest number of vectors; all numbers are equally probable.
    """

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        key_length, key_bits = jax.random.split(key)
        length = jax.random.randint(key_length, (), shortest, longest + 1)
        vectors = jax.random.bernoulli(key_bits, shape=(longest, bits)).astype(jnp.float32)
        obs = jnp.zeros(bits + 2).at[0].set(1.0)
        drawn = Vectors(vectors, length)
        return MemoryState(drawn, jnp.zeros((), jnp.int32), obs), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        vectors, length = state.drawn
        answer = state.step - length - 2
        right = vectors[jnp.clip(answer, 0, longest - 1)]
        score = jnp.mean(1 - jnp.minimum(jnp.abs(action - right), 0.25) * 4)
        count = state.step + 1
        reward = jnp.where(answer >= 0, score / length, 0.0)
        is_shown = (count >= 1) & (count <= length)
        vector = vectors[jnp.clip(count - 1, 0, longest - 1)] * is_shown
        delimiter = jnp.where(count == length + 1, 1.0, 0.0)
        obs = jnp.concatenate([jnp.stack([jnp.zeros(()), delimiter]), vector])
        return _stepped(state.drawn, count, obs, reward, count == 2 * length + 2, limit)

    limit = 2 * longest + 2 if episode_length is None else episode_length
    names = ("start", "delimiter", *(f"bit {i}" for i in range(bits)))
    suffix = "" if bits == 1 and shortest < longest else f"@{bits}"
    suffix += f"x{longest}" if shortest == longest else ""
    return _env(f"copy{suffix}", names, tuple(f"bit {i}" for i in range(bits)), limit, reset, step)


def copies(env: Env, key: Key) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return an episode of `copy`, whose observations do not depend on actions, with answers.

    Returns:
      The observations [steps, obs], the right answers [steps, bits] as -1 and 1, and what each step
      is worth [steps]: together 1, and 0 where nothing is asked.
    """

    def step(carry: tuple, _: None) -> tuple:
        state, obs = carry
        vectors, length = state.drawn
        answer = state.step - length - 2
        right = 2 * vectors[jnp.clip(answer, 0, len(vectors) - 1)] - 1
        is_asked = (answer >= 0) & (answer < length)
        after, timestep = env.step(key, state, jnp.zeros(env.action.size))
        return (after, timestep.obs), (obs, right, is_asked / length)

    return jax.lax.scan(step, env.reset(key, ()), None, env.episode_length)[1]


# --------------------------------------------------------------------------------------- season


class Year(NamedTuple):
    """Which foods are good [seasons, foods], their orders [days, foods], and how a life went.

    `right` counts right decisions: on first days of seasons that return, and on other scored days.
    """

    is_good: Float32[Array, "seasons foods"]
    order: Int32[Array, "days foods"]
    right: Float32[Array, " 2"]


def season(
    episode_length: int | None = None,
    foods: int = 4,
    seasons: int = 2,
    years: int = 3,
    days: int = 2,
    steps: int = 4,
) -> Env:
    """Eat what is good and leave what is poisonous, and remember it when the season returns.

    Each season has foods of its own, half of them poisonous. On each of its days all foods come in
    random order, each for some steps. The action at the step before the last of them decides: above
    0.7 eats, below 0.3 leaves. The last step shows the food with the reward or the punish bit.
    Scored are all days but the first of each season in the first year, and all right decisions are
    worth 1 together. Without a memory the return is at most 1/2 on average. The descriptor tells
    what was forgotten: the share of right decisions on the first day of a season that returns, and
    on the other scored days.

    Args:
      episode_length: the time limit; by default that of the whole life.
      foods: foods of a season, an even number.
      seasons: seasons of a year.
      years: years of a life.
      days: days of a season in a year.
      steps: steps for which a food is shown, at least 3.
    """
    kinds, total_days = foods * seasons, years * seasons * days
    scored = (total_days - seasons) * foods
    counts = jnp.array([(years - 1) * seasons * foods, years * seasons * (days - 1) * foods])

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        key_good, key_order = jax.random.split(key)
        half = jnp.arange(foods) < foods // 2
        keys = jax.random.split(key_good, seasons)
        is_good = jax.vmap(lambda k: jax.random.permutation(k, half))(keys).astype(jnp.float32)
        orders = jax.vmap(lambda k: jax.random.permutation(k, foods))(
            jax.random.split(key_order, total_days)
        )
        drawn = Year(is_good, orders.astype(jnp.int32), jnp.zeros(2))
        obs = shown(drawn, jnp.zeros((), jnp.int32), jnp.zeros(2))
        return MemoryState(drawn, jnp.zeros((), jnp.int32), obs), obs

    def place(drawn: Year, step: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the day, the season and the food of a step."""
        day = jnp.clip(step // (steps * foods), 0, total_days - 1)
        return day, day // days % seasons, drawn.order[day, step // steps % foods]

    def shown(drawn: Year, step: jax.Array, feedback: jax.Array) -> jax.Array:
        _, which, food = place(drawn, step)
        return jnp.concatenate([jax.nn.one_hot(which * foods + food, kinds), feedback])

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        day, which, food = place(state.drawn, state.step)
        is_good = state.drawn.is_good[which, food] > 0
        is_right = jnp.where(is_good, action[0] > 0.7, action[0] < 0.3)
        decides = state.step % steps == steps - 2
        is_scored = decides & (day >= seasons * days) | (decides & (day % days > 0))
        is_point = is_scored & is_right
        reward = jnp.where(is_point, 1.0 / scored, 0.0)
        which_days = jnp.array([day % days == 0, day % days > 0])
        drawn = state.drawn._replace(right=state.drawn.right + which_days * is_point)
        told = jnp.stack([is_right, ~is_right]).astype(jnp.float32)
        count = state.step + 1
        obs = shown(drawn, count, jnp.where(decides, told, 0.0))
        is_over = count == total_days * foods * steps
        return _stepped(drawn, count, obs, reward, is_over, limit)

    limit = total_days * foods * steps if episode_length is None else episode_length
    names = tuple(f"food {i} of season {j}" for j in range(seasons) for i in range(foods))
    suffix = "" if foods == 4 else f"@{foods}"
    env = _env(f"season{suffix}", (*names, "reward", "punish"), ("eat",), limit, reset, step)
    shares = "right on the first day of a season that returns", "right on other days"
    found = lambda state: state.drawn.right / jnp.maximum(counts, 1)  # noqa: E731
    return env._replace(descriptor=Descriptor(shares, (0.0, 0.0), (1.0, 1.0), found))


# --------------------------------------------------------------------------------------- t maze


class Maze(NamedTuple):
    """Where the reward is before and after it moves, when it moves, and the first turn."""

    ends: Int32[Array, " 2"]
    moves_at: Int32[Array, ""]
    turn: Int32[Array, ""]


FIRST_MOVE, LAST_MOVE = 8, 12
"""Rounds, from 0, in which the reward may move."""


def t_maze(episode_length: int | None = None, rounds: int = 20) -> Env:
    """Find the one of four ends of a double T-maze that pays, go there again, and see it move.

    A round has four steps, in which the observation says home, junction, junction, and end. The
    actions at the two junctions are turns, which lead to one of four ends. At the end there is the
    reward bit or the punish bit; the round then begins again at home. In a round from 8 to 12 the
    reward moves to another end. A round that finds it is worth 1 / rounds.

    Who searches one end after another and stays misses 1.5 rounds on average at first, and 2 after
    the move, so the optimum is `1 - 3.5 / rounds`; who does not remember gets 1/4.

    Args:
      episode_length: the time limit; by default that of all rounds.
      rounds: rounds of a life, at least 13.

    Raises:
      ValueError: there are fewer rounds, so that the reward might not move.
    """
    if rounds <= LAST_MOVE:
        raise ValueError(
            f"rounds must be at least {LAST_MOVE + 1}, got {rounds}: the reward moves in a round "
            f"from {FIRST_MOVE} to {LAST_MOVE}"
        )

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        key_end, key_other, key_round = jax.random.split(key, 3)
        end = jax.random.randint(key_end, (), 0, 4)
        other = (end + jax.random.randint(key_other, (), 1, 4)) % 4
        moves_at = jax.random.randint(key_round, (), FIRST_MOVE, LAST_MOVE + 1)
        drawn = Maze(jnp.stack([end, other]), moves_at, jnp.zeros((), jnp.int32))
        obs = jnp.zeros(5).at[0].set(1.0)
        return MemoryState(drawn, jnp.zeros((), jnp.int32), obs), obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        drawn, phase = state.drawn, state.step % 4
        pays = drawn.ends[(state.step // 4 >= drawn.moves_at).astype(jnp.int32)]
        arrives = phase == 2
        is_right = arrives & (2 * drawn.turn + action == pays)
        turn = jnp.where(phase == 1, action, drawn.turn).astype(jnp.int32)
        place = jnp.array([phase == 3, (phase == 0) | (phase == 1), arrives])
        told = jnp.stack([is_right, arrives & ~is_right])
        obs = jnp.concatenate([place, told]).astype(jnp.float32)
        count, reward = state.step + 1, jnp.where(is_right, 1.0 / rounds, 0.0)
        return _stepped(drawn._replace(turn=turn), count, obs, reward, count == 4 * rounds, limit)

    limit = 4 * rounds if episode_length is None else episode_length
    names = ("home", "junction", "end", "reward", "punish")
    env = _env("t_maze", names, ("left", "right"), limit, reset, step)
    return env._replace(action=ActionSpec("discrete", 2))


# ----------------------------------------------------------------------------------------- tasks


def _stepped(
    drawn: Any, count: jax.Array, obs: jax.Array, reward: jax.Array, is_over: jax.Array, limit: int
) -> tuple[EnvState, Timestep]:
    is_cut = (count >= limit) & ~is_over
    return MemoryState(drawn, count, obs), Timestep(obs, reward, is_over, is_cut)


def _env(
    name: str,
    obs_names: tuple[str, ...],
    action_names: tuple[str, ...],
    limit: int,
    reset: Callable,
    step: Callable,
) -> Env:
    size = len(action_names)
    action = ActionSpec("continuous", size, (0.0,) * size, (1.0,) * size)
    obs = ObsSpec((len(obs_names),), "integers")
    return Env(
        f"memory/{name}",
        obs,
        action,
        limit,
        reset,
        step,
        obs_names=obs_names,
        action_names=action_names,
    )


TASKS: dict[str, Callable[..., Env]] = {"copy": copy, "season": season, "t_maze": t_maze}
BITS = ("1", "2", "4", "8")
"""Components of vectors to copy that can be asked for, as in "memory/copy@4"."""
FOODS = ("2", "4")
"""Foods of a season that can be asked for, as in "memory/season@2"."""
MAX_LENGTH = 10_000
"""Largest length that can be asked for, as in "memory/copy@4x100"."""


def names() -> tuple[str, ...]:
    """Return the names of the tasks."""
    return tuple(TASKS)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return a task, described at its function.

    "copy@4" has vectors of 4 bits, "copy@4x100" sequences of just 100 of them, and "season@2" has
    two foods in a season.

    Raises:
      UnknownName: there is no such task, or no such number of bits or foods.
      ValueError: a length is not a number, or out of its range.
    """
    name, at, size = name.partition("@")
    task = lookup("task", name, TASKS)
    if not at:
        return task(episode_length)
    check("task with a size", name, ("copy", "season"))
    if name == "season":
        return season(episode_length, int(check("number of foods", size, FOODS)))
    bits, times, length = size.partition("x")
    own = {} if not times else dict.fromkeys(("shortest", "longest"), _length(length))
    return copy(episode_length, int(check("number of bits", bits, BITS)), **own)


def _length(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LENGTH:
        raise ValueError(f"length {text!r} of memory/copy; must be 1 to {MAX_LENGTH:,}")
    return int(text)


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw the observations of an episode over time into `<stem>.png`."""
    observations = np.stack([np.asarray(state.obs) for state in trajectory])
    return traces.draw(f"memory/{name}", observations, stem)
