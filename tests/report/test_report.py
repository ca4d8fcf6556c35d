"""`python -m ternevo.report`: arms of run folders with known numbers, tables, page and figures."""

import base64
import dataclasses
import itertools
import json
import re
from html import unescape
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from layered_records import Builder
from matplotlib.figure import Figure
from policy_records import make_record

from ternevo import report
from ternevo.deploy import tvp
from ternevo.deploy.record import Window
from ternevo.files import replace_text
from ternevo.policies import policy_archive
from ternevo.report import figures, page, tables, targets, writing
from ternevo.report.__main__ import main, parse_thresholds
from ternevo.report.failures import BELOW, BROKEN, failures
from ternevo.report.tables import Report
from ternevo.runs import claims, errors, plots, records, sinks
from ternevo.runs.arms import gather, read_weights, trit_shares
from ternevo.settings.command_line import parse

ENV = "probe/known"
HOSTILE = "<script>alert('&quot;')"
ORIGIN = {"device": {"kind": "a device"}, "machine": {"cores": 3}, "commit": "0123456789abcdef"}


@pytest.fixture(autouse=True, scope="module")
def made_on_no_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.provenance, "describe", lambda: ORIGIN)
        yield


@pytest.fixture
def run(tmp_path):
    return runs_in(tmp_path)


def runs_in(root):
    """Return a function that makes the folder of a run of one seed, or what is left of one."""
    numbers = itertools.count()

    def make(
        *options, env=ENV, curve=((100, 0.0), (300, 20.0)), final=20.0, metrics=None, policy=None
    ):
        name = f"run{next(numbers)}"
        arguments = ["--env", env, "--runs_dir", str(root), "--num_generations", "2"]
        folder = claims.create(parse([*arguments, "--name", name, *options]), env)
        rows = [
            {"generation": i, "env_steps": steps, "wall_time": steps / 10, **(metrics or {})}
            | ({"eval/return": height} if height is not None else {})
            for i, (steps, height) in enumerate(curve, 1)
        ]
        sink = sinks.Jsonl(folder.metrics)
        sink.write(rows)
        sink.close()
        folder.policy.write_bytes(tvp.encode(policy or make_record()))
        if final != "unfinished":
            results = {"return_mean": final, "return_std": 0.0, "episodes": 9}
            replace_text(
                folder.result, json.dumps({"policy": results, "best_policy": results, **rows[-1]})
            )
        return folder

    return make


def report_of(root, x="env_steps", threshold=None) -> Report:
    return Report(gather([root]), x, writing.targets_of(threshold, [ENV]))


def row_of(table, label):
    """Return the row of an arm as a mapping from the names of the columns."""
    (row,) = [row for row in table.rows if label in row]
    return dict(zip(table.head, row, strict=True))


# ------------------------------------------------------------------------------------------ arms


def test_runs_that_differ_in_nothing_but_the_seed_are_an_arm(run, tmp_path):
    for seed in ("1", "0", "2"):
        run("--seed", seed)
    run("--seed", "0", "--weights", "float")
    run("--strategy", "ppo", "--weights", "float", "--chunk_size", "3")
    run("--strategy", "ppo", "--weights", "float", "--seed", "1")
    arms = gather([tmp_path])
    found = {arm.label: [seed.number for seed in arm.seeds] for arm in arms}
    assert found == {
        "ternary_nes, ternary": [0, 1, 2],
        "ternary_nes, float": [0],
        "ppo, float": [0, 1],
    }


def test_labels_have_what_tells_arms_apart_and_no_more(run, tmp_path):
    """The learning rate and sigma both differ; one of them is enough. Alone, nothing is needed."""
    run("--lr", "0.1", "--sigma", "0.1")
    assert [arm.label for arm in gather([tmp_path])] == ["ternary_nes"]
    run("--lr", "0.2", "--sigma", "0.2")
    assert [arm.label for arm in gather([tmp_path])] == [
        "ternary_nes, lr=0.1",
        "ternary_nes, lr=0.2",
    ]
    table = tables.settings(report_of(tmp_path))
    assert {"lr", "sigma"} <= set(table.head)
    assert row_of(table, "ternary_nes, lr=0.2")["sigma"] == "0.2"


