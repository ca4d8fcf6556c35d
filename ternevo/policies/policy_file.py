"""Save and load the JAX policy of a run: `save`, `load`, `SavedPolicy`.

A policy whose settings name a codec, such as an MLP, is a .tvp (`ternevo/deploy/tvp.py`). Its
optional parts hold what a device does not need, such as the environment's name and the moments
of observations. Any other policy is a .npz (`ternevo/policies/policy_archive.py`), which only
the policy's own module can run.
"""

import contextlib
import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.observation import Quantiser
from ternevo.arithmetic.weights import WeightKind, kind_of
from ternevo.deploy import tvp
from ternevo.deploy.record import (
    ACTION_NAMES,
    COPIES,
    CPPN,
    MAX_NAMES_SIZE,
    OBS_NAMES,
    SHEET,
    PolicyRecord,
    Squares,
)
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.files import replacing
from ternevo.names import Trust, UnknownName, check_trusted, lookup_settings
from ternevo.policies import contract, deployed, network_record, policy_archive
from ternevo.policies.acting import Actor, Seen
from ternevo.settings.policies import POLICIES, PolicySettings
from ternevo.types import (
    ActionSpec,
    Env,
    Key,
    Memory,
    ObservationMoments,
    ObsSpec,
    Params,
    Policy,
    PolicyParams,
    Tensor,
)

ENV, LENGTH, WRAPPERS = "env", "episode_length", "wrappers"
"""Reserved names in the metadata of a file; all others belong to `SavedPolicy.info`."""


class Codec(NamedTuple):
    """Converts a policy to a record and back: functions of the module that the settings name.

    Attributes:
      to_record: maps settings, the observation spec, the action space and params to a record;
        metadata are added later.
      from_record: maps a record to settings and weights.
      understands: whether `from_record` accepts a record; `load` asks each policy in turn.
    """

    to_record: Callable[[Any, ObsSpec, ActionSpec, PolicyParams], PolicyRecord]
    from_record: Callable[[PolicyRecord], tuple[Any, Params]]
    understands: Callable[[PolicyRecord], bool]


@dataclasses.dataclass(frozen=True)
class SavedPolicy:
    """A policy as shipped, ready to act without the run or the environment.

    Attributes:
      env_id: the environment it was trained on, "" if the file does not say. Do not trust it:
        `envs.make` imports the module of an id with a colon; see `env_id_of`.
      policy_name: a key of `POLICIES`, or "package.module:Class".
      settings: the policy's settings, a dataclass.
      policy: its functions.
      weights: its params.
      quantiser: its frozen observation quantiser.
      moments: the moments from which the quantiser was frozen; they count no observations if the
        file was exported for a device.
      episode_length: the time limit it was trained with, None if the file does not say.
      obs: the observations it takes.
      action: the action space.
      wrappers: the wrappers around the environment, see `envs.remake`.
      info: strings and numbers about its origin.
      record: the content of the file, None if it is not a .tvp.
    """

    env_id: str
    policy_name: str
    settings: Any
    policy: Policy
    weights: Params
    quantiser: Quantiser
    moments: ObservationMoments
    obs: ObsSpec
    action: ActionSpec
    episode_length: int | None
    wrappers: str
    info: dict[str, Any]
    record: PolicyRecord | None

    def act(self, obs: Any) -> np.ndarray:
        """Return the action for one observation [obs], as a numpy value.

        Raises:
          ValueError: the policy has a memory, so one observation does not determine its action.
        """
        memory = self.reset()
        if jax.tree.leaves(memory):
            raise ValueError(f"{self.policy_name} has a memory: call reset() and step(memory, obs)")
        return self.step(memory, obs)[1]

    def reset(self, key: Key | None = None) -> Memory:
        """Return the memory at the start of an episode; the default key has seed 0."""
        return self.policy.reset(self.weights, jax.random.key(0) if key is None else key)

    def step(
        self, memory: Memory, obs: Any, feedback: float = 0.0, is_first: bool = False
    ) -> tuple[Memory, np.ndarray]:
        """Return the new memory and the action for one observation [obs].

        Args:
          memory: the memory returned by `reset` or the previous step.
          obs: the observation.
          feedback: the reward of the previous step, 0 at first; for policies that learn from it.
          is_first: whether an episode begins with this observation.
        """
        memory, action = self.step_traced(memory, obs, feedback, is_first)
        return memory, np.asarray(action)

    def compiled(self) -> tuple[Callable[[int], Memory], Callable[..., tuple[Memory, jax.Array]]]:
        """Return `reset`, which takes the number of an episode, and `step`, both compiled."""
        return lambda episode: self.reset(jax.random.key(episode)), jax.jit(self.step_traced)

    def step_traced(
        self, memory: Memory, obs: Any, feedback: Any, is_first: Any
    ) -> tuple[Memory, jax.Array]:
        """Do what `step` does; this also works under `jax.jit` and `jax.vmap`."""
        actor = Actor(self.policy, self.obs, self.action)
        seen = Seen(
            jnp.asarray(obs, jnp.float32),
            jnp.asarray(feedback, jnp.float32),
            jnp.asarray(is_first, bool),
        )
        return actor.act(self.weights, self.quantiser, memory, seen)


