"""What a run must survive: rivals, kills, lost rows, full disks, closed terminals, threads."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from kept_programs import keeping_programs
from marks import wide

from ternevo import files, run
from ternevo.machine import interruption
from ternevo.runs import claims, run_folder, sinks
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.command_line import parse
from ternevo.training import checkpoint, loop, session
from ternevo.training.checkpoint import CheckpointError, Checkpoints
from ternevo.types import TrainState

TINY = [
    *("--env", "probe/corridor", "--episode_length", "6", "--hidden_sizes", "(2,)"),
    *("--eval_every", "4", "--num_eval_episodes", "1", "--num_final_episodes", "1"),
    *("--checkpoint_every", "2", "--render", "False", "--population_size", "4"),
    *("--strategy", "random_search", "--num_devices", "1"),  # which is compiled soonest
]
ENDLESS = ("--num_generations", "100000000")


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


def folder_of(root, name="seed0"):
    return root / "probe" / "corridor" / "random_search" / name


def train_for(root, generations, *arguments):
    run.main([*TINY, "--runs_dir", str(root), "--num_generations", str(generations), *arguments])


def rows_of(root):
    """Return the rows of a run, without the time that they took."""
    rows = read_jsonl(folder_of(root) / "metrics.jsonl")
    return [{**row, "wall_time": 0} for row in rows]


def refused(root, capsys, *arguments, status=2):
    """Return the line printed by a run that cannot resume or start."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        train_for(root, 6, *arguments)
    assert exit_.value.code == status
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four generations, with checkpoints of two and four."""
    root = tmp_path_factory.mktemp("runs")
    train_for(root, 4)
    return root


@pytest.fixture(scope="module")
def rows_of_six(tmp_path_factory):
    """The rows of a run of six generations that nothing has happened to."""
    root = tmp_path_factory.mktemp("six")
    train_for(root, 6)
    return rows_of(root)


@pytest.fixture
def root(whole, tmp_path):
    """A copy of that run, to be damaged."""
    return shutil.copytree(whole, tmp_path / "runs")


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of a run by their path; not the lock, which names a process."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / "lock"
    }


# --- two processes in one run ------------------------------------------------------------------


@contextlib.contextmanager
def at_work(root, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT):
    """Run in another process, which has trained when the block is entered."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ternevo.run", *TINY, "--runs_dir", str(root), *arguments],
        stdout=stdout,
        stderr=stderr,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not run_folder.has_begun(run_folder.RunFolder(folder_of(root))):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.05)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """A run that has not ended while others try to have it, and its root."""
    root = tmp_path_factory.mktemp("worker")
    with at_work(root, *ENDLESS) as process:
        process.send_signal(signal.SIGSTOP)  # it holds the lock, and takes no core from the others
        yield process, root


@pytest.mark.parametrize("arguments", [(), ("--resume",), ("--seed", "1")])
def test_a_second_process_is_refused_and_names_the_first(arguments, worker, capsys):
    process, root = worker
    message = refused(root, capsys, "--name", "seed0", *arguments)
    assert f"{folder_of(root)} is in use by process {process.pid} on " in message
    assert "another --name" in message
    assert process.poll() is None


def test_the_lock_is_there_before_the_first_row(tmp_path, capsys):
    """Both of two that start at once would otherwise find a folder without a generation."""
    config = parse([*TINY, "--runs_dir", str(tmp_path)])
    with claims.held(config):
        assert "is in use by process" in refused(tmp_path, capsys, "--name", "seed0")
    train_for(tmp_path, 2)


