"""EvoJAX's PGPE, rollouts and task on the cart-pole swing-up, with the settings of a case."""

import logging
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
from evojax import SimManager  # pyright: ignore[reportMissingImports]
from evojax.algo import PGPE  # pyright: ignore[reportMissingImports]
from evojax.policy.mlp import MLPPolicy  # pyright: ignore[reportMissingImports]
from evojax.task.cartpole import CartPoleSwingUp  # pyright: ignore[reportMissingImports]

from ternevo.bench.cases import BesideEvoJAX
from ternevo.bench.contest import Act, Contestant

HARD = "control/cartpole_swing_up_hard"
QUIET = logging.getLogger("ternevo.evojax")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class Trainer:
    """The loop of EvoJAX's trainer, without its tests and logs."""

    def __init__(self, setting: BesideEvoJAX, seed: int) -> None:
        task = CartPoleSwingUp(setting.episode_length, harder=setting.env == HARD)
        self.policy = MLPPolicy(task.obs_shape[0], setting.hidden_sizes, 1, logger=QUIET)
        self.solver = PGPE(
            pop_size=setting.population_size,
            param_size=self.policy.num_params,
            optimizer="adam",
            center_learning_rate=setting.lr,
            init_stdev=setting.sigma,
            seed=seed,
            logger=QUIET,
        )
        # Its code for several devices calls jax.tree_map, which JAX no longer has.
        with mock.patch.object(jax, "local_device_count", lambda: 1):
            self.simulator = SimManager(
                n_repeats=setting.num_episodes,
                test_n_repeats=1,
                pop_size=setting.population_size,
                n_evaluations=1,
                policy_net=self.policy,
                train_vec_task=task,
                valid_vec_task=task,
                seed=seed,
                logger=QUIET,
            )

    def advance(self, num_generations: int) -> Any:
        """Run some generations; return the mean of the search after them."""
        for _ in range(num_generations):
            params = self.solver.ask()
            scores, _ = self.simulator.eval_params(params=params, test=False)
            self.solver.tell(fitness=scores)
        return self.solver.best_params


def contestant(setting: BesideEvoJAX) -> Contestant:
    """Return some generations; rounds go on where the last one ended, as all cost the same."""
    trainer = Trainer(setting, 0)
    trainer.advance(1)  # compiles
    episodes = setting.population_size * setting.num_episodes * setting.num_generations
    return Contestant(
        "EvoJAX",
        lambda: trainer.advance(setting.num_generations),
        env_steps=episodes * setting.episode_length,
        generations=setting.num_generations,
    )


def final(setting: BesideEvoJAX, seed: int) -> Act:
    """Return what the policy does that a whole run ends with."""
    trainer = Trainer(setting, seed)
    trainer.advance(setting.all_generations)
    weights = trainer.solver.best_params[None]

    def act(obs: jax.Array) -> jax.Array:
        return trainer.policy.get_actions(SimpleNamespace(obs=obs[None]), weights, None)[0][0]

    return act
