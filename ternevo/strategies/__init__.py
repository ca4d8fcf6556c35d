"""One generation: search or learning around rollouts, and wrappers around both.

Settings, folders and files are not known here.
"""
