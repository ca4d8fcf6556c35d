"""From settings to a result: the loop, checkpoints, curves, episodes.

The commands are above this layer, and everything else is below it.
"""
