"""What a run waits for: nothing is traced twice, programs are kept, a line comes at once."""

import collections
import dataclasses
import functools
import itertools
import os
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from gradient_learners import GRADIENTS, PUSHING, SMALL as OF_LEARNERS
from jax.experimental.compilation_cache import compilation_cache as jax_cache
from jaxprs import equations
from marks import wide
from policies_of_strategies import OWN, mlp_for, world_for

from ternevo import envs, problems
from ternevo.machine import compilation_cache, devices
from ternevo.runs import claims
from ternevo.settings.command_line import parse
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.across_seeds import across_seeds, keys_of
from ternevo.training import loop, policies, results
from ternevo.training.checkpoint import Checkpoints
from ternevo.training.evaluation import Evaluation
from ternevo.training.setup import build as build_setup
from ternevo.types import Strategy

# --- nothing is traced twice ------------------------------------------------------------------

PROBE = ("--env", "probe/random_length", "--hidden_sizes", "(4,)", "--population_size", "8")
KINDS = [
    *(
        (name, "binary" if name == "binary_nes" else "ternary", OWN.get(name, {}))
        for name in STRATEGIES
    ),
    ("ternary_nes", "float", {}),
    ("evosax", "float", {"algorithm": "SimpleGA"}),  # of evosax's other family
]
ROUTES = ("ternary_nes", "ternary_ga", "latent", "ppo", "td3")
RUN = [kind for kind in KINDS if kind[0] in ROUTES and kind[1] == "ternary"]
"""One of each way to train is run; of the others the trace says that they do not differ."""
QUICK_RUNS = ("ternary_nes",)
"""In no slow test: that a program serves all chunks does not depend on what it does."""
QUICK_TRACES = (
    *("ternary_nes", "ternary_ga", "latent", "vote", "neat", "deep_ga", "map_elites", "poet"),
    *("ppo", "dqn", "td3", "sac", "erl"),
)
"""Those with a state, a rollout or a loss of their own. The others are searches in the place of
`ternary_nes`, binary or float weights in it, and DDPG, which is TD3 without some parts."""
ROLLOUTS = {"deep_ga": 2, "poet": 2}
"""Rollouts in the program of a generation, by default 1; others are of elites that are evaluated
again, or of the scores of niches."""
SMALL = collections.defaultdict(lambda: {"population_size": 8}, OF_LEARNERS)
LOSSES = {"ppo": 1, "dqn": 3, "td3": 2, "ddpg": 2, "sac": 2, "erl": 3}
"""Further calls of the policy: in a loss, for the values of what follows, and in ERL by members."""


def counting(functions, calls, *names):
    """Return a noun whose functions of these names count how often Python calls them.

    A compiled program calls no Python: every count is one that was traced.
    """

    def counted(name):
        function = getattr(functions, name)

        def wrapped(*arguments):
            calls[name] += 1
            return function(*arguments)

        return wrapped

    return functions._replace(**{name: counted(name) for name in names})


def counted_strategy(name, weights, options):
    """Return a strategy on a probe, its evaluation, and counts of what is traced of both."""
    calls = collections.Counter()
    # Not resets: the shapes of what they return are asked for apart from running them.
    probe = "double_integrator" if name in PUSHING else "random_length"
    env = counting(world_for(name, envs.make(f"probe/{probe}", 5)), calls, "step")
    policy = mlp_for(name, (4,), weights=weights).build(env.obs, env.action)
    policy = counting(policy, calls, "apply")
    strategy = STRATEGIES[name].of(**SMALL[name], **options).build(env, policy, weights, 20)
    return strategy, Evaluation(problems.of(policy, env), 5, 4, num_final_episodes=9), calls


class Programs(NamedTuple):
    """The programs of a strategy's start and of a chunk, traced, and the calls in both."""

    strategy: Strategy
    start: Any
    chunk: Any
    calls: dict[str, int]


@functools.cache
def programs_of(name, weights, options) -> Programs:
    """Trace once for the tests below; options are pairs of a name and a value."""
    strategy, _, calls = counted_strategy(name, weights, dict(options))
    start = jax.jit(functools.partial(loop.start, strategy=strategy)).trace(jax.random.key(0))
    count = jax.ShapeDtypeStruct((), jnp.int32)
    advance = functools.partial(loop.advance, strategy)
    chunk = jax.jit(advance).trace(start.out_info, count)
    return Programs(strategy, start, chunk, dict(calls))


