"""Images of a file: what is in them comes out, and what cannot be used is refused by name."""

import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import equations

import ternevo
from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.envs.images import ImageFileError
from ternevo.policies import policy_file
from ternevo.problems import Plan, episodes, supervised
from ternevo.reading import NotAFile
from ternevo.runs import claims
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import folder_of
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP, Conv, ResNet
from ternevo.types import ObsSpec, PolicyParams, Population, Tensor

KEY, GENERATION = jax.random.key(0), jnp.zeros((), jnp.int32)
SIZE = 4


def rows(labels):
    """Return images [images, 4, 4] whose row `label` is bright."""
    images = np.zeros((len(labels), SIZE, SIZE), np.uint8)
    images[np.arange(len(labels)), labels] = 255
    return images


def written(path, **changed):
    """Write six images to train on and five to test on, or other arrays; return the path."""
    train, test = np.array([0, 1, 2, 3, 1, 1], np.uint8), np.array([3, 2, 1, 0, 2], np.uint8)
    arrays = {"x_train": rows(train), "y_train": train, "x_test": rows(test), "y_test": test}
    arrays = {name: value for name, value in {**arrays, **changed}.items() if value is not None}
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def path(tmp_path):
    return written(tmp_path / "rows.npz")


def noise(tmp_path, size, num_test=7):
    """Return an environment of random images."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20 + num_test, size, size), np.uint8), np.arange(20 + num_test) % 3
    arrays = {"x_train": x[:20], "y_train": y[:20], "x_test": x[20:], "y_test": y[20:]}
    return envs.make(f"digits/{written(tmp_path / 'noise.npz', **arrays)}")


def scored(problem, members):
    """Return the returns of members in a first generation."""
    nothing = observation.empty(problem.obs.size)
    return jax.jit(lambda key: problem.evaluate(key, members, nothing, GENERATION).returns)(KEY)


def row_finder(env):
    """Return a network that adds up each row, and its params: it is right if no label is wrong."""
    policy = MLP(()).build(env.obs, env.action)
    weights = jnp.repeat(jnp.eye(SIZE, dtype=jnp.int8), SIZE, axis=0)
    bias = Tensor(jnp.zeros(SIZE, jnp.int8), jnp.int8(0))
    return policy, ({"weight": Tensor(weights, jnp.int8(0)), "bias": bias},)


# --- what is in a file -----------------------------------------------------------------------


def test_an_environment_shows_the_images_of_the_file(path):
    env = envs.make(f"digits/{path}")
    assert (env.id, env.episode_length) == (f"digits/{path}", 1)
    assert env.obs == ObsSpec((SIZE, SIZE, 1), "pixels")
    assert env.action.size == 4 and env.action_names[-1] == "label 3"
    assert env.examples.inputs.dtype == jnp.uint8 and env.examples.num_test == 5
    index, obs = jax.vmap(lambda key: env.reset(key, ()))(jax.random.split(KEY, 64))
    assert set(index.tolist()) == set(range(6))  # and none of those that are held out
    assert obs.dtype == jnp.float32
    labels = env.examples.labels[index]
    np.testing.assert_array_equal(obs.reshape(64, SIZE, SIZE), rows(labels))
    for action in (labels, (labels + 1) % 4):
        _, after = jax.vmap(lambda *own: env.step(KEY, *own))(index, action)
        np.testing.assert_array_equal(after.reward, action == labels)


def test_a_policy_that_is_right_scores_what_it_should(tmp_path):
    wrong = np.array([3, 2, 1, 0, 0], np.uint8)  # the last label is not that of its image
    env = envs.make(f"digits/{written(tmp_path / 'rows.npz', y_test=wrong)}")
    policy, weights = row_finder(env)
    params = PolicyParams(weights, observation.empty(env.obs.size))
    policy_file.save(tmp_path / "policy.tvp", env, "mlp", MLP(()), params)
    returns = ternevo.evaluate(tmp_path / "policy.tvp").returns
    np.testing.assert_array_equal(returns, [1, 1, 1, 1, 0])

    everyone = jax.tree.map(lambda x: x[None], weights)
    returns = scored(problems.of(policy, env, Plan(9)), Population(everyone))
    np.testing.assert_array_equal(returns, np.ones((1, 9)))


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        pytest.param(MLP((5,)), 4, id="mlp"),
        pytest.param(Conv((), filters=((2, 3, 1),)), 5, id="conv", marks=pytest.mark.wide),
        pytest.param(ResNet((), channels=(2,)), 8, id="resnet", marks=pytest.mark.wide),
    ],
)
def test_examples_of_a_file_return_what_episodes_return(settings, size, tmp_path):
    env = noise(tmp_path, size)
    policy, plan = settings.build(env.obs, env.action), Plan(16, "none")
    members = Population(jax.jit(jax.vmap(policy.init))(jax.random.split(KEY, 4)))
    found = scored(problems.of(policy, env, plan), members)
    np.testing.assert_array_equal(found, scored(episodes.episodes(policy, env, plan), members))
    assert 0 < found.mean() < 1


def test_examples_are_scored_in_parts_as_they_are_together(tmp_path, monkeypatch):
    """Eleven in parts of four: the last of them is filled up, and does not count."""
    env = noise(tmp_path, 4, num_test=11)
    policy = MLP((5,)).build(env.obs, env.action)
    params, quantiser = policy.init(KEY), observation.freeze(observation.empty(16), "pixels")

    def tested():
        return jax.jit(lambda: problems.of(policy, env).test(KEY, params, quantiser, 1).returns)()

    together = tested()
    monkeypatch.setattr(supervised, "AT_ONCE", 4)
    parts = tested()
    assert together.shape == (1, 11) and 0 < float(together.mean()) < 1
    np.testing.assert_array_equal(parts, together)


def test_no_program_holds_all_images_as_floats(tmp_path, monkeypatch):
    env = noise(tmp_path, 4, num_test=40)
    monkeypatch.setattr(supervised, "AT_ONCE", 8)
    policy = MLP((5,)).build(env.obs, env.action)
    problem, params = problems.of(policy, env, Plan(8)), policy.init(KEY)
    members, nothing = Population(jax.tree.map(lambda x: x[None], params)), observation.empty(16)
    quantiser = observation.freeze(nothing, "pixels")
    for program, arguments in (
        (lambda key: problem.evaluate(key, members, nothing, GENERATION), (KEY,)),
        (lambda *own: problem.test(*own, 1), (KEY, params, quantiser)),
    ):
        jaxpr = jax.make_jaxpr(program)(*arguments).jaxpr
        made = [out.aval for equation in equations(jaxpr) for out in equation.outvars]
        sizes = [x.size for x in made if x.dtype == jnp.float32]
        assert 8 * 16 <= max(sizes) < 20 * 16


def test_an_image_of_a_file_is_drawn(path, tmp_path):
    state, _ = envs.make(f"digits/{path}").reset(KEY, ())
    drawn = envs.render(f"digits/{path}", [state], tmp_path / "row")
    assert drawn == tmp_path / "row.png" and drawn.stat().st_size > 0


# --- paths and ids ---------------------------------------------------------------------------


def test_a_path_may_be_relative_or_begin_at_home(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    for name in ("rows.npz", "./rows.npz", "~/rows.npz", str(path)):
        assert envs.make(f"digits/{name}").id == f"digits/{name}"


def test_runs_are_kept_by_the_name_of_the_file_wherever_it_is(tmp_path):
    folders = {
        folder_of(parse(["--runs_dir", str(tmp_path)]), f"digits/{name}").path
        for name in ("rows.npz", "/data/rows.npz", "~/rows.npz", "../../rows.npz")
    }
    assert folders == {tmp_path / "digits" / "rows.npz" / "ternary_nes" / "seed0"}


def test_a_run_is_not_resumed_with_a_file_from_elsewhere(tmp_path):
    def config_of(folder, *more):
        return parse(["--env", f"digits/{folder}/x.npz", "--runs_dir", str(tmp_path), *more])

    with claims.held(config_of("/one")) as config:
        claims.create(config, config.env).metrics.write_text("{}\n")
    with claims.held(config_of("/other")) as config:
        assert config.name == "seed0-run2"
    with claims.held(config_of("/one", "--resume")) as config:
        assert config.name == "seed0"
    other = config_of("/other", "--resume", "--name", "seed0")
    with pytest.raises(RunFolderError, match=r"env: 'digits//one/x\.npz' then"):
        claims.create(other, other.env)


# --- files that cannot be used ---------------------------------------------------------------


def refusal(path):
    with pytest.raises(ImageFileError) as error:
        envs.make(f"digits/{path}")
    assert str(path) in str(error.value)
    return str(error.value)


LABELS = np.array([0, 1, 2, 3, 1, 1])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"y_train": None, "x_test": None}, "has no y_train, x_test. It has: x_train, y_test"),
        ({"x_train": rows(LABELS) / 255}, "x_train is float64[6, 4, 4]; must be uint8[images, hei"),
        ({"x_train": rows(LABELS).reshape(6, 16)}, "x_train is uint8[6, 16]; must be"),
        ({"x_test": np.zeros((0, 4, 4), np.uint8)}, "x_test is uint8[0, 4, 4]; must be"),
        ({"x_test": np.zeros((5, 4, 3), np.uint8)}, "must have the same height and width"),
        ({"y_train": LABELS[:5]}, "y_train is int64[5]; must be integers[6]"),
        ({"y_train": np.eye(4)[LABELS]}, "y_train is float64[6, 4]; must be integers[6]"),
        ({"y_train": LABELS - 1}, "y_train has the label -1; must be 0 to 999"),
        ({"y_train": LABELS + 998}, "y_train has the label 1001; must be 0 to 999"),
        ({"y_train": LABELS * 0}, "y_train has only the label 0"),
        ({"y_test": np.array([0, 4, 1, 2, 2])}, "y_test has the label 4; must be 0 to 3, as in y"),
        ({"y_test": LABELS[:5].astype(object)}, "y_test cannot be read: Object arrays cannot be"),
    ],
)
def test_wrong_arrays_are_named(changed, words, tmp_path):
    assert words in refusal(written(tmp_path / "wrong.npz", **changed))


def test_a_missing_file_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageFileError) as error:
        envs.make("digits/data/mnist.npz")
    message = str(error.value)
    assert f"there is no file {tmp_path}/data/mnist.npz" in message
    assert "x_train, y_train, x_test, y_test" in message and "nothing is downloaded" in message


def test_what_is_no_npz_is_refused(path, tmp_path):
    other = tmp_path / "other.npz"
    for content in (b"", b"x_train", b"\x80\x04pickle", path.read_bytes()[4:]):
        other.write_bytes(content)
        assert "is not an .npz" in refusal(other)
    with other.open("wb") as file:
        np.save(file, LABELS)
    assert "is not an .npz" in refusal(other)
    other.write_bytes(path.read_bytes()[:-40])
    assert "cannot be read" in refusal(other)
    with zipfile.ZipFile(other, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file.writestr(name, "words")
    assert "x_train is |S5[]; must be uint8" in refusal(other)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(NotAFile, match="not a FIFO"):
        envs.make(f"digits/{tmp_path}/pipe.npz")


def test_an_array_that_is_damaged_is_named(path):
    data = bytearray(path.read_bytes())
    at = data.index(b"x_test.npy") + 60
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    assert "x_test cannot be read" in refusal(path)


def test_a_colon_and_a_second_step_are_refused(path):
    with pytest.raises(ValueError, match=r"the path in digits/a:b\.npz has a colon"):
        envs.make("digits/a:b.npz")
    with pytest.raises(ValueError, match=r"episode_length of digits/.*rows.npz must be 1, got 2"):
        envs.make(f"digits/{path}", 2)
