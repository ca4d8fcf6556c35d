"""The tasks of the tuner and of the study: pages of this folder, with a budget of CPU size."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """A page, what counts as a success, and a budget that is the same for all arms."""

    page: str
    threshold: float
    """A seed whose shipped policy returns this much has solved the task, or does well."""
    num_generations: int
    options: tuple[str, ...]
    """Population, episodes and their length."""
    num_seeds: int = 10
    num_tuning_seeds: int = 2
    """Seeds of each trial of the tuner."""
    num_finalists: int = 8
    """Its best trials, which have a second round: all of them where a run takes seconds."""
    num_finalist_seeds: int = 8
    """Further seeds of these."""

    @property
    def eval_every(self) -> int:
        """How many generations are between two points of its learning curve."""
        return max(1, self.num_generations // 20)


ONE_EPISODE = ("--num_episodes", "1")

TASKS = {
    "CartPole-v1": Task("gymnax_cartpole", 475, 30, ("--population_size", "128", *ONE_EPISODE)),
    "Acrobot-v1": Task("gymnax_acrobot", -100, 40, ("--population_size", "128", *ONE_EPISODE)),
    "MountainCar-v0": Task(
        "gymnax_mountaincar", -110, 60, ("--population_size", "128", *ONE_EPISODE)
    ),
    "MountainCarContinuous-v0": Task(
        "gymnax_mountaincar_continuous", 90, 40, ("--population_size", "128", *ONE_EPISODE)
    ),
    "Pendulum-v1": Task(
        "gymnax_pendulum", -200, 100, ("--population_size", "128", "--num_episodes", "4")
    ),
    "Breakout-MinAtar": Task(
        "gymnax_breakout_minatar",
        6.5,
        60,
        ("--population_size", "256", "--num_episodes", "2"),
        num_finalists=3,
        num_finalist_seeds=4,
    ),
    "Freeway-MinAtar": Task(
        "gymnax_freeway_minatar",
        30,
        20,
        ("--population_size", "64", "--num_episodes", "1"),
        num_finalists=3,
        num_finalist_seeds=4,
    ),
    "inverted_double_pendulum": Task(
        "brax_inverted_double_pendulum",
        4500,
        25,
        ("--population_size", "128", "--episode_length", "500", *ONE_EPISODE),
        num_finalists=3,
        num_finalist_seeds=4,
    ),
    "reacher": Task(
        "brax_reacher",
        -10,
        40,
        ("--population_size", "128", *ONE_EPISODE),
        num_finalists=3,
        num_finalist_seeds=4,
    ),
    "hopper": Task(
        "brax_hopper",
        900,
        60,
        ("--population_size", "256", *ONE_EPISODE),
        num_finalists=2,
        num_finalist_seeds=3,
    ),
    "halfcheetah": Task(
        "brax_halfcheetah",
        200,
        30,
        ("--population_size", "128", *ONE_EPISODE),
        num_tuning_seeds=1,
        num_finalists=2,
        num_finalist_seeds=2,
    ),
    "walker2d": Task(
        "brax_walker2d",
        300,
        30,
        ("--population_size", "128", "--episode_length", "250", *ONE_EPISODE),
        num_finalists=3,
        num_finalist_seeds=3,
    ),
}
