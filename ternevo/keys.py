"""Numbers reserved for `jax.random.fold_in`, in one table so that no two uses share a number.

A run folds the number of a generation, starting at 0, into the key of its seed. Any other use of
that key folds in one of the numbers below. They count down from the largest int32, so that they
do not collide with a generation or with each other.
"""

FINAL_EVALUATION = 2**31 - 1
"""`training.results`: the fresh episodes on which a run evaluates its two policies at the end."""

SHOWN_EPISODE = 2**31 - 2
"""`training.results`: the episode that a run renders at the end (`--render`)."""

FRESH_EPISODES = 2**31 - 3
"""`export`: episodes for comparing two files, used neither in training nor at a run's end."""

WATCHED_EPISODE = 2**31 - 4
"""`training.animations`: the episode shown by every animation of a run (`--render_every`)."""

START = 0
"""`rollouts`: the start of an episode, folded into the key of that episode; its step t has t."""

TASK = 2**31 - 6
"""`rollouts`: the task of an episode, folded into the key of that episode."""

MEMORY = 2**31 - 7
"""`rollouts`: a policy's memory at the start of an episode, folded into the episode's key."""

FIRST_WEIGHTS = 2**31 - 8
"""`policies`: weights drawn anew at the start of a life, folded into the key of its memory."""
