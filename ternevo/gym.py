"""Run a policy in real Gymnasium environments: `evaluate` or `python -m ternevo.gym POLICY`.

No wrapper is needed: normalisation and the action range are part of the policy. Gymnasium is
imported only when used, and JAX only for policies of your own, whose files need it.

If gymnax and Gymnasium have an environment of the same name, it has the same observations (order,
units, angles as cosine and sine), actions and their ranges, rewards, initial states and time
limits, with these exceptions:

- CartPole-v1, Pendulum-v1, MountainCar-v0, Acrobot-v1: Gymnasium computes in float64 (the
  initial state of Acrobot is float32) and observes float32; gymnax uses float32 throughout. An
  unstable system therefore diverges within some tens of steps, and returns agree only on average.
- MountainCarContinuous-v0: in Gymnasium the left wall stops the car. In gymnax 1.0.1 the car
  stays at the wall but keeps its speed, so that it leaves the wall later.

brax is a different simulator, not another implementation: observations, their order, actions and
rewards can match, but returns differ. These environments fit:

- brax/hopper with Hopper-v5, brax/halfcheetah with HalfCheetah-v5, brax/walker2d with Walker2d-v5,
  and brax/ant with Ant-v5 and `make_kwargs={"include_cfrc_ext_in_observation": False}`.
- The hopper observes 11 numbers: height, torso angle, three joint angles, then their six
  velocities, forward first, clipped to 10. Masses, torques and the time step are the same.
  Gymnasium integrates with RK4, lets all parts touch the floor and each other, and pays no
  healthy reward in the step of a fall. brax has no RK4, lets only the foot touch the floor, and
  pays that step.
- On brax's default backend, spring, the cheetah's front shin and foot have torques of 100 instead
  of 60 and 30. Gymnasium's ant starts 0.2 higher and with straight legs.

These do not fit and are refused: InvertedPendulum-v5 and Pusher-v5, which take torques where brax
takes fractions of them in [-1, 1]; humanoid, reacher and inverted_double_pendulum, which have
observations of different sizes. brax/swimmer was not compared.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from ternevo import installation
from ternevo.commands import prog, while_read
from ternevo.deploy import runtime
from ternevo.deploy.record import OutputKind, PolicyRecord
from ternevo.hub import catalogue
from ternevo.names import Trust, check, check_trusted
from ternevo.policies.policy_archive import is_archive
from ternevo.runs import run_folder
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.parser import parsed

EXAMPLES = (
    "runs/gymnax/CartPole-v1/ternary_nes/seed0",
    "policy.tvp --env Hopper-v5 --episodes 32",
    "runs/gymnax/Acrobot-v1/ternary_nes/seed0 --which last --seed 1000",
)

SUITE = "gymnasium"
"""The suite of Gymnasium's environments, before their name, in the metadata of a policy."""

SAME_NAMES = ("gymnax", "mujoco", "box2d", "envpool", SUITE)
"""The suites whose environments are called as Gymnasium's are."""

