"""Run a policy file: in C where the extension was built, in NumPy everywhere.

Both give the same integers, and so the same actions, bit for bit. Nothing is compiled here, and
JAX is not needed. `TERNEVO_BACKEND=numpy` keeps from the extension, `TERNEVO_KERNEL=portable`
(or avx2, avx512) chooses a kernel of it.
"""

import functools
import hashlib
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import integer, tvp
from ternevo.deploy.record import ACTION_NAMES, OBS_NAMES, Layer, PolicyRecord
from ternevo.files import replacing

BACKENDS = ("native", "numpy")
BACKEND_VARIABLE = "TERNEVO_BACKEND"
ROWS_AT_ONCE = 4096
"""NumPy runs a batch in pieces, whose sums fit into a cache."""

Actions = NDArray[np.int32] | NDArray[np.float32]
Logits = NDArray[np.int32] | NDArray[np.float32]


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

    Observations are float32, one [in] or a batch [n, in]. Lists and other dtypes are converted,
    which takes longer. `act` of discrete actions costs a tenth of a microsecond with the extension.

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
        self.backend = backend() if record.is_integer else "numpy"
        self._runner = (_Native if self.backend == "native" else _Numpy)(record, data)
        if isinstance(self._runner, _Native):
            # The C method itself: a Python function around it would take longer than the network.
            is_discrete = record.output_kind == "discrete"
            self.act = self._runner.native.act if is_discrete else self._runner.act_continuous

    def __repr__(self) -> str:
        """Name the environment, the sizes and the backend."""
        env = self.record.metadata.get("env", "")
        return f"Policy({env!r}, sizes={self.record.sizes}, backend={self.backend!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the file's bytes."""
        return Policy.from_bytes, (self._data,)

    def act(self, obs: Any) -> int | NDArray[np.float32]:
        """Return the action for one observation [in]: a number, or float32 [out]."""
        found = self._runner.act_batch(_observation(self.record.obs_size, obs)[None])[0]
        return int(found) if self.record.output_kind == "discrete" else found

    def act_batch(self, obs: Any, out: Actions | None = None) -> Actions:
        """Return an action for each row of [n, in]: int32 [n], or float32 [n, out].

        Args:
          obs: the observations.
          out: an array to put them into, and to return.
        """
        rows = _floats(obs)
        if rows.ndim != 2 or rows.shape[1] != self.record.obs_size:
            raise ValueError(f"obs has shape {rows.shape}; must be (n, {self.record.obs_size})")
        _check_out(out, *_like_actions(self.record, len(rows)))
        return self._runner.act_batch(rows, out)

    def logits(self, obs: Any) -> Logits:
        """Return the last layer's sums of [in] or [n, in]: int32; of float policies float32."""
        values = _floats(obs)
        found = self._runner.logits_q(self._runner.quantise(self._rows(values, "obs")))
        return found.reshape(*values.shape[:-1], self.record.num_outputs)

    def logits_q(self, q: Any) -> Logits:
        """Return the same of quantised observations, integers [in] or [n, in] of int8."""
        values = np.asarray(q)
        if values.dtype.kind not in "iu":
            raise TypeError(f"q has dtype {values.dtype}; must be integers")
        if values.dtype != np.int8 and np.any((values < -128) | (values > 127)):
            raise ValueError("q has integers outside int8")
        rows = self._rows(np.ascontiguousarray(values, np.int8), "q")
        return self._runner.logits_q(rows).reshape(*values.shape[:-1], self.record.num_outputs)

    def quantise(self, obs: Any) -> NDArray[np.int8]:
        """Return the integers that the network takes, int8, of [in] or [n, in]."""
        values = _floats(obs)
        return self._runner.quantise(self._rows(values, "obs")).reshape(values.shape)

    def _rows(self, array: NDArray, name: str) -> NDArray:
        """Return [in] or [n, in] as rows."""
        size = self.record.obs_size
        if array.ndim not in (1, 2) or array.shape[-1] != size:
            raise ValueError(f"{name} has shape {array.shape}; must be ({size},) or (n, {size})")
        return array.reshape(-1, size)

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
        bare = tvp.encode(record.bare())
        tensors = [
            tensor
            for layer in record.layers
            for tensor in (layer.weights, layer.bias)
            if tensor is not None
        ]
        return {
            "env": record.metadata.get("env", ""),
            "obs_names": record.obs_names,
            "action_names": record.action_names,
            "sizes": record.sizes,
            "activation": _names({layer.activation for layer in record.layers[:-1]}),
            "weights": _names({layer.kind for layer in record.layers}),
            "num_weights": sum(tensor.size for tensor in tensors),
            "num_nonzero": sum(int(np.count_nonzero(tensor)) for tensor in tensors),
            "bytes": len(bare),
            "sha256": hashlib.sha256(bare).hexdigest(),
            "backend": self.backend,
            "metadata": {
                name: text
                for name, text in record.metadata.items()
                if name not in (OBS_NAMES, ACTION_NAMES)
            },
        }


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


