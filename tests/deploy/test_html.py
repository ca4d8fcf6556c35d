"""The web page: JavaScript gives the integers that NumPy gives, and nothing in a file is code."""

import base64
import dataclasses
import hashlib
import itertools
import json
import re
import shutil
import struct
import subprocess
import zlib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from deep_records import deep_record
from layered_records import Builder, minatar, of_one_type, recurrent, resnet
from marks import wide
from PIL import Image
from policy_records import make_record, near_ties, with_squares

import ternevo.deploy
from ternevo.deploy import html, integer, tvp
from ternevo.deploy.record import LAYER_TYPES, Layer, Moments, PolicyRecord, Vectors, Window

WEB = Path(ternevo.deploy.__file__).parent / "web"
HOSTILE = (
    "gymnax/CartPole-v1</script><script>document.title='owned'</script><!-- {{script}} & \u2028"
)
TIMES = "\N{MULTIPLICATION SIGN}"
ODD = (
    "nan inf -inf 0 -0 1e-45 -1e-45 1.2e-38 3.4028235e38 -3.4e38 0.5 -0.5 1.5 126.5 -127.5 8388608"
)
SPECIAL = np.array([float(word) for word in (ODD + " 0.49999997 0.50000006").split()], np.float32)

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")


def random_policy(random, sizes=(5, 7, 3), activation="sign", is_wild=False, **how) -> PolicyRecord:
    """Return a policy; a wild one has exponents all over what the format takes."""

    def draw(least, most):
        return int(random.integers(least, most + 1))

    reach, shift = (24, 8) if is_wild else (4, 3)
    least = -reach if is_wild else 0
    return make_record(
        sizes,
        activation,
        shifts=(draw(0, shift), draw(0, shift)),
        seed=draw(0, 2**31 - 1),
        exponents=[draw(least, reach) for _ in sizes[1:]],
        bias_exponent=draw(least, reach),
        reach=(-120, 120) if is_wild else (0, 7),
        **how,
    )


def table() -> list[PolicyRecord]:
    """Return policies of all kinds: activations, weights, biases, inputs, bits, heads, shifts."""
    random = np.random.default_rng(0)
    kinds = itertools.product(
        ("int8", "int4", "sign", "ternary"),
        ("ternary", "binary"),
        (True, False),
        (("f32", 8), ("f32", 4), ("f32", 1), ("i8", 8), ("i8", 3), ("bits", 1)),
        ("discrete", "continuous"),
        (False, True),
    )
    depths = itertools.cycle([(5, 7, 3), (4, 2), (9, 8, 6, 2), (1, 1, 1), (33, 70, 5, 4, 1)])
    scales = itertools.cycle(["layer", "output", "layer"] * 2 + ["output"])
    names = ("kind", "bias", "inputs", "bits", "output", "is_wild", "scales")
    return [
        random_policy(
            random,
            sizes,
            activation,
            **dict(zip(names, (kind, bias, *inputs, output, wild, scale), strict=True)),
        )
        for sizes, scale, (activation, kind, bias, inputs, output, wild) in zip(
            depths, scales, kinds, strict=False
        )
    ]


