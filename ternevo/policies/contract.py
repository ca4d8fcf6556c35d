"""The contract of every policy, checked before anything compiles: types, shapes and dtypes.

A policy may come from a user's own module. Checking it here gives a one-line error, instead of
a failure somewhere in a rollout loop.
"""

import dataclasses
import inspect
import json
import typing
from typing import Any

import jax
import jax.numpy as jnp

from ternevo.arithmetic import ternary
from ternevo.arithmetic.weights import WeightKind, kind_of
from ternevo.deploy import tvp
from ternevo.names import WrongObject, of_type
from ternevo.policies import deployed
from ternevo.settings.policies import PolicySettings
from ternevo.types import (
    ActionSpec,
    Env,
    Inputs,
    Memory,
    ObsKind,
    ObsSpec,
    Params,
    Policy,
    Tells,
    Tensor,
    layout,
)

WORDS: dict[Tells, str] = {"rewards": "rewards", "labels": "right values in place of rewards"}
ADVICE: dict[Tells, str] = {
    "rewards": "of rewards learn --policy hill_climber, es_learner and q_learner, and "
    "gradient_learner with --learns_from rewards",
    "labels": "of right values learns --policy gradient_learner with --learns_from examples",
}
"""What learns of what an environment tells."""
MAX_TENSORS = 1000
"""The maximum number of a policy's tensors, so that their names fit into its file."""


def build(settings: PolicySettings, obs: ObsSpec, action: ActionSpec) -> Policy:
    """Return the policy for these settings, if it meets the contract and fits into a file.

    Raises:
      WrongObject: it does not; the message says why.
      ValueError: the settings do not support such observations or actions.
    """
    name = type(settings).__name__
    check_settings(settings)
    built = settings.build(obs, action)
    policy = of_type(f"what {name}.build returns", built, Policy)
    params = jax.eval_shape(policy.init, jax.random.key(0))
    _check_params(name, params, kind_of(settings.weights))
    _check_apply(name, policy, params, obs, action)
    return deployed.with_encoder(policy, settings, obs, action)


def shown_to(settings: PolicySettings, env: Env) -> Env:
    """Return an environment as a policy with these settings sees it, see `PolicySettings.sees`.

    Whatever puts a policy and an environment together calls this first.

    Raises:
      WrongObject: the policy wants more than another kind of observations.
      ValueError: the policy learns of what the environment does not tell, or is paid for what
        another environment asks for.
    """
    if settings.shaped_for not in (None, env.id.partition("@")[0]):
        raise ValueError(
            f"this --reward_shaping is for {settings.shaped_for}, and not for {env.id}; use "
            "--reward_shaping none, or copy for memory/copy and season for memory/season"
        )
    if settings.learns_of not in (None, env.tells):
        kind = type(settings).__name__
        raise ValueError(
            f"{env.id} tells {WORDS[env.tells]}, and {kind} learns of "
            f"{WORDS[settings.learns_of]}; {ADVICE[env.tells]}"
        )
    name = f"what {type(settings).__name__}.sees returns"
    obs = of_type(name, settings.sees(env.obs), ObsSpec)
    if obs.shape != env.obs.shape:
        raise WrongObject(f"{name} must have the shape {env.obs.shape}, not {obs.shape}")
    if obs.kind not in (kinds := typing.get_args(ObsKind)):
        raise WrongObject(f"{name} must be of the kind {', '.join(kinds)}, not {obs.kind!r}")
    return env._replace(obs=obs)


def check_settings(settings: PolicySettings) -> None:
    """Reject settings that a file would not restore exactly.

    Raises:
      WrongObject: a field is not a number, string, boolean, None, or a tuple of these.
    """
    there_and_back = json.loads(json.dumps(to_json(settings), default=str))
    for name, value in to_json(settings).items():
        if _from_json(there_and_back[name]) != value:
            raise WrongObject(
                f"the field {name!r} of {type(settings).__name__} is {value!r}: a policy file "
                "holds numbers, strings, booleans, None, and tuples of these"
            )


def to_json(settings: PolicySettings) -> dict[str, Any]:
    """Return the fields of settings by name."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def from_json(class_: type[PolicySettings], values: dict[str, Any]) -> PolicySettings:
    """Return the settings for values from `to_json`, also after a round trip through JSON.

    Raises:
      TypeError: the class has other fields.
      ValueError: the class rejects the values.
    """
    return class_(**{name: _from_json(value) for name, value in values.items()})


def _from_json(value: Any) -> Any:
    return tuple(map(_from_json, value)) if isinstance(value, list) else value


def _check_params(name: str, params: Params, kind: WeightKind) -> None:
    tensors = jax.tree.leaves(params, is_leaf=ternary.is_tensor)
    if not tensors:
        raise WrongObject(f"{name}.init draws no weights: there is nothing to search")
    for tensor in tensors:
        if not ternary.is_tensor(tensor):
            raise WrongObject(
                f"{name}.init must return a pytree of ternevo.types.Tensor, and there is an array "
                f"{_shape(tensor)} in it: put what is not searched into build"
            )
        _check_tensor(name, tensor, kind)
    for what, found, most in (
        ("tensors", len(tensors), MAX_TENSORS),
        ("weights", sum(tensor.values.size for tensor in tensors), tvp.MAX_WEIGHTS),
    ):
        if found > most:
            raise WrongObject(f"{name}.init draws {found} {what}; a policy file has at most {most}")


def _check_tensor(name: str, tensor: Tensor, kind: WeightKind) -> None:
    values, exponent = tensor
    start = f"{name}.init with weights={kind.name!r}"
    if values.dtype != kind.dtype:
        raise WrongObject(
            f"{start}: the values of a Tensor must be {jnp.dtype(kind.dtype)}, not {_shape(values)}"
        )
    shapes = [()] if kind.is_float else [(), values.shape[-1:]]
    if exponent.dtype != jnp.int8 or exponent.shape not in shapes:
        allowed = " or ".join(f"int8{list(shape)}" for shape in dict.fromkeys(shapes))
        raise WrongObject(
            f"{start}: the exponent of a Tensor must be {allowed}, not {_shape(exponent)}"
        )


def _check_apply(
    name: str, policy: Policy, params: Params, obs: ObsSpec, action: ActionSpec
) -> None:
    memory = _memory(name, policy, params)
    inputs = jax.eval_shape(
        lambda: Inputs(jnp.zeros(obs.shape), jnp.zeros(()), jnp.zeros((), bool))
    )
    result = jax.eval_shape(policy.apply, params, memory, inputs)
    if not isinstance(result, tuple) or len(result) != 2:
        raise WrongObject(f"{name}.apply must return (memory, output), not {type(result).__name__}")
    after, output = result
    wanted = jax.ShapeDtypeStruct((action.size,), jnp.float32)
    for what, found, like in (
        ("an output", layout(output), layout(wanted)),
        ("a memory like that of reset,", layout(after), layout(memory)),
    ):
        if found != like:
            raise WrongObject(f"{name}.apply must return {what} {like}, not {found}")


def _memory(name: str, policy: Policy, params: Params) -> Memory:
    """Return the shapes of the memory at the start of an episode."""
    try:
        inspect.signature(policy.reset).bind(params, jax.random.key(0))
    except TypeError as error:
        raise WrongObject(
            f"{name}.reset must be a function reset(params, key) that returns the memory at the "
            f"start of an episode: {error}"
        ) from error
    return jax.eval_shape(policy.reset, params, jax.random.key(0))


def _shape(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}"
