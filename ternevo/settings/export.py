"""The options of `python -m ternevo.export`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Export a policy to the format of its target, or convert a float policy to trits."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder, a policy file, or hub:NAME, a policy that comes with the package."""
    to: Literal["tvp", "c", "onnx", "html", "numpy"] | None = None
    """Output format. tvp: the bare policy file. c: a C99 header. onnx: a model for any runtime.
    html: a page that shows the policy in action. numpy: a Python file that needs only NumPy."""
    ternarize: bool = False
    """Convert float weights to trits, with one power-of-two scale per tensor: --weights ternary."""
    weights: Literal["ternary", "binary", "int8", "int4", "int2"] | None = None
    """Convert float weights to this kind, without training: to integers of 8, 4 or 2 bits, trits or
    signs, with power-of-two scales."""
    ternarizer: Literal["absmean", "twn", "ttq"] = "absmean"
    """With --ternarize or --weights ternary: how floats are cut into trits: at half their mean
    size, at 0.7 times it (twn), or at a twentieth of the largest (ttq)."""
    scales: Literal["layer", "output"] = "layer"
    """With --weights: which weights share a scale, a whole layer or each output of a layer."""
    which: Literal["best", "last"] = "best"
    """Which policy of the run to export."""
    out: Path | None = None
    """Output file; defaults to a file next to the policy."""
    name: str | None = None
    """With --to c: prefix of the names in the header; defaults to "policy"."""
    adc: str | None = None
    """With --to c: add a quantiser of int16 counts of an analogue-to-digital converter, without
    floats. SCALE,OFFSET says that an observation is SCALE * count + OFFSET: once for all inputs, or
    once for each, with spaces between, such as --adc "0.0049,-2.5 0.0049,-2.5 0.001 0.002"."""
    onnx_weights: Literal["int8", "int2"] | None = None
    """With --to onnx: weight type. int8, the default, runs everywhere; int2 needs a quarter of the
    space for weights, and opset 25."""
    num_vectors: int | None = None
    """With --to tvp, c or numpy: number of test vectors; defaults to 16, and to 0 for tvp."""
    num_episodes: int = 128
    """With --ternarize or --weights: number of episodes that evaluate each of the two policies."""
    seed: int = 0
    """With --ternarize or --weights: seed of the episodes."""
    env: str | None = None
    """With --ternarize or --weights: environment to evaluate in. Repeat the name of your own
    environment: its module is never imported just because a file names it."""
    policy: str | None = None
    """With --ternarize or --weights: package.module:Class of a policy of your own, for the same
    reason."""
