"""`--to numpy`: a policy as one Python file that needs NumPy and nothing else."""

import base64
import hashlib
import pprint

import numpy as np

from ternevo import __version__
from ternevo.deploy import capabilities, integer, tvp
from ternevo.deploy.record import PerOutput, PolicyRecord

TEMPLATE = '''\
"""A policy with {kinds} weights, {sizes}, written by ternevo {version}.

Identity: {identity}
{task}
`act(obs)` takes one observation and `act_batch` many; what they are normalised by is in here.
`python THIS_FILE` runs the self-test: all after the quantiser are integers, so it is exact.
"""

import base64

import numpy as np

INPUT_KIND = {input_kind!r}  # f32: floats; i8: integers in [-127, 127]; bits: 0 or 1
MEAN = np.array({mean}, np.float32)
SCALE = np.array({scale}, np.float32)  # powers of two
INPUT_SHIFT = {input_shift}  # low bits of an observation that are dropped
OUTPUT_EXPONENT = {output_exponent}
LOW = np.array({low}, np.float32)  # empty for discrete actions
HIGH = np.array({high}, np.float32)

# (outputs, inputs), five trits a byte; biases; activation, its shift and its threshold, which are
# lists where each output has its own.
LAYERS = {layers}

EXAMPLE_INPUTS = np.array({example_inputs}, np.int8)
EXAMPLE_LOGITS = np.array({logits}, np.int32)


def _trits(shape, packed):
    digits = np.frombuffer(base64.b64decode(packed), np.uint8)[:, None] // 3 ** np.arange(5) % 3
    return digits.ravel()[: shape[0] * shape[1]].reshape(shape).astype(np.int64) - 1


NETWORK = [
    (_trits(shape, packed), np.array(bias), how[0], *map(np.int64, how[1:]))
    for shape, packed, bias, how in LAYERS
]


def quantise(obs):
    """Return int8 [..., inputs] of observations [..., inputs]."""
    if INPUT_KIND == "bits":
        return (np.asarray(obs) != 0).astype(np.int8)
    if INPUT_KIND == "i8":
        return np.clip(np.nan_to_num(obs, posinf=127, neginf=-127), -127, 127).astype(np.int8)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (np.asarray(obs, np.float32) - MEAN) * SCALE
    scaled = np.where(np.isnan(scaled), np.float32(0), scaled)
    return np.rint(np.clip(scaled, -127, 127)).astype(np.int8)


def _activate(sums, activation, shift, threshold):
    if activation == "none":
        return sums << -shift  # to the smallest unit of all outputs
    if activation == "sign":
        return np.where(sums >= 0, 1, -1)
    if activation == "ternary":
        return (sums > threshold).astype(np.int64) - (sums < -threshold)
    right = np.maximum(shift, 1)
    rounded = (sums + (1 << (right - 1)) - 1 + ((sums >> right) & 1)) >> right  # half to even
    sums = np.where(shift > 0, rounded, sums << np.maximum(-shift, 0))
    limit = 127 if activation == "int8" else 7
    return np.clip(sums, -limit, limit)


def logits_q(q):
    """Return int32 [..., outputs] of quantised observations."""
    values = np.asarray(q, np.int64) >> INPUT_SHIFT
    for weights, bias, activation, shift, threshold in NETWORK:
        values = _activate(values @ weights.T + bias, activation, shift, threshold)
    return values.astype(np.int32)


def act_batch(obs):
    """Return actions [n], or [n, actions] in [LOW, HIGH], of observations [n, inputs]."""
    if np.ndim(obs) > 2 or np.shape(obs)[-1:] != ({inputs},):
        found = list(np.shape(obs))
        raise ValueError(f"observations are [n, {inputs}] or [{inputs}], not {{found}}")
    logits = logits_q(quantise(obs))
    if not LOW.size:
        return np.argmax(logits, axis=-1).astype(np.int32)
    units = np.clip(np.ldexp(logits.astype(np.float32), -OUTPUT_EXPONENT), -1, 1)
    centre, half = (LOW + HIGH) / np.float32(2), (HIGH - LOW) / np.float32(2)
    return np.clip(centre + units.astype(np.float32) * half, LOW, HIGH)


act = act_batch  # of one observation [inputs]

if __name__ == "__main__":
    wrong = np.flatnonzero((logits_q(EXAMPLE_INPUTS) != EXAMPLE_LOGITS).any(axis=-1))
    raise SystemExit(f"wrong logits of examples {{wrong}}" if wrong.size else 0)
'''


def to_numpy(record: PolicyRecord, num_vectors: int = 16) -> str:
    """Return the source of a Python file with `act` and `act_batch`.

    Args:
      record: a policy of integers.
      num_vectors: how many examples its self-test has.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run.
      NotIntegerError: the policy computes with floats.
    """
    capabilities.check_export(record, "numpy")
    net = integer.compile_integer(record)
    vectors = integer.examples(record, num_vectors)
    scale = np.ldexp(np.float32(1), record.exponent.astype(np.int32))
    env = record.metadata.get("env", "")
    return TEMPLATE.format(
        kinds=" and ".join(sorted({layer.kind for layer in record.layers})),
        sizes="-".join(map(str, record.sizes)),
        version=__version__,
        identity=hashlib.sha256(tvp.encode(record.bare())).hexdigest(),
        task=f"Trained on {_in_docstring(env)}.\n" if env else "",
        input_kind=record.input_kind,
        mean=_numbers(record.mean),
        scale=_numbers(scale),
        input_shift=net.input_shift,
        output_exponent=net.output_exponent,
        low=_numbers(record.low),
        high=_numbers(record.high),
        layers=pprint.pformat([_layer(layer) for layer in net.layers], width=100, compact=True),
        inputs=record.obs_size,
        example_inputs=vectors.inputs.tolist(),
        logits=vectors.logits.tolist(),
    )


def _layer(layer: integer.IntegerLayer) -> tuple:
    packed = base64.b64encode(tvp.pack_trits(layer.weights.ravel())).decode()
    how = (layer.activation, *map(_number_or_list, (layer.shift, layer.threshold)))
    return layer.weights.shape, packed, layer.bias.tolist(), how


def _number_or_list(value: PerOutput) -> int | list[int]:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _numbers(values: np.ndarray) -> str:
    """Return floats such that float32 reads the same numbers again."""
    return str([float(value) for value in values])


def _in_docstring(text: str) -> str:
    """Return text that cannot end the docstring that it stands in."""
    return "".join(c for c in text if c.isprintable()).replace("\\", "/").replace('"', "'")
