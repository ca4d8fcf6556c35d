"""`python -m ternevo.play RUN`: one episode of a saved policy, rendered, and its return."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ternevo.compilation_cache import enable_compilation_cache
from ternevo.run_folder import errors_in_a_line


@dataclasses.dataclass(frozen=True)
class PlayConfig:
    """Play one episode of a saved policy and render it (HTML for brax, GIF or PNG for gymnax)."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder, or a policy file."""
    which: Literal["best", "last"] = "best"
    """Which of a run's policies."""
    env: str | None = None
    """Play in this environment instead of the one it was trained on."""
    episode_length: int | None = None
    """Time limit; the one it was trained with, if not given."""
    seed: int = 0
    """Seed of the episode."""
    out: Path | None = None
    """Where to write, without suffix; beside the policy if not given."""


def main(argv: list[str] | None = None) -> None:
    """Play, write, and print the return; exit 2 on bad input."""
    config = tyro.cli(PlayConfig, args=argv, prog="python -m ternevo.play", use_underscores=True)
    with errors_in_a_line():
        play(config)


def play(config: PlayConfig) -> Path:
    """Play one episode; return the path of the rendering."""
    import jax

    from ternevo import envs, episode, policy_file, run_folder

    enable_compilation_cache()
    path = run_folder.policy_of(config.run, config.which)
    saved = policy_file.load(path)
    if not (config.env or saved.env_id):
        raise ValueError(f"{path} does not say what it was trained on: give --env")
    trained_length = None if config.env else saved.episode_length
    env = envs.make(config.env or saved.env_id, config.episode_length or trained_length)
    recorded = episode.record(saved, env, jax.random.key(config.seed))
    ending = "terminated" if recorded.terminated else "reached the time limit"
    print(f"return {recorded.total:.2f} in {len(recorded.rewards)} steps, {ending}", flush=True)
    rendering = envs.render(env.id, recorded.states, config.out or path.with_name("play"))
    print(rendering)
    return rendering


if __name__ == "__main__":
    main()
