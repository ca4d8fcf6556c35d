"""Kinds of weights: {-1, 0, +1}, {-1, +1}, integers of 8, 4 and 2 bits, and floats, the baseline.

Code that draws, cuts or checks weights takes a `WeightKind`; `kind_of` finds it by the name that
options and files use. A new kind is one more value in `KINDS`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8, Num

from ternevo.arithmetic import latents as of_latents, quantised, ternarizers
from ternevo.arithmetic.ternary import WeightName, replace_tensors, tensors
from ternevo.names import check
from ternevo.settings.policies.settings import LARGEST_LEVELS, Ternarizer, exponent_spread
from ternevo.types import Key, Params, Tensor

Mask = Bool[Array, "..."] | None
"""Which weights of a tensor are kept; the others are pruned to 0. None keeps all."""


class WeightKind(NamedTuple):
    """The values a weight may have, and how to draw and discretize weights.

    Attributes:
      name: the name in options and files.
      levels: the values of a weight in ascending order, evenly spaced; () for floats.
      dtype: the dtype of `Tensor.values`.
      draw: (key, shape) to independent values: uniform levels, or standard normals.
      redraw: coins, int8 [2, ...] of 0 and 1, to values: trits with odds (1/4, 1/2, 1/4),
        signs with (1/2, 1/2).
      other: (key, values) to one of the other levels for each value, all equally probable.
      cut: (latents, per_output) to the smallest size of a latent that is not cut to 0.
      discretize: (latents, mask=None, per_output=False) to a tensor with power-of-two scales.
      straight_through: the same in float32, differentiable as if it were the latents.
      latent: (key, tensor) to latents that discretize to that tensor.
    """

    name: WeightName
    levels: tuple[int, ...]
    dtype: Any
    draw: Callable[[Key, tuple[int, ...]], jax.Array]
    redraw: Callable[[jax.Array], jax.Array]
    other: Callable[[Key, jax.Array], jax.Array]
    cut: Callable[[jax.Array, bool], jax.Array]
    discretize: Callable[..., Tensor]
    straight_through: Callable[..., Tensor]
    latent: Callable[[Key, Tensor], jax.Array]

    @property
    def is_float(self) -> bool:
        """Whether a weight may be any number."""
        return not self.levels

    @property
    def has_zero(self) -> bool:
        """Whether a weight may be 0."""
        return self.is_float or 0 in self.levels

    @property
    def spacing(self) -> int:
        """Distance between neighbouring levels; only for discrete kinds."""
        return self.levels[1] - self.levels[0]


def kind_of(name: WeightName, ternarizer: Ternarizer = "absmean") -> WeightKind:
    """Return the kind of weights with this name.

    Args:
      name: the name.
      ternarizer: how latents are cut into trits; other kinds do not ask.

    Raises:
      UnknownName: there is no such kind or ternarizer.
    """
    kind = KINDS[check("kind of weights", name, KINDS)]
    return TERNARIZERS[check("ternarizer", ternarizer, TERNARIZERS)] if kind is TERNARY else kind


# -------------------------------------------------------------------- ternary and binary


def _draw_trits(key: Key, shape: tuple[int, ...]) -> Int8[Array, "..."]:
    return jax.random.randint(key, shape, -1, 2, dtype=jnp.int8)


def _draw_signs(key: Key, shape: tuple[int, ...]) -> Int8[Array, "..."]:
    return jax.random.rademacher(key, shape, dtype=jnp.int8)


def _other_trit(key: Key, values: Int8[Array, "..."]) -> Int8[Array, "..."]:
    shift = jax.random.randint(key, values.shape, 1, 3, dtype=jnp.int8)
    return (values + 1 + shift) % 3 - 1


def _half_scale(latent: Float[Array, "..."], per_output: bool = False) -> Float[Array, "*outputs"]:
    return of_latents.scale(latent, None, per_output) / 2


def _discretize_ternary(
    latent: Float[Array, "..."], mask: Mask = None, per_output: bool = False
) -> Tensor:
    """Cut latents at plus and minus half their scale, the mean absolute latent.

    This is absmean quantisation (Ma et al. 2024, "The Era of 1-bit LLMs").

    Examples:
      >>> TERNARY.discretize(jnp.array([0.9, -0.1, -1.4, 0.0])).values.tolist()
      [1, 0, -1, 0]
    """
    gamma = of_latents.scale(latent, mask, per_output)
    above, below = latent > gamma / 2, latent < -gamma / 2
    values = above.astype(jnp.int8) - below.astype(jnp.int8)
    return Tensor(_kept(values, mask), _exponent(TERNARY_LEVEL * gamma))


def _discretize_binary(
    latent: Float[Array, "..."], mask: Mask = None, per_output: bool = False
) -> Tensor:
    """Return the signs of latents, with sign(0) = +1.

    Examples:
      >>> BINARY.discretize(jnp.array([0.9, -0.1, -1.4, 0.0])).values.tolist()
      [1, -1, -1, 1]
    """
    gamma = of_latents.scale(latent, mask, per_output)
    values = jnp.where(latent >= 0, 1, -1).astype(jnp.int8)
    return Tensor(_kept(values, mask), _exponent(BINARY_LEVEL * gamma))


def _exponent(level: Float[Array, "*outputs"]) -> Int8[Array, "*outputs"]:
    nearest = of_latents.nearest_exponent(level)
    return of_latents.within_spread(nearest) if nearest.ndim else nearest


def _kept(values: Num[Array, "..."], mask: Mask) -> Num[Array, "..."]:
    return values if mask is None else jnp.where(mask, values, jnp.zeros_like(values))


def _straight_through(
    discretize: Callable[..., Tensor],
    latent: Float[Array, "..."],
    mask: Mask = None,
    per_output: bool = False,
) -> Tensor:
    """Return discretized latents in float32, differentiable as if they were the latents.

    The forward value equals the int8 tensor bit for bit, as `z - stop_gradient(z)` is
    exactly zero. The derivative of `values * 2**-exponent` with respect to the latent is one
    (Bengio, Leonard and Courville 2013; Ma et al. 2024, "The Era of 1-bit LLMs"), and zero where
    the weight is pruned.
    """
    hard = discretize(latent, mask, per_output)
    soft = _kept(latent * jnp.exp2(hard.exponent.astype(jnp.float32)), mask)
    return Tensor(hard.values + (soft - jax.lax.stop_gradient(soft)), hard.exponent)


TERNARY_LEVEL, BINARY_LEVEL = 1.25, 1.0
"""Size of the discrete levels in units of the mean absolute latent."""

TERNARY = WeightKind(
    name="ternary",
    levels=(-1, 0, 1),
    dtype=jnp.int8,
    draw=_draw_trits,
    redraw=lambda coins: coins[0] - coins[1],
    other=_other_trit,
    cut=_half_scale,
    discretize=_discretize_ternary,
    straight_through=partial(_straight_through, _discretize_ternary),
    latent=lambda key, tensor: of_latents.draw_for(key, tensor, TERNARY_LEVEL, 0.5),
)


def _cut_at(threshold: ternarizers.Threshold) -> WeightKind:
    """Return ternary weights with another threshold, see `ternarizers`."""
    discretize = partial(ternarizers.cut_at, threshold)

    def cut(latent: jax.Array, per_output: bool = False) -> jax.Array:
        axes = tuple(range(latent.ndim - per_output))
        return threshold(jnp.abs(latent), jnp.ones(latent.shape, bool), axes)

    return TERNARY._replace(
        cut=cut,
        discretize=discretize,
        straight_through=partial(_straight_through, discretize),
        latent=ternarizers.latents_for,
    )


TERNARIZERS: dict[str, WeightKind] = {
    "absmean": TERNARY,
    "twn": _cut_at(ternarizers.twn),
    "ttq": _cut_at(ternarizers.ttq),
}
"""Ternary weights by the name of the option that says how latents are cut into trits."""

BINARY = WeightKind(
    name="binary",
    levels=(-1, 1),
    dtype=jnp.int8,
    draw=_draw_signs,
    redraw=lambda coins: 2 * coins[0] - 1,
    other=lambda key, values: -values,
    cut=lambda latent, per_output=False: jnp.zeros(()),
    discretize=_discretize_binary,
    straight_through=partial(_straight_through, _discretize_binary),
    latent=lambda key, tensor: of_latents.draw_for(key, tensor, BINARY_LEVEL, 0.0),
)

# --------------------------------------------------------------------------------- floats


def _as_they_are(
    latent: Float[Array, "..."], mask: Mask = None, per_output: bool = False
) -> Tensor:
    """Return latents as a tensor; floats need no scale, so the exponent is 0."""
    del per_output
    return Tensor(_kept(latent, mask), jnp.zeros((), jnp.int8))


def _no_levels(*args: Any, **kwargs: Any) -> Any:
    raise TypeError("float weights have no levels")


FLOAT = WeightKind(
    name="float",
    levels=(),
    dtype=jnp.float32,
    draw=jax.random.normal,
    redraw=_no_levels,
    other=_no_levels,
    cut=_no_levels,
    discretize=_as_they_are,
    straight_through=_as_they_are,
    latent=lambda key, tensor: tensor.values,
)

# --------------------------------------------------------------------- integers of a few bits


def _few_bits(name: WeightName) -> WeightKind:
    """Return the kind of weights that are integers up to a largest level, see `quantised`."""
    largest, spread = LARGEST_LEVELS[name], exponent_spread(name)
    size = 2 * largest + 1

    def discretize(
        latent: Float[Array, "..."], mask: Mask = None, per_output: bool = False
    ) -> Tensor:
        return quantised.quantise(_kept(latent, mask), largest, per_output, spread)

    def other(key: Key, values: jax.Array) -> jax.Array:
        shift = jax.random.randint(key, values.shape, 1, size)
        place = values.astype(jnp.int32) + largest
        return ((place + shift) % size - largest).astype(jnp.int8)

    def cut(latent: jax.Array, per_output: bool = False) -> jax.Array:
        exponent = discretize(latent, None, per_output).exponent.astype(jnp.int32)
        return jnp.ldexp(jnp.float32(0.5), -exponent)

    return WeightKind(
        name=name,
        levels=tuple(range(-largest, largest + 1)),
        dtype=jnp.int8,
        draw=lambda key, shape: jax.random.randint(key, shape, -largest, largest + 1, jnp.int8),
        redraw=_no_coins,
        other=other,
        cut=cut,
        discretize=discretize,
        straight_through=partial(_straight_through, discretize),
        latent=quantised.latents,
    )


def _no_coins(coins: jax.Array) -> jax.Array:
    raise TypeError("two coins do not draw one of many levels; use a strategy over latents")


KINDS: dict[str, WeightKind] = {
    kind.name: kind for kind in (TERNARY, BINARY, FLOAT, *map(_few_bits, LARGEST_LEVELS))
}
"""Every kind of weights by name."""

# ---------------------------------------------------------------------- all tensors of params


def latents_of(key: Key, params: Params, kind: WeightKind) -> list[Float[Array, "..."]]:
    """Draw latents for all tensors of params, see `WeightKind.latent`."""
    keys = jax.random.split(key, len(tensors(params)))
    return [kind.latent(k, tensor) for k, tensor in zip(keys, tensors(params), strict=True)]


def discretize_all(
    template: Params,
    latents: list[Float[Array, "..."]],
    kind: WeightKind,
    masks: list[Mask] | None = None,
) -> Params:
    """Discretize latents, one array for each tensor, and return params like `template`.

    Args:
      template: params of one member; a tensor with an exponent for each output keeps that form.
      latents: the latents.
      kind: the kind of weights.
      masks: which weights of each tensor are kept; None keeps all.
    """
    return _from_latents(kind.discretize, template, latents, masks)


def straight_through_all(
    template: Params,
    latents: list[Float[Array, "..."]],
    kind: WeightKind,
    masks: list[Mask] | None = None,
) -> Params:
    """Return the params of `discretize_all` in float32, with straight-through gradients."""
    return _from_latents(kind.straight_through, template, latents, masks)


def _from_latents(
    make: Callable[..., Tensor],
    template: Params,
    latents: list[Float[Array, "..."]],
    masks: list[Mask] | None,
) -> Params:
    given = tensors(template)
    kept: list[Mask] = [None] * len(given) if masks is None else masks
    made = [
        make(latent, mask, of_latents.has_outputs(tensor))
        for latent, mask, tensor in zip(latents, kept, given, strict=True)
    ]
    return replace_tensors(template, made)


def flip(
    key: Key, values: Int8[Array, "..."], rate: Float[Array, ""], kind: WeightKind
) -> Int8[Array, "..."]:
    """Redraw values at a rate, see `WeightKind.redraw`."""
    key_where, key_value = jax.random.split(key)
    coins = jax.random.randint(key_value, (2, *values.shape), 0, 2, dtype=jnp.int8)
    redrawn = kind.redraw(coins)
    return jnp.where(jax.random.uniform(key_where, values.shape) < rate, redrawn, values)
