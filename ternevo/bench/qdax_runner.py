"""QDax's MAP-Elites on an environment of ours that says what behaviour is.

Networks, variation, archive and loop are QDax's. As in its own scoring functions, all members take
as many steps, and what follows the end of an episode does not count.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from qdax.core.containers.mapelites_repertoire import (  # pyright: ignore[reportMissingImports]
    compute_euclidean_centroids,
)
from qdax.core.emitters.mutation_operators import (  # pyright: ignore[reportMissingImports]
    isoline_variation,
)
from qdax.core.emitters.standard_emitters import (  # pyright: ignore[reportMissingImports]
    MixingEmitter,
)
from qdax.core.map_elites import MAPElites  # pyright: ignore[reportMissingImports]
from qdax.core.neuroevolution.networks.networks import (  # pyright: ignore[reportMissingImports]
    MLP,
)
from qdax.utils.metrics import default_qd_metrics  # pyright: ignore[reportMissingImports]

from ternevo import envs
from ternevo.bench.cases import BesideQDax
from ternevo.bench.contest import Illuminator
from ternevo.types import Env, Key


def illuminator(setting: BesideQDax) -> Illuminator:
    """Return QDax's MAP-Elites, all children by iso+line as ours are."""
    env = envs.make(setting.env, setting.episode_length)
    assert env.descriptor is not None
    centres = compute_euclidean_centroids(setting.grid, env.descriptor.low, env.descriptor.high)
    network = MLP((*setting.hidden_sizes, env.action.size), jnp.tanh, final_activation=jnp.tanh)
    emitter = MixingEmitter(
        mutation_fn=lambda genotypes, _: genotypes,
        variation_fn=partial(
            isoline_variation, iso_sigma=setting.iso_sigma, line_sigma=setting.line_sigma
        ),
        variation_percentage=1.0,
        batch_size=setting.population_size,
    )
    metrics = partial(default_qd_metrics, qd_offset=-setting.least_return)
    search = MAPElites(partial(scores, env, network), emitter, metrics)

    @jax.jit
    def init(key: Key) -> Any:
        key_drawn, key_scored, key_rest = jax.random.split(key, 3)
        keys = jax.random.split(key_drawn, setting.population_size)
        genotypes = jax.vmap(lambda own: network.init(own, jnp.zeros(env.obs.size)))(keys)
        repertoire, emitting, _ = search.init(genotypes, centres, key_scored)
        return repertoire, emitting, key_rest

    @jax.jit
    def advance(state: Any, count: jax.Array) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, x: search.scan_update(x, None)[0], state)

    def found(state: Any) -> tuple[float, float]:
        known = metrics(state[0])
        return float(known["coverage"]) / 100, float(known["qd_score"])

    return Illuminator("QDax", init, 1, advance, found)  # `init` scores the first generation


def scores(env: Env, network: Any, genotypes: Any, key: Key) -> tuple[jax.Array, jax.Array, dict]:
    """Return the return of each genotype in an episode, its behaviour, and nothing else."""
    del key  # all members see the same episode, as ours do
    assert env.descriptor is not None
    descriptor = env.descriptor

    def score(genotype: Any) -> tuple[jax.Array, jax.Array]:
        key = jax.random.key(0)
        state, obs = env.reset(key, env.draw_task(key))

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            state, obs, total, is_over = carry
            after, timestep = env.step(key, state, network.apply(genotype, obs))
            kept = jax.tree.map(lambda new, old: jnp.where(is_over, old, new), after, state)
            total += jnp.where(is_over, 0.0, timestep.reward)
            is_over |= timestep.terminated | timestep.truncated
            return (kept, timestep.obs, total, is_over), None

        carry = state, obs, jnp.zeros(()), jnp.asarray(False)
        (state, _, total, _), _ = jax.lax.scan(step, carry, None, env.episode_length)
        return total, descriptor.of(state)

    returns, descriptors = jax.vmap(score)(genotypes)
    return returns, descriptors, {}
