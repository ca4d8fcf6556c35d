"""Turn a command line and a YAML page into one frozen `RunConfig`.

A page is stored arguments: its keys are placed before the real arguments. So the
command line wins, and a misspelt key gets the same message as a misspelt flag.
JAX is not imported here, so that `--help` answers quickly.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from ternevo.commands import prog
from ternevo.machine import startup
from ternevo.names import check, lookup_settings
from ternevo.settings import listing, options, pages, smoke, spelling
from ternevo.settings.environments import is_outside_jax
from ternevo.settings.flags import Box, first_line, in_boxes, options_in, values_in
from ternevo.settings.flat import changed, check as check_settings, flat
from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, option, unseen
from ternevo.settings.parser import MARKERS, call, error_in_a_line
from ternevo.settings.policies import POLICIES, PolicySettings
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.parts import density_of
from ternevo.settings.strategies.settings import Settings
from ternevo.settings.wrappers import Wrappers

TRACKERS = ("tensorboard", "wandb")


class ConfigError(ValueError):
    """A page or the command line is invalid."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run."""

    strategy: Settings
    """Strategy settings."""
    policy: PolicySettings
    """Policy settings."""
    env: str = option("gymnax/CartPole-v1", of_the_arm=False)
    """Environment id, such as brax/ant, brax/ant@positional or gymnax/CartPole-v1."""
    episode_length: int | None = None
    """Time limit of an episode, in steps; defaults to the environment's own."""
    wrappers: Wrappers = Wrappers()
    num_generations: int = option(100, COUNT, free_on_resume=True)
    """Total number of generations, including those before a resume."""
    seed: int = option(0, of_the_arm=False)
    """Random seed of the run."""
    num_seeds: int = option(1, COUNT, of_the_arm=False, costs_memory=True)
    """Number of seeds to train together, starting at --seed; see docs/scaling.md."""
    init_from: Path | None = None
    """Run or policy file to start from: its (best) policy and its observation moments."""
    name: str | None = unseen(None)
    """Name of the run's folder. Defaults to the next free one of "seed0", "seed0-run2", ..., with
    "seed0-4" for five seeds, and to <sweep>-<run> in a trial of a wandb agent."""
    runs_dir: Path = unseen(Path("runs"))
    """Folder for runs; each is stored in <runs_dir>/<env>/<strategy>/<name>."""
    resume: bool = unseen(False)
    """Resume the run of this name from its newest checkpoint; without --name, the newest run with
    these settings."""
    eval_every: int = option(10, COUNT)
    """Evaluate the shipped policy every N generations."""
    num_eval_episodes: int = option(32, COUNT)
    """Number of episodes per evaluation; their random keys are never used in training."""
    num_final_episodes: int = option(128, COUNT, free_on_resume=True)
    """Number of fresh episodes that evaluate the last and the best policy after training."""
    eval_env: str | None = unseen(None)
    """Another environment in which the best policy is evaluated after training, such as tasks that
    were not trained on."""
    checkpoint_every: int = unseen(50, COUNT)
    """Save a checkpoint every N generations, and at the end."""
    checkpoint_buffers: bool = option(True, of_the_arm=False)
    """Store buffers, such as replay buffers, in checkpoints. Without them a resumed run refills
    them and gives different results. No effect on strategies without buffers."""
    chunk_size: int = unseen(0, NOT_NEGATIVE)
    """Generations per compiled call; 0 for about two seconds' worth. Does not affect results."""
    track: str = unseen("")
    """Trackers that get metrics and results: tensorboard, wandb or tensorboard,wandb. wandb also
    gets the policies."""
    wandb_project: str = unseen("ternevo")
    """wandb project."""
    wandb_group: str | None = unseen(None)
    """wandb group; defaults to the sweep in a trial of a wandb agent."""
    wandb_tags: str = unseen("")
    """wandb tags, comma-separated."""
    wandb_mode: Literal["online", "offline"] | None = unseen(None)
    """wandb mode; defaults to WANDB_MODE, or to wandb's own default."""
    render: bool = unseen(True)
    """Render an episode of the best policy after training."""
    render_every: int = unseen(0, NOT_NEGATIVE)
    """Draw an episode of the current policy every N generations; 0 for never. It goes to the run's
    episodes/ folder and to the trackers. Of several seeds, only the first is drawn."""
    num_devices: int = unseen(0, NOT_NEGATIVE)
    """Number of devices, or of CPU devices per process if --distributed; 0 for all (CPU: one per
    core, up to 8). Of environments outside JAX, such as mujoco/..., the number of processes that
    simulate."""
    distributed: bool = unseen(False)
    """Split the run over several hosts; start the same command on each. See docs/scaling.md."""
    compilation_cache: bool = unseen(True)
    """Cache compiled programs in JAX_COMPILATION_CACHE_DIR, or else in ~/.cache/ternevo/jax."""
    profile: Path | None = unseen(None)
    """Folder for a JAX profiler trace of one chunk; see docs/profiling.md."""

    strategy_name: str = "ternary_nes"
    """The name of the strategy; --strategy sets it."""
    policy_name: str = "mlp"
    """The name of the policy; --policy sets it."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers and unknown trackers."""
        for record in (self, self.strategy, self.policy):  # a user's own class may not check itself
            check_settings(record)
        for name in filter(None, self.track.split(",")):
            check("tracker", name.strip(), TRACKERS)
        if self.distributed and is_outside_jax(self.env):
            raise ValueError(
                f"{self.env} is simulated by processes of one host: leave out --distributed, and "
                "start a run for each seed on a host of its own"
            )
        if self.distributed and self.num_seeds > 1:
            raise ValueError(
                f"--distributed splits one seed over the hosts, got --num_seeds {self.num_seeds}: "
                "start one run per seed, or train some of the seeds on each host"
            )
        if self.init_from is not None and density_of(self.strategy) is not None:
            raise ValueError(
                "--density is of weights that are drawn, and --init_from gives them: leave out one "
                "of the two"
            )

    def check_lifetime(self) -> None:
        """Refuse a lifetime whose last episode, which alone counts, comes before all is learned.

        An environment of somebody's own may have lives without the wrapper.

        Raises:
          ValueError: it does.
        """
        least, given = self.policy.least_lifetime, self.wrappers
        if given.lifetime < least and given.counted == "last" and ":" not in self.env:
            raise ValueError(
                f"--lifetime must be at least {least} for this --policy {self.policy_name}, which "
                f"learns for {least - 1} episodes before the one that counts, got {given.lifetime}"
                "; --counted all counts them all"
            )

    @property
    def seeds(self) -> range:
        """Return the seeds trained together."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def num_jax_devices(self) -> int:
        """Return the number of devices of JAX: one if the simulator is outside it."""
        return 1 if is_outside_jax(self.env) else self.num_devices

    @property
    def seed_label(self) -> str:
        """Return the seeds as text: "0", or "0-4"."""
        return f"{self.seed}-{self.seeds[-1]}" if self.num_seeds > 1 else f"{self.seed}"


PICKED = ("config", "strategy", "policy")
"""The options that decide which other options there are."""

LISTS = {"list_strategies": listing.strategies, "list_envs": listing.envs}
"""Options that print a list instead of training."""

OWN = "package.module:Class of your own"
GENERAL = (
    ("config", Path | None, "PAGE", "A YAML page of options; the command line wins over it."),
    ("list_strategies", bool | None, "", "List the strategies, and exit."),
    ("list_envs", bool | None, "", "List the environments, and exit."),
)
"""The options of no box: name, type, what stands for the value, and help."""

CHOICES = ("strategy", "policy", "strategy_name", "policy_name")
"""Fields of `RunConfig` that say which strategy and policy."""

TASK = ("env", "episode_length")
INITIAL = ("init_from",)
MACHINE = (
    *("track", "wandb_project", "wandb_group", "wandb_tags", "wandb_mode", "render"),
    *("render_every", "chunk_size", "num_devices", "distributed", "compilation_cache", "profile"),
)
"""Options of `RunConfig` by the box of the help that shows them; the others are shown as those of
the run. A field that is not an option is not shown."""

EXAMPLES = (
    "--env gymnax/CartPole-v1 --num_generations 50",
    "--env brax/hopper --strategy ternary_nes --population_size 512 --hidden_sizes 32,32",
    "--env gymnax/Acrobot-v1 --num_seeds 5 --track tensorboard,wandb --no_render",
    "--config experiments/gymnax_cartpole.yaml --seed 3   # a page of options",
    "--env gymnax/CartPole-v1 --num_generations 200 --resume   # continue the same run",
    "--strategy ppo --help   # the options of another strategy",
)


def parse(argv: list[str] | None = None) -> RunConfig:
    """Return the configuration that `argv` describes; it defaults to `sys.argv[1:]`.

    Raises:
      SystemExit: after printing help or a list (status 0), or an error (status 2).
    """
    argv = sys.argv[1:] if argv is None else argv
    with error_in_a_line():  # also for a ConfigError and an UnknownName
        return smoke.shortened(_parse(argv))


def _parse(argv: list[str]) -> RunConfig:
    _show_list(argv)
    picked, rest = options.taken(PICKED, argv)
    page = _read_page(Path(picked["config"])) if "config" in picked else _Page({}, {})
    first = next(iter(page.blocks), "ternary_nes")
    strategy_name = picked.get("strategy") or page.name_of("strategy", first)
    policy_name = picked.get("policy") or page.name_of("policy", "mlp")
    if ":" in strategy_name + policy_name:  # a user's own module may start JAX
        startup.tell_num_devices(_num_devices(rest, page.options_of(strategy_name)))
    strategy = lookup_settings("strategy", strategy_name, STRATEGIES, Settings)
    policy = lookup_settings("policy", policy_name, POLICIES, PolicySettings)
    default = RunConfig(strategy(), policy(), strategy_name=strategy_name, policy_name=policy_name)
    _check_names_are_unique(default)
    return _parse_options(default, rest, page.options_of(strategy_name))


def hint_at_page(config: RunConfig, argv: list[str] | None = None) -> str:
    """Return a line about the page with settings for this environment, if it was not asked for."""
    picked, _ = options.taken(PICKED, sys.argv[1:] if argv is None else argv)
    found = None if "config" in picked else pages.of_environment(config.env)
    if found is None or config.strategy_name not in found[1].get("strategies", {}):
        return ""
    return f"--config {found[0]} has settings chosen for this environment"


def _show_list(argv: list[str]) -> None:
    """Print the list that is asked for, if any, and exit."""
    for name, text in LISTS.items():
        if name in map(options.name_of, argv):
            print(text())
            raise SystemExit(0)


def _parse_options(default: RunConfig, argv: list[str], page: dict[str, Any]) -> RunConfig:
    """Return the configuration, once its strategy and its policy are known."""
    types = _types(default)
    arguments = options.written_out([*options.from_page(page, types), *argv], types)
    known = [*types, *PICKED, *LISTS]
    spelling.check_known(arguments, known, lambda: _elsewhere(known), takes_words=False)
    shown = boxes(default)
    found = call(
        lambda: tyro.cli(
            shown, args=arguments, prog=prog("run"), use_underscores=True, config=MARKERS
        ),
        prog("run"),
        EXAMPLES,
    )
    values = values_in(found)
    strategy, policy, run = (
        changed(settings, **{name: values[name] for name in names})
        for settings, names in (
            (default.strategy, flat(default.strategy)),
            (default.policy, flat(default.policy)),
            (default, _names_of_run(default)),
        )
    )
    return dataclasses.replace(run, strategy=strategy, policy=policy)


def _names_of_run(config: RunConfig) -> list[str]:
    """Return the options of a run that belong to neither its strategy nor its policy."""
    return [name for name in flat(config) if name not in CHOICES]


def _types(config: RunConfig) -> options.Types:
    types = options.types(config, config.strategy, config.policy)
    return {name: kind for name, kind in types.items() if name not in CHOICES}


def _elsewhere(known: Collection[str]) -> dict[str, str]:
    """Return the policies or strategies that have an option, by the name of the option."""
    places: dict[str, str] = {}
    for choice, kinds in (("policy", POLICIES), ("strategy", STRATEGIES)):
        found: dict[str, list[str]] = {}
        for own, kind in kinds.items():
            for name in options.types(kind).keys() - known:
                found.setdefault(name, []).append(own)
        places |= {name: f"--{choice} {', '.join(own)}" for name, own in found.items()}
    return places


def boxes(config: RunConfig, is_closed: bool = False) -> Any:
    """Return the options of a run as the boxes in which the help shows them.

    Args:
      config: the strategy and the policy whose options they are.
      is_closed: whether the built-in strategies and policies are the only ones.
    """
    choices = (STRATEGIES, POLICIES) if is_closed else ((), ())
    of_task, of_run = [*TASK, *flat(config.wrappers)], _names_of_run(config)
    others = [name for name in of_run if name not in (*of_task, *INITIAL, *MACHINE)]
    strategies, policies = ", ".join(STRATEGIES), ", ".join(POLICIES)
    return in_boxes(
        Box("", _about(config), [_switch(*one) for one in GENERAL]),
        [
            Box("task", "The environment, and wrappers around it.", options_in(config, of_task)),
            Box(
                "policy",
                f"The policy and its weights. {first_line(type(config.policy))}",
                [
                    _choice(
                        "policy",
                        config.policy_name,
                        f"What to train: {policies}, or {OWN}.",
                        choices[1],
                    ),
                    *options_in(config.policy),
                    *options_in(config, INITIAL),
                ],
            ),
            Box(
                "strategy",
                f"What searches the weights. {first_line(type(config.strategy))}",
                [
                    _choice(
                        "strategy",
                        config.strategy_name,
                        f"{strategies}, or {OWN}. Each has its own options: those below.",
                        choices[0],
                    ),
                    *options_in(config.strategy),
                ],
            ),
            Box(
                "run", "Length, seeds, evaluation, checkpoints, folder.", options_in(config, others)
            ),
            Box(
                "tracking, drawing and machine",
                "Where metrics and pictures go, and what the run computes on.",
                options_in(config, MACHINE),
            ),
        ],
    )


def _choice(name: str, default: str, help: str, choices: Collection[str]) -> tuple[str, Any, str]:
    kind = Literal[tuple(choices)] if choices else str  # pyright: ignore[reportInvalidTypeForm]
    default_name = getattr(RunConfig, f"{name}_name")
    shown = tyro.conf.arg(help=help, help_behavior_hint=f"(default: {default_name})")
    return name, Annotated[kind, shown], default


def _switch(name: str, kind: Any, metavar: str, help: str) -> tuple[str, Any, Any]:
    shown = tyro.conf.arg(help=help, metavar=metavar, help_behavior_hint="")
    return name, Annotated[kind, shown], None


def _about(config: RunConfig) -> str:
    return (
        f"Train a policy. The options are those of --strategy {config.strategy_name}; each is "
        "--name value or --name=value, and True or False may be left out: --resume, --no_render."
    )


def _num_devices(argv: list[str], page: dict[str, Any]) -> int:
    """Return --num_devices before all options are known; 0 if missing or not a number."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--num_devices", "--num-devices", default=page.get("num_devices"), nargs="?")
    found = str(peek.parse_known_args(argv)[0].num_devices)
    return int(found) if found.isdecimal() else 0


