"""Everything a user can set: the options of a run, of each strategy and of each policy.

Nothing here imports JAX or NumPy, so that `--help` is quick.
"""
