"""Build the parts of a run from its configuration."""

from typing import NamedTuple

from ternevo import envs, problems
from ternevo.machine import profiling
from ternevo.machine.compilation_cache import disable_compilation_cache, enable_compilation_cache
from ternevo.machine.phases import Phases
from ternevo.names import of_type
from ternevo.policies import contract
from ternevo.runs import run_folder
from ternevo.runs.run_folder import RunFolder
from ternevo.settings.command_line import RunConfig
from ternevo.settings.environments import is_outside_jax
from ternevo.settings.flat import flat
from ternevo.strategies import warm_start
from ternevo.strategies.across_seeds import across_seeds
from ternevo.strategies.warm_start import Start
from ternevo.training.evaluation import Evaluation
from ternevo.types import Env, Host, Policy, Strategy


class Setup(NamedTuple):
    """The parts of a run, built from its configuration."""

    config: RunConfig
    env: Env
    policy: Policy
    strategy: Strategy
    evaluation: Evaluation
    folder: RunFolder
    start: Start | None
    time: Phases

    @property
    def seed_folders(self) -> dict[int, RunFolder]:
        """The folder of each seed."""
        return run_folder.seed_folders(self.config, self.folder)

    def title(self, seed: int | str) -> str:
        """Return the title of a learning curve."""
        config = self.config
        return f"{self.env.id}, {config.strategy_name}, {config.policy.weights}, seed {seed}"


def build(config: RunConfig, time: Phases | None = None) -> Setup:
    """Build the environment, policy and strategy, without touching the run's folder."""
    config.check_lifetime()
    if config.profile:
        profiling.make_profile_folder(config.profile)
    (enable_compilation_cache if config.compilation_cache else disable_compilation_cache)()
    made = envs.make(config.env, config.episode_length, config.wrappers)
    if made.host and is_outside_jax(config.env) and config.num_devices:
        made = made._replace(host=_in_processes(made.host, config.num_devices))
    env = contract.shown_to(config.policy, made)
    policy = contract.build(config.policy, env.obs, env.action)
    if config.eval_env:
        elsewhere_of(config, env)  # before anything is trained
    folder = run_folder.folder_of(config, env.id)
    source = run_folder.start_of(config, folder)
    begin = None
    if source:  # the run's own class is already imported; a file may not name another
        kind, trust = config.policy.weights, config.policy_name
        how = flat(config.strategy).get("ternarizer", "absmean")
        begin = warm_start.load(source, env, policy, kind, trust, how)
        warm_start.check_windows(begin, config.policy.windows)
    strategy = build_strategy(config, env, policy, begin)
    evaluation = evaluation_of(config, env, policy, config.num_seeds)
    return Setup(config, env, policy, strategy, evaluation, folder, begin, time or Phases())


def elsewhere_of(config: RunConfig, env: Env) -> Env:
    """Return the environment of `--eval_env`, with the wrappers of the run.

    Raises:
      UnknownName: there is no such environment.
      ValueError: it has other observations or actions than that of the run.
    """
    made = envs.make(str(config.eval_env), config.episode_length, config.wrappers)
    other = contract.shown_to(config.policy, made)
    if (other.obs, other.action) != (env.obs, env.action):
        raise ValueError(
            f"--eval_env {other.id} has other observations or actions than {env.id}: "
            f"{other.obs}, {other.action} and not {env.obs}, {env.action}"
        )
    return other


def _in_processes(host: Host, count: int) -> Host:
    """Return where an environment is simulated, by that many processes.

    Raises:
      ValueError: they are more than the cores, and would only wait for each other.
    """
    if count > host.num_workers:
        raise ValueError(
            f"num_devices must be at most {host.num_workers}, the number of cores, got {count}: "
            f"{host.suite}/{host.name} is simulated by that many processes"
        )
    return host._replace(num_workers=count)


def build_strategy(config: RunConfig, env: Env, policy: Policy, begin: Start | None) -> Strategy:
    """Build the strategy that the loop runs, with warm start and all seeds."""
    first = warm_start.start_from(policy, begin.params.weights) if begin else policy
    built = config.strategy.build(env, first, config.policy.weights, config.num_generations)
    strategy = of_type(f"what {type(config.strategy).__name__}.build returns", built, Strategy)
    if begin:
        strategy = warm_start.with_moments(strategy, begin.params.moments)
    return across_seeds(strategy, config.num_seeds)


def evaluation_of(config: RunConfig, env: Env, policy: Policy, num_seeds: int) -> Evaluation:
    """Return how a run evaluates the policies of its seeds, or a tuner those of its trials."""
    return Evaluation(
        problems.of(policy, env),
        config.eval_every,
        config.num_eval_episodes,
        config.num_final_episodes,
        num_seeds,
        best_from=config.strategy.best_from(config.num_generations),
    )
