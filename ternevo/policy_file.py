"""One self-describing file for one policy: weights, exponents, moments, settings, env id.

An .npz archive: the array "header" is JSON in UTF-8, the others are the
tensors by their path. Nothing in it is executed on loading. It is version 0;
the compact format for devices will replace it behind the same two functions.
"""

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo import actions, observation, ternary
from ternevo.files import replacing
from ternevo.names import check
from ternevo.observation import Quantiser
from ternevo.policies import POLICIES
from ternevo.types import (
    ActionSpec,
    Env,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    Tensor,
)

FORMAT = "ternevo-policy"
VERSION = 0


class PolicyFormatError(ValueError):
    """The file is not a policy of this version, or it is damaged."""


@dataclasses.dataclass(frozen=True)
class SavedPolicy:
    """A policy as it was shipped, ready to act without the run or the environment.

    Attributes:
      env_id: the environment it was trained on.
      policy_name: key of `POLICIES`.
      settings: the policy's settings, a dataclass.
      policy: its functions.
      weights: its params.
      quantiser: its frozen observation quantiser.
      moments: the moments that the quantiser was frozen from.
      episode_length: the time limit it was trained with.
      action: the action space.
      info: strings and numbers about its origin.
    """

    env_id: str
    policy_name: str
    settings: Any
    policy: Policy
    weights: Params
    quantiser: Quantiser
    moments: ObservationMoments
    action: ActionSpec
    episode_length: int
    info: dict[str, Any]

    def act(self, obs: Any) -> np.ndarray:
        """Return the action for one observation [obs], as a numpy value."""
        quantised = observation.quantise(self.quantiser, jnp.asarray(obs, jnp.float32))
        _, output = self.policy.apply(self.weights, self.policy.reset(), quantised)
        return np.asarray(actions.mode(self.action, output))


def save(
    path: Path,
    env: Env,
    policy_name: str,
    settings: Any,
    params: PolicyParams,
    info: dict[str, Any] | None = None,
) -> None:
    """Write a policy; the file is replaced at once or not at all.

    Args:
      path: where, usually ending in .npz.
      env: what it acts in; its id and action space are stored.
      policy_name: key of `POLICIES`.
      settings: the policy's settings, a dataclass.
      params: what to ship.
      info: strings and numbers about the origin.
    """
    quantiser = observation.freeze(params.moments)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "env": env.id,
        "obs_size": env.obs_size,
        "episode_length": env.episode_length,
        "action": env.action._asdict(),
        "policy": policy_name,
        "settings": dataclasses.asdict(settings),
        "info": info or {},
    }
    arrays = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "quantiser/mean": np.asarray(quantiser.mean),
        "quantiser/exponent": np.asarray(jnp.frexp(quantiser.scale)[1] - 1, np.int8),
        "moments/count": np.asarray(params.moments.count),
        "moments/mean": np.asarray(params.moments.mean),
        "moments/m2": np.asarray(params.moments.m2),
    }
    for key, tensor in named_tensors(params.weights).items():
        arrays[f"{key}/values"] = np.asarray(tensor.values)
        arrays[f"{key}/exponent"] = np.asarray(tensor.exponent)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: str | Path) -> SavedPolicy:
    """Read a policy.

    Raises:
      FileNotFoundError: there is no such file.
      PolicyFormatError: it is not a policy file of this version, or damaged.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(bytes(arrays.pop("header")).decode())
    except FileNotFoundError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise PolicyFormatError(f"{path} is not a readable policy file: {error}") from error
    if not isinstance(header, dict):
        raise PolicyFormatError(f"{path} has no header")
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise PolicyFormatError(
            f"{path} is {header.get('format')!r} version {header.get('version')!r}, "
            f"this ternevo reads {FORMAT!r} version {VERSION}"
        )
    try:
        return _decode(header, arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PolicyFormatError(f"{path} is damaged: {error}") from error


def _decode(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> SavedPolicy:
    action = ActionSpec(
        header["action"]["kind"],
        header["action"]["size"],
        tuple(header["action"]["low"]),
        tuple(header["action"]["high"]),
    )
    settings: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in header["settings"].items()
    }
    built = POLICIES[check("policy", header["policy"], POLICIES)](**settings)
    policy = built.build(header["obs_size"], action)
    template = jax.eval_shape(policy.init, jax.random.key(0))
    named = {
        name: Tensor(
            _checked(arrays, f"{name}/values", like.values),
            _checked(arrays, f"{name}/exponent", like.exponent),
        )
        for name, like in named_tensors(template).items()
    }
    per_component = jax.ShapeDtypeStruct((header["obs_size"],), jnp.float32)
    exponent = jax.ShapeDtypeStruct((header["obs_size"],), jnp.int8)
    quantiser = Quantiser(
        _checked(arrays, "quantiser/mean", per_component),
        jnp.ldexp(
            jnp.float32(1), _checked(arrays, "quantiser/exponent", exponent).astype(jnp.int32)
        ),
    )
    moments = ObservationMoments(
        _checked(arrays, "moments/count", jax.ShapeDtypeStruct((), jnp.float32)),
        _checked(arrays, "moments/mean", per_component),
        _checked(arrays, "moments/m2", per_component),
    )
    weights = ternary.replace_tensors(template, list(named.values()))
    return SavedPolicy(
        env_id=header["env"],
        policy_name=header["policy"],
        settings=built,
        policy=policy,
        weights=weights,
        quantiser=quantiser,
        moments=moments,
        action=action,
        episode_length=header["episode_length"],
        info=header["info"],
    )


def _checked(arrays: dict[str, np.ndarray], name: str, like: Any) -> jax.Array:
    array = arrays[name]
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"{name} is {array.dtype}{list(array.shape)}, not {like.dtype}{list(like.shape)}"
        )
    if array.dtype == np.int8 and name.endswith("values") and np.any(np.abs(array) > 1):
        raise ValueError(f"{name} has values outside -1, 0, +1")
    return jnp.asarray(array)


def named_tensors(params: Params) -> dict[str, Tensor]:
    """Return the tensors by their path, such as "0/weight"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params, is_leaf=ternary.is_tensor)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): t for path, t in leaves}