def test_a_lock_goes_with_its_process_however_it_ends(tmp_path):
    script = "import sys, time; from pathlib import Path; from ternevo import files\n"
    script += "with files.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    with (
        pytest.raises(files.Locked, match=f"process {process.pid} "),
        files.locked(tmp_path / "lock"),
    ):
        pass
    process.kill()
    process.communicate()
    with files.locked(tmp_path / "lock"):
        pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(files.WITHOUT_LOCKS[0], "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.locked(tmp_path / "lock"):
        assert "No locks available" in capsys.readouterr().err


# --- what counts as a run ----------------------------------------------------------------------


def test_a_run_stopped_before_its_first_generation_holds_its_name(tmp_path, capsys, monkeypatch):
    """SIGTERM while it compiles saves checkpoint 0; other settings must not go on from there."""
    advance = loop.advance

    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return advance(*arguments)

    monkeypatch.setattr(loop, "advance", stopped)
    with pytest.raises(SystemExit) as exit_:
        train_for(tmp_path, 4, "--chunk_size", "1")
    assert exit_.value.code == 128 + signal.SIGTERM
    monkeypatch.undo()
    folder = folder_of(tmp_path)
    (folder / "metrics.jsonl").write_text("")
    shutil.rmtree(folder / "checkpoints" / "1", ignore_errors=True)
    before = content(folder)
    assert "seed: 0 then, 1 now" in refused(
        tmp_path, capsys, "--resume", "--seed", "1", "--name", "seed0"
    )
    assert "with --resume" in refused(tmp_path, capsys, "--name", "seed0")
    assert content(folder) == before


@pytest.mark.parametrize("gone", ["metrics.jsonl", "checkpoints", "best_policy.tvp policy.tvp"])
@pytest.mark.parametrize("arguments", [("--name", "seed0"), ("--resume",)], ids=["new", "resumed"])
def test_a_folder_without_its_record_is_neither_resumed_nor_replaced(gone, arguments, root, capsys):
    """Whatever else of the run is still there."""
    folder = folder_of(root)
    for name in ["config.json", *gone.split()]:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = content(folder)
    message = refused(root, capsys, *arguments)
    assert f"{folder} has results of a run but no config.json" in message
    assert content(folder) == before


def test_a_joint_run_without_its_record_is_refused(tmp_path, capsys):
    again = ("--num_seeds", "2", "--name", "seed0-1")
    config = parse([*TINY, "--runs_dir", str(tmp_path), *again])
    folder = claims.create(config, "probe/corridor")
    for own in run_folder.seed_folders(config, folder).values():
        own.metrics.write_text('{"generation": 1}\n')
    folder.config.unlink()
    assert "no config.json" in refused(tmp_path, capsys, *again)


def test_what_never_began_leaves_nothing_for_the_next(tmp_path, monkeypatch):
    """Neither the start nor the seeds of a run that failed before its first generation."""
    train_for(tmp_path / "before", 2)
    start = folder_of(tmp_path / "before") / "policy.tvp"
    monkeypatch.setattr(session, "_train", lambda *_: sys.exit(3))
    for arguments in (["--num_seeds", "2"], ["--init_from", str(start)]):
        with pytest.raises(SystemExit):
            train_for(tmp_path, 2, "--name", "x", *arguments)
    monkeypatch.undo()
    train_for(tmp_path, 2, "--name", "x")
    folder = folder_of(tmp_path, "x")
    assert not list(folder.glob("start.*"))
    assert [f.path for f in run_folder.find_all(folder)] == [folder]


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(root, capsys):
    """A policy is written after a checkpoint only: here is one to lose."""
    shutil.rmtree(folder_of(root) / "checkpoints")
    before = content(folder_of(root))
    message = refused(root, capsys, "--resume")
    assert f"{folder_of(root)} has a policy but no checkpoint" in message
    assert "--init_from" in message
    after = content(folder_of(root))
    assert {name: after[name] for name in before if name != "config.json"} == {
        name: x for name, x in before.items() if name != "config.json"
    }


def state(generation):
    return TrainState(jax.random.key(0), jnp.asarray(generation, jnp.int32), jnp.zeros(3))


def test_a_checkpoint_that_was_not_saved_is_an_error(tmp_path, monkeypatch):
    """Orbax leaves out a step before the newest, and only returns that it did."""
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state(4))
        checkpoints.save(state(4))
        with pytest.raises(CheckpointError, match=r"c/2 cannot be saved: 4 already exists"):
            checkpoints.save(state(2))
        monkeypatch.setattr(checkpoints._manager, "save", lambda *_, **__: False)
        with pytest.raises(CheckpointError, match="c/6 was not saved"):
            checkpoints.save(state(6))


