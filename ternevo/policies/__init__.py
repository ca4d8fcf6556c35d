"""Policies as pure functions, what all of them keep to, and their files.

Nothing here steps an environment.
"""