NUM_ENVS = 32
"""Number of environments to step together, with one call of the policy for all."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of some episodes.

    Attributes:
      env_id: Gymnasium's name of the environment.
      seed: of the first episode; each later one adds 1.
      returns: float64 [episodes], undiscounted sums of rewards.
      lengths: int64 [episodes], steps.
    """

    env_id: str
    seed: int
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns, over the episodes."""
        return float(self.returns.std())

    def __str__(self) -> str:
        """Summarise it in one line."""
        low, high = self.returns.min(), self.returns.max()
        return (
            f"{self.env_id}: return {self.mean:.2f} (std {self.std:.2f}, min {low:.2f}, "
            f"max {high:.2f}, {len(self.returns)} episodes, seed {self.seed}), "
            f"{self.lengths.mean():.1f} steps"
        )


def evaluate(
    policy: Any,
    env_id: str,
    episodes: int = 128,
    seed: int = 0,
    *,
    num_envs: int = NUM_ENVS,
    num_threads: int = 1,
    make_kwargs: dict[str, Any] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate a policy in a Gymnasium environment.

    Episode i starts with `reset(seed=seed + i)`. An integer policy gives the same result every
    time and with any `num_envs` and `num_threads`. A float policy does so if it computes the same
    in any batch. Box2D's environments round differently after other episodes in the same
    environment: they give the same result with the same `num_envs`, or with one for each episode.

    Args:
      policy: an object with `act_batch(obs [n, in])` or `act(obs [in])`; with a `record`, as in
        `ternevo.deploy.runtime`, sizes are checked before anything runs. Alternatively the result
        of `load`, which may have a memory, or the path of a policy file.
      env_id: a name in Gymnasium's registry, such as "CartPole-v1", or "module:name".
      episodes: number of episodes.
      seed: seed of the first episode.
      num_envs: number of environments to step together.
      num_threads: number of threads that step them, which makes MuJoCo's faster: others hold
        Python's lock.
      make_kwargs: further arguments of `gymnasium.make`, such as `max_episode_steps`; some
        environments never end without it.
      progress: whether to show a progress bar.

    Raises:
      MissingExtra: Gymnasium is not installed.
      UnknownName: it does not have this environment.
      ValueError: policy and environment do not fit, a count is below 1, or the environment cannot
        be made.
    """
    if min(episodes, num_envs, num_threads) < 1:
        raise ValueError(
            "episodes, num_envs and num_threads must be at least 1, got "
            f"{episodes}, {num_envs} and {num_threads}"
        )
    if isinstance(policy, str | Path):
        policy = load(policy)
    envs = []
    try:
        for _ in range(min(episodes, num_envs)):
            envs.append(make(env_id, make_kwargs or {}))
            if len(envs) == 1 and hasattr(policy, "record"):
                check_fits(policy.record, env_id, envs[0])
        with _stepper(num_threads) as step:
            move = _Moves(_acting(policy, seed), step)
            return _play_all(move, envs, env_id, episodes, seed, progress)
    finally:
        for env in envs:
            env.close()


class Interface(NamedTuple):
    """What to check about a policy before anything runs; a `PolicyRecord` also has these fields."""

    obs_size: int
    num_outputs: int
    output_kind: OutputKind
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    metadata: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Stepped:
    """A user's own policy, possibly with a memory, which `ternevo.policies.policy_file` steps.

    Attributes:
      record: its interface.
      reset: maps the number of an episode to the memory at its start.
      step: maps the memory, an observation [in], the reward of the previous step and whether this
        is the first step to the new memory and the action.
    """

    record: Interface
    reset: Callable[[int], Any]
    step: Callable[[Any, NDArray[np.float32], float, bool], tuple[Any, Any]]


def load(path: str | Path, trust: Trust = False) -> Any:
    """Load a policy file for `evaluate`.

    Args:
      path: a policy file, or "hub:NAME".
      trust: which class of a user's own may be imported; see `policy_file.load`. Only files of
        such classes need JAX.

    Raises:
      UntrustedName: the file names a class that `trust` does not.
      PolicyFormatError: it is not a policy file, or it is damaged.
    """
    path = catalogue.path_of(path)
    if not (trust and is_archive(path)):
        return runtime.load(path)
    installation.require("a policy of your own", "train")
    from ternevo.policies import policy_file  # imports JAX, which other files do not need

    saved = policy_file.load(path, trust)
    low, high = (np.asarray(bound, np.float32) for bound in (saved.action.low, saved.action.high))
    said = {"env": saved.env_id, "wrappers": saved.wrappers}
    interface = Interface(saved.obs.size, saved.action.size, saved.action.kind, low, high, said)
    return Stepped(interface, *saved.compiled())


