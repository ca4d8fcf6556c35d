"""Answer an unknown option in one line, with the option that was probably meant.

Nothing is an alias: a command that works names every option as `config.json` does.
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

from ternevo.settings.options import OPTION, name_of

COMPLETION = ("tyro_print_completion", "tyro_write_completion")
"""tyro's own options, which come first on a command line."""

ELSEWHERE: Mapping[str, Sequence[str]] = {
    "num_generations": (
        *("generations", "n_generations", "num_gens", "n_gens", "ngen", "num_iterations"),
        *("n_iterations", "iterations", "num_iters", "iters", "max_iter", "maxiter", "num_updates"),
        *("steps", "timesteps", "total_steps", "total_timesteps", "num_timesteps", "n_timesteps"),
        *("total_env_steps", "num_env_steps", "max_timesteps", "budget"),
    ),
    "population_size": ("popsize", "pop_size", "population", "pop", "num_members", "lambda"),
    "num_episodes": ("episodes", "n_episodes", "num_rollouts", "n_rollouts", "rollouts"),
    "lr": ("learning_rate", "lrate", "step_size", "alpha"),
    "lr_schedule": ("schedule", "learning_rate_schedule", "lr_scheduler", "anneal_lr"),
    "sigma": ("std", "noise_std", "sigma_init", "init_std", "noise", "stdev", "perturbation_std"),
    "strategy": ("algo", "alg", "agent", "method", "optimiser", "es", "searcher"),
    "env": ("env_id", "env_name", "environment", "environment_name", "task", "gym_id"),
    "episode_length": ("max_steps", "max_episode_steps", "episode_steps", "horizon", "time_limit"),
    "hidden_sizes": (
        *("hidden_size", "hidden_dims", "hidden_dim", "hidden_layers", "hidden", "net_arch"),
        *("layers", "layer_sizes", "num_hidden_units", "width", "hidden_layer_sizes"),
    ),
    "num_envs": ("n_envs", "nenvs", "num_env", "n_env", "num_workers", "num_actors"),
    "num_steps": ("n_steps", "unroll_length", "rollout_length", "num_rollout_steps"),
    "num_epochs": ("n_epochs", "epochs", "update_epochs", "num_updates_per_batch", "ppo_epochs"),
    "num_minibatches": ("n_minibatch", "batch_size", "minibatch_size", "minibatches"),
    "gae_lambda": ("lam", "lambda", "gae"),
    "gamma": ("discount", "discounting", "discount_factor"),
    "clip_epsilon": ("clip_range", "clip_eps", "clip_coef", "clip_param", "clip"),
    "entropy_coefficient": ("ent_coef", "entropy_cost", "entropy_coef", "ent_coeff"),
    "value_coefficient": ("vf_coef", "vf_coeff", "value_coef", "critic_coef"),
    "max_grad_norm": ("grad_clip", "gradient_clip", "clip_grad_norm", "max_gradient_norm"),
    "eval_every": ("eval_freq", "eval_interval", "evaluation_interval", "test_interval"),
    "num_eval_episodes": ("n_eval_episodes", "eval_episodes", "num_evals", "n_eval", "n_repeats"),
    "num_final_episodes": ("num_test_episodes", "n_test_episodes", "test_episodes", "num_tests"),
    "buffer_size": (
        *("replay_size", "memory_size", "capacity", "replay_capacity", "replay_buffer_size"),
        *("max_replay_size", "buffer_capacity"),
    ),
    "learning_starts": ("warmup_steps", "start_steps", "min_replay_size", "fill_buffer"),
    "train_every": ("train_freq", "train_frequency", "update_every"),
    "updates_per_step": ("gradient_steps", "utd", "utd_ratio", "grad_updates_per_step"),
    "tau": ("polyak", "target_tau", "soft_update"),
    "target_period": ("target_update_interval", "target_network_frequency", "target_update_freq"),
    "policy_delay": ("policy_frequency", "actor_delay"),
    "epsilon_start": ("start_e", "exploration_initial_eps", "eps_start"),
    "epsilon_end": ("end_e", "exploration_final_eps", "eps_end"),
    "critic_lr": ("q_lr", "qf_lr", "critic_learning_rate"),
    "checkpoint_buffers": ("checkpoint_replay", "save_replay_buffer"),
    "checkpoint_every": ("save_freq", "save_every", "save_interval", "checkpoint_interval"),
    "track": ("logger", "wandb", "use_wandb", "tensorboard", "tensorboard_log", "tracker"),
    "runs_dir": ("log_dir", "logdir", "output", "output_dir", "out_dir", "save_dir", "out", "dir"),
    "name": ("run_name", "exp_name", "experiment_name", "experiment", "run_id"),
    "wandb_project": ("project", "project_name", "wandb_project_name"),
    "wandb_group": ("group",),
    "wandb_tags": ("tags",),
    "resume": ("continue", "restore", "continue_training"),
    "init_from": ("load", "load_from", "checkpoint", "pretrained", "warm_start", "init"),
    "render_every": ("render_freq", "render_interval", "video_every"),
    "num_devices": ("devices", "n_devices", "num_gpus", "gpus", "n_jobs"),
    "num_seeds": ("seeds", "n_seeds", "num_trials", "num_runs"),
    "config": ("config_file", "cfg", "page", "yaml"),
    "weights": ("weight", "quantize", "quantise", "precision", "bits"),
    "help": ("usage",),
}
"""What an option is called in evosax, EvoJAX, EvoTorch, gymnax, rejax, brax, Stable-Baselines3,
CleanRL and RLlib, by ternevo's name; the first name that a command has is the answer."""

