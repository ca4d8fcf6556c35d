"""A saved policy is where a run starts: its very weights, and its very quantiser."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import GRADIENTS, PUSHING, SMALL as OF_LEARNERS
from marks import wide
from policies_of_strategies import mlp_for, world_for

from ternevo import envs, run
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import tvp
from ternevo.policies import policy_file
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP
from ternevo.settings.policies.settings import Ternarizer
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import warm_start
from ternevo.training import session
from ternevo.training.checkpoint import Checkpoints
from ternevo.training.setup import build
from ternevo.types import Env, ObservationMoments, PolicyParams, Strategy, Tensor

SMALL = {"population_size": 8}
TABULAR = ("pbil", "cem", "compact_ga", "asng", "trust_region")
TABLE = [
    *(("ternary_nes", "ternary", {**SMALL, "distribution": d}) for d in ("threshold", "logits")),
    *(("ternary_nes", "ternary", {**SMALL, "distribution": d}) for d in ("mean", "sharp")),
    ("ternary_nes", "binary", SMALL),
    ("ternary_nes", "float", SMALL),
    ("binary_nes", "binary", SMALL),
    *((name, kind, SMALL) for name in TABULAR for kind in ("ternary", "binary")),
    ("pbil", "float", SMALL),
    ("cem", "float", SMALL),
    ("compact_ga", "float", SMALL),
    ("vote", "ternary", SMALL),
    ("vote", "binary", SMALL),
    ("cosyne", "ternary", SMALL),
    ("cosyne", "float", SMALL),
    ("neat", "ternary", SMALL),
    ("neat", "float", SMALL),
    ("one_plus_lambda", "ternary", SMALL),
    ("one_plus_lambda", "binary", SMALL),
    ("deep_ga", "ternary", SMALL),
    ("deep_ga", "float", SMALL),
    ("map_elites", "ternary", {**SMALL, "grid": (4,)}),
    ("poet", "ternary", {**SMALL, "niches": 2}),
    ("ternary_ga", "ternary", SMALL),
    ("ternary_ga", "binary", SMALL),
    ("random_search", "ternary", SMALL),
    ("random_search", "float", SMALL),
    ("latent", "ternary", SMALL),
    ("latent", "ternary", {**SMALL, "ternarizer": "twn"}),
    ("evosax", "binary", {**SMALL, "algorithm": "CMA_ES"}),
    ("evosax", "float", {**SMALL, "algorithm": "Sep_CMA_ES"}),
    ("evosax", "ternary", {**SMALL, "algorithm": "SimpleGA"}),
    ("evosax", "float", {**SMALL, "algorithm": "DifferentialEvolution"}),
    *(("ppo", kind, OF_LEARNERS["ppo"]) for kind in ("ternary", "binary", "float")),
    *((name, kind, OF_LEARNERS[name]) for name in ("dqn", "sac") for kind in ("ternary", "float")),
    ("td3", "ternary", OF_LEARNERS["td3"]),
    ("td3", "ternary", {**OF_LEARNERS["td3"], "ternarizer": "twn"}),
    ("ddpg", "binary", OF_LEARNERS["ddpg"]),
    ("erl", "ternary", OF_LEARNERS["erl"]),
]
SLOW = [
    *(row for row in TABLE if row[0] in ("td3", "ddpg")),  # as SAC
    *(row for row in TABLE if row[0] in ("dqn", "sac", "neat") and row[1] == "float"),
    ("ppo", "binary", OF_LEARNERS["ppo"]),
    *(row for row in TABLE if row[2].get("distribution") == "logits" or "ternarizer" in row[2]),
    *(("ternary_nes", "binary", SMALL), ("evosax", "binary", {**SMALL, "algorithm": "CMA_ES"})),
]
"""Dear rows that run what a row of another name, or of the same name and other weights, runs."""
CUTTING: tuple[Ternarizer, ...] = ("absmean", "twn")
ENV = envs.make("gymnax/CartPole-v1", 20)
PUSHED = envs.make("probe/double_integrator")
MOMENTS = ObservationMoments(
    jnp.full(4, 100.0), jnp.asarray([0.5, -1.0, 3.0, 0.0]), jnp.asarray([0.1, 1.7, 30.0, 0.03])
)


def test_the_table_names_every_strategy():
    assert {STRATEGIES[name] for name, _, _ in TABLE} == set(STRATEGIES.values())


def drawn(kind: str, env: Env = ENV, name: str = "") -> PolicyParams:
    """Return a policy all of whose tensors, biases too, are drawn; a new policy's are zero."""
    policy = mlp_for(name, (6,), weights=kind).build(env.obs, env.action)
    params = policy.init(jax.random.key(0))
    moments = jax.tree.map(lambda x: x[: env.obs.size], MOMENTS)
    tensors = [
        # None is zero altogether: the scale of such a tensor means nothing.
        t._replace(values=kind_of(kind).draw(jax.random.key(i), t.values.shape).at[0].set(1))
        for i, t in enumerate(ternary.tensors(params))
    ]
    return PolicyParams(ternary.replace_tensors(params, tensors), moments)


