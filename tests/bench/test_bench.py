"""The bench: its table of cases, its arithmetic, and tiny cases. No test looks at a time."""

import dataclasses
import json
import re
import shutil
import statistics
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_inputs import inputs
from policy_records import make_record

from ternevo import envs
from ternevo.bench import (
    __main__ as bench,
    cases,
    contest,
    deploy,
    evaluation,
    fresh,
    loop,
    measure,
    ppo,
    reference_ppo,
    report,
    rivals,
    running,
    yardstick,
)
from ternevo.bench.cases import CASES, SUITES, Comparison
from ternevo.bench.config import BenchConfig
from ternevo.bench.contest import CaseError, Contest, Contestant
from ternevo.deploy import c_header
from ternevo.deploy.record import Layer
from ternevo.settings.policies import MLP

KINDS = ("time", "rate", "share", "memory", "bandwidth", "evaluations", "speed")

WANTED = {  # what the bench is there to show: (case, rival, kind) and the goal
    **{
        (name, "rejax", "rate"): 1.5 for name in ("dqn_cartpole", "sac_pendulum", "sac_pendulum_50")
    },
    ("outside_halfcheetah", "mujoco.rollout", "rate"): 0.8,
    ("cartpole_c", "C", "rate"): 0.25,
    ("neat_xor", "neat-python", "time"): 100.0,
    ("neat_double_pole", "neat-python", "rate"): 100.0,
    ("neat_1000", "ternevo", "speed"): 1000.0,
    ("cartpole_random", "evosax", "time"): 4.0,
    ("cartpole_random", "evosax", "memory"): 10.0,
    ("cartpole_trained", "evosax", "time"): 1.5,
    ("cartpole_trained", "evosax", "memory"): 10.0,
    ("hopper_random", "evosax", "time"): 4.0,
    ("ant_random", "evosax", "time"): 1.2,
    ("ant_random", "physics", "rate"): 0.9,
    ("policy_bound", "float twin", "time"): 3.0,
    ("loop_overhead", "all but episodes", "share"): 0.05,
    ("deploy_binary", "C", "speed"): 10e6,
    ("deploy_cartpole", "C", "speed"): 50e6,
    ("deploy_cartpole", "Python call", "speed"): 5e6,
    ("deploy_cartpole_int8", "C", "speed"): 50e6,
    ("deploy_cartpole_int8", "Python call", "speed"): 5e6,
    ("deploy_ant", "C", "speed"): 50e6,
    ("deploy_ant", "C avx2", "speed"): 15e6,
    ("deploy_ant", "C portable", "speed"): 3e6,
    ("deploy_humanoid", "C", "speed"): 1e6,
    ("deploy_minatar", "C avx2", "speed"): 1e6,
    ("deploy_minatar_int8", "C avx2", "speed"): 1e6,
}


class Setting:
    """A case of contestants that are made up."""

    def __init__(self, *contestants):
        self.contestants = list(contestants)

    def build(self):
        return Contest(self.contestants, {"weights": 7})