def each(kinds, quick):
    """Parametrise over kinds; those are slow that are not of a quick name with trits.

    Of the others most are wide: a search and a learner remain.
    """
    rows = [
        pytest.param(*kind, id="-".join(kind[:2]), marks=[pytest.mark.slow] * is_slow)
        for kind in kinds
        for is_slow in [kind[0] not in quick or kind[1] != "ternary"]
    ]
    kept = [f"{name}-ternary" for name in ("ternary_nes", "ppo")]
    kept = [name for name in kept if name in [row.id for row in rows]]
    return pytest.mark.parametrize(("name", "weights", "options"), wide(rows, keep=kept))


@each(KINDS, QUICK_TRACES)
def test_a_chunk_traces_each_rollout_once_and_returns_the_types_that_it_takes(
    name, weights, options
):
    """So the program of the first chunk is that of all: of its types weak ones are a part."""
    found = programs_of(name, weights, tuple(options.items()))
    types = lambda x: (x.shape, x.dtype, x.weak_type)  # noqa: E731
    assert jax.tree.map(types, found.chunk.out_info[0]) == jax.tree.map(types, found.start.out_info)
    rollouts = ROLLOUTS.get(name, 1)
    assert found.calls == {"step": rollouts, "apply": rollouts + LOSSES.get(name, 0)}


LAPACK = (
    *("cholesky", "eig", "eigh", "geqrf", "hessenberg", "householder_product", "lu", "qr"),
    *("schur", "svd", "triangular_solve", "tridiagonal"),
)
"""Its operations, by their names in JAX."""


@each(KINDS, QUICK_TRACES)
def test_lapack_gets_no_batch(name, weights, options):
    """On a CPU it hands one to the threads of XLA, all of which may wait: the run hangs."""
    own = programs_of(name, weights, tuple(options.items()))
    both = across_seeds(own.strategy, 2)
    started = jax.make_jaxpr(functools.partial(loop.start, strategy=both))(keys_of((0, 1)))
    programs = [own.start.jaxpr, started, own.chunk.jaxpr]
    found = [
        (equation.primitive.name, equation.invars[0].aval.ndim)
        for program in programs
        for equation in equations(program.jaxpr)
        if equation.primitive.name in LAPACK
    ]
    assert all(ndim == 2 for _, ndim in found), found
    assert bool(found) == (name in GRADIENTS), "their critics begin orthogonal"


@each(RUN, QUICK_RUNS)
def test_a_run_traces_each_of_its_rollouts_once(name, weights, options, tmp_path):
    """Whatever the chunks, in a second run, and after a checkpoint."""
    strategy, evaluation, calls = counted_strategy(name, weights, options)
    train = functools.partial(loop.train, strategy, evaluation=evaluation)
    before = loop.advance._cache_size()
    for chunk_size in (3, 0):
        state = evaluation.begun(strategy, loop.start(jax.random.key(0), strategy))
        for chunk in train(state, 8, chunk_size, stop_every=(5,)):
            state = chunk.state
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
        restored = checkpoints.restore(state)
    list(train(restored, 12))
    assert calls == {"step": 2, "apply": 2 + LOSSES.get(name, 0)}
    assert loop.advance._cache_size() == before + 1


# --- compiled programs are kept ---------------------------------------------------------------


