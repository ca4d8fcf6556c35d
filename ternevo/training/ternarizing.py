"""Round a trained float policy: what `python -m ternevo.export --ternarize` or `--weights` does.

Absmean quantisation (Ma et al. 2024, "The Era of 1-bit LLMs") turns each tensor into trits and a
power-of-two scale, after training and without any tuning. This is the baseline that a ternary
search has to beat; integers of 8 bits are that of training which rounds. Both policies then run the
same episodes.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from ternevo import envs, problems
from ternevo.arithmetic import ternary
from ternevo.arithmetic.ternary import WeightName
from ternevo.deploy.tvp import TRITS_PER_BYTE
from ternevo.keys import FRESH_EPISODES
from ternevo.machine import callbacks
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.names import Trust
from ternevo.policies import contract, policy_file
from ternevo.policies.policy_file import SavedPolicy
from ternevo.runs import run_folder
from ternevo.settings.export import ExportConfig
from ternevo.settings.policies.settings import Ternarizer
from ternevo.strategies.warm_start import convert
from ternevo.training.exporting import check_out
from ternevo.types import Env, Params, PolicyParams


class Exported(NamedTuple):
    """The file that was written, and the returns [episodes] of its source and of the file."""

    path: Path
    source_returns: Any
    returns: Any


class Form(NamedTuple):
    """A kind of weights, which of them share a scale, and how floats are cut into trits."""

    weights: WeightName
    scales: Literal["layer", "output"]
    ternarizer: Ternarizer = "absmean"


TRITS = Form("ternary", "layer")


def _changes(form: Form) -> dict[str, str]:
    """Return the settings to change; a policy of one's own may have no option for scales."""
    changes: dict[str, str] = {"weights": form.weights}
    return changes | {"scales": form.scales} if form.scales != "layer" else changes


def export_ternarized(config: ExportConfig) -> Exported:
    """Write the ternary policy, and compare it with its source.

    Raises:
      UntrustedName: the file names code that `config` does not name.
      ValueError: a count is invalid, or the policy does not have float weights.
    """
    if config.num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {config.num_episodes}")
    enable_compilation_cache()
    source = run_folder.policy_of(config.run, config.which)
    form = Form(config.weights or "ternary", config.scales, config.ternarizer)
    if form.weights != "ternary" and form.ternarizer != "absmean":
        raise ValueError(f"--ternarizer needs --weights ternary, got --weights {form.weights}")
    word = "ternarized" if config.ternarize else form.weights
    name = f"{source.stem}_{word}.tvp"
    out = config.out or run_folder.beside(config.run, source, name)
    saved = policy_file.load(source, trust=config.policy or False)
    env_id = policy_file.env_id_of(saved, source, config.env)
    trained_length = saved.episode_length if env_id == saved.env_id else None
    env = contract.shown_to(saved.settings, envs.remake(env_id, saved.wrappers, trained_length))
    ternarize(source, out, env, saved.policy_name, form)
    exported = policy_file.load(out, trust=saved.policy_name)
    print(f"evaluating on {config.num_episodes} fresh episodes", flush=True)
    returns = evaluate_both(saved, exported, env, config.seed, config.num_episodes)
    print(f"{'source':<10}  {source}  {_in_words(saved, returns[0])}")
    print(f"{word:<10}  {out}  {_in_words(exported, returns[1])}", flush=True)
    return Exported(out, *returns)


def ternarize(source: Path, out: Path, env: Env, trust: Trust = False, form: Form = TRITS) -> None:
    """Write the policy of `source` with ternary or other weights, and otherwise unchanged.

    Args:
      source: the file of a float policy.
      out: another file.
      env: the environment of the policy.
      trust: which user-defined class may be imported, see `policy_file.load`.
      form: the kind of weights, and which of them share a scale; "layer" leaves that to a policy
        without `--scales`, such as a graph, whose nodes have one each.

    Raises:
      UntrustedName: the policy's class is not named by `trust`.
      ValueError: the policy does not have float weights, cannot have those of `form` or has no
        `--scales`, or `out` is `source` or a folder.
    """
    saved = policy_file.load(source, trust)
    kind = saved.settings.weights
    if kind != "float":
        option = "--ternarize" if form.weights == "ternary" else f"--weights {form.weights}"
        raise ValueError(f"{source} is {kind} already; {option} needs float weights")
    check_out(out, source)
    names = {field.name for field in dataclasses.fields(saved.settings)}
    if form.scales != "layer" and "scales" not in names:
        raise ValueError(f"--scales {form.scales}: --policy {saved.policy_name} has no such option")
    settings = dataclasses.replace(saved.settings, **_changes(form))
    policy = settings.build(env.obs, env.action)
    like = jax.eval_shape(policy.init, jax.random.key(0))
    weights = convert(saved.weights, form.weights, like, form.ternarizer)
    params = PolicyParams(weights, saved.moments)
    out.parent.mkdir(parents=True, exist_ok=True)
    word = "ternarized_from" if form.weights == "ternary" else "rounded_from"
    info = {**saved.info, word: source.name}
    policy_file.save(out, env, saved.policy_name, settings, params, info)


def evaluate_both(
    first: SavedPolicy, second: SavedPolicy, env: Env, seed: int, num_episodes: int
) -> list[jax.Array]:
    """Return the returns of two policies on the same fresh episodes, using one program."""
    both = [problems.of(saved.policy, env) for saved in (first, second)]

    def run(arguments: list, key: jax.Array) -> list[jax.Array]:
        return [
            problem.test(key, weights, quantiser, num_episodes).returns
            for problem, (weights, quantiser) in zip(both, arguments, strict=True)
        ]

    key = jax.random.fold_in(jax.random.key(seed), FRESH_EPISODES)
    with problems.own_devices(env):
        arguments = [(saved.weights, saved.quantiser) for saved in (first, second)]
        callbacks.forget()
        return callbacks.ready(jax.jit(run)(arguments, key))


def packed_size(params: Params, kind: WeightName = "ternary") -> int:
    """Return the bytes that the weights take when each has a code, without names and shapes.

    A float takes 4 bytes. Five trits share one byte, and each exponent takes one byte; so does an
    integer of 8 bits, and two of 4 bits. A file may be smaller where weights are 0, see
    `deploy.codes`.
    """
    per_byte = {"int8": 1, "int4": 2}.get(kind, TRITS_PER_BYTE)
    return sum(
        -(-tensor.values.size // per_byte) + tensor.exponent.size
        if tensor.values.dtype == "int8"
        else 4 * tensor.values.size
        for tensor in ternary.tensors(params)
    )


def _in_words(saved: SavedPolicy, returns: jax.Array) -> str:
    weights = saved.weights
    zeros = sum(int((tensor.values == 0).sum()) for tensor in ternary.tensors(weights))
    return (
        f"return {float(returns.mean()):.1f} (std {float(returns.std()):.1f}, {returns.size} "
        f"episodes), {ternary.num_weights(weights):,} weights, {zeros:,} zeros, "
        f"{packed_size(weights, saved.settings.weights):,} bytes"
    )
