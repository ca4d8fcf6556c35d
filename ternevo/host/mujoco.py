"""Gymnasium's MuJoCo environments, `mujoco/HalfCheetah-v5` and others, without Gymnasium's loop.

A world is an `MjData` of its own, which `mj_step` steps as Gymnasium does, so that the physics is
Gymnasium's to the last bit. `mujoco.rollout` takes 2 to 8 % less time, but does not return the
solver's warm start, without which HalfCheetah is elsewhere after 200 steps, nor the positions of
bodies and the forces of contacts, which some tasks need. Observations and rewards are computed for
all worlds at once, in `mujoco_tasks`.

One thing differs: where physics diverges, Gymnasium goes on from the model's initial state and says
nothing in what it returns. Here the episode ends, without a reward for the step.
"""

import ctypes.util
import importlib.util
import os
import sys
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo import installation
from ternevo.host.mujoco_names import names_of
from ternevo.host.mujoco_tasks import TASKS, Task
from ternevo.host.worlds import Rows, Spec, Stepped, Suite
from ternevo.names import check

WHAT = "a MuJoCo environment"
PICTURE = (240, 320)
"""The height and the width of a picture."""


class CannotDraw(RuntimeError):
    """MuJoCo finds no OpenGL to draw with; the message says what to set."""


def names() -> tuple[str, ...]:
    """Return the names of the environments: Gymnasium's ids."""
    return tuple(TASKS)


def spec(name: str) -> Spec:
    """Return what an environment is.

    Raises:
      UnknownName: there is none with this name.
      MissingExtra: MuJoCo or Gymnasium is not installed.
    """
    task = _task(name)
    installation.require(WHAT, "mujoco", "mujoco", "gymnasium")
    obs_names, action_names = names_of(name)
    return Spec(
        id=f"mujoco/{name}",
        obs_shape=(task.obs_size,),
        obs_kind="floats",
        action_kind="continuous",
        action_size=task.action_size,
        low=(-task.limit,) * task.action_size,
        high=(task.limit,) * task.action_size,
        episode_length=task.episode_length,
        obs_names=obs_names,
        action_names=action_names,
    )


def fps(name: str) -> float:
    """Return the steps per second of an environment's own clock."""
    return 1 / _task(name).seconds


def open_worlds(name: str, count: int, num_threads: int) -> "MujocoWorlds":
    """Open worlds of an environment.

    Args:
      name: one of `names()`.
      count: the number of worlds.
      num_threads: the number of threads that may step them.

    Raises:
      UnknownName: there is no environment with this name.
      MissingExtra: MuJoCo or Gymnasium is not installed.
    """
    task = _task(name)
    installation.require(WHAT, "mujoco", "mujoco", "gymnasium")
    return MujocoWorlds(task, count, num_threads)