# --- lost rows ---------------------------------------------------------------------------------


def without(lines, number):
    return [*lines[:number], *lines[number + 1 :]]


DAMAGE = {
    "the first is missing": (lambda x: without(x, 0), "line 1 is the row of generation 2"),
    "one is missing": (lambda x: without(x, 2), "line 3 is the row of generation 4"),
    "the last is missing": (lambda x: x[:3], "line 4 is missing"),
    "all are missing": (lambda x: [], "line 1 is missing"),
    "the last is cut": (lambda x: [*x[:3], x[3][:-20]], "line 4 is damaged"),
    "one is doubled": (lambda x: [x[0], *x], "line 2 is the row of generation 1"),
    "the last are swapped": (lambda x: [*x[:2], x[3], x[2]], "line 3 is the row of generation 4"),
    "zeros at the end": (lambda x: [*x[:3], b"\0" * 300 + b"\n"], "line 4 is damaged"),
    "zeros in a row": (lambda x: [x[0], b"\0" * 9 + x[1][9:], *x[2:]], "line 2 is damaged"),
    "not UTF-8": (lambda x: [x[0], b"\xff" + x[1], *x[2:]], "line 2 is damaged"),
    "no row": (lambda x: [x[0], b"[]\n", *x[2:]], "line 2 is damaged"),
    "no totals": (lambda x: [*x[:3], b'{"generation": 4}\n'], "line 4 is damaged"),
    "a number that no float holds": (
        lambda x: [*x[:3], b'{"generation": 4, "env_steps": %d, "wall_time": 1.5}\n' % 10**400],
        "line 4 is damaged",
    ),
    "no number": (
        lambda x: [*x[:3], b'{"generation": 4, "env_steps": null, "wall_time": 1}\n'],
        "line 4 is damaged",
    ),
}


@pytest.mark.parametrize(
    "damage", wide(DAMAGE, keep=["one is missing", "the last is cut", "no row", "no number"])
)
def test_a_run_whose_rows_are_lost_is_not_gone_on_with(damage, root, capsys):
    damaged, found = DAMAGE[damage]
    metrics = folder_of(root) / "metrics.jsonl"
    metrics.write_bytes(b"".join(damaged(metrics.read_bytes().splitlines(keepends=True))))
    before = content(folder_of(root))
    message = refused(root, capsys, "--resume")
    assert found in message and str(metrics) in message and "--init_from" in message
    after = content(folder_of(root))
    del after["failure.txt"]
    del before["config.json"], after["config.json"]  # which says that it was tried
    assert after == before


def test_a_missing_file_of_metrics_is_noticed_too(root, capsys):
    (folder_of(root) / "metrics.jsonl").unlink()
    assert "line 1 is missing" in refused(root, capsys, "--resume")


@pytest.mark.parametrize(
    "tail",
    wide(
        [b'{"generation": 5, "env', b"\0" * 500, b'{"generation": 5}\n{}\n', b"\xff\n"],
        keep=[b'{"generation": 5, "env'],
    ),
)
def test_what_comes_after_the_checkpoint_is_written_again_whatever_it_is(tail, root, rows_of_six):
    metrics = folder_of(root) / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + tail)
    train_for(root, 6, "--resume")
    assert rows_of(root) == rows_of_six


def test_rows_are_on_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    seen = []
    fsync, save = os.fsync, Checkpoints.save

    def synced(handle):
        seen.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def saving(self, state):
        seen.append("checkpoint")
        save(self, state)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(checkpoint.Checkpoints, "save", saving)
    train_for(tmp_path, 4)
    saves = [i for i, name in enumerate(seen) if name == "checkpoint"]
    assert len(saves) == 3
    assert all("metrics.jsonl" in seen[:i][-2:] for i in saves[:2]), seen
    assert any(name.startswith(".policy-") for name in seen)


