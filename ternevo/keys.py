"""The numbers reserved for `jax.random.fold_in`, in one table, so that no two uses share one.

A run folds the number of a generation, 0 and up, into the key of its seed. What draws from that
key outside of training folds in one of the numbers below, which count down from the largest
int32, so that it repeats neither a generation nor another of these.
"""

FINAL_EVALUATION = 2**31 - 1
"""`training.results`: the fresh episodes that a run evaluates its two policies on at its end."""

SHOWN_EPISODE = 2**31 - 2
"""`training.results`: the episode that a run renders at its end (`--render`)."""

FRESH_EPISODES = 2**31 - 3
"""`export`: episodes that compare two files, and that neither training nor a run's end met."""

WATCHED_EPISODE = 2**31 - 4
"""`training.animations`: the episode that every animation of a run shows (`--render_every`)."""

START = 0
"""`rollouts`: the start of an episode, folded into the key of that episode; its step t has t."""

TASK = 2**31 - 6
"""`rollouts`: the task of an episode, folded into the key of that episode."""

MEMORY = 2**31 - 7
"""`rollouts`: the memory that a policy begins an episode with, folded into the episode's key."""