def test_an_arm_has_the_same_label_in_every_environment(run, tmp_path):
    for env in (ENV, "probe/other"):
        run(env=env)
        run("--weights", "binary", env=env)
    assert [(arm.env, arm.label) for arm in gather([tmp_path])] == [
        (env, label)
        for env in (ENV, "probe/other")
        for label in ("ternary_nes, binary", "ternary_nes, ternary")
    ]


def test_the_seeds_of_a_joint_run_are_an_arm(run, tmp_path):
    joint = claims.create(
        parse(["--env", ENV, "--runs_dir", str(tmp_path), "--num_seeds", "3"]), ENV
    )
    (arm,) = gather([tmp_path])
    assert [seed.number for seed in arm.seeds] == [0, 1, 2]
    joint.failure.write_text("training diverged\n")
    (arm,) = gather([joint.path])
    assert {seed.failure for seed in arm.seeds} == {"training diverged"}


def test_a_run_that_is_named_twice_is_taken_once(run, tmp_path):
    folder = run()
    (arm,) = gather([tmp_path, folder.path])
    assert len(arm.seeds) == 1


def test_weights_of_both_kinds_of_policy_files(tmp_path):
    record = make_record(sizes=(4, 16, 2))
    (tmp_path / "a.tvp").write_bytes(tvp.encode(record))
    found = read_weights(tmp_path / "a.tvp")
    assert list(found) == ["layer 1", "layer 2"]
    np.testing.assert_array_equal(found["layer 2"], record.layers[1].weights)
    trits = np.array([[0, 1, -1]], np.int8)
    arrays = {"gate/weight/values": trits, "gate/bias/values": trits, "gate/weight/exponent": trits}
    policy_archive.write(tmp_path / "b.npz", {}, arrays)
    assert list(read_weights(tmp_path / "b.npz")) == ["gate/weight"]


def test_a_pool_has_no_weights_to_report(tmp_path):
    network = Builder((6, 6, 2)).add("convolution", 3, window=Window(3, 3, 1, 0))
    network = network.add("max_pool", window=Window(2, 2, 2, 0))
    (tmp_path / "a.tvp").write_bytes(tvp.encode(network.record()))
    assert list(read_weights(tmp_path / "a.tvp")) == ["layer 1", "layer 3"]


# ----------------------------------------------------------------------------------------- tables


def test_tables_of_known_numbers(run, tmp_path):
    """Finals 10, 20, 30, 100: mean 40, interquartile mean 25. The mean curve is at 20 after 300."""
    for seed, final in enumerate([10.0, 20.0, 30.0, 100.0]):
        run("--seed", str(seed), final=final)
    run("--seed", "0", "--weights", "float", final=15.0, policy=make_record(kind="float"))
    found = report_of(tmp_path, threshold=20)
    row = row_of(tables.returns(found), "ternary_nes, ternary")
    assert row["seeds"] == "4 of 4"
    assert row["final return"].startswith("40.00 [")
    assert row["interquartile mean"].startswith("25.00 [")
    assert row["lowest to highest"] == "10.00 to 100.0"
    assert row_of(tables.returns(found), "ternary_nes, float")["final return"] == "15.00 (one seed)"
    row = row_of(tables.learning(found), "ternary_nes, ternary")
    assert row["area under the curve"] == "10.00 [10.00 to 10.00]"
    assert row["steps to threshold"] == "300.0 [300.0 to 300.0]"
    assert row["success"].startswith("3 of 4: 75% [")
    row = row_of(tables.learning(report_of(tmp_path, threshold=20.5)), "ternary_nes, ternary")
    assert (row["steps to threshold"], row["success"][:6]) == ("never", "2 of 4")
    (row,) = tables.improvements(found).rows  # 15 loses to three of four
    assert row[:4] == ("ternary_nes, ternary", "ternary_nes, float", ENV, "4 and 1")
    assert row[4].startswith("0.75 [")


def test_pairs_of_one_seed_each_have_no_interval_in_the_figure(run, tmp_path, monkeypatch):
    drawn = {}

    def image(make):
        make()
        return figures.Image(b"light", b"dark")

    monkeypatch.setattr(plots, "intervals", lambda found, *_, **__: drawn.update(found))
    monkeypatch.setattr(figures, "_image", image)
    for env in (ENV, "probe/other"):
        run(env=env, final=20.0)
        run("--weights", "binary", env=env, final=10.0)
    pair = "ternary_nes, ternary\nover ternary_nes, binary"
    figures.draw(report_of(tmp_path))
    assert list(drawn) == [f"{pair} (one seed)"]
    drawn.clear()
    run("--seed", "1", final=20.0)
    figures.draw(report_of(tmp_path))
    assert list(drawn) == [pair]