# -------------------------------------------------------------------------------------- arrays


def _floats(obs: Any) -> NDArray[np.float32]:
    """Return contiguous float32; what is too large becomes infinite, as in C."""
    with np.errstate(over="ignore"):
        return np.asarray(obs, np.float32, order="C")


def _observation(size: int, obs: Any) -> NDArray[np.float32]:
    """Return one observation as float32."""
    values = _floats(obs)
    if values.shape != (size,):
        raise ValueError(f"an observation has shape {values.shape}; must be ({size},)")
    return values


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
        # Not a method: the extension would keep the policy, and the policy the extension.
        self.native = module.Policy(data, functools.partial(_observation, record.obs_size))
        self.record, self.num_outputs = record, record.num_outputs

    def act_continuous(self, obs: Any) -> NDArray[np.float32]:
        """Return the action float32 [out] for one observation."""
        found = np.empty(self.num_outputs, np.float32)
        self.native.act_into(obs, found)
        return found

    def act_batch(self, rows: NDArray[np.float32], out: Actions | None = None) -> Actions:
        found = np.empty(*_like_actions(self.record, len(rows))) if out is None else out
        self.native.act_batch(rows, found)
        return found

    def logits_q(self, rows: NDArray[np.int8]) -> NDArray[np.int32]:
        found = np.empty((len(rows), self.record.num_outputs), np.int32)
        self.native.logits_q(rows, found)
        return found

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
            self.matrices = [layer.weights.T.astype(np.float32) for layer in self.net.layers]

    def act_batch(self, rows: NDArray[np.float32], out: Actions | None = None) -> Actions:
        found = np.empty(*_like_actions(self.record, len(rows))) if out is None else out
        found[...] = self._actions(self.logits_q(self.quantise(rows)))
        return found

    def logits_q(self, rows: NDArray[np.int8]) -> Logits:
        is_integer = self.record.is_integer
        shape = len(rows), self.record.num_outputs
        found: Any = np.empty(shape, np.int32 if is_integer else np.float32)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            piece = slice(start, start + ROWS_AT_ONCE)
            if is_integer:
                found[piece] = self._integer_logits(rows[piece])
            else:
                found[piece] = float_logits(self.record, rows[piece])
        return found

    def quantise(self, rows: NDArray[np.float32]) -> NDArray[np.int8]:
        return integer.quantise(self.record, rows)

    def _integer_logits(self, rows: NDArray[np.int8]) -> NDArray[np.int32]:
        """Return what `integer.logits` does: sums below 2**24 are exact in float32, and fast."""
        values = rows.astype(np.int64) >> self.net.input_shift
        for layer, matrix in zip(self.net.layers, self.matrices, strict=True):
            sums = (values.astype(np.float32) @ matrix).astype(np.int64) + layer.bias
            values = integer.activate(layer, sums)
        return values.astype(np.int32)

    def _actions(self, found: Any) -> Actions:
        if self.record.is_integer:
            return integer.actions(self.record, self.net.output_exponent, found)
        if self.record.output_kind == "discrete":
            return np.argmax(found, axis=-1).astype(np.int32)
        return integer.in_range(self.record, np.clip(found, -1, 1))


# -------------------------------------------------------------------------------------- floats


def float_logits(record: PolicyRecord, q: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the outputs float32 [..., out] of quantised observations, with floats between layers.

    As `forward` of ternevo/policies/mlp.py, within what another order of sums makes of float32.
    """
    units = values = (q >> integer.input_shift(record)).astype(np.float32)
    grid: tuple[int, int] | None = integer.input_grid(record)
    for layer in record.layers:
        shift = layer.exponents + (grid[0] if grid else 0)
        sums = values @ layer.weights.T.astype(np.float32)
        if layer.bias is not None:
            sums += layer.bias.astype(np.float32) * _bias_size(layer, grid)
        units = np.ldexp(sums, -shift)
        values = _activate(layer.activation, units)
        grid = integer.GRIDS.get(layer.activation)
    return np.ldexp(units, -record.output_shift)


def _bias_size(layer: Layer, grid: tuple[int, int] | None) -> Any:
    """Return what a bias of 1 adds, float32 [] or [out]: an integer where the inputs are."""
    shift = layer.exponents - layer.bias_exponent
    if grid is not None:
        return np.float32(integer.bias_size(grid[1], shift))
    return np.ldexp(np.float32(1), np.int32(np.minimum(shift, integer.BIAS_SHIFT_LIMIT)))


def _activate(activation: str, units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the next layer takes of pre-activations in units."""
    if activation == "none":
        return units
    if activation == "tanh":
        return np.tanh(units)
    if activation == "relu":
        return np.maximum(units, np.float32(0))
    if activation == "sign":
        return np.where(units >= 0, np.float32(1), np.float32(-1))
    if activation == "ternary":
        return (units > 0.5).astype(np.float32) - (units < -0.5).astype(np.float32)
    bits, limit = integer.GRIDS[activation]
    return np.clip(np.rint(units * np.float32(2**bits)), -limit, limit)
