"""`--to numpy`: a policy as one Python file that needs NumPy and nothing else."""

import base64
import hashlib
import pprint
from typing import Any

import numpy as np

from ternevo import __version__
from ternevo.deploy import capabilities, integer, tvp
from ternevo.deploy.c_tables import is_wide_valued
from ternevo.deploy.record import PerOutput, PolicyRecord, Vectors

USAGE = (
    "`act(obs)` takes one observation and `act_batch` many; what they are normalised by is in here."
)
USAGE_OF_MEMORY = """\
`memory = reset()` begins an episode, and `memory, action = step(memory, obs)` is a step of it. Both
take many at once: `reset(n)`. What observations are normalised by is in here."""

TOP = '''\
"""A policy with {kinds} weights, {sizes}, written by ternevo {version}.

Identity: {identity}
{task}
{usage}
`python THIS_FILE` runs the self-test: all after the quantiser are integers, so it is exact.
"""

import base64

import numpy as np

INPUT_KIND = {input_kind!r}  # f32: floats; i8: integers in [-127, 127]; bits: 0 or 1{pixels}
MEAN = np.array({mean}, np.float32)
SCALE = np.array({scale}, np.float32)  # powers of two
INPUT_SHIFT = {input_shift}  # low bits of an observation that are dropped
OUTPUT_EXPONENT = {output_exponent}
LOW = np.array({low}, np.float32)  # empty for discrete actions
HIGH = np.array({high}, np.float32)

'''

QUANTISE = '''\
def quantise(obs):
    """Return int8 [..., inputs] of observations [..., inputs]."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.asarray(obs, np.float32)
        if INPUT_KIND == "bits":
            return (scaled > 0.5).astype(np.int8)
        if INPUT_KIND == "f32":
            scaled = (scaled - MEAN) * SCALE
    scaled = np.where(np.isnan(scaled), np.float32(0), scaled)
    return np.rint(np.clip(scaled, -127, 127)).astype(np.int8)


'''

TRITS = """\
def _trits(shape, packed):
    digits = np.frombuffer(base64.b64decode(packed), np.uint8)[:, None] // 3 ** np.arange(5) % 3
    return digits.ravel()[: shape[0] * shape[1]].reshape(shape).astype(np.int64) - 1


"""

INTEGERS = """\
    if packed.startswith("="):  # integers of some bits
        packed = np.frombuffer(base64.b64decode(packed[1:]), np.int8)
        return packed.reshape(shape).astype(np.int64)
"""

