"""Handwritten digits, 8 x 8 pixels: the 1,797 images that scikit-learn ships.

An episode is one image: the action is the digit, and the return is 1 if it is right. A fixed random
set of 360 images is held out for tests, so a test return is the accuracy on them.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.envs import traces
from ternevo.installation import require
from ternevo.names import check
from ternevo.types import ActionSpec, Env, EnvState, Examples, Key, ObsSpec, Task, Timestep

NUM_TEST = 360


def names() -> tuple[str, ...]:
    """Return the names of the suite."""
    return ("8x8",)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return the digits; observations are the pixels, 0 to 16, mapped to integers -64 to 64.

    Raises:
      UnknownName: there is no environment of that name.
      MissingExtra: scikit-learn is not installed.
      ValueError: `episode_length` is not 1.
    """
    check("data set of digits", name, names())
    if episode_length not in (None, 1):
        raise ValueError(f"episode_length of digits/8x8 must be 1, got {episode_length}")
    examples = load()

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        index = draw_index(examples, key)
        return index, examples.inputs[index]

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        reward = (action == examples.labels[state]).astype(jnp.float32)
        done = jnp.asarray(True)
        return state, Timestep(examples.inputs[state], reward, done, ~done)

    spec = ObsSpec((8, 8), "integers")
    return Env(
        "digits/8x8",
        spec,
        ActionSpec("discrete", 10),
        1,
        reset,
        step,
        examples=examples,
        obs_names=tuple(f"pixel {row},{column}" for row in range(8) for column in range(8)),
        action_names=tuple(f"digit {digit}" for digit in range(10)),
    )


def draw_index(examples: Examples, key: Key) -> jax.Array:
    """Draw the index of a training example."""
    return jax.random.randint(key, (), 0, len(examples.labels) - examples.num_test)


def load() -> Examples:
    """Return the images and their labels.

    Raises:
      MissingExtra: scikit-learn is not installed.
    """
    require("digits/8x8", "digits")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(8 * images - 64, labels, test_size=NUM_TEST, random_state=0)
    inputs, labels = np.concatenate(split[:2]), np.concatenate(split[2:])
    return Examples(jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32), NUM_TEST)


def render(name: str, trajectory: Sequence[EnvState], stem: Path) -> Path:
    """Draw the image of an episode into `<stem>.png`."""
    check("data set of digits", name, names())
    image = np.asarray(load().inputs[int(trajectory[0])]).reshape(8, 8)
    return traces.draw_image(image, stem)
