"""Policies that come with the package, and what is known of each. It needs no NumPy or JAX."""
