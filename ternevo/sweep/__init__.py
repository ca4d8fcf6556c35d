"""`python -m ternevo.sweep FILE`: a sweep in wandb's format, run here, without an account.

`space.py` reads the file, `trials.py` proposes arguments with optuna and runs them one process a
trial, `summary.py` says what came out.
"""
