"""The table of games: what a run costs, counted while it runs, and what rows of seeds say."""

import collections

import jax
import pytest
from gradient_learners import SMALL
from programs import programs

from ternevo import envs
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES


@pytest.fixture(scope="module")
def games():
    """The program as a module."""
    with programs("games") as found:
        yield found["games"]


# ----------------------------------------------------------------------------------------- costs


def counting(policy, calls):
    """Return the policy, which counts each observation that really passes, forward and back."""

    @jax.custom_vjp
    def counted(output):
        jax.debug.callback(lambda _: calls.update(["forward"]), output)
        return output

    def back(_, gradient):
        jax.debug.callback(lambda _: calls.update(["backward"]), gradient)
        return (gradient,)

    counted.defvjp(lambda output: (counted(output), ()), back)

    def apply(params, memory, inputs):
        memory, output = policy.apply(params, memory, inputs)
        return memory, counted(output)

    return policy._replace(apply=apply)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ppo", {"num_envs": 2}),
        ("dqn", {}),
        pytest.param("dqn", {"double": False}, marks=pytest.mark.slow),
    ],
)
def test_the_cost_of_a_learner_is_what_its_network_is_asked(games, name, options):
    calls, generations, frames = collections.Counter(), 2, 0
    env = envs.make("probe/corridor", 5)
    policy = counting(MLP((4,)).build(env.obs, env.action), calls)
    settings = STRATEGIES[name].of(**{**SMALL[name], **options})
    strategy = settings.build(env, policy, "ternary", generations)
    state, step = strategy.init(jax.random.key(0), *strategy.numbers()), jax.jit(strategy.step)
    for generation in range(generations):
        state, metrics = step(jax.random.key(generation), state)
        frames += int(metrics["episode/steps"])
    jax.effects_barrier()
    cost = games.cost_of(settings, frames, generations)
    assert calls == {"forward": cost.forward, "backward": cost.backward}
    assert cost.backward > 0


def test_dqn_on_atari_costs_what_the_lecture_says(games):
    """Of 200 million frames an action lasts four; its 450 million leave out the target network."""
    pace = {"num_envs": 1, "train_every": 4, "updates_per_step": 0.25}
    pace |= {"steps_per_generation": 50_000, "learning_starts": 50_000}
    settings = STRATEGIES["dqn"].of(**pace, batch_size=32, double=False)
    cost = games.cost_of(settings, 50_000_000, 1000)
    assert cost.backward == pytest.approx(400e6, rel=0.002)
    assert cost.forward - cost.backward == pytest.approx(450e6, rel=0.002)
    assert cost.operations - cost.backward == pytest.approx(1250e6, rel=0.002)


@pytest.mark.parametrize("algorithm", ["ES", "GA", "RS"])
@pytest.mark.parametrize("weights", ["float", "ternary"])
def test_evolution_passes_each_frame_once_and_knows_nothing_of_its_end(games, algorithm, weights):
    settings = games.config_of(algorithm, "Breakout", weights).strategy
    assert games.cost_of(settings, 1000, 7) == (1000, 1000, 0)
    assert not settings.is_stretched


def test_all_arms_have_the_same_network_and_learners_the_frames_of_all(games):
    for algorithm in games.ALGORITHMS:
        for weights in games.WEIGHTS:
            config = games.config_of(algorithm, "Breakout", weights)
            assert (config.policy.weights, config.policy.hidden_sizes) == (weights, (64, 64))
            size = games.generation_size(config.strategy)
            assert bool(size) == (algorithm in ("DQN", "PPO"))
            if size:
                assert 0 <= config.num_generations * size - games.FRAMES < size


# -------------------------------------------------------------------------------- tables, verdicts


def lines_of(games, value, seeds=3):
    """Made-up rows of all arms; `value` maps an algorithm and a game to a return."""
    return [
        {"task": game, "algorithm": algorithm, "weights": weights, "seed": seed}
        | {"return": value(algorithm, game) + 0.1 * seed, "frames": 500_000, "forward": 2_000_000}
        | {"backward": 750_000, "operations": 3_500_000, "seconds": 8.0, "budget": games.FRAMES}
        | {"options": games.options_of(algorithm, weights)}
        for weights in games.WEIGHTS
        for algorithm in games.ALGORITHMS
        for game in games.GAMES
        for seed in range(seeds)
    ]


def test_the_table_has_what_was_run_and_its_costs(games):
    rows = lines_of(games, lambda algorithm, game: 1.0, seeds=2)
    rows = [row for row in rows if (row["algorithm"], row["weights"]) == ("PPO", "float")]
    text, ternary = games.page_of(rows).split("**ternary**")
    assert "|  | DQN | PPO | ES | GA | RS |" in text
    assert "| Breakout | - | 1.00, 1.10 | - | - | - |" in text
    assert "| backward passes, millions | - | 0.75 | - | - | - |" in text
    assert "| operations, millions | - | 3.50 | - | - | - |" in text
    assert "| seconds | - | 8.00 | - | - | - |" in text
    assert "1.00" not in ternary
    assert "1.00" not in games.page_of([{**row, "options": "others"} for row in rows])


def found(games, rows):
    """Return the verdict and the figures of each statement on ternary weights."""
    verdicts = list(games.judged(rows))
    return [(v.verdict, v.found) for v in verdicts if ", ternary: " in v.statement]


def test_who_leads_and_who_is_above_dqn(games):
    always = lines_of(games, lambda algorithm, game: 5.0 * (algorithm == "PPO"))
    leads = ", ".join(f"PPO in {game}" for game in games.GAMES)
    assert found(games, always) == [("no", leads), ("no", "in none"), ("no", "in none")]
    once = lines_of(
        games, lambda algorithm, game: 5.0 * (algorithm == ("GA" if game == "Freeway" else "PPO"))
    )
    leads = leads.replace("PPO in Freeway", "GA in Freeway")
    assert found(games, once) == [("yes", leads), ("yes", "Freeway"), ("no", "in none")]


def test_nothing_is_said_where_a_seed_lacks(games):
    rows = lines_of(games, lambda algorithm, game: 1.0)
    last = max(i for i, row in enumerate(rows) if row["weights"] == "ternary")
    assert found(games, [*rows[:last], *rows[last + 1 :]]) == [("not run", "")] * 3
