"""Files that come from somebody else: none makes code run, takes more than it may, or crashes.

What a file may hold is said by `tests/deploy/test_tvp.py` and
`tests/policies/test_policy_file.py`; here are the doors that it comes in by.
"""

import dataclasses
import io
import json
import os
import random
import struct
import sys
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ternevo
from ternevo import envs, export, gym, play, run
from ternevo.arithmetic import observation
from ternevo.arithmetic.weights import kind_of
from ternevo.deploy import runtime, tvp
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.names import UntrustedName, check_trusted
from ternevo.policies import policy_archive, policy_file
from ternevo.reading import NotAFile
from ternevo.settings.policies import MLP, PolicySettings
from ternevo.strategies import warm_start
from ternevo.types import ActionSpec, ObsSpec, Policy, PolicyParams, Tensor

BANDIT = envs.make("probe/bandit")


@dataclasses.dataclass(frozen=True)
class Lines(PolicySettings):
    """A policy of a user's own: one matrix."""

    scale: float = 1.0

    def build(self, obs: ObsSpec, action: ActionSpec) -> Policy:
        def init(key):
            drawn = kind_of(self.weights).draw(key, (obs.size, action.size))
            return {"weight": Tensor(drawn, jnp.int8(0))}

        def apply(params, memory, inputs):
            return memory, self.scale * (inputs.obs @ params["weight"].values.astype(jnp.float32))

        return Policy(init, lambda params, key: (), apply)


NAME = f"{__name__}:Lines"


def own_params(settings: PolicySettings) -> PolicyParams:
    policy = settings.build(BANDIT.obs, BANDIT.action)
    return PolicyParams(policy.init(jax.random.key(0)), observation.empty(BANDIT.obs.size))


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    """Write the archive of `Lines`."""
    path = tmp_path_factory.mktemp("own") / "policy.npz"
    policy_file.save(path, BANDIT, NAME, Lines(), own_params(Lines()), {"seed": 1})
    return path


@pytest.fixture(scope="module")
def tvp_record():
    """Return the record of a policy of the bandit."""
    settings = MLP(hidden_sizes=(2,))
    policy = settings.build(BANDIT.obs, BANDIT.action)
    params = PolicyParams(policy.init(jax.random.key(0)), observation.empty(BANDIT.obs.size))
    return policy_file.record_of(settings, BANDIT.obs, BANDIT.action, params, {"env": BANDIT.id})


def archive(path, change=lambda header, arrays: None, source=None, **how):
    """Write an archive as NumPy does, with changed contents and none of our checks."""
    with np.load(source, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    header = json.loads(arrays.pop("header").item())
    change(header, arrays)
    (np.savez_compressed if how.get("compressed") else np.savez)(
        path, header=np.array(json.dumps(header)), **arrays
    )
    return path


# ------------------------------------------------------------------- a file names code that runs


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Write a module that leaves a mark when it is imported; return its name and the mark."""
    mark = tmp_path / "imported"
    (tmp_path / "my_trap.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
        "from ternevo import envs\n"
        f"from {__name__} import Lines\n"
        "def make(episode_length=None): return envs.make('probe/bandit', episode_length)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_trap", mark
    sys.modules.pop("my_trap", None)


def refused(capsys, tool, *argv) -> str:
    """Return the one line of a command that ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(word) for word in argv])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def file_of(kind, tmp_path, own_file, record, env_id=None, policy=None):
    """Write a policy file whose environment or class is what somebody else says."""
    if kind == "npz":
        change = lambda header, arrays: (  # noqa: E731
            header.update(policy=policy or header["policy"]),
            header["metadata"].update(env=env_id or "probe/bandit"),
        )
        return archive(tmp_path / "policy.npz", change, own_file)
    path = tmp_path / "policy.tvp"
    path.write_bytes(tvp.encode(dataclasses.replace(record, metadata={"env": env_id})))
    return path


