"""Images to classify: `digits/8x8`, which scikit-learn ships, and `digits/PATH.npz`, your own file.

An episode is one image: the action is its label, and the return is 1 if it is right. Some images
are held out for tests, so a test return is the accuracy on them: of 8x8 a fixed random set of 360
of the 1,797 images, of a file its `x_test`, always all of it.

Nothing is downloaded. MNIST is `mnist.npz`, where Keras keeps it or from elsewhere:

```sh
python -m ternevo.run --config digits --env digits/~/.keras/datasets/mnist.npz
```

The path may also be relative to the current directory, or absolute, as in `digits//data/mnist.npz`;
`ternevo.envs.images` says what is in such a file. Its runs are kept under its name, in the folder
`digits/mnist.npz` of `--runs_dir`. A run's `config.json` and policy files have the id as it was
given, and not what was in the file. Compiled programs contain all images, and so does each of them
in the cache.

Source of 8x8: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.envs import images, traces
from ternevo.installation import require
from ternevo.names import check
from ternevo.settings.environments import is_image_file
from ternevo.types import ActionSpec, Env, EnvState, Examples, Key, ObsSpec, Task, Timestep

NUM_TEST = 360


def names() -> tuple[str, ...]:
    """Return the names of the suite; a name may also be the path of a file."""
    return ("8x8",)


def make(name: str, episode_length: int | None = None) -> Env:
    """Return the digits, or the images of a file.

    Observations of the digits are the pixels, 0 to 16, mapped to integers -64 to 64. Those of a
    file are pixels of 0 to 255, [height, width, 1], and there is an action for each label.

    Raises:
      UnknownName: there is no environment of that name.
      MissingExtra: scikit-learn is not installed; a file does without.
      ImageFileError: the file is missing, or does not hold such images.
      NotAFile: the path is that of a directory or the like.
      ValueError: `episode_length` is not 1, or the path has a colon.
    """
    is_file = _is_file(name)
    if not is_file:
        check("data set of digits", name, names())
    if episode_length not in (None, 1):
        raise ValueError(f"episode_length of digits/{name} must be 1, got {episode_length}")
    return _of_file(name) if is_file else _of_scikit_learn()


def _of_scikit_learn() -> Env:
    return _classifying("8x8", ObsSpec((8, 8), "integers"), load(), 10)._replace(
        obs_names=tuple(f"pixel {row},{column}" for row in range(8) for column in range(8)),
        action_names=tuple(f"digit {digit}" for digit in range(10)),
    )


def _of_file(name: str) -> Env:
    found = images.read(_path(name))
    count, height, width = found.images.shape
    inputs = jnp.asarray(found.images.reshape(count, -1))
    examples = Examples(inputs, jnp.asarray(found.labels), found.num_test)
    obs = ObsSpec((height, width, 1), "pixels")
    return _classifying(name, obs, examples, found.num_labels)._replace(
        obs_names=("brightness (0 to 255)",),
        action_names=tuple(f"label {label}" for label in range(found.num_labels)),
    )


def _classifying(name: str, obs: ObsSpec, examples: Examples, num_labels: int) -> Env:
    """Return the environment whose episodes are examples, without names."""

    def reset(key: Key, task: Task) -> tuple[EnvState, jax.Array]:
        del task
        index = draw_index(examples, key)
        return index, examples.shown(index)

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        del key
        reward = (action == examples.labels[state]).astype(jnp.float32)
        done = jnp.asarray(True)
        return state, Timestep(examples.shown(state), reward, done, ~done)

    action = ActionSpec("discrete", num_labels)
    return Env(f"digits/{name}", obs, action, 1, reset, step, examples=examples)


def draw_index(examples: Examples, key: Key) -> jax.Array:
    """Draw the index of a training example."""
    return jax.random.randint(key, (), 0, len(examples.labels) - examples.num_test)


def load() -> Examples:
    """Return the images of 8x8 and their labels.

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
    index = int(trajectory[0])
    if _is_file(name):
        return traces.draw_image(images.read(_path(name)).images[index], stem)
    check("data set of digits", name, names())
    return traces.draw_image(np.asarray(load().inputs[index]).reshape(8, 8), stem)


def _is_file(name: str) -> bool:
    return is_image_file(f"digits/{name}")


def _path(name: str) -> Path:
    """Return the path that a name is, with the user's own folder for `~`."""
    if ":" in name:
        raise ValueError(
            f"the path in digits/{name} has a colon, which marks code to import in an id; rename "
            "the file or link to it"
        )
    return Path(os.path.expanduser(name))
