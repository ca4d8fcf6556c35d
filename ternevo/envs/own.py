"""Environments in a user's own module, checked before anything compiles."""

import inspect
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ternevo.envs import contract
from ternevo.names import WrongObject, lookup, of_type
from ternevo.types import Descriptor, Env, EnvState, Timestep, layout


def make(env_id: str, episode_length: int | None) -> Env:
    """Call the factory named by `env_id`, "package.module:factory"; see `envs.make`.

    Raises:
      UnknownName: there is no such module or factory.
      WrongObject: it does not return an `Env`, or the functions of the `Env` do not fit its specs.
    """
    factory = lookup("environment", env_id, {})
    called = _called(factory, env_id, episode_length)
    env = of_type(f"what {env_id} returns", called, Env)._replace(id=env_id)
    contract.check(env)
    _check_functions(env)
    return env


def render(env_id: str, states: Sequence[EnvState], stem: Path) -> Path:
    """Draw an episode with the function `render(name, states, stem)` of the environment's module.

    The folder of `stem` is made first.

    Raises:
      UnknownName: the module has no such function.
      WrongObject: the function does not return a path.
    """
    module_name, name = env_id.split(":", 1)
    draw = lookup("renderer", f"{module_name}:render", {})
    stem.parent.mkdir(parents=True, exist_ok=True)
    return of_type(f"what {module_name}:render returns", draw(name, states, stem), Path)


def _called(factory: Any, env_id: str, episode_length: int | None) -> Any:
    try:
        inspect.signature(factory).bind(episode_length=episode_length)
    except (TypeError, ValueError) as error:
        raise WrongObject(
            f"environment {env_id!r} must be a function that can be called as "
            f"factory(episode_length=...) and returns a ternevo.types.Env: {error}"
        ) from error
    try:
        return factory(episode_length=episode_length)
    except TypeError as error:  # for example, Env called without one of its fields
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise WrongObject(
            f"environment {env_id!r} cannot be made: {error} ({where.filename}:{where.lineno})"
        ) from error


def _check_functions(env: Env) -> None:
    """Check that the results of the environment's functions fit its specs."""
    is_discrete = env.action.kind == "discrete"
    action = jax.ShapeDtypeStruct(
        () if is_discrete else (env.action.size,), jnp.int32 if is_discrete else jnp.float32
    )
    key = jax.random.key(0)
    _check_takes(env, "draw_task", "(key)", key)
    task = jax.eval_shape(env.draw_task, key)
    _check_takes(env, "reset", "(key, task)", key, task)
    state, obs = _pair(env, "reset", "(state, obs)", key, task)
    stepped, timestep = _pair(env, "step", "(state, timestep)", jax.random.key(0), state, action)
    timestep = of_type(f"the second result of step of {env.id}", timestep, Timestep)
    wanted = {"obs": ("float32", (env.obs.size,)), "reward": ("float32", ())}
    wanted |= {"terminated": ("bool", ()), "truncated": ("bool", ())}
    wanted |= {"feedback": ("float32", ()), "is_first": ("bool", ())}
    _check_array(env, "the observation of reset", obs, *wanted["obs"])
    for name, like in wanted.items():
        if getattr(timestep, name) is None and name in Timestep._field_defaults:
            continue
        _check_array(env, f"{name} of step", getattr(timestep, name), *like)
    _check_descriptor(env, state)
    before, after = layout(state), layout(stepped)
    if before != after:
        raise WrongObject(
            f"{env.id}: step must return a state like that of reset, {before}, not {after}"
        )


def _check_descriptor(env: Env, state: EnvState) -> None:
    """Check that a descriptor, if there is one, says as many numbers as it has ranges."""
    if env.descriptor is None:
        return
    found = of_type(f"the descriptor of {env.id}", env.descriptor, Descriptor)
    sizes = {len(found.names), len(found.low), len(found.high)}
    if len(sizes) > 1 or not all(a < b for a, b in zip(found.low, found.high, strict=True)):
        raise WrongObject(
            f"the descriptor of {env.id} must have as many names as ranges, each with low below "
            f"high; got {found.names}, {found.low} and {found.high}"
        )
    described = jax.eval_shape(found.of, state)
    _check_array(env, "the descriptor of a state", described, "float32", (found.size,))


def _check_takes(env: Env, name: str, words: str, *arguments: Any) -> None:
    try:
        inspect.signature(getattr(env, name)).bind(*arguments)
    except TypeError as error:
        raise WrongObject(f"{env.id}: {name} must be called as {name}{words}: {error}") from error


def _pair(env: Env, name: str, words: str, *arguments: Any) -> tuple[Any, Any]:
    result = jax.eval_shape(getattr(env, name), *arguments)
    if not isinstance(result, tuple) or len(result) != 2:
        raise WrongObject(f"{env.id}: {name} must return {words}, not {type(result).__name__}")
    return result


def _check_array(env: Env, what: str, found: Any, dtype: str, shape: tuple[int, ...]) -> None:
    if (found.dtype, found.shape) != (dtype, shape):
        raise WrongObject(
            f"{env.id}: {what} must be {dtype}{list(shape)}, not {found.dtype}{list(found.shape)}"
        )
