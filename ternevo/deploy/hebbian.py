r"""Fast weights that change after every step by a Hebbian rule, in NumPy.

A synapse from x to y with the weight w has a rule of four coefficients and a rate $2^{-k}$:

$$w \leftarrow \mathrm{bound}(w + 2^{-k} (A x y + B x + C y + D))$$

x and y are activities in units of 2**-7, and w of 2**-14, so with the trits A to D all is integer,
rounded half to even. Activities of observations are their integers, of hidden layers those of
their grid, and of outputs the output, clipped to [-1, 1] and rounded. `policies/hebbian.py`
computes the same in JAX, and tests compare the two with `==` over whole lives.

References:
  Najarro and Risi, "Meta-Learning through Hebbian Plasticity in Random Networks", NeurIPS 2020.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import hashing, integer
from ternevo.deploy.life import Life
from ternevo.deploy.record import INTEGER_ACTIVATIONS, Layer, PolicyRecord

ONE, ACTIVITY_BITS = 2**14, 7
"""A weight of 1, and the bits of an activity of 1."""

Terms = Literal["A", "AD", "ABC", "ABCD"]
Sharing = Literal["synapse", "input", "output", "layer", "group"]
Fast = Literal["integer", "ternary", "float"]
Start = Literal["random", "evolved"]
Bound = Literal["clip", "rescale"]

TERMS: tuple[Terms, ...] = ("A", "AD", "ABC", "ABCD")
SHARINGS: tuple[Sharing, ...] = ("synapse", "input", "output", "layer", "group")
FASTS: tuple[Fast, ...] = ("integer", "ternary", "float")
STARTS: tuple[Start, ...] = ("random", "evolved")
BOUNDS: tuple[Bound, ...] = ("clip", "rescale")
"""The code of a word in a file is its place in one of these."""

MAX_RATE = 24
"""Largest exponent k of a rate; from 17 on nothing but D changes a weight, and then rarely."""


class Plasticity(NamedTuple):
    """What all layers of a policy share; see the settings of `--policy hebbian`.

    Attributes:
      terms: the letters of the coefficients that a rule has; the others are 0.
      evolves_rate: whether a rule has a rate of its own.
      rate: the exponent k of the rate, or its middle.
      sharing: which synapses of a layer have the same rule.
      group_size: synapses of a group.
      fast: what weights are while they change, and act as.
      start: what weights are at first.
      start_shift: size of the first weights: at most 2**-start_shift.
      dead_zone: weights up to 2**-dead_zone of the layer's largest act as 0, if they act as trits.
      bound: how weights are kept in [-1, 1].
      gain: the logarithm of the gain of all layers.
      babble_steps: number of first steps in which outputs get random offsets.
      babble_hold: number of steps for which an offset stays.
      babble_units: the size of an offset.
    """

    terms: Terms
    evolves_rate: bool
    rate: int
    sharing: Sharing
    group_size: int
    fast: Fast
    start: Start
    start_shift: int
    dead_zone: int
    bound: Bound
    gain: int
    babble_steps: int
    babble_hold: int
    babble_units: int

    def to_options(self) -> tuple[int, ...]:
        """Return it as integers."""
        words = {"terms": TERMS, "sharing": SHARINGS, "fast": FASTS, "start": STARTS}
        words["bound"] = BOUNDS
        return tuple(
            words[name].index(value) if name in words else int(value)
            for name, value in self._asdict().items()
        )

    @property
    def num_digits(self) -> int:
        """Number of trits of the exponent of a rule's own rate."""
        return 2 if self.evolves_rate else 0


