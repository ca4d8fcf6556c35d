"""Parts that several strategies share, each declared, checked and documented once."""

import dataclasses
import math
from typing import Any, Literal

from ternevo.settings.flat import Part, flat
from ternevo.settings.meaning import (
    BELOW_ONE,
    COUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    check,
    option,
)
from ternevo.settings.policies.settings import LARGEST_LEVELS, Ternarizer, WeightName

Schedule = Literal["constant", "linear", "cosine", "exponential"]


@dataclasses.dataclass(frozen=True)
class Rate(Part):
    """A learning rate that follows a schedule."""

    lr: float = option(0.1, POSITIVE, shortens_steps=True, is_data=True)
    """Learning rate."""
    lr_end: float = option(0.01, POSITIVE, is_data=True)
    """Learning rate at the end of the run; ignored by a constant schedule."""
    lr_schedule: Schedule = "constant"
    """How the learning rate changes over the run."""


@dataclasses.dataclass(frozen=True)
class Pruning(Part):
    """Weights that are 0: pruned while a policy is learned, or from the start."""

    sparsity: float = option(0.0, BELOW_ONE)
    """Share of the policy's weights to prune to 0, 0 to below 1; biases stay."""
    sparse_training: Literal["gradual", "static", "set", "rigl"] = "gradual"
    """How: pruned gradually, or as many as that from the start, and always the same (static), or
    with the smallest dropped again and again, and as many others grown, at random (set) or where
    the gradient is largest (rigl)."""
    sparsity_allocation: Literal["layer", "global", "erk"] = "layer"
    """Where: the same share of each layer, the smallest weights of all layers, or shares by
    Erdos-Renyi-kernel, in which small layers stay denser."""
    prune_start: float = option(0.2, FRACTION)
    """Share of the gradient steps of the run before gradual pruning starts, 0 to 1."""
    prune_end: float = option(0.8, FRACTION)
    """Share of the gradient steps of the run at which the sparsity is reached, or after which set
    and rigl change nothing any more, 0 to 1."""
    prune_events: int = option(100, COUNT)
    """Number of times that weights are pruned, along a cubic curve, or dropped and grown."""
    topology_fraction: float = option(0.5, SHARE)
    """Only for set and rigl: share of the weights that are dropped and grown at first; it falls to
    0 along half a cosine."""

    def __post_init__(self) -> None:
        """Refuse an end before the start, and a share of changes where nothing changes."""
        super().__post_init__()
        if self.sparse_training == "gradual" and self.prune_end <= self.prune_start:
            raise ValueError(
                f"prune_end must be above prune_start = {self.prune_start}, got {self.prune_end}"
            )
        moves = self.sparse_training in ("set", "rigl")
        if not moves and self.topology_fraction != type(self).topology_fraction:
            raise ValueError(
                f"--topology_fraction {self.topology_fraction} does nothing with --sparse_training "
                f"{self.sparse_training}: it is for set and rigl"
            )

    def check_in(self, settings: Any) -> None:
        """Refuse sparse training of networks without zeros."""
        is_sparse = self.is_on or flat(settings).get("critic_sparsity", 0) > 0
        if self.sparse_training != "gradual" and not is_sparse:
            raise ValueError(
                f"--sparse_training {self.sparse_training} does nothing where all is dense: give "
                "--sparsity, or --critic_sparsity with ppo, td3, ddpg or sac, above 0"
            )

    @property
    def is_on(self) -> bool:
        """Whether anything is pruned."""
        return self.sparsity > 0

    def best_from(self, num_generations: int) -> int:
        """Return the first generation whose policy is as sparse as it is to be."""
        is_late = self.is_on and self.sparse_training == "gradual"
        return math.ceil(self.prune_end * num_generations) + 1 if is_late else 0


@dataclasses.dataclass(frozen=True)
class Quantizing(Part):
    """How latents become weights of a few bits, and when."""

    ternarizer: Ternarizer = "absmean"
    """Only for --weights ternary: how latents are cut into trits: at half their mean size, at 0.7
    times it (twn), or at a twentieth of the largest (ttq)."""

    quantize_start: float = option(0.8, FRACTION)
    """Only for --weights int8, int4 and int2: share of the gradient steps of the run after which
    weights act and learn rounded, 0 to 1; before, only what is evaluated and shipped is rounded."""

    def quantise_from(self, weights: WeightName, num_updates: int) -> int:
        """Return the number of gradient steps after which weights are rounded; 0 for always."""
        return round(self.quantize_start * num_updates) if weights in LARGEST_LEVELS else 0


