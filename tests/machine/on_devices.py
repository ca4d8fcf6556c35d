"""Run by test_devices.py in a process of its own, with as many CPU devices as the most of COUNTS.

    python on_devices.py OUT.npz COUNTS CASE...

trains for a few generations in several settings, on so many of the devices, as in 1,2, and saves
every leaf of the final states; and how many messages the first case sends.
"""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from gradient_learners import SMALL

from ternevo import envs, problems
from ternevo.machine import devices
from ternevo.settings.policies import MLP, Graph
from ternevo.settings.strategies import STRATEGIES
from ternevo.training import loop
from ternevo.training.evaluation import Evaluation
from ternevo.types import Strategy

CASES = {  # (strategy, its settings, policy, environment, episode length)
    "split": (
        "ternary_nes",
        {"population_size": 32, "population_chunk": 3},
        MLP((8,)),
        "probe/double_integrator",
        6,
    ),
    "pairs": (
        "ternary_nes",
        {"population_size": 24, "num_episodes": 3, "common_random_numbers": "pairs"},
        MLP((8,), activation="sign"),
        "probe/double_integrator",
        None,
    ),
    "padded": (
        "ternary_nes",
        {"population_size": 10, "population_chunk": 1, "common_random_numbers": "none"},
        MLP((5,)),
        "probe/random_length",
        None,
    ),
    "binary": (
        "binary_nes",
        {"population_size": 16, "antithetic": False},
        MLP((5,), weights="binary"),
        "probe/corridor",
        None,
    ),
    "signal": (
        "trust_region",
        {"population_size": 32, "population_chunk": 3},
        MLP((8,)),
        "gymnax/CartPole-v1",
        None,
    ),
    "memory": ("asng", {"population_size": 32}, MLP((5,)), "probe/double_integrator", None),
    "votes": (
        "vote",
        {"population_size": 32, "num_episodes": 3, "common_random_numbers": "pairs"},
        MLP((8,), weights="binary"),
        "probe/random_length",
        None,
    ),
    "synapses": ("cosyne", {"population_size": 16}, MLP((5,)), "probe/corridor", None),
    "topologies": (
        "neat",
        {"population_size": 16, "add_node_rate": 0.3},
        Graph(max_hidden=3),
        "probe/corridor",
        None,
    ),
    "tables": ("pbil", {"population_size": 16}, MLP((5,)), "probe/corridor", None),
    "elite": ("cem", {"population_size": 16}, MLP((5,)), "probe/corridor", None),
    "duels": ("compact_ga", {"population_size": 32}, MLP((5,)), "probe/double_integrator", None),
    "parent": ("one_plus_lambda", {"population_size": 9}, MLP((5,)), "probe/corridor", None),
    "control": ("random_search", {"population_size": 8}, MLP((5,)), "probe/corridor", None),
    "population": ("ternary_ga", {"population_size": 16}, MLP((5,)), "probe/corridor", None),
    "deep": (
        "deep_ga",
        {"population_size": 10, "truncation": 4, "elite_candidates": 3, "validation_episodes": 2},
        MLP((5,)),
        "probe/random_length",
        None,
    ),
    "seeds": (
        "deep_ga",
        {
            **{"population_size": 10, "truncation": 4, "elite_candidates": 3, "genomes": "seeds"},
            **{"validation_episodes": 2, "population_chunk": 1},
        },
        MLP((5,)),
        "probe/random_length",
        None,
    ),
    "archive": (
        "map_elites",
        {"population_size": 10, "grid": (4, 4)},
        MLP((5,)),
        "control/maze",
        30,
    ),
    "niches": (
        "poet",
        {
            **{"population_size": 8, "niches": 2, "retired": 1, "children": 2, "score_episodes": 2},
            **{"transfer_every": 2, "reproduce_every": 2, "reproduce_return": -100.0},
            "least_return": -200.0,
        },
        MLP((5,)),
        "control/hop_runner",
        20,
    ),
    "twin": (
        "evosax",
        {"population_size": 16, "algorithm": "Open_ES"},
        MLP((5,), weights="float", activation="tanh"),
        "probe/double_integrator",
        None,
    ),
    "replayed": ("sac", SMALL["sac"], MLP((5,)), "probe/double_integrator", 6),
    "crew": ("erl", SMALL["erl"], MLP((5,)), "probe/double_integrator", 6),
    "rated": ("dqn", SMALL["dqn"], MLP((5,)), "probe/random_length", 6),
}


COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-to-all|collective-permute)(-start)?\(")


def num_collectives(strategy: Strategy) -> int:
    """Return how often devices talk in the compiled program of a chunk of generations."""
    state = loop.start(jax.random.key(0), strategy)
    program = loop.advance.lower(strategy, state, jnp.asarray(1, jnp.int32)).compile()
    return len(COLLECTIVE.findall(program.as_text()))


def num_collectives_of_evaluation(strategy: Strategy, evaluation: Evaluation) -> int:
    """Return the same of the program of an evaluation."""
    due = evaluation._due_of(strategy, loop.start(jax.random.key(0), strategy))
    arguments = jax.tree.map(np.asarray, (due.key_data, due.policy.weights, due.quantiser))
    lowered = evaluation._test.lower(*arguments, np.zeros((), np.int32), evaluation._most)
    return len(COLLECTIVE.findall(lowered.compile().as_text()))


DTYPES = {  # kinds of arrays that a message may have, with all bit patterns of the short ones
    "bool": np.array([False, True] * 8),
    "nothing": np.zeros((8, 0), np.float32),
    "float32": (np.arange(2**16, dtype=np.uint32) * 65537).view(np.float32),
    "int32": np.array([-(2**31), -1, 0, 2**31 - 1] * 2, np.int32),
    "uint32": np.array([0, 1, 2**31, 2**32 - 1] * 2, np.uint32),
    **{
        name: np.arange(2 ** (8 * jnp.dtype(name).itemsize))
        .astype(f"uint{8 * jnp.dtype(name).itemsize}")
        .view(jnp.dtype(name))
        for name in ("int8", "uint8", "int16", "uint16", "float16", "bfloat16", "float8_e5m2")
    },
}


def gathered() -> dict[str, np.ndarray]:
    """Return what arrives on each device when the rows of arrays of all dtypes are gathered."""
    rows = {name: x.reshape(8, x.size // 8) for name, x in DTYPES.items()}
    arrived = devices.split(lambda _, own: devices.gather(own), (True,))(jax.device_put(rows))
    return {name: np.asarray(x) for name, x in arrived.items()}


def build(case: str) -> tuple[Strategy, Evaluation]:
    name, settings, policy_settings, env_id, episode_length = CASES[case]
    env = envs.make(env_id, episode_length)
    policy = policy_settings.build(env.obs, env.action)
    strategy = STRATEGIES[name].of(**settings).build(env, policy, policy_settings.weights, 4)
    return strategy, Evaluation(problems.of(policy, env), 2, 5, num_final_episodes=9)


def final_state(strategy: Strategy, evaluation: Evaluation) -> list[np.ndarray]:
    state = loop.start(jax.random.key(0), strategy)
    for chunk in loop.train(strategy, state, 4, 2, evaluation=evaluation):
        state = chunk.state
    plain = jax.tree.map(
        lambda x: (
            jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ),
        state,
    )
    return [np.asarray(x) for x in jax.tree.leaves(plain)]


def bits(x: np.ndarray) -> np.ndarray:
    """Return the bytes of an array: `np.savez` does not know all dtypes."""
    return np.frombuffer(x.tobytes(), np.uint8)


def found_on(num_devices: int, cases: list[str]) -> dict[str, np.ndarray]:
    """Return the final states, the number of messages, and what arrives on each device."""
    strategies = {case: build(case) for case in cases}  # off the mesh, as in a session
    with devices.on_all_devices(num_devices):
        assert devices.count() == num_devices
        states = {case: final_state(*strategies[case]) for case in cases}
        states["collectives"] = [
            np.asarray(num_collectives(strategies[cases[0]][0])),
            np.asarray(num_collectives_of_evaluation(*strategies[cases[0]])),
        ]
        messages = {f"gathered/{name}": bits(x) for name, x in gathered().items()}
    return messages | {f"{case}/{i}": x for case, xs in states.items() for i, x in enumerate(xs)}


def main() -> None:
    path, counts, cases = sys.argv[1], [int(n) for n in sys.argv[2].split(",")], sys.argv[3:]
    devices.use_cores(max(counts))
    found = {count: found_on(count, cases) for count in counts}
    np.savez(path, **{f"{n}/{name}": x for n, xs in found.items() for name, x in xs.items()})


if __name__ == "__main__":
    main()