@pytest.mark.parametrize(
    ("x", "column", "steps"),
    [("wall_time", "seconds", "20.00"), ("generations", "generations", "1.50")],
)
def test_the_axis_may_be_time_or_generations(run, tmp_path, x, column, steps):
    """10 is half of the way from 100 to 300 steps, 10 to 30 seconds, generations 1 to 2."""
    run()
    (row,) = tables.learning(report_of(tmp_path, x, threshold=10)).rows
    assert f"{column} to threshold" in tables.learning(report_of(tmp_path, x)).head
    assert row[4] == f"{steps} (one seed)"


CARTPOLE = "gymnax/CartPole-v1"


def targets_in(root):
    return targets.default_targets(gather([root]))


def test_an_environment_has_the_threshold_of_its_registry(run, tmp_path):
    run(env=CARTPOLE, final=480.0)
    assert targets_in(tmp_path) == {CARTPOLE: (475.0, targets.GYMNASIUM, False)}


@pytest.mark.parametrize("option", [("--episode_length", "100"), ("--frame_stack", "2")])
def test_a_changed_environment_has_not(option, run, tmp_path):
    """A pole that may stand for 100 steps cannot have a return of 475."""
    run(*option, env=CARTPOLE, final=100.0)
    assert targets_in(tmp_path) == {CARTPOLE: (90.0, targets.RELATIVE, True)}


def test_the_table_of_thresholds_is_that_of_gymnasium():
    gymnasium = pytest.importorskip("gymnasium")
    for env, target in targets.KNOWN.items():
        threshold = gymnasium.spec(env.removeprefix("gymnax/")).reward_threshold
        is_theirs = target.source == targets.GYMNASIUM
        assert threshold == (target.value if is_theirs else None), env


@pytest.mark.parametrize(
    ("start", "finals", "expected"),
    [(0.0, (20.0, 10.0), 18.0), (-1000.0, (-200.0, -300.0), -280.0), (5.0, (5.0, 3.0), None)],
)
def test_another_environment_has_a_threshold_near_its_best_arm(
    start, finals, expected, run, tmp_path
):
    """Also where returns are negative: 90 % of the way up, not 90 % of a number."""
    for kind, final in zip(("ternary", "float"), finals, strict=True):
        run("--weights", kind, curve=((100, start), (300, final)), final=final)
    found = targets_in(tmp_path)
    assert found == ({} if expected is None else {ENV: (expected, targets.RELATIVE, True)})


def test_the_page_says_where_a_threshold_is_from_and_how_to_change_it(run, tmp_path):
    run(env=CARTPOLE, final=480.0)
    run(final=20.0)
    run(env="probe/flat", final=0.0)
    arms = gather([tmp_path])
    text = page.page(Report(arms, "env_steps", targets.default_targets(arms)), {})
    assert f"{CARTPOLE}: 475.0 ({targets.GYMNASIUM})" in unescape(text)
    assert f"{ENV}: 18.00 ({targets.RELATIVE})" in text
    assert "probe/flat: none, as nothing was learned" in text
    assert f"--threshold &quot;{CARTPOLE}=NUMBER&quot;" in text
    assert "1 of 1: 100%" in text


def test_below_a_threshold_that_the_runs_make_is_no_failure(run, tmp_path):
    run(final=20.0)
    run("--weights", "float", final=1.0)
    arms = gather([tmp_path])
    relative = Report(arms, "env_steps", targets.default_targets(arms))
    assert failures(relative) == []
    assert dict(page.counted(relative, []).rows)[BELOW].startswith("not counted")
    assert len(failures(report_of(tmp_path, threshold=18))) == 1


def test_a_given_threshold_leaves_the_others_as_they_are(run, tmp_path, monkeypatch):
    run(env=CARTPOLE, final=480.0)
    run(final=20.0)
    seen = []
    monkeypatch.setattr(writing, "draw", lambda report: seen.append(report.targets) or {})
    report.write([tmp_path], tmp_path / "out", threshold={ENV: 7})
    assert seen[0] == {
        CARTPOLE: (475.0, targets.GYMNASIUM, False),
        ENV: (7.0, targets.GIVEN, False),
    }


