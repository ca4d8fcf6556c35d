"""Environments outside JAX: C++ simulators that are stepped from Python. Nothing here imports JAX.

A suite is a module with `names`, `spec`, `open_worlds` and `render`; `suites.py` lists them. What
JAX needs to know of them is in `ternevo/envs`; how populations are scored is in `problems/host.py`.
"""