def _acting(policy: Any, seed: int) -> "Callable[[list[_Lane]], Any]":
    """Return a function that maps lanes to their actions."""
    if isinstance(policy, Stepped):
        return lambda lanes: [lane.act(policy, seed) for lane in lanes]
    if isinstance(policy, runtime.Policy) and policy.record.memory_size:
        return lambda lanes: _step_all(policy, lanes, seed)
    if hasattr(policy, "act_batch"):
        return lambda lanes: policy.act_batch(np.stack([lane.obs for lane in lanes]))
    return lambda lanes: [policy.act(lane.obs) for lane in lanes]


def _step_all(policy: runtime.Policy, lanes: "list[_Lane]", seed: int) -> NDArray:
    """Return the actions of a policy with a memory in all lanes, which keep its memories."""
    memories: Any = np.stack(
        [policy.reset(seed=seed + lane.episode) if lane.is_first else lane.memory for lane in lanes]
    )
    rewards, is_first = [lane.reward for lane in lanes], [lane.is_first for lane in lanes]
    obs = np.stack([lane.obs for lane in lanes])
    memories, actions = policy.step_batch(memories, obs, rewards, is_first)
    for lane, memory in zip(lanes, memories, strict=True):
        lane.memory = memory
    return actions


def _import_gymnasium() -> Any:
    return installation.load("a real environment", "gym", "gymnasium")


def make(env_id: str, make_kwargs: dict[str, Any]) -> Any:
    """Return Gymnasium's environment with its time limit, or raise with the reason."""
    gymnasium = _import_gymnasium()
    if ":" not in env_id:  # with a colon, `make` imports the module that registers it
        check("Gymnasium environment", env_id, gymnasium.registry)
    try:
        return gymnasium.make(env_id, **{"disable_env_checker": True, **make_kwargs})
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        # MuJoCo environments need imageio, which the extra brings.
        is_ours = ":" not in env_id and isinstance(error, ModuleNotFoundError)
        hint = f"; {installation.command('gym')}" if is_ours else ""
        raise ValueError(f"Gymnasium cannot make {env_id}: {error}{hint}") from error


def make_vector(env_id: str, make_kwargs: dict[str, Any], num_envs: int) -> Any:
    """Return a vector of an environment, each of which begins anew in the step that ends it."""
    vector = _import_gymnasium().vector
    same_step = vector.AutoresetMode.SAME_STEP
    return vector.SyncVectorEnv(
        [lambda: make(env_id, make_kwargs)] * num_envs, autoreset_mode=same_step
    )


# ---------------------------------------------------------------------------------- what fits


def check_fits(record: PolicyRecord | Interface, env_id: str, env: Any) -> None:
    """Refuse an environment whose sizes, kind of actions or action range differ."""
    size = obs_size(env.observation_space)
    if record.obs_size != size:
        raise ValueError(
            f"the policy takes observations of {record.obs_size} numbers, but {env_id} gives {size}"
        )
    ours, theirs = f"{record.num_outputs} {record.output_kind}", actions_of(env.action_space)
    if ours != theirs:
        raise ValueError(f"the policy has {ours} actions, but {env_id} takes {theirs} ones")
    if record.output_kind == "continuous":
        _check_range(record, env_id, env.action_space)


def _check_range(record: PolicyRecord | Interface, env_id: str, space: Any) -> None:
    """Refuse another action range: the same output would mean a different force."""
    for name, ours, theirs in (("low", record.low, space.low), ("high", record.high, space.high)):
        theirs = np.ravel(theirs).astype(np.float32)
        if np.any((ours != theirs) & np.isfinite(theirs)):
            raise ValueError(
                f"{name} of the policy's actions is {ours.tolist()}, but {env_id} has "
                f"{theirs.tolist()}; if both mean the same, put the environment's low and high "
                "into the policy's record"
            )


def is_a(space: Any, name: str) -> bool:
    """Return whether a space is of the class of that name in `gymnasium.spaces`."""
    return isinstance(space, getattr(_import_gymnasium().spaces, name))


