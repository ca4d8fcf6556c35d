"""Our PPO beside brax's own, with the same settings: `python experiments/brax_ppo_check.py`.

Both train a float policy on a brax environment. At the same steps, the policies play the same
episodes without noise, in one evaluator that belongs to neither. It prints a table, and
writes brax_ppo_check.json and brax_ppo_check.png.

What no setting makes equal:

- Ours quantises observations to 8 bits, with moments of the updates before.
- Brax estimates advantages anew in each gradient step, normalises them within its minibatch, and
  shuffles pieces of `unroll_length` steps. Ours does the first two once an update, and
  shuffles transitions.
- Ours divides rewards by the running standard deviation of the discounted return, its default.
- Where the time limit ends an episode, brax leaves the step out; ours goes on with the critic's
  value. Brax begins all of an environment's episodes in the same state.
- Weights start otherwise (the critic's here are orthogonal), and Adam's epsilon is 1e-5 here,
  1e-8 there.
- With `tanh_normal`, brax's network puts out a standard deviation for each observation where ours
  is one vector, and its action without noise is the tanh of an output that ours clips.
"""

import dataclasses
import functools
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import tyro

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.envs.brax import quiet
from ternevo.files import replace_text, replacing
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.policies.acting import Actor, seen_first
from ternevo.runs import provenance
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ppo import PPO
from ternevo.training import loop
from ternevo.types import Env, Key

EVALUATION = 2**31 - 1
"""Number folded into a seed's key: the episodes of its evaluations, the same for both."""

