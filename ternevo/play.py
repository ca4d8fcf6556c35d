"""`python -m ternevo.play RUN`: one episode of a saved policy, rendered, and its return."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ternevo.names import UnknownName


@dataclasses.dataclass(frozen=True)
class PlayConfig:
    """Play one episode of a saved policy and render it (HTML for brax, GIF or PNG for gymnax)."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder, or a policy file."""
    policy: Literal["best", "last"] = "best"
    """Which of a run's policies."""
    env: str | None = None
    """Play in this environment instead of the one it was trained on."""
    episode_length: int | None = None
    """Time limit; the run's, or the environment's own, if not given."""
    seed: int = 0
    """Seed of the episode."""
    out: Path | None = None
    """Where to write, without suffix; beside the policy if not given."""


def main(argv: list[str] | None = None) -> None:
    """Play, write, and print the return; exit 2 on bad input."""
    config = tyro.cli(PlayConfig, args=argv, prog="python -m ternevo.play", use_underscores=True)
    from ternevo.policy_file import PolicyFormatError
    from ternevo.run_folder import RunFolderError

    try:
        play(config)
    except (
        FileNotFoundError,
        ModuleNotFoundError,
        PolicyFormatError,
        RunFolderError,
        UnknownName,
        ValueError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def play(config: PlayConfig) -> Path:
    """Play one episode; return the path of the rendering."""
    import jax

    from ternevo import envs, episode, policy_file

    path, episode_length = locate(config)
    saved = policy_file.load(path)
    env = envs.make(config.env or saved.env_id, episode_length)
    recorded = episode.record(saved, env, jax.random.key(config.seed))
    ending = "terminated" if recorded.terminated else "reached the time limit"
    print(f"return {recorded.total:.2f} in {len(recorded.rewards)} steps, {ending}", flush=True)
    rendering = envs.render(env.id, recorded.states, config.out or path.with_name("play"))
    print(rendering)
    return rendering


def locate(config: PlayConfig) -> tuple[Path, int | None]:
    """Return the policy file that is meant, and the episode length to play.

    Raises:
      RunFolderError: the folder is no run, or has no policy yet.
    """
    from ternevo import run_folder

    if not config.run.is_dir():
        return config.run, config.episode_length
    folder = run_folder.find(config.run)
    path = folder.best_policy if config.policy == "best" else folder.policy
    if not path.exists():
        raise run_folder.RunFolderError(f"{config.run} has no policy yet: {path} is not there")
    trained_length = run_folder.read_json(folder.config)["settings"]["episode_length"]
    return path, config.episode_length or (None if config.env else trained_length)


if __name__ == "__main__":
    main()