@pytest.mark.parametrize(
    ("kind", "tool", "more", "says"),
    [
        ("tvp", play, [], "--env my_trap:make"),
        ("tvp", export, ["--ternarize"], "--env my_trap:make"),
        ("npz", play, [], "--policy my_trap:Lines"),
        ("npz", play, ["--env", "probe/bandit"], "--policy my_trap:Lines"),
        ("npz", play, ["--policy", "other:Lines"], "--policy my_trap:Lines"),
        ("npz", export, ["--ternarize"], "--policy my_trap:Lines"),
        ("npz", run, ["--init_from"], "--policy my_trap:Lines"),
    ],
)
def test_a_name_in_a_file_imports_nothing_until_the_user_says_it(
    kind, tool, more, says, tmp_path, own_file, tvp_record, trap, capsys
):
    module, mark = trap
    path = file_of(kind, tmp_path, own_file, tvp_record, f"{module}:make", f"{module}:Lines")
    command = [*more, path] if tool is run else [path, *more]
    if tool is run:
        command += ["--env", "probe/bandit", "--runs_dir", tmp_path]
    error = refused(capsys, tool, *command)
    assert str(path) in error and says.split()[1] in error
    assert error.rstrip().endswith(says), error
    assert not mark.exists()


def test_a_run_folder_is_no_more_to_be_trusted_than_its_file(
    tmp_path, own_file, tvp_record, trap, capsys
):
    module, mark = trap
    file_of("npz", tmp_path, own_file, tvp_record, None, f"{module}:Lines").rename(
        tmp_path / "best_policy.npz"
    )
    settings = {"num_seeds": 1, "policy_name": f"{module}:Lines", "strategy_name": f"{module}:S"}
    record = {"env": f"{module}:make", "settings": settings}
    (tmp_path / "config.json").write_text(json.dumps(record))
    for tool, more in ((play, []), (export, ["--ternarize"])):
        assert "--policy my_trap:Lines" in refused(capsys, tool, tmp_path, *more)
    for tool, more in ((export, ["--to", "c"]), (gym, [])):
        assert "only JAX and its module can run" in refused(capsys, tool, tmp_path, *more)
    assert not mark.exists()


def test_what_the_user_says_as_well_is_imported(tmp_path, own_file, tvp_record, trap, capsys):
    module, mark = trap
    path = file_of("tvp", tmp_path, own_file, tvp_record, f"{module}:make")
    out = ["--out", tmp_path / "episode", "--open", "False"]
    with pytest.raises(SystemExit):  # it plays, and the module has no renderer
        play.main([*map(str, [path, "--env", f"{module}:make", *out])])
    said = capsys.readouterr()
    assert "return" in said.out and "has no 'render'" in said.err
    assert mark.exists()


def test_an_own_float_policy_is_cut_into_trits_where_the_user_says_its_names(
    tmp_path, trap, capsys
):
    module, _ = trap
    path, names = tmp_path / "policy.npz", ["--policy", NAME, "--env", f"{module}:make"]
    settings = Lines(weights="float")
    env = BANDIT._replace(id=f"{module}:make")
    policy_file.save(path, env, NAME, settings, own_params(settings))
    export.main([str(path), "--ternarize", "--num_episodes", "2", *names])
    assert "ternarized" in capsys.readouterr().out
    found = policy_file.load(tmp_path / "policy_ternarized.tvp", trust=NAME)
    assert (found.settings.weights, found.env_id) == ("ternary", f"{module}:make")


@pytest.mark.parametrize("option", ["--env", "--policy"])
def test_a_format_for_devices_needs_no_names(option, tmp_path, own_file, tvp_record, capsys):
    path = file_of("tvp", tmp_path, own_file, tvp_record, "my_trap:make")
    error = refused(capsys, export, path, "--to", "c", option, "my_trap:make")
    assert f"{option} applies to --ternarize" in error
    export.main([str(path), "--to", "c"])
    assert path.with_suffix(".h").exists()


