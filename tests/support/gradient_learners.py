"""The gradient learners of the table, with settings so small that each compiles in seconds."""

from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.off_policy import ActorCritic, OffPolicy

OFF_POLICY = tuple(name for name, kind in STRATEGIES.items() if issubclass(kind, OffPolicy))
GRADIENTS = ("ppo", *OFF_POLICY, "erl")
CONTINUOUS = tuple(name for name in OFF_POLICY if issubclass(STRATEGIES[name], ActorCritic))
"""Those that need continuous actions; DQN needs discrete ones, and PPO takes both."""
PUSHING = (*CONTINUOUS, "erl")
"""These and ERL, which learns by TD3 unless it is told otherwise."""
REPLAYED = {
    "num_envs": 2,
    "train_every": 4,
    "updates_per_step": 0.5,
    "steps_per_generation": 32,
    "buffer_size": 64,
    "batch_size": 8,
    "learning_starts": 32,
    "critic_hidden_sizes": (8,),
}
"""Four rounds of four gradient steps a generation, from the second one on."""
SMALL = {
    "ppo": {"num_envs": 4, "num_steps": 4, "num_minibatches": 2},
    **dict.fromkeys(OFF_POLICY, REPLAYED),
    "erl": {
        **{"population_size": 3, "updates_per_step": 0.1, "buffer_size": 512, "batch_size": 8},
        **{"learning_starts": 16, "critic_hidden_sizes": (8,)},
    },
}


def options_of(name: str, **changes) -> tuple[str, ...]:
    """Return the small settings of a learner as arguments of the command line."""
    values = {**SMALL[name], **changes}
    return tuple(f"--{option}={str(value).replace(' ', '')}" for option, value in values.items())