def save(
    path: Path,
    env: Env,
    policy_name: str,
    settings: Any,
    params: PolicyParams,
    info: dict[str, Any] | None = None,
) -> None:
    """Write a policy; the file is replaced atomically.

    Args:
      path: the file, usually ending in `policies.file_suffix(policy_name)`.
      env: the environment it acts in; its id, its action space and the names of its observations
        and actions are stored, the names in a .tvp only.
      policy_name: a key of `POLICIES`, or "package.module:Class".
      settings: the policy's settings, a dataclass.
      params: the params to ship.
      info: strings and numbers about the origin.

    Raises:
      PolicyFormatError: the format cannot hold the policy or one of its values.
      TypeError: `info` has values other than strings and numbers.
    """
    told = {ENV: env.id, LENGTH: env.episode_length, **(info or {})}
    if env.wrappers:
        told[WRAPPERS] = env.wrappers
    metadata = {name: to_text(value) for name, value in told.items()}
    if type(settings).own_codec() is None:
        _archive(path, policy_name, settings, env.obs, env.action, params, metadata)
        return
    metadata |= names_of(env)
    record = record_of(settings, env.obs, env.action, params, metadata)
    data = tvp.encode(tvp.smallest(record))
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def load(path: str | Path, trust: Trust = False) -> SavedPolicy:
    """Read a policy.

    Nothing in a .tvp is executed. A .npz names the class of its policy. If that class is
    user-defined, its module is imported, and so runs, only if `trust` allows it.

    Args:
      path: the file.
      trust: True to import the class that the file names, or the only "package.module:Class" that
        may be imported. If that class has a codec, a .tvp is tried with it first.

    Raises:
      FileNotFoundError, NotAFile: there is no such regular file.
      PolicyFormatError: it is not a policy file of this version, or is damaged.
      UntrustedName: it names a class that `trust` does not name; nothing was imported.
      UnknownName: the module of its policy cannot be imported here.
    """
    if policy_archive.is_archive(path):
        return _from_archive(path, trust)
    own = trust if isinstance(trust, str) and ":" in trust else None
    return from_record(tvp.load(path), own)


def env_id_of(saved: SavedPolicy, path: Path, said: str | None) -> str:
    """Return the id of the environment for a policy: the user's choice, or else the file's.

    Raises:
      UntrustedName: only the file gives the id, and making the environment would import a module.
      ValueError: neither gives one.
    """
    if said:
        return said
    if not saved.env_id:
        raise ValueError(f"{path} does not say what it was trained on: give --env")
    check_trusted(path, "env", saved.env_id, trust=False)
    return saved.env_id


def record_of(
    settings: PolicySettings,
    obs: ObsSpec,
    action: ActionSpec,
    params: PolicyParams,
    metadata: dict[str, str] | None = None,
) -> PolicyRecord:
    """Return the record of a policy for a .tvp.

    Raises:
      PolicyFormatError: the format cannot hold such a policy.
    """
    codec = codec_of(type(settings))
    if codec is None:
        raise PolicyFormatError(
            0, f"the format has no place for a policy with the settings {type(settings).__name__}"
        )
    parts = codec.to_record(settings, obs, action, params)
    return dataclasses.replace(parts, metadata={**parts.metadata, **(metadata or {})})


