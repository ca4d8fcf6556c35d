"""neat-python's generations on XOR and on two poles, with the tasks in plain Python."""

import math
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import neat  # pyright: ignore[reportMissingImports] (of the extra "bench")

from ternevo.bench.cases import BesideNeatPython
from ternevo.bench.contest import Contestant
from ternevo.envs import control

Activate = Callable[[Sequence[float]], Sequence[float]]
NOTHING = {"init_stdev": 0, "mutate_power": 0, "mutate_rate": 0, "replace_rate": 0}
GENOME = {
    **{"num_hidden": 0, "feed_forward": True, "initial_connection": "full"},
    **{"compatibility_disjoint_coefficient": 1.0, "compatibility_weight_coefficient": 0.4},
    **{"conn_add_prob": 0.05, "node_add_prob": 0.03, "conn_delete_prob": 0, "node_delete_prob": 0},
    **{"single_structural_mutation": False, "structural_mutation_surer": "default"},
    **{"activation_default": "clamped", "activation_options": "clamped"},
    **{"aggregation_default": "sum", "aggregation_options": "sum"},
    **{"activation_mutate_rate": 0, "aggregation_mutate_rate": 0},
    **{"enabled_default": True, "enabled_mutate_rate": 0},
    **{"enabled_rate_to_true_add": 0, "enabled_rate_to_false_add": 0},
}
NUMBER = {
    **{"init_mean": 0, "init_stdev": 1, "init_type": "gaussian", "max_value": 8, "min_value": -8},
    **{"mutate_power": 0.5, "mutate_rate": 0.8, "replace_rate": 0.1},
}
NUMBERS = {
    "bias": NUMBER,
    "weight": NUMBER,
    "response": {**NUMBER, **NOTHING, "init_mean": 1},
    "time_constant": {**NUMBER, **NOTHING, "init_mean": 1},
}


def contestant(setting: BesideNeatPython) -> Contestant:
    """Return the first generations of a population, from the same seed each time."""
    play, num_inputs = TASKS[setting.env]
    config = _config(setting, num_inputs)
    steps = []

    def evaluate(genomes: list, config: "neat.Config") -> None:
        for _, genome in genomes:
            network = neat.nn.FeedForwardNetwork.create(genome, config)
            genome.fitness, count = play(network.activate, setting.episode_length)
            steps.append(count)

    def run() -> None:
        random.seed(0)
        steps.clear()
        neat.Population(config).run(evaluate, setting.num_generations)

    run()
    return Contestant("neat-python", run, env_steps=sum(steps), generations=setting.num_generations)


def _config(setting: BesideNeatPython, num_inputs: int) -> "neat.Config":
    sections = {
        "NEAT": {
            **{"pop_size": setting.population_size, "fitness_criterion": "max"},
            **{"fitness_threshold": 0, "reset_on_extinction": True},
            "no_fitness_termination": True,
        },
        "DefaultGenome": {
            **GENOME,
            **{"num_inputs": num_inputs, "num_outputs": 1},
            **{f"{name}_{x}": value for name, own in NUMBERS.items() for x, value in own.items()},
        },
        "DefaultSpeciesSet": {"compatibility_threshold": 3.0},
        "DefaultStagnation": {
            **{"species_fitness_func": "max", "max_stagnation": 15, "species_elitism": 1}
        },
        "DefaultReproduction": {"elitism": 1, "survival_threshold": 0.2, "min_species_size": 2},
    }
    lines = []
    for section, own in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in own.items())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "neat.ini"
        path.write_text("\n".join(lines))
        return neat.Config(
            *(neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet),
            *(neat.DefaultStagnation, path),
        )


# ---------------------------------------------------------------------------------- the tasks


def xor(activate: Activate, limit: int) -> tuple[float, int]:
    """Return what XOR pays, and its number of steps; see `control.xor`."""
    del limit
    cases = zip(control.CASES.tolist(), control.RIGHT.tolist(), strict=True)
    error = sum(abs(right - max(-1.0, min(1.0, activate(case)[0]))) / 2 for case, right in cases)
    return (4 - error) ** 2 / 16, 4


def double_pole(activate: Activate, limit: int) -> tuple[float, int]:
    """Return what two poles pay, and the number of steps; see `control.double_pole`."""
    x = [0.0, 0.0, control.START_ANGLE, 0.0, 0.0, 0.0]
    for count in range(limit):
        force = control.FORCE * max(-1.0, min(1.0, activate(x)[0]))
        x = moved(x, force)
        if abs(x[0]) > control.TRACK or max(abs(x[2]), abs(x[4])) > control.MAX_ANGLE:
            return float(count), count + 1
    return float(limit), limit


def moved(x: list[float], force: float) -> list[float]:
    """Return two poles after a step, as `control.moved` does."""
    h = control.TIME_STEP
    for _ in range(control.SUBSTEPS):
        a = derivative(x, force)
        b = derivative([u + h / 2 * v for u, v in zip(x, a, strict=True)], force)
        c = derivative([u + h / 2 * v for u, v in zip(x, b, strict=True)], force)
        d = derivative([u + h * v for u, v in zip(x, c, strict=True)], force)
        rates = zip(x, a, b, c, d, strict=True)
        x = [u + h / 6 * (p + 2 * q + 2 * r + s) for u, p, q, r, s in rates]
    return x


POLES = tuple(zip(control.HALF_LENGTHS.tolist(), control.POLE_MASSES.tolist(), strict=True))


def derivative(x: list[float], force: float) -> list[float]:
    """Return the rates of change of two poles, as `control.derivative` does."""
    forces, masses, turns = force, control.CART_MASS, []
    for (length, mass), angle, rate in zip(POLES, x[2::2], x[3::2], strict=True):
        sin, cos = math.sin(angle), math.cos(angle)
        pull = control.PIVOT_FRICTION * rate / (mass * length) - control.GRAVITY * sin
        forces += mass * length * rate**2 * sin + 0.75 * mass * cos * pull
        masses += mass * (1 - 0.75 * cos**2)
        turns.append((length, cos, pull))
    speeding = forces / masses
    first, second = (-0.75 / length * (speeding * cos + pull) for length, cos, pull in turns)
    return [x[1], speeding, x[3], first, x[5], second]


TASKS = {"control/xor": (xor, 2), "control/double_pole": (double_pole, 6)}