def test_bytes_beside_returns(run, tmp_path):
    """The float policy has more bytes and a lower return: it is beaten."""
    run(final=20.0)
    run("--weights", "float", final=10.0, policy=make_record(kind="float"))
    table = tables.sizes(report_of(tmp_path))
    ternary, float_ = (row_of(table, f"ternary_nes, {kind}") for kind in ("ternary", "float"))
    assert ternary["policy file, bytes"] == str(len(tvp.encode(make_record())))
    assert ternary["weights"] == str(4 * 16 + 16 * 2)
    assert (ternary["Pareto front"], float_["Pareto front"]) == ("yes", "no")


def test_the_shares_of_trits_are_counted(run, tmp_path):
    record = make_record(sizes=(4, 2))
    weights = np.array([[0, 0, 0, 1], [-1, -1, 1, 0]], np.int8)
    run(
        policy=dataclasses.replace(
            record, layers=(dataclasses.replace(record.layers[0], weights=weights),)
        )
    )
    (arm,) = gather([tmp_path])
    shares = trit_shares(arm)["layer 1"]
    assert {trit: share.value for trit, share in shares.items()} == {-1: 0.25, 0: 0.5, 1: 0.25}
    (row,) = tables.layers(report_of(tmp_path)).rows
    assert row[3:] == ("8", *["50.0% (one seed)", *["25.0% (one seed)"] * 2])


def test_entropy_is_that_of_the_search_distribution(run, tmp_path):
    run(metrics={"search/entropy": 1.5})
    run("--strategy", "ppo", metrics={"ppo/entropy": 0.7})
    table = tables.entropies(report_of(tmp_path))
    assert row_of(table, "ternary_nes")["last"] == "1.50 (one seed)"
    assert row_of(table, "ppo")["last"] == "no search/entropy"


def test_environments_are_put_on_one_scale(run, tmp_path):
    """0 is where the worse arm starts, 1 the better one's end: 0.5 and 1, in both environments."""
    for env, factor in ((ENV, 1.0), ("probe/other", 10.0)):
        curve = ((100, 0.0), (300, 20.0 * factor))
        run(env=env, final=20 * factor, curve=curve)
        run("--weights", "float", env=env, final=10 * factor, curve=curve)
    envs, table = tables.overall(report_of(tmp_path))
    assert envs == [ENV, "probe/other"]
    assert sorted(row[2] for row in table.rows) == ["0.50 (one seed)", "1.00 (one seed)"]
    (row,) = tables.improvements(report_of(tmp_path)).rows
    assert row[3:] == ("2 and 2", "1.00 (one seed)")  # in two environments, one seed in each


def test_many_arms_are_compared_with_the_best_one(run, tmp_path):
    for i in range(tables.MAX_ARMS_IN_PAIRS + 1):
        run("--lr", f"0.{i + 1}", final=float(i % 3 + i))
    pairs = report_of(tmp_path).improvements
    assert len(pairs) == tables.MAX_ARMS_IN_PAIRS
    assert {pair.left for pair in pairs} == {"ternary_nes, lr=0.6"}  # 5 % 3 + 5 = 7 is the most


# --------------------------------------------------------------------------------------- failures


def test_failures_are_counted_and_named(run, tmp_path):
    done = run("--seed", "0", metrics={"return/nonfinite": 1, "return/out_of_range": 2})
    stopped = run("--seed", "1", final="unfinished", curve=((100, 0.0),))
    diverged = run("--seed", "2", final=None)
    blind = run("--seed", "3", curve=((100, None), (200, None)), final=30.0)
    broken = run("--seed", "4")
    broken.policy.write_bytes(b"no policy")
    failed = run("--seed", "5", final="unfinished")
    failed.failure.write_text("training diverged: loss/value is nan")
    run("--seed", "0", final=25.0)
    found = report_of(tmp_path, threshold=20.5)
    counts = dict(page.counted(found, failures(found)).rows)
    assert list(counts.values()) == ["1", "2", "1", "6", "1", "1", "1", "2"]
    text = "\n".join(failure.text for failure in failures(found))
    assert f"{stopped.path}: 1 of 2 generations; it is still running" in text
    assert f"{diverged.path}: the final return is not finite" in text
    assert f"{blind.path}: no evaluation" in text
    assert f"{broken.policy}: byte 0: not a .tvp policy file" in text
    assert f"{failed.path}: training diverged: loss/value is nan" in text
    assert f"{done.path}: 20.00 is below the threshold 20.50" in text
    assert "seed 0 occurs 2 times" in text
    row = row_of(tables.returns(found), "ternary_nes")
    assert row["seeds"] == "4 of 7"
    assert row["final return"].startswith("23.75 [")  # 20, 20, 25 and 30
    assert row_of(tables.learning(found), "ternary_nes")["success"].startswith("2 of 5")
    (arm,) = found.arms
    assert len(arm.curves()) == 6  # of the unfinished ones too