INITIAL_TANH_DEVIATION = math.log(2) + 0.001
"""Of brax's actions, before tanh, where the network puts out 0: softplus(0) and a least value."""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Train brax's PPO and ours with the same settings, and compare their learning curves."""

    env: str = "brax/ant"
    """A brax environment, "brax/name" or "brax/name@backend"."""
    episode_length: int = 1000
    """Time limit, in training and evaluation."""
    num_seeds: int = 2
    """Runs of each."""
    num_steps: int = 1_000_000
    """Environment steps of a run, rounded up to whole updates between evaluations."""
    num_evaluations: int = 8
    """Evaluations after the one of the untrained policy."""
    num_episodes: int = 32
    """Episodes of an evaluation."""
    num_envs: int = 64
    """Environments side by side."""
    unroll_length: int = 32
    """Steps of each environment in an update."""
    num_epochs: int = 4
    """Passes over the transitions of an update."""
    num_minibatches: int = 4
    """Gradient steps in a pass."""
    lr: float = 3e-4
    """Learning rate of Adam."""
    gamma: float = 0.99
    """Discount of a step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_epsilon: float = 0.2
    """How far the probability ratio may go from 1 and still be rewarded."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus."""
    reward_scale: float = 1.0
    """Factor of rewards in learning."""
    action_distribution: Literal["clipped_normal", "tanh_normal"] = "clipped_normal"
    """What actions are drawn from."""
    init_deviation: float = 0.5
    """Standard deviation of actions in the beginning; brax has its own with tanh_normal, 0.69."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers, with tanh, of the policy and of the critic."""
    out: Path = Path("runs/brax_ppo_check")
    """Where the JSON and the figure go."""

    def __post_init__(self) -> None:
        """Refuse what one of the two cannot do."""
        if not self.env.startswith("brax/"):
            raise ValueError(f"env must be a brax one, such as brax/ant, got {self.env!r}")
        for name in ("num_seeds", "num_steps", "num_evaluations", "num_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_envs % self.num_minibatches:
            raise ValueError(
                f"num_minibatches must divide num_envs = {self.num_envs}, for brax shuffles whole "
                f"pieces of each, got {self.num_minibatches}"
            )

    @property
    def updates_per_evaluation(self) -> int:
        """Updates between two evaluations."""
        per_update = self.num_envs * self.unroll_length
        return -(-self.num_steps // (self.num_evaluations * per_update))


Act = Callable[[Any, jax.Array], jax.Array]
"""From what a policy learned and an observation to its action without noise."""

Curve = list[tuple[int, float]]
"""Environment steps, and the mean return of an evaluation there."""


def main(argv: list[str] | None = None) -> None:
    """Train, compare, write; exit 2 on bad input."""
    try:
        config = tyro.cli(CheckConfig, args=argv, use_underscores=True)
        compare(config)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def compare(config: CheckConfig) -> dict[str, list[Curve]]:
    """Train both for each seed, write and print; return their curves."""
    enable_compilation_cache()
    config.out.mkdir(parents=True, exist_ok=True)
    env = envs.make(config.env, config.episode_length)
    trainers = {"brax": brax_trainer(config, env), "ternevo": our_trainer(config, env)}
    curves: dict[str, list[Curve]] = {name: [] for name in trainers}
    for seed in range(config.num_seeds):
        for name, trainer in trainers.items():
            begin = time.perf_counter()
            curves[name].append(trainer(seed))
            print(f"{name}, seed {seed}: {time.perf_counter() - begin:.0f} s", flush=True)
    write(config, curves)
    print(table(curves))
    return curves


# -------------------------------------------------------------------------------- what is compared


def brax_trainer(config: CheckConfig, env: Env) -> Callable[[int], Curve]:
    """Return what trains brax's PPO with a seed."""
    mend_device_put_replicated()
    with quiet():
        from brax import envs as brax_envs
        from brax.training.acme import running_statistics
        from brax.training.agents.ppo import networks, train as brax_ppo
        from flax import linen

        name, backend = env.id.removeprefix("brax/").split("@")
        bare = brax_envs.get_environment(name, backend=backend)
    is_tanh = config.action_distribution == "tanh_normal"
    if not is_tanh:
        bare = clipping_actions(bare)
    factory = functools.partial(
        networks.make_ppo_networks,
        policy_hidden_layer_sizes=config.hidden_sizes,
        value_hidden_layer_sizes=config.hidden_sizes,
        activation=linen.tanh,
        distribution_type="tanh_normal" if is_tanh else "normal",
        noise_std_type="log",
        init_noise_std=config.init_deviation,
    )
    normalize: Any = running_statistics.normalize  # annotated more narrowly than the factory
    network = factory(env.obs.size, env.action.size, normalize)
    make_policy = networks.make_inference_fn(network)

    def act(learned: Any, obs: jax.Array) -> jax.Array:
        action = make_policy(learned, deterministic=True)(obs, jax.random.PRNGKey(0))[0]
        return jnp.clip(action, -1.0, 1.0)

    evaluate = evaluator(config, env, act)

    def trained(seed: int) -> Curve:
        curve: Curve = []

        def on_policy(step: int, _: Any, learned: Any) -> None:
            curve.append((step, evaluate(seed, learned)))

        with quiet():
            brax_ppo.train(
                bare,
                num_timesteps=config.num_steps,
                num_evals=config.num_evaluations + 1,  # it counts the one before training
                run_evals=False,
                policy_params_fn=on_policy,
                network_factory=factory,
                normalize_observations=True,
                max_devices_per_host=1,
                seed=seed,
                episode_length=config.episode_length,
                num_envs=config.num_envs,
                unroll_length=config.unroll_length,
                # A minibatch of brax is so many pieces of `unroll_length` steps.
                batch_size=config.num_envs // config.num_minibatches,
                num_minibatches=config.num_minibatches,
                num_updates_per_batch=config.num_epochs,
                learning_rate=config.lr,
                discounting=config.gamma,
                gae_lambda=config.gae_lambda,
                clipping_epsilon=config.clip_epsilon,
                vf_loss_coefficient=config.value_coefficient,
                entropy_cost=config.entropy_coefficient,
                reward_scaling=config.reward_scale,
            )
        return curve

    return trained


def clipping_actions(env: Any) -> Any:
    """Return a brax environment for actions of any size: what lies outside [-1, 1] is clipped.

    As in ternevo; by itself the ant's motors clip, but its costs grow with the square.
    """
    with quiet():
        from brax.envs.base import Wrapper

    class ClippedActions(Wrapper):
        def step(self, state: Any, action: jax.Array) -> Any:
            return self.env.step(state, jnp.clip(action, -1.0, 1.0))

    return ClippedActions(env)


def mend_device_put_replicated() -> None:
    """Give jax the function back that brax 0.14.2 calls and jax 0.10 has removed.

    It put a copy of each array on every device, with a leading axis of devices.
    """

    def device_put_replicated(tree: Any, devices: list) -> Any:
        mesh = jax.sharding.Mesh(np.asarray(devices), ("devices",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))
        stacked = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * len(devices)), tree)
        return jax.device_put(stacked, sharding)

    library: Any = jax
    library.device_put_replicated = device_put_replicated


def our_trainer(config: CheckConfig, env: Env) -> Callable[[int], Curve]:
    """Return what trains our PPO with a seed."""
    # With a shift of 2 one standard deviation is about 1, as brax normalises.
    mlp = MLP(config.hidden_sizes, activation="tanh", weights="float", observation_shift=2)
    policy = mlp.build(env.obs, env.action)
    num_updates = config.num_evaluations * config.updates_per_evaluation
    strategy = our_settings(config).build(env, policy, "float", num_updates)

    actor = Actor(policy, env.obs, env.action)

    def act(learned: Any, obs: jax.Array) -> jax.Array:
        quantiser = observation.freeze(learned.moments)
        return actor.act(learned.weights, quantiser, (), seen_first(obs))[1]

    evaluate = evaluator(config, env, act)

    def trained(seed: int) -> Curve:
        state = loop.start(jax.random.key(seed), strategy)
        curve = [(0, evaluate(seed, strategy.params(state.strategy)))]
        per_update, every = config.num_envs * config.unroll_length, config.updates_per_evaluation
        for chunk in loop.train(strategy, state, num_updates, stop_every=(every,)):
            done = int(chunk.state.generation)
            if done % every == 0:
                learned = strategy.params(chunk.state.strategy)
                curve.append((done * per_update, evaluate(seed, learned)))
        return curve

    return trained


