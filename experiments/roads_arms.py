"""The arms of roads.py: what is run on which task, and which road to a small policy it is."""

from typing import Literal, NamedTuple

from sparse_from_scratch import DELAYED, FORGETTING

TERNARY = ("--weights", "ternary", "--activation", "int8")
FEW_BITS = ("--activation", "int8", "--weights")
KINDS = {
    "float": (),
    "int8": (*FEW_BITS, "int8"),
    "int4": (*FEW_BITS, "int4"),
    "int2": (*FEW_BITS, "int2"),
    "ternary": TERNARY,
}
SPARSITIES = ("0", "0.5", "0.8", "0.9", "0.95", "0.98")
FewBits = Literal["int8", "int4"]
ROUNDED: tuple[FewBits, ...] = ("int8", "int4")
"""What float policies are rounded to without training; two bits need it."""

FROM_SCRATCH = ("0.9", "0.95")
"""Sparsities of policies that are sparse from the first step."""

UNITS = {"32 units": "(32,)", "16 units": "(16,)"}
"""Hidden layers of small dense policies with trits: no masks, and no indices."""

EVOLVED = UNITS | {"64-64 units": "(64, 64)"}
"""Those of evolved policies; the last are the learners'."""

SEARCH = ("--population_size", "16", "--num_episodes", "1", "--init_horizon", "1")
"""Of evolution in a learner's steps, which are one generation or less of the pages' populations.
Not tuned. Nothing is stretched over the run, so that its first generations are those of a longer
one."""

SAME_STEPS, MORE_STEPS = "evolved", "evolved, more steps"
"""Roads of evolution: in the steps of the task's learner, and with the budget of the page."""


class Task(NamedTuple):
    """A task: its page, the learner, its number of generations of 1,000 steps."""

    page: str
    learner: str
    num_generations: int

    @property
    def steps(self) -> int:
        """Environment steps of the learner."""
        return 1000 * self.num_generations


TASKS = {
    "CartPole": Task("gymnax_cartpole", "dqn", 50),
    "Pendulum": Task("gymnax_pendulum", "sac", 20),
    "MountainCarContinuous": Task("gymnax_mountaincar_continuous", "sac", 50),
    "Acrobot": Task("gymnax_acrobot", "dqn", 100),
}


class Plan(NamedTuple):
    """How an arm is run.

    Attributes:
      road: which road it is.
      options: options beside those of the page.
      strategy: the strategy, "" for the learner of the task.
      source: for an arm that rounds: the arm whose policies are rounded.
      rounded: what their weights are rounded to.
      only: the learner of the tasks that have the arm, "" for all tasks.
    """

    road: str
    options: tuple[str, ...] = ()
    strategy: str = ""
    source: str = ""
    rounded: FewBits | None = None
    only: str = ""

    def strategy_on(self, task: str) -> str:
        """Return the strategy that runs the arm on a task."""
        return self.strategy or TASKS[task].learner

    def is_on(self, task: str) -> bool:
        """Return whether a task has the arm."""
        return self.only in ("", TASKS[task].learner)


def arms() -> dict[str, Plan]:
    """Return the plan of each arm by its name."""
    return _pruned() | _rounded() | _from_scratch() | _dense() | _evolved()


def road_of(arm: str) -> str:
    """Return the road of an arm."""
    return arms()[arm].road


def _pruned() -> dict[str, Plan]:
    """Return policies that are pruned while they are learned."""
    return {
        f"{kind}, {sparsity}": Plan(kind, (*options, "--sparsity", sparsity))
        for kind, options in KINDS.items()
        for sparsity in SPARSITIES
    }


def _rounded() -> dict[str, Plan]:
    """Return float policies, some pruned, whose weights are rounded after training."""
    return {
        f"float to {kind}, {sparsity}": Plan(
            "float, rounded", source=f"float, {sparsity}", rounded=kind
        )
        for kind in ROUNDED
        for sparsity in SPARSITIES
    }


def _from_scratch() -> dict[str, Plan]:
    """Return policies that are sparse from the first step; RLx2 needs critics, sparse as well."""
    road, found = "sparse from scratch", {}
    for sparsity in FROM_SCRATCH:
        rigl = ("--sparsity", sparsity, "--sparse_training", "rigl", "--sparsity_allocation", "erk")
        rlx2 = (*rigl, "--critic_sparsity", sparsity, *DELAYED, *FORGETTING)
        found[f"rigl int8, {sparsity}"] = Plan(road, (*KINDS["int8"], *rigl))
        found[f"rlx2 int8, {sparsity}"] = Plan(road, (*KINDS["int8"], *rlx2), only="sac")
        found[f"rlx2 float, {sparsity}"] = Plan(road, rlx2, only="sac")
    return found


def _dense() -> dict[str, Plan]:
    """Return small policies of trits by straight-through gradients, with each ternariser."""
    road, found = "ternary, dense", {}
    for units, sizes in UNITS.items():
        own = (*TERNARY, "--hidden_sizes", sizes)
        found[f"ternary, {units}"] = Plan(road, own)
        for ternarizer in ("twn", "ttq"):
            found[f"ternary {ternarizer}, {units}"] = Plan(road, (*own, "--ternarizer", ternarizer))
    return found


def _evolved() -> dict[str, Plan]:
    """Return policies of trits by `ternary_nes`."""
    return {
        f"{road}, {units}": Plan(road, (*TERNARY, "--hidden_sizes", sizes, *own), "ternary_nes")
        for road, own in ((SAME_STEPS, SEARCH), (MORE_STEPS, ()))
        for units, sizes in EVOLVED.items()
    }
