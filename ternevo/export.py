"""`python -m ternevo.export RUN --to FORMAT`: a trained policy as a file for where it is to run.

`--ternarize` is another matter: it cuts a trained float policy into trits. Each
tensor becomes trits and a power-of-two scale by absmean quantisation (Ma
et al. 2024, "The Era of 1-bit LLMs"), after training and without any tuning:
what a ternary search has to beat. Both policies then run the same episodes.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from ternevo import keys
from ternevo.machine import startup
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.names import Trust
from ternevo.runs.run_folder import errors_in_a_line

if TYPE_CHECKING:
    import jax

    from ternevo.deploy.record import PolicyRecord
    from ternevo.policies.policy_file import SavedPolicy
    from ternevo.types import Env, Params

SUFFIXES = {"tvp": "_device.tvp", "c": ".h", "onnx": ".onnx", "html": ".html", "numpy": ".py"}
"""What is added to the name of the policy, by format."""


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


def main(argv: list[str] | None = None) -> None:
    """Export, and print what was written; exit 2 on bad input."""
    config = tyro.cli(
        ExportConfig,
        args=argv,
        prog="python -m ternevo.export",
        use_underscores=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    with errors_in_a_line():
        if (config.to is None) == (not config.ternarize):
            raise ValueError("say either --to FORMAT or --ternarize; they are two steps")
        if config.ternarize:
            export_ternarized(config)
        else:
            export(config)


# --------------------------------------------------------------------------- for where it is to run


def export(config: ExportConfig) -> Path:
    """Write the policy in the format `config.to`; return where.

    Raises:
      PolicyFormatError: there is no policy in the file.
      NotIntegerError: it computes with floats, and the format is for integers.
      ValueError: `out` is the policy itself, or a folder.
    """
    from ternevo.deploy import tvp
    from ternevo.files import replacing
    from ternevo.runs import run_folder

    source = run_folder.policy_of(config.run, config.which)
    record = tvp.load(source)
    out = config.out or source.with_name(f"{source.stem}{SUFFIXES[str(config.to)]}")
    check_out(out, source)
    data = converted(record, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        temporary.write_bytes(data)
    identity = hashlib.sha256(tvp.encode(record.bare())).hexdigest()
    sizes = "-".join(map(str, record.sizes))
    print(f"policy  {source}  {sizes}, identity {identity[:16]}")
    print(f"{config.to:<7} {out}  {len(data):,} bytes", flush=True)
    return out


def converted(record: "PolicyRecord", config: ExportConfig) -> bytes:
    """Return the bytes of the policy in the format `config.to`.

    Raises:
      NotIntegerError: it computes with floats, and the format is for integers.
      ValueError: a name or a count that cannot be.
    """
    check_options(config)
    num_vectors = 16 if config.num_vectors is None else config.num_vectors
    if config.to == "tvp":
        from ternevo.deploy import integer, tvp

        vectors = None if config.num_vectors is None else integer.examples(record, num_vectors)
        return tvp.encode(dataclasses.replace(record.bare(), vectors=vectors))
    if config.to == "c":
        from ternevo.deploy import c_header

        return c_header.to_c(record, config.name or "policy", num_vectors).encode()
    if config.to == "onnx":
        from ternevo.deploy import onnx_graph

        return onnx_graph.to_bytes(record, config.onnx_weights or "int8")
    if config.to == "html":
        from ternevo.deploy import html

        return html.to_html(record).encode()
    from ternevo.deploy import numpy_script

    return numpy_script.to_numpy(record, num_vectors).encode()


def check_options(config: ExportConfig) -> None:
    """Raise `ValueError` for a count that means nothing, or an option of another format."""
    if config.num_vectors is not None and config.num_vectors < 1:
        raise ValueError(f"num_vectors must be at least 1, got {config.num_vectors}")
    formats = {"name": ("c",), "onnx_weights": ("onnx",), "num_vectors": ("tvp", "c", "numpy")}
    for option, allowed in formats.items():
        if getattr(config, option) is not None and config.to not in allowed:
            raise ValueError(f"--{option} is of --to {' and '.join(allowed)}, not of {config.to}")
    for option in ("env", "policy"):
        if getattr(config, option) is not None:
            raise ValueError(f"--{option} is of --ternarize, not of --to {config.to}")


def check_out(out: Path, source: Path) -> None:
    """Raise `ValueError` if `out` is the policy itself, or a folder."""
    if out.resolve() == source.resolve():
        raise ValueError(f"--out {out} is the policy itself; name another file")
    if out.is_dir():
        raise ValueError(f"--out must be a file, and {out} is a folder")


# ------------------------------------------------------------------------------ from float to trits


class Exported(NamedTuple):
    """The file that was written, and the returns [episodes] of its source and of itself."""

    path: Path
    source_returns: Any
    returns: Any


def export_ternarized(config: ExportConfig) -> Exported:
    """Write the ternary policy, and compare it with its source.

    Raises:
      UntrustedName: the file names code that `config` does not.
      ValueError: a count that means nothing, or a policy that is not one of floats.
    """
    startup.prepare()
    from ternevo import envs
    from ternevo.policies import policy_file
    from ternevo.runs import run_folder

    if config.num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {config.num_episodes}")
    enable_compilation_cache()
    source = run_folder.policy_of(config.run, config.which)
    out = config.out or source.with_name(f"{source.stem}_ternarized.tvp")
    saved = policy_file.load(source, trust=config.policy or False)
    env_id = policy_file.env_id_of(saved, source, config.env)
    env = envs.make(env_id, saved.episode_length if env_id == saved.env_id else None)
    ternarize(source, out, env, trust=saved.policy_name)
    exported = policy_file.load(out, trust=saved.policy_name)
    print(f"evaluating on {config.num_episodes} fresh episodes", flush=True)
    returns = evaluate_both(saved, exported, env, config.seed, config.num_episodes)
    print(f"source      {source}  {_in_words(saved.weights, returns[0])}")
    print(f"ternarized  {out}  {_in_words(exported.weights, returns[1])}", flush=True)
    return Exported(out, *returns)


def ternarize(source: Path, out: Path, env: "Env", trust: Trust = False) -> None:
    """Write the policy of `source` with ternary weights; all else of it stays.

    Args:
      source: file of a float policy.
      out: another file.
      env: what the policy acts in.
      trust: which class of a user's own may be imported, see `policy_file.load`.

    Raises:
      UntrustedName: the policy is of a class that `trust` does not name.
      ValueError: the policy is not a float one, or `out` is `source` or a folder.
    """
    from ternevo.policies import policy_file
    from ternevo.strategies.warm_start import convert
    from ternevo.types import PolicyParams

    saved = policy_file.load(source, trust)
    kind = saved.settings.weights
    if kind != "float":
        raise ValueError(f"{source} is {kind} already; --ternarize takes a policy of float weights")
    check_out(out, source)
    settings = dataclasses.replace(saved.settings, weights="ternary")
    params = PolicyParams(convert(saved.weights, "ternary"), saved.moments)
    out.parent.mkdir(parents=True, exist_ok=True)
    info = {**saved.info, "ternarized_from": source.name}
    policy_file.save(out, env, saved.policy_name, settings, params, info)


def evaluate_both(
    first: "SavedPolicy", second: "SavedPolicy", env: "Env", seed: int, num_episodes: int
) -> "list[jax.Array]":
    """Return the returns of two policies on the same fresh episodes, from one program."""
    import jax

    from ternevo import problems
    from ternevo.machine import devices

    both = [problems.of(saved.policy, env) for saved in (first, second)]

    def run(arguments: list, key: jax.Array) -> list[jax.Array]:
        return [
            problem.test(key, weights, quantiser, num_episodes).returns
            for problem, (weights, quantiser) in zip(both, arguments, strict=True)
        ]

    key = jax.random.fold_in(jax.random.key(seed), keys.FRESH_EPISODES)
    with devices.on_own_devices():
        return jax.jit(run)([(saved.weights, saved.quantiser) for saved in (first, second)], key)


def packed_size(params: "Params") -> int:
    """Return the bytes that the weights take when shipped, without names and shapes.

    A float is 4 bytes; five trits share one, and each of their tensors has one for its exponent.
    """
    from ternevo.arithmetic import ternary
    from ternevo.deploy.tvp import TRITS_PER_BYTE

    return sum(
        -(-tensor.values.size // TRITS_PER_BYTE) + 1
        if tensor.values.dtype == "int8"
        else 4 * tensor.values.size
        for tensor in ternary.tensors(params)
    )


def _in_words(weights: "Params", returns: "jax.Array") -> str:
    from ternevo.arithmetic import ternary

    zeros = sum(int((tensor.values == 0).sum()) for tensor in ternary.tensors(weights))
    return (
        f"return {float(returns.mean()):.1f} (std {float(returns.std()):.1f}, {returns.size} "
        f"episodes), {ternary.num_weights(weights):,} weights, {zeros:,} zeros, "
        f"{packed_size(weights):,} bytes"
    )


if __name__ == "__main__":
    main()
