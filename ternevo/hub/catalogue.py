"""Find a policy that comes with the package: "hub:CartPole-v1".

policies.json has a record for each: environment, command, commit, machine, and the return of
128 fresh episodes. `experiments/gallery.py` trains the policies and writes the records.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

from ternevo.names import check

PREFIX = "hub:"
FOLDER = Path(__file__).parent
RECORDS = FOLDER / "policies.json"


class Returns(NamedTuple):
    """Return over fresh episodes: the mean, its 95 % interval, and the standard deviation."""

    mean: float
    low: float
    high: float
    std: float
    episodes: int


class Entry(NamedTuple):
    """A policy of the hub.

    Attributes:
      name: as in "hub:NAME".
      env: the environment's id, such as "brax/ant@spring".
      does: what it does, in two to five words, such as "balance this pole".
      sizes: inputs, units of each layer, outputs.
      bytes: size of the bare file, which is what a device needs.
      sha256: identity of the bare file.
      returns: of fresh episodes, which took no part in choosing the policy.
      strategy: how it was trained.
      seeds: how many seeds were trained; the one with the best evaluation during training is here.
      seed: that seed.
      env_steps: environment steps of that seed's training.
      command: the command that trained it; with several seeds, all of them.
      commit: of the code that trained it.
      machine: processor and version of JAX.
    """

    name: str
    env: str
    does: str
    sizes: list[int]
    bytes: int
    sha256: str
    returns: Returns
    strategy: str
    seeds: int
    seed: int
    env_steps: int
    command: str
    commit: str
    machine: str

    @property
    def path(self) -> Path:
        """The policy file."""
        return FOLDER / f"{self.name}.tvp"

    @property
    def aliases(self) -> set[str]:
        """Names that find it: its own, and its environment's with or without suite and backend."""
        env = self.env.partition("@")[0]
        return {self.name, self.env, env, env.partition("/")[2]}


@functools.cache
def entries() -> dict[str, Entry]:
    """Return all policies by name, in the order of the gallery."""
    records = json.loads(RECORDS.read_text(encoding="utf-8"))
    return {
        record["name"]: Entry(**record | {"returns": Returns(**record["returns"])})
        for record in records
    }


def find(name: str) -> Entry:
    """Return a policy by its name or its environment's.

    Raises:
      UnknownName: there is none; the message lists near matches and all names.

    Examples:
      >>> find("gymnax/CartPole-v1").name
      'CartPole-v1'
    """
    found = {alias: entry for entry in entries().values() for alias in entry.aliases}
    return found[name] if name in found else entries()[check("policy of the hub", name, entries())]


def is_address(path: str | Path) -> bool:
    """Return whether a path is the address of a policy of the hub, "hub:NAME"."""
    return Path(path).as_posix().startswith(PREFIX)


def path_of(path: str | Path) -> Path:
    """Return the policy file of "hub:NAME", and any other path as it is.

    Raises:
      UnknownName: the hub has no such policy.
    """
    if not is_address(path):
        return Path(path)
    return find(Path(path).as_posix().removeprefix(PREFIX)).path
