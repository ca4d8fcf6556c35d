"""Write the archive of behaviours that a strategy keeps, with a policy file for each cell."""

from functools import partial

import jax
import numpy as np

from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.runs import archives
from ternevo.runs.run_folder import RunFolder
from ternevo.settings.policies import file_suffix
from ternevo.strategies.across_seeds import of_each_seed
from ternevo.training.setup import Setup
from ternevo.types import Archive, ObservationMoments, PolicyParams, Strategy, TrainState


@partial(jax.jit, static_argnums=0)
def _read(strategy: Strategy, state: TrainState) -> tuple[Archive, ObservationMoments]:
    assert strategy.archive is not None
    return strategy.archive.read(state.strategy), strategy.params(state.strategy).moments


def save(setup: Setup, state: TrainState) -> None:
    """Write the archive of each seed, if the strategy has one.

    All processes of a run must call this at the same time, because their devices share the work.
    """
    if setup.strategy.archive is None:
        return
    found = devices.own_copy(_read(setup.strategy, state))
    if not devices.is_first_process():
        return
    of_each = of_each_seed(found, setup.config.num_seeds)
    for folder, (archive, moments) in zip(setup.seed_folders.values(), of_each, strict=True):
        _write(setup, folder, jax.tree.map(np.asarray, archive), moments)


def _write(setup: Setup, folder: RunFolder, archive: Archive, moments: ObservationMoments) -> None:
    """Write the policies of occupied cells, and then the list of them."""
    kept, config = setup.strategy.archive, setup.config
    assert kept is not None
    cells = np.flatnonzero(archive.is_occupied)
    folder.archive.mkdir(parents=True, exist_ok=True)
    for cell in cells.tolist():
        weights = jax.tree.map(lambda x, cell=cell: x[cell], archive.members)
        path = archives.path_of_cell(folder, cell, file_suffix(config.policy_name))
        origin = {
            **{"strategy": config.strategy_name, "cell": cell},
            "return": float(archive.fitness[cell]),
        }
        params = PolicyParams(weights, moments)
        env = setup.env
        if kept.id_of:
            env = env._replace(id=kept.id_of(np.asarray(archive.descriptors)[cell].tolist()))
        policy_file.save(path, env, config.policy_name, config.policy, params, origin)
    listed = archives.Listed(
        names=kept.names,
        low=kept.low,
        high=kept.high,
        num_cells=len(archive.fitness),
        cells=cells,
        centres=np.asarray(archive.centres)[cells],
        descriptors=np.asarray(archive.descriptors)[cells],
        returns=np.asarray(archive.fitness)[cells],
    )
    archives.write(folder, listed)
