"""What a run leaves on the disk: its folder, rows, arms, intervals and plots.

Nothing here trains.
"""
