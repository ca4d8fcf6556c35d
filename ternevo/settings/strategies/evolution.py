"""The settings that every evolutionary strategy has."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ternevo.names import WrongObject, check
from ternevo.settings.strategies.settings import Settings

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightKind
    from ternevo.problems import Plan
    from ternevo.types import Env, Policy, Strategy


@dataclasses.dataclass(frozen=True)
class Evolution(Settings):
    """Abstract: an algorithm evaluated on whole episodes. A subclass supplies the algorithm."""

    population_size: int = 256
    """Members of a generation."""
    num_episodes: int = 1
    """Episodes of each member in a generation; its fitness is their mean."""
    common_random_numbers: Literal["all", "pairs", "none"] = "all"
    """Who meets the same episodes in a generation: all members, each antithetic pair, or nobody."""
    init_horizon: float = 1.0
    """Share of the time limit after which the first episodes are cut off; it grows to 1. Must be 1
    for strategies that keep the fitness of members: populations, archives."""
    horizon_growth: float = 0.5
    """Share of the run after which episodes have their full length; the last always have."""
    num_lanes: int = 0
    """Episodes at once on a device, in whole tiles; 0 chooses one tile. It changes no result."""
    population_chunk: int = 0
    """Members in the queue at once on a device; 0 as memory allows. It changes no result."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        super().__post_init__()
        if self.population_size < 2:
            raise ValueError(f"population_size must be at least 2, got {self.population_size}")
        if self.num_episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {self.num_episodes}")
        if self.common_random_numbers == "pairs":
            check_even("--common_random_numbers pairs", self.population_size)
        check_shares(self, "init_horizon", "horizon_growth")
        for name in ("num_lanes", "population_chunk"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def search_algorithm(
        self, solution: Any, weights: "WeightKind", num_generations: int
    ) -> tuple[Any, Any]:
        """Return the evosax algorithm that searches params like `solution`, and its params.

        Raises:
          WrongObject: a subclass has no such method.
        """
        raise WrongObject(
            f"{type(self).__name__} has no search_algorithm(self, solution, weights, "
            "num_generations) that returns an evosax algorithm and its params"
        )

    def build(
        self, env: "Env", policy: "Policy", weights: "WeightKind", num_generations: int
    ) -> "Strategy":
        """Return the strategy for this environment and policy; of float weights, its twin's.

        Raises:
          ValueError: it cannot search such weights, or its twin does not follow a setting.
        """
        if weights == "float":
            twin = self.float_twin()
            check_heeded(self, twin)
            return twin.build(env, policy, weights, num_generations)
        import jax

        from ternevo import problems
        from ternevo.strategies.evolve import evolve
        from ternevo.strategies.search import search_of

        solution = policy.init(jax.random.key(0))
        algorithm, params = self.search_algorithm(solution, weights, num_generations)
        search = search_of(algorithm, params, _twice(policy.init))
        return evolve(search, problems.of(policy, env, self.plan(env, num_generations)))

    def float_twin(self) -> "Evolution":
        """Return what `--weights float` runs instead: the nearest algorithm of evosax.

        Raises:
          ValueError: there is none.
        """
        raise ValueError(f"{type(self).__name__} has no twin that searches float weights")

    def plan(self, env: "Env", num_generations: int) -> "Plan":
        """Return how the population is evaluated."""
        from ternevo.problems import Plan

        return Plan(
            self.num_episodes,
            self.common_random_numbers,
            self.num_lanes,
            self.population_chunk,
            self._horizon(env.episode_length, num_generations),
        )

    def _horizon(self, episode_length: int, num_generations: int) -> Any:
        """Return the schedule of the limit, None for no limit but that of the environment.

        The last generation has full episodes, whatever `horizon_growth`.

        Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement
        Learning", 2017, section 2, adapt such a cap to save time. Here it also keeps
        a policy from learning first of all to survive, where each step alive is rewarded.
        """
        if self.init_horizon == 1:
            return None
        import optax

        growing = max(1, round(self.horizon_growth * num_generations))
        growing = min(growing, num_generations - 1)
        if growing == 0:  # there is one generation only
            return None
        first = max(1, round(self.init_horizon * episode_length))
        return optax.linear_schedule(first, episode_length, growing)


@dataclasses.dataclass(frozen=True)
class OwnTwin(Evolution):
    """Abstract: an algorithm that searches float weights too, as a list of arrays."""

    def build(
        self, env: "Env", policy: "Policy", weights: "WeightKind", num_generations: int
    ) -> "Strategy":
        """Return the strategy for this environment and policy."""
        if weights != "float":
            return super().build(env, policy, weights, num_generations)
        from ternevo import problems
        from ternevo.strategies.latents import evolve_latents

        def make(latents: Any) -> tuple[Any, Any]:
            return self.search_algorithm(latents, weights, num_generations)

        problem = problems.of(policy, env, self.plan(env, num_generations))
        return evolve_latents(make, problem, policy, weights)


def _twice(init: Any) -> Any:
    """Return a draw by the first half of a key; the other half was for what is not drawn here."""
    import jax

    return lambda key: init(jax.random.split(key)[0])


Schedule = Literal["constant", "linear", "cosine", "exponential"]


@dataclasses.dataclass(frozen=True)
class Sampled(Evolution):
    """Abstract: members that are sampled."""

    antithetic: bool = True
    """Sample in antithetic pairs; needs an even population_size."""

    def __post_init__(self) -> None:
        """Refuse pairs of an odd population."""
        super().__post_init__()
        if self.antithetic:
            check_even("antithetic sampling", self.population_size)


@dataclasses.dataclass(frozen=True)
class Shaped(Sampled):
    """Abstract: members that are sampled, and utilities from their ranks."""

    fitness_shaping: Literal["centered_rank", "standardize", "baseline"] = "centered_rank"
    """From fitness to utility; `baseline` only subtracts the mean return, and a gradient is
    shortened to ten times the length of those before it."""

    def shaping(self) -> Any:
        """Return the function from fitness to utility."""
        from ternevo.algorithms.shaping import FITNESS_SHAPING

        return FITNESS_SHAPING[self.fitness_shaping]


@dataclasses.dataclass(frozen=True)
class Learning(Evolution):
    """Abstract: a learning rate that follows a schedule."""

    lr: float = 0.1
    """Learning rate."""
    lr_end: float = 0.01
    """Where a learning rate schedule ends."""
    lr_schedule: Schedule = "constant"
    """How the learning rate moves over the run."""

    def __post_init__(self) -> None:
        """Refuse a rate that means nothing."""
        super().__post_init__()
        check_positive(self, "lr", "lr_end")

    def learning_rate(self, num_generations: int) -> Any:
        """Return the schedule of the learning rate."""
        return schedule(self.lr_schedule, self.lr, self.lr_end, num_generations)


@dataclasses.dataclass(frozen=True)
class Optimised(Learning):
    """Abstract: steps by an optax optimiser."""

    optimizer: Literal["adam", "sgd", "momentum"] = "adam"
    """Optax optimiser; adam has b2 = 0.99."""

    def optax_optimizer(self, num_generations: int, keeps_scale: bool = False) -> Any:
        """Return the optimiser with its schedule.

        Args:
          num_generations: the run's total.
          keeps_scale: whether utilities are as large as returns are; then one generation of huge
            ones must not decide how long all later steps are.
        """
        found = optimizer(self.optimizer, self.learning_rate(num_generations))
        if not keeps_scale:
            return found
        import optax

        from ternevo.algorithms.guards import bounded_by_past

        return optax.chain(bounded_by_past(), found)


@dataclasses.dataclass(frozen=True)
class Noisy(Evolution):
    """Abstract: noise whose size follows a schedule."""

    sigma: float = 0.1
    """Standard deviation of the noise, or a flip rate; where the algorithm has one to set."""
    sigma_end: float = 0.01
    """Where a sigma schedule ends."""
    sigma_schedule: Schedule = "constant"
    """How sigma moves over the run."""

    def __post_init__(self) -> None:
        """Refuse noise that means nothing."""
        super().__post_init__()
        check_positive(self, "sigma", "sigma_end")

    def noise(self, num_generations: int) -> Any:
        """Return the schedule of sigma."""
        return schedule(self.sigma_schedule, self.sigma, self.sigma_end, num_generations)


def check_positive(settings: Settings, *names: str) -> None:
    """Refuse numbers that are zero or less.

    Raises:
      ValueError: one is.
    """
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(settings, name)}")