def saved(path, kind: str, info=None, env: Env = ENV, name: str = ""):
    """Write such a policy; return its path."""
    settings, own = mlp_for(name, (6,), weights=kind), "graph" if name == "neat" else "mlp"
    policy_file.save(path, env, own, settings, drawn(kind, env, name), info)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    wide(
        [
            pytest.param(
                *row,
                id="-".join(
                    [*row[:2], *map(str, [] if row[0] in GRADIENTS else list(row[2].values())[1:])]
                ),
                marks=[pytest.mark.slow] * (row in SLOW),
            )
            for row in TABLE
        ],
        keep=(
            "ternary_nes-ternary-threshold",
            "ternary_ga-ternary",
            "latent-ternary",
            "ppo-ternary",
        ),
    ),
)
def test_a_strategy_ships_the_saved_policy_before_its_first_generation(
    name, kind, settings, tmp_path
):
    env = world_for(name, PUSHED if name in PUSHING else ENV)
    policy = mlp_for(name, (6,), weights=kind).build(env.obs, env.action)
    path = saved(tmp_path / "p.tvp", kind, env=env, name=name)
    begin = warm_start.load(path, env, policy, kind)
    first = warm_start.start_from(policy, begin.params.weights)
    strategy = STRATEGIES[name].of(**settings).build(env, first, kind, 10)
    strategy = warm_start.with_moments(strategy, begin.params.moments)
    shipped = strategy.params(jax.jit(strategy.init)(jax.random.key(3)))
    original = policy_file.load(tmp_path / "p.tvp")
    chex.assert_trees_all_equal(shipped.weights, original.weights, strict=True)
    for a, b in zip(observation.freeze(shipped.moments), original.quantiser, strict=True):
        np.testing.assert_array_equal(a, b)
    warm_start.check_starts(shipped, begin)


def levels(weights) -> list[np.ndarray]:
    """Return what tensors stand for, as floats."""
    return [np.ldexp(np.float64(t.values), -int(t.exponent)) for t in ternary.tensors(weights)]


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_discrete_weights_as_floats_stand_for_the_same_numbers(kind):
    weights = drawn(kind).weights
    floats = warm_start.convert(weights, "float")
    for tensor, level in zip(ternary.tensors(floats), levels(weights), strict=True):
        assert tensor.values.dtype == jnp.float32 and int(tensor.exponent) == 0
        np.testing.assert_array_equal(tensor.values, level)


@pytest.mark.parametrize("kind", ["ternary", "binary"])
def test_floats_are_cut_as_latents_are(kind):
    weights = drawn("float").weights
    cut = [kind_of(kind).discretize(t.values) for t in ternary.tensors(weights)]
    expected = ternary.replace_tensors(weights, cut)
    chex.assert_trees_all_equal(warm_start.convert(weights, kind), expected, strict=True)


