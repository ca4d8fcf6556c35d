"""`--policy hebbian`: fast weights that change after every step by an evolved rule."""

import dataclasses
from typing import ClassVar, Literal

from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, check, option
from ternevo.settings.policies.settings import PolicySettings


@dataclasses.dataclass(frozen=True)
class Hebbian(PolicySettings):
    """Dense layers whose weights change while the policy acts; evolved is how they change.

    After each step, a weight w from x to y becomes w + eta (A x y + B x + C y + D). The
    coefficients are what is searched: trits, or floats with `--weights float`.
    """

    built_by: ClassVar[str] = "ternevo.policies.hebbian:build"
    codec: ClassVar[str | None] = "ternevo.policies.hebbian_record"
    learns_in_life: ClassVar[bool] = True

    hidden_sizes: tuple[int, ...] = option((), costs_memory=True)
    """Width of each hidden layer."""
    activation: Literal["int8", "int4", "sign", "ternary", "tanh"] = "int8"
    """Hidden activation. int8 is a hard tanh on an 8-bit grid; tanh is float."""
    terms: Literal["A", "AD", "ABC", "ABCD"] = "ABCD"
    """Coefficients of a rule; the others are 0."""
    rules_per: Literal["synapse", "input", "output", "layer", "group"] = "synapse"
    """What has a rule of its own: a synapse, all synapses of an input or output, a layer, or a
    group of random synapses of a layer. Fewer rules generalise better."""
    group_size: int = option(64, COUNT)
    """Number of synapses of a group, for --rules_per group."""
    evolve_rate: bool = True
    """Whether each rule has a rate eta of its own: of trits, a power of two."""
    rate: int = 4
    """eta is 2**-rate, or up to 16 times more or less if it is evolved; 0 to 16."""
    fast: Literal["integer", "ternary", "float"] = "integer"
    """Fast weights: 16-bit integers that act as trits, floats that act as trits, or floats."""
    start: Literal["random", "evolved"] = "random"
    """Fast weights at the start of a life: random in each episode, or evolved."""
    start_shift: int = 3
    """Fast weights start at up to 2**-start_shift in size, 0 to 14."""
    dead_zone: int = 2
    """Fast weights up to 2**-dead_zone of the layer's largest act as 0, if they act as trits; 1 to
    14."""
    bound: Literal["clip", "rescale"] = "clip"
    """How weights stay in [-1, 1]: each is clipped, or the layer is divided by its largest."""
    gain: int = 1
    """Sums are multiplied by 2**gain, and divided by about the root of the fan-in; -8 to 8."""
    observation_shift: int = 2
    """Four standard deviations of an observation become 2**observation_shift units, 0 to 8."""
    babble_steps: int = option(0, NOT_NEGATIVE)
    """Number of first steps of a life in which offsets of changing sign are added to outputs."""
    babble_hold: int = option(4, COUNT)
    """Number of steps for which such an offset stays the same."""
    babble_units: int = 8
    """Size of such an offset, 0 to 8; the range of an action is reached at 1."""

    def __post_init__(self) -> None:
        """Refuse invalid sizes and shifts, and fast weights that cannot follow the rules."""
        super().__post_init__()
        if any(size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        for name, least, most in (
            ("rate", 0, 16),
            ("start_shift", 0, 14),
            ("dead_zone", 1, 14),
            ("gain", -8, 8),
            ("observation_shift", 0, 8),
            ("babble_units", 0, 8),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least} to {most}, got {getattr(self, name)}")
        check("group_size", self.group_size, COUNT)
        check("babble_steps", self.babble_steps, NOT_NEGATIVE)
        check("babble_hold", self.babble_hold, COUNT)
        self.check_has_zeros("hebbian")
        if self.fast == "integer" and (self.weights == "float" or self.activation == "tanh"):
            raise ValueError(
                "--fast integer needs --weights ternary and an integer --activation, got --weights "
                f"{self.weights} --activation {self.activation}; use --fast float"
            )
