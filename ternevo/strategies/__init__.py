"""One generation: search or learning around rollouts, and wrappers around both.

This layer does not know settings, folders or files.
"""
