"""The cases by name: what is compared, at which sizes, and the target ratio.

JAX is not imported here, so that `--help` and `--list` answer quickly: the
settings of a case are plain data, and their `build` imports what it needs.
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from ternevo.bench.contest import Contest
from ternevo.names import check, lookup

SUITES = {
    "cpu": "about ten minutes on a few cores",
    "gpu": "populations up to 2**17, needs an accelerator",
    "deploy": "about a minute: deployed policies on one core",
    "systems": "about ten minutes: each kind of policy and learner once, beside a plainer one",
    "quick": "about a minute at toy sizes: checks that everything runs; its numbers mean nothing",
    "all": "every case",
}

Kind = Literal["time", "rate", "share", "memory", "bandwidth", "evaluations", "speed"]
"""What a ratio compares. Higher is better, except for a share.

time: the other's seconds over ours. rate: our environment steps per second over the
other's. share: the other's seconds over ours, where the other is a part of ours
and should be small. memory: the other's bytes over ours. bandwidth: the bytes per
second that we must read, over the bytes per second that the other reads. evaluations: our
policy evaluations per second over the other's. speed: not a ratio, but the
evaluations per second of the named contestant.
"""


class Comparison(NamedTuple):
    """A ratio that a case reports, and an optional `goal`: a minimum, or a maximum for a share."""

    rival: str
    kind: Kind
    goal: float | None = None


@runtime_checkable
class Setting(Protocol):
    """The sizes of a case."""

    def build(self) -> Contest:
        """Return the contestants, ours first, compiled and ready to run."""
        ...


class Case(NamedTuple):
    """One line of `--list`."""

    description: str
    suites: tuple[str, ...]
    setting: Setting
    comparisons: tuple[Comparison, ...]


def _built(function: str, setting: Setting) -> Contest:
    """Build the contest of a setting with "module:function", relative to this package."""
    return lookup("function", f"ternevo.bench.{function}", {})(setting)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation of a population of MLPs, against evosax, the physics and the forward pass."""

    env: str
    episode_length: int
    population_size: int
    num_episodes: int = 1
    hidden_sizes: tuple[int, ...] = (64, 64)
    is_trained: bool = False
    """Whether members are copies of a policy that reaches the time limit; otherwise random."""
    with_limits: bool = True
    """Whether to time the physics alone and the forward pass alone as well."""

    def build(self) -> Contest:
        """Return ternevo, evosax and, with limits, physics and forward."""
        return _built("evaluation:build", self)


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """Full episodes of CartPole by copies of a trained MLP, against a loop in C on all cores."""

    population_size: int
    num_episodes: int
    episode_length: int = 500
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: Literal["sign", "int8"] = "int8"

    def build(self) -> Contest:
        """Return ternevo and the loop in C."""
        return _built("yardstick:build", self)


@dataclasses.dataclass(frozen=True)
class PolicyBound:
    """One evaluation where the policy is nearly all the work, against a float32 baseline."""

    population_size: int
    episode_length: int
    bandwidth_bytes: int
    """Size of the array that is read to measure memory bandwidth."""
    env: str = "probe/double_integrator"
    """It never terminates, and observations depend on actions, so no work can be optimised away."""
    num_episodes: int = 1
    hidden_sizes: tuple[int, ...] = (256, 256)
    activation: Literal["sign", "int8"] = "sign"

    def build(self) -> Contest:
        """Return ternevo, its float baseline, the forward pass, and a memory read."""
        return _built("evaluation:build_policy_bound", self)


@dataclasses.dataclass(frozen=True)
class LoopOverhead:
    """One generation of the whole loop, against the same loop without its episodes."""

    env: str
    episode_length: int
    population_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)

    def build(self) -> Contest:
        """Return ternevo, and the same loop in an environment that ends in its first step."""
        return _built("loop:build_overhead", self)


@dataclasses.dataclass(frozen=True)
class LoopBesideEvosax:
    """One generation of the whole loop, against evosax's Open_ES in a Python loop."""

    env: str
    episode_length: int
    population_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)

    def build(self) -> Contest:
        """Return ternevo and evosax."""
        return _built("loop:build_beside_evosax", self)


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """The peak memory of one generation in its own process."""

    env: str
    episode_length: int
    population_size: int
    population_chunk: int
    hidden_sizes: tuple[int, ...] = (64, 64)

    def build(self) -> Contest:
        """Return ternevo, and the same process with a population of two."""
        return _built("fresh:build", self)


