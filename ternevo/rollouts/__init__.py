"""How episodes run: lanes and their queue, populations, transitions, one recorded episode.

Nothing here decides what comes next: that is a strategy's.
"""
