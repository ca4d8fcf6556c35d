"""Atari worlds against the package that brings the games, Gymnasium's wrappers and ALE's own."""

import subprocess
import sys

import numpy as np
import pytest
from marks import wide

from ternevo.host import atari
from ternevo.names import UnknownName

ale_py = pytest.importorskip("ale_py")
gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("cv2")


def played(worlds, row, seed, steps, num_actions=3):
    """Return observations, rewards and whether the game ended, with a seed's random actions."""
    rows = np.asarray([row])
    chosen = np.random.default_rng(seed).integers(num_actions, size=(steps, 1)).astype(np.int32)
    seen, rewards, over = [worlds.reset(rows, np.asarray([seed]))], [], False
    for action in chosen:
        obs, reward, terminated = worlds.step(rows, action)
        seen.append(obs)
        rewards.append(reward[0])
        over = bool(terminated[0])
        if over:
            break
    return np.concatenate(seen), rewards, over


def assert_same(one, other):
    assert one[1:] == other[1:]
    np.testing.assert_array_equal(one[0], other[0])


def test_names_are_the_games_of_one_player():
    registered = {
        spec.kwargs["game"] for spec in gymnasium.registry.values() if spec.namespace == "ALE"
    }
    assert set(atari.names()) == registered
    of_more = set(ale_py.roms.get_all_rom_ids()) - registered
    assert of_more == {"combat", "joust", "maze_craze", "warlords"}
    assert list(atari.names()) == sorted(atari.names())


def test_listing_the_names_imports_no_emulator():
    program = (
        "import sys; from ternevo.host import atari; atari.names();"
        "print(*{'ale_py', 'cv2', 'gymnasium', 'jax'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_spec():
    found = atari.spec("pong")
    assert (found.id, found.obs_shape, found.obs_kind) == ("atari/pong", (84, 84, 4), "pixels")
    assert (found.action_kind, found.action_size) == ("discrete", 6)
    assert found.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    assert len(found.obs_names) == found.obs_shape[-1]
    assert found.episode_length * atari.FRAMES_PER_STEP == 108_000
    assert atari.spec("pong@sticky")._replace(id="atari/pong") == found
    assert atari.fps("pong") == 15


def test_what_a_step_returns():
    worlds, rows = atari.open_worlds("pong", 3, 1), np.asarray([2, 0])
    obs = worlds.reset(rows, np.asarray([5, 6]))
    assert (obs.shape, obs.dtype) == ((2, 84 * 84 * 4), np.float32)
    frames = obs.reshape(2, 84, 84, 4)
    np.testing.assert_array_equal(frames, np.repeat(frames[..., :1], 4, axis=-1))
    stepped = worlds.step(rows, np.asarray([2, 3], np.int32))
    later = stepped.obs.reshape(2, 84, 84, 4)
    np.testing.assert_array_equal(later[..., :3], frames[..., 1:])  # the newest frame is the last
    assert (later[..., 3] != frames[..., 3]).any()
    assert (stepped.reward.dtype, stepped.reward.shape) == (np.float64, (2,))
    assert (stepped.terminated.dtype, stepped.terminated.tolist()) == (np.bool_, [False, False])
    assert later.min() >= 0 and later.max() > 200 and (later == later.round()).all()
    picture = worlds.picture(2)
    assert (picture.shape, picture.dtype) == ((210, 160, 3), np.uint8)
    assert (picture[..., 0] != picture[..., 2]).any()  # it is in colour
    worlds.close()


@pytest.mark.parametrize(
    "name",
    [
        "assault",
        pytest.param("beam_rider@sticky", marks=pytest.mark.wide),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("qbert", "tetris")),
    ],
)
def test_an_episode_depends_on_its_seed_and_actions_only(name):
    """These games go on otherwise after ALE's `reset_game`, or after its `restoreState`, alone."""
    fresh = played(atari.open_worlds(name, 1, 1), 0, 7, 60)
    used = atari.open_worlds(name, 2, 1)
    for seed in (1, 2):
        played(used, 1, seed, 150, atari.spec(name).action_size)
    assert_same(played(used, 1, 7, 60), fresh)
    assert_same(played(used, 0, 7, 60), fresh)


def test_rows_are_independent():
    """Other rows are stepped, reset and left alone between the steps of a row."""
    name, seeds = "breakout", np.asarray([3, 4, 5])
    alone = [played(atari.open_worlds(name, 1, 1), 0, seed, 40) for seed in seeds]
    worlds, random = atari.open_worlds(name, 3, 1), np.random.default_rng(0)
    actions = np.stack([np.random.default_rng(s).integers(3, size=40) for s in seeds])
    seen = [[obs] for obs in worlds.reset(np.arange(3), seeds)]
    while min(map(len, seen)) < 41:
        left = [row for row in range(3) if len(seen[row]) < 41]
        rows = random.permutation(left)[: random.integers(1, len(left) + 1)]
        chosen = [actions[row, len(seen[row]) - 1] for row in rows]
        for row, obs in zip(rows, worlds.step(rows, np.asarray(chosen)).obs, strict=True):
            seen[row].append(obs)
    for ours, one in zip(seen, alone, strict=True):
        np.testing.assert_array_equal(np.stack(ours), one[0])