@dataclasses.dataclass(frozen=True)
class BesidePPO:
    """Updates of PPO with float networks, against the reference; settings as in purejaxrl."""

    env: str
    episode_length: int
    num_envs: int
    num_minibatches: int
    num_updates: int
    num_steps: int = 128
    num_epochs: int = 4
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor and of the critic, both with tanh."""
    lr: float = 2.5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_epsilon: float = 0.2
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5

    @property
    def env_steps(self) -> int:
        """Return the number of steps of all updates in all environments."""
        return self.num_updates * self.num_steps * self.num_envs

    def build(self) -> Contest:
        """Return ternevo and the reference PPO."""
        return _built("ppo:build", self)


@dataclasses.dataclass(frozen=True)
class BesideRejax:
    """Steps and updates of an off-policy learner with float networks, against rejax's."""

    env: str
    episode_length: int
    """The time limit in training; final policies are measured with the environment's own."""
    algorithm: Literal["dqn", "sac"]
    num_envs: int
    num_updates: int
    """Number of updates after each step in all environments."""
    buffer_size: int
    batch_size: int
    learning_starts: int
    lr: float
    tau: float
    """How far targets move after these updates."""
    gamma: float = 0.99
    exploration_fraction: float = 0.5
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of policies and critics, with ReLU. rejax's DQN has these sizes."""
    num_generations: int = 4
    """Number of generations that are timed."""
    steps_of_generation: int = 1000
    """Number of steps of a generation, in all environments."""
    num_steps: int = 20_000
    """Number of steps of a whole run, which tells what is learned."""
    num_seeds: int = 0
    """Number of whole runs; 0 for none."""

    @property
    def updates_of_generation(self) -> int:
        """Return the number of updates in a generation."""
        return self.steps_of_generation // self.num_envs * self.num_updates

    @property
    def generations_before_learning(self) -> int:
        """Return the number of generations before the first with updates."""
        return -(-self.learning_starts // self.steps_of_generation)

    def build(self) -> Contest:
        """Return ternevo and rejax."""
        return _built("off_policy:build", self)


@dataclasses.dataclass(frozen=True)
class Deployed:
    """Evaluations of one policy on one core, in C, Python, NumPy, JAX and onnxruntime."""

    sizes: tuple[int, ...]
    activation: Literal["sign", "int8"]
    output_kind: Literal["discrete", "continuous"]
    evaluations: int
    """Evaluations in one run in C; slower contestants make fewer."""
    weights: Literal["ternary", "binary", "int8"] = "ternary"
    input_kind: Literal["f32", "bits"] = "f32"
    density: float = 1.0
    """Share of the weights that is kept; the others are 0."""

    def build(self) -> Contest:
        """Return the exported C first, then the others."""
        return _built("deploy:build", self)


@dataclasses.dataclass(frozen=True)
class DeployedConv:
    """The same of a convolutional policy, with the kernels of the runtime as C."""

    shape: tuple[int, int, int]
    """Height, width and channels of an observation."""
    filters: tuple[tuple[int, int, int], ...]
    """Outputs, kernel and stride of each convolution."""
    hidden_sizes: tuple[int, ...]
    num_actions: int
    activation: Literal["sign", "int8"]
    evaluations: int
    """Evaluations in one run of the fastest kernel; slower contestants make fewer."""
    input_kind: Literal["bits", "pixels"] = "bits"
    observations: int = 4096

    def build(self) -> Contest:
        """Return the fastest kernel first, then the others."""
        return _built("deploy_conv:build", self)


@dataclasses.dataclass(frozen=True)
class Outside:
    """A generation in a simulator outside JAX, against the simulator alone, and Gymnasium."""

    env: str
    episode_length: int
    population_size: int
    members_in_python: int
    """Number of members that are evaluated one after the other in Gymnasium."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    filters: tuple[tuple[int, int, int], ...] = ()
    """Outputs, kernel and stride of each convolution before the hidden layers."""

    def build(self) -> Contest:
        """Return ternevo, the suite alone, and Gymnasium; of MuJoCo also its rollouts."""
        return _built("outside:build", self)


@dataclasses.dataclass(frozen=True)
class BesideNeatPython:
    """The first generations of NEAT with float weights, against neat-python."""

    env: Literal["control/xor", "control/double_pole"]
    episode_length: int
    population_size: int
    num_generations: int
    max_hidden: int = 8
    is_alone: bool = False
    """Whether ternevo is timed alone, for its evaluations per second."""

    def build(self) -> Contest:
        """Return ternevo and, unless it is alone, neat-python."""
        return _built("topologies:build", self)


@dataclasses.dataclass(frozen=True)
class BesideQDax:
    """The first generations of MAP-Elites with float weights, against QDax's."""

    env: str
    episode_length: int
    population_size: int
    num_generations: int
    grid: tuple[int, ...]
    hidden_sizes: tuple[int, ...] = (8,)
    iso_sigma: float = 0.05
    line_sigma: float = 0.1
    least_return: float = -1.3
    """The return that counts as 0 in a QD score."""
    all_generations: int = 100
    """Number of generations of a whole run, which tells how much is found."""
    num_seeds: int = 0
    """Number of whole runs; 0 for none."""

    def build(self) -> Contest:
        """Return ternevo and QDax."""
        return _built("illumination:build", self)


@dataclasses.dataclass(frozen=True)
class BesideEvoJAX:
    """Generations of PGPE with float weights on a cart-pole swing-up, against EvoJAX's."""

    env: Literal["control/cartpole_swing_up_easy", "control/cartpole_swing_up_hard"]
    episode_length: int
    population_size: int
    num_episodes: int
    num_generations: int
    hidden_sizes: tuple[int, ...] = (64,)
    lr: float = 0.05
    sigma: float = 0.1
    all_generations: int = 200
    """Number of generations of a whole run, which tells what is learned."""
    num_seeds: int = 0
    """Number of whole runs; 0 for none."""

    def build(self) -> Contest:
        """Return ternevo and EvoJAX."""
        return _built("swing_up:build", self)


@dataclasses.dataclass(frozen=True)
class System:
    """The first generations of a run, against those of a plainer run."""

    env: str
    episode_length: int
    options: tuple[str, ...]
    """Options of `python -m ternevo.run` for the system."""
    plainer: str
    """What the other run is called."""
    beside: tuple[str, ...]
    """Its options."""
    common: tuple[str, ...]
    """Options of both."""
    num_generations: int = 1

    def build(self) -> Contest:
        """Return ternevo and the plainer run."""
        return _built("systems:build", self)


EVOSAX = "evosax always runs to the last step, and its cost does not depend on weights"
PPO = "updates of PPO from a random policy, float MLPs (64, 64) with tanh, against a plain PPO"
BESIDE_PPO = (Comparison("reference PPO", "rate"), Comparison("reference PPO", "memory"))
REJAX = "float MLPs (64, 64) with ReLU, against rejax, where that is installed"
NEAT = "generations of NEAT with float weights from its start, against neat-python, if installed"
QDAX = "MAP-Elites with float weights by iso+line, against QDax, if installed"
EVOJAX = "PGPE with float MLPs (64,), against EvoJAX, if installed"
OUTSIDE = (
    "a generation of ternary_nes from random policies on all cores, against the simulator alone on "
    "all cores with random actions, and one environment of Gymnasium stepped from Python"
)
BESIDE_ALONE = (Comparison("suite alone", "rate"), Comparison("member by member", "rate"))
BESIDE_ROLLOUT = (
    Comparison("mujoco.rollout", "rate", 0.8),
    Comparison("mujoco.rollout, all steps at once", "rate"),
)
BESIDE_REJAX = (Comparison("rejax", "rate", 1.5), Comparison("rejax", "memory"))
LIMITS = (Comparison("physics", "rate"), Comparison("forward", "rate"))


def _beside_evosax(*comparisons: Comparison) -> tuple[Comparison, ...]:
    """Return the ratios of an evaluation; `comparisons` replace the default ones without a goal."""
    named = {(c.rival, c.kind) for c in comparisons}
    usual = (Comparison("evosax", "time"), Comparison("evosax", "memory"), *LIMITS)
    return (*comparisons, *(c for c in usual if (c.rival, c.kind) not in named))


def _deployed(**goals: float | None) -> tuple[Comparison, ...]:
    """Return the speed of each backend, some with a goal, and two ratios of C to other backends."""
    ways = ("C", "C avx2", "C portable", "Python call", "Python batch", "NumPy batch")
    others = ("ctypes call", "JAX call", "JAX batch", "onnxruntime call")
    speeds = [Comparison(name, "speed", goals.get(name)) for name in (*ways, *others)]
    return (*speeds, *(Comparison(name, "evaluations") for name in ("ctypes call", "JAX call")))


def _deployed_conv(**goals: float | None) -> tuple[Comparison, ...]:
    """Return the speed of each backend, some with a goal."""
    ways = ("C", "C avx2", "C portable", "Python call", "NumPy batch")
    return tuple(Comparison(name, "speed", goals.get(name)) for name in ways)


MINATAR = "10x10x4 bits, 16 filters of 3x3, 128, 6 actions,"
MINATAR_SIZES = ((10, 10, 4), ((16, 3, 1),), (128,), 6)
NATURE = "84x84x4 pixels, filters 32 of 8x8/4, 64 of 4x4/2, 64 of 3x3/1, 512, 18 actions,"
NATURE_SIZES = ((84, 84, 4), ((32, 8, 4), (64, 4, 2), (64, 3, 1)), (512,), 18)

SEARCH = ("--strategy", "ternary_nes", "--population_size", "256", "--num_episodes", "1")


def _system(
    what: str,
    env: str,
    length: int,
    options: str,
    plainer: str,
    beside: str,
    common: tuple[str, ...] = SEARCH,
    num_generations: int = 1,
) -> Case:
    """Return a case of the suite "systems"."""
    name = env.partition("/")[2]
    many = "" if num_generations == 1 else f", {num_generations} generations"
    setting = System(
        *(env, length, tuple(options.split()), plainer, tuple(beside.split()), common),
        num_generations=num_generations,
    )
    rivals = Comparison(plainer, "time"), Comparison(plainer, "memory")
    text = f"{what} on {name}, time limit {length}{many}, beside {plainer}"
    return Case(text, ("systems",), setting, rivals)


CASES: dict[str, Case] = {
    "cartpole_random": Case(
        f"CartPole, 1,024 x 16 episodes of random MLPs (64, 64), which fall early; {EVOSAX}",
        ("cpu", "gpu"),
        Evaluation("gymnax/CartPole-v1", 500, 1024, 16),
        _beside_evosax(Comparison("evosax", "time", 4.0), Comparison("evosax", "memory", 10.0)),
    ),
    "cartpole_trained": Case(
        f"CartPole, 1,024 x 16 full episodes of copies of a trained MLP (64, 64); {EVOSAX}",
        ("cpu", "gpu"),
        Evaluation("gymnax/CartPole-v1", 500, 1024, 16, is_trained=True),
        _beside_evosax(Comparison("evosax", "time", 1.5), Comparison("evosax", "memory", 10.0)),
    ),
    "cartpole_c": Case(
        "CartPole, 1,024 x 16 full episodes of copies of a trained MLP 4-64-64-2 with int8 "
        "activations, against a loop in C with the exported header, on as many cores",
        ("cpu",),
        Yardstick(1024, 16),
        (Comparison("C", "rate", 0.25),),
    ),
    "hopper_random": Case(
        f"hopper@spring, 256 x 1 episode of random MLPs (64, 64), time limit 1,000; {EVOSAX}",
        ("cpu",),
        Evaluation("brax/hopper@spring", 1000, 256),
        _beside_evosax(Comparison("evosax", "time", 4.0)),
    ),
    "ant_random": Case(
        f"ant@spring, 256 x 1 episode of random MLPs (64, 64), time limit 1,000; {EVOSAX}",
        ("cpu",),
        Evaluation("brax/ant@spring", 1000, 256),
        _beside_evosax(Comparison("evosax", "time", 1.2), Comparison("physics", "rate", 0.9)),
    ),
    "policy_bound": Case(
        "a point mass, 1,024 x 1 episode of 50 steps, MLP (256, 256): ternary weights and signs "
        "against a float32 baseline with tanh",
        ("cpu",),
        PolicyBound(1024, 50, bandwidth_bytes=2**28),
        (
            Comparison("float twin", "time", 3.0),
            Comparison("float twin", "memory"),
            Comparison("forward", "rate"),
            Comparison("memory read", "bandwidth"),
        ),
    ),
    "policy_bound_int8": Case(
        "as policy_bound, with int8 activations instead of signs",
        ("cpu",),
        PolicyBound(1024, 50, bandwidth_bytes=2**28, activation="int8"),
        (Comparison("float twin", "time"), Comparison("memory read", "bandwidth")),
    ),
    "loop_overhead": Case(
        "ternary_nes on hopper@spring, 4,096 members of 5,123 weights, time limit 100: a "
        "generation, against the same with episodes of one step that costs nothing",
        ("cpu", "gpu"),
        LoopOverhead("brax/hopper@spring", 100, 4096),
        (Comparison("all but episodes", "share", 0.05),),
    ),
    "loop_evosax": Case(
        "CartPole, 4,096 members of 6,070 weights: a generation of ternary_nes, against ask, eval "
        f"and tell of evosax's Open_ES from Python, both from random policies; {EVOSAX}",
        ("cpu", "gpu"),
        LoopBesideEvosax("gymnax/CartPole-v1", 500, 4096, (74, 74)),
        (Comparison("evosax", "time"),),
    ),
    "memory": Case(
        "ternary_nes, one generation of 100,000 members of 6,070 weights on CartPole, time limit "
        "10, in a fresh process: its peak resident memory",
        ("cpu",),
        PeakMemory("gymnax/CartPole-v1", 10, 100_000, 1024, (74, 74)),
        (),
    ),
    "ppo_cartpole_4": Case(
        f"CartPole, 4 environments x 128 steps, 4 epochs of 4 minibatches: {PPO}",
        ("cpu",),
        BesidePPO("gymnax/CartPole-v1", 500, 4, 4, num_updates=100),
        BESIDE_PPO,
    ),
    "ppo_cartpole_64": Case(
        f"CartPole, 64 environments x 128 steps, 4 epochs of 8 minibatches: {PPO}",
        ("cpu",),
        BesidePPO("gymnax/CartPole-v1", 500, 64, 8, num_updates=20),
        BESIDE_PPO,
    ),
    "ppo_hopper": Case(
        f"hopper@spring, 64 environments x 128 steps, 4 epochs of 8 minibatches: {PPO}",
        ("cpu",),
        BesidePPO(
            "brax/hopper@spring", 1000, 64, 8, num_updates=10, lr=3e-4, entropy_coefficient=0.0
        ),
        BESIDE_PPO,
    ),
    "dqn_cartpole": Case(
        "CartPole, 10 environments, 5 updates of 100 samples after each of their steps, double, a "
        f"buffer of 50,000: DQN, {REJAX}; returns after 50,000 steps",
        ("cpu",),
        BesideRejax(
            *("gymnax/CartPole-v1", 500, "dqn", 10, 5, 50_000, 100, 5000, 1e-3, 0.02),
            num_steps=50_000,
            num_seeds=3,
        ),
        BESIDE_REJAX,
    ),
    "sac_pendulum": Case(
        "Pendulum, 1 environment, 1 update of 256 samples after each step, a buffer of 10,000: "
        f"SAC, {REJAX}; returns after 10,000 steps",
        ("cpu",),
        BesideRejax(
            *("gymnax/Pendulum-v1", 200, "sac", 1, 1, 10_000, 256, 1000, 1e-3, 0.02),
            num_generations=2,
            num_steps=10_000,
            num_seeds=3,
        ),
        BESIDE_REJAX,
    ),
    "sac_pendulum_50": Case(
        "sac_pendulum with a time limit of 50 in training",
        ("cpu",),
        BesideRejax(
            *("gymnax/Pendulum-v1", 50, "sac", 1, 1, 10_000, 256, 1000, 1e-3, 0.02),
            num_generations=2,
            num_steps=10_000,
            num_seeds=3,
        ),
        BESIDE_REJAX,
    ),
    "neat_xor": Case(
        f"XOR, 150 members, 30 generations: {NEAT}",
        ("cpu",),
        BesideNeatPython("control/xor", 4, 150, 30),
        (Comparison("neat-python", "time", 100.0),),
    ),
    "neat_double_pole": Case(
        f"two poles with velocities, time limit 1,000, 150 members, 10 generations: {NEAT}",
        ("cpu",),
        BesideNeatPython("control/double_pole", 1000, 150, 10),
        (Comparison("neat-python", "rate", 100.0), Comparison("neat-python", "time")),
    ),
    "neat_1000": Case(
        "two poles with velocities, time limit 1,000, 1,000 members, 10 generations of NEAT with "
        "float weights from its start: its evaluations, of a member in an episode, per second",
        ("cpu",),
        BesideNeatPython("control/double_pole", 1000, 1000, 10, is_alone=True),
        (Comparison("ternevo", "speed", 1000.0),),
    ),
    "map_elites_maze": Case(
        f"the maze, 200 members, 20 generations, 32 x 32 cells: {QDAX}",
        ("cpu",),
        BesideQDax("control/maze", 300, 200, 20, (32, 32), num_seeds=3),
        (Comparison("QDax", "time"), Comparison("QDax", "memory")),
    ),
    "swing_up": Case(
        f"easy swing-up, 64 members x 4 episodes of 1,000 steps, 4 generations: {EVOJAX}",
        ("cpu",),
        BesideEvoJAX("control/cartpole_swing_up_easy", 1000, 64, 4, 4, num_seeds=3),
        (Comparison("EvoJAX", "time"), Comparison("EvoJAX", "rate")),
    ),
    "outside_halfcheetah": Case(
        f"MuJoCo's HalfCheetah-v5, 128 x 1 episode, time limit 500, MLPs (64, 64): {OUTSIDE}",
        ("cpu",),
        Outside("mujoco/HalfCheetah-v5", 500, 128, members_in_python=8),
        (*BESIDE_ALONE, *BESIDE_ROLLOUT),
    ),
    "outside_lander": Case(
        f"Box2D's LunarLander-v3, 128 x 1 episode, time limit 1,000, MLPs (64, 64): {OUTSIDE}",
        ("cpu",),
        Outside("box2d/LunarLander-v3", 1000, 128, members_in_python=32),
        BESIDE_ALONE,
    ),
    "outside_pong": Case(
        f"Atari's pong, 32 x 1 episode, time limit 100, 16 filters of 8x8, 32 of 4x4: {OUTSIDE}",
        ("cpu",),
        Outside(
            *("atari/pong", 100, 32),
            members_in_python=4,
            hidden_sizes=(128,),
            filters=((16, 8, 4), (32, 4, 2)),
        ),
        BESIDE_ALONE,
    ),
    "deploy_binary": Case(
        "a binary network 64-64-1 with signs, inputs 0 and 1: 600 bytes; others have claimed "
        "500,000 evaluations per second for such a network",
        ("deploy",),
        Deployed((64, 64, 1), "sign", "continuous", 2**20, "binary", "bits"),
        (
            *_deployed(C=10e6),
            Comparison("Python call, bools", "speed"),
            Comparison("Python call, words", "speed"),
        ),
    ),
    "deploy_cartpole": Case(
        "4-16-2 with signs",
        ("deploy",),
        Deployed((4, 16, 2), "sign", "discrete", 2**21),
        _deployed(C=50e6, **{"Python call": 5e6}),
    ),
    "deploy_cartpole_int8": Case(
        "4-16-2 with int8 activations",
        ("deploy",),
        Deployed((4, 16, 2), "int8", "discrete", 2**21),
        _deployed(C=50e6, **{"Python call": 5e6}),
    ),
    "deploy_ant": Case(
        "27-64-64-8 with signs",
        ("deploy",),
        Deployed((27, 64, 64, 8), "sign", "continuous", 2**20),
        _deployed(**{"C": 50e6, "C avx2": 15e6, "C portable": 3e6}),
    ),
    "deploy_ant_int8": Case(
        "27-64-64-8 with int8 activations",
        ("deploy",),
        Deployed((27, 64, 64, 8), "int8", "continuous", 2**19),
        _deployed(),
    ),
    "deploy_humanoid": Case(
        "244-256-256-17 with signs",
        ("deploy",),
        Deployed((244, 256, 256, 17), "sign", "continuous", 2**18),
        _deployed(C=1e6),
    ),
    "deploy_unpruned": Case(
        "64-256-256-8 with int8 activations, weights of 8 bits",
        ("deploy",),
        Deployed((64, 256, 256, 8), "int8", "continuous", 2**15, "int8"),
        _deployed(),
    ),
    "deploy_pruned": Case(
        "the same with 98 % of its weights 0",
        ("deploy",),
        Deployed((64, 256, 256, 8), "int8", "continuous", 2**15, "int8", density=0.02),
        _deployed(),
    ),
    "deploy_minatar": Case(
        f"{MINATAR} with signs",
        ("deploy",),
        DeployedConv(*MINATAR_SIZES, "sign", 2**20),
        _deployed_conv(**{"C avx2": 1e6}),
    ),
    "deploy_minatar_int8": Case(
        f"{MINATAR} with int8 activations",
        ("deploy",),
        DeployedConv(*MINATAR_SIZES, "int8", 2**19),
        _deployed_conv(**{"C avx2": 1e6}),
    ),
    "deploy_nature": Case(
        f"{NATURE} with signs",
        ("deploy",),
        DeployedConv(*NATURE_SIZES, "sign", 2**13, "pixels", 256),
        _deployed_conv(),
    ),
    "deploy_nature_int8": Case(
        f"{NATURE} with int8 activations",
        ("deploy",),
        DeployedConv(*NATURE_SIZES, "int8", 2**13, "pixels", 256),
        _deployed_conv(),
    ),
    "policy_bound_gpu": Case(
        "as policy_bound, with 8,192 members and 100 steps",
        ("gpu",),
        PolicyBound(8192, 100, bandwidth_bytes=2**31),
        (
            Comparison("float twin", "time"),
            Comparison("float twin", "memory"),
            Comparison("forward", "rate"),
            Comparison("memory read", "bandwidth"),
        ),
    ),
    "cartpole_quick": Case(
        f"cartpole_random at a toy size; {EVOSAX}",
        ("quick",),
        Evaluation("gymnax/CartPole-v1", 30, 16, 2, (8,)),
        _beside_evosax(),
    ),
    "cartpole_c_quick": Case(
        "cartpole_c at a toy size",
        ("quick",),
        Yardstick(16, 2, 30, (8,)),
        (Comparison("C", "rate"),),
    ),
    "policy_bound_quick": Case(
        "policy_bound at a toy size",
        ("quick",),
        PolicyBound(16, 5, bandwidth_bytes=2**16, hidden_sizes=(32,)),
        (Comparison("float twin", "time"), Comparison("memory read", "bandwidth")),
    ),
    "loop_overhead_quick": Case(
        "loop_overhead at a toy size, on CartPole",
        ("quick",),
        LoopOverhead("gymnax/CartPole-v1", 20, 16, (8,)),
        (Comparison("all but episodes", "share"),),
    ),
    "loop_evosax_quick": Case(
        f"loop_evosax at a toy size; {EVOSAX}",
        ("quick",),
        LoopBesideEvosax("gymnax/CartPole-v1", 20, 16, (8,)),
        (Comparison("evosax", "time"),),
    ),
    "memory_quick": Case(
        "memory at a toy size",
        ("quick",),
        PeakMemory("gymnax/CartPole-v1", 5, 64, 16, (8,)),
        (),
    ),
    "ppo_quick": Case(
        "ppo_cartpole_4 at a toy size",
        ("quick",),
        BesidePPO("gymnax/CartPole-v1", 20, 4, 2, 2, num_steps=8, hidden_sizes=(8,)),
        BESIDE_PPO,
    ),
    "dqn_quick": Case(
        "dqn_cartpole at a toy size",
        ("quick",),
        BesideRejax(
            *("gymnax/CartPole-v1", 20, "dqn", 2, 1, 64, 4, 16, 1e-3, 0.02),
            num_generations=1,
            steps_of_generation=16,
            num_steps=64,
            num_seeds=1,
        ),
        tuple(Comparison(c.rival, c.kind) for c in BESIDE_REJAX),
    ),
    "sac_quick": Case(
        "sac_pendulum at a toy size",
        ("quick",),
        BesideRejax(
            *("gymnax/Pendulum-v1", 20, "sac", 1, 1, 64, 4, 16, 1e-3, 0.02),
            hidden_sizes=(8,),
            num_generations=1,
            steps_of_generation=16,
            num_steps=64,
            num_seeds=1,
        ),
        tuple(Comparison(c.rival, c.kind) for c in BESIDE_REJAX),
    ),
    "neat_quick": Case(
        "neat_double_pole at a toy size",
        ("quick",),
        BesideNeatPython("control/double_pole", 10, 8, 2, 2),
        (Comparison("neat-python", "rate"), Comparison("ternevo", "speed")),
    ),
    "map_elites_quick": Case(
        "map_elites_maze at a toy size",
        ("quick",),
        BesideQDax("control/maze", 10, 8, 2, (4, 4), (4,), all_generations=3, num_seeds=1),
        (Comparison("QDax", "time"),),
    ),
    "swing_up_quick": Case(
        "swing_up at a toy size",
        ("quick",),
        BesideEvoJAX(
            *("control/cartpole_swing_up_easy", 10, 8, 2, 2, (4,)), all_generations=3, num_seeds=1
        ),
        (Comparison("EvoJAX", "time"),),
    ),
    "system_quick": Case(
        "system_recurrent at a toy size",
        ("quick",),
        System(
            *("gymnax/CartPole-v1", 5, ("--policy", "recurrent", "--memory_size", "4")),
            *("MLP", ("--policy", "mlp", "--hidden_sizes", "(4,)")),
            ("--population_size", "8", "--num_episodes", "1"),
        ),
        (Comparison("MLP", "time"),),
    ),
    "deploy_quick": Case(
        "5-9-3 with signs, a few evaluations",
        ("quick",),
        Deployed((5, 9, 3), "sign", "discrete", 2**13),
        _deployed(),
    ),
    "deploy_conv_quick": Case(
        "5x5x2 bits, 3 filters of 3x3, 2 actions, a few evaluations",
        ("quick",),
        DeployedConv((5, 5, 2), ((3, 3, 1),), (), 2, "sign", 2**10, "bits", 64),
        _deployed_conv(),
    ),
}

BREAKOUT, CARTPOLE = "gymnax/Breakout-MinAtar", "gymnax/CartPole-v1"
SMALL_PPO = ("--strategy", "ppo", "--num_envs", "16", "--num_steps", "64")
SYSTEMS = {
    "conv": _system(
        *("a convolutional policy", BREAKOUT, 100, "--policy conv", "MLP", "--policy mlp"),
    ),
    "resnet": _system(
        *(
            "a residual policy",
            BREAKOUT,
            100,
            "--policy resnet --channels (8,)",
            "MLP",
            "--policy mlp",
        ),
    ),
    "recurrent": _system(
        *("a recurrent policy", CARTPOLE, 200, "--policy recurrent", "MLP", "--policy mlp"),
    ),
    "hebbian": _system(
        *("Hebbian plasticity", CARTPOLE, 200, "--policy hebbian", "MLP", "--policy mlp"),
    ),
    "gradient_learner": _system(
        *("gradient steps within a life", "meta/hidden_direction", 100),
        *("--policy gradient_learner --lifetime 11", "MLP", "--policy mlp --lifetime 11"),
    ),
    "entm": _system(
        *("an evolved Turing machine", "memory/copy", 100),
        *("--policy entm", "recurrent", "--policy recurrent"),
    ),
    "ntm": _system(
        *("a neural Turing machine", "memory/copy", 100),
        *("--policy ntm --weights float", "recurrent", "--policy recurrent --weights float"),
    ),
    "neat": _system(
        *("NEAT with graphs", CARTPOLE, 200, "--strategy neat --policy graph"),
        *("ternary_nes", "--strategy ternary_nes --policy mlp"),
        SEARCH[2:],
    ),
    "hyperneat": _system(
        *("HyperNEAT", "vision/boxes@11", 10, "--policy hyperneat", "NEAT", "--policy graph"),
        ("--strategy", "neat", *SEARCH[2:]),
    ),
    "q_learner": _system(
        *("NEAT+Q", "control/mountain_car_bins", 200),
        *("--policy q_learner --lifetime 3", "NEAT", "--policy graph --lifetime 3"),
        ("--strategy", "neat", *SEARCH[2:]),
    ),
    "poet": _system(
        *("POET", "control/hop_runner", 100, "--strategy poet", "ternary_nes"),
        "--strategy ternary_nes",
        ("--num_episodes", "1"),
    ),
    "deep_ga": _system(
        *("the deep GA", CARTPOLE, 200, "--strategy deep_ga", "ternary_nes"),
        "--strategy ternary_nes",
        SEARCH[2:],
    ),
    "map_elites": _system(
        *("MAP-Elites", "control/maze", 200, "--strategy map_elites", "ternary_nes"),
        "--strategy ternary_nes",
        SEARCH[2:],
    ),
    "replay": _system(
        *("DQN with a replay buffer", CARTPOLE, 200, "--strategy dqn", "PPO"),
        "--strategy ppo --num_envs 10 --num_steps 100",
        (),
        2,
    ),
    "erl": _system(
        *("ERL with TD3", "gymnax/Pendulum-v1", 50),
        *("--strategy erl --population_size 4 --updates_per_step 0.1", "TD3", "--strategy td3"),
        ("--critic_hidden_sizes", "(64, 64)", "--learning_starts", "200"),
    ),
    "ppo_recurrent": _system(
        *("PPO through time", CARTPOLE, 200, "--policy recurrent", "MLP", "--policy mlp"),
        SMALL_PPO,
    ),
    "ppo_int8": _system(
        *("PPO with 8-bit weights", CARTPOLE, 200),
        *("--weights int8", "ternary", "--weights ternary"),
        SMALL_PPO,
    ),
}
CASES |= {f"system_{name}": case for name, case in SYSTEMS.items()}

SCALING = {  # time limits: short ones keep the states that evosax stacks small
    "brax/ant@spring": 100,
    "brax/hopper@spring": 100,
    "gymnax/CartPole-v1": 500,
    "gymnax/Breakout-MinAtar": 100,
}
POPULATION_EXPONENTS = (10, 12, 14, 16, 17)


def _scaling_name(env: str, exponent: int) -> str:
    """Return "scaling_ant_10" for 2**10 members of brax/ant@spring."""
    name = env.split("/")[1].split("@")[0].split("-")[0].lower()
    return f"scaling_{name}_{exponent}"


CASES |= {
    _scaling_name(env, exponent): Case(
        f"{env}, 2**{exponent} x 1 episode of random MLPs (64, 64), time limit {length}; {EVOSAX}",
        ("gpu",),
        Evaluation(env, length, 2**exponent, with_limits=False),
        (
            Comparison("evosax", "time"),
            Comparison("evosax", "rate"),
            Comparison("evosax", "memory"),
        ),
    )
    for env, length in SCALING.items()
    for exponent in POPULATION_EXPONENTS
}


def chosen(suite: str, names: Iterable[str]) -> list[str]:
    """Return the named cases, or the cases of a suite if no name is given.

    Raises:
      UnknownName: there is no such case or suite; the message names similar ones.
    """
    check("suite", suite, SUITES)
    names = [check("case", name, CASES) for name in names]
    if names:
        return list(dict.fromkeys(names))
    return [name for name, case in CASES.items() if suite == "all" or suite in case.suites]
