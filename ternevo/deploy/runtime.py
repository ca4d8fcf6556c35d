"""Run a policy file: in C where the extension was built, in NumPy everywhere.

Both give the same integers, and so the same actions, bit for bit. Nothing is compiled here, and
JAX is not needed. A policy without memory acts: `policy.act(obs)`. One with memory steps:
`memory, action = policy.step(memory, obs)`, from `policy.reset()` on. One that learns while it acts
also draws numbers in its life, from the seed of `reset`, and may be told rewards by `step`. NumPy
runs it.

`TERNEVO_BACKEND=numpy` keeps from the extension, `TERNEVO_KERNEL=portable` (or avx2, avx512)
chooses a kernel of it.
"""

import dataclasses
import functools
import hashlib
import importlib
import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import forward, functions, integer, living, tvp
from ternevo.deploy.living import Told
from ternevo.deploy.record import ACTION_NAMES, COPIES, CPPN, OBS_NAMES, SHEET, Layer, PolicyRecord
from ternevo.files import replacing
from ternevo.settings.policies.settings import bias_shift_limit

BACKENDS = ("native", "numpy")
BACKEND_VARIABLE = "TERNEVO_BACKEND"
Actions = NDArray[np.int32] | NDArray[np.float32]
Logits = NDArray[np.int32] | NDArray[np.float32]
Memory = NDArray[Any]
"""What a policy carries from step to step: int8, float32 of policies with floats, and int32 of
policies that learn while they act."""


def backend() -> str:
    """Return what runs integer policies, "native" or "numpy".

    Raises:
      ImportError: the environment variable asks for the extension, and it was not built.
      ValueError: the environment variable is neither of the two.
    """
    wanted = os.environ.get(BACKEND_VARIABLE, "")
    if wanted not in ("", *BACKENDS):
        raise ValueError(f"{BACKEND_VARIABLE}={wanted}: must be one of {', '.join(BACKENDS)}")
    if wanted == "native" and native_module() is None:
        raise ImportError(f"{BACKEND_VARIABLE}=native, but the extension was not built")
    return wanted or ("numpy" if native_module() is None else "native")


@functools.cache
def native_module() -> ModuleType | None:
    """Return the extension, or None if it was not built here."""
    name = "ternevo.deploy._native"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # an extension that exists but cannot be loaded is an error
            raise
        return None


def load(path: str | Path) -> "Policy":
    """Read a policy file, ready to act.

    Nothing in the file is executed, whatever it says.

    Raises:
      FileNotFoundError, NotAFile: there is no such regular file.
      PolicyFormatError: it is not a policy of this version, or damaged.
    """
    return tvp.read(path, Policy.from_bytes)


