"""A public counter-example to evolving trits, built again.

    python experiments/counter_example.py

runs what results/counter_example.jsonl lacks, one line for each seed, and writes the tables of
docs/pruning.md. The study (kmheckel/spyx, pull request 66, July 2026) searched the float weights
of a spiking network with CR-FM-NES, cut them into trits for each evaluation, and ended at 63 to 68%
of a task with 8 classes where straight-through gradients reached 96 to 99%.

By its description and its published code, this is theirs: the data, the layers and their neurons,
the loss, Adam's steps, the population, the generations and the initial noise. What is not: decays
of the membranes are constants, at the mean of theirs; biases are trits like the weights; scales are
powers of two; 1,024 examples to test on and not 128; another starting point. The network of counts
is an ordinary MLP, which ships, and sees the sum of the spikes of each channel.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from arms import PAGES, ROOT, check_all
from study_results import Row, values
from study_words import in_words, listed, number, put, spread, table
from tune import append, read

from ternevo.arithmetic import observation
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import tvp
from ternevo.learners import imitation
from ternevo.learners.imitation import Labelled, Student
from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.policies.layers import straight_through
from ternevo.rollouts import step_count
from ternevo.runs import provenance
from ternevo.runs.intervals import difference_interval, mean_interval
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import WeightName
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.evolve import evolve
from ternevo.strategies.latents import evolve_latents
from ternevo.strategies.search import search_of
from ternevo.types import (
    ActionSpec,
    Inputs,
    Key,
    Memory,
    ObsSpec,
    Params,
    Policy,
    PolicyParams,
    Population,
    Problem,
    Scores,
    Strategy,
    Tensor,
)

RESULTS = PAGES / "results" / "counter_example.jsonl"
PAGE = ROOT / "docs" / "pruning.md"

CLASSES, CHANNELS, STEPS = 8, 64, 16
BACKGROUND, SIGNAL, SMOOTHING = 0.05, 0.30, 0.2
NUM_TRAIN, NUM_TEST, BATCH = 128, 1024, 32
PARTS = slice(NUM_TRAIN), slice(NUM_TRAIN, None)
EPOCHS, LR = 15, 5e-3
POPULATION, GENERATIONS, SIGMA = 64, 150, 0.1
WIDTHS = (64, 32, 16)
DECAY, READOUT_DECAY, SLOPE = 0.5, 0.8, 25.0
"""What a membrane keeps of itself in a step, that of the outputs, the slope of the surrogate."""

ACTION = ActionSpec("discrete", CLASSES)
COUNTS, SPIKES = ObsSpec((CHANNELS,), "integers"), ObsSpec((STEPS, CHANNELS), "planes")

# ------------------------------------------------------------------------------ data and networks


class Data(NamedTuple):
    """Examples of a network: what to train on, and what to test on."""

    train: Labelled
    test: Labelled


def spikes_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return spikes, bool [examples, steps, channels], and labels, first those to train on.

    A channel spikes by chance; those of the class's own eighth of the channels spike more.
    """
    numbers, count = np.random.default_rng(seed), NUM_TRAIN + NUM_TEST
    labels = numbers.integers(CLASSES, size=count)
    shape = count, STEPS, CHANNELS
    is_own = np.arange(CHANNELS) // (CHANNELS // CLASSES) == labels[:, None]
    signal = (numbers.random(shape) < SIGNAL) & is_own[:, None]
    return (numbers.random(shape) < BACKGROUND) | signal, labels


def data_of(network: str, seed: int) -> Data:
    """Return the examples as a network sees them."""
    spikes, labels = spikes_of(seed)
    seen = spikes.reshape(len(spikes), -1)
    if network == "counts":  # 0 to 16, on the grid of an observation
        seen = np.minimum(8 * spikes.sum(1), 127)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), SMOOTHING)
    both = Labelled(jnp.asarray(seen, jnp.float32), targets)
    return Data(*(Labelled(*(x[part] for x in both)) for part in PARTS))


def counting(width: int, weights: WeightName) -> Student:
    """Return the MLP that ships: counts of spikes, one hidden layer, 8-bit activations."""
    policy = mlp(width, weights).build(COUNTS, ACTION)
    return student_of(policy, COUNTS, weights)


