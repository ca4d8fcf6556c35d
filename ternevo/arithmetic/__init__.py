"""Numbers only: trits and operations on them, bit planes, observations, actions.

Nothing here knows about environments or policies.
"""
