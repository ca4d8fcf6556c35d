"""Start a strategy from a saved policy: its weights and its observation moments.

Every strategy takes its first solution from `Policy.init`: the mode of a distribution, the mean of
an evosax algorithm, or every member of a population. So a policy whose `init` returns the saved
weights makes any strategy start from them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.latents import has_outputs
from ternevo.arithmetic.ternary import WeightName
from ternevo.arithmetic.weights import WeightKind, kind_of
from ternevo.names import Trust
from ternevo.policies import policy_file
from ternevo.policies.policy_file import SavedPolicy
from ternevo.settings.policies.settings import Ternarizer
from ternevo.strategies.numbered import inside
from ternevo.types import (
    Env,
    Key,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    State,
    Strategy,
    Tensor,
)


class Start(NamedTuple):
    """The start of a run: the content of a policy file, in the run's own kind of weights."""

    path: Path
    info: dict[str, Any]
    params: PolicyParams
    windows: tuple[tuple[int, ...], ...] = ()

    def __str__(self) -> str:
        """Return the file, and what it says about its origin."""
        known = ", ".join(
            f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.info.items()
        )
        return f"{self.path} ({known})" if known else str(self.path)


def load(
    path: Path,
    env: Env,
    policy: Policy,
    kind: WeightName,
    trust: Trust = False,
    ternarizer: Ternarizer = "absmean",
) -> Start:
    """Read the start of a run in `env` with `policy`.

    Args:
      path: a policy file.
      env: the environment of the run.
      policy: the run's policy.
      kind: the run's kind of weights.
      trust: which user-defined class may be imported, see `policy_file.load`.
      ternarizer: how floats are cut into trits.

    Raises:
      UntrustedName: the policy's class is not named by `trust`.
      FileNotFoundError, PolicyFormatError: the file does not exist, or does not hold a policy.
      ValueError: the policy is for other observations or actions, has other
        layers, cannot be turned into this kind of weights, or was exported for a device.
    """
    saved = policy_file.load(path, trust)
    has_moments = observation.summed_size(saved.obs) > 0
    if has_moments and saved.record is not None and saved.record.moments is None:
        raise ValueError(
            f"cannot start from {path}: it has no moments of observations, as it was exported for "
            "a device; start from the file in the run's folder"
        )
    _check_fits(saved, path, env, policy)
    like = jax.eval_shape(policy.init, jax.random.key(0))
    try:
        weights = convert(saved.weights, kind, like, ternarizer)
    except ValueError as error:
        raise ValueError(f"cannot start from {path}: {error}") from error
    return Start(path, saved.info, PolicyParams(weights, saved.moments), saved.settings.windows)


def check_windows(start: Start, windows: tuple[tuple[int, ...], ...]) -> None:
    """Refuse a start whose convolutions have other windows than the run's policy.

    Raises:
      ValueError: they differ.
    """
    if start.windows != windows:
        raise ValueError(
            f"{start.path} has the filters {start.windows}, and this run's policy {windows}: give "
            "it the same --filters"
        )


def start_from(policy: Policy, weights: Params) -> Policy:
    """Return the policy whose `init` returns these weights for any key."""
    return policy._replace(init=lambda key: weights)


def with_moments(strategy: Strategy, moments: ObservationMoments) -> Strategy:
    """Return the strategy that starts with these observation moments.

    Its `init` raises ValueError if the state has no field `moments`.
    """

    def replaced(state: State) -> State:
        return _moments_replaced(state, moments)

    def init(key: Key, *numbers: Any) -> State:
        return inside(strategy.init(key, *numbers), replaced)

    return strategy._replace(init=init)


def _moments_replaced(state: State, moments: ObservationMoments) -> State:
    if "moments" not in getattr(state, "_fields", ()):
        raise ValueError(
            f"--init_from: the state of this strategy, a {type(state).__name__}, has no field "
            "'moments' to start from those of the policy"
        )
    return state._replace(moments=moments)


