"""From settings to a result: the loop, checkpoints, curves, episodes.

Commands stand above, and everything else below.
"""
