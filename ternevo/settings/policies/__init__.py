"""What `--policy` can name: the settings of each, data only.

A policy is a frozen `PolicySettings`, with `.build(obs, action) -> Policy`; the functions
behind it live in a module of `ternevo.policies` of the same name.
"""

from ternevo.settings.policies.mlp import MLP as MLP
from ternevo.settings.policies.settings import PolicySettings as PolicySettings

POLICIES: dict[str, type[PolicySettings]] = {"mlp": MLP}


def file_suffix(policy_name: str) -> str:
    """Return what a policy's file ends in: the layers of an MLP have a format of their own."""
    return ".npz" if ":" in policy_name else ".tvp"
