"""Teachers: anything that maps observations to actions, asked about many states at once."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo import gym
from ternevo.deploy import onnx_graph, runtime
from ternevo.distil.spaces import Rows, Spaces
from ternevo.names import lookup

SUM_TOLERANCE = 1e-3
"""How far the sum of probabilities may be from 1; other scores are logits."""


class Labels(NamedTuple):
    """What a teacher does in some states.

    Attributes:
      actions: int32 [n], counted from 0, or float32 [n, size] within the range.
      targets: what the student learns, float32 [n, outputs]: probabilities of the actions, or the
        action as a share of its range, -1 to 1.
    """

    actions: NDArray
    targets: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A policy from elsewhere.

    Attributes:
      name: what to call it.
      answer: maps rows [n, obs] to n answers, each an action or a score for every action.
      spaces: those of the environment.
      temperature: divides scores before a softmax; 0 takes the best action.
    """

    name: str
    answer: Callable[[Rows], Any]
    spaces: Spaces
    temperature: float

    def label(self, rows: Rows) -> Labels:
        """Return what the teacher does in these states.

        Raises:
          ValueError: its answers are not actions of the environment.
        """
        found = np.asarray(self.answer(rows))
        spec = self.spaces.action
        if spec.kind == "continuous":
            return self._continuous(found, len(rows))
        if found.dtype.kind in "iub" and found.shape in ((len(rows),), (len(rows), 1)):
            return self._chosen(found.reshape(-1).astype(np.int64))
        if found.dtype.kind == "f" and found.shape == (len(rows), spec.size):
            return self._rated(found.astype(np.float64))
        raise self._unfit(found, len(rows), f"{spec.size} numbers that rate the actions")

    def act_batch(self, rows: Rows) -> NDArray:
        """Return the actions, as `ternevo.gym.evaluate` asks for them."""
        return self.label(rows).actions

    def _chosen(self, actions: NDArray[np.int64]) -> Labels:
        """Return labels for actions as the environment numbers them."""
        first, size = self.spaces.first_action, self.spaces.action.size
        wrong = actions[(actions < first) | (actions >= first + size)]
        if wrong.size:
            raise ValueError(
                f"the teacher {self.name} chose action {wrong[0]}, but {self.spaces.env_id} has "
                f"actions {first} to {first + size - 1}"
            )
        chosen = (actions - first).astype(np.int32)
        return Labels(chosen, np.eye(size, dtype=np.float32)[chosen])

    def _rated(self, scores: NDArray[np.float64]) -> Labels:
        """Return labels for probabilities or logits [n, actions]."""
        if np.isnan(scores).any() or (scores == np.inf).any():
            raise ValueError(f"the teacher {self.name} rates actions with NaN or infinity")
        best = scores.argmax(1).astype(np.int32)
        if self.temperature == 0:
            return Labels(best, np.eye(scores.shape[1], dtype=np.float32)[best])
        if (scores >= 0).all() and (np.abs(scores.sum(1) - 1) < SUM_TOLERANCE).all():
            with np.errstate(divide="ignore"):
                scores = np.log(scores)
        powers = np.exp((scores - scores.max(1, keepdims=True)) / self.temperature)
        return Labels(best, (powers / powers.sum(1, keepdims=True)).astype(np.float32))

    def _continuous(self, found: NDArray, count: int) -> Labels:
        spec = self.spaces.action
        if found.dtype.kind not in "fiu" or found.shape[:1] != (count,):
            raise self._unfit(found, count, f"{spec.size} numbers")
        if found.size != count * spec.size:
            raise self._unfit(found, count, f"{spec.size} numbers")
        if not np.isfinite(found).all():
            raise ValueError(f"the teacher {self.name} gave an action that is not finite")
        low, high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
        actions = np.clip(found.reshape(count, -1).astype(np.float32), low, high)
        return Labels(actions, self.spaces.shares(actions))

    def _unfit(self, found: NDArray, count: int, numbers: str) -> ValueError:
        spec, env_id = self.spaces.action, self.spaces.env_id
        one = "an integer, or " if spec.kind == "discrete" else ""
        return ValueError(
            f"the teacher {self.name} gave {found.dtype} of shape {found.shape} for {count} "
            f"observations; for {env_id} an answer must be {one}{numbers}"
        )


def teacher_of(source: Any, spaces: Spaces, temperature: float, batched: bool = False) -> Teacher:
    """Return anything that acts as a teacher.

    Args:
      source: an ONNX model or a .tvp by its path; "package.module:name", which is imported; an
        object with `predict(obs [n, ...], deterministic=True)` that returns actions and a state,
        as in Stable-Baselines3; an object with `act_batch(obs [n, obs])`, as in
        `ternevo.deploy.runtime`; or a function from an observation to an action.
      spaces: those of the environment.
      temperature: see `Teacher`.
      batched: whether a function takes observations [n, ...] and returns n actions.

    Raises:
      FileNotFoundError, UnknownName: there is no such file or object.
      ModuleNotFoundError: the model needs onnxruntime.
      ValueError: it cannot be asked, or takes other observations.
    """
    name = _name_of(source)
    if isinstance(source, str | Path):
        source = _found(source)
    return Teacher(name, _answering(name, source, spaces, batched), spaces, temperature)


