"""Run episodes: lanes and their queue, populations, transitions, one recorded episode.

Nothing here decides what to run next: a strategy does.
"""
