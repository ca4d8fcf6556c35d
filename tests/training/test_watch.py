"""Watching a run: animations change no number, show what would ship, and never stop training."""

import base64
import json
import re
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from kept_programs import keeping_programs
from PIL import Image
from tracked import events, hyper_parameters, scalars

import ternevo
from ternevo import envs, keys, play, run
from ternevo.arithmetic import observation
from ternevo.policies import contract, policy_file
from ternevo.rollouts import episode
from ternevo.rollouts.lanes import begin_episode
from ternevo.runs import sinks
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.play import has_screen
from ternevo.settings.policies import MLP, Graph
from ternevo.types import PolicyParams

TINY = [
    *("--env", "probe/corridor", "--episode_length", "6", "--hidden_sizes", "(2,)"),
    *("--population_size", "4", "--eval_every", "4", "--num_eval_episodes", "1"),
    *("--num_final_episodes", "1", "--checkpoint_every", "4", "--render", "False"),
    *("--strategy", "random_search", "--num_devices", "1"),  # which is compiled soonest
]


@pytest.fixture(scope="module", autouse=True)
def programs():
    with keeping_programs():
        yield


def tiny_run(root, *arguments):
    run.main([*TINY, "--runs_dir", str(root), *arguments])
    return root / "probe" / "corridor" / "random_search" / "seed0"


