"""Draw one episode of a saved policy: what `python -m ternevo.play` does."""

from pathlib import Path

import jax

from ternevo import envs
from ternevo.deploy import html, tvp
from ternevo.files import replacing
from ternevo.machine import devices
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.policies import policy_file
from ternevo.policies.policy_file import SavedPolicy
from ternevo.rollouts import episode
from ternevo.rollouts.episode import Recording
from ternevo.runs import run_folder, topology
from ternevo.settings.play import PlayConfig
from ternevo.types import Env


def play(config: PlayConfig) -> Path:
    """Play one episode; return the path of the picture."""
    devices.check_there_are_some()
    enable_compilation_cache()
    path = run_folder.policy_of(config.run, config.which)
    saved = policy_file.load(path, trust=config.policy or False)
    env_id = policy_file.env_id_of(saved, path, config.env)
    if config.resolution is not None:
        env_id = f"{env_id.partition('@')[0]}@{config.resolution}"
    is_same = env_id.partition("@")[0] == saved.env_id.partition("@")[0]
    trained_length = saved.episode_length if is_same else None
    env = envs.remake(env_id, saved.wrappers, trained_length, config.episode_length)
    if config.resolution is not None:
        saved = policy_file.resized(saved, env)
    recorded = episode.record(saved, env, jax.random.key(config.seed))
    ending = "terminated" if recorded.terminated else "reached the time limit"
    print(f"return {recorded.total:.2f} in {len(recorded.rewards)} steps, {ending}", flush=True)
    stem = config.out or run_folder.beside(config.run, path, "play")
    network = topology.draw_policy(saved, env, stem.with_name(f"{stem.name}_network.png"))
    if network is not None:
        print(f"network {network}", flush=True)
    if config.to == "page":
        return write_page(saved, env, recorded, stem, network)
    return envs.render(env.id, recorded.states, stem)


def write_page(
    saved: SavedPolicy, env: Env, recorded: Recording, stem: Path, network: Path | None = None
) -> Path:
    """Write a page with an episode and the policy's layers; return its path, `<stem>.html`.

    Args:
      saved: the policy.
      env: what it played.
      recorded: the episode.
      stem: of the page.
      network: a picture of the policy to show on it, a PNG.

    Raises:
      ValueError: observations are not pictures of bits, or the policy is not a .tvp.
      NotIntegerError: the policy computes with floats.
    """
    if env.obs.kind not in ("bits", "planes") or len(env.obs.shape) != 3:
        raise ValueError(
            f"--to page shows games whose observations are bits, such as MinAtar, not {env.id}; "
            "use --to picture, or python -m ternevo.export --to html"
        )
    if saved.record is None:
        raise ValueError("--to page runs a .tvp, and this policy is of your own; use --to picture")
    replay = html.replay_of_grid(recorded.observations, recorded.rewards, env.obs.shape)
    size = len(tvp.encode(saved.record.bare()))
    title = f"{size:,} bytes play {env.id.rpartition('/')[2]}"
    picture = None if network is None else network.read_bytes()
    path = stem.with_name(f"{stem.name}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(html.to_html(saved.record, title, replay, picture).encode())
    return path
