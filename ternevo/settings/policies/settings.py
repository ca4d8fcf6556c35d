"""The base of all policy settings: they have a kind of weights and build the policy."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from ternevo.settings.built import Built

if TYPE_CHECKING:
    from ternevo.types import ActionSpec, ObsSpec, Policy, Tells

WeightName = Literal["ternary", "binary", "float", "int8", "int4", "int2"]
"""Name of a kind of weights; the kinds are in `ternevo.arithmetic.weights`."""

LARGEST_LEVELS: dict[WeightName, int] = {"int8": 127, "int4": 7, "int2": 1}
"""Of weights that are integers of some bits, symmetric about 0: the largest."""

FunctionName = Literal["tanh", "relu", "absolute", "sign", "hat"]
"""Name of what a node makes of its number; `ternevo.deploy.functions` computes it."""

FUNCTIONS: tuple[FunctionName, ...] = get_args(FunctionName)
"""The code of a function in a file is its place here."""

Ternarizer = Literal["absmean", "twn", "ttq"]
"""How latents are cut into trits; see ternevo/arithmetic/ternarizers.py."""

LATENT_KINDS: tuple[WeightName, ...] = ("ternary", "binary", "float", *LARGEST_LEVELS)
"""What strategies over float latents can search: all kinds."""


def bias_shift_limit(kind: WeightName) -> int:
    """Return how far a bias may exceed its weights: 2**limit times the full scale of the inputs.

    It is smaller for integers of some bits, so that sums of more inputs stay below 2**24.
    """
    return 4 if kind in LARGEST_LEVELS else 8


def exponent_spread(kind: WeightName) -> int:
    """Return how far the exponents of a layer's outputs may be apart: logits must fit int32."""
    return 6 if kind in LARGEST_LEVELS else 8


def largest_sum(kind: WeightName, full_scale: int, num_inputs: int) -> int:
    """Return the largest sum of a layer, its bias included."""
    level = LARGEST_LEVELS.get(kind, 1)
    return level * full_scale * (num_inputs + 2 ** bias_shift_limit(kind))


@dataclasses.dataclass(frozen=True)
class PolicySettings(Built):
    """Abstract: each field is a command-line option, and its docstring is the help.

    Fields must be numbers, strings, booleans, None or tuples of them, so that a file can hold them.
    """

    codec: ClassVar[str | None] = None
    """The module with `to_record`, `from_record` and `understands`, see `policy_file.Codec`; the
    policy's file is then a .tvp. With None it is a .npz, which only the policy's module can run."""

    fits_any_size: ClassVar[bool] = False
    """Whether the same params make a policy for pictures of any size."""
    learns_in_life: ClassVar[bool] = False
    """Whether the policy learns while it lives; it then does not act in simulators outside JAX."""

    weights: WeightName = dataclasses.field(default="ternary", kw_only=True)
    """Values of a weight: {-1, 0, +1}, {-1, +1}, any float (the float baseline), or integers of 8,
    4 or 2 bits with power-of-two scales, which gradient learners and --strategy latent learn."""

    def check_has_zeros(self, name: str) -> None:
        """Refuse weights other than trits and floats, for a policy in which a 0 is no link.

        Raises:
          ValueError: they are others.
        """
        if self.weights not in ("ternary", "float"):
            raise ValueError(
                f"--policy {name} is made of -1, +1 and, for what is not there, 0: use --weights "
                f"ternary or float, not {self.weights}"
            )

    @property
    def least_lifetime(self) -> int:
        """Smallest number of episodes of a life whose last one shows what was learned."""
        return 1

    @property
    def learns_of(self) -> "Tells | None":
        """What an environment must tell, see `Env.tells`; None if the policy learns of nothing."""
        return None

    @property
    def shaped_for(self) -> str | None:
        """The environment in which members are also paid for what their memory holds, if any."""
        return None

    @classmethod
    def own_codec(cls) -> str | None:
        """Return the codec of this class, not a parent's: a subclass may compute something else."""
        return vars(cls).get("codec")

    def sees(self, obs: "ObsSpec") -> "ObsSpec":
        """Return an environment's observations as this policy wants them; by default as they are.

        Only the kind may change, such as from "bits" to "planes", which have no moments.
        """
        return obs

    @property
    def windows(self) -> tuple[tuple[int, ...], ...]:
        """The windows of convolutions, which the shapes of the weights do not tell."""
        return ()

    def build(self, obs: "ObsSpec", action: "ActionSpec") -> "Policy":
        """Return the policy.

        Args:
          obs: the observations of the environment.
          action: the actions it accepts; the policy's output has `action.size` components.
        """
        return self.call(self.built_by, obs, action)