def test_python_says_it_by_trust(tmp_path, own_file, tvp_record, trap):
    module, mark = trap
    path = file_of("npz", tmp_path, own_file, tvp_record, None, f"{module}:Lines")
    for trust in (False, "", "my_trap", "my_trap:Line", f" {module}:Lines"):
        with pytest.raises(UntrustedName, match="nothing was imported"):
            policy_file.load(path, trust=trust)
    with pytest.raises(UntrustedName):
        warm_start.load(path, BANDIT, Lines().build(ObsSpec((1,)), BANDIT.action), "ternary", "mlp")
    assert not mark.exists()
    assert policy_file.load(path, trust=f"{module}:Lines").policy_name == f"{module}:Lines"
    assert mark.exists()
    assert policy_file.load(path, trust=True).policy_name == f"{module}:Lines"


def test_a_policy_for_devices_never_imports(tmp_path, own_file, tvp_record, trap):
    module, mark = trap
    policy = ternevo.load(file_of("tvp", tmp_path, own_file, tvp_record, f"{module}:make"))
    assert policy.act([1.0]) in (0, 1)
    assert policy_file.load(tmp_path / "policy.tvp").env_id == f"{module}:make"
    assert not mark.exists()


@pytest.mark.parametrize("name", ["my_trap:CartPole-v1", "gymnasium:CartPole-v1"])
def test_gymnasium_imports_nothing_for_a_file(
    name, tmp_path, own_file, tvp_record, trap, capsys, monkeypatch
):
    path = file_of("tvp", tmp_path, own_file, tvp_record, f"gymnax/{name}")
    monkeypatch.setattr(gym, "_import_gymnasium", lambda: pytest.fail("it was asked"))
    error = refused(capsys, gym, path)
    assert str(path) in error and "nothing was imported" in error
    assert not trap[1].exists()


@pytest.mark.parametrize(
    "name", [" my_trap:make", "my_trap:make\n", "my_\u202etrap:make", "a:b;rm", ":", "a:b:c", "a:"]
)
def test_a_name_that_nobody_should_type_is_shown_and_not_suggested(name):
    with pytest.raises(UntrustedName) as refusal:
        check_trusted("x.tvp", "env", name, trust="my_trap:make")
    message = str(refusal.value)
    assert ascii(name) in message and "--env" not in message and message.isprintable()


@pytest.mark.parametrize("name", ["gymnax/CartPole-v1", "mlp", "brax/ant@spring", "a\uff1ab"])
def test_a_name_without_a_colon_is_of_a_table(name):
    check_trusted("x.tvp", "env", name, trust=False)


# ------------------------------------------------------------------------ more than there may be


def raw_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def npy(array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version=(1, 0))
    return file.getvalue()


