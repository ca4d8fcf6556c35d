"""Environments outside JAX as `Env`s, whose `reset` and `step` call out of the program.

Populations are not scored by them: `problems/host.py` does that with one call a generation. They
are for learners, which step a few environments at a time. A state says which episode it is, and
when. What belongs to it stays outside: so it is the episode's latest state that can be stepped, and
its first one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from PIL import Image

from ternevo.envs import pictures
from ternevo.host import scoring, suites
from ternevo.host.showing import Picture
from ternevo.host.worlds import Spec, Stepped, Worlds
from ternevo.machine import callbacks, startup
from ternevo.types import ActionSpec, Env, EnvState, Host, Key, ObsSpec, Task, Timestep


class OutsideState(NamedTuple):
    """Which episode a state belongs to, by its seed, and its number of steps so far."""

    seed: jax.Array
    step: jax.Array


class Suite(NamedTuple):
    """What `ternevo.envs` needs of a suite."""

    names: Callable[[], tuple[str, ...]]
    make: Callable[..., Env]
    render: Callable[[str, Sequence[EnvState], Path], Path]


def suite(name: str) -> Suite:
    """Return a suite of `ternevo.host` for `ternevo.envs`."""
    found = suites.suite(name)
    return Suite(found.names, partial(make, name), partial(render, name))


def make(suite_name: str, name: str, episode_length: int | None = None) -> Env:
    """Return an environment of a suite.

    Args:
      suite_name: the suite.
      name: the environment's name in the suite.
      episode_length: the time limit in steps; by default the environment's own.

    Raises:
      UnknownName: there is no such environment.
      MissingExtra: its simulator is not installed.
    """
    spec = suites.suite(suite_name).spec(name)
    length = spec.episode_length if episode_length is None else episode_length
    table = _Table(suite_name, name, spec)
    return Env(
        spec.id,
        ObsSpec(spec.obs_shape, spec.obs_kind),
        ActionSpec(spec.action_kind, spec.action_size, spec.low, spec.high),
        length,
        _reset(table),
        _step(table, length),
        host=Host(suite_name, name, startup.num_cores()),
        obs_names=spec.obs_names,
        action_names=spec.action_names,
    )


def _reset(table: "_Table") -> Callable[[Key, Task], tuple[EnvState, jax.Array]]:
    shape = jax.ShapeDtypeStruct((table.spec.obs_size,), jnp.float32)

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        seed = (jax.random.bits(key, (), jnp.uint32) >> 1).astype(jnp.int32)
        obs = callbacks.call(table.first, shape, seed)
        return OutsideState(seed, jnp.zeros((), jnp.int32)), obs

    return reset


def _step(
    table: "_Table", length: int
) -> Callable[[Key, EnvState, jax.Array], tuple[EnvState, Timestep]]:
    @custom_vmap
    def call(state: EnvState, action: jax.Array) -> tuple[jax.Array, ...]:
        one = jax.tree.map(lambda x: x[None], (state, action))
        return jax.tree.map(lambda x: x[0], call_all(*one))

    def call_all(state: EnvState, action: jax.Array) -> tuple[jax.Array, ...]:
        size = state.seed.shape[0]
        shapes = (
            jax.ShapeDtypeStruct((size, table.spec.obs_size), jnp.float32),
            jax.ShapeDtypeStruct((size,), jnp.float32),
            jax.ShapeDtypeStruct((size,), bool),
        )
        return callbacks.call(partial(table.step, length), shapes, *state, action)

    @call.def_vmap
    def _(size: int, is_batched: Any, *args: Any) -> tuple[Any, Any]:
        full = jax.tree.map(
            lambda x, batched: x if batched else jnp.broadcast_to(x, (size, *x.shape)),
            args,
            tuple(is_batched),
        )
        return call_all(*full), (True, True, True)

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key  # an episode's randomness is that of its seed
        obs, reward, terminated = call(state, action)
        count = state.step + 1
        truncated = (count >= length) & ~terminated
        return OutsideState(state.seed, count), Timestep(obs, reward, terminated, truncated)

    return step


class _Place(NamedTuple):
    """A world: in which set of worlds, and its row there."""

    worlds: Worlds
    row: int


class _Table:
    """The episodes that run for a learner, each in a world of its own."""

    def __init__(self, suite_name: str, name: str, spec: Spec):
        self.suite, self.name, self.spec = suites.suite(suite_name), name, spec
        self.places: dict[tuple[int, int], _Place] = {}
        self.free: list[_Place] = []
        self.for_starts: Worlds | None = None
        self.has_told = False

    def first(self, seed: np.ndarray) -> np.ndarray:
        """Return the first observation [obs] of the episode of a seed."""
        if self.for_starts is None:
            self.for_starts = self.suite.open_worlds(self.name, 1, 1)
        return self.for_starts.reset(np.zeros(1, np.intp), np.asarray(seed, np.int64)[None])[0]

    def step(
        self, length: int, seeds: np.ndarray, steps: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Step episodes [n]; one that begins, or that is not known, begins anew."""
        size = len(seeds)
        episodes = [(i, int(seed)) for i, seed in enumerate(seeds)]
        begins = np.asarray(
            [step == 0 or own not in self.places for own, step in zip(episodes, steps, strict=True)]
        )
        if not self.has_told and np.any(begins & (steps > 0)):
            self.has_told = True
            print(f"note: the episodes of {self.spec.id} that were interrupted begin anew")
        places = [self._place(own, size) for own in episodes]
        obs = np.empty((size, self.spec.obs_size), np.float32)
        reward, terminated = np.empty(size, np.float32), np.empty(size, bool)
        for worlds, mine in _by_worlds(places).items():
            rows = np.asarray([places[i].row for i in mine], np.intp)
            fresh = begins[mine]
            if fresh.any():
                worlds.reset(rows[fresh], seeds[mine][fresh].astype(np.int64))
            found = worlds.step(rows, actions[mine])
            obs[mine], reward[mine], terminated[mine] = found.obs, found.reward, found.terminated
        scoring.check(self.spec, Stepped(obs, reward.astype(np.float64), terminated), seeds, steps)
        for own, is_over in zip(episodes, terminated | (steps + 1 >= length), strict=True):
            if is_over:
                self.free.append(self.places.pop(own))
        return obs, reward, terminated

    def _place(self, episode: tuple[int, int], size: int) -> _Place:
        """Return the world of an episode, which gets a free one if it has none."""
        if episode not in self.places:
            if not self.free:
                worlds = self.suite.open_worlds(self.name, size, startup.num_cores())
                self.free = [_Place(worlds, row) for row in range(size)]
            self.places[episode] = self.free.pop()
        return self.places[episode]


def _by_worlds(places: list[_Place]) -> dict[Worlds, np.ndarray]:
    """Return which of the places are in each set of worlds."""
    found: dict[Worlds, list[int]] = {}
    for i, place in enumerate(places):
        found.setdefault(place.worlds, []).append(i)
    return {worlds: np.asarray(mine) for worlds, mine in found.items()}


def render(suite_name: str, name: str, states: Sequence[Picture], stem: Path) -> Path:
    """Write pictures of an episode as an animation at the speed of the task, `<stem>.gif`."""
    shown = pictures.evenly(states)
    seconds = shown[-1].step / len(shown) / suites.suite(suite_name).fps(name)
    frames = (Image.fromarray(picture.pixels) for picture in shown)
    return pictures.save_gif(frames, seconds, stem)
