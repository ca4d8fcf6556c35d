"""The environments that can be named, as data: importing a simulator to list them takes seconds."""

BRAX_BACKENDS = ("spring", "positional", "generalized", "mjx")
"""The simulators of brax; the first is the default."""

ONLY_BACKENDS = {"brax/fast": ("spring",), "brax/swimmer": ("generalized",)}
"""The environments of brax that only some of them simulate."""

OPTIONAL = ("digits", "playground", "mujoco", "box2d", "atari", "envpool")
"""The suites that need an extra of their own name."""

OUTSIDE_JAX = ("mujoco", "box2d", "atari", "envpool")
"""The suites whose simulators are outside JAX: populations are scored by processes of their own."""

ATARI = {
    3: ("backgammon freeway skiing "),
    4: ("atlantis atlantis2 blackjack breakout casino kaboom "),
    5: ("frogger pacman surround tetris video_checkers "),
    6: (
        "air_raid basic_math bowling carnival demon_attack galaxian king_kong name_this_game "
        "pong pooyan qbert sir_lancelot space_invaders up_n_down "
    ),
    7: ("assault "),
    8: ("gopher phoenix tutankham "),
    9: ("asterix beam_rider crazy_climber enduro koolaid lost_luggage ms_pacman video_pinball "),
    10: ("amidar mr_do othello tic_tac_toe_3d time_pilot video_chess wizard_of_wor "),
    12: ("turmoil "),
    14: ("asteroids keystone_kapers kung_fu_master "),
    16: ("journey_escape "),
    18: (
        "adventure alien bank_heist battle_zone berzerk boxing centipede chopper_command "
        "crossbow darkchambers defender donkey_kong double_dunk earthworld elevator_action "
        "entombed et fishing_derby flag_capture frostbite gravitar hangman haunted_house hero "
        "human_cannonball ice_hockey jamesbond kangaroo klax krull laser_gates mario_bros "
        "miniature_golf montezuma_revenge pitfall pitfall2 private_eye riverraid road_runner "
        "robotank seaquest solaris space_war star_gunner superman tennis trondead venture "
        "video_cube word_zapper yars_revenge zaxxon "
    ),
}
"""The games of Atari by the number of their actions."""

ENVIRONMENTS: dict[str, tuple[str, str]] = {
    "gymnax/CartPole-v1": ("4 floats", "2 discrete"),
    "gymnax/Pendulum-v1": ("3 floats", "1 continuous"),
    "gymnax/Acrobot-v1": ("6 floats", "3 discrete"),
    "gymnax/MountainCar-v0": ("2 floats", "3 discrete"),
    "gymnax/MountainCarContinuous-v0": ("2 floats", "1 continuous"),
    "gymnax/Asterix-MinAtar": ("10x10x4 bits", "5 discrete"),
    "gymnax/Breakout-MinAtar": ("10x10x4 bits", "3 discrete"),
    "gymnax/Freeway-MinAtar": ("10x10x7 bits", "3 discrete"),
    "gymnax/Seaquest-MinAtar": ("10x10x10 bits", "6 discrete"),
    "gymnax/SpaceInvaders-MinAtar": ("10x10x6 bits", "4 discrete"),
    "gymnax/Catch-bsuite": ("10x5 floats", "3 discrete"),
    "gymnax/DeepSea-bsuite": ("8x8 floats", "2 discrete"),
    "gymnax/MemoryChain-bsuite": ("3 floats", "2 discrete"),
    "gymnax/UmbrellaChain-bsuite": ("3 floats", "2 discrete"),
    "gymnax/DiscountingChain-bsuite": ("2 floats", "5 discrete"),
    "gymnax/SimpleBandit-bsuite": ("1x1 floats", "11 discrete"),
    "gymnax/FourRooms-misc": ("4 floats", "4 discrete"),
    "gymnax/MetaMaze-misc": ("15 floats", "4 discrete"),
    "gymnax/PointRobot-misc": ("6 floats", "2 continuous"),
    "gymnax/BernoulliBandit-misc": ("4 floats", "2 discrete"),
    "gymnax/GaussianBandit-misc": ("4 floats", "2 discrete"),
    "gymnax/Reacher-misc": ("8 floats", "2 continuous"),
    "gymnax/Swimmer-misc": ("16 floats", "2 continuous"),
    "gymnax/Pong-misc": ("30x40x3 floats", "3 discrete"),
    "gymnax/FrozenLake-misc": ("16 floats", "4 discrete"),
    "brax/ant": ("27 floats", "8 continuous"),
    "brax/fast": ("2 floats", "1 continuous"),
    "brax/halfcheetah": ("17 floats", "6 continuous"),
    "brax/hopper": ("11 floats", "3 continuous"),
    "brax/humanoid": ("244 floats", "17 continuous"),
    "brax/humanoidstandup": ("244 floats", "17 continuous"),
    "brax/inverted_pendulum": ("4 floats", "1 continuous"),
    "brax/inverted_double_pendulum": ("8 floats", "1 continuous"),
    "brax/pusher": ("23 floats", "7 continuous"),
    "brax/reacher": ("11 floats", "2 continuous"),
    "brax/swimmer": ("8 floats", "2 continuous"),
    "brax/walker2d": ("17 floats", "6 continuous"),
    "mujoco/HalfCheetah-v5": ("17 floats", "6 continuous"),
    "mujoco/Hopper-v5": ("11 floats", "3 continuous"),
    "mujoco/Walker2d-v5": ("17 floats", "6 continuous"),
    "mujoco/Swimmer-v5": ("8 floats", "2 continuous"),
    "mujoco/Ant-v5": ("105 floats", "8 continuous"),
    "mujoco/Humanoid-v5": ("348 floats", "17 continuous"),
    "mujoco/HumanoidStandup-v5": ("348 floats", "17 continuous"),
    "mujoco/InvertedPendulum-v5": ("4 floats", "1 continuous"),
    "mujoco/InvertedDoublePendulum-v5": ("9 floats", "1 continuous"),
    "mujoco/Reacher-v5": ("10 floats", "2 continuous"),
    "mujoco/Pusher-v5": ("23 floats", "7 continuous"),
    "mujoco/HalfCheetah-v4": ("17 floats", "6 continuous"),
    "mujoco/Hopper-v4": ("11 floats", "3 continuous"),
    "mujoco/Walker2d-v4": ("17 floats", "6 continuous"),
    "mujoco/Swimmer-v4": ("8 floats", "2 continuous"),
    "mujoco/Ant-v4": ("27 floats", "8 continuous"),
    "mujoco/Humanoid-v4": ("376 floats", "17 continuous"),
    "box2d/LunarLander-v3": ("8 floats", "4 discrete"),
    "box2d/LunarLanderContinuous-v3": ("8 floats", "2 continuous"),
    "box2d/BipedalWalker-v3": ("24 floats", "4 continuous"),
    "box2d/BipedalWalkerHardcore-v3": ("24 floats", "4 continuous"),
    "box2d/CarRacing-v3": ("96x96x3 pixels", "3 continuous"),
    "playground/AcrobotSwingup": ("6 floats", "1 continuous"),
    "playground/AcrobotSwingupSparse": ("6 floats", "1 continuous"),
    "playground/BallInCup": ("8 floats", "2 continuous"),
    "playground/CartpoleBalance": ("5 floats", "1 continuous"),
    "playground/CartpoleBalanceSparse": ("5 floats", "1 continuous"),
    "playground/CartpoleSwingup": ("5 floats", "1 continuous"),
    "playground/CartpoleSwingupSparse": ("5 floats", "1 continuous"),
    "playground/CheetahRun": ("17 floats", "6 continuous"),
    "playground/FingerSpin": ("9 floats", "2 continuous"),
    "playground/FingerTurnEasy": ("12 floats", "2 continuous"),
    "playground/FingerTurnHard": ("12 floats", "2 continuous"),
    "playground/FishSwim": ("24 floats", "5 continuous"),
    "playground/HopperHop": ("15 floats", "4 continuous"),
    "playground/HopperStand": ("15 floats", "4 continuous"),
    "playground/HumanoidStand": ("67 floats", "21 continuous"),
    "playground/HumanoidWalk": ("67 floats", "21 continuous"),
    "playground/HumanoidRun": ("67 floats", "21 continuous"),
    "playground/PendulumSwingup": ("3 floats", "1 continuous"),
    "playground/PointMass": ("4 floats", "2 continuous"),
    "playground/SwimmerSwimmer6": ("25 floats", "5 continuous"),
    "playground/WalkerRun": ("24 floats", "6 continuous"),
    "playground/WalkerStand": ("24 floats", "6 continuous"),
    "playground/WalkerWalk": ("24 floats", "6 continuous"),
    "control/xor": ("2 floats", "1 continuous"),
    "control/double_pole": ("6 floats", "1 continuous"),
    "control/double_pole_no_velocity": ("12 integers", "1 continuous"),
    "control/maze": ("10 floats", "2 continuous"),
    "control/hop_runner": ("7 floats", "2 continuous"),
    "control/cartpole_swing_up_easy": ("5 floats", "1 continuous"),
    "control/cartpole_swing_up_hard": ("5 floats", "1 continuous"),
    "control/mountain_car_bins": ("20 integers", "3 discrete"),
    "control/job_scheduling": ("16 integers", "16 discrete"),
    "vision/boxes": ("11x11 integers", "121 discrete"),
    "meta/navigation": ("2 integers", "2 continuous"),
    "meta/four_corners": ("2 integers", "2 continuous"),
    "meta/noisy_corners": ("2 integers", "2 continuous"),
    "meta/hidden_direction": ("1 integers", "1 continuous"),
    "meta/sines": ("1 integers", "1 continuous"),
    "meta/needle": ("1 integers", "20 continuous"),
    "meta/babble_and_reach": ("3 integers", "2 continuous"),
    "meta/ant_legs": ("27 floats", "8 continuous"),
    "meta/ant_gaits": ("27 floats", "8 continuous"),
    "meta/ant_gains": ("27 floats", "8 continuous"),
    "meta/ant_payload": ("27 floats", "8 continuous"),
    "meta/ant_direction": ("27 floats", "8 continuous"),
    "meta/halfcheetah_direction": ("17 floats", "6 continuous"),
    "memory/copy": ("3 integers", "1 continuous"),
    "memory/season": ("10 integers", "1 continuous"),
    "memory/t_maze": ("5 integers", "2 discrete"),
    "digits/8x8": ("8x8 integers", "10 discrete"),
    "probe/bandit": ("1 float", "2 discrete"),
    "probe/sign": ("1 float", "2 discrete"),
    "probe/target": ("1 float", "1 continuous"),
    "probe/corridor": ("5 floats", "2 discrete"),
    "probe/afterlife": ("1 float", "2 discrete"),
    "probe/countdown": ("1 float", "2 discrete"),
    "probe/nan": ("1 float", "2 discrete"),
    "probe/random_length": ("1 float", "2 discrete"),
    "probe/double_integrator": ("2 floats", "1 continuous"),
    "probe/hidden_arm": ("1 float", "2 discrete"),
    "probe/recall": ("2 floats", "2 discrete"),
}
"""What an environment observes and which actions it takes, by id. A test compares it with all
environments."""

