"""Atari 2600 games: "atari/pong", or with sticky actions "atari/pong@sticky".

A step repeats an action for 4 frames. Policies see the last 4 steps as grey pictures of 84 x 84;
each is the maximum of the last two frames of its step. An episode begins after 1 to 30 frames
without action, the first of which is FIRE in games that have it. It ends when the game is over, or
after half an hour (108,000 frames). Rewards are the game's own, neither clipped nor scaled, and the
actions are the game's minimal set. The tables of DQN (Mnih et al. 2015), evolution strategies
(Salimans et al. 2017) and deep GA (Such et al. 2017) use such episodes, without sticky actions.

Without them a game is deterministic: seeds differ only in the number of frames before the start, so
that a policy has at most 30 different episodes. With "@sticky", each frame repeats the action of
the frame before with probability 0.25, as Machado et al. 2018 recommend and as Gymnasium's
"ALE/Pong-v5" does.

The emulator and the games come with ale-py. It is under the GPL-2, and is imported only when an
environment of this suite is made. Random numbers are drawn here, not in ale-py, so that a seed
means the same on all platforms. ALE's `reset_game` does not clear memory: in a quarter of the
games, such as Frostbite and Freeway, an episode would depend on those before it. Loading a game
anew takes 65 ms, as long as 250 steps. So a reset restores the state after loading, and takes 4 ms.
"""

import collections
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo import installation
from ternevo.host.worlds import Rows, Spec, Stepped, Suite
from ternevo.names import UnknownName, check

_GAMES = (  # copied, so that ale-py is not imported to list them; a test compares
    "adventure air_raid alien amidar assault asterix asteroids atlantis atlantis2 backgammon "
    "bank_heist basic_math battle_zone beam_rider berzerk blackjack bowling boxing breakout "
    "carnival casino centipede chopper_command crazy_climber crossbow darkchambers defender "
    "demon_attack donkey_kong double_dunk earthworld elevator_action enduro entombed et "
    "fishing_derby flag_capture freeway frogger frostbite galaxian gopher gravitar hangman "
    "haunted_house hero human_cannonball ice_hockey jamesbond journey_escape kaboom kangaroo "
    "keystone_kapers king_kong klax koolaid krull kung_fu_master laser_gates lost_luggage "
    "mario_bros miniature_golf montezuma_revenge mr_do ms_pacman name_this_game othello pacman "
    "phoenix pitfall pitfall2 pong pooyan private_eye qbert riverraid road_runner robotank "
    "seaquest sir_lancelot skiing solaris space_invaders space_war star_gunner superman "
    "surround tennis tetris tic_tac_toe_3d time_pilot trondead turmoil tutankham up_n_down "
    "venture video_checkers video_chess video_cube video_pinball wizard_of_wor word_zapper "
    "yars_revenge zaxxon"
)
NAMES = tuple(_GAMES.split())
"""The games of one player. ALE ends the process where one of the other four is loaded."""

SIDE = 84
FRAMES_PER_STEP = 4
STACKED = 4
MOST_WAITED = 30
"""The most frames before an episode."""
EPISODE_LENGTH = 27_000
"""Steps in half an hour."""
STICKY = 0.25
"""With "@sticky", the probability that a frame repeats the action of the frame before."""
OBS_NAMES = ("oldest frame", "second oldest frame", "second newest frame", "newest frame")


def names() -> tuple[str, ...]:
    """Return the names of the games, as ale-py spells them."""
    return NAMES


@functools.cache
def spec(name: str) -> Spec:
    """Return what a game is.

    Args:
      name: the game, such as "pong" or "pong@sticky".

    Raises:
      UnknownName: there is no such game, or no such variant.
      MissingExtra: ale-py or OpenCV is not installed.
    """
    game, _ = _parsed(name)
    actions = tuple(action.name for action in _loaded(game).getMinimalActionSet())
    return Spec(
        f"atari/{name}",
        (SIDE, SIDE, STACKED),
        "pixels",
        "discrete",
        len(actions),
        (),
        (),
        EPISODE_LENGTH,
        OBS_NAMES,
        actions,
    )


def open_worlds(name: str, count: int, num_threads: int) -> "AtariWorlds":
    """Return a number of worlds, which one thread steps; see `spec` for errors.

    More threads would not help: ale-py holds the interpreter's lock while it emulates. Its vector
    environment does not, but it must load the game for each episode.
    """
    del num_threads
    game, sticky = _parsed(name)
    return AtariWorlds([_Console(game, sticky) for _ in range(count)])


def fps(name: str) -> float:
    """Return the steps per second of a console."""
    del name
    return 60 / FRAMES_PER_STEP