def obs_size(space: Any) -> int:
    """Return the number of components of an observation; an integer is one-hot.

    Raises:
      ValueError: policies do not take such observations.
    """
    if is_a(space, "Discrete"):
        return int(space.n)
    if is_a(space, "Box"):
        return int(np.prod(space.shape))
    raise ValueError(f"observations are {space}; must be an array or one integer")


def actions_of(space: Any) -> str:
    """Return the number and kind of actions; raise ValueError if policies do not have it."""
    if is_a(space, "Discrete"):
        return f"{space.n} discrete"
    if is_a(space, "Box"):
        return f"{int(np.prod(space.shape))} continuous"
    raise ValueError(f"actions are {space}; must be discrete, or an array of floats")


def observer(space: Any) -> Callable[[Any], NDArray[np.float32]]:
    """Return a function from an observation to a float32 vector; integers become one-hot."""
    size = obs_size(space)
    if is_a(space, "Box"):
        return lambda obs: np.ravel(obs).astype(np.float32)
    return lambda obs: (np.arange(size) == obs - space.start).astype(np.float32)


def actor(space: Any) -> Callable[[Any], Any]:
    """Return a function from a policy's action to the environment's."""
    actions_of(space)
    if is_a(space, "Box"):
        return lambda action: np.asarray(action, space.dtype).reshape(space.shape)
    return lambda action: int(action) + int(space.start)


# ----------------------------------------------------------------------------------- episodes


@dataclasses.dataclass
class _Lane:
    """An environment with its current episode, the last observation, and the policy's memory."""

    env: Any
    observe: Callable[[Any], NDArray[np.float32]]
    to_action: Callable[[Any], Any]
    episode: int = -1
    obs: Any = None
    reward: float = 0.0
    is_first: bool = True
    memory: Any = None

    def begin(self, episode: int, seed: int) -> None:
        self.episode, self.reward, self.is_first = episode, 0.0, True
        self.obs = self.observe(self.env.reset(seed=seed)[0])

    def act(self, policy: Stepped, seed: int) -> Any:
        """Return the action of a policy with a memory of the episode."""
        if self.is_first:
            self.memory = policy.reset(seed + self.episode)
        self.memory, action = policy.step(self.memory, self.obs, self.reward, self.is_first)
        return np.asarray(action)

    def step(self, action: Any) -> tuple[float, bool]:
        """Return the reward, and whether the episode is over."""
        obs, reward, terminated, truncated, _ = self.env.step(self.to_action(action))
        self.obs, self.reward, self.is_first = self.observe(obs), float(reward), False
        return self.reward, bool(terminated or truncated)


class _Moves(NamedTuple):
    """How lanes move: `act` gives their actions, `step` rewards and whether episodes are over."""

    act: Callable[[list[_Lane]], Any]
    step: Callable[[list[_Lane], Any], list[tuple[float, bool]]]


