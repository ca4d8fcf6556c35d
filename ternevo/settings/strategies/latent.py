"""`--strategy latent` (or `evosax`): any evosax algorithm by its name.

The algorithm searches float32 latents and knows nothing of ternary weights;
`--weights` says what a policy makes of them: ternary or binary latents are cut
into trits or signs before each evaluation, float ones are used as they are,
which is the float twin.
"""

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, Literal

from ternevo.names import check
from ternevo.settings.strategies.evolution import Evolution, Noisy, Optimised

if TYPE_CHECKING:
    from ternevo.arithmetic.ternary import WeightKind
    from ternevo.types import Env, Key, Policy, Strategy

NO_SINGLE_MEAN = ("SV_CMA_ES", "SV_Open_ES")
"""Stein variational algorithms search several distributions: there is no one policy to ship."""


@dataclasses.dataclass(frozen=True)
class Latent(Optimised, Noisy):
    """Any evosax algorithm over ternarised latents; with `--weights float`, over the float twin."""

    algorithm: str = "Open_ES"
    """Name of an evosax algorithm, as in `evosax.algorithms`."""
    algorithm_params: dict[str, float] = dataclasses.field(default_factory=dict)
    """Fields of the algorithm's evosax params to change, such as "{'c_std': 0.2}"."""
    lr: float = 0.05
    """Learning rate, where the algorithm takes an optimiser."""
    antithetic: bool = True
    """Sample in antithetic pairs, where the algorithm can."""
    fitness_shaping: Literal["own", "centered_rank", "standardize", "baseline"] = "own"
    """From fitness to utility; `own` is what evosax's algorithm does."""

    def build(
        self, env: "Env", policy: "Policy", weights: "WeightKind", num_generations: int
    ) -> "Strategy":
        """Return the strategy.

        Raises:
          UnknownName: evosax has no such algorithm, or the algorithm no such parameter.
        """
        from ternevo import problems
        from ternevo.strategies.latents import evolve_latents

        def make(solution: Any) -> tuple[Any, Any]:
            algorithm = self._algorithm(solution, num_generations)
            return algorithm, self._params(algorithm)

        problem = problems.of(policy, env, self.plan(env, num_generations))
        return evolve_latents(make, problem, policy, weights)

    def _algorithm(self, solution: Any, num_generations: int) -> Any:
        from evosax.algorithms import algorithms
        from evosax.core.fitness_shaping import weights_fitness_shaping_fn

        from ternevo.algorithms.shaping import FITNESS_SHAPING, no_metrics, shared_weights

        if self.algorithm in NO_SINGLE_MEAN:
            raise ValueError(f"{self.algorithm} searches several means: there is no one to ship")
        check(
            "evosax algorithm", self.algorithm, [a for a in algorithms if a not in NO_SINGLE_MEAN]
        )
        constructor: Any = algorithms[self.algorithm]
        offered = {
            "optimizer": self.optax_optimizer(num_generations, self.fitness_shaping == "baseline"),
            "std_schedule": self.noise(num_generations),
            "use_antithetic_sampling": self.antithetic,
            "num_generations": num_generations,
            "sampling_fn": lambda key: _around(key, solution, self.sigma),
        }
        taken = inspect.signature(constructor).parameters
        weighs_ranks = taken["fitness_shaping_fn"].default is weights_fitness_shaping_fn
        if self.fitness_shaping != "own":
            if weighs_ranks:  # their weights are positive for the best, ours negative
                raise ValueError(
                    f"--algorithm {self.algorithm} weighs ranks in a way of its own: it needs "
                    f"--fitness_shaping own, not {self.fitness_shaping}"
                )
            offered["fitness_shaping_fn"] = FITNESS_SHAPING[self.fitness_shaping]
        elif weighs_ranks:
            offered["fitness_shaping_fn"] = shared_weights
        given = {name: value for name, value in offered.items() if name in taken}
        try:
            return constructor(
                population_size=self.population_size,
                solution=solution,
                metrics_fn=no_metrics,
                **given,
            )
        except AssertionError as error:  # evosax's way to refuse a population size
            raise ValueError(f"--algorithm {self.algorithm}: {error}") from error

    def _params(self, algorithm: Any) -> Any:
        params = algorithm.default_params
        fields = [field.name for field in dataclasses.fields(params)]
        changes = dict(self.algorithm_params)
        if "std_init" in fields:
            changes.setdefault("std_init", self.sigma)
        for name in changes:
            check(f"parameter of {self.algorithm}", name, fields)
        return params.replace(**changes)


def twin(settings: Evolution, algorithm: str, **changes: Any) -> Latent:
    """Return the settings of an evosax algorithm with all that they have in common with others.

    What `changes` has, or the algorithm has not, is not taken over: see `check_heeded`.
    """
    names = {field.name for field in dataclasses.fields(Latent)}
    common = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name in names
    }
    return Latent(**{**common, "algorithm": algorithm, **changes})


def _around(key: "Key", solution: Any, sigma: float) -> Any:
    """Draw a solution of independent normals, for algorithms that sample on their own."""
    import jax

    leaves, treedef = jax.tree.flatten(solution)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(
        [sigma * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )
