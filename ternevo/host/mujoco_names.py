"""What the observations and actions of the MuJoCo environments are, in Gymnasium's order."""


def names_of(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the observation components and of the actions of "HalfCheetah-v5"."""
    body = name.partition("-")[0]
    return OBS_NAMES.get(name, OBS_NAMES.get(body, ())), ACTION_NAMES[body]


def _angles(*joints: str) -> tuple[str, ...]:
    """Name the angles of joints."""
    return tuple(f"{joint} angle (rad)" for joint in joints)


def _speeds(*joints: str) -> tuple[str, ...]:
    """Name the angular velocities of joints."""
    return tuple(f"{joint} velocity (rad/s)" for joint in joints)


def _torques(*joints: str) -> tuple[str, ...]:
    """Name the torques on joints."""
    return tuple(f"{joint} torque" for joint in joints)


def _axes(text: str) -> tuple[str, ...]:
    """Name three components: "at {} (m)" is "at x (m)", "at y (m)" and "at z (m)"."""
    return tuple(text.format(axis) for axis in "xyz")


ANT = tuple(f"{part}_{leg}" for leg in range(1, 5) for part in ("hip", "ankle"))
ONE_LEG = ("thigh", "leg", "foot")
TWO_LEGS = (*ONE_LEG, "left thigh", "left leg", "left foot")
CHEETAH = tuple(
    f"{side} {part}" for side in ("back", "front") for part in ("thigh", "shin", "foot")
)
SWIMMER = ("first joint", "second joint")
SIDES = ("right", "left")
WAIST = ("abdomen z", "abdomen y", "abdomen x")
LEGS = tuple(f"{side} {part}" for side in SIDES for part in ("hip x", "hip z", "hip y", "knee"))
ARMS = tuple(f"{side} {part}" for side in SIDES for part in ("shoulder 1", "shoulder 2", "elbow"))
HUMANOID = (*WAIST, *LEGS, *ARMS)
HUMANOID_BODIES = (
    *("torso", "lower waist", "pelvis"),
    *(f"{side} {part}" for side in SIDES for part in ("thigh", "shin", "foot")),
    *(f"{side} {part}" for side in SIDES for part in ("upper arm", "lower arm")),
)
ANT_BODIES = (
    "torso",
    *(f"{part} of leg {leg}" for leg in range(1, 5) for part in ("base", "hip", "ankle")),
)
PUSHER = (
    *("shoulder pan", "shoulder lift", "upper arm roll", "elbow flex"),
    *("forearm roll", "wrist flex", "wrist roll"),
)


def _planar(joints: tuple[str, ...], height: str = "torso height (m)") -> tuple[str, ...]:
    """Return the names for a body that moves in a plane: height and pitch, then joints."""
    return (
        *(height, *_angles("torso", *joints)),
        *("torso velocity forward (m/s)", "torso velocity upward (m/s)"),
        *_speeds("torso", *joints),
    )


def _free(joints: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names for a body that moves in space: height and orientation, then joints."""
    return (
        "torso height (m)",
        *(f"torso orientation, quaternion {part}" for part in "wxyz"),
        *_angles(*joints),
        *_axes("torso velocity {} (m/s)"),
        *_axes("torso angular velocity {} (rad/s)"),
        *_speeds(*joints),
    )


def _forces(bodies: tuple[str, ...]) -> tuple[str, ...]:
    """Name the torques and forces that act on bodies from outside."""
    return tuple(
        name
        for body in bodies
        for name in (
            *_axes(f"torque {{}} on {body} (N m)"),
            *_axes(f"force {{}} on {body} (N)"),
        )
    )


def _inertia(body: str) -> tuple[str, ...]:
    """Name how a body's mass lies around the centre of mass of all, as MuJoCo's `cinert` says."""
    return (
        *(f"{body} inertia {pair} (kg m2)" for pair in ("xx", "yy", "zz", "xy", "xz", "yz")),
        *_axes(f"{body} mass times offset {{}} (kg m)"),
        f"{body} mass (kg)",
    )


def _velocity(body: str) -> tuple[str, ...]:
    return (
        *_axes(f"{body} angular velocity about {{}} (rad/s)"),
        *_axes(f"{body} velocity at the centre of mass {{}} (m/s)"),
    )


def _whole_humanoid(bodies: tuple[str, ...], of_root: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names for bodies, with the motors of the root before those of the joints."""
    return (
        *_free(HUMANOID),
        *(name for body in bodies for name in _inertia(body)),
        *(name for body in bodies for name in _velocity(body)),
        *of_root,
        *(f"{joint} motor torque (N m)" for joint in HUMANOID),
        *_forces(bodies),
    )


WHOLE_HUMANOID = _whole_humanoid(HUMANOID_BODIES, ())
OBS_NAMES: dict[str, tuple[str, ...]] = {
    "Ant": (*_free(ANT), *_forces(ANT_BODIES)),
    "Ant-v4": _free(ANT),
    "HalfCheetah": _planar(CHEETAH, "torso height, 0 at 0.7 m (m)"),
    "Hopper": _planar(ONE_LEG),
    "Walker2d": _planar(TWO_LEGS),
    "Humanoid": WHOLE_HUMANOID,
    "Humanoid-v4": _whole_humanoid(
        ("world", *HUMANOID_BODIES),
        (*_axes("torso motor force {} (N)"), *_axes("torso motor torque {} (N m)")),
    ),
    "HumanoidStandup": WHOLE_HUMANOID,
    "InvertedPendulum": (
        *("cart position (m)", "pole angle (rad)"),
        *("cart velocity (m/s)", "pole angular velocity (rad/s)"),
    ),
    "InvertedDoublePendulum": (
        "cart position (m)",
        *("sine of the lower hinge's angle", "sine of the upper hinge's angle"),
        *("cosine of the lower hinge's angle", "cosine of the upper hinge's angle"),
        *("cart velocity (m/s)", *_speeds("lower hinge", "upper hinge")),
        "force of the rail's end on the cart (N)",
    ),
    "Reacher": (
        *("cosine of the first joint's angle", "cosine of the second joint's angle"),
        *("sine of the first joint's angle", "sine of the second joint's angle"),
        *("target position x (m)", "target position y (m)"),
        *_speeds("first joint", "second joint"),
        *("fingertip minus target x (m)", "fingertip minus target y (m)"),
    ),
    "Pusher": (
        *_angles(*PUSHER),
        *_speeds(*PUSHER),
        *_axes("fingertip position {} (m)"),
        *_axes("object position {} (m)"),
        *_axes("goal position {} (m)"),
    ),
    "Swimmer": (
        *_angles("body", *SWIMMER),
        *("velocity x (m/s)", "velocity y (m/s)"),
        *_speeds("body", *SWIMMER),
    ),
}
HUMANOID_MOTORS = ("abdomen y", "abdomen z", "abdomen x", *LEGS, *ARMS)
ACTION_NAMES: dict[str, tuple[str, ...]] = {
    "Ant": _torques(*ANT[6:], *ANT[:6]),  # the motors begin with the fourth leg
    "HalfCheetah": _torques(*CHEETAH),
    "Hopper": _torques(*ONE_LEG),
    "Walker2d": _torques(*TWO_LEGS),
    "Humanoid": _torques(*HUMANOID_MOTORS),
    "HumanoidStandup": _torques(*HUMANOID_MOTORS),
    "InvertedPendulum": ("force on the cart",),
    "InvertedDoublePendulum": ("force on the cart",),
    "Reacher": _torques("first joint", "second joint"),
    "Pusher": _torques(*PUSHER),
    "Swimmer": _torques(*SWIMMER),
}
