"""Scores outside JAX: of an episode's policy and seed only, in the order of the jobs."""

import fake_suite
import jax
import numpy as np
import pytest

from ternevo.arithmetic import observation
from ternevo.deploy.runtime import Policy
from ternevo.host import scoring
from ternevo.host.scoring import HostError, Job, Terms
from ternevo.policies import contract
from ternevo.settings.policies import MLP, Recurrent
from ternevo.types import ActionSpec, ObsSpec

SPEC = fake_suite.spec("drift")
JOBS = [Job(member, 31 * episode + 1) for member in range(5) for episode in range(3)]


def files_of(settings, count=5):
    policy = contract.build(settings, ObsSpec((2,)), ActionSpec("discrete", 2))
    encode = policy.encoder()
    keys = jax.random.split(jax.random.key(1), count)
    quantiser = jax.tree.map(np.asarray, observation.freeze(observation.empty(2)))
    members = [jax.tree.map(np.asarray, policy.init(key)) for key in keys]
    return [encode(member, quantiser) for member in members]


def terms_of(name="drift", horizon=40):
    return Terms(fake_suite.spec(name), horizon, np.array([0.25, -0.5]))


def scored(files, num_worlds, name="drift", horizon=40):
    worlds = fake_suite.FakeWorlds(name, num_worlds)
    policies = [Policy.from_bytes(file) for file in files]
    return scoring.score(worlds, num_worlds, policies, JOBS, terms_of(name, horizon))


def played(policy, seed, horizon):
    """One episode, step by step: its return, its length, and what it observed."""
    worlds, row = fake_suite.FakeWorlds("drift", 1), np.zeros(1, int)
    obs, memory, seen, total = worlds.reset(row, np.array([seed])), policy.reset(), [], 0.0
    for _ in range(horizon):
        seen.append(obs[0])
        memory, action = policy.step(memory, obs[0])
        obs, reward, terminated = worlds.step(row, np.array([action]))
        total += reward[0]
        if terminated[0]:
            break
    return total, len(seen), np.asarray(seen, np.float64)


@pytest.mark.parametrize(
    "settings, horizon",
    [
        (MLP((4,)), 7),
        pytest.param(Recurrent((3,)), 40, marks=pytest.mark.wide),
        pytest.param(MLP((4,)), 40, marks=pytest.mark.slow),
        pytest.param(Recurrent((3,)), 7, marks=pytest.mark.slow),
        pytest.param(MLP((4,), weights="float"), 7, marks=pytest.mark.slow),
        pytest.param(MLP((4,), weights="float"), 40, marks=pytest.mark.slow),
    ],
)
def test_scores_are_those_of_episodes_played_alone(settings, horizon):
    files = files_of(settings)
    alone = [played(Policy.from_bytes(files[job.policy]), job.seed, horizon) for job in JOBS]
    for num_worlds in (1, 4, 40):
        found = scored(files, num_worlds, horizon=horizon)
        assert found.returns.tolist() == [total for total, _, _ in alone]
        assert found.lengths.tolist() == [length for _, length, _ in alone]
    assert len(set(found.lengths.tolist())) > 1 or horizon == 7


def test_sums_are_those_of_all_observations_that_were_acted_on():
    files, terms = files_of(MLP((4,))), terms_of()
    found = scored(files, 4)
    for job, sums in zip(JOBS, found.sums, strict=True):
        distance = played(Policy.from_bytes(files[job.policy]), job.seed, 40)[2] - terms.pivot
        expected = np.stack([np.full(2, len(distance)), distance.sum(0), (distance**2).sum(0)])
        np.testing.assert_allclose(sums, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "name, words",
    [
        ("raises", "fake/raises raised ArithmeticError: the drift is lost"),
        ("nan", "fake/nan returned NaN in step 5 of the episode of seed 1"),
        ("shape", r"fake/shape returned observations of shape \(\d+, 1\); must be \(\d+, 2\)"),
    ],
)
def test_a_simulator_that_fails_is_named(name, words):
    with pytest.raises(HostError, match=words):
        scored(files_of(MLP((4,))), 15, name)
