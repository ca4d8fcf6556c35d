"""Gradients: losses and updates of what is learned from transitions.

Nothing here steps an environment.
"""