def resume(folder, num_generations):
    """Leave what a run has that was done, and now is to go on."""
    record = json.loads(folder.config.read_text())
    record["settings"]["num_generations"] = num_generations
    folder.config.write_text(json.dumps(record))


def test_a_run_that_is_to_go_on_has_no_final_return(run, tmp_path):
    """result.json is that of its earlier end, after 2 generations of 9."""
    curve = [(100 * i, 0.0) for i in range(9)]
    for weights, final in (("binary", 15.0), ("ternary", 10.0), ("ternary", 90.0)):
        resumed = run("--weights", weights, "--seed", str(int(final)), final=final)
        resume(resumed, 9)
    done = run("--num_generations", "9", curve=curve)
    run("--weights", "binary", "--num_generations", "9", curve=curve)
    found = report_of(tmp_path, threshold=5)
    binary, ternary = found.arms
    assert (ternary.finals, ternary.bests, binary.finals) == ([20.0], [20.0], [20.0])
    assert row_of(tables.returns(found), ternary.label)["seeds"] == "1 of 3"
    assert row_of(tables.learning(found), ternary.label)["success"].startswith("1 of 1")
    assert [pair.seeds for pair in found.improvements] == ["1 and 1"]
    rows = [dict(zip(tables.runs(found).head, row, strict=True)) for row in tables.runs(found).rows]
    assert {row["run"] for row in rows if row["state"] == "done"} >= {str(done.path)}
    assert {row["final return"] for row in rows if row["state"] == "unfinished"} == {"-"}
    assert f"{resumed.path}: 2 of 9 generations" in failures(found)[-1].text


DAMAGE = {
    "config.json": [b"{", b"[]", b"\xff", b'{"settings": {"num_seeds": 1}}', b'{"settings": 3}'],
    "metrics.jsonl": [b"\xff\n", b'{"generation": 1\n{}\n', b'{"generation": 1}\n'],
    "result.json": [b"", b"[]", b"\xff", b'{"generation": 2}'],
    "policy.tvp": [b"no policy"],
}


def test_damaged_files_are_named_and_hide_no_other_run(run, tmp_path, monkeypatch):
    """Each in a run of its own, beside one that is whole."""
    monkeypatch.setattr(figures, "draw", lambda report: {})
    run("--seed", "99", final=30.0)
    damage = [(name, data) for name, every in DAMAGE.items() for data in every]
    folders = [run("--seed", str(seed)) for seed in range(len(damage))]
    for folder, (name, data) in zip(folders, damage, strict=True):
        (folder.path / name).write_bytes(data)
    text = report.write([tmp_path], tmp_path / "out").read_text()
    for folder, (name, data) in zip(folders, damage, strict=True):
        damaged = str(folder.path / name)
        (said,) = [line for line in text.splitlines() if damaged in line]
        assert said.startswith("<li>") and said.count(damaged) == 1, data
        assert len(said) > len(damaged) + 20, data
        if name == "config.json":
            with pytest.raises(errors.RunFolderError, match=re.escape(damaged)):
                gather([folder.path])
    assert "30.00" in text
    assert f"<td>{BROKEN}</td><td>{len(damage)}</td>" in text


def test_a_reason_that_is_no_text_is_shown(run, tmp_path):
    run(final="unfinished").failure.write_bytes(b"out of \xff memory")
    assert "out of \ufffd memory" in failures(report_of(tmp_path))[0].text