@pytest.mark.parametrize(
    ("kind", "wanted"), [("binary", "ternary"), ("ternary", "ternary"), ("float", "float")]
)
def test_what_is_of_the_kind_already_stays(kind, wanted):
    weights = drawn(kind).weights
    chex.assert_trees_all_equal(warm_start.convert(weights, wanted), weights, strict=True)


def load(path, kind="ternary", env=ENV, **settings):
    policy = MLP(**{"hidden_sizes": (6,), "weights": kind, **settings})
    return warm_start.load(path, env, policy.build(env.obs, env.action), kind)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"kind": "binary"}, ["zeros", "-1 or +1"]),
        ({"env": envs.make("gymnax/Pendulum-v1")}, ["4 obs", "2 discrete", "3 obs", "1 continu"]),
        ({"hidden_sizes": (7,)}, ["0/weight [4, 6]", "0/weight [4, 7]", "--hidden_sizes"]),
        ({"use_bias": False}, ["0/bias [6]", "--use_bias"]),
    ],
    ids=["zeros", "environment", "hidden_sizes", "use_bias"],
)
def test_what_does_not_fit_is_named_with_both_sides(arguments, parts, tmp_path):
    path = saved(tmp_path / "p.tvp", "ternary")
    with pytest.raises(ValueError) as error:
        load(path, **arguments)
    for part in [*parts, str(path)]:
        assert part in str(error.value)


def test_moments_need_a_field_for_them():
    strategy = Strategy(lambda key: (key,), lambda key, state: (state, {}), lambda state: state)
    with pytest.raises(ValueError, match="a tuple, has no field 'moments'"):
        warm_start.with_moments(strategy, MOMENTS).init(jax.random.key(0))


def test_a_strategy_that_starts_elsewhere_is_refused(tmp_path):
    begin = load(saved(tmp_path / "p.tvp", "ternary"))
    other = ternary.tensors(begin.params.weights)
    other[0] = other[0]._replace(exponent=other[0].exponent + 1)
    found = begin.params._replace(weights=ternary.replace_tensors(begin.params.weights, other))
    with pytest.raises(ValueError, match="the exponent of 0/"):
        warm_start.check_starts(found, begin)


def test_the_scale_of_zeros_means_nothing(tmp_path):
    begin = load(saved(tmp_path / "p.tvp", "ternary"))
    tensors = ternary.tensors(begin.params.weights)

    def with_first(exponent):
        zeros = Tensor(jnp.zeros_like(tensors[0].values), jnp.asarray(exponent, jnp.int8))
        weights = ternary.replace_tensors(begin.params.weights, [zeros, *tensors[1:]])
        return begin.params._replace(weights=weights)

    warm_start.check_starts(with_first(2), begin._replace(params=with_first(5)))


@pytest.mark.parametrize("ternarizer", ["absmean", "twn"])
def test_a_start_from_floats_is_cut_as_the_strategy_cuts(ternarizer, tmp_path):
    path = saved(tmp_path / "p.tvp", "float")
    words = ["--env", "gymnax/CartPole-v1", "--hidden_sizes", "(6,)", "--strategy", "ppo"]
    words += ["--ternarizer", ternarizer, "--init_from", str(path), "--runs_dir", str(tmp_path)]
    begin = build(parse([*words, "--weights", "ternary"])).start
    assert begin is not None
    found = ternary.tensors(begin.params.weights)
    floats = [t.values for t in ternary.tensors(drawn("float").weights)]
    cuts = {name: [kind_of("ternary", name).discretize(x) for x in floats] for name in CUTTING}
    chex.assert_trees_all_equal(found, cuts[ternarizer], strict=True)
    first, second = cuts.values()
    assert not all(np.array_equal(a.values, b.values) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["dqn", "latent"])