@dataclasses.dataclass(frozen=True)
class Optimization(Part):
    """Steps of an optax optimiser."""

    rate: Rate = Rate()
    optimizer: Literal["adam", "sgd", "momentum"] = "adam"
    """Optax optimiser; for the decay of Adam's second moments see --adam_b2."""
    adam_b2: float = option(0.99, BELOW_ONE)
    """Only for --optimizer adam: share of itself that its mean of squared gradients keeps."""
    weight_decay: float = option(0.0, NOT_NEGATIVE)
    """L2: this times the latents is added to each gradient, before the optimiser; 0 for none."""


@dataclasses.dataclass(frozen=True)
class Noise(Part):
    """Noise with a scale that follows a schedule."""

    sigma: float = option(0.1, POSITIVE, shortens_steps=True, is_data=True)
    """Standard deviation of the noise, or flip rate, if the algorithm has one."""
    sigma_end: float = option(0.01, POSITIVE, is_data=True)
    """Sigma at the end of the run; ignored by a constant schedule."""
    sigma_schedule: Schedule = "constant"
    """How sigma changes over the run."""


@dataclasses.dataclass(frozen=True)
class Flips(Part):
    """How many ternary or binary weights a mutation redraws; the rate is log-uniform."""

    min_flips: float = option(1.0, POSITIVE, is_data=True)
    """Minimum expected number of weights to redraw per child; the rate is log-uniform."""
    max_flips: float = option(6.0, POSITIVE, is_data=True)
    """Maximum expected number of weights to redraw per child."""

    def __post_init__(self) -> None:
        """Refuse a minimum above the maximum."""
        super().__post_init__()
        if self.min_flips > self.max_flips:
            raise ValueError(
                f"min_flips must be at most max_flips, got {self.min_flips} and {self.max_flips}"
            )


@dataclasses.dataclass(frozen=True)
class Inheriting(Part):
    """What children inherit."""

    lamarckian: bool = False
    """Whether children inherit what a member learned in its first life of a generation (Lamarck),
    and not the start of that life (Baldwin). Survivors then go on from there, and their fitness is
    a mean over successive starts. Takes the memory of all weights for each episode of a member."""


@dataclasses.dataclass(frozen=True)
class Sampling(Part):
    """How members are sampled."""

    antithetic: bool = True
    """Sample in antithetic pairs; requires an even population_size."""

    def check_in(self, settings: Any) -> None:
        """Refuse pairs in an odd population."""
        if self.antithetic:
            check_even("antithetic sampling", settings.population_size)


@dataclasses.dataclass(frozen=True)
class Shaping(Part):
    """How fitness becomes utilities."""

    fitness_shaping: Literal["nes", "centered_rank", "standardize", "baseline"] = "centered_rank"
    """How fitness becomes utility. `nes` ranks the better half only. `baseline` only subtracts the
    mean return; gradients are then clipped to ten times the length of earlier ones."""


@dataclasses.dataclass(frozen=True)
class Density(Part):
    """How many weights are not 0 at the start."""

    density: float | None = None
    """Share of the weights that are not 0 at the start, above 0 and at most 1, with tables within
    what --margin allows; biases begin as ever. None for the policy's own, usually two thirds. Only
    for ternary weights that are drawn, of policies of weights and biases alone."""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        super().__post_init__()
        if self.density is not None:
            check("density", self.density, SHARE)


def density_of(settings: Any) -> float | None:
    """Return the share of the weights that are not 0 at the start of a strategy, if it is given."""
    parts = (part for part in vars(settings).values() if isinstance(part, Density))
    return next((part.density for part in parts), None)


@dataclasses.dataclass(frozen=True)
class Tables(Density):
    """Tables of the probabilities of each weight; see ternevo/algorithms/categorical.py."""

    margin: float | None = 1e-3
    """Minimum probability of a value, 0 to below 1/3; 0 lets values die out."""
    init_confidence: float = option(0.4, SHARE)
    """How far the first tables move from uniform towards the first policy: above 0, at most 1."""
    # Uniform tables have no mode, so the first policy would not be the given one.
    density_pull: float = option(0.0, FRACTION)
    """Share of the way to --density that the probability of a weight to be not 0 goes back in each
    generation, 0 to 1; the odds of its signs stay."""

    def __post_init__(self) -> None:
        """Refuse a margin that is not a valid probability, and a pull to nowhere."""
        super().__post_init__()
        if self.density_pull and self.density is None:
            raise ValueError(
                f"--density_pull {self.density_pull} does nothing without --density, to which it "
                "pulls"
            )
        if self.margin is not None and not 0 <= self.margin < 1 / 3:
            raise ValueError(f"margin must be at least 0 and below 1/3, got {self.margin}")


def check_even(what: str, population_size: int) -> None:
    """Refuse an odd population when members come in pairs.

    Raises:
      ValueError: it is odd.
    """
    if population_size % 2:
        raise ValueError(f"{what} needs an even population_size, got {population_size}")
