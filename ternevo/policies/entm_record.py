"""The codec of `--policy entm`: settings and links to the record of a .tvp, and back."""

import jax.numpy as jnp
import numpy as np

from ternevo.deploy import entm as machines
from ternevo.deploy.entm import Machine
from ternevo.deploy.life import Rules
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.policies import network_record
from ternevo.settings.policies.entm import ENTM
from ternevo.types import ActionSpec, ObsSpec, Params, PolicyParams, Tensor


def understands(record: PolicyRecord) -> bool:
    """Return whether a record is a Turing machine."""
    return record.life is not None and record.life.kind == "entm"


def to_record(
    settings: ENTM, obs: ObsSpec, action: ActionSpec, params: PolicyParams
) -> PolicyRecord:
    """Return the record of a policy for a file, without metadata."""
    machine = Machine(settings.hidden_size, settings.cell_size, settings.num_cells, settings.expand)
    output, exponent = np.asarray(params.weights["output"].values), _exponent(params, "output")
    actions, orders = output[:, : action.size], output[:, action.size :]
    layer = Layer(actions[: obs.size].T, None, settings.weights, "none", exponent, 0)
    rules = [Rules(actions[obs.size :], exponent), Rules(orders, exponent)]
    if settings.hidden_size:
        hidden = np.asarray(params.weights["hidden"].values)
        rules = [Rules(hidden, _exponent(params, "hidden")), *rules]
    life = machines.life_of(machine, rules)
    return network_record.record_around(
        machines.OBSERVATION_SHIFT, obs, action, params, (layer,), life
    )


def _exponent(params: PolicyParams, name: str) -> int:
    return int(params.weights[name].exponent)


def from_record(record: PolicyRecord) -> tuple[ENTM, Params]:
    """Return the settings and links in a file's record."""
    assert record.life is not None
    machine, links = machines.from_options(record.life.options), machines.links_of(record)
    settings = ENTM(**machine._asdict(), weights=record.layers[0].kind)
    output = np.concatenate([links.actions, links.orders], 1)
    params = {"output": Tensor(jnp.asarray(output), jnp.int8(record.layers[0].exponent))}
    if machine.hidden_size:
        exponent = record.life.rules[0].exponent
        params["hidden"] = Tensor(jnp.asarray(links.hidden), jnp.int8(exponent))
    return settings, params