class AtariWorlds:
    """Worlds, each a console of its own; see `ternevo.host.worlds.Worlds`."""

    def __init__(self, consoles: "list[_Console]"):
        self._consoles = consoles

    def reset(self, rows: Rows, seeds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Begin an episode in each of these worlds."""
        obs = _no_obs(len(rows))
        for row, seed, own in zip(rows.tolist(), seeds.tolist(), obs, strict=True):
            self._consoles[row].begin(seed)
            self._consoles[row].show(own)
        return obs.reshape(len(rows), -1)

    def step(self, rows: Rows, actions: NDArray[Any]) -> Stepped:
        """Step these worlds."""
        obs, reward = _no_obs(len(rows)), np.zeros(len(rows))
        terminated = np.zeros(len(rows), bool)
        pairs = zip(rows.tolist(), np.asarray(actions).tolist(), strict=True)
        for i, (row, action) in enumerate(pairs):
            reward[i], terminated[i] = self._consoles[row].step(action)
            self._consoles[row].show(obs[i])
        return Stepped(obs.reshape(len(rows), -1), reward, terminated)

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return the screen of a world in colour [height, 160, 3]; most are 210 high."""
        return self._consoles[row].picture()

    def close(self) -> None:
        """Free the consoles."""
        self._consoles.clear()


def _no_obs(count: int) -> NDArray[np.float32]:
    return np.empty((count, SIDE * SIDE, STACKED), np.float32)


class _Console:
    """A console with a game, and the last frames that a policy sees of it.

    Args:
      game: the name of the game.
      sticky: the probability that a frame repeats the action of the frame before.
    """

    def __init__(self, game: str, sticky: float):
        self._cv2 = installation.load("an Atari game", "atari", "cv2")
        self._ale, self._sticky = _loaded(game), sticky
        self._just_loaded = self._ale.cloneSystemState()
        self._actions = self._ale.getMinimalActionSet()
        action = installation.load("an Atari game", "atari", "ale_py").Action
        self._nothing = action.NOOP  # which is not one of Backgammon's
        self._first = action.FIRE if action.FIRE in self._actions else action.NOOP
        self._screens = np.zeros((2, *self._ale.getScreenDims()), np.uint8)
        self._frames: collections.deque[NDArray[np.uint8]] = collections.deque(maxlen=STACKED)

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed."""
        self._ale.reset_game()  # for what the state lacks, which matters in Q*bert and Tetris
        self._ale.restoreSystemState(self._just_loaded)
        self._random = np.random.default_rng(seed)
        self._action = self._first
        for _ in range(frames_before(self._random)):
            self._ale.act(self._action)
            self._action = self._nothing
        self._screens[0] = 0
        self._ale.getScreenGrayscale(self._screens[1])
        self._frames.extend([self._seen()] * STACKED)

    def step(self, action: int) -> tuple[float, bool]:
        """Return the reward of a step, and whether the game is over."""
        reward = 0
        for frame in range(FRAMES_PER_STEP):
            if not self._sticky or self._random.random() >= self._sticky:
                self._action = self._actions[action]
            reward += self._ale.act(self._action)
            if self._ale.game_over():
                break  # and the picture is made of earlier screens, as Gymnasium's is
            if frame >= FRAMES_PER_STEP - 2:
                self._ale.getScreenGrayscale(self._screens[frame - FRAMES_PER_STEP])
        self._frames.append(self._seen())
        return float(reward), self._ale.game_over()

    def _seen(self) -> NDArray[np.uint8]:
        """Return what a policy sees of the last two screens; the last one becomes the maximum."""
        np.maximum(self._screens[0], self._screens[1], out=self._screens[1])
        return self._cv2.resize(self._screens[1], (SIDE, SIDE), interpolation=self._cv2.INTER_AREA)

    def show(self, obs: NDArray[np.float32]) -> None:
        """Write the last frames into an observation [SIDE * SIDE, STACKED]."""
        for i, frame in enumerate(self._frames):
            obs[:, i] = frame.ravel()

    def picture(self) -> NDArray[np.uint8]:
        """Return the screen in colour."""
        return self._ale.getScreenRGB()


def frames_before(random: np.random.Generator) -> int:
    """Draw the number of frames before an episode, 1 to 30."""
    return int(random.integers(1, MOST_WAITED + 1))


def _loaded(game: str) -> Any:
    """Return an emulator with a game that begins."""
    installation.require("an Atari game", "atari")
    ale_py = installation.load("an Atari game", "atari", "ale_py")
    roms = installation.load("an Atari game", "atari", "ale_py.roms")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)  # the console repeats them itself
    ale.setInt("random_seed", 0)  # which nothing depends on without them
    ale.loadROM(roms.get_rom_path(game))
    ale.reset_game()  # as Gymnasium does after loading, which makes a difference in some games
    return ale


def _parsed(name: str) -> tuple[str, float]:
    """Return the game, and the probability that a frame repeats an action.

    Raises:
      UnknownName: there is no such game or variant.
    """
    game, at, variant = name.partition("@")
    if game not in NAMES:
        _say_what_was_meant(game)
        check("Atari game", game, NAMES)
    if at:
        check("variant of an Atari game", variant, ("sticky",))
    return game, STICKY if at else 0.0


def _say_what_was_meant(game: str) -> None:
    """Refuse Gymnasium's name of a game, "ALE/MsPacman-v5" or "MsPacmanNoFrameskip-v4".

    Raises:
      UnknownName: it is one; the message has ours.
    """
    bare = game.removeprefix("ALE/").split("-")[0].removesuffix("NoFrameskip")
    ours = {name.replace("_", ""): name for name in NAMES}
    meant = ours.get(bare.replace("_", "").lower())
    if meant:
        raise UnknownName(f"unknown Atari game {game!r}. Did you mean 'atari/{meant}'?")


SUITE = Suite(names, spec, open_worlds, fps)