def check_starts(found: PolicyParams, start: Start) -> None:
    """Reject a strategy that would not start from the given policy.

    The exponent of an all-zero tensor or output may differ, as it has no effect.

    Raises:
      ValueError: a tensor differs.
    """
    told = policy_file.named_tensors(start.params.weights)
    for name, got in policy_file.named_tensors(found.weights).items():
        wanted = told[name]
        same_values = bool(jnp.array_equal(got.values, wanted.values))
        axes = tuple(range(wanted.values.ndim - has_outputs(wanted)))
        is_zero = ~jnp.any(wanted.values != 0, axes)
        same_scale = bool(jnp.all((got.exponent == wanted.exponent) | is_zero))
        if not (same_values and same_scale):
            what = "values" if not same_values else "exponent"
            raise ValueError(
                f"the strategy cannot start from {start.path}: the {what} of {name} would change"
            )


# ---------------------------------------------------------------------- conversion


def convert(
    weights: Params,
    kind: WeightName,
    like: Params | None = None,
    ternarizer: Ternarizer = "absmean",
) -> Params:
    """Convert weights to another kind: floats are cut into levels, other kinds become floats.

    Args:
      weights: the params of a policy.
      kind: the target kind.
      like: params, or their shapes, that define which tensors have one exponent per output;
        None for the same as `weights`.
      ternarizer: how floats are cut into trits.

    Raises:
      ValueError: the target is binary but there are zeros; or the target has one exponent for a
        tensor whose outputs have different exponents.
    """
    templates = ternary.tensors(weights if like is None else like)
    converted = [
        _convert(tensor, kind_of(kind, ternarizer), has_outputs(template))
        for tensor, template in zip(ternary.tensors(weights), templates, strict=True)
    ]
    return ternary.replace_tensors(weights, converted)


def _convert(tensor: Tensor, kind: WeightKind, per_output: bool) -> Tensor:
    values, exponent = tensor
    if jnp.issubdtype(values.dtype, jnp.floating):
        return kind.discretize(values, per_output=per_output)
    if kind.is_float:
        levels = jnp.ldexp(values.astype(jnp.float32), -exponent.astype(jnp.int32))
        return Tensor(levels, jnp.zeros((), jnp.int8))
    if not kind.has_zero and bool(jnp.any(values == 0)):
        raise ValueError(f"it has zeros, and {kind.name} weights are -1 or +1")
    if per_output:
        return Tensor(values, jnp.broadcast_to(exponent, values.shape[-1:]))
    if has_outputs(tensor) and bool(jnp.any(exponent != exponent[0])):
        raise ValueError(
            "each of its outputs has its own exponent, but in this run the outputs of a layer "
            "share one: add --scales output"
        )
    return Tensor(values, exponent.reshape(-1)[0])


# ------------------------------------------------------------------- what fits where


def _check_fits(saved: SavedPolicy, path: Path, env: Env, policy: Policy) -> None:
    there = _interface(saved.moments.mean.size, saved.action.kind, saved.action.size)
    here = _interface(env.obs.size, env.action.kind, env.action.size)
    if there != here:
        raise ValueError(
            f"{path} is a policy of {saved.env_id} with {there}, and {env.id} has {here}"
        )
    there, here = _layers(saved.weights), _layers(jax.eval_shape(policy.init, jax.random.key(0)))
    if there != here:
        raise ValueError(
            f"{path} has the layers {there}, and this run's policy {here}: give it the same "
            "settings, such as --hidden_sizes and --use_bias"
        )


def _interface(obs_size: int, kind: str, size: int) -> str:
    return f"{obs_size} observations and {size} {kind} actions"


def _layers(weights: Params) -> str:
    """Return the name and shape of every tensor: "0/weight [4, 8], 0/bias [8]"."""
    named = policy_file.named_tensors(weights)
    return ", ".join(f"{name} {list(tensor.values.shape)}" for name, tensor in named.items())
