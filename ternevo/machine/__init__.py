"""The machine: devices and their mesh, starting JAX, memory, compiled programs, signals.

Nothing here knows what a policy is.
"""
