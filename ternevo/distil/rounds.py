"""Rounds of visiting and learning: DAgger, with a student that ships.

Reference:
  Ross, Gordon and Bagnell 2011, "A Reduction of Imitation Learning and Structured Prediction to
  No-Regret Online Learning".
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ternevo import gym
from ternevo.arithmetic import observation
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import runtime
from ternevo.deploy.record import PolicyRecord
from ternevo.distil.spaces import Spaces, spaces_of
from ternevo.distil.states import Visited, World
from ternevo.distil.teachers import Teacher, teacher_of
from ternevo.learners import imitation
from ternevo.learners.imitation import Labelled, Learned, Student
from ternevo.policies import contract, policy_file
from ternevo.runs.intervals import mean_interval
from ternevo.settings.distil import Distil
from ternevo.types import PolicyParams

VISITING, CHOOSING, COMPARING, SHUFFLING = range(4)
"""What random numbers are for: each purpose has its own."""

ENOUGH = 0.95
"""The share of the teacher's return below which a student is reported as falling short."""


class Round(NamedTuple):
    """What a round came to.

    Attributes:
      number: from 1.
      difference: of the student before it learned, see `Visited`.
      loss: mean over the gradient steps.
      mean_return: of the student after it learned.
    """

    number: int
    difference: float
    loss: float
    mean_return: float


@dataclasses.dataclass(frozen=True)
class Distilled:
    """A student, and how it compares with its teacher in the same fresh episodes.

    Attributes:
      policy: the student of the best round.
      rounds: all rounds.
      student: the student's episodes.
      teacher: the teacher's episodes.
    """

    policy: runtime.Policy
    rounds: tuple[Round, ...]
    student: gym.Evaluation
    teacher: gym.Evaluation

    @property
    def share(self) -> float:
        """The student's return as a share of the teacher's; see `share_of`."""
        return share_of(self.student.mean, self.teacher.mean)

    def __str__(self) -> str:
        """Compare teacher and student in three lines, or four if the student falls short."""
        lines = [
            f"teacher     {_returns(self.teacher)}",
            f"student     {_returns(self.student)}, {self.share:.1%} of the teacher's",
            f"size        {self.policy.info()['bytes']:,} bytes on a device",
        ]
        if not self.share >= ENOUGH:
            lines.append(
                f"note        the student falls short of {ENOUGH:.0%} of the teacher's return: try "
                "more rounds or wider hidden_sizes; weights float shows what trits cost"
            )
        return "\n".join(lines)


def share_of(student: float, teacher: float) -> float:
    """Return a student's mean return as a share of the teacher's.

    It is 1 less what is missing, in units of the size of the teacher's return; so it also holds
    where returns are negative.

    Examples:
      >>> share_of(190.0, 200.0), share_of(-210.0, -200.0), share_of(0.0, 0.0)
      (0.95, 0.95, 1.0)
    """
    missing = teacher - student
    return 1.0 - missing / abs(teacher) if missing else 1.0


def distil(
    teacher: Any,
    env_id: str,
    settings: Distil,
    *,
    batched: bool = False,
    make_kwargs: dict[str, Any] | None = None,
    progress: bool = False,
) -> Distilled:
    """Distil a teacher; see `ternevo.distil`."""
    kwargs = make_kwargs or {}
    spaces = spaces_of(env_id, kwargs)
    found = teacher_of(teacher, spaces, settings.temperature, batched)
    world = World(spaces, kwargs, settings.num_envs, _seed(settings, VISITING))
    try:
        rounds, policy = _best_of_rounds(found, world, settings, kwargs, progress)
    finally:
        world.close()
    compare = partial(
        gym.evaluate,
        env_id=env_id,
        episodes=settings.episodes,
        seed=_seed(settings, COMPARING),
        num_envs=settings.num_envs,
        make_kwargs=kwargs,
        progress=progress,
    )
    ours, theirs = compare(policy), compare(found)
    told = policy.record.metadata | _in_text({"return": ours.mean, "teacher_return": theirs.mean})
    shipped = runtime.Policy(dataclasses.replace(policy.record, metadata=told))
    return Distilled(shipped, rounds, ours, theirs)


