"""Gradients: losses, and updates of parameters learned from transitions.

Nothing here steps an environment.
"""
