"""The options of `ternevo.distil`, from Python and on the command line."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args, get_type_hints

from ternevo.names import check
from ternevo.settings.built import Flat
from ternevo.settings.meaning import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, option
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import WeightName


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distil(Flat):
    """How a student learns from a teacher: its network, and rounds of visiting and learning."""

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Width of each hidden layer of the student."""
    weights: WeightName = "ternary"
    """Values of a weight: {-1, 0, +1}, {-1, +1}, or any float, to see what trits cost."""
    activation: Literal["int8", "int4", "sign", "ternary", "tanh", "relu"] = "int8"
    """Hidden activation. int8 is a hard tanh on an 8-bit grid; tanh and relu are float."""
    scales: Literal["layer", "output"] = "output"
    """Which weights share a power-of-two scale: a layer, or each output; floats have none."""
    observation_shift: int = 2
    """Four standard deviations of an observation become 2**observation_shift units, 0 to 8."""

    rounds: int = option(10, COUNT)
    """Number of rounds. In each, states are visited and labelled by the teacher, and the student
    learns from scratch from all states so far."""
    steps_per_round: int = option(5000, COUNT)
    """Number of environment steps per round."""
    updates_per_round: int = option(3000, COUNT)
    """Number of gradient steps per round."""
    batch_size: int = option(256, COUNT)
    """Number of states per gradient step."""
    lr: float = option(0.003, POSITIVE)
    """Learning rate of Adam at the start of each round; a cosine takes it to 0."""
    teacher_share: float = option(0.5, FRACTION)
    """Share of steps in which the teacher acts, to the power of the round: all in the first, then
    half, a quarter, and so on. In the others the student acts, and the teacher only labels."""
    temperature: float = option(1.0, NOT_NEGATIVE)
    """Divides the scores of a teacher that rates actions, before a softmax; 0 takes the best."""

    eval_episodes: int = option(32, COUNT)
    """Number of episodes after each round, from which the best round is chosen."""
    episodes: int = option(100, COUNT)
    """Number of fresh episodes in which teacher and student are compared at the end."""
    num_envs: int = option(16, COUNT)
    """Number of environments to step together."""
    seed: int = option(0, NOT_NEGATIVE)
    """Seed of everything: first weights, minibatches, environments."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers, and words that are not among the allowed ones."""
        super().__post_init__()
        for name in ("weights", "activation", "scales"):
            check(name, getattr(self, name), get_args(get_type_hints(Distil)[name]))
        self.policy()

    def policy(self) -> MLP:
        """Return the settings of the student's network."""
        return MLP(
            hidden_sizes=tuple(self.hidden_sizes),
            activation=self.activation,
            scales="layer" if self.weights == "float" else self.scales,
            observation_shift=self.observation_shift,
            weights=self.weights,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command is asked for."""

    teacher: str
    """An ONNX model, a policy file (.tvp), or package.module:name: a function from an observation
    to an action, or an object with predict(obs, deterministic=True), as in Stable-Baselines3."""
    env: str
    """Gymnasium's name of the environment, or module:name, which imports the module first."""
    out: Path = Path("policy.tvp")
    """The policy file to write."""
    batched: bool = False
    """Whether a function takes observations [n, ...] and returns n actions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilConfig(Distil, Asked):
    """Turn any policy on any Gymnasium environment into a small one that ships as a .tvp."""
