"""ERL: who acts how, what is remembered, who is kept, and that copies lose nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_learners import SMALL

from ternevo import envs
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.weights import kind_of
from ternevo.policies.acting import Actor, Seen
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import erl, off_policy
from ternevo.strategies.erl import Crew, ERLState, Origins
from ternevo.strategies.from_settings import _learner
from ternevo.types import Tensor

ENV = envs.make("probe/double_integrator", 6)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZE, LENGTH, GENERATIONS = 4, 6, 4


def crew_of(weights="ternary", env=ENV, **options) -> Crew:
    settings = STRATEGIES["erl"].of(**{**SMALL["erl"], "population_size": SIZE, **options})
    own = settings.of_learner(env.episode_length)
    policy = MLP((5,), weights=weights).build(env.obs, env.action)
    learner = _learner(own, env, policy, weights, 10)
    exploring = lambda steps: jnp.zeros(steps.shape)  # noqa: E731
    return Crew(settings, own, env, policy, kind_of(weights), learner, exploring)


@functools.cache
def history() -> tuple[Crew, list[ERLState], list[dict]]:
    """Run a few generations; the second learns, as the first fills the buffer."""
    crew = crew_of()
    strategy = erl.evolve_and_learn(
        crew.settings, crew.own, ENV, crew.policy, "ternary", crew.learner, crew.exploring
    )
    state, states, rows = strategy.init(jax.random.key(0)), [], []
    step = quick_jit(strategy.step)
    for generation in range(GENERATIONS):
        states.append(state)
        state, metrics = step(jax.random.key(generation), state)
        rows.append({name: float(x) for name, x in metrics.items()})
    return crew, [*states, state], rows


def rows_of(ring_state, generation: int):
    """Return the steps [envs, LENGTH, ...] that a generation added."""
    first = generation * LENGTH
    return jax.tree.map(lambda x: x[:, first : first + LENGTH], ring_state.experience)


@pytest.mark.wide  # elites and children are below
def test_the_buffer_holds_what_members_do_as_shipped_policies():
    """Each recorded action is that of `Actor.act`, bit for bit; only the learner explores."""
    crew, states, _ = history()
    kept = rows_of(states[-1].experience.data, 2)
    moments = off_policy.shown_moments(erl.learning_of(states[2]))
    actor = Actor(crew.policy, ENV.obs, ENV.action)
    quantiser = observation.freeze(moments)

    def act(params, seen):
        return jax.vmap(lambda row: actor.act(params, quantiser, (), row)[1])(seen)

    seen = jax.tree.map(lambda x: x[:SIZE], kept.seen)
    wanted = quick_jit(jax.vmap(act))(states[2].population, Seen(*seen))
    np.testing.assert_array_equal(kept.action[:SIZE], wanted)  # the range is -1 to 1
    shipped = quick_jit(act)(
        crew.learner.agent(states[2].learner, 1).params, jax.tree.map(lambda x: x[-1], kept.seen)
    )
    assert np.any(np.asarray(kept.action[-1]) != np.asarray(shipped))


def test_nothing_is_learned_across_the_end_of_a_generation():
    _, states, _ = history()
    for generation in range(GENERATIONS):
        kept = rows_of(states[-1].experience.data, generation)
        assert bool(jnp.all(kept.truncated[:, -1]))
        assert bool(jnp.all(kept.seen.is_first[:, 0]))


def test_the_copy_of_the_learner_is_its_policy_bit_for_bit():
    crew, states, rows = history()
    assert not bool(states[1].origins.is_fresh)  # nothing is learned yet
    for state in states[2:]:
        shipped = crew.learner.params(state.learner)
        jax.tree.map(
            lambda x, own: np.testing.assert_array_equal(x[-1], own), state.population, shipped
        )
        assert bool(state.origins.is_learned[-1])
        for tensor in ternary.tensors(state.population):
            assert tensor.values.dtype == tensor.exponent.dtype == jnp.int8
    assert rows[-1]["erl/copies"] == GENERATIONS - 2


def test_the_champion_is_the_member_with_the_best_return():
    _, states, rows = history()
    for before, after, row in zip(states, states[1:], rows, strict=False):
        members = [jax.tree.map(lambda x, i=i: x[i], before.population) for i in range(SIZE)]
        best = [
            jax.tree.all(jax.tree.map(jnp.array_equal, member, after.champion))
            for member in members
        ]
        assert any(map(bool, best))
        assert row["return/max"] >= row["return/mean"] >= row["return/min"]


def test_elites_stay_children_come_and_the_last_place_is_the_learners():
    """By hand: members are numbers, and mutation is off."""
    crew = crew_of(elite_fraction=0.5, mutation_probability=0.0, crossover_probability=0.0)
    numbers = [Tensor(jnp.arange(SIZE, dtype=jnp.int8)[:, None], jnp.zeros(SIZE, jnp.int8))]
    shipped = [Tensor(jnp.asarray([77], jnp.int8), jnp.int8(5))]
    zero = jnp.zeros((), jnp.int32)
    learned = jnp.asarray([False, False, True, True])
    origins = Origins(learned, jnp.asarray(True), zero, zero)
    blank = [None] * (len(ERLState._fields) - 4)
    state = ERLState(*blank, numbers, None, origins, zero)
    order = jnp.asarray([3, 1, 0, 2])
    population, after = erl.bred(crew, jax.random.key(0), state, order, shipped, jnp.asarray(True))
    values = population[0].values[:, 0].tolist()
    assert values[:2] == [3, 1] and values[2] in range(SIZE) and values[3] == 77
    assert int(population[0].exponent[3]) == 5
    assert after.is_learned.tolist() == [True, False, False, True]
    assert (int(after.copied), int(after.became_elite)) == (1, 1)
    population, after = erl.bred(
        crew, jax.random.key(0), state, jnp.asarray([1, 0, 2, 3]), shipped, jnp.asarray(False)
    )
    assert population[0].values[:2, 0].tolist() == [1, 0]
    assert population[0].values[3, 0] != 77 and not after.is_learned[3]
    assert (int(after.copied), int(after.became_elite), bool(after.is_fresh)) == (1, 0, False)


def test_winners_of_tournaments_of_all_are_the_best():
    crew = crew_of(mutation_probability=0.0, crossover_probability=0.0, tournament_size=60)
    numbers = [Tensor(jnp.arange(SIZE, dtype=jnp.int8)[:, None], jnp.zeros(SIZE, jnp.int8))]
    child = erl.child(crew, jax.random.key(0), numbers, jnp.asarray([2, 0, 1, 3]))
    assert child[0].values.tolist() == [2]


def test_floats_are_mutated_in_a_tenth_of_their_weights():
    crew = crew_of("float")
    parent = [Tensor(jnp.ones(5000), jnp.int8(0))]
    (child,) = erl.mutated(crew, jax.random.key(0), parent)
    assert 0.08 < float((child.values != 1).mean()) < 0.12


@pytest.mark.parametrize(
    ("env", "options", "words"),
    [
        ("probe/corridor", {}, "--learner must be dqn in probe/corridor.*discrete, got td3"),
        ("probe/target", {"learner": "dqn"}, "--learner must be td3, ddpg or sac in probe/target"),
        (
            "probe/double_integrator",
            {"buffer_size": 60, "learning_starts": 32, "batch_size": 8},
            r"buffer_size must be at least 220.* got 60: raise --buffer_size",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(env, options, words):
    world = envs.make(env)
    policy = MLP(()).build(world.obs, world.action)
    with pytest.raises(ValueError, match=words):
        STRATEGIES["erl"].of(**options).build(world, policy, "ternary", 3)


@pytest.mark.wide  # generations of the default one are above
@pytest.mark.parametrize("learner", [pytest.param("sac", marks=pytest.mark.slow), "dqn"])
def test_other_learners_make_generations_too(learner):
    world = envs.make("probe/corridor" if learner == "dqn" else "probe/double_integrator", 6)
    policy = MLP((4,)).build(world.obs, world.action)
    options = {**SMALL["erl"], "learner": learner}
    strategy = STRATEGIES["erl"].of(**options).build(world, policy, "ternary", 4)
    state = jax.eval_shape(strategy.init, jax.random.key(0), *strategy.numbers())
    shapes = jax.eval_shape(strategy.step, jax.random.key(0), state)[0]
    jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or 1 / 0, state, shapes)