def test_an_animation_is_drawn_before_the_checkpoint_that_is_gone_on_from(tmp_path, monkeypatch):
    """A kill between the two would lose it: a resumed run draws nothing before its checkpoint."""
    save, drawn = session.save, []

    def saving(setup, *arguments):
        drawn.append(sorted(path.stem for path in setup.folder.episodes.glob("*")))
        save(setup, *arguments)

    monkeypatch.setattr(session, "save", saving)
    train_for(tmp_path, 4, "--render_every", "2")
    assert drawn[:2] == [["generation-000002"], ["generation-000002", "generation-000004"]]


# --- nothing is left over ----------------------------------------------------------------------


def test_what_kills_left_half_written_is_removed(root):
    folder = folder_of(root)
    for of in (folder, folder / "seed0"):  # of a joint run, each seed has files of its own
        (of / "episodes").mkdir(parents=True)
    left = [
        *(folder / f".{name}" for name in ("policy-ab12cd34.tvp", "best_policy-ab12cd34.tvp")),
        *(folder / f".{name}" for name in ("config-ab12cd34.json", "metrics-ab12cd34.jsonl")),
        *(folder / f".{name}" for name in ("curve-ab12cd34.png", "episode-ab12cd34.gif")),
        folder / "episodes" / ".generation-000002-ab12cd34.png",
        *(
            folder / "seed0" / f".{name}"
            for name in ("policy-ab12cd34.tvp", "episode-ab12cd34.gif")
        ),
        folder / "seed0" / "episodes" / ".generation-000002-ab12cd34.png",
    ]
    for path in left:
        path.touch()
    half, old = (folder / "checkpoints" / name for name in ("6.orbax-checkpoint-tmp", "1"))
    for path in (half, old):  # a kill may come before the old one is deleted
        shutil.copytree(folder / "checkpoints" / "4", path)
    others = [folder / "play.gif", folder / ".notes", folder / ".play-ab12cd34.gif"]
    for path in others:
        path.touch()
    train_for(root, 4, "--resume")  # saves no other checkpoint
    assert not [path for path in [*left, half, old] if path.exists()]
    assert all(path.exists() for path in others)


def test_a_temporary_file_has_a_name_that_is_found_again(tmp_path):
    for name in ("policy.tvp", "config.json", "curve.png"):
        with files.replacing(tmp_path / name) as temporary:
            kept = temporary.with_name(f"{name}.copy")
            temporary.write_text("x")
            os.link(temporary, kept)
        left = temporary.with_name(temporary.name)
        os.link(kept, left)
        files.remove_temporaries(tmp_path / name)
        assert not left.exists() and (tmp_path / name).exists()


def test_a_run_keeps_no_rows_in_memory():
    """One row of each seed, however many there were."""
    records = sinks.Records([{}, {}], [[], []], [])
    metrics = {"episode/steps": jnp.ones(50, jnp.int32), "return/mean": jnp.zeros(50)}
    for chunk in range(3):
        records.write([metrics, metrics], 50 * chunk, 1.0)
    assert [row["generation"] for row in records.last] == [150, 150]
    assert [row["env_steps"] for row in records.last] == [150, 150]
    held = [value for value in vars(records).values() if isinstance(value, list)]
    assert max(map(len, held)) == 2


# --- disks that are full -----------------------------------------------------------------------