def in_process(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ternevo.bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def recorded(name: str, seconds, **known):
    return measure.record(Contestant(name, lambda: None, **known), seconds)


# --------------------------------------------------------------------------- the table of cases


@pytest.mark.parametrize("name", CASES)
def test_case_is_in_known_suites_and_compares_in_known_ways(name):
    case = CASES[name]
    assert case.suites and set(case.suites) <= set(SUITES) - {"all"}
    assert case.description and "\n" not in case.description
    assert {comparison.kind for comparison in case.comparisons} <= set(KINDS)
    keys = [(comparison.rival, comparison.kind) for comparison in case.comparisons]
    assert len(keys) == len(set(keys))


def test_goals_are_those_that_were_set():
    found = {
        (name, comparison.rival, comparison.kind): comparison.goal
        for name, case in CASES.items()
        for comparison in case.comparisons
        if comparison.goal is not None
    }
    assert found == WANTED


def test_environments_exist_with_the_names_that_evosax_knows():
    settings = [case.setting for case in CASES.values() if hasattr(case.setting, "env")]
    for env_id, limit in {setting.env: setting.episode_length for setting in settings}.items():
        assert envs.make(env_id, limit).id == env_id


@pytest.mark.parametrize("suite", SUITES)
def test_suite_has_cases(suite):
    names = cases.chosen(suite, [])
    assert names
    assert suite == "all" or all(suite in CASES[name].suites for name in names)


def test_named_cases_replace_the_suite():
    assert cases.chosen("gpu", ["memory_quick", "cartpole_quick", "memory_quick"]) == [
        "memory_quick",
        "cartpole_quick",
    ]


# ------------------------------------------------------------------------------ the command line


def test_help_and_list_answer_without_jax():
    code = (
        "import sys; from ternevo.bench.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as exit: assert not exit.code, exit.code\n"
        "assert 'jax' not in sys.modules"
    )
    for argument, expected in (("--help", "--suite"), ("--list", "cartpole_trained")):
        command = [sys.executable, "-c", code, argument]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout


def test_help_names_every_suite(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    said = re.search(r"Suite of cases to run: (.*?)\.", capsys.readouterr().out, re.DOTALL)[1]
    assert re.findall(r"\w+", said.replace(" or ", " ")) == list(SUITES)


def test_list_is_that_of_the_suite(capsys):
    bench.main(["--list", "--suite", "gpu"])
    listed = capsys.readouterr().out
    assert "scaling_breakout_17 (gpu)" in listed
    assert "memory (cpu)" not in listed


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(["--case", "cartpole_randm"], "'cartpole_random'"), (["--suite", "cpus"], "'cpu'")],
)
def test_unknown_name_is_refused_with_what_is_near(arguments, near):
    result = in_process(*arguments)
    assert result.returncode == 2
    assert near in result.stderr


def test_no_repeats_are_refused():
    result = in_process("--repeats", "0")
    assert result.returncode == 2
    assert "repeats must be at least 1" in result.stderr


# --------------------------------------------------------------------------------- the arithmetic


def test_ratio_of_times_and_its_spread():
    ours, other = recorded("ours", [1.0, 2.0, 4.0]), recorded("other", [6.0, 6.0, 8.0])
    # medians 2 and 6; the pairs are 6, 3 and 2
    assert measure.ratio(ours, other, "time") == {"median": 3.0, "low": 2.0, "high": 6.0}


def test_ratio_of_rates_counts_the_steps_of_each():
    ours = recorded("ours", [2.0, 2.0], env_steps=100)
    other = recorded("other", [4.0, 8.0], env_steps=400)
    # 50 steps a second, beside 100 and 50; the median of 4 and 8 seconds is 6
    expected = {"median": 50 / (400 / 6), "low": 0.5, "high": 1.0}
    assert measure.ratio(ours, other, "rate") == pytest.approx(expected)


def test_ratio_of_memory_and_share_of_bandwidth():
    ours = recorded("ours", [2.0], peak_bytes=10, bytes_read=100)
    other = recorded("other", [1.0], peak_bytes=40, bytes_read=200)
    assert measure.ratio(ours, other, "memory") == {"median": 4.0, "low": 4.0, "high": 4.0}
    assert measure.ratio(ours, other, "bandwidth") == pytest.approx(
        {"median": 0.25, "low": 0.25, "high": 0.25}
    )


def test_speed_is_that_of_the_one_who_is_named():
    """It has no rival; evaluations a second of both make a ratio."""
    ours = recorded("ours", [2.0], evaluations=100)
    other = recorded("other", [1.0, 4.0, 2.0], evaluations=20)
    assert measure.ratio(ours, other, "speed") == {"median": 10.0, "low": 5.0, "high": 20.0}
    assert measure.ratio(ours, ours, "evaluations") == {"median": 1.0, "low": 1.0, "high": 1.0}
    one = recorded("other", [1.0], evaluations=20)
    assert measure.ratio(ours, one, "evaluations")["median"] == 2.5


