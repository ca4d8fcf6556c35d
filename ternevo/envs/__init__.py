"""Environments: `make("brax/ant")` returns an `Env` of two pure functions, without auto-reset.

An id is "suite/name". A suite is a module with `names() -> tuple[str, ...]`,
`make(name, episode_length) -> Env` and `render(name, trajectory, stem) -> Path`;
it is imported only when one of its environments is requested, as importing a
simulator takes seconds.
"""

import difflib
import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import jax

from ternevo.envs import contract, own
from ternevo.envs.wrappers import unwrapped, wrap
from ternevo.machine import devices
from ternevo.machine.deferred import defer
from ternevo.names import UnknownName
from ternevo.settings.environments import is_image_file
from ternevo.settings.wrappers import Wrappers, from_text
from ternevo.types import Env, EnvState

SUITES = {
    "probe": "ternevo.envs.probe",
    "digits": "ternevo.envs.digits",
    "control": "ternevo.envs.control",
    "vision": "ternevo.envs.vision",
    "meta": "ternevo.envs.meta",
    "memory": "ternevo.envs.memory",
    "gymnax": "ternevo.envs.gymnax",
    "brax": "ternevo.envs.brax",
    "envpool": "ternevo.envs.envpool",  # before box2d, which is meant by the names they share
    "mujoco": "ternevo.envs.mujoco",
    "box2d": "ternevo.envs.box2d",
    "atari": "ternevo.envs.atari",
    "playground": "ternevo.envs.playground",
}

MOST_NAMED = 40
"""Largest number of ids that a message names. There are hundreds, most of Atari."""

# gymnax imports it, and with it pandas and scipy.stats, for the pictures of two environments.
defer("seaborn")


def make(env_id: str, episode_length: int | None = None, wrappers: Wrappers | None = None) -> Env:
    """Return the environment with this id.

    Args:
      env_id: "suite/name" as listed by `available`; for brax also
        "brax/name@backend"; "digits/PATH.npz" for a file of images; or
        "package.module:factory" for your own, which is called as `factory(episode_length=...)`.
      episode_length: truncate episodes after this many steps instead of at the
        environment's own limit.
      wrappers: the wrappers to apply; none if not given.

    Raises:
      UnknownName: there is no such environment; the message names similar ones.
      WrongObject: your factory does not return an `Env`, or the functions of the `Env` do not fit
        its specs, or a policy file cannot hold its range of actions.
      NotFloat32: JAX computes in float64.
      ImageFileError, NotAFile: a file of images cannot be used.
      ValueError: `episode_length` is less than 1, or brax does not simulate
        the environment with that backend.
    """
    devices.check_float32()
    if episode_length is not None and episode_length < 1:
        raise ValueError(f"episode_length must be at least 1, not {episode_length}")
    if _is_own(env_id):
        env = own.make(env_id, episode_length)
    else:
        suite, name = _find(env_id)
        env = contract.check(suite.make(name, episode_length))
    return _traced_once(wrap(env, wrappers or Wrappers()))


def _traced_once(env: Env) -> Env:
    """Return the environment with `reset` and `step` that are traced once for several programs.

    A run has several: training, whose program holds two rollouts, the last evaluation, the picture.
    A physics of brax takes seconds to trace. Inlining leaves the compiled programs unchanged; as
    calls they would round differently.
    """
    # Functions of their own: those of a user may be objects that have no hash.
    reset = jax.jit(lambda *arguments: env.reset(*arguments), inline=True)
    step = jax.jit(lambda *arguments: env.step(*arguments), inline=True)
    return env._replace(reset=reset, step=step)


def remake(
    env_id: str, wrappers: str, trained_length: int | None, episode_length: int | None = None
) -> Env:
    """Return the training environment recorded in a policy file; see `make`.

    Args:
      env_id: its id.
      wrappers: its wrappers, in the form of `Env.wrappers`.
      trained_length: the time limit in the file; one in `wrappers` takes precedence.
      episode_length: a time limit that overrides both.

    Raises:
      ValueError: `wrappers` is not a valid `Env.wrappers`.
    """
    length_inside, around = from_text(wrappers)
    return make(env_id, episode_length or length_inside or trained_length, around)


def available() -> list[str]:
    """Return the ids of all environments, suite by suite."""
    return [f"{suite}/{name}" for suite in SUITES for name in _suite(suite).names()]


def render(env_id: str, states: Sequence[EnvState], path: Path | str) -> Path:
    """Draw one episode and return the file written: HTML for brax, else a GIF or a PNG.

    Args:
      env_id: as for `make`. For "package.module:factory" the renderer is
        `package.module.render(name, states, stem)`.
      states: the environment states of one episode in order, each unbatched.
      path: the file to write, without the suffix, which depends on the environment.

    Raises:
      UnknownName: there is no such environment, or your module has no renderer.
      WrongObject: your renderer does not return a path.
      ModuleNotFoundError: rendering needs a package that is not installed.
      ValueError: `states` is empty.
    """
    if not states:
        raise ValueError("states must hold at least one state to render")
    states = [unwrapped(state) for state in states]
    if _is_own(env_id):
        return own.render(env_id, states, Path(path))
    suite, name = _find(env_id)
    return suite.render(name, states, Path(path))


def _is_own(env_id: str) -> bool:
    """Return whether an id names code to import; `digits` refuses a path with a colon."""
    return ":" in env_id and not is_image_file(env_id)


def _suite(name: str) -> ModuleType:
    return importlib.import_module(SUITES[name])


def _find(env_id: str) -> tuple[ModuleType, str]:
    """Return the suite of an id, and the name within the suite."""
    suite_name, _, name = env_id.partition("/")
    if suite_name in SUITES:
        suite = _suite(suite_name)
        if name.partition("@")[0] in suite.names() or is_image_file(env_id):
            return suite, name
    ids = available()
    near = _near(env_id, ids)
    if suite_name in SUITES:
        ids = [id_ for id_ in ids if id_.startswith(f"{suite_name}/")]
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise UnknownName(
        f"unknown environment {env_id!r}.{hint} Allowed: {_in_short(ids)}, 'digits/PATH.npz' for "
        "a file of images, or 'package.module:factory' for your own"
    )


def _in_short(ids: Sequence[str]) -> str:
    """Return ids that fit into a message, else how many each suite has, and where they are."""
    if len(ids) <= MOST_NAMED:
        return ", ".join(ids)
    counts = Counter(id_.partition("/")[0] for id_ in ids)
    suites = ", ".join(f"{count} of {suite}/" for suite, count in counts.items())
    return f"{suites} (python -m ternevo.run --list_envs lists them)"


def _near(env_id: str, ids: Sequence[str]) -> list[str]:
    """Return ids that the user may have meant, ignoring case, suite and backend."""
    by_word = {id_.casefold(): id_ for id_ in ids}
    wanted = env_id.casefold().partition("@")[0]
    if wanted in by_word:
        return [by_word[wanted]]
    if is_image_file(f"digits/{env_id}"):
        return [f"digits/{env_id}"]
    suite, _, name = wanted.rpartition("/")
    in_suite = {id_.casefold().partition("/")[2]: id_ for id_ in ids if id_.startswith(f"{suite}/")}
    if words := difflib.get_close_matches(name, in_suite, n=3, cutoff=0.6):
        return [in_suite[word] for word in words]
    by_word |= {id_.casefold().partition("/")[2]: id_ for id_ in ids}
    words = [name] if name in by_word else difflib.get_close_matches(wanted, by_word, n=3)
    return list(dict.fromkeys(by_word[word] for word in words))
