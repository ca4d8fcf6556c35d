"""What each export can hold, as data: the one check before an export, and the table of the docs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ternevo.deploy import integer
from ternevo.deploy.record import (
    INPUT_KINDS,
    LAYER_TYPES,
    InputKind,
    Layer,
    LayerType,
    PolicyRecord,
)


class ExportError(ValueError):
    """A format cannot hold a policy; another one can, and the message says which."""


class Capabilities(NamedTuple):
    """What a format can hold.

    Attributes:
      layers: types of layers.
      inputs: kinds of inputs.
      skips: whether layers may add the input of a layer before them.
      floats: whether weights may be floats, and activations tanh and relu.
    """

    layers: tuple[LayerType, ...]
    inputs: tuple[InputKind, ...]
    skips: bool
    floats: bool


EXPORTS = {
    "tvp": Capabilities(LAYER_TYPES, INPUT_KINDS, skips=True, floats=True),
    "c": Capabilities(LAYER_TYPES, INPUT_KINDS, skips=True, floats=False),
    "onnx": Capabilities(("dense",), ("f32", "i8", "bits"), skips=False, floats=True),
    "html": Capabilities(("dense",), ("f32", "i8", "bits"), skips=False, floats=False),
    "numpy": Capabilities(LAYER_TYPES, INPUT_KINDS, skips=True, floats=False),
}
"""By the name of a format, as `--to` has it."""

NAMES: dict[LayerType, str] = {
    "dense": "dense layer",
    "convolution": "convolution",
    "max_pool": "max pool",
    "elman": "Elman cell",
    "gated": "gated cell",
}


def check(record: PolicyRecord, to: str) -> None:
    """Refuse a policy that a format cannot hold.

    Raises:
      ExportError: a layer or the inputs are of a kind that it lacks; the message names them, and
        the formats that can.
      NotIntegerError: the policy computes with floats, and the format does not.
    """
    for problem in _problems(record, EXPORTS[to]):
        able = [name for name in EXPORTS if not any(_problems(record, EXPORTS[name]))]
        raise ExportError(f"{problem}, which --to {to} cannot hold; --to {' and '.join(able)} can")
    if not EXPORTS[to].floats:
        integer.check_integer(record)


def _problems(record: PolicyRecord, can: Capabilities) -> Iterator[str]:
    """Yield what a format lacks, apart from floats, which have an error of their own."""
    if record.input_kind not in can.inputs:
        yield f"the policy takes {record.input_kind}"
    for i, layer in enumerate(record.layers):
        yield from (f"layer {i} is {_with_article(name)}" for name in _lacks(layer, can))


def _lacks(layer: Layer, can: Capabilities) -> Iterator[str]:
    if layer.type not in can.layers:
        yield NAMES[layer.type]
    if layer.skip and not can.skips:
        yield f"{NAMES[layer.type]} with a skip"


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def table() -> str:
    """Return the table of docs/deployment.md: a row for each format."""
    columns = [*NAMES.values(), "skip", *INPUT_KINDS, "floats"]
    return "\n".join(_lines([["`--to`", *columns], ["---"] * (1 + len(columns)), *_rows()]))


def _rows() -> Iterable[list[str]]:
    for name, can in EXPORTS.items():
        has = [kind in can.layers for kind in NAMES]
        has += [can.skips, *(kind in can.inputs for kind in INPUT_KINDS), can.floats]
        yield [f"`{name}`", *("yes" if each else "no" for each in has)]


def _lines(rows: Iterable[list[str]]) -> Iterable[str]:
    return (f"| {' | '.join(cells)} |" for cells in rows)
