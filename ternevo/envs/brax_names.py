"""What the observations and actions of brax environments are, in the order of brax's `_get_obs`.

Only environments whose observations are coordinates of joints and points are named. Those of the
humanoids and of the pusher are mostly numbers that no sensor gives, and remain without names.
"""


def names_of(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the observation components and of the actions, empty if unknown."""
    return OBS_NAMES.get(name, ()), ACTION_NAMES.get(name, ())


def _angles(*joints: str) -> tuple[str, ...]:
    return tuple(f"{joint} angle (rad)" for joint in joints)


def _speeds(*joints: str) -> tuple[str, ...]:
    return tuple(f"{joint} velocity (rad/s)" for joint in joints)


def _torques(*joints: str) -> tuple[str, ...]:
    return tuple(f"{joint} torque" for joint in joints)


ANT = tuple(f"{part}_{leg}" for leg in range(1, 5) for part in ("hip", "ankle"))
ONE_LEG = ("thigh", "leg", "foot")
TWO_LEGS = (*ONE_LEG, "left thigh", "left leg", "left foot")
CHEETAH = tuple(
    f"{side} {part}" for side in ("back", "front") for part in ("thigh", "shin", "foot")
)
SWIMMER = ("first joint", "second joint")


def _planar(joints: tuple[str, ...], height: str = "torso height (m)") -> tuple[str, ...]:
    """Return the names for a body that moves in a plane: height and pitch, then joints."""
    return (
        *(height, *_angles("torso", *joints)),
        *("torso velocity forward (m/s)", "torso velocity upward (m/s)"),
        *_speeds("torso", *joints),
    )


OBS_NAMES: dict[str, tuple[str, ...]] = {
    "ant": (
        "torso height (m)",
        *(f"torso orientation, quaternion {part}" for part in "wxyz"),
        *_angles(*ANT),
        *(f"torso velocity {axis} (m/s)" for axis in "xyz"),
        *(f"torso angular velocity {axis} (rad/s)" for axis in "xyz"),
        *_speeds(*ANT),
    ),
    "halfcheetah": _planar(CHEETAH, "torso height, 0 at 0.7 m (m)"),
    "hopper": _planar(ONE_LEG),
    "walker2d": _planar(TWO_LEGS),
    "inverted_pendulum": (
        *("cart position (m)", "pole angle (rad)"),
        *("cart velocity (m/s)", "pole angular velocity (rad/s)"),
    ),
    "inverted_double_pendulum": (
        "cart position (m)",
        *("sine of the lower hinge's angle", "sine of the upper hinge's angle"),
        *("cosine of the lower hinge's angle", "cosine of the upper hinge's angle"),
        *("cart velocity (m/s)", *_speeds("lower hinge", "upper hinge")),
    ),
    "reacher": (
        *("cosine of the first joint's angle", "cosine of the second joint's angle"),
        *("sine of the first joint's angle", "sine of the second joint's angle"),
        *("target position x (m)", "target position y (m)"),
        *("fingertip velocity x (m/s)", "fingertip velocity y (m/s)"),
        *(f"fingertip minus target {axis} (m)" for axis in "xyz"),
    ),
    "swimmer": (
        *_angles("body", *SWIMMER),
        *("velocity x (m/s)", "velocity y (m/s)"),
        *_speeds("body", *SWIMMER),
    ),
}
ACTION_NAMES: dict[str, tuple[str, ...]] = {
    "ant": _torques(*ANT[6:], *ANT[:6]),  # brax's motors begin with the fourth leg
    "halfcheetah": _torques(*CHEETAH),
    "hopper": _torques(*ONE_LEG),
    "walker2d": _torques(*TWO_LEGS),
    "inverted_pendulum": ("force on the cart",),
    "inverted_double_pendulum": ("force on the cart",),
    "reacher": _torques("first joint", "second joint"),
    "swimmer": _torques(*SWIMMER),
}