def observations_of(record: PolicyRecord, random, count: int) -> np.ndarray:
    """Return observations around the quantiser's range, ties of its rounding, and odd floats."""
    shape = (count, record.obs_size)
    if record.input_kind != "f32":
        obs = near_ties(random, shape, (0, 2) if record.input_kind == "bits" else (-150, 270))
        obs = np.where(random.random(shape) < 0.5, np.floor(obs), obs)
        return np.where(random.random(shape) < 0.15, random.choice(SPECIAL, shape), obs)
    ties = random.integers(-300, 301, shape).astype(np.float32) / 2
    scale = np.ldexp(np.float32(1), -record.exponent.astype(np.int32))
    obs = (ties * scale + record.mean).astype(np.float32)
    noise = (random.normal(size=shape) * 60 * scale + record.mean).astype(np.float32)
    obs = np.where(random.random(shape) < 0.5, noise, obs)
    return np.where(random.random(shape) < 0.15, random.choice(SPECIAL, shape), obs)


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def in_node(jobs: list[dict]) -> list:
    script = Path(__file__).with_name("web_vectors.mjs")
    done = subprocess.run(
        ["node", str(script), str(WEB)],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def compare(records: list[PolicyRecord], count: int, seed: int = 1) -> None:
    """Assert that JavaScript computes what NumPy does: quantised integers, logits, actions."""
    random = np.random.default_rng(seed)
    observations = [observations_of(record, random, count) for record in records]
    results = in_node(
        [
            {
                "job": "compute",
                "policy": to_base64(tvp.encode(record)),
                "observations": to_base64(obs.astype("<f4").tobytes()),
            }
            for record, obs in zip(records, observations, strict=True)
        ]
    )
    for record, obs, result in zip(records, observations, results, strict=True):
        net = integer.compile_integer(record)
        quantised = integer.quantise(record, obs)
        logits = integer.episode(net, quantised)
        actions = integer.actions(record, net.output_exponent, logits)
        for name, expected in (("quantised", quantised), ("logits", logits), ("actions", actions)):
            found = np.frombuffer(base64.b64decode(result[name]), expected.dtype)
            np.testing.assert_array_equal(found, expected.ravel(), err_msg=f"{name} of {record}")


@needs_node
def test_javascript_computes_the_integers_and_actions_of_numpy():
    records = table()
    assert len(records) == 384
    compare(records, count=40)


def policies_of_all_layers(count: int, first: int = 0) -> list[PolicyRecord]:
    """Return random networks of all layers, and those that people train."""
    random = [deep_record(seed) for seed in range(first, first + count)]
    return [*random, minatar(), resnet(), recurrent("elman"), recurrent("gated", hidden=(5,))]


@needs_node
def test_javascript_computes_all_layers_and_whole_episodes():
    compare(policies_of_all_layers(80), count=12)


@needs_node
@pytest.mark.slow
def test_javascript_computes_the_same_of_many_more_networks():
    compare(policies_of_all_layers(2500, first=1000), count=12, seed=2)


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("type_", LAYER_TYPES)
def test_javascript_computes_a_hundred_thousand_inputs_of_each_type(type_):
    for record in of_one_type(type_):
        compare([record], count=25_000)


@needs_node
@pytest.mark.slow
def test_javascript_computes_the_same_for_many_more_and_wider_policies():
    for seed in range(5):
        compare(table(), count=400, seed=seed)
    random = np.random.default_rng(7)
    wide = [
        random_policy(random, (244, 256, 256, 17), activation, output="continuous")
        for activation in ("int8", "int4", "sign", "ternary")
    ]
    compare([*wide, random_policy(random, (4096, 32, 6), inputs="bits")], count=50)


@needs_node
def test_all_ties_of_a_shift_are_rounded_to_even():
    """One input of every size, through shifts of every size: each sum meets its ties."""
    inputs = np.arange(-127, 128, dtype=np.float32)[:, None]
    one = np.ones((1, 1), np.int8)
    records = [
        PolicyRecord(
            "i8", 8, 0, 0, *(np.zeros(0, np.float32), np.zeros(0, np.int8)), "discrete",
            *(np.zeros(0, np.float32),) * 2,
            (
                Layer(one, None, "ternary", activation, exponent, 0),
                Layer(one, None, "ternary", "none", 0, 0),
            ),
        )
        for activation in ("int8", "int4", "ternary")
        for exponent in range(-24, 25)
    ]  # fmt: skip
    jobs = [
        {
            "job": "compute",
            "policy": to_base64(tvp.encode(record)),
            "observations": to_base64(inputs.astype("<f4").tobytes()),
        }
        for record in records
    ]
    for record, result in zip(records, in_node(jobs), strict=True):
        net = integer.compile_integer(record)
        expected = integer.logits(net, inputs.astype(np.int8)).ravel()
        found = np.frombuffer(base64.b64decode(result["logits"]), np.int32)
        np.testing.assert_array_equal(found, expected, err_msg=str(record.layers[0]))


# ---------------------------------------------------------------------------------- damaged files


def full(record: PolicyRecord) -> PolicyRecord:
    """Return the policy with all optional parts."""
    random = np.random.default_rng(3)
    q = random.integers(0, 2, (3, record.obs_size)).astype(np.int8)
    logits = integer.episode(integer.compile_integer(record), q)
    ones = np.ones(record.obs_size, np.float32)
    return dataclasses.replace(
        record,
        metadata={"env": "gymnax/CartPole-v1", "name": "é ü", "zero": ""},
        moments=Moments(3 * ones, ones) if record.input_kind == "f32" else None,
        vectors=Vectors(q, logits),
    )


@needs_node
def test_javascript_refuses_every_flipped_bit_and_every_truncation():
    random = np.random.default_rng(0)
    small = random_policy(random, (2, 3, 2), output="continuous")
    files = [tvp.encode(small), tvp.encode(full(small))]
    results = in_node([{"job": "damage", "file": to_base64(file)} for file in files])
    assert results == [{"flips": 0, "cuts": 0, "unchanged": True}] * 2


def repaired(data: bytes) -> bytes:
    """Return a damaged file with the size and check sum that it would have been written with."""
    body = bytearray(data[:-4])
    if len(body) >= 16:
        body[12:16] = struct.pack("<I", len(data))
    return bytes(body) + struct.pack("<I", zlib.crc32(body))


def mutations(random, data: bytes, count: int, stop: int = 0) -> list[bytes]:
    """Return files with bytes changed, left out or put in, and a valid check sum.

    `stop` is where damage ends; by default at the check sum.
    """
    mutated = []
    for _ in range(count):
        body = bytearray(data)
        for _ in range(random.integers(1, 3)):
            at = int(random.integers(8, stop or len(body) - 4))
            kind = random.integers(6)
            if kind < 3:
                body[at] = random.choice([0, 1, 2, 127, 128, 242, 243, 255, body[at] ^ 1])
            elif kind == 3:
                body[at] = random.integers(256)
            elif kind == 4:
                del body[at]
            else:
                body.insert(at, random.integers(256))
        mutated.append(repaired(bytes(body)))
    return mutated


def reason(data: bytes) -> str | None:
    try:
        tvp.decode(data)
    except tvp.PolicyFormatError as error:
        return str(error)
    return None


def assert_same_refusals(files: list[bytes]) -> int:
    """Assert that JavaScript accepts what Python accepts; return how many were accepted."""
    [found] = in_node([{"job": "refusals", "files": [to_base64(file) for file in files]}])
    accepted = 0
    for file, refusal in zip(files, found, strict=True):
        expected = reason(file)
        if refusal is not None and refusal.endswith("computes with floats"):
            continue  # Python reads these, for NumPy
        assert (refusal is None) == (expected is None), (refusal, expected, file.hex())
        accepted += refusal is None
    return accepted


def seeds_of_version_2() -> list[bytes]:
    """Return small files with every type of layer, skips, and every kind of input."""
    variants = [
        recurrent("elman", 2, 3),
        recurrent("gated", 2, 2, activation="sign", inputs="bits", scales="output"),
        resnet((5, 5, 1), (2,)),
        Builder((3, 4, 1), 1, "bits").add("max_pool", window=Window(2, 2, 1, 1)).record(2),
        Builder((4, 3, 2), 2, "f32", "continuous", kind="binary")
        .add("convolution", 2, "sign", Window(2, 2, 2, 1))
        .add("convolution", 2, "int4", Window(1, 1, 1, 0))
        .add("dense", 2, "int4")
        .add("dense", 2, "int4", skip=1)
        .record(2),
    ]
    return [tvp.encode(v) for variant in variants for v in (variant, full(variant))]


def seeds_of_mutations() -> list[bytes]:
    random = np.random.default_rng(5)
    variants = [
        random_policy(random, (3, 4, 2)),
        random_policy(random, (3, 2, 2), output="continuous", kind="binary"),
        random_policy(random, (4, 3), inputs="bits", bias=False),
        random_policy(random, (2, 3, 2), inputs="i8", bits=5, activation="int4"),
        random_policy(random, (3, 4, 2), activation="int8", scales="output"),
    ]
    old = with_squares(random_policy(random, (3, 4, 2)))
    both = [v for variant in variants for v in (variant, full(variant))]
    return [tvp.encode(v) for v in (*both, old)]


@needs_node
def test_javascript_accepts_what_python_accepts():
    random = np.random.default_rng(6)
    files = [m for data in seeds_of_mutations() for m in mutations(random, data, 150)]
    accepted = assert_same_refusals(files + seeds_of_mutations())
    assert 100 < accepted < len(files) - 100


@needs_node
def test_javascript_accepts_what_python_accepts_of_version_2():
    """The header and the records of layers, where the rules are, are damaged more than the rest."""
    random = np.random.default_rng(7)
    files = [
        m
        for data in seeds_of_version_2()
        for m in mutations(random, data, 25) + mutations(random, data, 60, stop=32 + 16 * data[20])
    ]
    accepted = assert_same_refusals(files + seeds_of_version_2())
    assert 20 < accepted < len(files) - 100


@needs_node
@pytest.mark.slow
def test_javascript_accepts_what_python_accepts_of_many_more():
    random = np.random.default_rng(8)
    for seeds in (seeds_of_mutations(), seeds_of_version_2()):
        assert_same_refusals([m for data in seeds for m in mutations(random, data, 8000)])


# ---------------------------------------------------------------------------------------- physics

STATES = {  # of each task, the names of its state here and in gymnax
    "CartPole-v1": {"x": "x", "speed": "x_dot", "angle": "theta", "spin": "theta_dot"},
    "Acrobot-v1": {
        "upper": "joint_angle1",
        "lower": "joint_angle2",
        "upperSpin": "velocity_1",
        "lowerSpin": "velocity_2",
    },
    "MountainCar-v0": {"x": "position", "speed": "velocity"},
    "MountainCarContinuous-v0": {"x": "position", "speed": "velocity"},
    "Pendulum-v1": {"angle": "theta", "spin": "theta_dot"},
}


@needs_node
@pytest.mark.parametrize("name", wide(STATES, keep=["CartPole-v1", "Pendulum-v1"]))
def test_tasks_move_as_in_gymnax(name):
    """From the same states by the same actions, to the precision of float32."""
    import gymnax
    import jax

    env, params = gymnax.make(name)
    step = jax.jit(env.step_env)
    random = np.random.default_rng(0)
    key, jobs, episodes = jax.random.key(0), [], []
    for episode in range(6):
        _, state = env.reset_env(jax.random.fold_in(key, episode), params)
        start = {ours: float(getattr(state, theirs)) for ours, theirs in STATES[name].items()}
        actions, steps = [], []
        held = 0
        for i in range(60):
            if i % (1 + 7 * episode) == 0:  # a held action gets a car up the hill
                held = action_of(env, params, random)
            state_before = state
            obs, state, reward, done, _ = step(key, state_before, np.asarray(held), params)
            actions.append(np.asarray(held).tolist())
            steps.append((np.asarray(obs), float(reward), bool(done)))
        jobs.append({"job": "episode", "task": name, "state": start, "actions": actions})
        episodes.append(steps)
    for steps, found in zip(episodes, in_node(jobs), strict=True):
        for i, ((obs, reward, done), ours) in enumerate(zip(steps, found, strict=True)):
            np.testing.assert_allclose(
                ours["observation"], obs, rtol=2e-3, atol=2e-3, err_msg=f"{i}"
            )
            assert ours["reward"] == pytest.approx(reward, rel=2e-3, abs=2e-3)
            assert ours["done"] == done


def action_of(env, params, random):
    space = env.action_space(params)
    if hasattr(space, "n"):
        return np.int32(random.integers(space.n))
    return random.uniform(space.low, space.high, (1,)).astype(np.float32)


@needs_node
@pytest.mark.parametrize(
    "name, action",
    [("MountainCar-v0", 0), ("MountainCar-v0", 2), ("MountainCarContinuous-v0", [0.3])],
)
def test_cars_arrive_and_are_stopped_by_the_wall_as_in_gymnax(name, action):
    import gymnax
    import jax

    env, params = gymnax.make(name)
    _, state = env.reset_env(jax.random.key(0), params)
    jobs, expected = [], []
    for x, speed in ((0.47, 0.06), (0.44, 0.02), (-1.19, -0.05), (-1.2, 0.0), (0.45, -0.01)):
        state = state.replace(position=np.float32(x), velocity=np.float32(speed))
        obs, _, *rest, _ = env.step_env(jax.random.key(0), state, np.asarray(action), params)
        start = {"x": float(np.float32(x)), "speed": float(np.float32(speed))}
        jobs.append({"job": "episode", "task": name, "state": start, "actions": [action]})
        expected.append((np.asarray(obs), *map(float, rest)))
    for (obs, reward, done), [ours] in zip(expected, in_node(jobs), strict=True):
        np.testing.assert_allclose(ours["observation"], obs, atol=1e-6)
        assert ours["reward"] == pytest.approx(reward, abs=1e-5)
        assert ours["done"] == done


# --------------------------------------------------------------------------------------- the page


def balancing() -> PolicyRecord:
    """Return a policy made by hand that balances the pole: push to where it falls."""
    signs = np.array([[0, 0, -1, -1], [0, 0, 1, 1]], np.int8)
    none = np.zeros(0, np.float32)
    return PolicyRecord(
        "f32", 8, 2, 0, np.zeros(4, np.float32), np.array([4, 4, 9, 6], np.int8), "discrete",
        none, none, (Layer(signs, None, "ternary", "none", 0, 0),),
        metadata={"env": "gymnax/CartPole-v1"},
    )  # fmt: skip


class Scripts(HTMLParser):
    """The contents of the script elements, and the names of all elements and attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes, self.scripts = [""], set(), []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags[-1] == "script":
            self.scripts[-1] += data


def test_a_page_holds_the_bare_file_and_loads_nothing():
    record = full(balancing())
    page = html.to_html(record)
    data = json.loads(Scripts(page).scripts[0])
    policy = base64.b64decode(data["policy"])
    assert policy == tvp.encode(record.bare())
    assert data["id"] == hashlib.sha256(policy).hexdigest()
    without_icon = page.replace("xmlns='http://www.w3.org/2000/svg'".replace("'", "&#x27;"), "")
    assert "://" not in without_icon
    assert not re.search(
        r"\b(src|action)=|@import|url\(|\beval\(|innerHTML|new Function", without_icon
    )


def test_a_page_is_the_same_each_time():
    assert html.to_html(balancing()) == html.to_html(balancing())


@pytest.mark.parametrize("kind, activation", [("float", "int8"), ("ternary", "tanh")])
def test_policies_with_floats_are_refused(kind, activation):
    record = random_policy(np.random.default_rng(0), activation=activation)
    layers = [dataclasses.replace(record.layers[0], kind=kind), *record.layers[1:]]
    with pytest.raises(integer.NotIntegerError):
        html.to_html(dataclasses.replace(record, layers=tuple(layers)))


def test_words_of_a_file_cannot_become_elements():
    names = {name: "\n".join([HOSTILE] * 2) for name in ("obs_names", "action_names")}
    told = {"env": HOSTILE, **names}
    plain, hostile = balancing(), dataclasses.replace(balancing(), metadata=told)
    expected, found = Scripts(html.to_html(plain)), Scripts(html.to_html(hostile, title=HOSTILE))
    assert found.tags == expected.tags
    assert found.attributes == expected.attributes
    data = json.loads(found.scripts[0])
    assert (data["env"], data["title"]) == (HOSTILE, HOSTILE)
    assert data["obsNames"] == data["actionNames"] == [HOSTILE, HOSTILE]
    assert found.scripts[1] == expected.scripts[1]


def browse(page: str, folder: Path, *options: str) -> tuple[str, list[str]]:
    """Return the elements after some seconds, and what the console says."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [
        CHROMIUM,
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=800,600"),
        *("--virtual-time-budget=3000", *(options or ["--dump-dom"]), path.as_uri()),
    ]
    for _ in range(3):  # on a busy machine the browser's time can be over before the page is there
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        if options or "data-state" in done.stdout:
            break
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def attribute(dom: str, name: str) -> str | None:
    found = re.search(rf'<html[^>]*\bdata-{name}="([^"]*)"', dom)
    return found and found[1]