class Policy:
    """A policy, ready to act: quantiser, network and action mapping.

    Observations are float32, one [in] or a batch [n, in]; of a policy that takes images also
    [height, width, channels] or [n, height, width, channels]. Other dtypes are converted: a single
    one in C, if it is an array; policies of bits, integers and pixels take bool, uint8 and int8 as
    they are. Lists take longer. One observation of bits may also be packed, the
    first bit in the lowest place: uint8 [ceil(in / 8)], which is `np.packbits(bits,
    bitorder="little")`, or uint64 [ceil(in / 64)]. `act` of discrete actions costs a tenth of a
    microsecond with the extension, of continuous ones a few tenths.

    Attributes:
      record: what the file holds.
      backend: what runs it, "native" or "numpy"; policies with floats run in NumPy.
    """

    record: PolicyRecord
    backend: str

    def __init__(self, record: PolicyRecord):
        """Build it from a record.

        Raises:
          PolicyFormatError: the record breaks a rule of the format.
        """
        data = tvp.encode(record)
        self._set_up(tvp.decode(data), data)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Policy":
        """Build it from the bytes of a file.

        Raises:
          PolicyFormatError: it is not a policy of this version, or damaged.
        """
        policy = cls.__new__(cls)
        policy._set_up(tvp.decode(data), bytes(data))
        return policy

    def _set_up(self, record: PolicyRecord, data: bytes) -> None:
        # Read back from the bytes, so that both backends run the same policy.
        self.record, self._data = record, data
        if record.life is not None:
            self.backend, self._runner = "numpy", _Living(record)
            return
        self.backend = backend() if record.is_integer else "numpy"
        self._runner = (_Native if self.backend == "native" else _Numpy)(record, data)
        if isinstance(self._runner, _Native) and not record.memory_size:
            # The C method itself: a Python function around it would take longer than the network.
            self.act = self._runner.native.act

    def __repr__(self) -> str:
        """Name the environment, the sizes and the backend."""
        env = self.record.metadata.get("env", "")
        return f"Policy({env!r}, sizes={self.record.sizes}, backend={self.backend!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the file's bytes."""
        return Policy.from_bytes, (self._data,)

    def act(self, obs: Any) -> int | NDArray[np.float32]:
        """Return the action for one observation [in]: a number, or float32 [out].

        Raises:
          ValueError: the observation has another shape, or the policy has a memory.
        """
        self._need_no_memory("act")
        found = self._runner.act_batch(_observation(self.record, obs)[None])[0]
        return int(found) if self.record.output_kind == "discrete" else found

    def act_batch(self, obs: Any, out: Actions | None = None) -> Actions:
        """Return an action for each row of [n, in]: int32 [n], or float32 [n, out].

        Args:
          obs: the observations.
          out: an array to put them into, and to return.

        Raises:
          ValueError: an array has another shape, or the policy has a memory.
        """
        self._need_no_memory("act_batch")
        rows = self._batch(obs)
        _check_out(out, *_like_actions(self.record, len(rows)))
        return self._runner.act_batch(rows, out)

    def reset(self, rows: int | None = None, seed: int = 0) -> Memory:
        """Return the memory [memory] before the first step, or one for each row [rows, memory].

        It is empty for a policy without memory, which may be stepped too.

        Args:
          rows: number of rows.
          seed: of the life of a policy that draws numbers in it, modulo 2**32; row i has seed + i.
        """
        if isinstance(self._runner, _Living):
            found = self._runner.begin(seed, 1 if rows is None else rows)
            return found[0] if rows is None else found
        first = integer.first_memory(self.record)
        first = first if self.record.is_integer else first.astype(np.float32)
        return first if rows is None else np.tile(first, (rows, 1))

    def step(
        self, memory: Memory, obs: Any, feedback: float = 0.0, is_first: bool = False
    ) -> tuple[Memory, int | NDArray[np.float32]]:
        """Return the memory [memory] after a step, and the action for one observation.

        Args:
          memory: before the step.
          obs: the observation.
          feedback: the reward of the step before; only policies that learn from it use it.
          is_first: whether an episode begins, also one within a life.

        Raises:
          ValueError: the memory or the observation has another shape or dtype.
        """
        row = _observation(self.record, obs)[None]
        told = _told(1, feedback, is_first)
        memories, found = self._runner.step_batch(self._memories(memory, None)[None], row, told)
        is_discrete = self.record.output_kind == "discrete"
        return memories[0], int(found[0]) if is_discrete else found[0]

    def step_batch(
        self, memories: Memory, obs: Any, feedback: Any = 0.0, is_first: Any = False
    ) -> tuple[Memory, Actions]:
        """Return the memories [n, memory] after a step, and an action for each row of [n, in].

        Args:
          memories: before the step.
          obs: the observations.
          feedback: the rewards [n] of the step before, or one for all.
          is_first: whether an episode begins, [n] or one for all.

        Raises:
          ValueError: the memories or the observations have another shape or dtype.
        """
        rows = self._batch(obs)
        told = _told(len(rows), feedback, is_first)
        return self._runner.step_batch(self._memories(memories, len(rows)), rows, told)

    def step_logits_q(
        self, memories: Memory, q: Any, feedback: Any = 0.0, is_first: Any = False
    ) -> tuple[Memory, Logits]:
        """Return the memories [n, memory] after a step, and the logits [n, out].

        Args:
          memories: before the step.
          q: quantised observations, integers [n, in] of int8.
          feedback: see `step_batch`.
          is_first: see `step_batch`.
        """
        rows = self._rows(_int8(q), "q")
        told = _told(len(rows), feedback, is_first)
        return self._runner.step_logits_q(self._memories(memories, len(rows)), rows, told)

    def logits(self, obs: Any) -> Logits:
        """Return the last layer's sums of [in] or [n, in]: int32; of float policies float32.

        Raises:
          ValueError: an array has another shape, or the policy has a memory.
        """
        self._need_no_memory("logits")
        values = _floats(obs)
        rows = self._rows(values, "obs")
        found = self._runner.logits_q(self._runner.quantise(rows))
        return found.reshape(*self._outer(values), self.record.num_outputs)

    def logits_q(self, q: Any) -> Logits:
        """Return the same of quantised observations, integers [in] or [n, in] of int8."""
        self._need_no_memory("logits_q")
        values = _int8(q)
        found = self._runner.logits_q(self._rows(values, "q"))
        return found.reshape(*self._outer(values), self.record.num_outputs)

    def quantise(self, obs: Any) -> NDArray[np.int8]:
        """Return the integers that the network takes, int8, of [in] or [n, in]."""
        values = _floats(obs)
        return self._runner.quantise(self._rows(values, "obs")).reshape(values.shape)

    def _outer(self, array: NDArray) -> tuple[int, ...]:
        """Return the shape of an array of observations without that of an observation."""
        return array.shape[:-3] if array.ndim > 2 else array.shape[:-1]

    def _rows(self, array: NDArray, name: str) -> NDArray:
        """Return [in] or [n, in], or the same of images, as rows."""
        size, image = self.record.obs_size, self.record.obs_shape
        is_image = array.ndim in (3, 4) and array.shape[-3:] == image
        if not is_image and (array.ndim not in (1, 2) or array.shape[-1] != size):
            shapes = _shapes(self.record, "", "n, ")
            raise ValueError(f"{name} has shape {array.shape}; must be {shapes}")
        return array.reshape(math.prod(self._outer(array)), size)

    def _batch(self, obs: Any) -> NDArray[np.float32]:
        """Return a batch of observations as rows."""
        values, record = _floats(obs), self.record
        image = values.ndim == 4 and values.shape[1:] == record.obs_shape
        if not image and (values.ndim != 2 or values.shape[1] != record.obs_size):
            shapes = _shapes(record, "n, ")
            raise ValueError(f"obs has shape {values.shape}; must be {shapes}")
        return values.reshape(len(values), record.obs_size)

    def _memories(self, memories: Memory, rows: int | None) -> Memory:
        """Return a copy, which a step may write to."""
        found, wanted = np.asarray(memories), self.reset(rows)
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"the memory is {found.dtype} of shape {found.shape}; must be {wanted.dtype} of "
                f"{wanted.shape}, as reset gives it"
            )
        return np.array(found, order="C")

    def _need_no_memory(self, name: str) -> None:
        if self.record.memory_size:
            raise ValueError(
                f"the policy has a memory, which {name} would forget; start with memory = "
                "policy.reset(), then memory, action = policy.step(memory, obs)"
            )

    def to_bytes(self) -> bytes:
        """Return the file, with its optional parts."""
        return self._data

    def save(self, path: str | Path) -> None:
        """Write the file, atomically; by convention its name ends in .tvp.

        Raises:
          OSError: it cannot be written.
        """
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(self._data)

    def info(self) -> dict[str, Any]:
        """Return its names and sizes, and the identity of the bare policy that a device needs.

        "obs_names" are as many as there are inputs, or fewer that repeat (the channels of an
        image), or none; "action_names" as many as there are outputs, or none.
        """
        record = self.record
        bare = tvp.encode(record.bare())  # the identity, however the file has its layers
        weighted = [layer for layer in record.layers if layer.type != "max_pool"]
        tensors = [
            tensor
            for layer in weighted
            for tensor in (layer.weights, layer.bias)
            if tensor is not None
        ]
        return {
            "env": record.metadata.get("env", ""),
            "obs_names": record.obs_names,
            "action_names": record.action_names,
            "obs_shape": record.obs_shape,
            "sizes": record.sizes,
            "layers": record.types,
            "memory_size": record.memory_size,
            "activation": _names({layer.activation for layer in weighted[:-1]}),
            "weights": _names({layer.kind for layer in weighted}),
            "num_weights": sum(tensor.size for tensor in tensors),
            "num_nonzero": sum(int(np.count_nonzero(tensor)) for tensor in tensors),
            "bytes": len(tvp.encode(tvp.smallest(record.bare()))),
            "sha256": hashlib.sha256(bare).hexdigest(),
            "backend": self.backend,
            "metadata": {
                name: text
                for name, text in record.metadata.items()
                if name not in (OBS_NAMES, ACTION_NAMES, COPIES, CPPN, SHEET)
            },
        }


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


