"""Generations of the whole loop as compiled by `loop.advance`, with ternary_nes."""

from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms import Open_ES

from ternevo import envs
from ternevo.bench import rivals
from ternevo.bench.cases import LoopBesideEvosax, LoopOverhead
from ternevo.bench.contest import Contest, Contestant
from ternevo.bench.measure import compiled
from ternevo.machine import devices
from ternevo.runs import sinks
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.strategies.numbered import inside
from ternevo.training import loop
from ternevo.types import Env, EnvState, Key, ObservationMoments, Strategy, Timestep


def build_overhead(setting: LoopOverhead) -> Contest:
    """Return the loop, and the loop with episodes of one step that costs nothing.

    The time of the second is slightly more than a generation spends outside its episodes.
    It is an upper bound, and not the difference of two large times.
    """
    env = envs.make(setting.env, setting.episode_length)
    ours, notes = generation("ternevo", env, setting)
    rest, _ = generation("all but episodes", without_episodes(env), setting)
    return Contest([ours, rest._replace(env_steps=None)], notes)


def build_beside_evosax(setting: LoopBesideEvosax) -> Contest:
    """Return one of our generations, and one of evosax's Open_ES with its own defaults."""
    env = envs.make(setting.env, setting.episode_length)
    ours, notes = generation("ternevo", env, setting)
    return Contest([ours, evosax(setting, env)], notes)


def without_episodes(env: Env) -> Env:
    """Return the environment with a first step that does nothing and ends the episode."""

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key, action
        obs = jnp.zeros(env.obs.size)
        return state, Timestep(obs, jnp.zeros(()), jnp.asarray(True), jnp.asarray(False))

    return env._replace(episode_length=1, step=step)


def generation(
    name: str, env: Env, setting: LoopOverhead | LoopBesideEvosax
) -> tuple[Contestant, dict[str, Any]]:
    """Return the first generation of ternary_nes; every run restarts, so the steps are equal."""
    policy = MLP(hidden_sizes=setting.hidden_sizes).build(env.obs, env.action)
    nes = TernaryNES(population_size=setting.population_size, num_episodes=1)
    strategy = nes.build(env, policy, "ternary", 1)
    contestant = advancing(name, strategy, 1)
    _, metrics = contestant.run()
    steps = sinks.steps_of(metrics, 0)
    notes = {"mean_length": float(metrics["episode/length"][0]), "env_steps": steps}
    return contestant._replace(env_steps=steps), notes


def advancing(
    name: str, strategy: Strategy, num_generations: int, num_devices: int = 0
) -> Contestant:
    """Return the first generations of a strategy, from the same state each time.

    Args:
      name: the name of the contestant.
      strategy: the strategy.
      num_generations: number of generations.
      num_devices: number of devices; 0 uses all.
    """
    strategy = without_looks(strategy)
    with devices.on_all_devices(num_devices):
        state = loop.start(jax.random.key(0), strategy)
    count = jnp.asarray(num_generations, jnp.int32)

    def run() -> Any:
        # A copy, because `advance` consumes the state; it is as large as one member, not all.
        with devices.on_all_devices(num_devices):
            return loop.advance(strategy, jax.tree.map(jnp.copy, state), count)

    with devices.on_all_devices(num_devices):
        contestant = compiled(name, loop.advance, strategy, state, count, run=run)
    return contestant._replace(generations=num_generations)


def without_looks(strategy: Strategy) -> Strategy:
    """Return the strategy with moments as if observations had been seen.

    Otherwise the first generation of a run would take a few extra steps, see
    `observation.NUM_LOOKS`.
    """

    def has_seen(state: Any) -> Any:
        seen = {
            name: moments._replace(
                count=jnp.ones_like(moments.count), deviation=jnp.ones_like(moments.deviation)
            )
            for name, moments in state._asdict().items()
            if isinstance(moments, ObservationMoments)
        }
        return state._replace(**seen)

    def init(key: Key, *numbers: Any) -> Any:
        return inside(strategy.init(key, *numbers), has_seen)

    return strategy._replace(init=init)


def evosax(setting: LoopBesideEvosax, env: Env) -> Contestant:
    """Return evosax's ask, eval and tell called from Python, each jitted by evosax itself."""
    problem = rivals.evosax_problem(setting, env.action)
    keys = jax.random.split(jax.random.key(0), 4)
    solution = problem.sample(keys[0])
    algorithm = Open_ES(setting.population_size, solution)
    params, problem_state = algorithm.default_params, problem.init(keys[0])
    state = algorithm.init(keys[0], solution, params)

    def run() -> Any:
        population, asked = algorithm.ask(keys[1], state, params)
        fitness, evaluated, _ = problem.eval(keys[2], population, problem_state)
        told, _ = algorithm.tell(keys[3], population, -fitness, asked, params)
        return told, evaluated

    parts = _compile_evosax(algorithm, params, state, problem, problem_state, keys)
    steps = setting.population_size * setting.episode_length
    return Contestant(
        "evosax",
        run,
        env_steps=steps,
        generations=1,
        compile_seconds=sum(part.compile_seconds or 0.0 for part in parts),
        peak_bytes=max(part.peak_bytes or 0 for part in parts),
        skipped="; ".join(part.skipped for part in parts if part.skipped),
    )


def _compile_evosax(
    algorithm: Any, params: Any, state: Any, problem: Any, problem_state: Any, keys: Key
) -> list[Contestant]:
    """Compile the three parts for the shapes of the arrays that they exchange."""
    population, asked = jax.eval_shape(algorithm.ask, keys[1], state, params)
    fitness, _, _ = jax.eval_shape(problem.eval, keys[2], population, problem_state)
    kind = type(algorithm)
    calls = [
        ("evosax ask", kind.ask, (algorithm, keys[1], state, params)),
        ("evosax eval", type(problem).eval, (problem, keys[2], population, problem_state)),
        ("evosax tell", kind.tell, (algorithm, keys[3], population, fitness, asked, params)),
    ]
    return [
        compiled(name, function, *arguments, run=lambda: None)
        for name, function, arguments in calls
    ]
