"""Numbers only: trits and what is drawn from them, bit planes, observations, actions.

No environment and no policy is known here.
"""