# -------------------------------------------------------------------------------------- arrays


def _floats(obs: Any) -> NDArray[np.float32]:
    """Return contiguous float32; what is too large becomes infinite, as in C."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(obs, np.float32, order="C")


def _int8(q: Any) -> NDArray[np.int8]:
    """Return contiguous int8."""
    values = np.asarray(q)
    if values.dtype.kind not in "iu":
        raise TypeError(f"q has dtype {values.dtype}; must be integers")
    if values.dtype != np.int8 and np.any((values < -128) | (values > 127)):
        raise ValueError("q has integers outside int8")
    return np.ascontiguousarray(values, np.int8)


def _observation(record: PolicyRecord, obs: Any) -> NDArray[np.float32]:
    """Return one observation as float32 [in]; of bits also if they are packed."""
    values = _floats(_unpacked(record, obs))
    if values.shape not in ((record.obs_size,), record.obs_shape or None):
        shapes = _shapes(record, "")
        if record.input_kind == "bits":
            packed = (f"{dtype} ({count},)" for dtype, count in _words(record).items())
            shapes += f"; or packed bits, {' or '.join(packed)}, the first in the lowest place"
        raise ValueError(f"an observation has shape {values.shape}; must be {shapes}")
    return values.reshape(record.obs_size)


def _words(record: PolicyRecord) -> dict[str, int]:
    """Return how many words of each dtype hold an observation of bits."""
    return {"uint8": -(-record.obs_size // 8), "uint64": -(-record.obs_size // 64)}


def _unpacked(record: PolicyRecord, obs: Any) -> Any:
    """Return the bits of an observation that is packed into words, else the observation."""
    if record.input_kind != "bits" or not isinstance(obs, np.ndarray):
        return obs
    if obs.shape == (record.obs_size,) or obs.shape != (_words(record).get(obs.dtype.name),):
        return obs
    octets = obs.astype(obs.dtype.newbyteorder("<")).view(np.uint8)
    return np.unpackbits(octets, count=record.obs_size, bitorder="little")


def _shapes(record: PolicyRecord, *prefixes: str) -> str:
    """Return the shapes that observations may have, each with something in front."""
    image = ", ".join(map(str, record.obs_shape))
    texts = [f"({prefix}{record.obs_size}{'' if prefix else ','})" for prefix in prefixes]
    texts += [f"({prefix}{image})" for prefix in prefixes if image]
    return " or ".join(texts)


def _like_actions(record: PolicyRecord, rows: int) -> tuple[tuple[int, ...], type]:
    """Return shape and dtype of the actions of a batch."""
    if record.output_kind == "discrete":
        return (rows,), np.int32
    return (rows, record.num_outputs), np.float32


def _check_out(out: Actions | None, shape: tuple[int, ...], dtype: type) -> None:
    if out is None:
        return
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"out is {out.dtype} of shape {out.shape}; must be {np.dtype(dtype)} of {shape}"
        )
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be contiguous and writeable")


# ------------------------------------------------------------------------------------ backends


class _Native:
    """The extension, with arrays to fill."""

    def __init__(self, record: PolicyRecord, data: bytes):
        module = native_module()
        assert module is not None
        if record.is_compact:  # which the extension does not read
            data = tvp.encode(dataclasses.replace(record, is_compact=False))
        # Not methods: the extension would keep the policy, and the policy the extension.
        new_action = np.zeros(record.num_outputs, np.float32).copy
        self.native = module.Policy(data, functools.partial(_observation, record), new_action)
        self.record = record

    def act_batch(self, rows: NDArray[np.float32], out: Actions | None = None) -> Actions:
        found = np.empty(*_like_actions(self.record, len(rows))) if out is None else out
        self.native.act_batch(rows, found)
        return found

    def logits_q(self, rows: NDArray[np.int8]) -> NDArray[np.int32]:
        found = np.empty((len(rows), self.record.num_outputs), np.int32)
        self.native.logits_q(rows, found)
        return found

    def step_batch(
        self, memories: Any, rows: NDArray[np.float32], _: Told
    ) -> tuple[Memory, Actions]:
        found = np.empty(*_like_actions(self.record, len(rows)))
        self.native.step(memories, rows, found)
        return memories, found

    def step_logits_q(
        self, memories: Any, rows: NDArray[np.int8], _: Told
    ) -> tuple[Memory, Logits]:
        found = np.empty((len(rows), self.record.num_outputs), np.int32)
        self.native.step_logits_q(memories, rows, found)
        return memories, found

    def quantise(self, rows: NDArray[np.float32]) -> NDArray[np.int8]:
        found = np.empty(rows.shape, np.int8)
        self.native.quantise(rows, found)
        return found


class _Numpy:
    """The same in NumPy; policies with floats run only here."""

    def __init__(self, record: PolicyRecord, _: bytes):
        self.record = record
        if record.is_integer:
            self.net = integer.compile_integer(record)
            self.steps, self.shift = integer.steps(self.net, np.float32), self.net.input_shift
        else:
            self.steps, self.shift = float_steps(record), integer.input_shift(record)

    def act_batch(self, rows: NDArray[np.float32], out: Actions | None = None) -> Actions:
        found = np.empty(*_like_actions(self.record, len(rows))) if out is None else out
        found[...] = self._actions(self.logits_q(self.quantise(rows)))
        return found

    def logits_q(self, rows: NDArray[np.int8]) -> Logits:
        dtype = np.int8 if self.record.is_integer else np.float32
        return self._stepped(np.empty((len(rows), 0), dtype), rows)[1]

    def step_batch(
        self, memories: Memory, rows: NDArray[np.float32], _: Told
    ) -> tuple[Memory, Actions]:
        memories, found = self._stepped(memories, self.quantise(rows))
        return memories, self._actions(found)

    def step_logits_q(
        self, memories: Any, rows: NDArray[np.int8], _: Told
    ) -> tuple[Memory, Logits]:
        return self._stepped(memories, rows)

    def _stepped(self, memories: Any, rows: NDArray[np.int8]) -> tuple[Memory, Logits]:
        """Fill the memories in place."""
        dtype = np.int32 if self.record.is_integer else np.float32
        found: Any = np.empty((len(rows), self.record.num_outputs), dtype)

        def run(piece: slice) -> NDArray:
            after, outputs = self._run(memories[piece], rows[piece])
            memories[piece] = after
            return outputs

        return memories, forward.in_pieces(self.record.sizes, len(rows), run, found)

    def _run(self, memories: Memory, rows: NDArray[np.int8]) -> tuple[NDArray, NDArray]:
        if not self.record.is_integer:
            return float_step(self.record, self.steps, memories, rows)
        values = rows.astype(np.int64) >> self.shift
        return forward.walk(self.steps, memories.astype(np.int64), values)

    def quantise(self, rows: NDArray[np.float32]) -> NDArray[np.int8]:
        return integer.quantise(self.record, rows)

    def _actions(self, found: Any) -> Actions:
        if self.record.is_integer:
            return integer.actions(self.record, self.net.output_exponent, found)
        return _of_floats(self.record, found)


class _Living:
    """A policy that learns while it acts."""

    def __init__(self, record: PolicyRecord):
        self.record, self.runner = record, living.runner(record)

    def begin(self, seed: int, rows: int) -> Memory:
        seeds = (np.arange(rows, dtype=np.uint64) + seed % 2**32).astype(np.uint32)
        return self.runner.begin(seeds)

    def act_batch(self, rows: NDArray[np.float32], out: Actions | None = None) -> Actions:
        raise AssertionError("a policy that learns while it acts has a memory")

    def logits_q(self, rows: NDArray[np.int8]) -> Logits:
        raise AssertionError("a policy that learns while it acts has a memory")

    def step_batch(
        self, memories: Memory, rows: NDArray[np.float32], told: Told
    ) -> tuple[Memory, Actions]:
        memories, found = self.runner.step(memories, self.quantise(rows), told)
        if self.runner.is_float:
            return memories, _of_floats(self.record, found)
        return memories, integer.actions(self.record, self.runner.output_exponent, found)

    def step_logits_q(
        self, memories: Memory, rows: NDArray[np.int8], told: Told
    ) -> tuple[Memory, Logits]:
        return self.runner.step(memories, rows, told)

    def quantise(self, rows: NDArray[np.float32]) -> NDArray[np.int8]:
        return integer.quantise(self.record, rows)


def _told(rows: int, feedback: Any, is_first: Any) -> Told:
    return Told(
        np.broadcast_to(np.asarray(feedback, np.float32), (rows,)),
        np.broadcast_to(np.asarray(is_first, np.bool_), (rows,)),
    )


def _of_floats(record: PolicyRecord, found: NDArray[np.float32]) -> Actions:
    """Return the actions of outputs in units of 1."""
    if record.output_kind == "discrete":
        return np.argmax(found, axis=-1).astype(np.int32)
    return integer.in_range(record, np.clip(found, -1, 1))


# -------------------------------------------------------------------------------------- floats


def float_logits(record: PolicyRecord, q: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the outputs float32 [..., out] of quantised observations, with floats between layers.

    As `forward` of ternevo/policies/layers.py, within what another order of sums makes of float32.
    """
    rows = q.reshape(math.prod(q.shape[:-1]), q.shape[-1])
    memory = np.zeros((len(rows), 0), np.float32)
    found = float_step(record, float_steps(record), memory, rows)[1]
    return found.reshape(*q.shape[:-1], record.num_outputs)


