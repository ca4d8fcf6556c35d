"""Policies for `--policy`: the settings of each, as plain data.

A policy is a frozen `PolicySettings` with `.build(obs, action) -> Policy`. The functions
behind it are in the module of the same name in `ternevo.policies`.
"""

import sys

from ternevo.settings.policies.conv import Conv as Conv
from ternevo.settings.policies.entm import ENTM as ENTM
from ternevo.settings.policies.es_learner import ESLearner as ESLearner
from ternevo.settings.policies.gradient_learner import GradientLearner as GradientLearner
from ternevo.settings.policies.graph import Graph as Graph
from ternevo.settings.policies.hebbian import Hebbian as Hebbian
from ternevo.settings.policies.hill_climber import HillClimber as HillClimber
from ternevo.settings.policies.hyperneat import HyperNEAT as HyperNEAT
from ternevo.settings.policies.mlp import MLP as MLP
from ternevo.settings.policies.ntm import NTM as NTM
from ternevo.settings.policies.q_learner import QLearner as QLearner
from ternevo.settings.policies.recurrent import Recurrent as Recurrent
from ternevo.settings.policies.resnet import ResNet as ResNet
from ternevo.settings.policies.settings import PolicySettings as PolicySettings

POLICIES: dict[str, type[PolicySettings]] = {
    "mlp": MLP,
    "conv": Conv,
    "resnet": ResNet,
    "recurrent": Recurrent,
    "graph": Graph,
    "hyperneat": HyperNEAT,
    "q_learner": QLearner,
    "hebbian": Hebbian,
    "hill_climber": HillClimber,
    "es_learner": ESLearner,
    "gradient_learner": GradientLearner,
    "entm": ENTM,
    "ntm": NTM,
}


def file_suffix(policy_name: str) -> str:
    """Return the suffix of a policy's file: .tvp if it has a codec, else .npz.

    A user's own class is looked up but not imported: code that writes its file has imported it.
    """
    module, _, attribute = policy_name.partition(":")
    own = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    class_ = POLICIES.get(policy_name, own)
    if isinstance(class_, type) and issubclass(class_, PolicySettings) and class_.own_codec():
        return ".tvp"
    return ".npz"