@pytest.fixture
def default_cache(tmp_path, monkeypatch):
    """Leave JAX as if nobody had told it of a cache; return where programs should be kept."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    compilation_cache.disable_compilation_cache()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path / "ternevo" / "jax"
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


NUMBERS = itertools.count()


def compile_something(folder):
    """Compile a program that is in no cache; return how many files are in a folder then."""
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    number = next(NUMBERS)
    jax.jit(lambda x: x + number)(jnp.zeros(()))
    return len(list(folder.glob("*"))) if folder.exists() else 0


def build(tmp_path, *arguments):
    return build_setup(parse([*PROBE, "--runs_dir", str(tmp_path / "runs"), *arguments]))


@pytest.mark.wide  # rollouts are counted above
@pytest.mark.parametrize("num_seeds", ["1", "2"])
def test_final_policies_are_evaluated_by_the_program_of_the_evaluations_in_training(
    num_seeds, default_cache, tmp_path
):
    setup = build(tmp_path, "--num_seeds", num_seeds)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    with devices.on_all_devices():
        state = loop.start(keys_of(setup.config.seeds), setup.strategy)
        state = setup.evaluation.begun(setup.strategy, state)
        setup.evaluation.compile(setup.strategy, state)
        for seed in (0, 5):
            one = setup._replace(config=dataclasses.replace(setup.config, seed=seed))
            for folder in one.seed_folders.values():
                folder.path.mkdir(parents=True, exist_ok=True)
            policies.save(one, policies.policies_of(one, state), 0)
    for seed in (0, 5):
        one = setup._replace(config=dataclasses.replace(setup.config, seed=seed))
        found = results.final_evaluations(one)
        assert [row["policy"]["episodes"] for row in found] == [128] * int(num_seeds)
    assert setup.evaluation._test._cache_size() == 1
    assert len(list(default_cache.glob("jit__test_all-*-cache"))) == 1


def test_compiled_programs_are_kept_by_default(default_cache, tmp_path):
    build(tmp_path)
    assert compile_something(default_cache) > 0
    assert jax.config.jax_compilation_cache_dir == str(default_cache)


def test_the_cache_can_be_switched_off_and_on_in_one_process(default_cache, tmp_path):
    build(tmp_path, "--name", "with")
    count = compile_something(default_cache)
    build(tmp_path, "--name", "without", "--compilation_cache", "False")
    assert compile_something(default_cache) == count
    build(tmp_path, "--name", "with again")
    assert compile_something(default_cache) > count


def test_a_cache_that_jax_was_told_of_wins_over_the_default(default_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "variable"))
    build(tmp_path, "--name", "variable")
    assert compile_something(tmp_path / "variable") > 0
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "config"))
    build(tmp_path, "--name", "config")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "config")
    assert not default_cache.exists()


def test_switching_off_wins_over_everything(default_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "variable"))
    build(tmp_path, "--compilation_cache", "False")
    assert compile_something(tmp_path / "variable") == compile_something(default_cache) == 0


def test_cache_and_profile_may_change_on_resume(default_cache, tmp_path):
    before = build(tmp_path)
    folder = claims.create(before.config, before.env.id)
    folder.metrics.write_text('{"generation": 1}\n')  # it has begun
    watched = ("--compilation_cache", "False", "--profile", str(tmp_path / "profile"))
    after = build(tmp_path, "--resume", *watched)
    assert claims.create(after.config, after.env.id) == before.folder


# --- the first line ---------------------------------------------------------------------------

HEAVY = (
    *("jax", "jaxlib", "numpy", "scipy", "flax", "optax", "chex", "orbax", "evosax", "jaxtyping"),
    *("gymnax", "brax", "mujoco", "matplotlib", "PIL", "wandb", "tensorboardX"),
)
UNTIL_HEAVY = f"""
import os, runpy, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            # Past Python's buffers: what was printed before and not flushed is lost.
            os.write(1, f"imports {{name}}".encode())
            os._exit(9)
sys.meta_path.insert(0, Stop())
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def until_heavy(*arguments):
    """Run a module until its first heavy import; return the exit status and what it printed."""
    command = [sys.executable, "-c", UNTIL_HEAVY, *arguments]
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    result = subprocess.run(command, capture_output=True, text=True, env=buffered)
    assert not result.stderr
    return result.returncode, result.stdout


@pytest.mark.parametrize("module", ["run", "play", "export", "runs", "report", "sweep"])
def test_help_imports_nothing_heavy(module):
    status, printed = until_heavy(f"ternevo.{module}", "--help")
    assert (status, printed.split()[0]) == (0, "usage:"), printed


def test_the_first_line_comes_before_anything_heavy(tmp_path):
    status, printed = until_heavy("ternevo.run", *PROBE, "--runs_dir", str(tmp_path))
    first, last = printed.splitlines()
    folder = tmp_path / "probe/random_length/ternary_nes/seed0"
    assert first == f"ternevo: ternary_nes on probe/random_length, seed 0: {folder}"
    assert (status, last.split()[0]) == (9, "imports")
