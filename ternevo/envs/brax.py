"""brax: rigid-body locomotion, "brax/ant" or "brax/ant@positional".

The backend is the simulator: spring (the default), positional, generalized or
mjx, from fast and rough to slow and exact; compile times grow in the same order.
Returns differ between backends and from MuJoCo.

Two environments are special. `fast` does not simulate and counts as spring.
`swimmer` needs fluid forces, which only generalized has. brax 0.14.2 computes them
with arguments of `jnp.clip` that JAX has removed; making a
swimmer patches `brax.fluid`.
"""

import contextlib
import copy
import io
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.envs import brax_names, traces
from ternevo.names import check
from ternevo.settings.environments import BRAX_BACKENDS, ONLY_BACKENDS
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep, no_task

EPISODE_LENGTH = 1000

NAMES = (  # copied because importing brax takes seconds; a test compares it with brax's registry
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_pendulum",
    "inverted_double_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
)


class BraxState(NamedTuple):
    """The state of an environment: simulator state, number of steps done (int32), and task."""

    physics: Any
    step: jax.Array
    task: Task


class Bodies(NamedTuple):
    """A family of bodies or aims: each episode draws a task, which changes the system or the pay.

    Attributes:
      draw: a key to a task, which is a pytree of arrays.
      change: (task, brax's `System`) to the system of that task, for example with
        `system.replace(gravity=...)`.
      pay: (task, brax's `State` after a step) to the reward of that step, by default brax's own.
    """

    draw: Callable[[Key], Task]
    change: Callable[[Task, Any], Any] = lambda task, system: system
    pay: Callable[[Task, Any], jax.Array] = lambda task, after: after.reward


ONE_BODY = Bodies(no_task)
"""Only brax's own body."""


def names() -> tuple[str, ...]:
    """Return the names of brax's registry, without backends."""
    return NAMES


def make(name: str, episode_length: int | None = None, bodies: Bodies = ONE_BODY) -> Env:
    """Return a brax environment without brax's wrappers; its id names the backend.

    Args:
      name: "ant" or, with a backend, "ant@positional".
      episode_length: the time limit in steps, by default 1000.
      bodies: how a task changes the body, the world or the reward.

    Raises:
      UnknownName: brax has no such environment or backend.
      ValueError: the environment does not exist with that backend.
    """
    name, backend = _parse(name)
    bare = _load(name, backend)
    length = EPISODE_LENGTH if episode_length is None else episode_length

    def body_of(task: Task) -> Any:
        if bodies.change is ONE_BODY.change:  # `fast` has no system
            return bare
        body = copy.copy(bare)
        body.sys = bodies.change(task, bare.sys)
        return body

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        with quiet():
            state = body_of(task).reset(key)
        return BraxState(state.pipeline_state, jnp.zeros((), jnp.int32), task), state.obs

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        count = state.step + 1
        with quiet():
            after = body_of(state.task).step(_to_brax(state.physics), action)
        # brax itself has no time limit: done means that the task has ended.
        terminated = jnp.asarray(after.done, jnp.float32) > 0.5
        truncated = (count >= length) & ~terminated
        reward = jnp.asarray(bodies.pay(state.task, after), jnp.float32)
        timestep = Timestep(after.obs, reward, terminated, truncated)
        return BraxState(after.pipeline_state, count, state.task), timestep

    _, obs = jax.eval_shape(lambda key: reset(key, bodies.draw(key)), jax.random.key(0))
    size = bare.action_size
    action = ActionSpec("continuous", size, (-1.0,) * size, (1.0,) * size)
    spec = ObsSpec(obs.shape)
    obs_names, action_names = brax_names.names_of(name)
    return Env(
        f"brax/{name}@{backend}",
        spec,
        action,
        length,
        reset,
        step,
        bodies.draw,
        obs_names=obs_names,
        action_names=action_names,
    )


def distances(name: str, bodies: Bodies = ONE_BODY) -> Callable[[EnvState], jax.Array]:
    """Return the function from a state to how far apart those shapes are that may touch.

    It returns metres [pairs], negative where one is inside the other. Pairs with the ground come in
    the order of their links: for an ant, how far each foot is above the ground, by leg. It raises
    ValueError if nothing in the environment can touch.

    Args:
      name: as for `make`, but not "fast".
      bodies: those of the environment.

    Raises:
      UnknownName: brax has no such environment or backend.
      ValueError: the environment does not exist with that backend.
    """
    system = _load(*_parse(name)).sys

    def found(state: EnvState) -> jax.Array:
        with quiet():
            from brax import contact

            pairs = contact.get(bodies.change(state.task, system), state.physics.x)
        if pairs is None:
            raise ValueError(f"nothing in brax/{name} can touch anything else")
        return pairs.dist

    return found


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Write an episode as a page with a 3D view, `<stem>.html`; `fast` as `<stem>.png`.

    The page loads brax's viewer from the network when it is opened.

    Raises:
      UnknownName: brax has no such environment or backend.
      ValueError: the environment does not exist with that backend.
    """
    name, backend = _parse(name)
    trajectory = jax.device_get(list(trajectory))
    if name == "fast":
        rows = [(state.physics.x.pos[0], state.physics.xd.vel[0]) for state in trajectory]
        return traces.draw(f"brax/{name}", np.asarray(rows), stem)
    bare = _load(name, backend)
    with quiet():
        from brax.io import html
    # The viewer plays one state per timestep, and there is one state per environment step.
    system = bare.sys.tree_replace({"opt.timestep": bare.dt})
    page = html.render(system, [state.physics for state in trajectory])
    return traces.write(stem, ".html", page.encode())


def _parse(name: str) -> tuple[str, str]:
    """Split "name@backend" and check both; a missing backend becomes the default."""
    name, at, backend = name.partition("@")
    check("brax environment", name, NAMES)
    allowed = ONLY_BACKENDS.get(f"brax/{name}", BRAX_BACKENDS)
    if not at:
        return name, allowed[0]
    if check("brax backend", backend, BRAX_BACKENDS) not in allowed:
        raise ValueError(f"brax/{name} exists only as brax/{name}@{' or '.join(allowed)}")
    return name, backend


def _load(name: str, backend: str) -> Any:
    """Return brax's own environment."""
    with quiet():
        from brax import envs

        if name == "swimmer":
            _mend_fluid()
        return envs.get_environment(name, backend=backend)


def _to_brax(physics: Any) -> Any:
    """Return a state for brax's step, which uses only the physics.

    The new dicts also keep brax from writing metrics into the caller's state.
    """
    from brax.envs import State

    nothing = jnp.zeros(())
    return State(physics, nothing, nothing, nothing, metrics={}, info={})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence brax and MuJoCo while they are imported, load a model or are traced.

    They print that warp is not installed, and warn that brax and jaxopt are unmaintained
    and that brax uses old names of mjx. A brax model also uses an old
    attribute; without a handler, MuJoCo reports it in a file MUJOCO_LOG.TXT in
    the working directory.
    """
    import mujoco

    library: Any = mujoco  # its type stubs lack the two functions
    handler = library.get_mju_user_warning()
    library.set_mju_user_warning(lambda message: None)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        library.set_mju_user_warning(handler)


def _mend_fluid() -> None:
    """Give `brax.fluid` a `jnp` whose `clip` accepts the argument names of older JAX."""
    from brax import fluid

    def clip(x: jax.Array, a_min: Any = None, a_max: Any = None) -> jax.Array:
        return jnp.clip(x, a_min, a_max)

    fluid.jp = types.SimpleNamespace(**{**vars(jnp), "clip": clip})