def test_a_full_disk_is_told_with_the_path(tmp_path):
    sink = sinks.Jsonl(Path("/dev/full"))
    with pytest.raises(OSError, match=r"No space left on device.*/dev/full"):
        sink.write([{"generation": 1}])
    with contextlib.suppress(OSError):
        sink.close()

    def full(*_):
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(OSError, match=r"No space left on device.*policy\.tvp"),
        files.replacing(tmp_path / "policy.tvp"),
    ):
        full()
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def files_of_at_most(size):
    """Let no file of this process grow longer, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("size", "part"),
    [
        pytest.param(7000, "checkpoints/2", id="later"),
        pytest.param(100, "config.json", id="at once", marks=pytest.mark.wide),
    ],
)
def test_a_run_that_cannot_write_ends_in_a_line(size, part, tmp_path, capsys):
    train_for(tmp_path / "before", 2)  # programs that are compiled are written, too
    with files_of_at_most(size):
        # Programs that the first run did not compile are not to be written either.
        message = refused(
            tmp_path / "r", capsys, "--chunk_size", "1", "--compilation_cache", "False"
        )
    lines = [line for line in message.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, message
    assert str(folder_of(tmp_path / "r")) in lines[0] and "File too large" in lines[0]
    assert part in lines[0]


# --- terminals and pipes that go away ----------------------------------------------------------


def test_a_closed_terminal_saves_the_run(tmp_path, monkeypatch, capsys):
    """As Ctrl-C does, which `test_run.py` sends to a process."""
    write = sinks.Jsonl.write

    def closed(sink, rows):
        write(sink, rows)
        os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(sinks.Jsonl, "write", closed)

    def unheard(*_):
        raise AssertionError("the run did not hear of it")

    # It is ignored where the tests run under nohup, and would end this process by default.
    before = signal.signal(signal.SIGHUP, unheard)
    try:
        with pytest.raises(SystemExit) as exit_:
            train_for(tmp_path, 100, "--chunk_size", "1")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert exit_.value.code == 128 + signal.SIGHUP
    assert "--resume" in capsys.readouterr().out
    assert [row["generation"] for row in rows_of(tmp_path)] == [1]
    assert (folder_of(tmp_path) / "checkpoints" / "1").exists()


@pytest.mark.parametrize("stream", ["stdout", pytest.param("stderr", marks=pytest.mark.slow)])
def test_output_that_nobody_reads_saves_the_run(stream, tmp_path):
    reading, writing = os.pipe()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writing}
    # A warning for each chunk is what standard error gets.
    arguments = [*ENDLESS, "--chunk_size", "1", "--checkpoint_every", "1000000"]
    with at_work(tmp_path, *arguments, **streams) as process:
        os.close(writing)
        os.close(reading)
        if stream == "stderr":
            process.send_signal(signal.SIGTERM)  # its answer goes there
        assert process.wait(timeout=120) == 128 + (
            signal.SIGPIPE if stream == "stdout" else signal.SIGTERM
        )
    rows = read_jsonl(folder_of(tmp_path) / "metrics.jsonl")
    assert (folder_of(tmp_path) / "checkpoints" / str(rows[-1]["generation"])).exists()


def test_nohup_stays_possible():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruption.on_signals(interruption.Stop()):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGTERM))
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_ctrl_c_waits_whatever_came_before():
    stop = interruption.Stop()
    stop.because_of(signal.SIGPIPE)
    with interruption.on_signals(stop):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGPIPE
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_lost_stream_is_told_once_and_then_silent(stream, monkeypatch):
    class Lost:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self):
            self.write("")

        def fileno(self):
            raise io.UnsupportedOperation("fileno")

    monkeypatch.setattr(sys, stream, Lost())
    stop = interruption.Stop()
    with interruption.on_lost_output(stop):
        assert stop.signal == 0
        print("nobody reads this", flush=True, file=getattr(sys, stream))
        print("nor this", file=getattr(sys, stream))
    assert stop.signal == signal.SIGPIPE


# --- threads -----------------------------------------------------------------------------------


def test_a_run_in_a_thread(tmp_path):
    """As `wandb.agent(function=...)` and servers start one; twice, as they do."""
    ended = []

    def work(name):
        try:
            train_for(tmp_path, 2, "--name", name)
            ended.append("done")
        except BaseException as error:
            ended.append(error)

    for name in ("a", "b"):
        thread = threading.Thread(target=work, args=(name,))
        thread.start()
        thread.join()
    assert ended == ["done", "done"]
    for name in ("a", "b"):
        assert json.loads((folder_of(tmp_path, name) / "result.json").read_text())


def test_a_thread_can_be_told_to_stop(tmp_path):
    stop = interruption.Stop()
    stop.because_of(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_:
        run.run(parse([*TINY, "--runs_dir", str(tmp_path)]), stop)
    assert exit_.value.code == 128 + signal.SIGTERM