def shown(dom: str, identity: str) -> str:
    found = re.search(rf'id="{identity}"[^>]*>([^<]*)<', dom)
    assert found, identity
    return unescape(found[1])


@needs_node
def test_the_policy_made_by_hand_balances_the_pole():
    job = {
        "job": "play",
        "policy": to_base64(tvp.encode(balancing())),
        "task": "CartPole-v1",
        "state": {"x": 0.04, "speed": -0.03, "angle": 0.05, "spin": 0.02},
        "steps": 500,
    }
    assert in_node([job]) == [500]


@needs_chromium
def test_the_page_acts_on_the_task(tmp_path):
    dom, console = browse(html.to_html(balancing()), tmp_path)
    assert console == []
    assert attribute(dom, "state") == "running"
    assert attribute(dom, "selftest") == "64/64"
    assert re.fullmatch(r"\d+ bytes balance this pole", shown(dom, "headline"))
    assert int(shown(dom, "step")) == int(shown(dom, "return")) > 0


@needs_chromium
@pytest.mark.parametrize(
    "sizes, input_kind, output_kind, env",
    [
        ((3, 8, 1), "f32", "continuous", "gymnax/Pendulum-v1"),
        ((6, 9, 3), "f32", "discrete", "gymnax/Acrobot-v1"),
        ((2, 9, 1), "f32", "continuous", "gymnax/MountainCarContinuous-v0"),
        ((40, 70, 5, 4, 8), "bits", "discrete", "gymnax/CartPole-v1"),  # of another size: sliders
        ((300, 7), "i8", "continuous", "constructor"),
    ],
    ids=str,
)
def test_every_kind_of_page_runs(tmp_path, sizes, input_kind, output_kind, env):
    random = np.random.default_rng(0)
    record = random_policy(random, sizes, inputs=input_kind, output=output_kind)
    page = html.to_html(dataclasses.replace(record, metadata={"env": env}))
    dom, console = browse(page, tmp_path)
    assert console == []
    assert attribute(dom, "state") == "running"
    equal, count = attribute(dom, "selftest").split("/")
    assert equal == count
    assert shown(dom, "env") == env


