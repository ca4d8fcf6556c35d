"""What `--strategy` can name: the settings of each, free of JAX so that `--help` is quick.

A strategy is a frozen dataclass with
`.build(env, policy, weights, num_generations) -> Strategy`.
"""

from ternevo.strategies.asng import ASNG
from ternevo.strategies.binary_nes import BinaryNES
from ternevo.strategies.cem import CEM
from ternevo.strategies.compact_ga import CompactGA
from ternevo.strategies.cosyne import CoSyNE
from ternevo.strategies.latent import Latent
from ternevo.strategies.one_plus_lambda import OnePlusLambda
from ternevo.strategies.pbil import PBIL
from ternevo.strategies.ppo import PPO
from ternevo.strategies.random_search import RandomSearch
from ternevo.strategies.ternary_ga import TernaryGA
from ternevo.strategies.ternary_nes import TernaryNES
from ternevo.strategies.trust_region import TrustRegion
from ternevo.strategies.vote import Vote

STRATEGIES = {
    "ternary_nes": TernaryNES,
    "binary_nes": BinaryNES,
    "pbil": PBIL,
    "cem": CEM,
    "compact_ga": CompactGA,
    "asng": ASNG,
    "trust_region": TrustRegion,
    "vote": Vote,
    "ternary_ga": TernaryGA,
    "cosyne": CoSyNE,
    "one_plus_lambda": OnePlusLambda,
    "random_search": RandomSearch,
    "latent": Latent,
    "evosax": Latent,
    "ppo": PPO,
}