def from_options(options: Sequence[int]) -> Plasticity:
    """Return what `Plasticity.to_options` made integers of.

    Raises:
      ValueError: an integer is out of its range.
    """
    tables: dict[str, Sequence[Any]] = {"terms": TERMS, "sharing": SHARINGS, "fast": FASTS}
    tables |= {"start": STARTS, "bound": BOUNDS, "evolves_rate": (False, True)}
    tables |= {"rate": range(17), "start_shift": range(15), "dead_zone": range(1, 15)}
    tables |= {"gain": range(-8, 9), "group_size": range(1, 2**24), "babble_units": range(9)}
    tables |= {"babble_steps": range(2**24), "babble_hold": range(1, 2**24)}
    names = Plasticity._fields
    if len(options) != len(names):
        raise ValueError(f"{len(options)} options of a Hebbian policy; must be {len(names)}")
    values = {}
    for name, code in zip(names, options, strict=True):
        table = tables[name]
        if isinstance(table, range):
            if code not in table:
                raise ValueError(f"{name} {code}; must be {table[0]} to {table[-1]}")
            values[name] = code
        elif not 0 <= code < len(table):
            raise ValueError(f"code {code} of {name}; must be 0 to {len(table) - 1}")
        else:
            values[name] = table[code]
    return Plasticity(**values)