def test_a_page_is_made_of_runs_that_have_nothing(run, tmp_path):
    folder = run(final="unfinished", curve=())
    folder.policy.unlink()
    text = report.write([tmp_path], tmp_path / "out").read_text()
    assert "0 of 1" in text and "nan" not in text and "<img" not in text
    assert not list((tmp_path / "out").glob("*.png"))


# ------------------------------------------------------------------------------------------- page


class Tags(HTMLParser):
    """Collect tags, and what they load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loaded, self.depth = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of two arms; a run of one has a hostile name."""
    root = tmp_path_factory.mktemp("written")
    run = runs_in(root)
    run("--name", HOSTILE, metrics={"search/entropy": 1.0})
    run("--weights", "float", policy=make_record(kind="float"), final=10.0)
    return report.write([root], root / "out")


def test_the_page_needs_nothing_but_itself(written):
    text = written.read_text()
    tags = Tags(text)
    assert tags.loaded and all(value.startswith("data:image/png;base64,") for value in tags.loaded)
    assert not {"script", "link", "iframe"} & set(tags.tags)
    assert not re.search(r"url\(|@import|https?://", text)


def test_the_name_of_a_run_is_text_and_no_html(written):
    text = written.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#x27;&amp;quot;&#x27;)" in text


def test_figures_lie_beside_the_page_and_in_it_for_light_and_dark(written):
    names = {path.stem for path in written.parent.glob("*.png")}
    figures = {"learning_curves", "final_returns", "improvement", "pareto", "weights", "entropy"}
    assert names == figures
    text = written.read_text()
    assert text.count("<picture>") == text.count("<source media=") == len(figures)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.parent.glob("*.png"))


def test_figures_of_an_earlier_report_are_removed_and_no_other_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_image", lambda make: figures.Image(b"light", b"dark"))
    folder, out = run(), tmp_path / "out"
    report.write([tmp_path], out)
    (out / "mine.png").write_bytes(b"mine")
    assert (out / "weights.png").exists()
    folder.policy.unlink()
    report.write([tmp_path], out)
    names = {path.name for path in out.iterdir()}
    assert names == {"report.html", "mine.png", "learning_curves.png", "final_returns.png"}


def test_the_network_of_the_best_seed_is_on_the_page(run, tmp_path):
    """As the run drew it, of arms whose policies are graphs."""
    graph = ("--strategy", "neat", "--policy", "graph")
    for seed, final in enumerate([1.0, 5.0, 3.0, 9.0]):
        folder = run(*graph, "--seed", str(seed), final="unfinished" if final == 9 else final)
        folder.network.write_bytes(b"picture %d" % seed)
    run(final=2.0)
    text = page.page(report_of(tmp_path), {})
    pictures = re.findall(r'<img class=network src="data:image/png;base64,(.*?)" alt="(.*?)"', text)
    picture = base64.b64encode(b"picture 1").decode()
    assert pictures == [(picture, f"nodes and links of {ENV}, neat, seed 1: return 5.00")]


def test_the_page_may_be_named(run, tmp_path):
    run(final="unfinished", curve=()).policy.unlink()
    path = report.write([tmp_path], tmp_path / "out" / "mine.html")
    assert path == tmp_path / "out" / "mine.html" and path.exists()


# ---------------------------------------------------------------------------------------- figures


def test_learning_curves_have_a_panel_for_each_environment_and_a_line_for_each_arm(run, tmp_path):
    run("--seed", "0", curve=((100, 0.0), (300, 20.0)))
    run("--seed", "1", curve=((100, 10.0), (300, 30.0)))
    run("--weights", "float", curve=((200, 1.0),))
    run(env="probe/other", curve=((5, 1.0), (7, 2.0)))
    figure = plots.learning_curves(gather([tmp_path]), targets={ENV: 25.0})
    known, other = figure.axes
    assert (known.get_title(), other.get_title()) == (ENV, "probe/other")
    lines = {line.get_label(): line.get_xydata() for line in known.get_lines()}
    np.testing.assert_array_equal(lines["ternary_nes, ternary"], [[100, 5], [300, 25]])
    np.testing.assert_array_equal(lines["ternary_nes, float"], [[200, 1]])
    assert [25.0, 25.0] in [list(line.get_ydata()) for line in known.get_lines()]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "ternary_nes, float",
        "ternary_nes, ternary",
    ]
    band = known.collections[1].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0, 30)


