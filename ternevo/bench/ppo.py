"""Updates of our PPO as compiled by `loop.advance`, against the reference PPO's.

Both start from a random policy each time, take the same number of steps in the same number of
environments, and run no tests. The reference runs on one
device, with all threads that XLA gives it, as its users would run it. Ours runs on
all devices, as in a training run, and for comparison on one.
"""

import jax

from ternevo import envs
from ternevo.bench import loop
from ternevo.bench.cases import BesidePPO
from ternevo.bench.contest import Contest, Contestant
from ternevo.bench.measure import compiled
from ternevo.bench.reference_ppo import ReferencePPO, make_env
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ppo import PPO
from ternevo.types import Strategy


def build(setting: BesidePPO) -> Contest:
    """Return ternevo, the reference PPO and, if there are several devices, ternevo on one."""
    count = jax.device_count()
    contestants = [ours("ternevo", setting, count), reference(setting)]
    if count > 1:
        contestants.append(ours("ternevo on one device", setting, 1))
    notes = {"env_steps": setting.env_steps, "devices": count, "devices_of_reference": 1}
    return Contest(contestants, notes)


def ours(name: str, setting: BesidePPO, num_devices: int) -> Contestant:
    """Return the updates of our PPO."""
    contestant = loop.advancing(name, strategy_of(setting), setting.num_updates, num_devices)
    return contestant._replace(env_steps=setting.env_steps)


def strategy_of(setting: BesidePPO) -> Strategy:
    """Return our PPO with the reference's settings, including its extras for brax."""
    env = envs.make(setting.env, setting.episode_length)
    policy = MLP(hidden_sizes=setting.hidden_sizes, activation="tanh", weights="float")
    ppo = PPO(
        num_envs=setting.num_envs,
        num_steps=setting.num_steps,
        num_epochs=setting.num_epochs,
        num_minibatches=setting.num_minibatches,
        lr=setting.lr,
        lr_schedule="linear",
        gamma=setting.gamma,
        gae_lambda=setting.gae_lambda,
        clip_epsilon=setting.clip_epsilon,
        value_clip_epsilon=setting.clip_epsilon,
        value_coefficient=setting.value_coefficient,
        entropy_coefficient=setting.entropy_coefficient,
        max_grad_norm=setting.max_grad_norm,
        normalize_rewards=setting.env.startswith("brax/"),
        critic_hidden_sizes=setting.hidden_sizes,
        critic_activation="tanh",
    )
    built = policy.build(env.obs, env.action)
    return ppo.build(env, built, "float", setting.num_updates)


def reference(setting: BesidePPO) -> Contestant:
    """Return the same number of updates of the reference PPO."""
    ppo = ReferencePPO(setting, make_env(setting.env, setting.episode_length, setting.gamma))
    runner = jax.jit(ppo.init)(jax.random.PRNGKey(0))
    function = jax.jit(ppo.run)
    contestant = compiled("reference PPO", function, runner, run=lambda: function(runner))
    return contestant._replace(generations=setting.num_updates, env_steps=setting.env_steps)