def num_rules(plasticity: Plasticity, shape: tuple[int, int]) -> int:
    """Return the number of rules of a layer with weights [in, out]."""
    fan_in, out = shape
    size = fan_in * out
    groups = -(-size // plasticity.group_size)
    counts = {"synapse": size, "input": fan_in, "output": out, "layer": 1, "group": groups}
    return counts[plasticity.sharing]


def rule_of_synapses(plasticity: Plasticity, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Return the index of the rule of each synapse [in, out]; groups are drawn at random, once."""
    fan_in, out = shape
    synapse = np.arange(fan_in * out, dtype=np.uint32).reshape(shape)
    if plasticity.sharing == "input":
        index = synapse // np.uint32(out)
    elif plasticity.sharing == "output":
        index = synapse % np.uint32(out)
    elif plasticity.sharing == "group":
        drawn = hashing.bits(np.zeros(1, np.uint32), hashing.GROUP, synapse)
        index = drawn % np.uint32(num_rules(plasticity, shape))
    else:
        index = synapse * np.uint32(plasticity.sharing == "synapse")
    return index.astype(np.int32)


def shift_of(plasticity: Plasticity, fan_in: int) -> int:
    """Return the exponent that sums are divided by: the root of the fan-in, over the gain."""
    return fan_in.bit_length() // 2 - plasticity.gain


class Coefficients(NamedTuple):
    """Coefficients of all synapses [in, out] and the exponents of their rates, or rates."""

    terms: tuple[NDArray, NDArray, NDArray, NDArray]
    rate: NDArray


class PlasticLayer(NamedTuple):
    """A layer, ready to run.

    Attributes:
      coefficients: of its rules.
      first: weights at the start [in, out], int32 or float32 in units of 2**-14; None if random.
      in_bits: bits of an input of 1, on its grid.
      shift: sums are in units of 2**-shift.
      activation: what follows; "none" for the last.
    """

    coefficients: Coefficients
    first: NDArray | None
    in_bits: int
    shift: int
    activation: str


def check(record: PolicyRecord) -> None:
    """Refuse a record whose rules do not fit its layers.

    Raises:
      ValueError: they do not.
    """
    life = record.life
    assert life is not None
    plasticity = from_options(life.options)
    kinds = {layer.kind for layer in record.layers}
    kind = next(iter(kinds))
    if kinds not in ({"ternary"}, {"float"}):
        raise ValueError("a Hebbian policy has ternary or float weights in all layers")
    if plasticity.fast == "integer" and not _is_integer(record):
        raise ValueError("integer fast weights need trits and an integer activation")
    if record.input_kind == "bits" or record.observation_bits != 8 or record.obs_shape:
        raise ValueError("a Hebbian policy takes a vector of observations of 8 bits")
    if record.output_shift:
        raise ValueError("a Hebbian policy has no output shift")
    wanted = []
    for layer in record.layers:
        if layer.type != "dense" or layer.skip or layer.bias is not None or layer.has_outputs:
            raise ValueError("a Hebbian policy has dense layers without biases and skips")
        if plasticity.start == "random" and (np.any(layer.weights) or layer.exponents):
            raise ValueError("weights that start at random are stored as 0")
        count = num_rules(plasticity, layer.weights.T.shape)
        wanted.append((len(plasticity.terms), count))
        if plasticity.evolves_rate:
            wanted.append((plasticity.num_digits if kind == "ternary" else 1, count))
    found = [tuple(rules.values.shape) for rules in life.rules]
    if found != wanted:
        raise ValueError(f"rules of shapes {found}; must be {wanted}")
    dtype = np.int8 if kind == "ternary" else np.float32
    if any(rules.values.dtype != dtype or abs(rules.exponent) > 24 for rules in life.rules):
        raise ValueError(f"rules must be {np.dtype(dtype)}, with exponents of at most 24")


def _is_integer(record: PolicyRecord) -> bool:
    return all(
        layer.kind == "ternary" and layer.activation in INTEGER_ACTIVATIONS
        for layer in record.layers
    )


def layers_of(record: PolicyRecord) -> tuple[PlasticLayer, ...]:
    """Return the layers of a checked record."""
    assert record.life is not None
    plasticity, found = from_options(record.life.options), []
    rules, in_bits = iter(record.life.rules), ACTIVITY_BITS - record.observation_shift
    for layer in record.layers:
        index = rule_of_synapses(plasticity, layer.weights.T.shape)
        given = next(rules), next(rules) if plasticity.evolves_rate else None
        coefficients = _coefficients(plasticity, given, index)
        first = None if plasticity.start == "random" else _first(plasticity, layer)
        shift = shift_of(plasticity, layer.weights.shape[1])
        found.append(PlasticLayer(coefficients, first, in_bits, shift + in_bits, layer.activation))
        in_bits = integer.GRIDS.get(layer.activation, (0, 0))[0]
    return tuple(found)


def _coefficients(plasticity: Plasticity, given: Any, index: NDArray) -> Coefficients:
    rule, rate = given
    is_float = rule.values.dtype == np.float32
    named = dict(zip(plasticity.terms, rule.values, strict=True))
    dtype = np.float32 if is_float else np.int32
    none = np.zeros(rule.values.shape[1], dtype)
    a, b, c, d = (named.get(letter, none).astype(dtype)[index] for letter in "ABCD")
    if is_float:
        scale = np.float32(2.0**-plasticity.rate)
        own = np.ones(len(none), np.float32) if rate is None else rate.values[0]
        return Coefficients((a, b, c, d), (own * scale)[index])
    exponent = np.full(len(none), plasticity.rate + rule.exponent, np.int32)
    if rate is not None:
        exponent = exponent + rate.values[0] + 3 * rate.values[1].astype(np.int32) + rate.exponent
    return Coefficients((a, b, c, d), np.clip(exponent, 0, MAX_RATE)[index])


def _first(plasticity: Plasticity, layer: Layer) -> NDArray:
    """Return evolved first weights, in units of 2**-14."""
    if layer.kind == "float":
        scaled = layer.weights.T * np.float32(ONE * 2.0**-plasticity.start_shift)
        return np.clip(scaled, -ONE, ONE).astype(np.float32)
    shift = np.clip(14 - plasticity.start_shift - layer.exponents, 0, 14)
    return layer.weights.T.astype(np.int32) << shift


def random_start(plasticity: Plasticity, seed: Any, first: int, shape: tuple[int, int]) -> Any:
    """Return random first weights int32 [in, out], uniform in +-2**-start_shift.

    Args:
      plasticity: says how large they are.
      seed: uint32 array, of NumPy or JAX, that broadcasts with [in, out].
      first: the number of the layer's first weight in the network.
      shape: [in, out].
    """
    counter = first + np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    drawn = hashing.bits(seed, hashing.START, counter.astype(np.uint32))
    width = 15 - plasticity.start_shift
    return (drawn >> drawn.dtype.type(32 - width)).astype(np.int32) - 2 ** (width - 1)


def babble(plasticity: Plasticity, seed: Any, count: Any, num_outputs: int) -> Any:
    """Return the offsets int32 [..., out] of the outputs of a step.

    Signs are Walsh functions of time, one for each output, times a random sign. So outputs are
    uncorrelated after a few changes, and what each of them does can be told apart.

    Args:
      plasticity: says how large they are, and for how long.
      seed: uint32 array [..., 1], of NumPy or JAX.
      count: int32 array [..., 1], the steps done before.
      num_outputs: number of outputs.
    """
    output = np.arange(num_outputs, dtype=np.uint32)
    change = (count // plasticity.babble_hold).astype(np.uint32)
    odd = change & (output + np.uint32(1))
    for bits in (16, 8, 4, 2, 1):
        odd = odd ^ (odd >> np.uint32(bits))
    odd = (odd ^ hashing.bits(seed, hashing.BABBLE, output)) & np.uint32(1)
    sign = 1 - 2 * odd.astype(np.int32)
    return sign * (count < plasticity.babble_steps).astype(np.int32) * plasticity.babble_units


class Runner:
    """A Hebbian policy, ready to step; memories are int32 [n, memory].

    A memory is the weights of all layers, the seed, and the number of steps. Weights that are
    floats lie there as their bits.
    """

    def __init__(self, record: PolicyRecord):
        """Prepare a checked record."""
        assert record.life is not None
        self.record, self.layers = record, layers_of(record)
        self.plasticity = from_options(record.life.options)
        self.is_float = self.plasticity.fast != "integer"
        self.output_exponent = max(self.layers[-1].shift, 0)

    def begin(self, seeds: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the memories [n, memory] at the start of lives with these seeds [n]."""
        parts, first = [], 0
        for layer in self.layers:
            shape = layer.coefficients.rate.shape
            fast = layer.first
            if fast is None:
                fast = random_start(self.plasticity, seeds[:, None, None], first, shape)
            first += shape[0] * shape[1]
            fast = np.broadcast_to(fast, (len(seeds), *shape)).reshape(len(seeds), -1)
            parts.append(fast.astype(np.float32).view(np.int32) if self.is_float else fast)
        rest = np.stack([seeds.view(np.int32), np.zeros(len(seeds), np.int32)], 1)
        return np.concatenate([*parts, rest], 1).astype(np.int32)

    def step(
        self, memories: NDArray[np.int32], q: NDArray[np.int8], told: Any = None
    ) -> tuple[NDArray[np.int32], NDArray]:
        """Return the memories [n, memory] after a step and the logits [n, out].

        Logits are int32 if fast weights are integers, otherwise float32.

        Args:
          memories: before the step.
          q: quantised observations int8 [n, in].
          told: not used: a Hebbian rule knows nothing of rewards.
        """
        del told
        seed, count = memories[:, -2].view(np.uint32)[:, None], memories[:, -1:]
        values: Any = q.astype(np.float32 if self.is_float else np.int64)
        activity, after, outputs = values, [], values
        for layer, fast in self._fast(memories):
            outputs = np.squeeze(values[:, None] @ self._acting(fast), 1)
            if layer.activation == "none":
                offset = babble(self.plasticity, seed, count, outputs.shape[-1])
                outputs = self._outputs(layer, outputs, offset)
                post = self._of_outputs(outputs)
            else:
                values = self._activate(layer, outputs)
                post = values * 2 ** (ACTIVITY_BITS - integer.GRIDS.get(layer.activation, (0,))[0])
            after.append(self._learned(layer.coefficients, fast, activity, post))
            activity = post
        parts = [x.reshape(len(q), -1) for x in after]
        parts = [x.astype(np.float32).view(np.int32) if self.is_float else x for x in parts]
        return np.concatenate([*parts, memories[:, -2:-1], count + 1], 1).astype(np.int32), (
            outputs.astype(np.float32 if self.is_float else np.int32)
        )

    def _fast(self, memories: NDArray) -> Iterator[tuple[PlasticLayer, NDArray]]:
        """Yield each layer with its weights [n, in, out]."""
        at = 0
        for layer in self.layers:
            shape = layer.coefficients.rate.shape
            size = shape[0] * shape[1]
            fast = np.ascontiguousarray(memories[:, at : at + size])
            fast = fast.view(np.float32) if self.is_float else fast.astype(np.int64)
            yield layer, fast.reshape(len(memories), *shape)
            at += size

    def _acting(self, fast: NDArray) -> NDArray:
        """Return the weights that act: trits, or weights in units of 1."""
        if self.plasticity.fast == "float":
            return fast * np.float32(1 / ONE)
        largest = np.max(np.abs(fast), (1, 2), keepdims=True)
        share = self.plasticity.dead_zone
        zone = largest * np.float32(2.0**-share) if self.is_float else largest >> share
        return (fast > zone).astype(fast.dtype) - (fast < -zone).astype(fast.dtype)

    def _outputs(self, layer: PlasticLayer, sums: NDArray, offset: NDArray) -> NDArray:
        """Return the outputs: integer sums in units of 2**-output_exponent, or floats."""
        if self.is_float:
            return np.ldexp(sums, -layer.shift) + offset.astype(np.float32)
        return (sums << max(-layer.shift, 0)) + (offset.astype(np.int64) << self.output_exponent)

    def _of_outputs(self, outputs: NDArray) -> NDArray:
        """Return the activity of outputs."""
        if self.is_float:
            return np.clip(np.rint(outputs * np.float32(2**ACTIVITY_BITS)), -127, 127)
        on_grid = integer.shift_half_to_even(outputs, self.output_exponent - ACTIVITY_BITS)
        return np.clip(on_grid, -127, 127)

    def _activate(self, layer: PlasticLayer, sums: NDArray) -> NDArray:
        """Return what the next layer takes, on the grid of the activation."""
        exact = sums if self.is_float else sums.astype(np.float64)
        return activated(layer.activation, np.ldexp(exact, -layer.shift), sums.dtype)

    def _learned(self, coefficients: Coefficients, fast: NDArray, pre: Any, post: Any) -> NDArray:
        """Return the weights after a step: the rule, and then the bound."""
        (a, b, c, d), rate = coefficients
        x, y, bits = pre[:, :, None], post[:, None, :], ACTIVITY_BITS
        if self.is_float:
            drive = a * (x * y) + b * (x * 2**bits) + c * (y * 2**bits) + d * np.float32(ONE)
            is_float = rate.dtype == np.float32
            moved = fast + (drive * rate if is_float else np.ldexp(drive, -rate))
        else:
            drive = a * (x * y) + ((b * x) << bits) + ((c * y) << bits) + d.astype(np.int64) * ONE
            moved = fast + integer.shift_half_to_even(drive, rate)
        if self.plasticity.bound == "clip":
            return np.clip(moved, -ONE, ONE)
        largest = np.maximum(np.max(np.abs(moved), (1, 2), keepdims=True), ONE)
        if self.is_float:
            return moved * (np.float32(ONE) / largest)
        return np.sign(moved) * (np.abs(moved) * ONE // largest)


def activated(activation: str, units: NDArray, dtype: Any) -> NDArray:
    """Return the numbers on the grid of an activation, of pre-activations in units of 1."""
    if activation == "tanh":
        return np.tanh(units)
    if activation == "sign":
        return np.where(units >= 0, 1, -1).astype(dtype)
    if activation == "ternary":
        return ((units > 0.5).astype(np.int8) - (units < -0.5)).astype(dtype)
    bits, limit = integer.GRIDS[activation]
    return np.clip(np.rint(units * 2**bits), -limit, limit).astype(dtype)


def life_of(plasticity: Plasticity, rules: Sequence[Any]) -> Life:
    """Return what a file holds of a Hebbian policy, besides its layers."""
    return Life("hebbian", plasticity.to_options(), tuple(rules))
