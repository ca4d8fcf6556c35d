"""A generation in a simulator outside JAX, beside the simulator alone and Gymnasium from Python.

All of them use all cores, except the last: it is what evaluates a policy without ternevo, one
environment that a loop in Python steps. Steps of the simulator alone are those of random actions.
"""

import concurrent.futures
import contextlib
import functools
import math
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ternevo import envs, gym, installation
from ternevo.arithmetic import observation
from ternevo.bench import outside_alone
from ternevo.bench.cases import Outside
from ternevo.bench.contest import Contest, Contestant
from ternevo.bench.loop import advancing
from ternevo.deploy.runtime import Policy
from ternevo.installation import MissingExtra
from ternevo.machine import callbacks, startup
from ternevo.policies import contract
from ternevo.problems.host import WORLDS_PER_WORKER
from ternevo.runs import sinks
from ternevo.settings.policies import MLP, Conv, PolicySettings
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.types import Env, Host


def build(setting: Outside) -> Contest:
    """Return a generation, the suite alone, MuJoCo's rollouts where it is one, and Gymnasium."""
    try:
        env = envs.make(setting.env, setting.episode_length)
    except MissingExtra as missing:
        return Contest([Contestant("ternevo", lambda: None, skipped=str(missing))], {})
    ours = _generation(setting, env)
    contestants = [ours, _alone(ours.env_steps or 0, setting, env), _member_by_member(setting, env)]
    if setting.env.startswith("mujoco/"):
        contestants += _rollouts(setting, env)
    micros = {
        f"CPU us/step of {contestant.name}": cpu_seconds_of(contestant.run) * 1e6 / steps
        for contestant in contestants
        if (steps := contestant.env_steps)
    }
    return Contest(contestants, {"cores": startup.num_cores(), **micros})


def cpu_seconds_of(run: Callable[[], Any]) -> float:
    """Return the CPU time of a run after another, of this process and those that it started.

    Beside wall time it tells whether cores were busy, with this or with other work.
    """
    callbacks.ready(run())
    begin = _cpu_seconds()
    callbacks.ready(run())
    return _cpu_seconds() - begin


def _cpu_seconds() -> float:
    """Return the CPU time of this process and its children so far; NaN where there is no /proc."""
    if not Path("/proc/self/stat").exists():
        return math.nan
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parent, *_, user, system = path.read_text().rpartition(")")[2].split()[1:13]
            is_ours = os.getpid() in (int(parent), int(path.parent.name))
            total += is_ours and int(user) + int(system)
    return total / os.sysconf("SC_CLK_TCK")


def _generation(setting: Outside, env: Env) -> Contestant:
    """Return the first generation of ternary_nes; every run restarts, so the steps are equal."""
    env = contract.shown_to(_settings(setting), env)
    policy = contract.build(_settings(setting), env.obs, env.action)
    nes = TernaryNES(population_size=setting.population_size, num_episodes=1)
    contestant = advancing("ternevo", nes.build(env, policy, "ternary", 1), 1, num_devices=1)
    _, metrics = contestant.run()
    return contestant._replace(env_steps=sinks.steps_of(metrics, 0))


def _settings(setting: Outside) -> PolicySettings:
    if setting.filters:
        return Conv(hidden_sizes=setting.hidden_sizes, filters=setting.filters)
    return MLP(hidden_sizes=setting.hidden_sizes)


def _alone(num_steps: int, setting: Outside, env: Env) -> Contestant:
    """Return the worlds of ternevo with random actions, about as many: a process for each core."""
    assert env.host
    count = startup.num_cores()
    pool = concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
    steps = max(1, num_steps // (count * WORLDS_PER_WORKER))
    job = functools.partial(
        outside_alone.step_worlds, env.host.suite, env.host.name, WORLDS_PER_WORKER
    )

    def run() -> int:
        return sum(pool.map(functools.partial(job, steps, setting.episode_length), range(count)))

    return Contestant("suite alone", run, env_steps=steps * count * WORLDS_PER_WORKER)


def _rollouts(setting: Outside, env: Env) -> list[Contestant]:
    """Return `mujoco.rollout` alone, with the actions of random policies, known beforehand.

    "mujoco.rollout" has a call for each step of the environment, as a policy needs it. The other
    does all steps in one call.
    """
    assert env.host
    policies = _random_policies(setting, env, setting.population_size)
    name, count = env.host.name, startup.num_cores()
    actions = outside_alone.actions_of(name, policies, setting.episode_length)
    steps = actions.shape[0] * actions.shape[1]
    return [
        Contestant(
            title,
            outside_alone.rollouts(name, actions, count, is_open=is_open),
            env_steps=steps,
        )
        for title, is_open in (
            ("mujoco.rollout", False),
            ("mujoco.rollout, all steps at once", True),
        )
    ]


def _member_by_member(setting: Outside, env: Env) -> Contestant:
    """Return one environment of Gymnasium that a loop in Python steps, with deployed policies."""
    assert env.host
    members = setting.members_in_python
    policies = _random_policies(setting, env, members)
    one = _gymnasium(env.host, setting.episode_length)
    run = functools.partial(_evaluate, policies, one)
    return Contestant("member by member", run, env_steps=run())


def _gymnasium(host: Host, episode_length: int) -> Any:
    """Return Gymnasium's own environment, which shows and does the same."""
    limit = {"max_episode_steps": episode_length}
    if host.suite != "atari":
        return gym.make(host.name, limit)
    wrappers = installation.load("an Atari game", "atari", "gymnasium.wrappers")
    game = "".join(word.capitalize() for word in host.name.split("_"))
    frames = {"frameskip": 1, "repeat_action_probability": 0.0}
    env = wrappers.AtariPreprocessing(gym.make(f"ale_py:ALE/{game}-v5", frames))
    env = wrappers.TimeLimit(wrappers.FrameStackObservation(env, 4), **limit)
    space = installation.load("an Atari game", "atari", "gymnasium.spaces")
    last = functools.partial(np.moveaxis, source=0, destination=-1)
    return wrappers.TransformObservation(env, last, space.Box(0, 255, (84, 84, 4), np.uint8))


def _evaluate(policies: list[Policy], env: Any) -> int:
    """Play an episode with each policy; return the number of steps."""
    steps, to_action = 0, gym.actor(env.action_space)
    observe = gym.observer(env.observation_space)
    for member, policy in enumerate(policies):
        obs, is_over = env.reset(seed=member)[0], False
        while not is_over:
            obs, _, terminated, truncated, _ = env.step(to_action(policy.act(observe(obs))))
            steps, is_over = steps + 1, terminated or truncated
    return steps


def _random_policies(setting: Outside, env: Env, count: int) -> list[Policy]:
    """Return policies as a generation begins with."""
    policy = contract.build(_settings(setting), env.obs, env.action)
    assert policy.encoder
    encode: Callable[..., bytes] = policy.encoder()
    seen = observation.empty(env.obs.size)
    quantiser = jax.tree.map(np.asarray, observation.freeze(seen, env.obs.kind))
    keys = jax.random.split(jax.random.key(0), count)
    members = [jax.tree.map(np.asarray, policy.init(key)) for key in keys]
    return [Policy.from_bytes(encode(member, quantiser)) for member in members]