def check_shares(settings: Settings, *names: str) -> None:
    """Refuse numbers that are not above 0 and at most 1.

    Raises:
      ValueError: one is not.
    """
    for name in names:
        if not 0 < getattr(settings, name) <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(settings, name)}")


def check_even(what: str, population_size: int) -> None:
    """Refuse an odd population where members come in pairs.

    Raises:
      ValueError: it is odd.
    """
    if population_size % 2:
        raise ValueError(f"{what} needs an even population_size, got {population_size}")


def check_weights(
    strategy: str, weights: "WeightKind", allowed: tuple[str, ...], instead: str
) -> None:
    """Refuse a kind of weights that a strategy cannot search.

    Raises:
      ValueError: with what to use instead.
    """
    if weights not in allowed:
        raise ValueError(
            f"--strategy {strategy} searches {' or '.join(allowed)} weights, not {weights!r}; "
            f"{instead}"
        )


def check_heeded(settings: Evolution, found: Any) -> None:
    """Refuse settings that are not the default and that the twin does not have as they are.

    Raises:
      ValueError: with their names.
    """
    taken = vars(found) | found.algorithm_params
    ignored = [
        f"--{field.name}"
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) not in (field.default, taken.get(field.name))
    ]
    if ignored:
        raise ValueError(
            f"--weights float runs {found.algorithm} of evosax, which does not follow "
            f"{', '.join(ignored)}: what it has can be set by --strategy latent --algorithm "
            f"{found.algorithm}"
        )


def schedule(name: str, start: float, end: float, num_generations: int) -> Any:
    """Return an optax schedule from `start` to `end` over the run.

    Raises:
      UnknownName: `name` is none of constant, linear, cosine, exponential.
    """
    import optax

    check("schedule", name, ("constant", "linear", "cosine", "exponential"))
    if name == "constant":
        return optax.constant_schedule(start)
    if name == "linear":
        return optax.linear_schedule(start, end, num_generations)
    if name == "cosine":
        return optax.cosine_decay_schedule(start, num_generations, alpha=end / start)
    return optax.exponential_decay(start, num_generations, decay_rate=end / start, end_value=end)


def optimizer(name: str, learning_rate: Any) -> Any:
    """Return an optax optimiser by its name in the command line.

    Raises:
      UnknownName: `name` is none of adam, sgd, momentum.
    """
    import optax

    check("optimizer", name, ("adam", "sgd", "momentum"))
    if name == "adam":
        return optax.adam(learning_rate, b1=0.9, b2=0.99)
    return optax.sgd(learning_rate, momentum=0.9 if name == "momentum" else None)