def test_a_ternarizer_needs_trits(name, tmp_path):
    words = ["--env", "gymnax/CartPole-v1", "--strategy", name, "--weights", "float"]
    config = parse([*words, "--ternarizer", "ttq", "--runs_dir", str(tmp_path)])
    with pytest.raises(
        ValueError, match="--ternarizer ttq needs --weights ternary, got --weights f"
    ):
        build(config)


# --- the command line -------------------------------------------------------------------------

RUN = [
    *("--env", "gymnax/CartPole-v1", "--episode_length", "20", "--hidden_sizes", "(6,)"),
    *("--population_size", "8", "--num_eval_episodes", "2", "--num_final_episodes", "2"),
    *("--render", "False", "--strategy", "cem"),
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that started from a policy which is gone now: its arguments, and its folder."""
    root = tmp_path_factory.mktemp("start")
    path = saved(root / "p.tvp", "ternary", info={"strategy": "ppo", "return": 9.5})
    arguments = [*RUN, "--runs_dir", str(root / "runs")]
    run.main([*arguments, "--num_generations", "1", "--init_from", str(path)])
    path.unlink()
    (folder,) = root.rglob("seed0")
    return arguments, folder, path


@pytest.mark.wide  # a run that goes on; others start above
def test_a_run_keeps_the_policy_that_it_started_from(begun, capsys):
    arguments, folder, path = begun
    kept = policy_file.load(folder / "start.tvp")
    chex.assert_trees_all_equal(kept.weights, drawn("ternary").weights, strict=True)
    assert jnp.all(policy_file.load(folder / "policy.tvp").moments.count > MOMENTS.count)
    run.main([*arguments, "--num_generations", "2", "--init_from", str(path), "--resume"])
    printed = capsys.readouterr().out
    assert "resumed after generation 1" in printed and "starting" not in printed


@pytest.mark.wide  # a run that goes on; others start above
def test_where_a_run_started_is_not_changed_on_resume(begun, capsys):
    arguments, _, path = begun
    with pytest.raises(SystemExit):
        run.main([*arguments, "--num_generations", "2", "--resume"])
    assert f"init_from: '{path}' then, None now" in capsys.readouterr().err


@pytest.mark.wide  # a run that goes on; others start above
def test_a_runs_folder_stands_for_its_best_policy_which_says_its_return(begun, tmp_path):
    _, folder, _ = begun
    config = parse([*RUN, "--runs_dir", str(tmp_path), "--init_from", str(folder)])
    best = folder / "best_policy.tvp"
    info = policy_file.load(best).info
    said = f"{best} (generation {info['generation']}, return {info['return']:.1f}, seed 0, "
    said += "strategy cem)"
    assert str(build(config).start) == said


def test_a_run_says_where_it_starts(tmp_path, capsys):
    path = saved(tmp_path / "p.tvp", "ternary", info={"strategy": "ppo", "return": 9.5})
    setup = build(parse([*RUN, "--runs_dir", str(tmp_path), "--init_from", str(path)]))
    with Checkpoints(setup.folder.checkpoints) as checkpoints:
        session.start_or_restore(setup, checkpoints)
    assert f"starting from {path} (return 9.5, strategy ppo)" in capsys.readouterr().out


def test_a_policy_for_a_device_is_no_start(tmp_path):
    """It does not say how many observations its quantiser rests on."""
    path = saved(tmp_path / "p.tvp", "ternary")
    path.write_bytes(tvp.encode(policy_file.load(path).record.bare()))
    with pytest.raises(ValueError, match="has no moments of observations"):
        warm_start.load(path, ENV, MLP((6,)).build(ENV.obs, ENV.action), "ternary")


def test_a_start_that_is_not_there_takes_no_name(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run.main([*RUN, "--runs_dir", str(tmp_path), "--init_from", str(tmp_path / "nowhere.tvp")])
    assert exit_.value.code == 2
    assert "nowhere.tvp" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