def replay_of_bodies(steps: int, inputs: int) -> dict:
    """Return an episode of two capsules, as `experiments/gallery.py` records them."""
    ends = np.zeros((steps // 2 + 1, 2, 4), "<i2")
    ends[:, :, 3] = 400
    return {
        "rate": 50,
        "observations": to_base64(np.zeros((steps, inputs), np.int8).tobytes()),
        "rewards": to_base64(np.ones(steps, "<f4").tobytes()),
        "bodies": {
            "ends": to_base64(ends.tobytes()),
            **{"radii": [0.1, 0.05], "every": 2, "scale": 500, "low": 0, "high": 1},
            "follows": True,
        },
    }


def replay_of_a_grid(steps: int, shape: tuple[int, int, int]) -> dict:
    random = np.random.default_rng(0)
    bits = random.random((steps, int(np.prod(shape)))) < 0.1
    return html.replay_of_grid(bits, np.ones(steps), shape)


@needs_chromium
@pytest.mark.parametrize(
    "sizes, output_kind, env, replay",
    [
        ((11, 8, 3), "continuous", "brax/hopper@spring", replay_of_bodies(40, 11)),
        ((60, 8, 3), "discrete", "gymnax/Breakout-MinAtar", replay_of_a_grid(40, (4, 5, 3))),
    ],
    ids=str,
)
def test_a_recorded_episode_is_shown_over_and_over(tmp_path, sizes, output_kind, env, replay):
    record = random_policy(np.random.default_rng(0), sizes, output=output_kind)
    page = html.to_html(dataclasses.replace(record, metadata={"env": env}), replay=replay)
    dom, console = browse(page, tmp_path)
    assert console == []
    assert attribute(dom, "state") == "running"
    assert 0 < int(shown(dom, "step")) == int(shown(dom, "return")) <= 40
    assert "recorded episode" in shown(dom, "tagline")


def of_game(record: PolicyRecord, env: str) -> PolicyRecord:
    names = {"obs_names": "paddle\nball\ntrail\nbrick", "action_names": "stay\nleft\nright"}
    return dataclasses.replace(record, metadata={"env": env, **names})


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@needs_chromium
@pytest.mark.parametrize(
    ("record", "replay", "words"),
    [
        (
            of_game(minatar(), "gymnax/Breakout-MinAtar"),
            replay_of_a_grid(40, (10, 10, 4)),
            [f"10{TIMES}10{TIMES}4", "recorded episode", "trail", "what a filter finds"],
        ),
        (
            dataclasses.replace(recurrent("gated"), metadata={"env": "gymnax/CartPole-v1"}),
            None,
            ["a memory of 6 numbers", "how far its gate is open"],
        ),
        slow(of_game(minatar(seed=1), "none"), None, ["Draw on what it sees", "trail"]),
        slow(
            resnet((24, 20, 3)),
            None,
            [f"24{TIMES}20{TIMES}3", "(14 layers)", "Draw on what it sees"],
        ),
        slow(recurrent("elman", 4, 300, activation="sign"), None, ["a memory of 300 numbers"]),
    ],
    ids=["game", "memory", "drawn bits", "drawn pixels", "wide memory"],
)
def test_pages_of_all_layers_run(tmp_path, record, replay, words):
    dom, console = browse(html.to_html(record, replay=replay), tmp_path)
    assert console == []
    assert attribute(dom, "state") == "running"
    equal, count = attribute(dom, "selftest").split("/")
    assert equal == count
    assert shown(dom, "action")  # a frame was drawn
    assert re.search(r'id="network"[^>]* style="height: \d{3,4}px', dom)
    for word in words:
        assert word in unescape(dom)


def test_a_grid_is_recorded_as_bits():
    shape, random = (4, 5, 3), np.random.default_rng(0)
    seen = random.integers(0, 2, (7, 60)).astype(np.float32)
    replay = html.replay_of_grid(seen, np.arange(7.0), shape)
    bits = np.frombuffer(base64.b64decode(replay["observations"]), np.uint8).reshape(7, -1)
    np.testing.assert_array_equal(np.unpackbits(bits, axis=1)[:, :60], seen)
    assert base64.b64decode(replay["rewards"]) == np.arange(7, dtype="<f4").tobytes()
    assert replay["grid"] == [4, 5, 3]
    with pytest.raises(ValueError, match="must be 0 or 1"):
        html.replay_of_grid(seen / 2, np.arange(7.0), shape)
    with pytest.raises(ValueError, match="6 rewards and observations"):
        html.replay_of_grid(seen, np.arange(6.0), shape)


def test_a_recorded_episode_is_data_of_the_page():
    replay = replay_of_bodies(40, 4)
    plain, found = html.to_html(balancing()), html.to_html(balancing(), replay=replay)
    assert json.loads(Scripts(found).scripts[0])["replay"] == replay
    assert "replay" not in json.loads(Scripts(plain).scripts[0])
    assert Scripts(found).scripts[1] == Scripts(plain).scripts[1]


@needs_chromium
@pytest.mark.parametrize(
    ("sizes", "inputs", "names", "labels"),
    [
        ((2, 3, 2), "f32", "speed (m/s)\n<b>height</b>", ["speed (m/s)", "<b>height</b>"]),
        ((6, 4), "bits", "ball\nwall", [f"{x} {i}" for i in range(3) for x in ("ball", "wall")]),
        ((2, 2), "f32", "", ["obs 0", "obs 1"]),
    ],
    ids=["names", "channels", "nothing"],
)
def test_sliders_have_the_names_of_observations(tmp_path, sizes, inputs, names, labels):
    told = {"env": "my_lab:make", "obs_names": names, "action_names": "a\nb"}
    page = html.to_html(make_record(sizes, inputs=inputs, metadata=told))
    dom, console = browse(page, tmp_path)
    assert console == []
    assert attribute(dom, "state") == "running"
    found = re.findall(r'<label><span title="[^"]*">([^<]*)</span>', dom)
    assert [unescape(label) for label in found] == labels
    if sizes[-1] == 2:
        assert shown(dom, "action") in ("a", "b")


@needs_chromium
@pytest.mark.slow
def test_pages_of_all_kinds_compute_what_numpy_computes(tmp_path):
    for i, record in enumerate(table()[::8]):
        (tmp_path / str(i)).mkdir()
        dom, console = browse(html.to_html(record), tmp_path / str(i))
        assert console == []
        equal, count = attribute(dom, "selftest").split("/")
        assert equal == count


@needs_chromium
def test_hostile_words_do_nothing_in_a_browser(tmp_path):
    record = dataclasses.replace(balancing(), metadata={"env": HOSTILE})
    dom, console = browse(html.to_html(record, title=HOSTILE), tmp_path)
    assert console == []
    assert attribute(dom, "state") == "running"
    assert shown(dom, "env") == shown(dom, "headline") == HOSTILE
    assert "<title>owned" not in dom


@needs_chromium
@pytest.mark.parametrize("what", ["bytes", "examples"])
def test_a_damaged_policy_does_not_act(tmp_path, what):
    page = html.to_html(balancing())
    data = json.loads(Scripts(page).scripts[0])
    if what == "bytes":
        old, message = data["policy"], "check sum"
        damaged = bytearray(base64.b64decode(old))
        damaged[40] ^= 4
        new = to_base64(bytes(damaged))
    else:
        old, message = data["examples"]["logits"], "NumPy"
        new = to_base64(bytes([1]) + base64.b64decode(old)[1:])
    dom, console = browse(page.replace(old, new), tmp_path)
    assert console == []
    assert attribute(dom, "state") == "refused"
    assert message in shown(dom, "refusal")


@needs_chromium
def test_a_screenshot_shows_something(tmp_path):
    path = tmp_path / "page.png"
    browse(html.to_html(balancing()), tmp_path, f"--screenshot={path}")
    with Image.open(path) as image:
        assert image.size == (800, 600)
        assert len(image.convert("RGB").getcolors(maxcolors=2**20)) > 100