def drawn(folder):
    return sorted(path.name for path in (folder / "episodes").glob("*"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Seven generations, of which every third is drawn; it was interrupted after five."""
    root = tmp_path_factory.mktemp("watched")
    tiny_run(root, "--num_generations", "5", "--render_every", "3")
    return tiny_run(root, "--num_generations", "7", "--render_every", "3", "--resume")


def test_animations_change_no_bit_and_go_on_after_a_resume(watched, tmp_path):
    plain = tiny_run(tmp_path, "--num_generations", "7")
    for seen, expected in zip(
        read_jsonl(watched / "metrics.jsonl"), read_jsonl(plain / "metrics.jsonl"), strict=True
    ):
        assert {**seen, "wall_time": 0} == {**expected, "wall_time": 0}
    for name in ("policy.tvp", "best_policy.tvp"):
        assert (watched / name).read_bytes() == (plain / name).read_bytes()
    assert drawn(watched) == ["generation-000003.png", "generation-000006.png"]
    assert not (plain / "episodes").exists()


def test_what_is_drawn_is_the_policy_that_would_ship(tmp_path, monkeypatch):
    shown, render = [], envs.render

    def keep(env_id, states, path):
        shown.append(states)
        return render(env_id, states, path)

    monkeypatch.setattr(envs, "render", keep)
    folder = tiny_run(tmp_path, "--num_generations", "4", "--render_every", "4")
    saved = policy_file.load(folder / "policy.tvp")
    key = jax.random.fold_in(jax.random.key(0), keys.WATCHED_EPISODE)
    expected = episode.record(saved, envs.make("probe/corridor", 6), key).states
    assert len(shown) == 1
    for state, other in zip(shown[0], expected, strict=True):
        chex.assert_trees_all_equal(state, other)


def test_stepping_is_compiled_once_for_all_weights():
    env = envs.make("probe/corridor", 6)
    policy = MLP(hidden_sizes=(2,)).build(env.obs, env.action)
    once = chex.assert_max_traces(policy.apply, n=1)
    play_episode = episode.recorder(policy._replace(apply=once), env)
    quantiser = observation.freeze(observation.empty(env.obs.size))
    for seed in range(3):
        key = jax.random.key(seed)
        play_episode(policy.init(key), quantiser, key)


def fails(path):
    raise RuntimeError("no renderer here")


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        pytest.param(fails, "no renderer here", id="a renderer that fails"),
        pytest.param(
            lambda path: path.write_text("no picture"),
            "cannot identify image file",
            id="a file that TensorBoard cannot show",
            marks=pytest.mark.wide,
        ),
    ],
)
def test_a_picture_that_fails_is_told_once_and_training_goes_on(
    draw, reason, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("tensorboardX")

    def render(env_id, states, stem):
        stem.parent.mkdir(parents=True, exist_ok=True)
        draw(stem.with_suffix(".png"))
        return stem.with_suffix(".png")

    monkeypatch.setattr(envs, "render", render)
    tiny_run(tmp_path, "--num_generations", "3", "--track", "tensorboard", "--render_every", "1")
    printed = capsys.readouterr()
    assert printed.err.count("warning: no animation") == 1 and reason in printed.err
    assert "generation 3/3" in printed.out and "done" in printed.out


def gif(path):
    first, second = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    first.save(path, save_all=True, append_images=[second])
    return path


def row_of(generation, **metrics):
    return {"generation": generation, "env_steps": 20 * generation, "wall_time": 1.0, **metrics}


def result_of(last, best):
    return {"policy": {"return_mean": last}, "best_policy": {"return_mean": best}}


def test_tensorboard_gets_the_very_gif_at_its_environment_steps(tmp_path):
    pytest.importorskip("tensorboardX")
    path = gif(tmp_path / "generation-000050.gif")
    sink = sinks.TensorBoard(tmp_path / "tensorboard", 0)
    others = ["generation-000060.html", "generation-000070.mp4", "generation-000080.svg"]
    for generation, name in zip((50, 60, 70, 80), [path.name, *others], strict=True):
        sink.write([row_of(generation)])
        sink.animate(tmp_path / name, generation)
    sink.close()
    found = [
        (event.step, value)
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
        if value.tag.startswith("animation")
    ]
    (step, value), *rest = found
    assert (step, value.image.width, value.image.height) == (1000, 30, 20)
    assert value.image.encoded_image_string == path.read_bytes()
    assert [step for step, _ in rest] == [1200, 1400, 1600]
    for (_, value), name in zip(rest, others, strict=True):
        assert name.encode() in value.tensor.string_val[0]


def test_tensorboard_draws_over_environment_steps_and_ends_with_the_result(tmp_path):
    pytest.importorskip("tensorboardX")
    settings = {"lr": 0.1, "use_bias": True, "hidden_sizes": [8, 8], "episode_length": None}
    sink = sinks.TensorBoard(tmp_path, 0, settings)
    sink.write([row_of(1, **{"eval/return": 3.0}), row_of(2)])
    sink.finish([result_of(4.0, 5.0)])
    sink.close()
    found = scalars(tmp_path)
    assert found["generation"] == [(20, 1.0), (40, 2.0)]
    assert found["eval/return"] == [(20, 3.0)]
    assert found["final/return"] == [(40, 4.0)] and found["final/best_return"] == [(40, 5.0)]
    assert "env_steps" not in found  # which is the axis
    shown = hyper_parameters(tmp_path)
    assert shown == {
        **{"lr": 0.1, "use_bias": True, "hidden_sizes": "[8, 8]", "episode_length": "None"}
    }


def test_tensorboard_hides_what_a_resumed_run_lost_and_writes_again(watched, tmp_path):
    """The session starts after the environment steps of the newest row that was kept."""
    pytest.importorskip("tensorboardX")
    tiny_run(tmp_path, "--num_generations", "2", "--track", "tensorboard")
    more = ("--num_generations", "4", "--track", "tensorboard", "--resume")
    folder = tiny_run(tmp_path, *more)
    rows = read_jsonl(folder / "metrics.jsonl")
    starts = [
        e.step for e in events(folder / "tensorboard") if e.WhichOneof("what") == "session_log"
    ]
    assert starts == [1, rows[1]["env_steps"] + 1]
    steps = [(step, value) for step, value in scalars(folder / "tensorboard")["generation"]]
    assert steps == [(row["env_steps"], row["generation"]) for row in rows]
    result = json.loads((folder / "result.json").read_text())
    (step, value) = scalars(folder / "tensorboard")["final/return"][-1]
    assert (step, value) == (rows[-1]["env_steps"], result["policy"]["return_mean"])


def test_wandb_gets_a_video_a_page_an_image_or_a_path_at_its_generation(tmp_path):
    wandb = pytest.importorskip("wandb")
    logged = []
    sink = sinks.Wandb.__new__(sinks.Wandb)  # a real run takes seconds to start
    sink._package = wandb
    sink._run = type("Run", (), {"log": lambda _, row, step: logged.append((row, step))})()
    page = tmp_path / "a.html"
    page.write_text("<p>an episode</p>")
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    paths = [gif(tmp_path / "a.gif"), page, tmp_path / "a.png", tmp_path / "a.svg"]
    for generation, path in enumerate(paths):
        sink.animate(path, generation)
    assert [step for _, step in logged] == [0, 1, 2, 3]
    kinds = [type(row["animation"]) for row, _ in logged]
    assert kinds == [wandb.Video, wandb.Html, wandb.Image, str]
    assert str(tmp_path / "a.svg") in logged[3][0]["animation"]
    assert logged[1][0]["animation"].html == page.read_text()


def test_sinks_that_can_show_are_shown_the_first_seed():
    calls = []

    class Plain:
        def write(self, rows): ...
        def close(self): ...

    class Screen(Plain):
        def __init__(self, name):
            self.name = name

        def animate(self, path, generation):
            calls.append((self.name, path, generation))

    records = sinks.Records([{}, {}], [[Plain(), Screen("a")], [Screen("b")]], [Screen("c")])
    path = Path("drawn.gif")
    records.animate(path, 3)
    assert calls == [("a", path, 3), ("c", path, 3)]


def test_trackers_stay_open_for_the_results_of_their_seeds():
    calls = []

    class Plain:
        def __init__(self, name):
            self.name = name

        def write(self, rows): ...

        def close(self):
            calls.append(("close", self.name))

    class Board(Plain):
        def finish(self, results):
            calls.append((self.name, results))

    own = [[Plain("rows 0"), Board("board 0")], [Plain("rows 1"), Board("board 1")]]
    records = sinks.Records([{}, {}], own, [Board("all"), Plain("bar")])
    records.end_training()
    assert calls == [("close", name) for name in ("rows 0", "rows 1", "bar")]
    first, second = result_of(1.0, 2.0), result_of(3.0, None)
    records.finish([first, second])
    assert calls[3:] == [("board 0", [first]), ("board 1", [second]), ("all", [first, second])]
    records.close()
    records.close()
    assert calls[6:] == [("close", name) for name in ("board 0", "board 1", "all")]


def test_play_opens_what_it_drew_or_what_was_drawn(watched, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(play.webbrowser, "open", lambda uri: opened.append(uri) or True)
    path = watched / "episodes" / "generation-000006.png"
    play.main([str(watched), "--generation", "6"])
    assert capsys.readouterr().out.splitlines() == [str(path)]
    assert not opened  # a test has no terminal
    play.main([str(watched), "--generation", "6", "--open"])
    play.main([str(watched), "--open", "True", "--out", str(tmp_path / "new")])
    assert opened == [path.as_uri(), (tmp_path / "new.png").as_uri()]
    assert f"terminated\n{tmp_path / 'new.png'}" in capsys.readouterr().out
    assert [*tmp_path.iterdir()] == [tmp_path / "new.png"]  # an MLP has no network to draw


def test_play_writes_a_page_of_a_game(tmp_path, capsys):
    """With what the policy saw at each step, from which the page computes it anew."""
    out = ("--out", str(tmp_path / "shown"), "--open", "False")
    play.main(["hub:Breakout-MinAtar", "--to", "page", *out, "--episode_length", "5"])
    assert f"{tmp_path / 'shown.html'}\n" in capsys.readouterr().out
    page = (tmp_path / "shown.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    replay = data["replay"]
    packed = np.frombuffer(base64.b64decode(replay["observations"]), np.uint8)
    seen = np.unpackbits(packed.reshape(-1, 50), axis=1).astype(np.float32)
    assert (replay["grid"], data["title"]) == ([10, 10, 4], "8,076 bytes play Breakout-MinAtar")
    env, policy = envs.make("gymnax/Breakout-MinAtar"), ternevo.load("hub:Breakout-MinAtar")
    state, obs = begin_episode(env, jax.random.key(0))
    for step, shown in enumerate(seen, 1):
        np.testing.assert_array_equal(shown, obs)
        key = jax.random.fold_in(jax.random.key(0), step)
        state, timestep = env.step(key, state, jax.numpy.asarray(policy.act(shown)))
        obs = timestep.obs
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("env_id", "to", "shown"),
    [
        ("probe/corridor", "picture", "shown.png"),
        pytest.param("gymnax/Breakout-MinAtar", "page", "shown.html", marks=pytest.mark.wide),
    ],
)
def test_play_draws_the_network_of_a_graph(env_id, to, shown, tmp_path, capsys):
    """Beside the episode, and on its page."""
    env, settings = envs.make(env_id, 2), Graph(max_hidden=1)
    weights = contract.build(settings, env.obs, env.action).init(jax.random.key(0))
    params = PolicyParams(weights, observation.empty(env.obs.size))
    policy_file.save(tmp_path / "policy.tvp", env, "graph", settings, params)
    out = ("--out", str(tmp_path / "shown"), "--open", "False", "--to", to)
    play.main([str(tmp_path / "policy.tvp"), *out])
    network, episode_path = tmp_path / "shown_network.png", tmp_path / shown
    assert capsys.readouterr().out.splitlines()[1:] == [f"network {network}", str(episode_path)]
    picture = network.read_bytes()
    assert picture.startswith(b"\x89PNG")
    on_page = base64.b64encode(picture) in episode_path.read_bytes()
    assert on_page == (to == "page")


def test_a_page_of_another_task_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        play.main(["hub:CartPole-v1", "--to", "page", "--episode_length", "3"])
    assert exit_.value.code == 2
    assert "--to page shows games whose observations are bits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("is_terminal", "variables", "expected"),
    [(True, {"DISPLAY": ":0"}, True), (True, {}, False), (False, {"DISPLAY": ":0"}, False)],
)
def test_a_browser_opens_where_somebody_can_see_it(is_terminal, variables, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert has_screen() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--generation", "5"), "no animation of generation 5; it has 3, 6\n"),
        (("--generation", "6", "--open", "True"), "no browser to open"),
    ],
)
def test_what_play_cannot_show_is_told(watched, arguments, message, monkeypatch, capsys):
    for stray in (".generation-000005-x1y2.png", "generation-000005-x1y2.png", "my-notes.txt"):
        (watched / "episodes" / stray).touch()
    monkeypatch.setattr(play.webbrowser, "open", lambda uri: False)
    with pytest.raises(SystemExit) as exit_:
        play.main([str(watched), *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