class MujocoWorlds:
    """Worlds of a task; see `ternevo.host.worlds.Worlds`.

    Args:
      task: what they are worlds of.
      count: how many they are.
      num_threads: how many threads step them.
    """

    def __init__(self, task: Task, count: int, num_threads: int):
        draw_without_screen()
        self._mujoco = installation.load(WHAT, "mujoco", "mujoco")
        seeding = installation.load(WHAT, "mujoco", "gymnasium.utils.seeding")
        self._random = seeding.np_random
        self._task = task
        self._model = _load(self._mujoco, task)
        self._data = [self._mujoco.MjData(self._model) for _ in range(count)]
        self._controls = [data.ctrl for data in self._data]
        self._parts = [task.read(self._model, data) for data in self._data]
        self._places = np.zeros(count)
        self._start = self._data[0].qpos.copy(), self._data[0].qvel.copy()
        self._threads = min(num_threads, count)
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self._renderer: Any = None

    def reset(self, rows: Rows, seeds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Begin an episode in each of these worlds, as Gymnasium's `reset(seed=...)` does."""
        for row, seed in zip(rows.tolist(), seeds.tolist(), strict=True):
            data, (qpos, qvel) = self._data[row], self._start
            self._mujoco.mj_resetData(self._model, data)
            data.qpos[:], data.qvel[:] = self._task.begin(self._random(seed)[0], qpos, qvel)
            self._mujoco.mj_forward(self._model, data)
        seen = self._see(rows)
        self._places[rows] = self._task.place(seen)
        return self._observe(seen)

    def step(self, rows: Rows, actions: NDArray[np.float32]) -> Stepped:
        """Step these worlds."""
        actions = np.asarray(actions, np.float32)
        if self._pool is None:
            self._advance(rows.tolist(), actions)
        else:
            parts = zip(*(np.array_split(of, self._threads) for of in (rows, actions)), strict=True)
            list(self._pool.map(lambda part: self._advance(part[0].tolist(), part[1]), parts))
        seen = self._see(rows)
        places = self._task.place(seen)
        speeds = (places - self._places[rows]) / self._task.seconds
        self._places[rows] = places
        reward, terminated = self._task.judge(seen, actions, speeds)
        stepped = Stepped(self._observe(seen), reward, terminated)
        is_lost = np.asarray(~np.isfinite(seen).all(axis=1))
        return _ended(stepped, is_lost) if is_lost.any() else stepped

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return a picture [height, width, 3] of a world.

        Raises:
          CannotDraw: MuJoCo finds no OpenGL.
        """
        if self._renderer is None:
            self._renderer = _renderer(self._mujoco, self._model)
            # Python must not end before OpenGL is told to.
            self._end_renderer = weakref.finalize(self, self._renderer.close)
        has_track = self._mujoco.mj_name2id(self._model, self._mujoco.mjtObj.mjOBJ_CAMERA, "track")
        self._renderer.update_scene(self._data[row], "track" if has_track >= 0 else -1)
        return self._renderer.render()

    def close(self) -> None:
        """Free what the worlds hold."""
        if self._pool is not None:
            self._pool.shutdown()
        if self._renderer is not None:
            self._end_renderer()
        self._data, self._controls, self._parts = [], [], []

    def _advance(self, rows: Iterable[int], actions: NDArray[np.float32]) -> None:
        """Step the physics of these worlds; other threads may step other worlds meanwhile."""
        step, forces = self._mujoco.mj_step, self._mujoco.mj_rnePostConstraint
        model, steps, has_forces = self._model, self._task.frame_skip, self._task.has_forces
        for row, action in zip(rows, actions, strict=True):
            self._controls[row][:] = action
            step(model, self._data[row], steps)
            if has_forces:
                forces(model, self._data[row])

    def _see(self, rows: Rows) -> NDArray[np.float64]:
        """Return what the task reads of these worlds [k, columns]."""
        parts = [part for row in rows.tolist() for part in self._parts[row]]
        return np.concatenate(parts).reshape(len(rows), -1)

    def _observe(self, seen: NDArray[np.float64]) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # where physics diverges
            return self._task.observe(seen).astype(np.float32)


def _ended(stepped: Stepped, is_lost: NDArray[np.bool_]) -> Stepped:
    """Return a step in which some episodes have ended, as their physics has diverged."""
    return Stepped(
        np.where(is_lost[:, None], np.float32(0), stepped.obs),
        np.where(is_lost, 0.0, stepped.reward),
        stepped.terminated | is_lost,
    )


def _task(name: str) -> Task:
    return TASKS[check("MuJoCo environment", name, TASKS)]


def _load(mujoco: Any, task: Task) -> Any:
    """Return the model of a task, whose simulation is not begun again where it diverges."""
    found = importlib.util.find_spec("gymnasium")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "envs" / "mujoco" / "assets" / task.model
    with _quietly(mujoco):
        model = mujoco.MjModel.from_xml_path(str(path))
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


def draw_without_screen() -> None:
    """Choose EGL for pictures where there is no screen; MuJoCo looks when it is imported."""
    is_bare = sys.platform == "linux" and not os.environ.get("DISPLAY")
    if is_bare and ctypes.util.find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")


@contextmanager
def _quietly(mujoco: Any) -> Iterator[None]:
    """Drop warnings about how a model is written, which MuJoCo prints and writes to a file."""
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)


def _renderer(mujoco: Any, model: Any) -> Any:
    """Return what draws worlds, without shadows and reflections: five times as fast on a CPU."""
    try:
        renderer = mujoco.Renderer(model, *PICTURE)
    except Exception as error:  # each way of drawing has errors of its own
        now = os.environ.get("MUJOCO_GL") or "not set"
        raise CannotDraw(
            f"MuJoCo cannot draw here: {error}. MUJOCO_GL is {now}; on a machine without a screen, "
            "set MUJOCO_GL=egl, or MUJOCO_GL=osmesa with OSMesa installed, before Python starts"
        ) from error
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[flag] = False
    return renderer


SUITE = Suite(names, spec, open_worlds, fps)
