"""Policies by name: the settings of each, free of JAX so that `--help` is quick.

A policy is a frozen `PolicySettings`, with `.build(obs, action) -> Policy`; the
functions behind it live in a module of the same name. `contract.py` has what all keep to.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal

from ternevo.settings.finite import check_finite

if TYPE_CHECKING:
    from ternevo.types import ActionSpec, ObsSpec, Policy


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """Abstract: a field is an option of the command line, its docstring the help.

    Fields are numbers, texts, truth values, None, and tuples of them, so that a file can hold them.
    """

    weights: Literal["ternary", "binary", "float"] = dataclasses.field(
        default="ternary", kw_only=True
    )
    """What a weight may be: {-1, 0, +1}, {-1, +1}, or any float (the float twin)."""

    def __post_init__(self) -> None:
        """Refuse numbers that are not finite."""
        check_finite(self)

    def build(self, obs: "ObsSpec", action: "ActionSpec") -> "Policy":
        """Return the policy.

        Args:
          obs: what the environment shows.
          action: what the environment accepts; the policy's output has `action.size` components.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class MLP(PolicySettings):
    """A multi-layer perceptron with integer arithmetic."""

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Width of each hidden layer."""
    activation: Literal["int8", "int4", "sign", "ternary", "tanh", "relu"] = "int8"
    """Hidden activation. int8 is a hard tanh on an 8-bit grid; tanh and relu are float."""
    use_bias: bool = True
    """Whether layers have biases."""
    observation_bits: int = 8
    """Bits of a quantised observation, 1 to 8."""
    observation_shift: int = 0
    """Full scale of an observation, four standard deviations, is 2**this units; with 2, one is."""
    output_shift: int = 0
    """The output is multiplied by 2**-output_shift; where actions cost, begin with small ones."""

    matmul: Literal["auto", "planes", "float32", "bfloat16", "int8"] = "auto"
    """How to multiply; the integers are the same. planes: count bits. auto: the fastest."""

    def __post_init__(self) -> None:
        """Refuse sizes that mean nothing."""
        super().__post_init__()
        if any(size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        if not 1 <= self.observation_bits <= 8:
            raise ValueError(f"observation_bits must be 1 to 8, got {self.observation_bits}")
        for name in ("observation_shift", "output_shift"):
            if not 0 <= getattr(self, name) <= 8:
                raise ValueError(f"{name} must be 0 to 8, got {getattr(self, name)}")

    def build(self, obs: "ObsSpec", action: "ActionSpec") -> "Policy":
        """Return the policy for observations of `obs.size` and actions of `action.size`."""
        from ternevo.policies import mlp

        return mlp.build(self, obs, action)


POLICIES: dict[str, type[PolicySettings]] = {"mlp": MLP}


def file_suffix(policy_name: str) -> str:
    """Return what a policy's file ends in: the layers of an MLP have a format of their own."""
    return ".npz" if ":" in policy_name else ".tvp"
