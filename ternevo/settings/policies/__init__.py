"""What `--policy` can name: the settings of each, data only.

A policy is a frozen `PolicySettings`, with `.build(obs, action) -> Policy`; the functions
behind it live in a module of `ternevo.policies` of the same name.
"""

import sys

from ternevo.settings.policies.mlp import MLP as MLP
from ternevo.settings.policies.settings import PolicySettings as PolicySettings

POLICIES: dict[str, type[PolicySettings]] = {"mlp": MLP}


def file_suffix(policy_name: str) -> str:
    """Return what a policy's file ends in: .tvp if it has a codec, else .npz.

    A user's own class is looked up and not imported: whoever writes its file has imported it.
    """
    module, _, attribute = policy_name.partition(":")
    own = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    class_ = POLICIES.get(policy_name, own)
    if isinstance(class_, type) and issubclass(class_, PolicySettings) and class_.own_codec():
        return ".tvp"
    return ".npz"
