"""Adaptation by hill climbing within a life of several episodes, in NumPy.

Each trial changes a few weights at random, plays one or more episodes, and keeps the change if they
pay more than the best so far. After the last trial the best weights act.
`policies/hill_climber.py` computes the same in JAX, and tests compare the two with `==`.

References:
  Song et al., "ES-MAML: Simple Hessian-Free Meta Learning", ICLR 2020 (hill climbing as the
  adaptation; the evolved mask of which weights may change is new here).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import hashing, hebbian, integer
from ternevo.deploy.hebbian import STARTS, Start
from ternevo.deploy.life import Life
from ternevo.deploy.record import PolicyRecord

RARELY = 3
"""A weight that may rarely change does so 2**RARELY times less often than one that may freely."""


class Climbing(NamedTuple):
    """How a life is climbed; see the settings of `--policy hill_climber`.

    Attributes:
      num_trials: number of changes that are tried.
      trial_episodes: number of episodes of a trial, whose returns add up.
      flip_rate: a weight that may change freely does so with probability 2**-flip_rate.
      start: what weights are at first.
      evolves_mask: whether weights differ in whether they may change.
    """

    num_trials: int
    trial_episodes: int
    flip_rate: int
    start: Start
    evolves_mask: bool

    def to_options(self) -> tuple[int, ...]:
        """Return it as integers."""
        start = STARTS.index(self.start)
        return *self[:3], start, int(self.evolves_mask)


def from_options(options: Sequence[int]) -> Climbing:
    """Return what `Climbing.to_options` made integers of.

    Raises:
      ValueError: an integer is out of its range.
    """
    limits = {"num_trials": range(2**16), "trial_episodes": range(1, 2**16)}
    limits |= {"flip_rate": range(17), "start": range(2), "evolves_mask": range(2)}
    if len(options) != len(limits):
        raise ValueError(f"{len(options)} options of a hill climber; must be {len(limits)}")
    for (name, allowed), code in zip(limits.items(), options, strict=True):
        if code not in allowed:
            raise ValueError(f"{name} {code}; must be {allowed[0]} to {allowed[-1]}")
    trials, episodes, rate, start, mask = options
    return Climbing(trials, episodes, rate, STARTS[start], bool(mask))


def check(record: PolicyRecord) -> None:
    """Refuse a record whose masks do not fit its layers.

    Raises:
      ValueError: they do not.
    """
    assert record.life is not None
    climbing = from_options(record.life.options)
    kinds = {layer.kind for layer in record.layers}
    if kinds not in ({"ternary"}, {"float"}):
        raise ValueError("a hill climber has ternary or float weights in all layers")
    if record.input_kind == "bits" or record.observation_bits != 8 or record.obs_shape:
        raise ValueError("a hill climber takes a vector of observations of 8 bits")
    if record.output_shift:
        raise ValueError("a hill climber has no output shift")
    wanted = []
    for layer in record.layers:
        if layer.type != "dense" or layer.skip or layer.has_outputs or layer.activation == "relu":
            raise ValueError("a hill climber has dense layers with one scale, without skips")
        if climbing.start == "random" and (
            np.any(layer.weights) or (layer.bias is not None and np.any(layer.bias))
        ):
            raise ValueError("weights that start at random are stored as 0")
        if climbing.evolves_mask:
            wanted.append(layer.weights.shape)
            wanted += [] if layer.bias is None else [(1, layer.bias.size)]
    found = [tuple(rules.values.shape) for rules in record.life.rules]
    if found != wanted:
        raise ValueError(f"masks of shapes {found}; must be {wanted}")
    dtype = np.int8 if kinds == {"ternary"} else np.float32
    if any(rules.values.dtype != dtype or rules.exponent for rules in record.life.rules):
        raise ValueError(f"masks must be {np.dtype(dtype)}, with the exponent 0")


def start_of(seed: Any, counter: Any, is_float: bool) -> Any:
    """Return random first weights for uint32 counters: trits, or floats of deviation about 1."""
    if is_float:
        return normals(seed, hashing.START, counter)
    drawn = hashing.bits(seed, hashing.START, counter)
    return (drawn % drawn.dtype.type(3)).astype(np.int8) - 1


def normals(seed: Any, stream: int, counter: Any) -> Any:
    """Return nearly normal numbers float32: the sum of four bytes, centred, of deviation 1."""
    drawn = hashing.bits(seed, stream, counter)
    byte = drawn.dtype.type(255)
    parts = [(drawn >> drawn.dtype.type(8 * i)) & byte for i in range(4)]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    return (total.astype(np.float32) - np.float32(510.0)) * np.float32(1 / 147.8)


def flipped(seed: Any, counter: Any, best: Any, rate: Any) -> Any:
    """Return trits int8, some of which are drawn again, all three values with the same odds.

    Args:
      seed: uint32 array, of NumPy or JAX.
      counter: uint32 array, another one for each trial.
      best: int8 trits that are changed.
      rate: uint32 array: each changes with probability 2**-rate, and not at all from 32 on.
    """
    word = counter.dtype.type
    drawn = hashing.bits(seed, hashing.FLIP, counter)
    # In two steps, as a shift by 32 is not defined.
    rest = (drawn >> word(1)) >> (word(31) - rate % word(32))
    does_flip = ((rest == word(0)) & (rate < word(32))).astype(np.int8)
    value = (hashing.bits(seed, hashing.VALUE, counter) % word(3)).astype(np.int8) - 1
    return best + does_flip * (value - best)


def rates_of(climbing: Climbing, weights: Any, mask: Any = None) -> Any:
    """Return how weights change: exponents uint32 of flip rates, or float32 sizes of changes.

    Args:
      climbing: how a life is climbed.
      weights: trits, or floats.
      mask: of the shape of the weights: -1 never, 0 rarely, +1 freely; of floats the logarithms of
        sizes. None for the same of all.
    """
    rate = np.uint32(climbing.flip_rate)
    if weights.dtype == np.float32:
        size = np.float32(2.0**-climbing.flip_rate)
        return weights * 0 + size if mask is None else size * 2.0 ** mask.clip(-8.0, 4.0)
    if mask is None:
        return (weights == weights).astype(np.uint32) * rate
    rare = (mask == 0).astype(np.uint32) * np.uint32(RARELY)
    return rate + rare + (mask < 0).astype(np.uint32) * np.uint32(32)


def is_kept(climbing: Climbing, number: Any, score: Any, most: Any) -> Any:
    """Return whether the weights of a trial, 0 for the first ones, are the best so far."""
    return (number <= climbing.num_trials) & ((number == 0) | (score > most))


class _Weights(NamedTuple):
    """Where weights lie in a memory, and what they are multiplied by."""

    at: int
    shape: tuple[int, ...]
    start: NDArray
    rate: NDArray


class Lives(NamedTuple):
    """The memories of lives, in the order in which they are stored: [n, weights] and [n].

    Attributes:
      best: the best weights so far.
      trial: those that act.
      most: the score of the best, the sum of the returns of the episodes of its trial.
      score: what the trial has been paid so far.
      episodes: number of episodes that have begun.
      seeds: uint32 numbers from which all others are drawn.
    """

    best: NDArray
    trial: NDArray
    most: NDArray[np.float32]
    score: NDArray[np.float32]
    episodes: NDArray[np.int32]
    seeds: NDArray[np.uint32]


class Runner:
    """A hill climber, ready to step; memories are int32 [n, memory], see `Lives`.

    Floats lie there as their bits.
    """

    def __init__(self, record: PolicyRecord):
        """Prepare a checked record."""
        assert record.life is not None
        self.record, self.climbing = record, from_options(record.life.options)
        self.is_float = record.layers[0].kind == "float"
        self.weights = _weights_of(record, record.life, self.climbing)
        self.start = np.concatenate([weights.start.ravel() for weights in self.weights])
        self.counter = np.arange(self.start.size, dtype=np.uint32)
        self.rate = np.concatenate([weights.rate.ravel() for weights in self.weights])
        grid = (7 - record.observation_shift, 127)
        self.grids = [grid, *(integer.GRIDS.get(x.activation, (0, 1)) for x in record.layers[:-1])]
        self.output_exponent = int(record.layers[-1].exponents) + self.grids[-1][0]

    def begin(self, seeds: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the memories [n, memory] at the start of lives with these seeds [n]."""
        start = self.start[None]
        if self.climbing.start == "random":
            start = start_of(seeds[:, None], self.counter, self.is_float)
        start = np.broadcast_to(start, (len(seeds), self.start.size))
        none = np.zeros(len(seeds), np.float32)
        return self._stored(Lives(start, start, none, none, none.astype(np.int32), seeds))

    def step(
        self, memories: NDArray[np.int32], q: NDArray[np.int8], told: Any
    ) -> tuple[NDArray[np.int32], NDArray]:
        """Return the memories [n, memory] after a step and the logits [n, out].

        Args:
          memories: before the step.
          q: quantised observations int8 [n, in].
          told: a `living.Told`.
        """
        lives = self._judged(self._read(memories), told)
        return self._stored(lives), self._logits(lives.trial, q)

    def _judged(self, lives: Lives, told: Any) -> Lives:
        """Return the lives once a trial that is over was judged, and the next one begun."""
        score = lives.score + told.feedback
        number = lives.episodes // self.climbing.trial_episodes - 1
        is_whole = lives.episodes % self.climbing.trial_episodes == 0
        is_over = told.is_first & (lives.episodes > 0) & is_whole
        is_better = is_over & is_kept(self.climbing, number, score, lives.most)
        best = np.where(is_better[:, None], lives.trial, lives.best)
        goes_on = (number < self.climbing.num_trials)[:, None]
        following = np.where(goes_on, self._proposed(best, number, lives.seeds), best)
        return Lives(
            best,
            np.where(is_over[:, None], following, lives.trial),
            np.where(is_better, score, lives.most),
            np.where(is_over, np.float32(0), score),
            lives.episodes + told.is_first.astype(np.int32),
            lives.seeds,
        )

    def _proposed(self, best: NDArray, number: NDArray, seeds: NDArray) -> NDArray:
        size = np.uint32(self.start.size)
        counter = self.counter + (number.astype(np.uint32) * size)[:, None]
        if not self.is_float:
            return flipped(seeds[:, None], counter, best.astype(np.int8), self.rate)
        return best + self.rate * normals(seeds[:, None], hashing.FLIP, counter)

    def _logits(self, flat: NDArray, q: NDArray[np.int8]) -> NDArray:
        """Return the outputs of rows that each have weights of their own."""
        values: Any = q.astype(np.float32 if self.is_float else np.int64)
        given, sums = iter(self.weights), values
        for layer, (bits, full_scale) in zip(self.record.layers, self.grids, strict=True):
            weights = self._taken(flat, next(given)).astype(values.dtype)
            sums = np.squeeze(values[:, None] @ weights.transpose(0, 2, 1), 1)
            if layer.bias is not None:
                bias = self._taken(flat, next(given)).astype(values.dtype)[:, 0]
                shift = layer.exponents - layer.bias_exponent
                sums = sums + bias * integer.bias_size(full_scale, shift)
            if layer.activation != "none":
                units = np.ldexp(sums.astype(np.float64), -(layer.exponents + bits))
                units = units.astype(np.float32) if self.is_float else units
                values = hebbian.activated(layer.activation, units, values.dtype)
        if self.is_float:
            return np.ldexp(sums, -self.output_exponent)
        return sums.astype(np.int32)

    def _taken(self, flat: NDArray, weights: _Weights) -> NDArray:
        size = weights.start.size
        return flat[:, weights.at : weights.at + size].reshape(len(flat), *weights.shape)

    def _stored(self, lives: Lives) -> NDArray[np.int32]:
        parts = [self._to_bits(lives.best), self._to_bits(lives.trial)]
        rest = (lives.most, lives.score, lives.episodes, lives.seeds)
        parts += [np.ascontiguousarray(x).view(np.int32)[:, None] for x in rest]
        return np.concatenate(parts, 1)

    def _read(self, memories: NDArray[np.int32]) -> Lives:
        size = self.start.size
        best, trial = memories[:, :size], memories[:, size : 2 * size]
        if self.is_float:
            best, trial = (np.ascontiguousarray(x).view(np.float32) for x in (best, trial))
        most, score, episodes, seeds = (memories[:, 2 * size + i].copy() for i in range(4))
        floats = most.view(np.float32), score.view(np.float32)
        return Lives(best, trial, *floats, episodes, seeds.view(np.uint32))

    def _to_bits(self, weights: NDArray) -> NDArray[np.int32]:
        if self.is_float:
            return np.ascontiguousarray(weights, np.float32).view(np.int32)
        return weights.astype(np.int32)


def _weights_of(record: PolicyRecord, life: Life, climbing: Climbing) -> list[_Weights]:
    found, at, masks = [], 0, iter(life.rules)
    for layer in record.layers:
        for tensor in [layer.weights] + ([] if layer.bias is None else [layer.bias[None]]):
            mask = next(masks).values if climbing.evolves_mask else None
            rate = rates_of(climbing, tensor, mask)
            found.append(_Weights(at, tensor.shape, tensor, rate))
            at += tensor.size
    return found
