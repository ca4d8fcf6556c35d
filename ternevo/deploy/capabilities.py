"""What each export can run: layers, skips and kinds of inputs, checked in one place."""

from typing import Literal, NamedTuple

from ternevo.deploy.record import INPUT_KINDS, LAYER_TYPES, InputKind, LayerType, PolicyRecord

ExportName = Literal["tvp", "c", "onnx", "html", "numpy"]


class UnsupportedError(ValueError):
    """The export cannot run a part of the policy."""


class Capability(NamedTuple):
    """What an export can run.

    Attributes:
      layers: types of layers.
      skips: whether a layer may add the input of an earlier one.
      inputs: kinds of inputs.
    """

    layers: tuple[LayerType, ...]
    skips: bool
    inputs: tuple[InputKind, ...]


MLP = Capability(("dense",), False, ("f32", "i8", "bits"))
ALL = Capability(LAYER_TYPES, True, INPUT_KINDS)
CAPABILITIES: dict[ExportName, Capability] = {
    "tvp": ALL,
    "c": MLP,
    "onnx": ALL,
    "html": ALL,
    "numpy": MLP,
}


def check_export(record: PolicyRecord, export: ExportName) -> None:
    """Check that an export can run the policy.

    Raises:
      UnsupportedError: it has a layer, a skip or a kind of input that the export lacks.
    """
    lacking = _lacking(record, CAPABILITIES[export])
    if lacking:
        others = [name for name, able in CAPABILITIES.items() if not _lacking(record, able)]
        raise UnsupportedError(
            f"--to {export} does not support {' and '.join(lacking)}; this policy can be exported "
            f"with --to {', '.join(others)}"
        )


def _lacking(record: PolicyRecord, able: Capability) -> list[str]:
    """Return what the policy has and an export lacks."""
    lacking = [f"layers of type {name}" for name in record.types if name not in able.layers]
    if not able.skips and any(layer.skip for layer in record.layers):
        lacking.append("skips")
    if record.input_kind not in able.inputs:
        lacking.append(f"{record.input_kind} inputs")
    return lacking
