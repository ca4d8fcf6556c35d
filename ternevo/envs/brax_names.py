"""What the observations and actions of brax environments are, in the order of brax's `_get_obs`.

Only environments whose observations are coordinates of joints and points are named. Those of the
humanoids and of the pusher are mostly numbers that no sensor gives, and remain without names.
Most environments observe what Gymnasium's do, and have their names.
"""

from ternevo.host import mujoco_names


def names_of(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the observation components and of the actions, empty if unknown."""
    return OBS_NAMES.get(name, ()), ACTION_NAMES.get(name, ())


GYMNASIUMS = mujoco_names.OBS_NAMES
OBS_NAMES: dict[str, tuple[str, ...]] = {
    "ant": GYMNASIUMS["Ant-v4"],
    "halfcheetah": GYMNASIUMS["HalfCheetah"],
    "hopper": GYMNASIUMS["Hopper"],
    "walker2d": GYMNASIUMS["Walker2d"],
    "inverted_pendulum": GYMNASIUMS["InvertedPendulum"],
    "inverted_double_pendulum": GYMNASIUMS["InvertedDoublePendulum"][:-1],  # without the rail
    "reacher": (
        *GYMNASIUMS["Reacher"][:6],
        *("fingertip velocity x (m/s)", "fingertip velocity y (m/s)"),
        *(f"fingertip minus target {axis} (m)" for axis in "xyz"),
    ),
    "swimmer": GYMNASIUMS["Swimmer"],
}
ACTION_NAMES: dict[str, tuple[str, ...]] = {
    "ant": mujoco_names.ACTION_NAMES["Ant"],
    "halfcheetah": mujoco_names.ACTION_NAMES["HalfCheetah"],
    "hopper": mujoco_names.ACTION_NAMES["Hopper"],
    "walker2d": mujoco_names.ACTION_NAMES["Walker2d"],
    "inverted_pendulum": mujoco_names.ACTION_NAMES["InvertedPendulum"],
    "inverted_double_pendulum": mujoco_names.ACTION_NAMES["InvertedDoublePendulum"],
    "reacher": mujoco_names.ACTION_NAMES["Reacher"],
    "swimmer": mujoco_names.ACTION_NAMES["Swimmer"],
}