@contextlib.contextmanager
def _stepper(num_threads: int) -> Iterator[Callable[[list[_Lane], Any], list[tuple[float, bool]]]]:
    """Yield a function that steps lanes with their actions, each thread some of them in a row."""

    def step(lanes: list[_Lane], actions: Any) -> list[tuple[float, bool]]:
        return [lane.step(action) for lane, action in zip(lanes, actions, strict=True)]

    if num_threads == 1:
        yield step
        return
    with ThreadPoolExecutor(num_threads) as pool:

        def step_in_threads(lanes: list[_Lane], actions: Any) -> list[tuple[float, bool]]:
            size = -(-len(lanes) // num_threads)
            pieces = [slice(i, i + size) for i in range(0, len(lanes), size)]
            found = pool.map(lambda piece: step(lanes[piece], actions[piece]), pieces)
            return [one for piece in found for one in piece]

        yield step_in_threads


def _play_all(
    move: _Moves,
    envs: list,
    env_id: str,
    episodes: int,
    seed: int,
    progress: bool,
) -> Evaluation:
    observe, to_action = observer(envs[0].observation_space), actor(envs[0].action_space)
    lanes = [_Lane(env, observe, to_action) for env in envs]
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    with tqdm(total=episodes, unit="episode", disable=not progress) as bar:
        for episode, reward, is_over in _steps(move, lanes, episodes, seed):
            returns[episode] += reward
            lengths[episode] += 1
            bar.update(is_over)
    return Evaluation(env_id, seed, returns, lengths)


def _steps(
    move: _Moves, lanes: list[_Lane], episodes: int, seed: int
) -> Iterator[tuple[int, float, bool]]:
    """Yield each step's episode, reward and whether it ended; free lanes start the next one."""
    waiting = iter(range(episodes))
    for lane, episode in zip(lanes, waiting, strict=False):
        lane.begin(episode, seed + episode)
    while lanes:
        running = []
        found = move.step(lanes, move.act(lanes))
        for lane, (reward, is_over) in zip(lanes, found, strict=True):
            yield lane.episode, reward, is_over
            following = next(waiting, None) if is_over else None
            if following is not None:
                lane.begin(following, seed + following)
            if not is_over or following is not None:
                running.append(lane)
        lanes = running


# ------------------------------------------------------------------------------- command line


@dataclasses.dataclass(frozen=True)
class GymConfig:
    """Run a policy in a real Gymnasium environment and print its returns."""

    run: Annotated[Path, tyro.conf.Positional]
    """A policy file, a run's folder, or hub:NAME, a policy that comes with the package."""
    policy: str | None = None
    """package.module:Class of a policy of your own; it is never imported from the file alone."""
    env: str | None = None
    """Gymnasium's name of the environment; defaults to that of the policy's own environment, if it
    is one of gymnax, MuJoCo or Box2D."""
    episodes: int = 128
    """Number of episodes."""
    seed: int = 0
    """Seed of the first episode; each later episode adds 1."""
    num_envs: int = NUM_ENVS
    """Number of environments to step together. Does not affect results."""
    num_threads: int = 1
    """Number of threads that step them; more are faster with MuJoCo only. Does not affect
    results."""
    which: Literal["best", "last"] = "best"
    """Which policy of the run to evaluate."""


def main(argv: list[str] | None = None) -> None:
    """Evaluate and print the result; exit with 2 on bad input."""
    config = parsed(GymConfig, argv, prog=prog("gym"), examples=EXAMPLES)
    with errors_in_a_line():
        print(run(config), flush=True)


def run(config: GymConfig) -> Evaluation:
    """Evaluate the policy that the settings name."""
    path = run_folder.policy_of(config.run, config.which)
    policy = load(path, config.policy or False)
    if wrappers := policy.record.metadata.get("wrappers"):
        raise ValueError(
            f"{path} was trained with {wrappers}, which Gymnasium's environment lacks: wrap it "
            "in the same way, and call ternevo.gym.load and evaluate"
        )
    env_id = config.env or _same_name(policy.record, path)
    return evaluate(
        policy,
        env_id,
        config.episodes,
        config.seed,
        num_envs=config.num_envs,
        num_threads=config.num_threads,
        progress=True,
    )


def _same_name(record: PolicyRecord | Interface, path: Path) -> str:
    """Return Gymnasium's name of the environment in which a policy was trained or distilled."""
    suite, _, name = record.metadata.get("env", "").partition("/")
    if suite not in SAME_NAMES:
        raise ValueError(
            f"{path} was not trained in an environment of {', '.join(SAME_NAMES[:-1])}, which are "
            "called as in Gymnasium; name Gymnasium's with --env"
        )
    check_trusted(path, "env", name, trust=False)  # Gymnasium imports the part before a colon
    return name


if __name__ == "__main__":
    while_read(main)
