"""What each export can run: layers, skips and kinds of inputs, checked in one place.

docs/deployment.md has the table, which docs/export_table.py writes.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from ternevo.deploy.record import (
    INPUT_KINDS,
    LAYER_TYPES,
    WEIGHT_KINDS,
    InputKind,
    LayerType,
    PolicyRecord,
    WeightName,
)

ExportName = Literal["tvp", "c", "onnx", "html", "numpy"]


class UnsupportedError(ValueError):
    """The export cannot run a part of the policy."""


class Capability(NamedTuple):
    """What an export can run.

    Attributes:
      layers: types of layers.
      skips: whether a layer may add the input of an earlier one.
      inputs: kinds of inputs.
      weights: kinds of weights. Whether it runs floats, `FLOATS` says.
      lives: whether it runs policies that learn while they act.
      functions: whether it runs outputs with functions of their own.
    """

    layers: tuple[LayerType, ...]
    skips: bool
    inputs: tuple[InputKind, ...]
    weights: tuple[WeightName, ...] = WEIGHT_KINDS
    lives: bool = False
    functions: bool = True


ALL = Capability(LAYER_TYPES, True, INPUT_KINDS)
CAPABILITIES: dict[ExportName, Capability] = {
    "tvp": ALL._replace(lives=True),
    "c": ALL._replace(lives=True),
    "onnx": ALL,
    "html": ALL._replace(weights=("ternary", "binary", "float"), functions=False),
    "numpy": ALL,
}
FLOATS: tuple[ExportName, ...] = ("tvp", "onnx")
"""Exports that run float weights, tanh and relu; others raise `integer.NotIntegerError`."""


def check_export(record: PolicyRecord, export: ExportName) -> None:
    """Check that an export can run the policy.

    Raises:
      UnsupportedError: it has a layer, a skip, functions or a kind of input that the export lacks.
    """
    lacking = _lacking(record, CAPABILITIES[export])
    if lacking:
        others = [name for name, able in CAPABILITIES.items() if not _lacking(record, able)]
        raise UnsupportedError(
            f"--to {export} does not support {' and '.join(lacking)}; this policy can be exported "
            f"with --to {', '.join(others)}"
        )


def _lacking(record: PolicyRecord, able: Capability) -> list[str]:
    """Return what the policy has and an export lacks, with the layers that have it."""
    lacking = []
    for name in record.types:
        if name not in able.layers:
            those = _numbers(i for i, layer in enumerate(record.layers) if layer.type == name)
            lacking.append(f"layers of type {name} ({those})")
    skips = [i for i, layer in enumerate(record.layers) if layer.skip]
    if skips and not able.skips:
        lacking.append(f"skips ({_numbers(skips)})")
    own = [i for i, layer in enumerate(record.layers) if layer.functions is not None]
    if own and not able.functions:
        lacking.append(f"functions of nodes ({_numbers(own)})")
    kinds = {layer.kind for layer in record.layers if layer.type != "max_pool"}
    lacking += [f"{kind} weights" for kind in WEIGHT_KINDS if kind in kinds - set(able.weights)]
    if record.input_kind not in able.inputs:
        lacking.append(f"{record.input_kind} inputs")
    if record.life is not None and not able.lives:
        lacking.append(f"learning while it acts ({record.life.kind})")
    return lacking


def _numbers(layers: Iterable[int]) -> str:
    numbers = list(map(str, layers))
    return f"layer{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


def table() -> str:
    """Return the table of docs/deployment.md: a row for each export."""
    layers = [name.replace("_", " ") for name in LAYER_TYPES]
    columns = ["`--to`", *layers, "skips", *(f"{kind} inputs" for kind in INPUT_KINDS)]
    columns += ["int8, int4, int2 weights", "functions of nodes", "floats", "learning"]
    rows = [columns, ["---"] * len(columns), *map(_row, get_args(ExportName))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _row(name: ExportName) -> list[str]:
    able = CAPABILITIES[name]
    has = [each in able.layers for each in LAYER_TYPES]
    has += [able.skips, *(kind in able.inputs for kind in INPUT_KINDS)]
    has += ["int8" in able.weights, able.functions, name in FLOATS, able.lives]
    return [f"`{name}`", *("yes" if each else "no" for each in has)]
