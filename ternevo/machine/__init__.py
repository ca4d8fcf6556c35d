"""The machine: devices and their mesh, JAX startup, memory, compiled programs, signals.

Nothing here knows what a policy is.
"""