def mlp(width: int, weights: WeightName) -> MLP:
    """Return the settings of the MLP."""
    activation = "relu" if weights == "float" else "int8"
    return MLP(hidden_sizes=(width,), weights=weights, activation=activation)


def spiking(width: int, weights: WeightName) -> Student:
    """Return the network of the study: leaky neurons that spike, and leaky outputs that do not."""
    drawn = mlp(width, weights).build(COUNTS, ACTION)
    return student_of(Policy(drawn.init, drawn.reset, fire), SPIKES, weights)


def student_of(policy: Policy, obs: ObsSpec, weights: WeightName) -> Student:
    """Return a policy as something that learns from labels."""
    template = jax.eval_shape(policy.init, jax.random.key(0))
    template = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), template)
    return Student(policy, template, kind_of(weights), obs, ACTION)


def fire(params: Params, memory: Memory, inputs: Inputs) -> tuple[Memory, jax.Array]:
    """Return the sums over time of the membranes of the outputs, for spikes [steps, channels]."""
    hidden, output = params
    currents = inputs.obs @ restored(hidden["weight"]) + restored(hidden["bias"])

    def step(membrane: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        spikes = _spike(membrane - 1)
        return DECAY * membrane + current - spikes, spikes

    _, spikes = jax.lax.scan(step, jnp.zeros(currents.shape[1]), currents)
    # The outputs are linear: a current counts in its own step, and what is left of it in each
    # later one, so that one product is enough.
    left = jnp.arange(STEPS, 0, -1)
    shares = (1 - READOUT_DECAY**left) / (1 - READOUT_DECAY)
    summed = shares @ spikes @ restored(output["weight"])
    return memory, summed + jnp.sum(shares) * restored(output["bias"])


def restored(tensor: Tensor) -> jax.Array:
    """Return the numbers that a tensor stands for."""
    return tensor.values * jnp.exp2(-tensor.exponent.astype(jnp.float32))


_spike = straight_through(
    lambda above: (above > 0).astype(jnp.float32),
    lambda above: above / (1 + SLOPE * jnp.abs(above)),
)
"""A step whose derivative is that of superspike, 1 / (1 + slope |x|)^2."""

NETWORKS: dict[str, Callable[[int, WeightName], Student]] = {
    "spiking": spiking,
    "counts": counting,
}

# ------------------------------------------------------------------------------------------- arms


class Arm(NamedTuple):
    """How a network is learned: forward passes of an example, the weights, and the learning."""

    passes: int
    weights: WeightName
    learn: Callable[[Student, Data, Key, int], Params]


def problem_of(student: Student, train: Labelled) -> Problem:
    """Return the problem whose return is minus the loss on each training example."""
    quantiser = observation.freeze(observation.empty(student.obs.size), student.obs.kind)

    def one(params: Params) -> jax.Array:
        logits = student.outputs(params, quantiser, train.obs)
        return -optax.softmax_cross_entropy(logits, train.target)

    def evaluate(key: Key, population: Population, moments: Any, generation: jax.Array) -> Scores:
        del key, moments, generation
        returns = jax.vmap(one)(population.params)
        lengths = jnp.ones(returns.shape, jnp.int32)
        nothing = observation.empty(student.obs.size)
        return Scores(returns, lengths, nothing, step_count.of_lengths(lengths))

    def test(key: Key, params: Params, quantiser: Any, num_episodes: int) -> Scores:
        raise NotImplementedError("tests are not of this problem: see `scored`")

    return Problem(student.obs, evaluate, test)


def natively(name: str, student: Student, problem: Problem, generations: int) -> Strategy:
    """Return a strategy that searches the trits themselves, with its own defaults."""
    settings = STRATEGIES[name].of(population_size=POPULATION)
    algorithm, params = settings.search_algorithm(student.template, "ternary", generations)
    return evolve(search_of(algorithm, params, student.policy.init), problem)


def over_latents(student: Student, problem: Problem, generations: int) -> Strategy:
    """Return the search of the study: CR-FM-NES over floats, which are cut for evaluations."""
    settings = STRATEGIES["latent"].of(
        algorithm="CR_FM_NES", population_size=POPULATION, sigma=SIGMA
    )
    weights = student.weights.name

    def make(solution: Any) -> tuple[Any, Any]:
        return settings.search_algorithm(solution, weights, generations)

    return evolve_latents(make, problem, student.policy, weights)


def evolved(
    make: Callable[[Student, Problem, int], Strategy],
    student: Student,
    data: Data,
    key: Key,
    generations: int,
) -> Params:
    """Return what a strategy would ship after some generations."""
    strategy = make(student, problem_of(student, data.train), generations)
    keys = jax.random.split(key, generations + 1)

    def step(state: Any, key: Key) -> tuple[Any, None]:
        return strategy.step(key, state)[0], None

    state, _ = jax.lax.scan(step, strategy.init(keys[0]), keys[1:])
    return strategy.params(state).weights


def descended(student: Student, data: Data, key: Key, epochs: int) -> Params:
    """Return what Adam learns straight through, in batches that are the same in each epoch."""
    quantiser = observation.freeze(observation.empty(student.obs.size), student.obs.kind)
    rows = jnp.tile(jnp.arange(NUM_TRAIN).reshape(-1, BATCH), (epochs, 1))
    optimizer = optax.adam(LR)
    start = student.init(key)
    learned, _ = imitation.train(student, optimizer, quantiser, start, data.train, rows)
    return student.shipped(learned)


PASSES = POPULATION * GENERATIONS * NUM_TRAIN
MANY = PASSES // NUM_TRAIN
"""Epochs of as many forward passes as evolution has."""

ARMS = {
    "straight-through": Arm(EPOCHS * NUM_TRAIN, "ternary", descended),
    "latents by CR-FM-NES": Arm(PASSES, "ternary", partial(evolved, over_latents)),
    "ternary_nes": Arm(PASSES, "ternary", partial(evolved, partial(natively, "ternary_nes"))),
    "ternary_ga": Arm(PASSES, "ternary", partial(evolved, partial(natively, "ternary_ga"))),
    "floats by CR-FM-NES": Arm(PASSES, "float", partial(evolved, over_latents)),
    "straight-through, as many passes": Arm(PASSES, "ternary", descended),
}


def rounds(arm: Arm) -> int:
    """Return the number of generations, or of epochs."""
    return arm.passes // NUM_TRAIN if arm.learn is descended else GENERATIONS


def passes(arm: Arm) -> int:
    """Return the forward passes of an example that it is run for."""
    return rounds(arm) * NUM_TRAIN * (1 if arm.learn is descended else POPULATION)


# ------------------------------------------------------------------------------------------- runs


@dataclasses.dataclass(frozen=True)
class CounterExampleConfig:
    """Run what is not there yet, and write the tables."""

    networks: tuple[str, ...] = tuple(NETWORKS)
    """Which networks."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms."""
    widths: tuple[int, ...] = WIDTHS
    """Which numbers of hidden units."""
    num_seeds: int = 5
    """Seeds of an arm, from 0."""
    table_only: bool = False
    """Run nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the tables."""
    prog = "python experiments/counter_example.py"
    config = tyro.cli(CounterExampleConfig, args=argv, prog=prog, use_underscores=True)
    check_all("network", config.networks, NETWORKS)
    check_all("arm", config.arms, ARMS)
    if not config.table_only:
        for network in config.networks:
            for arm in config.arms:
                for width in config.widths:
                    run(network, arm, width, config.num_seeds)
    text = page_of(read(RESULTS))
    put(PAGE, "counter-example", text)
    print(text)


def run(network: str, arm: str, width: int, num_seeds: int) -> None:
    """Run the seeds that an arm lacks, with one compiled program, and append a line for each."""
    have = {row["seed"] for row in of(read(RESULTS), network, arm, width)}
    missing = sorted(set(range(num_seeds)) - have)
    if not missing:
        return
    go = jax.jit(partial(scored, network, ARMS[arm], width, rounds(ARMS[arm])))
    described = provenance.describe()
    for seed in missing:
        begun = time.perf_counter()
        params, accuracy, loss = jax.block_until_ready(
            go(data_of(network, seed), jax.random.key(seed))
        )
        line = {
            **{"network": network, "width": width, "arm": arm, "seed": seed},
            **{"accuracy": float(accuracy), "loss": float(loss), "passes": passes(ARMS[arm])},
            **{"bytes": bytes_of(params, mlp(width, ARMS[arm].weights))},
            **{"seconds": round(time.perf_counter() - begun, 1)},
            **{"command": "python experiments/counter_example.py", "commit": described["commit"]},
            **{"processor": described["machine"]["processor"]},
        }
        append(RESULTS, line)
        print(f"{network}, {width}, {arm}, seed {seed}: {line['accuracy']:.3f}", flush=True)


def scored(
    network: str, arm: Arm, width: int, rounds: int, data: Data, key: Key
) -> tuple[Params, jax.Array, jax.Array]:
    """Return what an arm learns, and its accuracy and loss on the examples to test on."""
    student = NETWORKS[network](width, arm.weights)
    params = devices.replicated(arm.learn(student, data, key, rounds))
    quantiser = observation.freeze(observation.empty(student.obs.size), student.obs.kind)
    logits = student.outputs(params, quantiser, data.test.obs)
    is_right = jnp.argmax(logits, -1) == jnp.argmax(data.test.target, -1)
    loss = jnp.mean(optax.softmax_cross_entropy(logits, data.test.target))
    return params, jnp.mean(is_right.astype(jnp.float32)), loss


def bytes_of(params: Params, settings: MLP) -> int:
    """Return the bytes of the bare policy file with these layers; neurons have no parameters."""
    shipped = PolicyParams(params, observation.empty(CHANNELS))
    record = policy_file.record_of(settings, COUNTS, ACTION, shipped)
    return len(tvp.encode(tvp.smallest(record.bare())))


# ------------------------------------------------------------------------------------------- page


def of(rows: Sequence[Row], network: str, arm: str, width: int) -> list[Row]:
    """Return the lines of an arm at a width."""
    wanted = network, arm, width
    return [row for row in rows if (row["network"], row["arm"], row["width"]) == wanted]


def page_of(rows: list[Row]) -> str:
    """Return the tables and verdicts of both networks as Markdown."""
    shown = [
        f"{TITLES[network]}\n\n{table_of(rows, network)}\n\n{listed(verdicts(rows, network))}"
        for network in NETWORKS
        if any(row["network"] == network for row in rows)
    ]
    return "\n\n".join(shown) or "Not run yet."


TITLES = {
    "spiking": "The spiking network:",
    "counts": "An MLP that sees the number of spikes of each channel, and ships:",
}


def table_of(rows: list[Row], network: str) -> str:
    """Return test accuracies in per cent and bytes, a row for each arm that was run."""
    head = "arm | forward passes | " + " | ".join(f"{w} hidden" for w in WIDTHS) + " | bytes"
    cells = []
    for arm in ARMS:
        found = [of(rows, network, arm, width) for width in WIDTHS]
        if any(found):
            sizes = [number(float(values(some, "bytes").mean())) if some else "-" for some in found]
            cells.append((arm, f"{ARMS[arm].passes:,}", *map(accuracy_of, found), ", ".join(sizes)))
    return table(head, cells)


def accuracy_of(rows: list[Row]) -> str:
    """Return the mean accuracy in per cent with its interval, and the number of seeds if not 5."""
    if not rows:
        return "not run"
    few = "" if len(rows) >= NUM_SEEDS else f" ({len(rows)} of {NUM_SEEDS} seeds)"
    return spread(mean_interval(100 * values(rows, "accuracy"))) + few


NUM_SEEDS = 5
COMPARED = (
    ("latents by CR-FM-NES", "straight-through"),
    ("ternary_nes", "latents by CR-FM-NES"),
    ("ternary_ga", "latents by CR-FM-NES"),
    ("ternary_nes", "straight-through"),
    ("ternary_ga", "straight-through"),
)


def verdicts(rows: list[Row], network: str) -> list[str]:
    """Return how arms compare at each width: wins, ties or loses by the interval, or not run."""
    return [
        f"{left} against {right}: "
        + "; ".join(f"{w} hidden {compared(rows, network, left, right, w)}" for w in WIDTHS)
        + "."
        for left, right in COMPARED
    ]


def compared(rows: list[Row], network: str, left: str, right: str, width: int) -> str:
    """Return whether an arm wins, ties or loses, once all seeds of both were run."""
    pair = [of(rows, network, arm, width) for arm in (left, right)]
    if any(len(found) < NUM_SEEDS for found in pair):
        return "not run"
    difference = difference_interval(*(100 * values(found, "accuracy") for found in pair))
    return f"{in_words(difference)}, {spread(difference)}"


if __name__ == "__main__":
    main()
