"""Open the metric sinks of a run: metrics.jsonl, the progress bar, and those from `--track`."""

from collections.abc import Sequence

from ternevo.machine import devices
from ternevo.runs import sinks, wandb_agent
from ternevo.runs.records import flat, read_json
from ternevo.runs.run_folder import RunFolder
from ternevo.runs.sinks import Records, Row, Sink
from ternevo.training.setup import Setup


def open_records(setup: Setup, generation: int, more: Sequence[Sink] = ()) -> Records:
    """Open metrics.jsonl, the progress bar, and the sinks from `--track`, after a generation.

    Only the first process has sinks. Each seed has its own metrics.jsonl and TensorBoard; the
    progress bar, wandb and `more` get the means over seeds, and wandb the policies of all seeds.
    """
    config, folders = setup.config, list(setup.seed_folders.values())
    if not devices.is_first_process():
        return sinks.Records([{} for _ in folders], [[] for _ in folders], [])
    trackers = [name.strip() for name in config.track.split(",")]
    last = [sinks.cut_jsonl(folder.metrics, generation) for folder in folders]
    mean = sinks.mean_rows([[row] for row in last])[0] if generation else {}
    common: list[Sink] = [_open_wandb(setup)] if "wandb" in trackers else []
    boards = [  # opened before metrics.jsonl, as their packages may be missing
        [_open_tensorboard(folder, row)]
        for folder, row in zip(folders, last, strict=True)
        if "tensorboard" in trackers
    ] or [[] for _ in folders]
    own: list[list[Sink]] = [
        [sinks.Jsonl(folder.metrics), *board] for folder, board in zip(folders, boards, strict=True)
    ]
    common.append(sinks.Console(config.num_generations, mean, config.num_seeds))
    return sinks.Records(last, own, [*common, *more])


def _open_tensorboard(folder: RunFolder, last: Row) -> Sink:
    """Open a seed's TensorBoard, after its newest row."""
    settings = flat(read_json(folder.config)["settings"])
    return sinks.TensorBoard(folder.path / "tensorboard", int(last.get("env_steps", 0)), settings)


def _open_wandb(setup: Setup) -> Sink:
    """Open a wandb run; in a trial of an agent, open the run that the agent announced."""
    config, folder, trial = setup.config, setup.folder, wandb_agent.trial()
    settings = read_json(folder.config)
    # In a trial, wandb reads the agent's project and id itself, and warns about others.
    place = {} if trial else {"project": config.wandb_project, "id": settings["id"]}
    members = setup.seed_folders
    files = {"config.json": folder.config} | {
        f"seed{seed}/{path.name}" if len(members) > 1 else path.name: path
        for seed, own in members.items()
        for path in (own.policy, own.best_policy)
    }
    return sinks.Wandb(
        files=files,
        **place,
        group=config.wandb_group or (trial.sweep if trial else None),
        tags=[tag.strip() for tag in config.wandb_tags.split(",") if tag],
        mode=config.wandb_mode,
        name=folder.path.name,
        resume="allow",
        dir=str(folder.path),
        config=settings["settings"],
    )