def float_step(
    record: PolicyRecord, steps: Any, memory: Any, q: NDArray[np.int8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the memory float32 [n, memory] after a step, and the outputs float32 [n, out].

    Args:
      record: the policy.
      steps: those of `float_steps`.
      memory: float32 [n, memory] before the step.
      q: quantised observations int8 [n, in].
    """
    values = (q >> integer.input_shift(record)).astype(np.float32)
    carried, units = forward.walk(steps, memory, values)
    return carried, np.ldexp(units, -record.output_shift)


def float_steps(record: PolicyRecord) -> tuple[forward.Step, ...]:
    """Return the layers for `forward.walk`, with floats between them."""
    steps = []
    grid: Grid = integer.input_grid(record)
    for layer, shape in zip(record.layers, record.shapes, strict=False):
        matrix = layer.weights.T.astype(np.float32)
        after = integer.GRIDS.get(layer.activation)
        if layer.is_cell and grid and after is None:
            matrix[-layer.size :] *= np.float32(2.0 ** grid[0])  # memory in the unit of its inputs
        follow = functools.partial(_follow, layer, grid)
        size = layer.memory_size
        steps.append(
            forward.Step(layer.type, layer.window, layer.skip, size, shape, matrix, follow)
        )
        grid = grid if layer.type == "max_pool" else after
    return tuple(steps)


Grid = tuple[int, int] | None
"""Bits of a unit and full scale of what a layer takes; None where that is floats."""


def _follow(layer: Layer, grid: Grid, sums: NDArray, other: Any) -> NDArray[np.float32]:
    """Return what the next layer takes; `other` is the memory of a cell, or what a skip adds."""
    if layer.bias is not None:
        sums = sums + layer.bias.astype(np.float32) * _bias_size(layer, grid)
    units = np.ldexp(sums, -(layer.exponents + (grid[0] if grid else 0)))
    if layer.type == "gated":
        return _gated(layer.activation, units, other)
    values = _activate(layer.activation, units, other if layer.skip else 0.0)
    if layer.functions is None:
        return values
    return functions.shaped(np, layer.functions, values, integer.GRIDS[layer.activation][1])


def _gated(activation: str, units: NDArray, memory: Any) -> NDArray[np.float32]:
    """Return the memory after a step; on a grid with the integers of `integer.step`."""
    candidates, gates = np.split(units, 2, axis=-1)
    change = _activate(activation, candidates) - memory
    bits = integer.GRIDS.get(activation, (None, 0))[0]
    half = np.float32(0.5)
    if bits is None:
        return memory + np.clip(gates * half + half, 0, 1) * change
    if bits == 0:
        return memory + change * (gates > 0)
    unit = np.float32(2**bits)
    opened = np.clip(np.rint(gates * (unit * half)) + unit * half, 0, unit)
    return memory + np.rint(opened * change / unit)


def _bias_size(layer: Layer, grid: Grid) -> Any:
    """Return what a bias of 1 adds, float32 [] or [out]: an integer where the inputs are."""
    shift = layer.exponents - layer.bias_exponent
    if grid is not None:
        return np.float32(integer.bias_size(grid[1], shift, bias_shift_limit(layer.kind)))
    return np.ldexp(np.float32(1), np.int32(np.minimum(shift, bias_shift_limit(layer.kind))))


def _activate(activation: str, units: NDArray[np.float32], added: Any = 0.0) -> NDArray[np.float32]:
    """Return what the next layer takes of pre-activations in units, plus what a skip adds."""
    if activation == "none":
        return units
    if activation == "tanh":
        return np.tanh(units + added)
    if activation == "relu":
        return np.maximum(units + added, np.float32(0))
    if activation == "sign":
        return np.where(units >= 0, np.float32(1), np.float32(-1))
    if activation == "ternary":
        return (units > 0.5).astype(np.float32) - (units < -0.5).astype(np.float32)
    bits, limit = integer.GRIDS[activation]
    return np.clip(np.rint(units * np.float32(2**bits)) + added, -limit, limit)
