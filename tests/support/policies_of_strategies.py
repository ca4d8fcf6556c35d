"""The policy on which a strategy is tested: a small MLP, or what it needs instead."""

from ternevo.settings.policies import MLP, Graph, PolicySettings


def mlp_for(strategy: str, hidden: tuple[int, ...], **options) -> PolicySettings:
    """Return the settings of an MLP, or for NEAT of a small graph with the same weights."""
    if strategy == "neat":
        return Graph(max_hidden=3, weights=options["weights"])
    return MLP(hidden, **options)