ENVIRONMENTS |= {
    f"atari/{name}": ("84x84x4 pixels", f"{count} discrete")
    for name, count in sorted((name, count) for count in ATARI for name in ATARI[count].split())
}

ENVIRONMENTS |= {
    f"envpool/{env_id.partition('/')[2]}": shown
    for env_id, shown in ENVIRONMENTS.items()
    if env_id.startswith("box2d/")
}


def is_outside_jax(env_id: str) -> bool:
    """Return whether an environment's simulator is outside JAX."""
    return ":" not in env_id and env_id.partition("/")[0] in OUTSIDE_JAX


def is_image_file(env_id: str) -> bool:
    """Return whether an id is "digits/PATH.npz", a file of labelled images.

    Examples:
      >>> is_image_file("digits/~/data/mnist.npz"), is_image_file("digits/8x8")
      (True, False)
    """
    return env_id.startswith("digits/") and env_id.casefold().endswith(".npz")


def folder_name(env_id: str) -> str:
    """Return the folder of an environment's runs: its id, with only the name of a file of images.

    A path may be absolute, or lead out of the folder of all runs.

    Examples:
      >>> folder_name("brax/ant@spring"), folder_name("digits/../data/mnist.npz")
      ('brax/ant@spring', 'digits/mnist.npz')
    """
    return f"digits/{env_id.rpartition('/')[2]}" if is_image_file(env_id) else env_id


def full_id(env_id: str) -> str:
    """Return the id that `envs.make` gives an environment, with its backend or resolution.

    Examples:
      >>> full_id("brax/ant"), full_id("brax/swimmer"), full_id("gymnax/CartPole-v1")
      ('brax/ant@spring', 'brax/swimmer@generalized', 'gymnax/CartPole-v1')
    """
    if env_id == "vision/boxes":
        return "vision/boxes@11"
    if not env_id.startswith("brax/") or "@" in env_id or ":" in env_id:
        return env_id
    return f"{env_id}@{ONLY_BACKENDS.get(env_id, BRAX_BACKENDS)[0]}"