def test_a_way_that_computes_something_else_is_no_contestant(monkeypatch):
    setting = cases.Deployed((3, 4, 2), "sign", "discrete", 2**12)
    monkeypatch.setattr(deploy, "_numpy_batch", lambda *_: (lambda: np.full(4096, 7), 4096))
    with pytest.raises(CaseError, match="NumPy batch does not give the actions of the reference"):
        deploy.build(setting)


@pytest.mark.parametrize("kind", KINDS)
def test_ratio_of_what_is_not_known_is_none(kind):
    known = recorded("ours", [1.0], env_steps=1, peak_bytes=1, bytes_read=1)
    assert measure.ratio(known, recorded("other", []), kind) is None


def test_rates_are_those_of_the_median_time():
    record = recorded("ours", [1.0, 4.0, 2.0], env_steps=10, generations=1, bytes_read=6)
    assert record["median_seconds"] == 2.0
    assert record["env_steps_per_second"] == 5.0
    assert record["generations_per_second"] == 0.5
    assert record["bytes_per_second"] == 3.0


@pytest.mark.parametrize(
    ("kind", "median", "expected"),
    [("time", 4.0, True), ("time", 3.9, False), ("share", 0.05, True), ("share", 0.06, False)],
)
def test_a_share_should_be_small_and_the_rest_large(kind, median, expected):
    goal = 0.05 if kind == "share" else 4.0
    assert measure.reached(Comparison("other", kind, goal), {"median": median}) is expected
    assert measure.reached(Comparison("other", kind), {"median": median}) is None


def test_contestants_run_in_turns():
    calls = []
    contestants = [
        Contestant("a", lambda: calls.append("a")),
        Contestant("b", lambda: calls.append("b")),
    ]
    seconds = measure.rounds(contestants, 4, max_seconds=1e9)
    assert "".join(calls) == "abababab"
    assert [len(times) for times in seconds] == [4, 4]


def test_a_slow_case_runs_three_rounds():
    contestants = [Contestant("a", lambda: None)]
    assert len(measure.rounds(contestants, 9, max_seconds=0.0)[0]) == measure.MIN_ROUNDS
    assert len(measure.rounds(contestants, 2, max_seconds=0.0)[0]) == 2


def test_who_is_skipped_is_told_of_and_not_run():
    def fail():
        raise AssertionError

    setting = Setting(
        Contestant("ternevo", lambda: None, peak_bytes=2),
        Contestant("evosax", fail, peak_bytes=6, skipped="too large"),
    )
    comparisons = (Comparison("evosax", "time", 4.0), Comparison("evosax", "memory", 10.0))
    record = measure.run_case(cases.Case("", ("cpu",), setting, comparisons), 1, 1.0)
    assert record["contestants"][1]["seconds"] == []
    assert [ratio["kind"] for ratio in record["ratios"]] == ["memory"]
    assert record["ratios"][0]["median"] == 3.0
    assert record["ratios"][0]["reached"] is False
    assert "not timed: too large" in report.contestants_text(record)


def test_a_program_larger_than_the_memory_is_skipped(monkeypatch):
    monkeypatch.setattr(measure, "available_bytes", lambda: 1000)
    function, rows = jax.jit(jnp.sin), jnp.ones(1000)
    contestant = measure.compiled("large", function, rows, run=lambda: function(rows))
    assert contestant.peak_bytes >= 8000  # argument and result
    assert "8 kB" in contestant.skipped


def test_everybody_runs_once_before_the_first_round():
    calls = []
    contestants = [Contestant(name, lambda name=name: calls.append(name)) for name in "ab"]
    measure.run_case(cases.Case("", ("cpu",), Setting(*contestants), ()), 2, 1.0)
    assert "".join(calls) == "ab" + "abab"