def from_record(record: PolicyRecord, own: str | None = None) -> SavedPolicy:
    """Return the JAX policy for the record of a .tvp.

    Args:
      record: the record.
      own: the "package.module:Class" of a policy to import and try first.

    Raises:
      PolicyFormatError: no policy understands the record.
    """
    name, settings, weights = _decoded(record, own)
    told = _told(record.metadata)
    length = _pop_length(told)
    obs, action = network_record.obs_of(record), network_record.action_of(record)
    return SavedPolicy(
        env_id=str(told.pop(ENV, "")),
        policy_name=name,
        settings=settings,
        policy=deployed.with_encoder(settings.build(obs, action), settings, obs, action),
        weights=weights,
        quantiser=_quantiser_of(record, obs),
        moments=_moments_of(record),
        obs=obs,
        action=action,
        episode_length=length,
        wrappers=str(told.pop(WRAPPERS, "")),
        info=told,
        record=record,
    )


def resized(saved: SavedPolicy, env: Env) -> SavedPolicy:
    """Return a policy for the pictures of another environment, of any size; see `fits_any_size`.

    Raises:
      ValueError: the policy is for observations of one size, or the network would be too large.
    """
    if saved.obs.shape == env.obs.shape and saved.action == env.action:
        return saved
    if not saved.settings.fits_any_size:
        raise ValueError(
            f"{saved.policy_name} is for observations {saved.obs.shape}, and {env.id} has "
            f"{env.obs.shape}; only --policy hyperneat draws networks of any size"
        )
    moments = observation.empty(env.obs.size)
    return dataclasses.replace(
        saved,
        policy=contract.build(saved.settings, env.obs, env.action),
        quantiser=observation.freeze(moments, env.obs.kind),
        moments=moments,
        obs=env.obs,
        action=env.action,
        record=None,
    )


def codec_of(class_: type[PolicySettings]) -> Codec | None:
    """Return the codec that the settings of a policy name, or None."""
    name = class_.own_codec()
    if name is None:
        return None
    module = importlib.import_module(name)
    return Codec(module.to_record, module.from_record, module.understands)


def _decoded(record: PolicyRecord, own: str | None) -> tuple[str, PolicySettings, Params]:
    """Return the name, settings and weights of the first policy whose codec knows the record.

    The table is tried from its end, as its first entry, the MLP, accepts any dense layers.
    """
    names = [*POLICIES, own] if own else list(POLICIES)
    for name in reversed(names):
        codec = codec_of(lookup_settings("policy", name, POLICIES, PolicySettings))
        if codec is not None and codec.understands(record):
            return name, *codec.from_record(record)
    raise PolicyFormatError(
        21,
        f"it has the layers {', '.join(record.types)} and {record.input_kind} inputs: none of the "
        f"policies {', '.join(names)} is made of these",
    )


def _quantiser_of(record: PolicyRecord, obs: ObsSpec) -> Quantiser:
    """Return the frozen quantiser in a file's record."""
    if record.input_kind != "f32":
        return observation.freeze(observation.empty(obs.size), obs.kind)
    scale = np.ldexp(np.float32(1), record.exponent.astype(np.int32))
    return Quantiser(jax.device_put(record.mean), jax.device_put(scale))


def _moments_of(record: PolicyRecord) -> ObservationMoments:
    """Return the moments in a file's record."""
    found, mean = record.moments, jnp.asarray(record.mean)
    if found is None:
        return observation.empty(record.obs_size)
    if isinstance(found, Squares):
        return observation.from_squares(jnp.float32(found.count), mean, jnp.asarray(found.m2))
    return ObservationMoments(jnp.asarray(found.count), mean, jnp.asarray(found.deviation))


def _archive(
    path: Path,
    policy_name: str,
    settings: PolicySettings,
    obs: ObsSpec,
    action: ActionSpec,
    params: PolicyParams,
    metadata: dict[str, str],
) -> None:
    """Write a policy without a codec; see `save`. Reject what `_from_archive` would reject."""
    _check_moments(params.moments)
    _check_weights(params.weights, kind_of(settings.weights))
    arrays = {f"moments/{name}": np.asarray(x) for name, x in params.moments._asdict().items()}
    for name, tensor in named_tensors(params.weights).items():
        for part, value in tensor._asdict().items():
            arrays[f"{name}/{part}"] = np.asarray(value)
    header = {
        "policy": policy_name,
        "settings": contract.to_json(settings),
        "action": action._asdict(),
        "metadata": metadata,
    }
    if obs != ObsSpec((_obs_size_of(arrays),)):
        header["obs"] = obs._asdict()
    policy_archive.checked(json.loads(json.dumps(header)))
    policy_archive.write(path, header, arrays)


