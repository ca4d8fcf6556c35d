"""A policy from elsewhere becomes a small one: `ternevo.distil(teacher, env_id)`.

The teacher is any function, ONNX model or policy of Stable-Baselines3, the environment any of
Gymnasium with a finite number of actions or an array of them. The student learns what the
teacher does in the states that the student itself visits (DAgger), with the integers in which it
ships, so that the file acts as the trained policy does. JAX is imported only when it is called.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ternevo.installation import require
from ternevo.settings.distil import Distil

if TYPE_CHECKING:
    from ternevo.deploy.runtime import Policy
    from ternevo.distil.rounds import Distilled


def distil(
    teacher: Any,
    env_id: str,
    *,
    batched: bool = False,
    make_kwargs: dict[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> "Policy":
    """Distil a teacher into a policy that is ready to act and to save.

    The same arguments give the same policy on the same machine, if the teacher and the environment
    do.

    Args:
      teacher: a function from an observation, as the environment gives it, to an action, or to a
        score for each action; an object with `predict(obs [n, ...], deterministic=True)`, as in
        Stable-Baselines3; one with `act_batch(obs [n, in])`, as in `ternevo.deploy.runtime`; the
        path of a .onnx or .tvp; or "package.module:name" of one of these.
      env_id: Gymnasium's name of the environment, such as "LunarLander-v3".
      batched: whether a function takes observations [n, ...] and returns n answers.
      make_kwargs: further arguments of `gymnasium.make`.
      progress: whether to print each round, and the comparison with the teacher at the end.
      **options: see `ternevo.settings.distil.Distil`, such as `hidden_sizes=(32,)`, `rounds=20`.

    Returns:
      The policy of the best round. Its metadata hold "return" and "teacher_return", the mean
      returns of both over the same fresh episodes.

    Raises:
      UnknownName: an option or the environment does not exist.
      ModuleNotFoundError: Gymnasium, or onnxruntime for a model in ONNX, is not installed.
      ValueError: an option is invalid, the environment's observations are not an array, its
        actions are neither a number nor an array of bounded floats, or the teacher does not fit.
    """
    done = compared(
        teacher,
        env_id,
        Distil.of(**options),
        batched=batched,
        make_kwargs=make_kwargs,
        progress=progress,
    )
    if progress:
        print(done, flush=True)
    return done.policy


def compared(teacher: Any, env_id: str, settings: Distil, **how: Any) -> "Distilled":
    """Do what `distil` does; return also the rounds and the episodes of both."""
    require("distilling", "train")
    require("distilling", "gym")
    from ternevo.distil import rounds  # imports JAX, which takes seconds

    return rounds.distil(teacher, env_id, settings, **how)


class _Callable(ModuleType):
    """This module, which is called as the function: `ternevo.distil` names both."""

    __call__ = staticmethod(distil)


sys.modules[__name__].__class__ = _Callable