CHAIN = (
    """\
# (outputs, inputs), five trits a byte; biases; activation, its shift and its threshold, which are
# lists where each output has its own.
LAYERS = {layers}

EXAMPLE_INPUTS = np.array({example_inputs}, np.int8)
EXAMPLE_LOGITS = np.array({logits}, np.int32)


"""
    + TRITS
    + """\
NETWORK = [
    (_trits(shape, packed), np.array(bias), how[0], *map(np.int64, how[1:]))
    for shape, packed, bias, how in LAYERS
]


"""
    + QUANTISE
    + '''\
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
)

LAYERED = """\
OBS_SHAPE = {obs_shape}  # of an observation: rows, columns and channels of an image
FIRST_MEMORY = np.array({memory}, np.int8)

# Of each layer: (outputs, inputs), five trits a byte; biases; shifts and thresholds, which are
# lists where each output has its own; a window is height, width, stride and padding. A skip of 1
# adds the input of the layer itself, 2 that of the layer before. Functions are codes
# of outputs, or none.
LAYERS = {layers}

EXAMPLE_LOGITS = np.array({logits}, np.int32)
EXAMPLE_INPUTS = np.frombuffer(base64.b64decode({example_inputs!r}), np.int8)
EXAMPLE_INPUTS = EXAMPLE_INPUTS.reshape(len(EXAMPLE_LOGITS), -1)


"""
PIXELS = """\
        if INPUT_KIND == "pixels":
            scaled = scaled - np.float32(128)
"""
LAYERED_CODE = '''\
def _numbers(layer):
    weights = _trits(layer["shape"], layer["trits"]).T.astype(np.float64)  # sums are exact
    own = {name: np.array(layer[name]) for name in ("bias", "shift", "threshold", "gate_shift")}
    return {**layer, **own, "weights": weights}


NETWORK = [_numbers(layer) for layer in LAYERS]


def _windows(image, window, fill):
    """Return what each place sees [n, down, across, window, channels] of images [n, y, x, c]."""
    height, width, stride, padding = window
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image, sides, constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    seen = np.moveaxis(seen[:, ::stride, ::stride], 3, -1)
    return seen.reshape(*seen.shape[:3], height * width, image.shape[3])


def _shifted(sums, shift):
    right = np.maximum(shift, 1)
    rounded = (sums + (1 << (right - 1)) - 1 + ((sums >> right) & 1)) >> right  # half to even
    return np.where(shift > 0, rounded, sums << np.maximum(-shift, 0))


def _activate(sums, layer, added):
    activation = layer["activation"]
    if activation == "none":
        return sums << -layer["shift"]  # to the smallest unit of all outputs
    if activation == "sign":
        return np.where(sums >= 0, 1, -1)
    if activation == "ternary":
        return (sums > layer["threshold"]).astype(np.int64) - (sums < -layer["threshold"])
    limit = 127 if activation == "int8" else 7
    return np.clip(_shifted(sums, layer["shift"]) + added, -limit, limit)


def _shaped(values, layer):
    """Apply functions: 0 tanh, which is there already, 1 relu, 2 absolute, 3 sign, 4 hat."""
    limit = {"int8": 127, "int4": 7}.get(layer["activation"], 1)
    size = np.abs(values)
    found = values, np.maximum(values, 0), size, limit * np.sign(values), limit - size
    return np.choose(layer["functions"], found)


def _gated(sums, layer, memory):
    """Move the memory by a gate of 0 to a unit of the grid towards the candidates."""
    candidates, gates = np.split(sums, 2, axis=1)
    change = _activate(candidates, layer, 0) - memory
    bits = {"int8": 7, "int4": 3}.get(layer["activation"], 0)
    if not bits:
        return memory + change * (gates > 0)
    opened = np.clip(_shifted(gates, layer["gate_shift"]) + 2**bits // 2, 0, 2**bits)
    return memory + _shifted(opened * change, bits)


def _sums(values, layer, memory):
    if layer["type"] == "convolution":
        taken = _windows(values, layer["window"], 0)
        taken = taken.reshape(*taken.shape[:3], -1)
    else:
        taken = np.concatenate([values.reshape(len(values), -1), memory], axis=1)
    return (taken @ layer["weights"]).astype(np.int64) + layer["bias"]


def _walk(memory, q):
    """Return the memory [n, memory] after a step, and logits int32 [n, outputs]."""
    values = np.asarray(q, np.int64).reshape(len(q), *OBS_SHAPE) >> INPUT_SHIFT
    taken, kept, place = [], [], 0
    for layer in NETWORK:
        taken.append(values)
        if layer["type"] == "max_pool":
            values = _windows(values, layer["window"], -128).max(axis=3)
            continue
        own = memory[:, place : place + layer["memory"]].astype(np.int64)
        place += layer["memory"]
        sums = _sums(values, layer, own)
        if layer["type"] == "gated":
            values = _gated(sums, layer, own)
        else:
            values = _activate(sums, layer, taken[-layer["skip"]] if layer["skip"] else 0)
        if layer["functions"]:
            values = _shaped(values, layer)
        if layer["memory"]:
            kept.append(values.astype(np.int8))
    return np.concatenate(kept, axis=1) if kept else memory, values.astype(np.int32)


def _rows(obs):
    """Return observations [n, inputs], and whether there is one only."""
    obs, size = np.asarray(obs), int(np.prod(OBS_SHAPE))
    for shape in (OBS_SHAPE, (size,)):
        if obs.ndim - len(shape) in (0, 1) and obs.shape[obs.ndim - len(shape) :] == shape:
            return obs.reshape(-1, size), obs.ndim == len(shape)
    one = ", ".join(map(str, OBS_SHAPE))
    raise ValueError(f"observations are [n, {one}] or [{one}], or flat, not {list(obs.shape)}")


def _actions(logits):
    """Return actions [n], or [n, actions] in [LOW, HIGH]."""
    if not LOW.size:
        return np.argmax(logits, axis=-1).astype(np.int32)
    units = np.clip(np.ldexp(logits.astype(np.float32), -OUTPUT_EXPONENT), -1, 1)
    centre, half = (LOW + HIGH) / np.float32(2), (HIGH - LOW) / np.float32(2)
    return np.clip(centre + units.astype(np.float32) * half, LOW, HIGH)


'''
WITHOUT_MEMORY = '''\
def logits_q(q):
    """Return int32 [n, outputs], or [outputs], of quantised observations."""
    rows, is_one = _rows(q)
    logits = _walk(np.zeros((len(rows), 0), np.int8), rows)[1]
    return logits[0] if is_one else logits


def act_batch(obs):
    """Return actions [n], or [n, actions] in [LOW, HIGH], of observations; of one without n."""
    rows, is_one = _rows(obs)
    actions = _actions(logits_q(quantise(rows)))
    return actions[0] if is_one else actions


act = act_batch  # of one observation

if __name__ == "__main__":
    wrong = np.flatnonzero((logits_q(EXAMPLE_INPUTS) != EXAMPLE_LOGITS).any(axis=-1))
    raise SystemExit(f"wrong logits of examples {wrong}" if wrong.size else 0)
'''
WITH_MEMORY = '''\
def reset(n=None):
    """Return the memory [memory] with which an episode begins, or [n, memory] of n episodes."""
    return FIRST_MEMORY.copy() if n is None else np.tile(FIRST_MEMORY, (n, 1))


def step_logits_q(memory, q):
    """Return the memory after a step, and int32 [n, outputs], or [outputs], of a quantised one."""
    rows, is_one = _rows(q)
    before = np.reshape(memory, (len(rows), FIRST_MEMORY.size))
    after, logits = _walk(before, rows)
    return (after[0], logits[0]) if is_one else (after, logits)


def step(memory, obs):
    """Return the memory after a step, and the action: of one episode, or of n side by side."""
    rows, is_one = _rows(obs)
    after, logits = step_logits_q(np.reshape(memory, (len(rows), -1)), quantise(rows))
    actions = _actions(logits)
    return (after[0], actions[0]) if is_one else (after, actions)


def _examples():
    """Return the logits of the examples, which are one episode."""
    memory, found = reset(), []
    for q in EXAMPLE_INPUTS:
        memory, logits = step_logits_q(memory, q)
        found.append(logits)
    return np.stack(found)


if __name__ == "__main__":
    wrong = np.flatnonzero((_examples() != EXAMPLE_LOGITS).any(axis=-1))
    raise SystemExit(f"wrong logits of examples {wrong}" if wrong.size else 0)
'''


def to_numpy(record: PolicyRecord, num_vectors: int = 16) -> str:
    """Return the source of a Python file with `act` and `act_batch`, or with `reset` and `step`.

    Args:
      record: a policy of integers.
      num_vectors: how many examples its self-test has.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run.
      NotIntegerError: the policy computes with floats.
    """
    capabilities.check_export(record, "numpy")
    has_functions = any(layer.functions is not None for layer in record.layers)
    is_chain = not tvp.needs_second(record) and not has_functions
    net = integer.compile_integer(record)
    vectors = integer.examples(record, num_vectors)
    text = _top(record, net) + (_chain if is_chain else _layered)(record, net, vectors)
    if any(is_wide_valued(layer.weights) for layer in net.layers):
        place = "def _trits(shape, packed):\n"
        text = text.replace(place, place + INTEGERS, 1)
    return text


def _top(record: PolicyRecord, net: integer.IntegerNet) -> str:
    env = record.metadata.get("env", "")
    return TOP.format(
        kinds=" and ".join(sorted({x.kind for x in record.layers if x.type != "max_pool"})),
        sizes="-".join(map(str, record.sizes)),
        version=__version__,
        identity=hashlib.sha256(tvp.encode(record.bare())).hexdigest(),
        task=f"Trained on {_in_docstring(env)}.\n" if env else "",
        usage=USAGE_OF_MEMORY if record.memory_size else USAGE,
        pixels="; pixels: 0 to 255" if record.input_kind == "pixels" else "",
        input_kind=record.input_kind,
        mean=_numbers(record.mean),
        scale=_numbers(np.ldexp(np.float32(1), record.exponent.astype(np.int32))),
        input_shift=net.input_shift,
        output_exponent=net.output_exponent,
        low=_numbers(record.low),
        high=_numbers(record.high),
    )


def _chain(record: PolicyRecord, net: integer.IntegerNet, vectors: Vectors) -> str:
    return CHAIN.format(
        layers=pprint.pformat([_layer(layer) for layer in net.layers], width=100, compact=True),
        inputs=record.obs_size,
        example_inputs=vectors.inputs.tolist(),
        logits=vectors.logits.tolist(),
    )


def _layered(record: PolicyRecord, net: integer.IntegerNet, vectors: Vectors) -> str:
    """Return the rest of a script of a policy that is no chain of dense layers."""
    layers = [_whole(layer) for layer in net.layers]
    data = LAYERED.format(
        obs_shape=record.shapes[0],
        memory=net.memory.tolist(),
        layers=pprint.pformat(layers, width=100, compact=True, sort_dicts=False),
        example_inputs=base64.b64encode(vectors.inputs.tobytes()).decode(),
        logits=vectors.logits.tolist(),
    )
    quantise = QUANTISE
    if record.input_kind == "pixels":
        place = "    scaled = np.where"
        quantise = QUANTISE.replace(place, PIXELS + place, 1)
    entries = WITH_MEMORY if record.memory_size else WITHOUT_MEMORY
    return data + TRITS + quantise + LAYERED_CODE + entries


def _whole(layer: integer.IntegerLayer) -> dict[str, Any]:
    """Return a layer as a script has it."""
    return {
        "type": layer.type,
        "shape": layer.weights.shape,
        "trits": _packed(layer.weights),
        "bias": layer.bias.tolist(),
        "activation": layer.activation,
        "shift": _number_or_list(layer.shift),
        "threshold": _number_or_list(layer.threshold),
        "gate_shift": _number_or_list(layer.gate_shift),
        "window": tuple(layer.window or ()),
        "skip": layer.skip,
        "memory": layer.memory_size,
        "functions": [] if layer.functions is None else layer.functions.tolist(),
    }


def _layer(layer: integer.IntegerLayer) -> tuple:
    packed = _packed(layer.weights)
    how = (layer.activation, *map(_number_or_list, (layer.shift, layer.threshold)))
    return layer.weights.shape, packed, layer.bias.tolist(), how


def _packed(weights: np.ndarray) -> str:
    """Return trits, five a byte, or after a sign that base64 lacks a byte for each integer."""
    if is_wide_valued(weights):
        return "=" + base64.b64encode(weights.astype(np.int8).tobytes()).decode()
    return base64.b64encode(tvp.pack_trits(weights.ravel())).decode()


def _number_or_list(value: PerOutput) -> int | list[int]:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _numbers(values: np.ndarray) -> str:
    """Return floats such that float32 reads the same numbers again."""
    return str([float(value) for value in values])


def _in_docstring(text: str) -> str:
    """Return text that cannot end the docstring that it stands in."""
    return "".join(c for c in text if c.isprintable()).replace("\\", "/").replace('"', "'")