def _from_archive(path: str | Path, trust: Trust) -> SavedPolicy:
    header, arrays = policy_archive.read(path)
    with _at(path):
        name, fields, action, metadata, shown = policy_archive.checked(header)
        told = _told(metadata)
        length, env_id = _pop_length(told), told.pop(ENV, "")
        if not isinstance(env_id, str):
            raise PolicyFormatError(0, f"{ENV} is {env_id!r}, not a text")
        obs = _obs_of(arrays, shown)
        if ":" not in name and name not in POLICIES:
            known = ", ".join(POLICIES)
            raise PolicyFormatError(0, f"the policy is {name!a}; this ternevo has {known}")
    check_trusted(path, "policy", name, trust)
    try:
        class_ = lookup_settings("policy", name, POLICIES, PolicySettings)
    except UnknownName as error:
        raise type(error)(f"{path}: {error}") from error
    with _at(path):
        settings, policy, params = _built(class_, fields, ActionSpec(*action), obs, arrays)
    return SavedPolicy(
        env_id=env_id,
        policy_name=name,
        settings=settings,
        policy=policy,
        weights=params.weights,
        quantiser=observation.freeze(params.moments, obs.kind),
        moments=params.moments,
        obs=obs,
        action=ActionSpec(*action),
        episode_length=length,
        wrappers=str(told.pop(WRAPPERS, "")),
        info=told,
        record=None,
    )


@contextlib.contextmanager
def _at(path: str | Path) -> Iterator[None]:
    """Add the path to a `PolicyFormatError`."""
    try:
        yield
    except PolicyFormatError as error:
        raise PolicyFormatError(error.offset, error.reason, path) from error


def _built(
    class_: type[PolicySettings],
    fields: dict[str, Any],
    action: ActionSpec,
    obs: ObsSpec,
    arrays: policy_archive.Arrays,
) -> tuple[PolicySettings, Policy, PolicyParams]:
    """Return the settings, policy and params that a file describes, for a settings class.

    Raises:
      PolicyFormatError: the class rejects the settings, or the arrays do not fit the policy.
    """
    try:
        settings = contract.from_json(class_, fields)
        policy = contract.build(settings, obs, action)
        return settings, policy, _params_of_archive(policy, settings, obs.size, arrays)
    except PolicyFormatError:
        raise
    except Exception as error:  # a class may raise anything for settings it did not write
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        reason = " ".join(reason.split())[:200] or type(error).__name__
        raise PolicyFormatError(0, f"its policy cannot be built: {reason}") from error


def _params_of_archive(
    policy: Policy, settings: PolicySettings, obs_size: int, arrays: policy_archive.Arrays
) -> PolicyParams:
    """Return the params in a file, for the policy that its settings build.

    Raises:
      KeyError, ValueError: an array is missing or unknown, has the wrong shape or dtype, or has
        values that the policy cannot have.
    """
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    params = _params_like(
        PolicyParams(shapes, jax.eval_shape(lambda: observation.empty(obs_size))), arrays
    )
    _check_moments(params.moments)
    _check_weights(params.weights, kind_of(settings.weights))
    return params


def _obs_size_of(arrays: policy_archive.Arrays) -> int:
    """Return the number of observation components that the moments of a file cover."""
    mean = arrays.get("moments/mean")
    if mean is None or mean.ndim != 1 or not 1 <= mean.size <= policy_archive.MAX_COMPONENTS:
        shape = "missing" if mean is None else f"of shape {list(mean.shape)}"
        most = policy_archive.MAX_COMPONENTS
        raise PolicyFormatError(0, f"moments/mean is {shape}; must be 1 to {most} means")
    return mean.size


def _obs_of(arrays: policy_archive.Arrays, shown: policy_archive.Shown | None) -> ObsSpec:
    """Return the observation spec of a policy; the default is a vector of floats."""
    size = _obs_size_of(arrays)
    spec = ObsSpec((size,)) if shown is None else ObsSpec(*shown)
    if spec.size != size:
        raise PolicyFormatError(0, f"obs of shape {list(spec.shape)}, and {size} moments")
    return spec


def _check_moments(moments: ObservationMoments) -> None:
    """Reject impossible moments: all must be finite, and only means may be negative."""
    for name, value in moments._asdict().items():
        values = np.asarray(value)
        if not np.isfinite(values).all():
            raise PolicyFormatError(0, f"moments/{name} has a value that is not finite")
        if name != "mean" and (values < 0).any():
            raise PolicyFormatError(0, f"moments/{name} is negative")