def our_settings(config: CheckConfig) -> PPO:
    """Return our settings, as near to brax's as they come."""
    is_tanh = config.action_distribution == "tanh_normal"
    return PPO(
        num_envs=config.num_envs,
        num_steps=config.unroll_length,
        num_epochs=config.num_epochs,
        num_minibatches=config.num_minibatches,
        lr=config.lr,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_epsilon=config.clip_epsilon,
        value_coefficient=config.value_coefficient,
        entropy_coefficient=config.entropy_coefficient,
        max_grad_norm=0.0,
        reward_scale=config.reward_scale,
        action_distribution=config.action_distribution,
        init_log_std=math.log(INITIAL_TANH_DEVIATION if is_tanh else config.init_deviation),
        critic_hidden_sizes=config.hidden_sizes,
        critic_activation="tanh",
    )


def evaluator(config: CheckConfig, env: Env, act: Act) -> Callable[[int, Any], float]:
    """Return what plays a seed's episodes without noise, and returns the mean return."""

    def play(learned: Any, key: Key) -> jax.Array:
        key_reset, key_steps = jax.random.split(key)
        state, obs = env.reset(key_reset, ())

        def one_step(carry: tuple, key: Key) -> tuple[tuple, jax.Array]:
            state, obs, is_alive = carry
            state, timestep = env.step(key, state, act(learned, obs))
            reward = jnp.where(is_alive, timestep.reward, 0.0)
            is_alive &= ~(timestep.terminated | timestep.truncated)
            return (state, timestep.obs, is_alive), reward

        keys = jax.random.split(key_steps, env.episode_length)
        return jnp.sum(jax.lax.scan(one_step, (state, obs, jnp.asarray(True)), keys)[1])

    play_all = jax.jit(jax.vmap(play, (None, 0)))

    def evaluate(seed: int, learned: Any) -> float:
        key = jax.random.fold_in(jax.random.key(seed), EVALUATION)
        return float(jnp.mean(play_all(learned, jax.random.split(key, config.num_episodes))))

    return evaluate


# ------------------------------------------------------------------------------- what is left of it


def statistics(curves: list[Curve]) -> list[tuple[int, float, float]]:
    """Return steps, mean and standard deviation over the seeds, evaluation by evaluation."""
    steps = [step for step, _ in curves[0]]
    returns = np.asarray([[value for _, value in curve] for curve in curves])
    return list(
        zip(steps, returns.mean(axis=0).tolist(), returns.std(axis=0).tolist(), strict=True)
    )


def table(curves: dict[str, list[Curve]]) -> str:
    """Return a line for each evaluation: steps, and of each mean and deviation over seeds."""
    lines = [f"{'steps':>10}" + "".join(f"{name:>12}{'std':>9}" for name in curves)]
    for rows in zip(*map(statistics, curves.values()), strict=True):
        cells = "".join(f"{mean:>12.1f}{deviation:>9.1f}" for _, mean, deviation in rows)
        lines.append(f"{rows[0][0]:>10,}{cells}")
    return "\n".join(lines)


def write(config: CheckConfig, curves: dict[str, list[Curve]]) -> None:
    """Write the figures and the picture."""
    settings = {**dataclasses.asdict(config), "out": str(config.out)}
    record = {"settings": settings, "curves": curves, **provenance.describe()}
    replace_text(config.out / "brax_ppo_check.json", json.dumps(record, indent=2) + "\n")
    figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, seeds in curves.items():
        steps, means, deviations = (np.asarray(x) for x in zip(*statistics(seeds), strict=True))
        axes.plot(steps, means, "o-", ms=3, label=f"{name}, {len(seeds)} seeds")
        axes.fill_between(steps, means - deviations, means + deviations, alpha=0.2, lw=0)
    axes.set(title=f"PPO on {config.env}", xlabel="environment steps", ylabel="return, no noise")
    axes.legend()
    axes.grid(alpha=0.3)
    with replacing(config.out / "brax_ppo_check.png") as temporary:
        figure.savefig(temporary, dpi=120)


if __name__ == "__main__":
    main()
