"""Environment ids, without importing a simulator: which folder a run has follows from its id."""

BRAX_BACKENDS = ("spring", "positional", "generalized", "mjx")
"""brax's simulators; the default is the first one that supports the environment."""

ONLY_BACKENDS = {"fast": ("spring",), "swimmer": ("generalized",)}
"""The brax environments that only some backends support."""


def full_id(env_id: str) -> str:
    """Return the id that `envs.make` gives an environment: for brax, it names the backend.

    Examples:
      >>> full_id("brax/ant"), full_id("brax/swimmer"), full_id("gymnax/CartPole-v1")
      ('brax/ant@spring', 'brax/swimmer@generalized', 'gymnax/CartPole-v1')
    """
    suite, _, name = env_id.partition("/")
    if suite != "brax" or "@" in name or ":" in env_id:
        return env_id
    return f"{env_id}@{ONLY_BACKENDS.get(name, BRAX_BACKENDS)[0]}"
