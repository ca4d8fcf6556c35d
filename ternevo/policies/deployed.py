"""The files of many policies with the same settings, made without calling JAX.

A population that is scored outside JAX (`problems/host.py`) needs a file for each member, inside a
call out of a compiled program, where JAX must not be called.
"""

import dataclasses
import importlib
from collections.abc import Callable

import jax
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.deploy import tvp
from ternevo.deploy.record import PolicyRecord
from ternevo.policies import network_record
from ternevo.settings.policies import POLICIES, PolicySettings
from ternevo.types import ActionSpec, ObsSpec, Params, Policy, PolicyParams

Encode = Callable[[Params, Quantiser], bytes]


def with_encoder(
    policy: Policy, settings: PolicySettings, obs: ObsSpec, action: ActionSpec
) -> Policy:
    """Return the policy with its `encoder`, if it is one of ternevo, whose layers are known.

    One that learns while it lives has none: simulators outside JAX do not tell it rewards. Nor has
    one that draws its layers, which is the work of JAX.
    """
    is_own = type(settings) not in POLICIES.values()
    has_none = is_own or settings.learns_in_life or settings.fits_any_size
    if policy.encoder is not None or has_none:
        return policy

    def make() -> Encode:
        shapes = jax.eval_shape(policy.init, jax.random.key(0))
        return encoder(settings, obs, action, shapes)

    return policy._replace(encoder=make)


def encoder(
    settings: PolicySettings,
    obs: ObsSpec,
    action: ActionSpec,
    shapes: Params,
    unroll: Callable[[Params], Params] = lambda params: params,
) -> Encode:
    """Return the function from params and a quantiser to the bytes of a policy file.

    Args:
      settings: the settings of the policy; they have a codec.
      obs: the observations.
      action: the actions.
      shapes: params, or their shapes.
      unroll: maps params of NumPy arrays to a dict of tensors for each layer of the file.
    """
    codec = importlib.import_module(str(type(settings).own_codec()))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    empty = PolicyParams(zeros, observation.empty(obs.size))
    template = dataclasses.replace(codec.to_record(settings, obs, action, empty), moments=None)

    def encode(params: Params, quantiser: Quantiser) -> bytes:
        return tvp.encode(_filled(template, unroll(params), quantiser))

    return encode


def _filled(template: PolicyRecord, params: Params, quantiser: Quantiser) -> PolicyRecord:
    """Return the record with other weights and another quantiser."""
    given = iter(params)
    layers = tuple(
        layer
        if layer.type == "max_pool"
        else dataclasses.replace(layer, **network_record.weights_of(next(given)))
        for layer in template.layers
    )
    if template.input_kind != "f32":
        return dataclasses.replace(template, layers=layers)
    exponent = np.asarray(np.frexp(quantiser.scale)[1] - 1, np.int8)
    mean = np.asarray(quantiser.mean)
    return dataclasses.replace(template, layers=layers, mean=mean, exponent=exponent)
