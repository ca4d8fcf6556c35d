"""The files that a run leaves on disk, and their evaluation: arms, intervals and plots.

Nothing here trains.
"""