def declares(shape: str, descr: str = "|i1") -> bytes:
    """Return a .npy whose header says more than there is."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


HEADER = ("header.npy", npy(json.dumps({"format": "ternevo policy", "version": 1})))
ONE = npy(np.zeros(1, np.int8))


def test_a_small_file_takes_little_memory(tmp_path):
    """4 MB on the disk and 4 GB of zeros, as they once were unpacked."""
    path, piece = tmp_path / "bomb.npz", npy(np.zeros(2**24, np.int8))
    members = [HEADER, *((f"array/{i}.npy", piece) for i in range(4))]
    raw_zip(path, members, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    try:
        with pytest.raises(PolicyFormatError, match=r"bomb.npz.*compressed"):
            policy_archive.read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([], "the first member must be the header"),
        ([("array/a.npy", ONE)], "the first member must be the header"),
        ([HEADER, ("../a.npy", ONE)], "unknown member '../a.npy'"),
        ([HEADER, ("array/a.txt", ONE)], "unknown member 'array/a.txt'"),
        ([HEADER, ("array/a.npy", b"")], "not a .npy"),
        ([HEADER, ("array/a.npy", b"PK\x03\x04")], "not a .npy"),
        ([HEADER, ("array/a.npy", declares("(9,)"))], "has 0 bytes, not 9"),
        ([HEADER, ("array/a.npy", declares("(999999999, 999999999)"))], "has 0 bytes, not 9999"),
        ([HEADER, ("array/a.npy", declares("(-1,)"))], "damaged header"),
        ([HEADER, ("array/a.npy", declares("(1)"))], "damaged header"),
        ([HEADER, ("array/a.npy", declares("(" * 60))], "damaged header"),
        ([HEADER, ("array/a.npy", declares("(0,)", "|O"))], r"of dtype \|O"),
        ([HEADER, ("array/a.npy", declares("(0,)", "<f8"))], "of dtype <f8"),
        ([HEADER, ("array/a.npy", npy(np.zeros(1, ">f4")))], "damaged header"),
        ([HEADER, ("array/a.npy", ONE + b"\0")], "has 2 bytes, not 1"),
        ([HEADER, *((f"array/{i}.npy", ONE) for i in range(4096))], "4097 members"),
        ([("header.npy", npy("[" * 60_000))], "recursion"),
        ([("header.npy", npy("x" * 70_000))], "the header is <U70000"),
        ([("header.npy", npy('{"a": 1, "a": 2}'))], "occurs twice"),
        ([("header.npy", ONE)], "the header is"),
        ([("header.npy", npy("3"))], "the header says 3"),
    ],
)
def test_an_archive_that_numpy_would_not_have_written_is_refused(members, reason, tmp_path):
    path = raw_zip(tmp_path / "policy.npz", members)
    path.write_bytes(path.read_bytes() if members else b"PK\x05\x06" + bytes(18))
    with pytest.raises(PolicyFormatError, match=rf"policy.npz: .*{reason}"):
        policy_archive.read(path)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = raw_zip(tmp_path / "a.npz", [HEADER, ("array/a.npy", ONE), ("array/a.npy", ONE)])
    with pytest.raises(PolicyFormatError, match="occurs twice"):
        policy_archive.read(path)


def test_declared_sizes_are_summed(tmp_path, monkeypatch):
    path = raw_zip(tmp_path / "a.npz", [HEADER, *((f"array/{i}.npy", ONE) for i in range(3))])
    total = len(HEADER[1]) + 3 * len(ONE)
    monkeypatch.setattr(policy_archive, "MAX_BYTES", total)
    assert len(policy_archive.read(path)[1]) == 3
    monkeypatch.setattr(policy_archive, "MAX_BYTES", total - 1)
    with pytest.raises(PolicyFormatError, match=f"members of {total} bytes; at most {total - 1}"):
        policy_archive.read(path)


def test_a_directory_of_64_bits_is_refused(tmp_path):
    """Its record could say another number of members than the one that is checked."""
    path = raw_zip(tmp_path / "a.npz", [HEADER])
    data = path.read_bytes()
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    path.write_bytes(data[:-22] + locator + data[-22:])
    with pytest.raises(PolicyFormatError, match="64-bit"):
        policy_archive.read(path)


def test_what_would_be_refused_is_not_written(tmp_path):
    path = tmp_path / "policy.npz"
    path.write_bytes(b"before")
    for arrays in (
        {"a": np.zeros(2, np.float64)},
        dict.fromkeys(map(str, range(4096)), np.int8([0])),
    ):
        with pytest.raises(PolicyFormatError, match=r"policy\.npz"):
            policy_archive.write(path, {}, arrays)
    settings, params = Lines(weights="float"), own_params(Lines(weights="float"))
    weight = params.weights["weight"]
    nan = {"weight": weight._replace(values=weight.values.at[0, 0].set(jnp.nan))}
    with pytest.raises(PolicyFormatError, match="weight has a nan among float weights"):
        policy_file.save(path, BANDIT, NAME, settings, params._replace(weights=nan))
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


IRREGULAR = {"a FIFO": os.mkfifo, "a directory": os.mkdir, "a device": None}


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("suffix", [".npz", ".tvp"])
def test_only_a_regular_file_is_opened(kind, suffix, tmp_path):
    """Whoever opens a FIFO waits, and /dev/zero never ends."""
    path, make = tmp_path / f"policy{suffix}", IRREGULAR[kind]
    (make or (lambda p: p.symlink_to("/dev/zero")))(path)
    readers = policy_file.load, tvp.load, runtime.load, policy_archive.read
    for reader in readers if kind == "a directory" else (*readers, ternevo.load):
        with pytest.raises(NotAFile, match=rf"policy{suffix} must be a regular file, not {kind}"):
            reader(path)


# ------------------------------------------------------------------------- what a file may not say


def array_change(name, value):
    return lambda header, arrays: arrays.update({name: np.asarray(value)})


def header_change(**fields):
    return lambda header, arrays: header.update(fields)


def action_change(**fields):
    return lambda header, arrays: header["action"].update(fields)


CONTINUOUS = {"kind": "continuous", "size": 1, "low": [-1.0], "high": [1.0]}
FLOATS = np.float32
WRONG = {
    "policy": [header_change(policy=x) for x in (None, 3, ["a:b"], "mlp", "")],
    "settings": [header_change(settings=x) for x in (None, [], "x", 3)],
    "metadata": [header_change(metadata=x) for x in (None, [], {"env": 3}, {"env": None})],
    "header": [
        lambda header, arrays: header.pop("settings"),
        lambda header, arrays: header.pop("action"),
        header_change(surplus=1),
    ],
    "env": [lambda header, arrays: header["metadata"].update(env="3")],
    "episode_length": [
        lambda header, arrays, x=x: header["metadata"].update(episode_length=x)
        for x in ("-1", "0", "1.5", "true", "NaN", "ten")
    ],
    "action": [
        *(header_change(action=x) for x in (None, [], {}, {"kind": "discrete"})),
        *(action_change(kind=x) for x in (None, "both", ["discrete"])),
        *(action_change(size=x) for x in (-1, 0, 2.0, True, "2", None, 10**9)),
        *(action_change(low=x) for x in (None, 3, [1.0], "", {})),
        *(
            action_change(**{**CONTINUOUS, **x})
            for x in (
                {"low": [float("nan")]},
                {"high": [float("inf")]},
                {"low": [2.0]},
                {"low": []},
                {"high": ["1"]},
                {"high": [10**400]},
                {"low": [True]},
            )
        ),
    ],
    "moments": [
        array_change("array/moments/mean", FLOATS([np.nan])),
        array_change("array/moments/mean", FLOATS([[0.0]])),
        array_change("array/moments/mean", FLOATS([])),
        array_change("array/moments/mean", np.zeros(5000, np.float32)),
        lambda header, arrays: arrays.pop("array/moments/mean"),
        lambda header, arrays: arrays.update(
            {
                name: np.full_like(value, -1)
                for name, value in arrays.items()
                if name.startswith("array/moments/") and not name.endswith("mean")
            }
        ),
        lambda header, arrays: arrays.update(
            {
                name: np.full_like(value, np.inf)
                for name, value in arrays.items()
                if name.startswith("array/moments/") and not name.endswith("mean")
            }
        ),
    ],
    "weight": [
        array_change("array/weight/values", np.int8([[77, 0]])),
        array_change("array/weight/values", np.int8([[-2, 0]])),
        array_change("array/weight/values", FLOATS([[1, 0]])),
        array_change("array/weight/values", np.int8([1, 0])),
        array_change("array/weight/exponent", np.int8(25)),
        array_change("array/weight/exponent", np.int8(-128)),
        array_change("array/surplus/values", np.int8([0])),
    ],
    "built": [
        lambda header, arrays: header["settings"].update(scale="wide"),
        lambda header, arrays: header["settings"].update(scale={"a": [None]}),
        lambda header, arrays: header["settings"].update(weights="octal"),
        lambda header, arrays: header["settings"].update(weights=[]),
        lambda header, arrays: header["settings"].update(weights="float"),
        lambda header, arrays: header["settings"].update(other=1),
        lambda header, arrays: header["settings"].update(scale=float("nan")),
        lambda header, arrays: header["settings"].update(weights="binary") or array_change(
            "array/weight/values", np.int8([[1, 0]])
        )(header, arrays),
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_header_is_checked_as_strictly_as_that_of_a_tvp(what, own_file, tmp_path):
    for number, change in enumerate(WRONG[what]):
        path = archive(tmp_path / f"{number}.npz", change, own_file)
        with pytest.raises(PolicyFormatError) as refusal:
            policy_file.load(path, trust=NAME)
        assert str(refusal.value).startswith(f"{path}: "), number
        assert len(str(refusal.value)) < len(str(path)) + 250, number


def test_an_action_range_comes_back(own_file, tmp_path):
    def change(header, arrays):
        header["action"] = CONTINUOUS
        arrays["array/weight/values"] = np.int8([[1]])

    saved = policy_file.load(archive(tmp_path / "a.npz", change, own_file), trust=NAME)
    assert saved.action == ActionSpec("continuous", 1, (-1.0,), (1.0,))


def mutate(data: bytes, random_: random.Random) -> bytes:
    """Change, drop, repeat or insert bytes, at one to four places."""
    changed = bytearray(data)
    for _ in range(random_.randint(1, 4)):
        place, length = random_.randrange(len(changed)), random_.randint(1, 8)
        how = random_.randrange(5)
        if how == 0:
            changed[place] ^= 1 << random_.randrange(8)
        elif how == 1:
            changed[place] = random_.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif how == 2:
            del changed[place : place + length]
        elif how == 3:
            changed[place:place] = changed[place : place + length]
        else:
            changed[place : place + length] = random_.randbytes(length)
    return bytes(changed)


def mutate_text(header: dict, random_: random.Random) -> str:
    """Change the header's text, or a value anywhere in it."""
    if random_.randrange(2):
        return mutate(json.dumps(header).encode(), random_).decode(errors="replace")
    header = json.loads(json.dumps(header))
    owner = header
    key = random_.choice(list(owner))
    while isinstance(owner[key], dict) and owner[key] and random_.randrange(4):
        owner = owner[key]
        key = random_.choice(list(owner))
    values = (None, True, -1, 0, 77, 1e400, 10**30, "", "x", [], {}, [[]], float("nan"))
    owner[key] = random_.choice(values)
    return json.dumps(header)


