"""A-BALD: evolution outside, gradient learning inside, beside MAML; arms of acceptance.py.

MAML (Finn et al. 2017) differentiates through the learning. A life of `--policy gradient_learner`
is a program that JAX differentiates, its gradient steps included; so MAML is Adam on the mean
return of lives, by their exact derivative, where an environment is differentiable and weights are
floats. Joint training is the same without steps in the life.

Lives here all have the full length, so that they need no lanes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from claims import Arm, Judged, Result, Values, is_above, shown

from ternevo import envs
from ternevo.arithmetic import observation, ternary
from ternevo.policies import contract
from ternevo.policies.acting import Actor, seen_after, seen_first
from ternevo.rollouts import step_count
from ternevo.settings.policies import MLP, GradientLearner
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.wrappers import Wrappers
from ternevo.strategies.evolve import evolve
from ternevo.strategies.latents import evolve_latents
from ternevo.strategies.search import search_of
from ternevo.types import (
    Env,
    Key,
    ObservationMoments,
    Params,
    Policy,
    PolicyParams,
    Population,
    Problem,
    Scores,
    Strategy,
)

MEMBERS, LIVES, GENERATIONS = 64, 4, 50
"""Of evolution: members, lives of each in a generation, and generations."""
ADAM_STEPS, ADAM_LIVES = 200, 8
JOINT_STEPS, JOINT_EPISODES = 1500, 16
LR = 0.01
TEST_LIVES = 100
TASKS: dict[str, dict[str, Any]] = {
    "direction": {
        "env": "meta/hidden_direction",
        "test": "meta/hidden_direction",
        "policy": {"num_gradient_steps": 5},
    },
    "sines": {
        "env": "meta/sines",
        "test": "meta/sines@unseen",
        "policy": {
            "hidden_sizes": (10, 10),
            "learns_from": "examples",
            "num_gradient_steps": 10,
            "observation_shift": 1,
        },
    },
}
FLOAT = {"weights": "float", "activation": "tanh"}
FREE = {**FLOAT, "evolve_mask": False}
"""Of joint training, which has no gradient for a mask: a drawn one would only freeze weights."""


def arms_of_bald() -> list[Arm]:
    """Return the needle with and without learning, and two tasks with five kinds of starts each."""
    found = [Arm(f"needle, {family}", needle(family)) for family in ("learning", "instinct")]
    for task in TASKS:
        found += [
            Arm(f"{task}, evolved, ternary", evolved(task, {})),
            Arm(f"{task}, random starts, ternary", random_starts(task, {})),
            Arm(f"{task}, evolved, float", evolved(task, FLOAT)),
            Arm(f"{task}, random starts, float", random_starts(task, FLOAT)),
            Arm(f"{task}, joint training, float", by_gradient(task, adapts=False)),
            Arm(f"{task}, MAML, float", by_gradient(task, adapts=True)),
        ]
    return found


OTHER_SEEDS = {
    **dict.fromkeys(("needle, learning", "needle, instinct"), 10),
    **{f"{task}, random starts, {w}": 1 for task in TASKS for w in ("ternary", "float")},
}
"""Arms that have not five seeds."""


class Statement(NamedTuple):
    """What was to be shown, of which arms, and the function of their values that judges it."""

    said: str
    arms: tuple[str, ...]
    judge: Callable[..., tuple[str, bool]]


def statements() -> list[Statement]:
    """Return what was to be shown, with the thresholds of the suite."""
    found = [
        Statement(
            "the needle of Hinton and Nowlan: found in 50 generations of 1,000 with learning, "
            "never without",
            ("needle, learning", "needle, instinct"),
            judge_needle,
        )
    ]
    for weights in ("ternary", "float"):
        own, random = (f"{{}}, {kind}, {weights}" for kind in ("evolved", "random starts"))
        joint, maml = ("{}, joint training, float", "{}, MAML, float")
        direction = (own, joint, maml, random)
        sines = f"sines of unseen phases, {weights}: after ten steps"
        found += [
            Statement(
                f"a hidden direction, {weights}: five episodes of REINFORCE from an evolved start "
                "beat those from one trained on both directions (float), of 10 at most",
                tuple(arm.format("direction") for arm in direction),
                judge_direction,
            ),
            Statement(
                f"{sines} at most half the error of random starts at their best rate",
                (own.format("sines"), random.format("sines")),
                judge_half,
            ),
            Statement(
                f"{sines} less error than a start trained on all phases (float)",
                (own.format("sines"), joint.format("sines")),
                judge_less,
            ),
        ]
    said = "sines of unseen phases, float: the error of evolved starts is not above that of MAML"
    return [*found, Statement(said, ("sines, evolved, float", "sines, MAML, float"), judge_maml)]


def judge_bald(values: Values) -> list[Judged]:
    """Judge each statement; one with arms that were not run says which."""
    found: list[Judged] = []
    for said, arms, judge in statements():
        missing = [arm for arm in arms if arm not in values]
        if missing:
            found.append((said, f"not run: {'; '.join(missing)}", None))
        else:
            found.append((said, *judge(*(values[arm] for arm in arms))))
    return found


def judge_needle(learning: list[float], instinct: list[float]) -> tuple[str, bool]:
    """With learning always, without never."""
    words = f"{sum(learning):g} and {sum(instinct):g} of {len(learning)} seeds"
    return words, sum(learning) == len(learning) and sum(instinct) == 0


def judge_direction(
    own: list[float], joint: list[float], maml: list[float], random: list[float]
) -> tuple[str, bool]:
    """An evolved start against one that was trained on both directions."""
    words = (
        f"{shown(own)} and {shown(joint)}; MAML {shown(maml)}; random starts at the best of all "
        f"rates {random[0]:.3g}"
    )
    return words, is_above(own, joint)


def judge_half(own: list[float], random: list[float]) -> tuple[str, bool]:
    """Half the error of random starts."""
    ratio = float(np.mean(own) / np.mean(random))
    return f"{errors(own)} and {-random[0]:.3g}, a ratio of {ratio:.2g}", ratio <= 0.5


def judge_less(own: list[float], joint: list[float]) -> tuple[str, bool]:
    """Less error than a start that was trained on all phases without learning."""
    return f"{errors(own)} and {errors(joint)}", is_above(own, joint)


def judge_maml(own: list[float], maml: list[float]) -> tuple[str, bool]:
    """Evolution against the gradient through the learning, at their own budgets."""
    return f"{errors(own)} and {errors(maml)}", not is_above(maml, own)


def errors(returns: list[float]) -> str:
    """Return the mean squared error, which is what a life of sines pays, and its interval."""
    return shown([-x for x in returns])


# ------------------------------------------------------------------------------------ needle


def needle(family: str) -> Callable[[int], Result]:
    """Return what evolves 1,000 strings for 50 generations: the value is 1 if one is right."""
    suffix = "" if family == "learning" else f"@{family}"
    env = envs.make(f"meta/needle{suffix}")
    policy = MLP((), use_bias=False).build(env.obs, env.action)
    settings = STRATEGIES["ternary_ga"].of(population_size=1000, num_episodes=1)
    strategy = settings.build(env, policy, "ternary", 50)
    step, init = quick(strategy.step), quick(strategy.init)

    def run(seed: int) -> Result:
        key = jax.random.key(seed)
        state, best, first = init(key, *strategy.numbers()), 1.0, None
        for generation in range(50):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            best = max(best, float(metrics["return/max"]))
            first = generation if first is None and best > 1 else first
        genes = np.asarray(strategy.params(state).weights[0]["weight"].values)[0]
        more = {"first": first, "right": int((genes > 0).sum()), "open": int((genes == 0).sum())}
        return Result(float(best > 19.99 and more["right"] == env.action.size), 50_000, more)

    return run


# ------------------------------------------------------------------------------------- lives


def setting(task: str, options: dict[str, Any], test: bool = False) -> tuple[Env, Policy]:
    """Return the environment of a task and its policy."""
    chosen = TASKS[task]
    settings = GradientLearner(**{**chosen["policy"], **options})
    episodes = Wrappers(lifetime=settings.least_lifetime)
    env = envs.make(chosen["test" if test else "env"], None, episodes)
    return env, contract.build(settings, env.obs, env.action)


def life(env: Env, policy: Policy, params: Params, key: Key) -> jax.Array:
    """Return the return of a life."""
    key_task, key_reset, key_memory, key_steps = jax.random.split(key, 4)
    actor = Actor(policy, env.obs, env.action)
    quantiser = observation.freeze(observation.empty(env.obs.size), env.obs.kind)
    state, obs = env.reset(key_reset, env.draw_task(key_task))

    def step(carry: tuple, key: Key) -> tuple[tuple, jax.Array]:
        state, memory, seen = carry
        memory, action = actor.act(packed, quantiser, memory, seen)
        state, timestep = env.step(key, state, action)
        return (state, memory, seen_after(timestep)), timestep.reward

    packed = policy.packing(1).pack(params)
    carry = state, policy.reset(packed, key_memory), seen_first(obs)
    return jax.lax.scan(step, carry, jax.random.split(key_steps, env.episode_length))[1].sum()


def tested(task: str, options: dict[str, Any], at_all_rates: bool) -> Callable[[Params], float]:
    """Return the function from params to their mean return over fresh lives.

    At all rates it is the best of eleven learning rates, or of nine with trits, the same in all
    layers: what did not evolve its rates gets those that are best in the test itself.
    """
    env, policy = setting(task, options, test=True)
    keys = jax.random.split(jax.random.key(10_000), TEST_LIVES)
    own = range(-6, 5) if options.get("weights") == "float" else range(-4, 5)

    @quick
    def run(params: Params) -> jax.Array:
        def mean(exponent: jax.Array) -> jax.Array:
            chosen = at_rate(params, exponent) if at_all_rates else params
            return jax.vmap(lambda key: life(env, policy, chosen, key))(keys).mean()

        return jax.vmap(mean)(jnp.array(own if at_all_rates else (0,)))

    return lambda params: float(np.nanmax(np.asarray(run(params))))


def at_rate(params: Params, exponent: jax.Array) -> Params:
    """Return params whose layers all learn at 2**exponent times the default rate."""
    low = (exponent + 1) % 3 - 1

    def of(rate: Any) -> Any:
        digits = jnp.stack([low, (exponent - low) // 3])[:, None]
        values = digits.astype(jnp.int8) if len(rate.values) == 2 else exponent + 0 * rate.values
        return rate._replace(values=values)

    return tuple({**layer, "rate": of(layer["rate"])} for layer in params)


def problem_of(env: Env, policy: Policy) -> Problem:
    """Return the problem whose returns are those of whole lives, the same for all members."""

    def evaluate(
        key: Key, population: Population, moments: ObservationMoments, generation: jax.Array
    ) -> Scores:
        keys = jax.random.split(key, LIVES)
        every = jax.vmap(lambda p: jax.vmap(lambda key: life(env, policy, p, key))(keys))
        returns = every(population.params)
        lengths = jnp.full(returns.shape, env.episode_length, jnp.int32)
        steps = step_count.of_number(returns.size * env.episode_length)
        return Scores(returns, lengths, moments, steps)

    def test(key: Key, params: Params, quantiser: Any, num_episodes: int) -> Scores:
        raise NotImplementedError("`tested` does that")

    return Problem(env.obs, evaluate, test)


# -------------------------------------------------------------------------------------- arms


def evolved(task: str, options: dict[str, Any]) -> Callable[[int], Result]:
    """Return what evolves starts, rates and masks: trits by the GA, floats by OpenAI's ES."""
    env, policy = setting(task, options)
    problem = problem_of(env, policy)
    if options.get("weights") == "float":
        settings = STRATEGIES["latent"].of(population_size=MEMBERS, sigma=0.1, lr=0.05)
        strategy = evolve_latents(
            lambda first: settings.search_algorithm(first, "float", GENERATIONS),
            problem,
            policy,
            "float",
        )
    else:
        settings = STRATEGIES["ternary_ga"].of(population_size=MEMBERS)
        solution = policy.init(jax.random.key(0))
        algorithm, params = settings.search_algorithm(solution, "ternary", GENERATIONS)
        draw = lambda key: policy.init(jax.random.split(key)[0])  # noqa: E731
        strategy = evolve(search_of(algorithm, params, draw), problem)
    steps = GENERATIONS * MEMBERS * LIVES * env.episode_length
    return runner(strategy, GENERATIONS, steps, tested(task, options, at_all_rates=False))