def test_seeds_differ_without_sticky_actions_only_before_the_start():
    waited = [atari.frames_before(np.random.default_rng(seed)) for seed in range(400)]
    assert set(waited) == set(range(1, 31))
    one, other = [seed for seed in range(400) if waited[seed] == 9][:2]
    for name, is_same in (("pong", True), ("pong@sticky", False)):
        worlds = atari.open_worlds(name, 2, 1)
        worlds.reset(np.arange(2), np.asarray([one, other]))
        obs = [worlds.step(np.arange(2), np.asarray([2 + i // 3 % 2] * 2)).obs for i in range(30)]
        assert (np.stack(obs)[:, 0] == np.stack(obs)[:, 1]).all() == is_same


def test_backgammon_waits_without_an_action_of_its_own():
    assert atari.spec("backgammon").action_names == ("FIRE", "RIGHT", "LEFT")
    acted, worlds = [], atari.open_worlds("backgammon", 1, 1)
    console = worlds._consoles[0]
    ale, seed = console._ale, 4
    console._ale = Heard(ale, acted)
    worlds.reset(np.asarray([0]), np.asarray([seed]))
    waited = atari.frames_before(np.random.default_rng(seed))
    assert acted == ["FIRE", *["NOOP"] * (waited - 1)]


class Heard:
    """An emulator, with the names of the actions it was given."""

    def __init__(self, ale, acted):
        self._ale, self._acted = ale, acted

    def act(self, action):
        self._acted.append(action.name)
        return self._ale.act(action)

    def __getattr__(self, name):
        return getattr(self._ale, name)


def test_rewards_are_not_clipped():
    _, rewards, _ = played(atari.open_worlds("space_invaders", 1, 1), 0, 0, 250, 6)
    assert max(rewards) > 1 and set(np.mod(rewards, 5)) == {0}


class Begins(gymnasium.Wrapper):
    """Waits before an episode as the worlds do, which Gymnasium's wrapper does otherwise."""

    def reset(self, *, seed=None, options=None):
        self.env.reset(seed=seed)
        for frame in range(atari.frames_before(np.random.default_rng(seed))):
            obs, *_, info = self.env.step(int(frame == 0))  # FIRE is action 1
        return obs, info


@pytest.mark.parametrize(
    ("game", "seed", "steps"), wide([("Pong", 1, 50), ("Breakout", 4, 400)], keep=["Pong"])
)
def test_observations_are_those_of_gymnasium(game, seed, steps):
    """To the end of the game, in Breakout."""
    asked = {"frameskip": 1, "repeat_action_probability": 0.0}
    env = gymnasium.wrappers.AtariPreprocessing(
        Begins(gymnasium.make(f"ALE/{game}-v5", **asked)), noop_max=0
    )
    env = gymnasium.wrappers.FrameStackObservation(env, 4)
    ours, rewards, over = played(atari.open_worlds(game.lower(), 1, 1), 0, seed, steps, 4)
    actions = np.random.default_rng(seed).integers(4, size=steps)
    theirs, their_rewards = [env.reset(seed=seed)[0]], []
    for action in actions[: len(rewards)]:
        obs, reward, terminated, _, _ = env.step(action)
        theirs.append(obs)
        their_rewards.append(reward)
    assert (rewards, over) == (their_rewards, terminated)
    assert over == (game == "Breakout")
    theirs = np.moveaxis(np.stack(theirs), 1, -1)
    np.testing.assert_array_equal(ours, theirs.reshape(len(theirs), -1))


def test_frames_are_those_of_the_vector_environment_of_ale():
    """It draws by itself how long to wait, so look for a seed of ours that waits as long."""
    theirs = ale_py.AtariVectorEnv("ms_pacman", 1, num_threads=1, reward_clipping=False)
    obs, info = theirs.reset(seed=np.asarray([2]))
    waits = int(info["frame_number"][0])
    seed = next(
        seed for seed in range(1000) if atari.frames_before(np.random.default_rng(seed)) == waits
    )
    worlds, row = atari.open_worlds("ms_pacman", 1, 1), np.asarray([0])
    ours = worlds.reset(row, np.asarray([seed]))
    for action in np.random.default_rng(0).integers(9, size=(120, 1)):
        np.testing.assert_array_equal(ours.reshape(84, 84, 4)[..., -1], obs[0, -1])
        obs, reward, terminated, *_ = theirs.step(action)
        ours, our_reward, ours_over = worlds.step(row, action)
        assert (our_reward[0], ours_over[0]) == (reward[0], terminated[0])


@pytest.mark.parametrize(
    "name", ["Pong", "ALE/Pong-v5", "Pong-v4", "PongNoFrameskip-v4", "PONG", "po_ng"]
)
def test_other_spellings_of_a_game_get_its_name(name):
    for function in (atari.spec, lambda name: atari.open_worlds(name, 1, 1)):
        with pytest.raises(UnknownName, match=r"Did you mean 'atari/pong'\?"):
            function(name)


def test_wrong_names():
    for name, message in (
        ("ALE/TicTacToe3D-v5", "'atari/tic_tac_toe_3d'"),
        ("pomg", "Did you mean 'pong'"),
        ("combat", "unknown Atari game 'combat'"),
        ("", "unknown Atari game ''"),
        ("pong@stikcy", "unknown variant of an Atari game 'stikcy'. Did you mean 'sticky'"),
        ("pong@", "Allowed: sticky"),
    ):
        with pytest.raises(UnknownName, match=message):
            atari.spec(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", atari.names())
def test_every_game_begins_anew(name):
    """After other episodes too, and it is not over before it begins."""
    worlds, size = atari.open_worlds(name, 2, 1), atari.spec(name).action_size
    first = played(worlds, 0, 5, 150, size)
    played(worlds, 1, 6, 500, size)
    assert_same(played(worlds, 1, 5, 150, size), first)
    assert len(first[1]) > 20
