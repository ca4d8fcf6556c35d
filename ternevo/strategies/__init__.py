"""What `--strategy` can name: the settings of each, free of JAX so that `--help` is quick.

A strategy is a frozen dataclass with
`.build(env, policy, weights, num_generations) -> Strategy`.
"""

from ternevo.strategies.binary_nes import BinaryNES
from ternevo.strategies.latent import Latent
from ternevo.strategies.pbil import PBIL
from ternevo.strategies.ppo import PPO
from ternevo.strategies.random_search import RandomSearch
from ternevo.strategies.ternary_ga import TernaryGA
from ternevo.strategies.ternary_nes import TernaryNES

STRATEGIES = {
    "ternary_nes": TernaryNES,
    "binary_nes": BinaryNES,
    "pbil": PBIL,
    "ternary_ga": TernaryGA,
    "random_search": RandomSearch,
    "latent": Latent,
    "evosax": Latent,
    "ppo": PPO,
}