def test_who_runs_out_of_memory_is_not_timed():
    def exhaust():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    def fail():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    assert measure.warmed_up(Contestant("a", exhaust)).skipped == "ran out of memory"
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        measure.warmed_up(Contestant("a", fail))


@pytest.mark.parametrize(
    ("count", "words"),
    [(None, "unknown memory"), (999, "999 B"), (1000, "1 kB"), (2_340_000, "2.34 MB")],
)
def test_bytes_in_words(count, words):
    assert measure.in_bytes(count) == words


# ------------------------------------------------------------------------------------- tiny cases


SOME = ("cartpole_quick", "deploy_quick", "deploy_conv_quick")
"""What is run by default: the others compile a generation or more for each contestant."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(list(SOME), id="some"),
        pytest.param(cases.chosen("quick", []), id="quick", marks=pytest.mark.slow),
    ],
)
def result(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    config = BenchConfig(repeats=2, out=out)
    running.run(config, request.param, ["python", "-m", "ternevo.bench", "--suite", "quick"])
    found = json.loads((out / "bench.json").read_text())
    assert list(found["cases"]) == request.param
    return out, found


def test_file_says_where_numbers_come_from(result):
    out, found = result
    assert found["command"][-1] == "quick"
    assert found["versions"].keys() >= {"python", "jax", "jaxlib", "evosax", "gymnax", "brax"}
    assert found["device"].keys() == {"kind", "platform", "count"}
    assert found["machine"].keys() == {"system", "processor", "cores", "memory_bytes"}
    assert found["date"].endswith("+00:00")
    assert "commit" in found
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_every_quick_case_has_its_ratios(result):
    _, found = result
    for name, record in found["cases"].items():
        ratios = [(ratio["rival"], ratio["kind"]) for ratio in record["ratios"]]
        skipped = {c["name"] for c in record["contestants"] if c["skipped"]}
        wanted = [(c.rival, c.kind) for c in CASES[name].comparisons if c.rival not in skipped]
        assert ratios == wanted, name
        assert all(0 < r["low"] <= r["median"] <= r["high"] for r in record["ratios"])


def test_ratios_follow_from_the_times_beside_them(result):
    _, found = result
    ours, evosax, *_ = found["cases"]["cartpole_quick"]["contestants"]
    ratio, memory, *_ = found["cases"]["cartpole_quick"]["ratios"]
    assert [len(ours["seconds"]), len(evosax["seconds"])] == [2, 2]
    medians = [statistics.median(record["seconds"]) for record in (ours, evosax)]
    assert ratio["median"] == pytest.approx(medians[1] / medians[0])
    assert memory["median"] == pytest.approx(evosax["peak_bytes"] / ours["peak_bytes"])


def test_steps_that_count(result):
    """Ours are those of living episodes, evosax's and the limits' those of all."""
    _, found = result
    record = found["cases"]["cartpole_quick"]
    ours, evosax, physics, forward = record["contestants"]
    lanes = 16 * 2
    assert ours["env_steps"] == round(record["notes"]["mean_length"] * lanes)
    assert ours["env_steps"] < evosax["env_steps"] == lanes * 30
    longest = record["notes"]["longest_episode"]
    assert physics["env_steps"] == forward["env_steps"] == lanes * longest


def test_compile_time_and_memory_are_known(result):
    _, found = result
    timed = [
        contestant
        for name, record in found["cases"].items()
        for contestant in record["contestants"]
        if contestant["seconds"] and not name.startswith("deploy")
        if contestant["name"] not in ("C", "neat-python")  # not compiled by XLA
    ]
    assert timed
    assert all(c["compile_seconds"] > 0 and c["peak_bytes"] > 0 for c in timed)


def test_table_has_a_line_for_each_ratio(result):
    _, found = result
    lines = report.table(found["cases"]).split("\n")
    count = sum(len(record["ratios"]) for record in found["cases"].values())
    assert len(lines) == 1 + count
    assert lines[1].split()[:3] == ["cartpole_quick", "evosax", "time"]


def test_a_case_that_fails_leaves_the_others_alone(monkeypatch, tmp_path, capsys):
    class Failing:
        def build(self):
            raise contest.CaseError("it cannot be")

    good = cases.Case("good", ("cpu",), Setting(Contestant("ternevo", lambda: None)), ())
    monkeypatch.setitem(CASES, "bad", cases.Case("bad", ("cpu",), Failing(), ()))
    monkeypatch.setitem(CASES, "good", good)
    found = running.run(BenchConfig(repeats=1, out=tmp_path), ["bad", "good"], [])
    assert found["bad"]["error"] == "it cannot be"
    assert found["good"]["notes"] == {"weights": 7}
    assert "bad: it cannot be" in capsys.readouterr().out
    assert not (tmp_path / "bench.png").exists()


# ------------------------------------------------------------------------------------- contestants


def job_of(env_id: str, settings: MLP, population_size: int = 6, num_episodes: int = 2):
    setting = cases.Evaluation(env_id, 20, population_size, num_episodes)
    return evaluation._job(setting, settings)


def test_physics_goes_on_after_the_end_of_an_episode():
    """In countdown every step pays 1; afterlife pays 1 also after it has terminated."""
    for env_id in ("probe/countdown", "probe/afterlife"):
        contestant = rivals.physics(job_of(env_id, MLP(hidden_sizes=(4,))), 7)
        _, rewards = contestant.run()
        np.testing.assert_array_equal(np.ravel(rewards), np.full(12, 7.0))
        assert contestant.env_steps == 6 * 2 * 7


def test_forward_adds_up_what_apply_returns():
    job = job_of("probe/double_integrator", MLP(hidden_sizes=(4,)), 3)
    outputs = np.asarray(rivals.forward(job, 3).run()).reshape(3, 2, 1)
    shape = (rivals._members_at_once(job), 2, 2)
    obs = jax.random.randint(jax.random.key(0), shape, -127, 128).astype(jnp.float32)
    for member in range(3):
        weights = jax.tree.map(lambda x, member=member: x[member], job.weights)
        for episode in range(2):
            seen = obs[member % len(obs), episode]
            shown = [sign * seen for sign in (-1, 1, -1)]
            expected = sum(job.policy.apply(weights, (), inputs(x))[1] for x in shown)
            np.testing.assert_allclose(outputs[member, episode], expected, rtol=1e-6)


def test_evosax_gets_the_same_sizes_and_runs_to_the_last_step():
    setting = cases.Evaluation("gymnax/CartPole-v1", 9, 5, 3, (8, 4))
    env = envs.make(setting.env, setting.episode_length)
    problem = rivals.evosax_problem(setting, env.action)
    assert problem.num_rollouts == 3
    assert problem.episode_length == 9
    assert list(problem.policy.module.layer_sizes) == [8, 4, 2]
    fitness, _, metrics = rivals.evosax(setting, env.action).run()
    assert fitness.shape == (5,)
    obs, _ = metrics["env_states"]
    assert obs.shape == (5, 3, 9, 4)


@pytest.mark.wide  # of other observations above
def test_evosax_sees_a_picture_as_we_do():
    setting = cases.Evaluation("gymnax/Breakout-MinAtar", 4, 3, 1, (8,))
    env = envs.make(setting.env, setting.episode_length)
    problem = rivals.evosax_problem(setting, env.action)
    params = problem.sample(jax.random.key(0))
    assert params["params"]["Dense_0"]["kernel"].shape == (env.obs.size, 8)
    fitness, _, _ = rivals.evosax(setting, env.action).run()
    assert fitness.shape == (3,)


def test_evosax_has_no_problem_for_a_probe():
    setting = cases.Evaluation("probe/target", 1, 2)
    with pytest.raises(contest.CaseError, match="probe/target"):
        rivals.evosax_problem(setting, envs.make(setting.env).action)


def test_without_episodes_the_first_step_is_the_last():
    env = loop.without_episodes(envs.make("gymnax/CartPole-v1", 20))
    state, _ = env.reset(jax.random.key(0), ())
    after, timestep = env.step(jax.random.key(1), state, jnp.int32(1))
    assert after is state and bool(timestep.terminated) and not float(timestep.reward)
    assert timestep.obs.shape == (4,)


@pytest.mark.slow
def test_the_loop_without_episodes_has_one_step_for_each():
    setting = cases.LoopOverhead("gymnax/CartPole-v1", 20, 8, (4,))
    env = envs.make(setting.env, setting.episode_length)
    contestant, _ = loop.generation("rest", loop.without_episodes(env), setting)
    assert contestant.env_steps == 8
    assert contestant.generations == 1


@pytest.mark.slow  # two processes, each with a generation to compile
def test_memory_is_that_of_a_process_of_its_own():
    contest = CASES["memory_quick"].setting.build()
    assert contest.notes["weights"] == 4 * 8 + 8 + 8 * 2 + 2
    assert all((contestant.peak_bytes or 0) > 10**7 for contestant in contest.contestants)


def test_memory_is_told_beside_that_of_two_members(monkeypatch):
    def run_fresh(setting):
        return {"weights": 58, "env_steps": 5, "peak_bytes": 1000 * setting.population_size}

    monkeypatch.setattr(fresh, "run_fresh", run_fresh)
    contest = CASES["memory_quick"].setting.build()
    assert contest.notes["population_int8_bytes"] == 64 * 58
    assert contest.notes["over_two_members_bytes"] == 62_000
    assert [contestant.peak_bytes for contestant in contest.contestants] == [64_000, 2000]


def test_a_process_that_ends_with_an_error_is_told_of(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CaseError, match="a generation of 64 members exited with status 1"):
        CASES["memory_quick"].setting.build()


def test_the_loop_in_c_plays_full_episodes_or_is_refused():
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    setting, lean = cases.Yardstick(6, 2, 30), np.int8([[-1] * 4, [1] * 4])

    def in_c(weights):
        """Push to where the pole leans and falls, or to the other side."""
        record = dataclasses.replace(
            make_record((4, 2)),
            mean=np.zeros(4, np.float32),
            exponent=np.array([5, 6, 8, 6], np.int8),
            layers=(Layer(weights, None, "ternary", "none", 0, 0),),
        )
        return yardstick._in_c(c_header.to_c(record), setting)

    contestant = in_c(lean)
    assert contestant.env_steps == contestant.run() == 6 * 2 * 30
    with pytest.raises(CaseError, match="the policy falls in C"):
        in_c(-lean)


def test_evosax_takes_a_generation_of_all_steps():
    setting = cases.LoopBesideEvosax("gymnax/CartPole-v1", 9, 6, (4,))
    contestant = loop.evosax(setting, envs.make(setting.env, setting.episode_length))
    told, _ = contestant.run()
    assert int(told.generation_counter) == 1
    assert contestant.env_steps == 6 * 9
    assert contestant.compile_seconds and contestant.peak_bytes


def test_a_policy_that_falls_is_not_called_trained(monkeypatch):
    monkeypatch.setattr(evaluation, "trained", evaluation_params)
    setting = cases.Evaluation("gymnax/CartPole-v1", 500, 4, is_trained=True)
    with pytest.raises(contest.CaseError, match="did not find a policy with full episodes"):
        setting.build()


def evaluation_params(env, policy):
    from ternevo.arithmetic import observation
    from ternevo.types import PolicyParams

    return PolicyParams(policy.init(jax.random.key(0)), observation.empty(env.obs.size))


# ----------------------------------------------------------------------------- the reference PPO


def ppo_setting(env: str = "gymnax/CartPole-v1", num_updates: int = 2, **settings):
    tiny = {"num_envs": 4, "num_minibatches": 2, "num_steps": 8, "hidden_sizes": (8,)}
    return cases.BesidePPO(env, 20, **(tiny | settings), num_updates=num_updates)


def reference_of(setting: cases.BesidePPO):
    env = reference_ppo.make_env(setting.env, setting.episode_length, setting.gamma)
    return reference_ppo.ReferencePPO(setting, env)


@pytest.mark.parametrize(
    "env", ["gymnax/CartPole-v1", pytest.param("brax/fast@spring", marks=pytest.mark.slow)]
)
def test_reference_takes_all_steps_and_learns_in_every_minibatch(env):
    setting = ppo_setting(env)
    learner = reference_of(setting)
    runner = jax.jit(learner.init)(jax.random.PRNGKey(0))
    after, log = jax.jit(learner.run)(runner)
    assert log["timestep"].shape == (2, 8, 4)
    assert log["timestep"][-1, -1].tolist() == [16] * 4
    assert int(after.train_state.step) == 2 * setting.num_epochs * setting.num_minibatches
    leaves = [jax.tree.leaves(r.train_state.params) for r in (runner, after)]
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in leaves[1])
    assert all(bool(jnp.any(a != b)) for a, b in zip(*leaves, strict=True))


def test_learning_rate_of_the_reference_falls_from_update_to_update():
    learner = reference_of(ppo_setting(num_updates=4, lr=1.0))
    rates = [learner.annealed_lr(count) for count in range(0, 32, 4)]
    assert rates == [1.0, 1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_advantages_of_the_reference_are_those_by_hand():
    rows = {"reward": [1.0, 2.0, 3.0], "value": [0.5, 1.0, 1.5], "done": [False, True, False]}
    arrays = {name: jnp.asarray(row)[:, None] for name, row in rows.items()}
    nothing = dict.fromkeys(("action", "log_prob", "obs", "info"), jnp.zeros((3, 1)))
    batch = reference_ppo.Transition(**arrays, **nothing)
    found = reference_ppo.generalised_advantages(batch, jnp.asarray([2.0]), 0.5, 0.8)
    last = 3 + 0.5 * 2 - 1.5
    middle = 2 - 1.0  # the episode ends here: neither a value nor an advantage comes after it
    first = (1 + 0.5 * 1.0 - 0.5) + 0.5 * 0.8 * middle
    np.testing.assert_allclose(found[:, 0], [first, middle, last], rtol=1e-6)


def test_losses_of_the_reference_are_those_by_hand():
    value, old = jnp.asarray([1.0, 0.1]), jnp.zeros(2)
    # Of 1.0, 0.2 counts and is further from 2; 0.1 is near enough to the old value.
    expected = 0.5 * ((0.2 - 2) ** 2 + 0.1**2) / 2
    targets = jnp.asarray([2.0, 0.0])
    loss = reference_ppo.clipped_value_loss(value, old, targets, 0.2)
    assert float(loss) == pytest.approx(expected)
    ratio, advantages = jnp.asarray([2.0, 2.0]), jnp.asarray([3.0, 1.0])  # normalised: 1 and -1
    loss = reference_ppo.clipped_actor_loss(ratio, advantages, 0.2)
    assert float(loss) == pytest.approx(-(1.2 - 2.0) / 2)


def test_distributions_of_the_reference():
    probabilities = jnp.asarray([0.2, 0.3, 0.5])
    choice = reference_ppo.categorical(jnp.log(probabilities))
    logs = [float(choice.log_prob(jnp.asarray(action))) for action in range(3)]
    np.testing.assert_allclose(np.exp(logs), probabilities, rtol=1e-6)
    assert float(choice.entropy()) == pytest.approx(-np.sum(np.exp(logs) * logs), rel=1e-5)

    mean, log_std = jnp.asarray([1.0, -1.0]), jnp.asarray([0.5, -0.5])
    normal = reference_ppo.gaussian(mean, log_std)
    action = jnp.asarray([0.0, 1.0])
    expected = jax.scipy.stats.norm.logpdf(action, mean, jnp.exp(log_std)).sum()
    assert float(normal.log_prob(action)) == pytest.approx(float(expected), rel=1e-5)
    drawn = jax.vmap(normal.sample)(jax.random.split(jax.random.PRNGKey(0), 4096))
    np.testing.assert_allclose(drawn.std(axis=0), jnp.exp(log_std), rtol=0.05)
    surprise = -float(jnp.mean(jax.vmap(normal.log_prob)(drawn)))
    assert float(normal.entropy()) == pytest.approx(surprise, rel=0.05)


def counting_env() -> reference_ppo.ReferenceEnv:
    """Return an environment that pays its action and ends after every third step."""

    def step(key, state, action):
        done = state == 2
        state = jnp.where(done, 0, state + 1)
        return action, state, action[0], done, {}

    def reset(key):
        return jnp.zeros(1), jnp.zeros((), jnp.int32)

    return reference_ppo.ReferenceEnv(reset, step, 1, 1, is_discrete=False)


def walk(env: reference_ppo.ReferenceEnv, actions) -> list[tuple]:
    keys = jax.random.split(jax.random.PRNGKey(0), len(actions[0]))
    _, state = env.reset(keys)
    steps = []
    for row in actions:
        obs, state, *others = env.step(keys, state, jnp.asarray(row)[:, None])
        steps.append((obs, *others))
    return steps


def test_log_of_the_reference_tells_of_the_last_finished_episode():
    env = reference_ppo.with_clipped_actions(reference_ppo.with_log(counting_env()))
    steps = walk(reference_ppo.vectorised(env), [[0.5], [9.0], [0.25], [1.0], [1.0]])
    logs = [step[-1] for step in steps]
    assert [float(log["returned_episode_returns"][0]) for log in logs] == [0, 0, 1.75, 1.75, 1.75]
    assert [int(log["returned_episode_lengths"][0]) for log in logs] == [0, 0, 3, 3, 3]
    assert [bool(log["returned_episode"][0]) for log in logs] == [False, False, True, False, False]


def test_reference_normalises_by_all_that_it_has_seen():
    actions = np.asarray([[1.0, 2.0], [4.0, -3.0], [0.5, 7.0], [2.0, 2.0]])
    env = reference_ppo.vectorised(counting_env())
    env = reference_ppo.with_normal_rewards(reference_ppo.with_normal_observations(env), 0.5)
    obs, reward, *_ = walk(env, actions)[-1]
    seen = np.concatenate([[0.0, 0.0], actions.ravel()])  # with the first observation
    np.testing.assert_allclose(obs[:, 0], (actions[-1] - seen.mean()) / seen.std(), rtol=1e-3)
    returns, total = [], np.zeros(2)
    for row, done in zip(actions, [False, False, True, False], strict=True):
        total = total * 0.5 * (not done) + row
        returns.append(total)
    np.testing.assert_allclose(reward, actions[-1] / np.std(returns), rtol=1e-3)


def test_reference_has_no_probes():
    with pytest.raises(contest.CaseError, match="probe/target"):
        reference_ppo.make_env("probe/target", 1, 0.9)


@pytest.mark.slow  # ours is tested with the learners, and the reference above
def test_both_ppo_take_the_steps_that_count():
    setting = ppo_setting(num_updates=3)
    ours, reference, *_ = ppo.build(setting).contestants
    assert ours.env_steps == reference.env_steps == 3 * 8 * 4
    assert ours.generations == reference.generations == 3
    state, metrics = ours.run()
    assert int(state.generation) == 3
    assert int(metrics["episode/steps"].sum()) == 3 * 8 * 4
    assert reference.run()[1]["timestep"].shape == (3, 8, 4)


@pytest.mark.slow
def test_reference_learns_cartpole():
    learner = reference_of(cases.BesidePPO("gymnax/CartPole-v1", 500, 4, 4, num_updates=976))
    _, log = jax.jit(learner.run)(jax.jit(learner.init)(jax.random.PRNGKey(0)))
    assert float(log["returned_episode_returns"][-100:].mean()) > 450