def _check_names_are_unique(config: RunConfig) -> None:
    """Refuse a user's own settings whose names clash with the run's or with each other."""
    owners: dict[str, str] = {}
    for record in (config, config.strategy, config.policy):
        owner = type(record).__name__
        for name in flat(record):
            if name in owners:
                raise ConfigError(
                    f"{owner} and {owners[name]} both have a field {name!r}; the options of a run "
                    "must have different names"
                )
            owners[name] = owner


class _Page(NamedTuple):
    """Contents of a page: its options, and further options for each strategy."""

    options: dict[str, Any]
    blocks: dict[str, dict[str, Any]]

    def name_of(self, key: str, default: str) -> str:
        """Return the name under `strategy` or `policy`, or the default if the page has none."""
        name = self.options.get(key, default)
        if not isinstance(name, str):
            raise ConfigError(f"{key} in a page must be a name, such as {default!r}, got {name!r}")
        return name

    def options_of(self, strategy_name: str) -> dict[str, Any]:
        """Return the options for a strategy; its own block wins."""
        own = self.blocks.get(strategy_name, {})
        shared = {k: v for k, v in self.options.items() if k not in ("strategy", "policy")}
        return {**shared, **own}


def _read_page(named: Path) -> _Page:
    path = pages.find(named)
    page = _mapping(pages.read(path, as_written=True), str(path))
    blocks = _mapping(page.pop("strategies", None) or {}, f"strategies in {path}")
    for name in blocks:
        if ":" not in name:
            check(f"strategy under strategies in {path}", name, STRATEGIES)
    return _Page(
        page,
        {name: _mapping(own or {}, f"{name} in {path}") for name, own in blocks.items()},
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    """Return options by name, accepting both - and _ in names."""
    if not isinstance(value, dict):
        found = "empty" if value is None else f"a {type(value).__name__}"
        raise ConfigError(f"{where} must be a mapping of options, but is {found}")
    names = {name: name.replace("-", "_") for name in value}
    for name, clean in names.items():
        if clean in value and clean != name:
            raise ConfigError(f"{where} has both {name!r} and {clean!r}, which are the same option")
        if clean in ("config", "help", *LISTS):
            raise ConfigError(f"{where} has the key {name!r}, which only a command line can have")
    return {names[name]: own for name, own in value.items()}


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as JSON values."""
    blocks = {"strategy": flat(config.strategy), "policy": flat(config.policy)}
    return json.loads(json.dumps({**flat(config), **blocks}, default=str))
