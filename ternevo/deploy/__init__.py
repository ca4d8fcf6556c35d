"""Policies outside of JAX: the file, integers in NumPy and C, exports. Nothing here imports JAX."""
