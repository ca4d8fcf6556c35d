"""Policies as pure functions, the contract that they all meet, and their files.

Nothing here steps an environment.
"""