NOT_IN_STEPS = "the length of a run is --num_generations, in generations, not environment steps"


def check_known(
    arguments: Sequence[str],
    known: Collection[str],
    elsewhere: Callable[[], Mapping[str, str]] = dict,
    takes_words: bool = True,
) -> None:
    """Refuse options that a command does not have.

    Args:
      arguments: its arguments, with values joined to their options by "=".
      known: its options.
      elsewhere: returns where else options exist, such as "--strategy ppo", by option.
      takes_words: whether there may be arguments that are not options.

    Raises:
      ValueError: naming the first unknown option, and what was probably meant.
    """
    known = {*known, "help"}
    if arguments and name_of(arguments[0]) in COMPLETION:
        return
    for argument in arguments:
        word, has_value, value = argument.partition("=")
        name = word.lstrip("-").replace("-", "_")
        if word == "-h" or name_of(word) in known:
            continue
        is_short = bool(OPTION.match(word)) and not word.startswith("--")
        if is_short or (has_value and not word.startswith("-") and name in known):
            meant = f"--{name}{'=' if has_value else ''}{value}"
            hint = (
                f"; did you mean {meant}?" if name in known else nearest(name, known, elsewhere())
            )
            raise ValueError(f"unknown argument {argument}: options begin with --{hint}")
        if word.startswith("--"):
            raise ValueError(f"unknown option {word}{nearest(name, known, elsewhere())}")
        if not takes_words:
            raise ValueError(f"unknown argument {argument!r}; options begin with --")


def nearest(name: str, known: Collection[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """Return a hint at the option that was meant, to follow its name in a message.

    Examples:
      >>> nearest("popsize", ["population_size", "lr"])
      '; did you mean --population_size?'
      >>> nearest("sigma", ["lr"], {"sigma": "--strategy vote"})
      '; it is an option of --strategy vote'
      >>> nearest("xyzzy", ["lr"])
      '; --help lists the options'
    """
    meant = [own for own, names in ELSEWHERE.items() if name in names]
    here = next((own for own in meant if own in known), None)
    if here:
        is_in_steps = here == "num_generations" and "steps" in name
        return f"; {NOT_IN_STEPS}" if is_in_steps else f"; did you mean --{here}?"
    for own in (name, *meant):
        if elsewhere and own in elsewhere:
            subject = "it" if own == name else f"--{own}"
            return f"; {subject} is an option of {elsewhere[own]}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    near = near or difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    near += [own for own in known if own.startswith(f"{name}_") or own.endswith(f"_{name}")]
    if near:
        shown = list(dict.fromkeys(near))[:3]
        return f"; did you mean {' or '.join(f'--{own}' for own in shown)}?"
    return "; --help lists the options"
