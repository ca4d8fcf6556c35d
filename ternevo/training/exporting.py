"""Export a trained policy for a target platform: what `python -m ternevo.export --to` does.

This does not need JAX.
"""

import dataclasses
import datetime
import hashlib
import os
from pathlib import Path

from ternevo.deploy import adc, c_header, html, integer, numpy_script, onnx_graph, pruning, tvp
from ternevo.deploy.record import PolicyRecord
from ternevo.files import replacing
from ternevo.runs import run_folder
from ternevo.settings.export import ExportConfig

SUFFIXES = {"tvp": "_device.tvp", "c": ".h", "onnx": ".onnx", "html": ".html", "numpy": ".py"}
"""The suffix added to the name of the policy, by format."""


def export(config: ExportConfig) -> Path:
    """Write the policy in the format `config.to`; return its path.

    Of a graph, the nodes that no output depends on are left out: see `ternevo.deploy.pruning`.

    Raises:
      PolicyFormatError: the file does not hold a policy.
      NotIntegerError: it computes with floats, but the format is for integers.
      ValueError: `out` is the policy itself, or a folder.
    """
    source = run_folder.policy_of(config.run, config.which)
    loaded = tvp.load(source)
    record = pruning.pruned(loaded)
    name = f"{source.stem}{SUFFIXES[str(config.to)]}"
    out = config.out or run_folder.beside(config.run, source, name)
    check_out(out, source)
    data = converted(record, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_bytes(data)
    identity = hashlib.sha256(tvp.encode(record.bare())).hexdigest()
    sizes = "-".join(map(str, record.sizes))
    print(f"policy  {source}  {sizes}, identity {identity[:16]}")
    if record is not loaded:
        print(f"pruned  {_count(record)} of {_count(loaded)} nodes; outputs are the same")
    print(f"{config.to:<7} {out}  {len(data):,} bytes", flush=True)
    if config.to == "tvp":
        taken = tvp.sizes(tvp.decode(data))
        told = f"{taken.stored:,} bytes, {taken.plain:,} plain, entropy bound {taken.bound:,}"
        print(f"weights {told}", flush=True)
    return out


def _count(record: PolicyRecord) -> int:
    """Return the nodes of a graph; each of its layers has all of them, or those that it needs."""
    return max(layer.size for layer in record.layers)


def converted(record: PolicyRecord, config: ExportConfig) -> bytes:
    """Return the bytes of the policy in the format `config.to`.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the format does not run.
      NotIntegerError: it computes with floats, but the format is for integers.
      ValueError: a name or a count is invalid.
    """
    check_options(config)
    num_vectors = 16 if config.num_vectors is None else config.num_vectors
    if config.to == "tvp":
        vectors = None if config.num_vectors is None else integer.examples(record, num_vectors)
        bare = tvp.smallest(record.bare())
        return tvp.encode(dataclasses.replace(bare, vectors=vectors))
    if config.to == "c":
        counts = None if config.adc is None else adc.parse(config.adc, record.obs_size)
        name = config.name or "policy"
        return c_header.to_c(record, name, num_vectors, counts, export_date()).encode()
    if config.to == "onnx":
        return onnx_graph.to_bytes(record, config.onnx_weights or "int8")
    if config.to == "html":
        return html.to_html(record).encode()
    return numpy_script.to_numpy(record, num_vectors).encode()


def export_date() -> str:
    """Return today's date in UTC, or that of SOURCE_DATE_EPOCH, for builds that can be repeated.

    Raises:
      ValueError: SOURCE_DATE_EPOCH is not a number of seconds since 1970.
    """
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    if seconds is None:
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"SOURCE_DATE_EPOCH={seconds!r} must be whole seconds since 1970, such as 1767225600"
        ) from error


def check_options(config: ExportConfig) -> None:
    """Raise `ValueError` for an invalid count, or for an option of another format."""
    if config.num_vectors is not None and config.num_vectors < 1:
        raise ValueError(f"num_vectors must be at least 1, got {config.num_vectors}")
    formats = {
        "name": ("c",),
        "adc": ("c",),
        "onnx_weights": ("onnx",),
        "num_vectors": ("tvp", "c", "numpy"),
    }
    for option, allowed in formats.items():
        if getattr(config, option) is not None and config.to not in allowed:
            raise ValueError(f"--{option} applies to --to {' and '.join(allowed)}, not {config.to}")
    for option in ("env", "policy"):
        if getattr(config, option) is not None:
            raise ValueError(f"--{option} applies to --ternarize, not to --to {config.to}")
    if config.ternarizer != "absmean":
        raise ValueError(f"--ternarizer applies to --weights, not to --to {config.to}")
    if config.scales != "layer":
        raise ValueError(f"--scales applies to --weights, not to --to {config.to}")


def check_out(out: Path, source: Path) -> None:
    """Raise `ValueError` if `out` is the policy itself, or a folder."""
    if out.resolve() == source.resolve():
        raise ValueError(f"--out {out} is the policy itself; name another file")
    if out.is_dir():
        raise ValueError(f"--out must be a file, and {out} is a folder")
