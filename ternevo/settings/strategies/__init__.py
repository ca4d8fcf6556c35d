"""Strategies for `--strategy`: the settings of each, without JAX so that `--help` is quick.

A strategy is a frozen dataclass with
`.build(env, policy, weights, num_generations) -> Strategy`.
"""

from ternevo.settings.strategies.asng import ASNG
from ternevo.settings.strategies.binary_nes import BinaryNES
from ternevo.settings.strategies.cem import CEM
from ternevo.settings.strategies.compact_ga import CompactGA
from ternevo.settings.strategies.cosyne import CoSyNE
from ternevo.settings.strategies.deep_ga import DeepGA
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.erl import ERL
from ternevo.settings.strategies.latent import Latent
from ternevo.settings.strategies.map_elites import MAPElites
from ternevo.settings.strategies.neat import NEAT
from ternevo.settings.strategies.one_plus_lambda import OnePlusLambda
from ternevo.settings.strategies.pbil import PBIL
from ternevo.settings.strategies.poet import Poet
from ternevo.settings.strategies.ppo import PPO
from ternevo.settings.strategies.random_search import RandomSearch
from ternevo.settings.strategies.sac import SAC
from ternevo.settings.strategies.td3 import DDPG, TD3
from ternevo.settings.strategies.ternary_ga import TernaryGA
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.settings.strategies.trust_region import TrustRegion
from ternevo.settings.strategies.vote import Vote

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
    "deep_ga": DeepGA,
    "map_elites": MAPElites,
    "poet": Poet,
    "cosyne": CoSyNE,
    "neat": NEAT,
    "one_plus_lambda": OnePlusLambda,
    "random_search": RandomSearch,
    "latent": Latent,
    "evosax": Latent,
    "ppo": PPO,
    "dqn": DQN,
    "td3": TD3,
    "ddpg": DDPG,
    "sac": SAC,
    "erl": ERL,
}