def _best_of_rounds(
    teacher: Teacher, world: World, settings: Distil, make_kwargs: dict[str, Any], progress: bool
) -> tuple[tuple[Round, ...], runtime.Policy]:
    """Return all rounds, and the policy of the one with the best return, of equals the last."""
    spaces = world.spaces
    lesson = Lesson(settings, spaces)
    policy, best, best_return = None, None, -np.inf
    rounds = []
    with tqdm(total=settings.rounds, unit="round", disable=not progress) as bar:
        for number in range(settings.rounds):
            share = settings.teacher_share**number
            numbers = np.random.default_rng(_seed(settings, VISITING, number + 1))
            visited = world.visit(settings.steps_per_round, teacher, policy, share, numbers)
            loss = lesson.learn(visited, number)
            policy = runtime.Policy(lesson.record(teacher.name, number + 1))
            found = gym.evaluate(
                policy,
                spaces.env_id,
                settings.eval_episodes,
                _seed(settings, CHOOSING),
                num_envs=settings.num_envs,
                make_kwargs=make_kwargs,
            ).mean
            rounds.append(Round(number + 1, visited.difference, loss, found))
            if best is None or found >= best_return:
                best, best_return = policy, found
            bar.update()
            if progress:
                bar.write(_line(rounds[-1], spaces))
    assert best is not None
    return tuple(rounds), best


class Lesson:
    """All states so far with their labels, and what the student has learned from them."""

    def __init__(self, settings: Distil, spaces: Spaces):
        """Build the student's network and the program that trains it."""
        mlp = settings.policy()
        policy = contract.build(mlp, spaces.obs, spaces.action)
        template = jax.eval_shape(policy.init, jax.random.key(0))
        kind = kind_of(mlp.weights)
        self.settings, self.spaces, self.mlp = settings, spaces, mlp
        self.student = Student(policy, template, kind, spaces.obs, spaces.action)
        self.learned: Learned | None = None
        self.moments = observation.empty(spaces.obs.size)
        schedule = optax.cosine_decay_schedule(settings.lr, settings.updates_per_round)
        self._train = jax.jit(partial(imitation.train, self.student, optax.adam(schedule)))
        steps = -(-settings.steps_per_round // settings.num_envs)
        capacity = steps * settings.num_envs * settings.rounds
        # Of the size of all rounds from the start, so that one program trains in each of them.
        self._obs = np.zeros((capacity, spaces.obs.size), np.float32)
        self._targets = np.zeros((capacity, spaces.action.size), np.float32)
        self.count = 0

    @property
    def obs(self) -> np.ndarray:
        """The states so far, float32 [states, obs]."""
        return self._obs[: self.count]

    def learn(self, visited: Visited, number: int) -> float:
        """Add states, and learn anew from all of them; return the mean loss."""
        new = slice(self.count, self.count + len(visited.obs))
        self._obs[new], self._targets[new] = visited.obs, visited.targets
        self.count = new.stop
        self.moments = observation.of_all(self.obs)
        numbers = np.random.default_rng(_seed(self.settings, SHUFFLING, number))
        shape = self.settings.updates_per_round, self.settings.batch_size
        rows = numbers.integers(0, self.count, shape, np.int32)
        quantiser = observation.freeze(self.moments)
        data = Labelled(jnp.asarray(self._obs), jnp.asarray(self._targets))
        # From scratch: a student that goes on from the last round fits later states ever worse, see
        # Ash and Adams 2020, "On Warm-Starting Neural Network Training".
        start = self.student.init(jax.random.fold_in(jax.random.key(self.settings.seed), number))
        self.learned, metrics = self._train(quantiser, start, data, rows)
        return float(metrics["loss/imitation"])

    def params(self) -> PolicyParams:
        """Return what would ship now; there must have been a round."""
        assert self.learned is not None
        return PolicyParams(self.student.shipped(self.learned), self.moments)

    def record(self, teacher: str, number: int) -> PolicyRecord:
        """Return what would ship now, for a file."""
        told = _in_text(
            {
                policy_file.ENV: f"{gym.SUITE}/{self.spaces.env_id}",
                "strategy": "distil",
                "teacher": teacher,
                "seed": self.settings.seed,
                "round": number,
            }
        )
        return policy_file.record_of(
            self.mlp, self.spaces.obs, self.spaces.action, self.params(), told
        )


def _in_text(told: dict[str, Any]) -> dict[str, str]:
    return {name: policy_file.to_text(value) for name, value in told.items()}


def _seed(settings: Distil, *purpose: int) -> int:
    """Return the first seed for a purpose, of a run of seeds that others hardly meet."""
    return int(np.random.SeedSequence([settings.seed, *purpose]).generate_state(1)[0] >> 1)


def _line(done: Round, spaces: Spaces) -> str:
    """Describe a round."""
    if np.isnan(done.difference):
        said = "the teacher acts"
    elif spaces.action.kind == "discrete":
        said = f"agreement {1 - done.difference:.1%}"
    else:
        said = f"rms error {done.difference:.3f}"
    return f"round {done.number}: {said}, loss {done.loss:.4f}, return {done.mean_return:.2f}"


def _returns(found: gym.Evaluation) -> str:
    interval = mean_interval(found.returns)
    return (
        f"return {interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}] over "
        f"{len(found.returns)} episodes"
    )