def by_gradient(task: str, adapts: bool) -> Callable[[int], Result]:
    """Return MAML, or joint training: Adam on lives, or on single episodes without learning."""
    options = FLOAT if adapts else FREE
    env, policy = setting(task, options if adapts else {**options, "num_gradient_steps": 0})
    count, lives = (ADAM_STEPS, ADAM_LIVES) if adapts else (JOINT_STEPS, JOINT_EPISODES)
    strategy = adam(env, policy, lives)
    steps = count * lives * env.episode_length
    return runner(strategy, count, steps, tested(task, options, at_all_rates=not adapts))


def random_starts(task: str, options: dict[str, Any]) -> Callable[[int], Result]:
    """Return what tests a random start in each life, all weights free, at the best rate.

    Starts differ between lives, so that one seed is enough.
    """
    own = {**options, "start": "random", "evolve_mask": False}
    _, policy = setting(task, own)
    test = tested(task, own, at_all_rates=True)
    return lambda seed: Result(test(policy.init(jax.random.key(seed))), 0)


def adam(env: Env, policy: Policy, lives: int) -> Strategy:
    """Return the strategy of which a generation is a step of Adam on the mean return of lives."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LR))

    def loss(floats: list[jax.Array], params: Params, keys: Key) -> jax.Array:
        made = with_floats(params, floats)
        return -jax.vmap(lambda key: life(env, policy, made, key))(keys).mean()

    def init(key: Key) -> tuple[Params, Any]:
        params = policy.init(key)
        return params, optimiser.init(floats_of(params))

    def step(key: Key, state: tuple[Params, Any]) -> tuple[tuple[Params, Any], dict]:
        params, moments = state
        keys, floats = jax.random.split(key, lives), floats_of(params)
        value, slopes = jax.value_and_grad(loss)(floats, params, keys)
        updates, moments = optimiser.update(slopes, moments, floats)
        after = with_floats(params, optax.apply_updates(floats, updates))  # pyright: ignore
        return (after, moments), {"return/mean": -value}

    def shipped(state: tuple[Params, Any]) -> PolicyParams:
        return PolicyParams(state[0], observation.empty(env.obs.size))

    return Strategy(init, step, shipped)


def runner(
    strategy: Strategy, count: int, steps: int, test: Callable[[Params], float]
) -> Callable[[int], Result]:
    """Return what runs generations from a seed and tests what they end with."""

    @(jax.jit if steps > 10**6 else quick)
    def all_of(key: Key) -> Any:
        def one(i: jax.Array, state: Any) -> Any:
            return strategy.step(jax.random.fold_in(key, i), state)[0]

        return jax.lax.fori_loop(0, count, one, strategy.init(key))

    def run(seed: int) -> Result:
        found = strategy.params(all_of(jax.random.key(seed)))
        return Result(test(found.weights), steps)

    return run


def floats_of(params: Params) -> list[jax.Array]:
    """Return the values of all tensors."""
    return [tensor.values for tensor in ternary.tensors(params)]


def with_floats(params: Params, floats: list[jax.Array]) -> Params:
    """Return params with other values."""
    given = zip(ternary.tensors(params), floats, strict=True)
    return ternary.replace_tensors(params, [x._replace(values=values) for x, values in given])


def quick(function: Callable) -> Callable:
    """Return a function compiled fast rather than well."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