def test_intervals_are_drawn_from_low_to_high():
    figure = plots.intervals({"a": tables.Interval(2, 1, 4)}, "what", reference=0.5)
    (axes,) = figure.axes
    line, dot = [line.get_xydata().tolist() for line in axes.get_lines()][1:]
    assert line == [[1, 0], [4, 0]] and dot == [[2, 0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a"]


def test_the_front_joins_the_arms_that_none_beats(run, tmp_path):
    run(final=20.0)
    run("--weights", "binary", final=30.0, policy=make_record(sizes=(4, 64, 2)))
    run("--weights", "float", final=25.0, policy=make_record(sizes=(4, 64, 2), kind="float"))
    (axes,) = plots.pareto(gather([tmp_path])).axes
    front = axes.get_lines()[0].get_xydata()
    small, large = (len(tvp.encode(make_record(sizes=(4, n, 2)))) for n in (16, 64))
    np.testing.assert_array_equal(front, [[small, 20], [large, 30]])
    dots = [line for line in axes.get_lines() if line.get_marker() == "o" and len(line.get_xdata())]
    filled = {line.get_ydata()[0] for line in dots if line.get_markerfacecolor() != "none"}
    assert filled == {20, 30} and len(dots) == 3


def test_bars_of_weights_are_the_shares(run, tmp_path):
    run()
    run("--weights", "float", policy=make_record(kind="float"))
    arms = gather([tmp_path])
    (axes,) = plots.weights(arms).axes
    shares = [trits for arm in arms for trits in trit_shares(arm).values()]
    assert len(shares) == 2  # two layers; the float arm has none
    for trit, bars in zip((-1, 0, 1), axes.containers, strict=True):
        assert [bar.get_width() for bar in bars] == [one[trit].value for one in shares]


def test_entropy_is_drawn_of_the_arms_that_have_one(run, tmp_path):
    run(metrics={"search/entropy": 1.5})
    run("--strategy", "ppo")
    (axes,) = plots.entropy(gather([tmp_path]), "generations").axes
    assert {line.get_label() for line in axes.get_lines()} == {"ternary_nes"}
    np.testing.assert_array_equal(axes.get_lines()[0].get_xydata(), [[1, 1.5], [2, 1.5]])


def test_final_returns_show_each_seed(run, tmp_path):
    for seed, final in enumerate([1.0, 4.0]):
        run("--seed", str(seed), final=final)
    run("--weights", "float", final="unfinished")
    (axes,) = plots.final_returns(gather([tmp_path])).axes
    drawn = [line.get_xdata().tolist() for line in axes.get_lines()]
    assert [2.5] in drawn and [1.0, 4.0] in drawn
    assert len(axes.get_yticklabels()) == 1


def test_a_figure_is_a_png_file_on_the_ground_it_was_drawn_on():
    with matplotlib.rc_context(plots.DARK):
        dark = Figure(figsize=(1, 1))
        data = plots.png(dark)
    assert data.startswith(b"\x89PNG")
    assert matplotlib.colors.to_hex(dark.get_facecolor()) == plots.DARK["figure.facecolor"]


SETTINGS = ("--fitness_shaping", "--distribution", "--optimizer", "--lr_schedule")
VALUES = (("centered_rank", "standardize"), ("threshold", "mean"), ("adam", "momentum"))


@pytest.fixture(scope="module")
def many_arms(tmp_path_factory):
    """Sixteen arms with labels of up to ninety letters, in two environments."""
    root = tmp_path_factory.mktemp("many")
    run = runs_in(root)
    for place, values in enumerate(itertools.product(*VALUES, ("cosine", "exponential"))):
        options = [word for pair in zip(SETTINGS, values, strict=True) for word in pair]
        for env, factor in ((ENV, 1.0), ("my_lab.a_module_with_a_long_name:make_a_world", 5.0)):
            final = factor * place
            run(
                *options,
                env=env,
                curve=((100, 0.0), (300, final)),
                final=final,
                metrics={"search/entropy": 1.0},
            )
    return gather([root])


@pytest.mark.wide  # forty arms; a few are above
@pytest.mark.parametrize(
    "draw",
    [
        plots.learning_curves,
        plots.final_returns,
        plots.pareto,
        plots.weights,
        plots.entropy,
        lambda arms: plots.intervals(
            {
                f"{a.label}\nover {b.label}": tables.Interval(0.5, 0.1, 0.9)
                for a, b in itertools.pairwise(arms)
            },
            "probability of improvement",
        ),
    ],
    ids=["learning_curves", "final_returns", "pareto", "weights", "entropy", "intervals"],
)
def test_labels_fit_into_every_figure(draw, many_arms):
    """Nothing is cut off, no label lies on another, and the axes keep room for the data."""
    assert max(len(arm.label) for arm in many_arms) > 80
    figure = draw(many_arms)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()
    assert drawn.x0 > -0.02 and drawn.y0 > -0.02
    assert drawn.x1 < width + 0.02 and drawn.y1 < height + 0.02
    for axes in figure.axes:
        if axes.get_visible():
            box = axes.get_position()
            assert box.width * width > 1.8 and box.height * height > 1.8
            labels = [label.get_window_extent() for label in axes.get_yticklabels()]
            labels.sort(key=lambda one: one.y0)
            assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(labels))
    for legend in figure.legends:
        top = max(axes.get_tightbbox().y1 for axes in figure.axes if axes.get_visible())
        assert legend.get_window_extent().y0 >= top - 1


@pytest.mark.wide  # forty arms; a few are above
def test_a_marker_and_a_colour_tell_forty_arms_apart(many_arms):
    figure = plots.pareto(many_arms)
    styles = {
        (line.get_color(), line.get_marker())
        for line in figure.axes[0].get_lines()
        if line.get_label() in {arm.label for arm in many_arms}
    }
    assert len(styles) == len({arm.label for arm in many_arms}) == 16


@pytest.mark.wide  # forty arms; a few are above
def test_long_cells_of_tables_are_broken_and_many_arms_are_counted(many_arms):
    text = page.page(Report(many_arms, "env_steps", {}), {})
    label = many_arms[0].label
    assert f"<td class=long>{label}</td>" in text and "<td>0 of" not in text
    assert " and 8 more on " in text


def test_thinned_points_are_even_and_keep_the_last():
    assert plots.thinned(range(10), 5) == [1, 3, 5, 7, 9]
    assert plots.thinned(range(3), 5) == [0, 1, 2]
    assert len(plots.thinned(range(100_001), 300)) <= 300


# ----------------------------------------------------------------------------------- command line


def test_the_command_writes_the_page_and_says_where(run, tmp_path, capsys):
    run()
    out = tmp_path / "out"
    main([str(tmp_path), "--out", str(out), "--threshold", f"{ENV}=10", "--x", "generations"])
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    assert "1 of 1: 100%" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--x", "env_step"], ["'env_step'", "Did you mean 'env_steps'", "wall_time"]),
        (["--threshold", "probe/knwon=3"], ["'probe/knwon'", "Did you mean 'probe/known'"]),
        (["--threshold", "high"], ["'high' is not a number"]),
        (["--threshold", "nan"], ["a finite number", "got nan"]),
        (["--threshold", f"{ENV}=-inf"], ["a finite number", "got -inf"]),
        (["--threshold", "3", "--threshold", "4"], ["--threshold 3 4", "ENV=NUMBER"]),
    ],
)
def test_a_mistake_is_told_in_a_line(run, tmp_path, capsys, arguments, words):
    run()
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--out", str(tmp_path / "out"), *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ")
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["empty", "nowhere"])
def test_a_folder_without_runs_is_told_in_a_line(tmp_path, capsys, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / where)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: no run in {tmp_path / where}\n"


def test_that_no_run_can_be_read_is_told(run, tmp_path, capsys):
    config = run().config
    config.write_text("{")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path)])
    assert stopped.value.code == 2
    assert f"error: no run can be read: {config} is not JSON: " in capsys.readouterr().err


def test_thresholds_are_numbers_with_or_without_an_environment():
    assert parse_thresholds(()) is None
    assert parse_thresholds(("475",)) == 475
    assert parse_thresholds(("a=b=1", "c=-2e3")) == {"a=b": 1, "c": -2000}
    both = writing.targets_of(475, ["a", "b"])
    assert {env: target.value for env, target in both.items()} == {"a": 475, "b": 475}
    assert {target.source for target in both.values()} == {targets.GIVEN}
