"""`python -m ternevo.sweep FILE`: run a sweep in wandb's format locally, without an account.

`space.py` reads the file, `trials.py` proposes arguments with optuna and runs each trial in its own
process, `summary.py` reports the results.
"""
