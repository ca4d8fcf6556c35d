"""brax: rigid-body locomotion, "brax/ant" or "brax/ant@positional".

The backend is the simulator: spring (the default), positional, generalized or
mjx, from fast and rough to slow and exact, and in compiling too. Returns differ
between backends, and from those of MuJoCo.

Two are special. `fast` has no simulator behind it and counts as spring.
`swimmer` needs the fluid forces that only generalized has, and brax 0.14.2
calls `jnp.clip` in a way that JAX no longer knows to compute them; making a
swimmer mends that in `brax.fluid`.
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

from ternevo.envs import traces
from ternevo.names import check
from ternevo.types import ActionSpec, Env, EnvState, Key, ObsSpec, Task, Timestep, no_task

BACKENDS = ("spring", "positional", "generalized", "mjx")
"""The simulators; the first that an environment has is its default."""

ONLY_BACKENDS = {"fast": ("spring",), "swimmer": ("generalized",)}
EPISODE_LENGTH = 1000

NAMES = (  # written down because importing brax takes seconds; the tests compare it with brax's own
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
    """The state of an environment: the simulator's, the steps done (int32), and the task."""

    physics: Any
    step: jax.Array
    task: Task


class Bodies(NamedTuple):
    """A family of bodies: each episode draws a task, which changes the system that is simulated.

    Attributes:
      draw: from a key to a task, a pytree of arrays.
      change: from a task and brax's `System` to the system of that task, as by
        `system.replace(gravity=...)`.
    """

    draw: Callable[[Key], Task]
    change: Callable[[Task, Any], Any]


ONE_BODY = Bodies(no_task, lambda task, system: system)
"""The body that brax has, and no other."""


def names() -> tuple[str, ...]:
    """Return the names of brax's registry, without backends."""
    return NAMES


def make(name: str, episode_length: int | None = None, bodies: Bodies = ONE_BODY) -> Env:
    """Return a brax environment without brax's wrappers; its id names the backend.

    Args:
      name: "ant" or, with a backend, "ant@positional".
      episode_length: the time limit in steps, by default 1000.
      bodies: what a task changes of the body or the world.

    Raises:
      UnknownName: brax has no such environment or backend.
      ValueError: the environment does not exist with that backend.
    """
    name, backend = _parse(name)
    bare = _load(name, backend)
    length = EPISODE_LENGTH if episode_length is None else episode_length

    def body_of(task: Task) -> Any:
        if bodies is ONE_BODY:  # `fast` has no system
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
        # brax knows no time limit of its own: done means that the task has ended.
        terminated = jnp.asarray(after.done, jnp.float32) > 0.5
        truncated = (count >= length) & ~terminated
        reward = jnp.asarray(after.reward, jnp.float32)
        timestep = Timestep(after.obs, reward, terminated, truncated)
        return BraxState(after.pipeline_state, count, state.task), timestep

    _, obs = jax.eval_shape(lambda key: reset(key, bodies.draw(key)), jax.random.key(0))
    size = bare.action_size
    action = ActionSpec("continuous", size, (-1.0,) * size, (1.0,) * size)
    spec = ObsSpec(obs.shape)
    return Env(f"brax/{name}@{backend}", spec, action, length, reset, step, bodies.draw)


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
    """Split "name@backend" and check both, with the default where no backend is given."""
    name, at, backend = name.partition("@")
    check("brax environment", name, NAMES)
    allowed = ONLY_BACKENDS.get(name, BACKENDS)
    if not at:
        return name, allowed[0]
    if check("brax backend", backend, BACKENDS) not in allowed:
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
    """Return the state that brax steps from: of all its fields only the physics matter.

    Fresh dicts also keep brax from writing metrics into the caller's state.
    """
    from brax.envs import State

    nothing = jnp.zeros(())
    return State(physics, nothing, nothing, nothing, metrics={}, info={})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what brax and MuJoCo tell while they are imported, load a model or are traced.

    That is: warp is not installed (printed), brax and jaxopt are unmaintained
    and brax uses old names of mjx (warnings), and a model of brax uses an old
    attribute, for which MuJoCo without a handler writes MUJOCO_LOG.TXT into
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
    """Give `brax.fluid` a `jnp` whose `clip` takes the argument names of older JAX."""
    from brax import fluid

    def clip(x: jax.Array, a_min: Any = None, a_max: Any = None) -> jax.Array:
        return jnp.clip(x, a_min, a_max)

    fluid.jp = types.SimpleNamespace(**{**vars(jnp), "clip": clip})
