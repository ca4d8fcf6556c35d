"""Draw one episode of a saved policy: what `python -m ternevo.play` does."""

from pathlib import Path

import jax

from ternevo import envs
from ternevo.machine import devices
from ternevo.machine.compilation_cache import enable_compilation_cache
from ternevo.policies import policy_file
from ternevo.rollouts import episode
from ternevo.runs import run_folder
from ternevo.settings.play import PlayConfig


def play(config: PlayConfig) -> Path:
    """Play one episode; return the path of the picture."""
    devices.check_there_are_some()
    enable_compilation_cache()
    path = run_folder.policy_of(config.run, config.which)
    saved = policy_file.load(path, trust=config.policy or False)
    env_id = policy_file.env_id_of(saved, path, config.env)
    trained_length = saved.episode_length if env_id == saved.env_id else None
    env = envs.remake(env_id, saved.wrappers, trained_length, config.episode_length)
    recorded = episode.record(saved, env, jax.random.key(config.seed))
    ending = "terminated" if recorded.terminated else "reached the time limit"
    print(f"return {recorded.total:.2f} in {len(recorded.rewards)} steps, {ending}", flush=True)
    return envs.render(
        env.id, recorded.states, config.out or run_folder.beside(config.run, path, "play")
    )