def _check_weights(weights: Params, kind: WeightKind) -> None:
    """Reject values that weights of a kind cannot have; the same rules apply as for a .tvp."""
    for name, (values, exponent) in named_tensors(weights).items():
        values, exponents = np.asarray(values), np.asarray(exponent, int).reshape(-1)
        bad = ~np.isfinite(values) if kind.is_float else ~np.isin(values, kind.levels)
        if bad.any():
            first = values[bad].flat[0]
            raise PolicyFormatError(0, f"{name} has a {first} among {kind.name} weights")
        largest = exponents[np.argmax(np.abs(exponents))]
        if abs(largest) > tvp.EXPONENT_LIMIT:
            found = f"exponent {largest} of {name}"
            raise PolicyFormatError(0, f"{found}; at most {tvp.EXPONENT_LIMIT} in size")


def _params_like(like: PolicyParams, arrays: policy_archive.Arrays) -> PolicyParams:
    """Return the arrays of a file as a policy's params.

    Raises:
      KeyError: an array is missing.
      ValueError: an array has the wrong shape or dtype, or is unknown.
    """
    used = set()

    def array(name: str, wanted: Any) -> jax.Array:
        used.add(name)
        found = arrays[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"{name} is {found.dtype}{list(found.shape)}, and not "
                f"{wanted.dtype}{list(wanted.shape)}"
            )
        return jnp.asarray(found)

    tensors = [
        Tensor(*(array(f"{name}/{part}", x) for part, x in tensor._asdict().items()))
        for name, tensor in named_tensors(like.weights).items()
    ]
    moments = _moments_like(like.moments, array, is_of_squares="moments/m2" in arrays)
    if unknown := sorted(arrays.keys() - used):
        raise ValueError(f"the policy has no {', '.join(map(ascii, unknown[:4]))}")
    return PolicyParams(ternary.replace_tensors(like.weights, tensors), moments)


def _moments_like(
    like: ObservationMoments, array: Callable[[str, Any], jax.Array], is_of_squares: bool
) -> ObservationMoments:
    """Return the moments of a file; older files hold one count, and squares, not deviations.

    Args:
      like: moments of the same shapes.
      array: maps a name and an array of the expected shape and dtype to the array of that name.
      is_of_squares: whether the file has the older format.
    """
    if not is_of_squares:
        return ObservationMoments(
            **{name: array(f"moments/{name}", x) for name, x in like._asdict().items()}
        )
    shapes = {"count": jax.ShapeDtypeStruct((), jnp.float32), "mean": like.mean, "m2": like.mean}
    return observation.from_squares(
        **{name: array(f"moments/{name}", shape) for name, shape in shapes.items()}
    )


def _pop_length(told: dict[str, Any]) -> int | None:
    """Remove the time limit from a file's metadata and return it, or None if there is none."""
    length = told.pop(LENGTH, None)
    if length is not None and (type(length) is not int or length < 1):
        raise PolicyFormatError(0, f"{LENGTH} is {length!r}, not a positive integer")
    return length


def _told(metadata: dict[str, str]) -> dict[str, Any]:
    names = (OBS_NAMES, ACTION_NAMES, COPIES, CPPN, SHEET)
    return {name: from_text(text) for name, text in metadata.items() if name not in names}


def names_of(env: Env) -> dict[str, str]:
    """Return the names of observations and actions as metadata, one a line; none if too long."""
    texts = {OBS_NAMES: "\n".join(env.obs_names), ACTION_NAMES: "\n".join(env.action_names)}
    return {key: text for key, text in texts.items() if 0 < len(text.encode()) <= MAX_NAMES_SIZE}


def to_text(value: Any) -> str:
    """Return a string unchanged, but a number, or a string that looks like one, as JSON."""
    if isinstance(value, str) and not _is_json(value):
        return value
    if not isinstance(value, str | int | float):
        raise TypeError(f"a policy file takes strings and numbers, not {type(value).__name__}")
    return json.dumps(value)


def from_text(text: str) -> Any:
    """Return the value from which `to_text` made the text."""
    return json.loads(text) if _is_json(text) else text


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), str | int | float)
    except (ValueError, RecursionError):  # a file may contain anything
        return False


def named_tensors(params: Params) -> dict[str, Tensor]:
    """Return the tensors by their path, such as "0/weight"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params, is_leaf=ternary.is_tensor)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): t for path, t in leaves}