def _name_of(source: Any) -> str:
    if isinstance(source, str) and ":" in source:
        return source
    if isinstance(source, str | Path):
        return Path(source).name
    own = getattr(source, "__qualname__", None)
    return f"{source.__module__}:{own}" if own else type(source).__name__


def _found(source: str | Path) -> Any:
    """Return what a path or a name stands for."""
    suffix = Path(source).suffix
    if suffix == ".onnx":
        return _Onnx(Path(source))
    if suffix == ".tvp":
        return gym.load(source)
    if isinstance(source, str) and ":" in source:
        return lookup("teacher", source, {})
    hint = ""
    if suffix == ".zip":
        hint = "; load a zip of Stable-Baselines3 in a module of yours, and name what it loads"
    raise ValueError(f"teacher {source} must be a .onnx, a .tvp or package.module:name{hint}")


def _answering(name: str, source: Any, spaces: Spaces, batched: bool) -> Callable[[Rows], Any]:
    """Return a function from rows to answers."""
    if isinstance(source, _Onnx):
        return source.for_spaces(name, spaces)
    if hasattr(source, "predict"):
        return lambda rows: _predicted(name, source, spaces.as_given(rows))
    if hasattr(source, "act_batch"):
        if hasattr(source, "record"):
            gym.check_fits(source.record, spaces.env_id, spaces)
        if isinstance(source, runtime.Policy) and source.record.memory_size:
            raise _has_memory(name)
        return lambda rows: source.act_batch(rows) + spaces.first_action
    if not callable(source):
        raise ValueError(
            f"a teacher must be a function from an observation to an action, or have predict or "
            f"act_batch; {name} has neither"
        )
    if batched:
        return lambda rows: source(spaces.as_given(rows))
    return lambda rows: np.stack([np.asarray(source(obs)) for obs in spaces.as_given(rows)])


def _predicted(name: str, model: Any, obs: NDArray) -> Any:
    """Return the actions of a model of Stable-Baselines3."""
    try:
        actions, state = model.predict(obs, deterministic=True)
    except TypeError as error:
        raise ValueError(
            f"the teacher {name} needs predict(obs, deterministic=True) that returns actions and a "
            f"state, as in Stable-Baselines3: {error}"
        ) from error
    if state is not None:
        raise _has_memory(name)
    return actions


def _has_memory(name: str) -> ValueError:
    return ValueError(f"the teacher {name} has a memory, which a student cannot learn")


# --------------------------------------------------------------------------------------- ONNX


class _Onnx:
    """An ONNX model with one input; its first output is the action, or rates the actions."""

    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such model")
        try:
            self.session = onnx_graph.session(str(path))
        except ModuleNotFoundError:
            raise
        except Exception as error:  # onnxruntime has an exception of its own for each cause
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} is not a model that onnxruntime runs: {reason}") from error

    def for_spaces(self, name: str, spaces: Spaces) -> Callable[[Rows], Any]:
        """Return a function from rows to answers, once the input fits the environment.

        Raises:
          ValueError: the model has several inputs, or takes other observations.
        """
        taken = self.session.get_inputs()
        if len(taken) != 1:
            names = ", ".join(one.name for one in taken)
            raise ValueError(f"the teacher {name} must have one input, not {names}")
        shape, dtype = taken[0].shape, DTYPES.get(taken[0].type, np.float32)
        given = spaces.observation_space.shape
        has_batch = len(shape) == len(given) + 1
        sizes = shape[1:] if has_batch else shape
        if len(sizes) != len(given) or any(
            isinstance(ours, int) and ours != theirs
            for ours, theirs in zip(sizes, given, strict=True)
        ):
            raise ValueError(
                f"the teacher {name} takes observations of shape {list(sizes)}, but "
                f"{spaces.env_id} gives {list(given)}"
            )
        takes_many = has_batch and not isinstance(shape[0], int)
        one_by_one = np.s_[:, None] if has_batch else np.s_[:]

        def answer(rows: Rows) -> Any:
            obs = spaces.as_given(rows).astype(dtype)
            if takes_many:
                return self._run(taken[0].name, obs)
            found = [self._run(taken[0].name, one) for one in obs[one_by_one]]
            return np.concatenate(found) if has_batch else np.stack(found)

        return answer

    def _run(self, name: str, obs: NDArray) -> NDArray:
        return np.asarray(self.session.run(None, {name: obs})[0])


DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
}
"""The dtype of an input, by the name that onnxruntime has for it."""
