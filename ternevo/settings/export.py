"""The options of `python -m ternevo.export`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a policy for where it is to run, or cut a float policy into trits."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder, or a policy file."""
    to: Literal["tvp", "c", "onnx", "html", "numpy"] | None = None
    """tvp: the bare policy file. c: a C99 header. onnx: a model for any runtime. html: a page that
    shows the policy at work. numpy: a Python file that needs NumPy only."""
    ternarize: bool = False
    """Cut float weights into trits, each tensor with one power-of-two scale."""
    which: Literal["best", "last"] = "best"
    """Which of a run's policies."""
    out: Path | None = None
    """Where to write; beside the policy if not given."""
    name: str | None = None
    """Of --to c: what the names in the header begin with; policy if not given."""
    onnx_weights: Literal["int8", "int2"] | None = None
    """Of --to onnx: int8, the default, runs everywhere; int2 takes a quarter of the bytes for
    weights, and needs opset 25."""
    num_vectors: int | None = None
    """Of --to tvp, c and numpy: test vectors in the file; 16 if not given, none in a tvp."""
    num_episodes: int = 128
    """Of --ternarize: episodes of each of the two policies."""
    seed: int = 0
    """Of --ternarize: seed of the episodes."""
    env: str | None = None
    """Of --ternarize: the environment to run in. Name one of your own again: a file alone does not
    make its module run."""
    policy: str | None = None
    """Of --ternarize: the package.module:Class of a policy of your own, for the same reason."""
