"""From the command line and a YAML page to one frozen `RunConfig`.

A page is arguments at rest: its keys are put before the real arguments, so
later ones win, and a misspelt key and a misspelt flag get the same message.
JAX is not imported here, so that `--help` answers quickly.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from ternevo.machine import startup
from ternevo.names import UnknownName, check, lookup_settings
from ternevo.settings import options, pages
from ternevo.settings.flags import flattened
from ternevo.settings.flat import changed, check as check_settings, flat
from ternevo.settings.meaning import COUNT, NOT_NEGATIVE, option, unseen
from ternevo.settings.policies import POLICIES, PolicySettings
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.settings import Settings
from ternevo.settings.wrappers import Wrappers

MARKERS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.FlagConversionOff,
    tyro.conf.UsePythonSyntaxForLiteralCollections,
    tyro.conf.AvoidSubcommands,
)


TRACKERS = ("tensorboard", "wandb")


class ConfigError(ValueError):
    """A page or the command line cannot be understood."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything a run is determined by."""

    strategy: Settings
    """Settings of the strategy."""
    policy: PolicySettings
    """Settings of the policy."""
    env: str = option("gymnax/CartPole-v1", of_the_arm=False)
    """Environment id, such as brax/ant, brax/ant@positional, gymnax/CartPole-v1."""
    episode_length: int | None = None
    """Time limit of an episode in steps; the environment's own if not given."""
    wrappers: Wrappers = Wrappers()
    num_generations: int = option(100, COUNT, free_on_resume=True)
    """Generations to run, counted from the very beginning, also when resumed."""
    seed: int = option(0, of_the_arm=False)
    """Seed of all random numbers."""
    num_seeds: int = option(1, COUNT, of_the_arm=False, costs_memory=True)
    """Train so many seeds, --seed and those after it, in one program; see docs/scaling.md."""
    init_from: Path | None = None
    """Start from the best policy of this run, or from a policy file, and from its moments."""
    name: str | None = unseen(None)
    """Name of the run in its folder; "seed0", or "seed0-4" for five, if not given, and in a trial
    of a wandb agent <sweep>-<run>."""
    runs_dir: Path = unseen(Path("runs"))
    """Where runs are kept, as <runs_dir>/<env>/<strategy>/<name>."""
    resume: bool = unseen(False)
    """Go on from the newest checkpoint of the run of this name."""
    eval_every: int = option(10, COUNT)
    """Evaluate the shipped policy every so many generations."""
    num_eval_episodes: int = option(32, COUNT)
    """Episodes of such an evaluation, on keys apart from training."""
    num_final_episodes: int = option(128, COUNT, free_on_resume=True)
    """Fresh episodes for the two policies, last and best, when the run is done."""
    checkpoint_every: int = unseen(50, COUNT)
    """Save a checkpoint every so many generations, and at the end."""
    checkpoint_buffers: bool = option(True, of_the_arm=False)
    """Keep buffers, such as replay buffers, in checkpoints. Without them a resumed run fills new
    ones and goes on differently; strategies without buffers do not notice."""
    chunk_size: int = unseen(0, NOT_NEGATIVE)
    """Generations in one compiled call; 0 for about two seconds' worth. It changes no result."""
    track: str = unseen("")
    """Where to send metrics besides metrics.jsonl: tensorboard, wandb, or both with a comma."""
    wandb_project: str = unseen("ternevo")
    """Project in wandb."""
    wandb_group: str | None = unseen(None)
    """Group in wandb; in a trial of a wandb agent its sweep, if not given."""
    wandb_tags: str = unseen("")
    """Tags in wandb, with commas between."""
    wandb_mode: Literal["online", "offline"] | None = unseen(None)
    """Mode of wandb; its own default, or WANDB_MODE, if not given."""
    render: bool = unseen(True)
    """Render an episode of the best policy when the run is done."""
    render_every: int = unseen(0, NOT_NEGATIVE)
    """Draw an episode of the current policy every so many generations, of several seeds that of the
    first one: into episodes/ of its run, and to what --track names. 0 for never."""
    num_devices: int = unseen(0, NOT_NEGATIVE)
    """Devices to use, in all or, when --distributed, of CPU; 0: all, on CPU one a core up to 8."""
    distributed: bool = unseen(False)
    """Share it among several hosts, with the same command on each; see docs/scaling.md."""
    compilation_cache: bool = unseen(True)
    """Keep compiled programs for next time: JAX_COMPILATION_CACHE_DIR, or ~/.cache/ternevo/jax."""
    profile: Path | None = unseen(None)
    """Write a jax profiler trace of one chunk into this folder; see docs/profiling.md."""

    strategy_name: tyro.conf.Suppress[str] = "ternary_nes"
    policy_name: tyro.conf.Suppress[str] = "mlp"

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and trackers that are not known."""
        for record in (self, self.strategy, self.policy):  # a user's own may not do it themselves
            check_settings(record)
        for name in filter(None, self.track.split(",")):
            check("tracker", name.strip(), TRACKERS)
        if self.distributed and self.num_seeds > 1:
            raise ValueError(
                f"--distributed shares one seed among hosts, got --num_seeds {self.num_seeds}: "
                "start a run for each seed, or for some of them on each host"
            )

    @property
    def seeds(self) -> range:
        """Return the seeds that are trained together."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def seed_label(self) -> str:
        """Return the seeds as text: "0", or "0-4"."""
        return f"{self.seed}-{self.seeds[-1]}" if self.num_seeds > 1 else f"{self.seed}"