def mutants(path, count: int, seed: int):
    """Yield archives: with changed bytes, or whole ones with another header."""
    random_ = random.Random(seed)
    data = path.read_bytes()
    with np.load(path, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files if name != "header"}
        header = json.loads(found["header"].item())
    for number in range(count):
        if number % 2:
            yield mutate(data, random_)
        else:
            file = io.BytesIO()
            np.savez(file, header=np.array(mutate_text(header, random_)), **arrays)
            yield file.getvalue()


def fuzz(path, own_file, count: int, seed: int) -> tuple[int, int]:
    """Return how many mutants were refused, and how many loaded, with the same params."""
    whole = policy_file.load(own_file, trust=NAME)
    refusals = 0
    for data in mutants(own_file, count, seed):
        path.write_bytes(data)
        try:
            loaded = policy_file.load(path, trust=NAME)
        except (PolicyFormatError, UntrustedName):
            refusals += 1
        else:
            for ours, theirs in zip(
                jax.tree.leaves((whole.weights, whole.moments, whole.quantiser)),
                jax.tree.leaves((loaded.weights, loaded.moments, loaded.quantiser)),
                strict=True,
            ):
                np.testing.assert_array_equal(ours, theirs, strict=True)
    return refusals, count - refusals


def test_a_mutant_is_refused_or_the_same_policy(own_file, tmp_path):
    refusals, loaded = fuzz(tmp_path / "policy.npz", own_file, count=400, seed=0)
    assert refusals > 300 and loaded > 0
