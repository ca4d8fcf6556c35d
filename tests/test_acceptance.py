"""The acceptance suite: what rows of seeds say, where some are missing."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest
from programs import programs

from ternevo import envs
from ternevo.settings.wrappers import Wrappers

NAMES = ("claims", "baldwin", "advantages", "other_verdicts", "evojax_tasks")


@pytest.fixture(scope="module")
def modules():
    """The programs as modules."""
    with programs(*NAMES) as found:
        yield found


@pytest.fixture
def judged(modules, monkeypatch, tmp_path):
    """Return the function from seeds of arms to the verdicts on a better and a worse arm."""
    claims = modules["claims"]
    monkeypatch.setattr(claims, "ROWS", tmp_path / "rows.jsonl")

    def judge(values):
        holds = claims.is_above(values["better"], values["worse"])
        return [("better than worse", str(values["once"]), holds)]

    def run(seeds):
        rows = [
            {"experiment": "A-TEST", "arm": arm, "seed": seed, "value": seed + (arm == "better")}
            for arm, own in seeds.items()
            for seed in own
        ]
        claims.ROWS.write_text("".join(json.dumps(row) + "\n" for row in rows))
        experiment = claims.Experiment("A-TEST", "C1", 3, lambda: [], judge, {"once": 1})
        return [(found.verdict, found.found) for found in claims.verdicts(experiment)]

    return run


WHOLE = {"better": (2, 0, 1), "worse": (0, 1, 2), "once": (0,)}


def test_whole_arms_are_judged(judged):
    assert judged(WHOLE) == [("yes", "[0]")]
    assert judged({**WHOLE, "worse": (0, 1, 2, 3)}) == [("yes", "[0]")]  # more than asked for


@pytest.mark.parametrize("arm", list(WHOLE))
def test_an_arm_that_lacks_a_seed_is_not_judged(judged, arm):
    assert judged({**WHOLE, arm: WHOLE[arm][1:]}) == [("not run", "")]
    assert judged({**WHOLE, arm: ()}) == [("not run", "")]


# -------------------------------------------------------------------------------------- baldwin


def all_arms(baldwin):
    """Return values of all arms: of five seeds, but for one of random starts and ten of needles."""
    found = {f"{t}, {arm}": [1.0] * 5 for t in baldwin.TASKS for arm in ("MAML, float",)}
    for task, sign in (("direction", 1.0), ("sines", -1.0)):
        for weights in ("ternary", "float"):
            found[f"{task}, evolved, {weights}"] = [sign * 4.0 + 0.5 * i for i in range(5)]
            found[f"{task}, random starts, {weights}"] = [sign * 6.0]
        found[f"{task}, joint training, float"] = [sign * 4.0 - 1.0] * 5
    return {**found, "needle, learning": [1.0] * 10, "needle, instinct": [0.0] * 10}


def test_every_bar_of_baldwin_has_a_verdict_of_its_own(modules):
    baldwin = modules["baldwin"]
    found = {said: holds for said, _, holds in baldwin.judge_bald(all_arms(baldwin))}
    assert len(found) == 8 and None not in found.values()
    halves = [holds for said, holds in found.items() if "at most half" in said]
    less = [holds for said, holds in found.items() if "less error than" in said]
    assert (halves, less) == ([True, True], [True, True])


def test_half_the_error_is_half(modules):
    words, holds = modules["baldwin"].judge_half([-0.35, -0.33], [-0.53])
    assert not holds and "a ratio of 0.64" in words
    assert modules["baldwin"].judge_half([-0.2, -0.3], [-0.5])[1]


def test_an_arm_of_baldwin_that_was_not_run_is_named(modules):
    baldwin = modules["baldwin"]
    values = all_arms(baldwin)
    del values["sines, joint training, float"]
    found = baldwin.judge_bald(values)
    missing = [words for _, words, holds in found if holds is None]
    assert missing == ["not run: sines, joint training, float"] * 2
    assert len(found) == 8
    nothing = baldwin.judge_bald({})
    assert [holds for _, _, holds in nothing] == [None] * 8


def test_statements_of_baldwin_are_of_arms_that_there_are(modules, monkeypatch):
    baldwin = modules["baldwin"]
    for name in ("needle", "evolved", "random_starts", "by_gradient"):
        monkeypatch.setattr(baldwin, name, lambda *given, **named: None)
    arms = {arm.name for arm in baldwin.arms_of_bald()}
    named = {arm for statement in baldwin.statements() for arm in statement.arms}
    assert named == arms and set(baldwin.OTHER_SEEDS) <= arms


# ------------------------------------------------------------------------------- Turing machines


def copied(at_100, count=5):
    return [
        {
            "system": "copy, 2 bits",
            "arm": "ternary",
            "seed": seed,
            "returns": {"length 100": at_100},
        }
        for seed in range(count)
    ]


def ntm(short, long, count, bits=2):
    errors = {"10": short, "40": long}
    return [{"bits": bits, "errors": errors, "command": "a", "seed": i} for i in range(count)]


@pytest.mark.parametrize(
    ("evolved", "learned", "verdict"),
    [
        (copied(1.0), ntm(0.001, 0.3, 3), "yes"),
        (copied(1.0), ntm(0.001, 0.0, 3), "no"),  # it does not fail
        (copied(0.9), ntm(0.001, 0.3, 3), "no"),  # so does the evolved one
        ([], ntm(0.001, 0.3, 3), "no"),
        (copied(1.0), ntm(0.12, 0.5, 3), "no"),  # it learned nothing that could fail
        (copied(1.0), ntm(0.001, 0.3, 2), "not run"),
        (copied(1.0), ntm(0.001, 0.3, 2) + ntm(0.001, 0.3, 3, bits=8), "not run"),
    ],
)
def test_an_ntm_fails_at_long_sequences_only_if_it_learned_short_ones(
    modules, evolved, learned, verdict
):
    found = list(modules["other_verdicts"]._machines(evolved, learned))
    assert [v.verdict for v in found if "fails at 40" in v.statement] == [verdict]


def test_one_wrong_bit_of_all_lives_is_not_exact(modules):
    exact = modules["other_verdicts"].EXACT
    assert 1 - 1 / (4 * 100 * 256) < exact < 0.9999995


# ------------------------------------------------------------------------- advantages of ES


def worths(advantages, task, cost, plain=1.0, seeds=range(5), options=None):
    """Return rows of all arms; a condition costs each strategy what `cost` says of it."""
    return [
        {"task": task, "strategy": strategy, "condition": condition, "seed": seed}
        | {"options": options or advantages.STRATEGIES[strategy]}
        | {"worth": plain + 0.01 * seed - (cost[strategy] if condition != "plain" else 0.0)}
        for strategy in cost
        for condition in ("plain", "each action twice", "each action four times", "paid at the end")
        for seed in seeds
    ]


@pytest.mark.parametrize(
    ("learner", "more", "verdict"),
    [
        (0.3, {}, "yes"),
        (0.0, {}, "no"),  # both lose nothing
        (-0.3, {}, "no"),  # the learner gains by it
        (0.3, {"plain": 0.5}, "not run"),  # nothing was learned that could be lost
        (0.3, {"options": "--sigma 9"}, "not run"),  # other settings than those of today
        (0.3, {"seeds": range(4)}, "not run"),
        (0.3, {"seeds": (0, 1, 2, 4, 5)}, "not run"),
    ],
)
def test_an_advantage_is_to_lose_less_of_what_was_learned(modules, learner, more, verdict):
    found = list(
        modules["advantages"].judged(
            worths(modules["advantages"], "Pendulum", {"ternary_nes": 0.0, "ppo": learner}, **more)
        )
    )
    told = {v.statement: v.verdict for v in found}
    assert told["Pendulum: paid at the end, ternary_nes loses less than ppo"] == verdict
    assert told["Pendulum: paid at the end, ternary_nes loses less than sac"] == "not run"
    assert [v.verdict for v in found if v.statement.startswith("MountainCar")] == ["not run"]


def test_to_lose_less_and_end_below_is_no_advantage(modules):
    """Who begins lower has less to lose."""
    advantages = modules["advantages"]
    rows = worths(advantages, "Pendulum", {"ternary_nes": 0.72}, plain=0.72)
    rows += worths(advantages, "Pendulum", {"ppo": 0.8})
    said = "Pendulum: paid at the end, ternary_nes loses less than ppo"
    (found,) = [v for v in advantages.judged(rows) if v.statement == said]
    assert found.verdict == "no"


def test_frequencies_cost_what_lies_between_the_best_and_the_worst(modules):
    """Who is better with repeated actions is as little indifferent to them as who is worse."""
    rows = worths(modules["advantages"], "Pendulum", {"ternary_nes": 0.1, "ppo": -0.3})
    said = "Pendulum: actions of 1, 2 and 4 steps move ternary_nes less than ppo"
    (found,) = [v for v in modules["advantages"].judged(rows) if v.statement == said]
    assert found.verdict == "yes"
    assert found.found.startswith("0.1 [0.1, 0.1] against 0.3 [0.3, 0.3]; worth 0.92 and 1.32")


def test_settings_of_advantages_hold_for_runs_of_any_length(modules):
    """A schedule over the run would be cut where actions are repeated, and generations fewer."""
    advantages = modules["advantages"]
    for task in advantages.TASKS.values():
        for strategy in advantages.STRATEGIES:
            assert not advantages.config_of(task, strategy).strategy.is_stretched


def test_a_condition_as_data_of_a_program_is_that_of_the_options(modules):
    """Two routes to the same rewards: wrappers of a run, and one program for all conditions."""
    advantages = modules["advantages"]
    quick_jit = functools.partial(
        jax.jit, compiler_options={"xla_backend_optimization_level": 0}, static_argnums=0
    )
    step = quick_jit(
        lambda made, condition, key, state, force: made(condition).step(key, state, force)
    )
    plain = envs.make("probe/double_integrator", 40)

    def under(condition):
        return advantages.under(plain, condition, 4)

    def paid(made, condition):
        state, _ = made(condition).reset(jax.random.key(0), ())
        for i, force in enumerate((0.3, -0.7, 0.2, 0.4)):
            state, timestep = step(made, condition, jax.random.key(i), state, jnp.asarray([force]))
            yield float(timestep.reward), bool(timestep.truncated)

    for repeat, delay in ((2, 3), (1, 10_000)):
        condition = advantages.Condition(*map(jnp.int32, (repeat, delay, repeat)))
        around = Wrappers(action_repeat=repeat, delayed_reward=delay)
        env = envs.make("probe/double_integrator", 4 * repeat, around)
        wanted = list(paid(lambda _, env=env: env, condition))
        assert list(paid(under, condition)) == wanted
        assert [is_over for _, is_over in wanted] == [False] * 3 + [True]
        assert [reward < 0 for reward, _ in wanted] == [False, False, repeat == 2, True]


# ----------------------------------------------------------------------------- quadruped, seasons


def walked(arm, ways, seeds=(1, 2, 3), budget="b"):
    """Return rows of an arm; each seed has two episodes with each body."""
    bodies = ("none", "right front leg", "left front leg")
    return [
        {"arm": arm, "seed": seed, "solved": 2.0, "options": f"{budget} --policy {arm}"}
        | {"ways": {body: [way] * 2 for body, way in zip(bodies, ways, strict=True)}}
        for seed in seeds
    ]


@pytest.mark.parametrize(
    ("adaptive", "fixed", "more", "verdicts"),
    [
        ((3, 3, 3), (9, 9, 1), {}, ["yes", "yes"]),
        ((9, 3, 3), (8, 9, 1), {}, ["no", "yes"]),  # Hebbian wins with a body of training
        ((3, 3, 1), (9, 9, 1), {}, ["yes", "no"]),  # nobody walks with the unseen leg
        ((3, 3, 3), (9, 9, 2), {}, ["yes", "no"]),  # both do
        ((3, 3, 3), (9, 9, 1), {"seeds": (2, 3, 4)}, ["not run"] * 2),  # two that both have
        ((3, 3, 3), (9, 9, 1), {"budget": "other"}, ["not run"] * 2),
    ],
)
def test_a_quadruped_is_reproduced_in_both_halves_or_not(modules, adaptive, fixed, more, verdicts):
    rows = walked("Hebbian, integers", adaptive) + walked("static, ternary", fixed, **more)
    judge = modules["other_verdicts"]._quadruped
    assert [found.verdict for found in judge(rows)] == [*verdicts, "not run", "not run"]
    assert {found.verdict for found in judge(rows[:3])} == {"not run"}, "one arm says nothing"


def lived(arm, score, count):
    days = {"right on the first day of a season that returns": score, "right on other days": score}
    own = {"returns": {"two foods": score}, "lives": {"two foods": days}}
    return [{"system": "season", "arm": arm, "seed": seed, **own} for seed in range(count)]


@pytest.mark.parametrize(
    ("count", "verdicts"), [((5, 5), ["yes"] * 3), ((5, 4), ["yes", "not run", "yes"])]
)
def test_nothing_is_said_of_seasons_before_all_seeds_were_run(modules, count, verdicts):
    rows = lived("ternary", 0.95, count[0]) + lived("no memory", 0.5, count[1])
    found = [v for v in modules["other_verdicts"]._machines(rows, []) if v.claims == "C8"]
    assert [verdict.verdict for verdict in found] == verdicts


# ------------------------------------------------------------------------------ rows not run


def poet_rows(arm, seeds, **more):
    names = ("admitted", "moved_direct", "moved_tuned", "annecs")
    metrics = {f"poet/{name}": 4.0 for name in names}
    own = {"hardest": {"score": 250.0}, "niches": [{"score": 90.0}], "steps": 10**6}
    return [{"arm": arm, "seed": seed, "metrics": metrics, **own, **more} for seed in range(seeds)]


@pytest.mark.parametrize(
    ("rows", "verdicts"),
    [
        ([("POET", 3), ("direct", 3), ("curriculum", 3)], ["yes", "yes", "yes"]),
        ([("POET", 3), ("direct", 3), ("curriculum", 2)], ["yes", "yes", "not run"]),
        ([("POET", 2)], ["not run"] * 3),
        ([], ["not run"] * 3),
    ],
)
def test_what_was_not_run_of_poet_has_rows_with_its_command(modules, rows, verdicts):
    rows = [row for arm, seeds in rows for row in poet_rows(arm, seeds)]
    found = list(modules["other_verdicts"]._poet(rows))
    assert [verdict.verdict for verdict in found] == verdicts
    assert {verdict.command for verdict in found} == {"python experiments/poet.py"}


def test_a_control_that_solves_what_poet_solved_is_no_advantage(modules):
    rows = poet_rows("POET", 3) + poet_rows("direct", 3, niches=[{"score": 230.0}])
    assert [v.verdict for v in modules["other_verdicts"]._poet(rows)] == ["yes", "no", "not run"]


def test_networks_by_hand_that_are_missing_are_what_the_command_runs(modules):
    common = {"system": "NEAT+Q", "task": "control/mountain_car_bins", "weights": "float"}
    seeds = {"seeds": [{"return": -120.0}] * 3, "command": "as it was run"}
    rows = [{**common, **seeds, "arm": arm} for arm in ("baldwin", "fixed4")]
    found = list(modules["other_verdicts"]._neat(rows))
    assert [verdict.verdict for verdict in found] == ["yes", "not run"]
    assert " --arm fixed0 fixed8 " in found[1].command and found[0].command == "as it was run"


# ----------------------------------------------------------------------------- EvoJAX's tasks


def test_arms_of_evojax_are_judged_one_by_one(modules, monkeypatch):
    """What was run has a verdict, also where other arms are missing."""
    tasks = modules["evojax_tasks"]
    arm = "easy, ternary_nes, ternary"
    bars = [[2e6, 10.0], [4e6, 30.0], None]
    rows = [{"arm": arm, "seed": seed, "to_bar": bar} for seed, bar in enumerate(bars)]
    monkeypatch.setattr(tasks, "rows", lambda: [*rows, {"arm": "of another experiment"}])
    values = {arm: [810.0, 820.0, 830.0], "digits, float by gradients": [0.96, 0.96, 0.96]}
    judged = {said: (found, holds) for said, found, holds in tasks.judge_evojax(values)}
    assert judged["digits, float by gradients: an accuracy of 0.97"] == ("0.96 [0.96, 0.96]", False)
    easy = "easy swing-up, ternary_nes, ternary: "
    assert judged[f"{easy}at least 800 after 400 million steps"][1] is True
    words = "2 of 3 seeds; 3 million steps, 20 s"
    assert judged[f"{easy}reaches EvoJAX's bar of 900"] == (words, False)
    assert sum(holds is None for _, holds in judged.values()) == len(judged) - 3