def parse(argv: list[str] | None = None) -> RunConfig:
    """Return the configuration of `argv`, `sys.argv[1:]` if not given.

    Raises:
      SystemExit: after printing help (0) or what is wrong (2).
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _parse(argv)
    except (ConfigError, UnknownName, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _parse(argv: list[str]) -> RunConfig:
    pick = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    pick.add_argument("--config", type=Path)
    pick.add_argument("--strategy")
    pick.add_argument("--policy")
    picked, rest = pick.parse_known_args(argv)
    page = _read_page(picked.config) if picked.config else _Page({}, {})
    first = next(iter(page.blocks), "ternary_nes")
    strategy_name = picked.strategy or page.name_of("strategy", first)
    policy_name = picked.policy or page.name_of("policy", "mlp")
    if ":" in strategy_name + policy_name:  # their modules may start JAX
        startup.tell_num_devices(_num_devices(rest, page.options_of(strategy_name)))
    strategy = lookup_settings("strategy", strategy_name, STRATEGIES, Settings)
    policy = lookup_settings("policy", policy_name, POLICIES, PolicySettings)
    default = RunConfig(strategy(), policy(), strategy_name=strategy_name, policy_name=policy_name)
    _check_names_are_unique(default)
    types = options.types(default, default.strategy, default.policy)
    at_rest = options.from_page(page.options_of(strategy_name), types)
    parsed = tyro.cli(
        RunConfig,
        default=dataclasses.replace(
            default,
            strategy=flattened(default.strategy, Settings),
            policy=flattened(default.policy, PolicySettings),
        ),
        args=options.written_out([*at_rest, *rest], types),
        use_underscores=True,
        config=MARKERS,
        prog="python -m ternevo.run",
        description=_description(strategy_name),
    )
    return dataclasses.replace(
        parsed,
        strategy=changed(default.strategy, **flat(parsed.strategy)),
        policy=changed(default.policy, **flat(parsed.policy)),
    )


def _num_devices(argv: list[str], page: dict[str, Any]) -> int:
    """Return --num_devices before all options are known; 0 if it is not there or no number."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--num_devices", "--num-devices", default=page.get("num_devices"), nargs="?")
    found = str(peek.parse_known_args(argv)[0].num_devices)
    return int(found) if found.isdecimal() else 0


def _check_names_are_unique(config: RunConfig) -> None:
    """Refuse settings of a user's own that have a name of the run's, or of each other's."""
    owners: dict[str, str] = {}
    for record in (config, config.strategy, config.policy):
        owner = type(record).__name__
        for name in flat(record):
            if name in owners:
                raise ConfigError(
                    f"{owner} and {owners[name]} both have a field {name!r}, and the options of a "
                    "run need different names"
                )
            owners[name] = owner


def _description(strategy_name: str) -> str:
    return (
        f"Evolve a policy. Options below are those of --strategy {strategy_name}; "
        f"others: {', '.join(STRATEGIES)}. --config PAGE reads a YAML page of options first, "
        f"--policy names the policy ({', '.join(POLICIES)}). Your own are named as "
        "package.module:Class."
    )


class _Page(NamedTuple):
    """What a page says: its options, and more options by the strategy that they are for."""

    options: dict[str, Any]
    blocks: dict[str, dict[str, Any]]

    def name_of(self, key: str, default: str) -> str:
        """Return the name under `strategy` or `policy`, the default if the page has none."""
        name = self.options.get(key, default)
        if not isinstance(name, str):
            raise ConfigError(f"{key} of a page must be a name, such as {default!r}, got {name!r}")
        return name

    def options_of(self, strategy_name: str) -> dict[str, Any]:
        """Return the options for a strategy; its own win."""
        own = self.blocks.get(strategy_name, {})
        shared = {k: v for k, v in self.options.items() if k not in ("strategy", "policy")}
        return {**shared, **own}


def _read_page(path: Path) -> _Page:
    page = _mapping(pages.read(path, as_written=True), str(path))
    blocks = _mapping(page.pop("strategies", None) or {}, f"strategies in {path}")
    for name in blocks:
        if ":" not in name:
            check(f"strategy among strategies in {path}", name, STRATEGIES)
    return _Page(
        page,
        {name: _mapping(own or {}, f"{name} in {path}") for name, own in blocks.items()},
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    """Return options by name, whichever of - and _ is written."""
    if not isinstance(value, dict):
        found = "empty" if value is None else f"a {type(value).__name__}"
        raise ConfigError(f"{where} must be a mapping of options, and is {found}")
    names = {name: name.replace("-", "_") for name in value}
    for name, clean in names.items():
        if clean in value and clean != name:
            raise ConfigError(f"{where} has {name!r} and {clean!r}, which are one option")
        if clean in ("config", "help"):
            raise ConfigError(f"{where} has the key {name!r}, which only a command line can have")
    return {names[name]: own for name, own in value.items()}


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as JSON values."""
    blocks = {"strategy": flat(config.strategy), "policy": flat(config.policy)}
    return json.loads(json.dumps({**flat(config), **blocks}, default=str))
