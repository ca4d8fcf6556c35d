"""Strategies, environments and policies of a user's own: the pages on them, run as they stand."""

import contextlib
import dataclasses
import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kept_programs import keeping_programs
from marks import wide

from ternevo import envs, export, gym, play, run
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.envs import own
from ternevo.names import UnknownName, WrongObject
from ternevo.policies import contract, policy_file
from ternevo.settings import flat, meaning
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP, PolicySettings
from ternevo.settings.strategies.evolution import Evolution
from ternevo.types import ActionSpec, ObsSpec, PolicyParams, Tensor

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
OWN = "my_lab.network:Recurrent"
OPTIMA = {"own_environment": -4.0, "own_strategy": 1.0, "own_policy": -4.0, "own_wrapper": 1.0}
SHORT = ["--num_generations", "1", "--name", "second", "--render", "False"]
ACTION = ActionSpec("discrete", 2)


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    found = FENCE.finditer((PAGES / f"{page}.md").read_text())
    return [match["text"] for match in found if match["language"] == language]


def command_of(page: str) -> list[str]:
    """Return the arguments of the one training that a page shows."""
    commands = [text for text in blocks(page, "sh") if "ternevo.run" in text]
    assert len(commands) == 1
    words = shlex.split(commands[0])
    assert words[:3] == ["python", "-m", "ternevo.run"]
    return words[3:]


def forget_modules() -> None:
    """Let the next import of a user's module read its file."""
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Write the modules of all pages into a folder, and stand in it as a user would."""
    forget_modules()  # other tests have a my_lab, too
    folder = tmp_path_factory.mktemp("lab")
    (folder / "my_lab").mkdir()
    for page in OPTIMA:
        for text in blocks(page, "python"):
            if text.startswith("# my_lab/"):
                (folder / text.splitlines()[0].removeprefix("# ")).write_text(text)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder), keeping_programs():
        patch.syspath_prepend(folder)
        yield folder
    forget_modules()


@pytest.fixture(scope="module")
def runs_of(lab):
    """Run the command of a page once; return the run's folder."""
    done = {}

    def folder_of(page: str):
        if page not in done:
            done[page] = run.run(parse(command_of(page)))
        return done[page]

    return folder_of


def write(lab, name: str, text: str) -> str:
    """Write a module that no page has; return its name."""
    (lab / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    return name


def refused(capsys, argv) -> str:
    """Return the one line of an error of a run that ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        run.main(argv)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


# ------------------------------------------------------------------ the pages as they stand


@pytest.mark.parametrize("page", wide(OPTIMA, keep=["own_policy"]))
def test_the_documented_run_reaches_the_optimum(page, runs_of):
    result = json.loads(runs_of(page).result.read_text())
    assert result["policy"]["return_mean"] == OPTIMA[page]
    assert result["policy"]["return_std"] == 0


@pytest.mark.parametrize("page", wide(["own_environment", "own_policy"], keep=["own_policy"]))
def test_the_documented_renderer_draws_the_episode(page, runs_of):
    assert (runs_of(page).path / "episode.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize("name", ["test_world", "test_idea", "test_network", "test_around"])
def test_the_documented_tests_pass(name, lab):
    module = importlib.import_module(f"my_lab.{name}")
    tests = [function for word, function in vars(module).items() if word.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.mark.parametrize("page", wide(OPTIMA, keep=["own_policy"]))
def test_what_a_page_says_of_its_run_is_printed(page, runs_of):
    """The results in the printed output are those of the file; times are of another day."""
    printed = "".join(blocks(page, "text"))
    files = [runs_of(page).policy, runs_of(page).best_policy]
    for path in files:
        assert f"{path}  return {OPTIMA[page]:.1f} (std 0.0, 128 episodes)" in printed


HOOK = re.compile(r"`(\w+)(?:\([\w, ]*\))?`")


def test_the_hooks_of_the_page_are_there_and_public():
    """Each name in a table of a class is one of it, in public; the example uses no other."""
    text = (PAGES / "own_strategy.md").read_text()
    tables = re.findall(r"^\| `(ternevo\.[\w.]+)\.(\w+)`.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert [name for _, name, _ in tables] == ["Elitist", "TritDistribution", "Categorical"]
    solution = {"trits": Tensor(jnp.zeros(8, jnp.int8), jnp.int8(0))}
    for module, name, rows in tables:
        made = getattr(importlib.import_module(module), name)(4, solution)
        names = [hook for row in rows.splitlines()[1:] for hook in HOOK.findall(row.split("|")[1])]
        assert len(names) >= 2
        assert [hook for hook in names if not hasattr(made, hook)] == []
        assert [hook for hook in names if hook.startswith("_")] == []
    for code in blocks("own_strategy", "python"):
        assert re.findall(r"\bself\._\w+|def _(?!_)\w+", code) == []


def test_settings_of_the_page_are_there():
    text = (PAGES / "own_strategy.md").read_text()
    rows = text.partition("| settings (`Settings`, `Evolution`)")[2].partition("\n\n")[0]
    names = [hook for row in rows.splitlines()[2:] for hook in HOOK.findall(row.split("|")[1])]
    functions = {"option": meaning.option, "part": flat.part}
    assert len(names) >= 8
    assert [name for name in names if not (hasattr(Evolution, name) or name in functions)] == []


def test_help_in_the_current_directory_lists_the_options_of_both(lab):
    command = ["--strategy", "my_lab.idea:Climbers", "--policy", "my_lab.network:Recurrent"]
    program = "from ternevo.run import main; main()"
    # `python -c`, like `python -m`, looks for modules in the current directory.
    done = subprocess.run(
        [sys.executable, "-c", program, *command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for option in ("--flip_rate", "--patience", "--num_units", "--weights", "--env"):
        assert option in done.stdout


def test_a_page_of_options_takes_a_strategy_and_a_policy_of_your_own(lab):
    (yaml_block,) = blocks("own_strategy", "yaml")
    (lab / "page.yaml").write_text(f"policy: my_lab.network:Recurrent\nnum_units: 3\n{yaml_block}")
    config = parse(["--config", "page.yaml"])
    assert (type(config.strategy).__name__, config.strategy.patience) == ("Climbers", 5)
    assert (type(config.policy).__name__, config.policy.num_units) == ("Recurrent", 3)
    assert config.env == "probe/corridor"


IN_ONE_CALL = pytest.param(0, 1, marks=pytest.mark.slow, id="in one call")
"""What `ternevo.train` and `ternevo.evaluate` do is in `tests/training/test_from_python.py`."""
BY_HAND = pytest.param(1, None, id="by hand")


@pytest.mark.wide  # test_from_python.py takes the same way
@pytest.mark.parametrize(("first", "end"), [IN_ONE_CALL, BY_HAND])
def test_the_page_about_python_runs_from_top_to_bottom(first, end, lab, capsys):
    """In two parts, of which the second needs nothing of the first."""
    parts = (PAGES / "python_api.md").read_text().split("## Train a policy, piece by piece")
    assert len(parts) == 2
    text = "".join(parts[first:end])
    code = [found["text"] for found in FENCE.finditer(text) if found["language"] == "python"]
    (lab / "python_api.py").write_text("".join(code))
    runpy.run_path("python_api.py")
    printed = capsys.readouterr().out.splitlines()
    told = re.findall(r"print\(.*?\)  # (.*)", text)
    assert len(told) == (6 if first else 1)
    for words in told:
        assert any(words == line or words.startswith((f"{line},", f"{line}:")) for line in printed)


# ------------------------------------------------------------------ the file of an own policy


def test_an_own_policy_comes_back_from_its_file_as_it_was(runs_of):
    folder = runs_of("own_policy")
    saved = policy_file.load(folder.best_policy, trust=OWN)
    assert saved.policy_name == OWN
    assert saved.settings == parse(command_of("own_policy")).policy
    assert saved.env_id == "my_lab.world:recall"
    assert saved.record is None
    again = folder.path / "again.npz"
    env = envs.make(saved.env_id)
    params = PolicyParams(saved.weights, saved.moments)
    policy_file.save(again, env, saved.policy_name, saved.settings, params, saved.info)
    assert again.read_bytes() == folder.best_policy.read_bytes()
    with np.load(again, allow_pickle=False) as archive:
        values = archive["array/memory/values"]
    assert (values.dtype, values.shape) == (np.int8, (8, 8))
    assert set(np.unique(values)) <= {-1, 0, 1}


def test_the_documented_way_to_act_remembers(lab, runs_of, capsys):
    runs_of("own_policy")
    (text,) = [t for t in blocks("own_policy", "python") if "policy_file.load" in t]
    (lab / "acting.py").write_text(text)
    runpy.run_path("acting.py")
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*?\)  # (\d)", text)


@pytest.mark.parametrize("page", wide(["own_environment", "own_policy"], keep=["own_policy"]))
def test_the_documented_command_plays_it_and_a_path_alone_does_not(page, runs_of, capsys):
    folder = runs_of(page)
    (words,) = [shlex.split(text) for text in blocks(page, "sh") if "ternevo.play" in text]
    assert words[:4] == ["python", "-m", "ternevo.play", str(folder.path)]
    with pytest.raises(SystemExit):
        play.main(words[3:4])
    assert "nothing was imported" in capsys.readouterr().err
    play.main(words[3:])
    assert "return -4.00 in 4 steps" in capsys.readouterr().out


@pytest.mark.wide  # as those of ternevo are elsewhere
def test_an_own_policy_is_resumed_and_started_from(runs_of):
    folder = runs_of("own_policy")
    before = json.loads(folder.result.read_text())["generation"]
    run.main([*command_of("own_policy"), "--resume", "--num_generations", str(before + 1)])
    assert json.loads(folder.result.read_text())["generation"] == before + 1
    run.main([*command_of("own_policy"), "--init_from", str(folder.path), *SHORT])
    begun = folder.path.with_name("second")
    assert json.loads((begun / "result.json").read_text())["generation"] == 1


def test_one_observation_is_not_enough_for_a_memory(runs_of):
    saved = policy_file.load(runs_of("own_policy").best_policy, trust=True)
    with pytest.raises(ValueError, match=r"has a memory: call reset\(\) and step\(memory, obs\)"):
        saved.act([0.0, 4.0])


@pytest.mark.parametrize(("tool", "more"), [(export, ["--to", "c"]), (gym, [])])
def test_what_runs_without_jax_refuses_an_own_policy_in_a_line(tool, more, runs_of, capsys):
    path = runs_of("own_policy").path
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(path), *more])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert "best_policy.npz" in error
    assert "a .npz, of a --policy that only JAX and its module can run" in error


def test_a_file_whose_module_is_gone_says_so(runs_of, monkeypatch):
    path = runs_of("own_policy").best_policy
    monkeypatch.setitem(sys.modules, "my_lab.network", None)
    with pytest.raises(UnknownName, match=r"best_policy.npz: cannot import policy 'my_lab.network"):
        policy_file.load(path, trust=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, arrays: header.update(version=2), "the header says"),
        (lambda header, arrays: arrays.pop("array/memory/values"), "there is no 'memory/values'"),
        (
            lambda header, arrays: arrays.update({"array/memory/exponent": np.zeros(2, np.int8)}),
            r"memory/exponent is int8\[2\], and not int8\[\]",
        ),
        (lambda header, arrays: header["settings"].update(width=3), "unexpected keyword.*width"),
    ],
)
def test_a_changed_file_is_refused(change, message, runs_of, tmp_path):
    with np.load(runs_of("own_policy").policy, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["header"].item())
    change(header, arrays)
    np.savez(tmp_path / "changed.npz", **{**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(PolicyFormatError, match=rf"changed.npz.*{message}"):
        policy_file.load(tmp_path / "changed.npz", trust=True)


def test_half_a_file_is_refused(runs_of, tmp_path):
    half = tmp_path / "half.npz"
    half.write_bytes(runs_of("own_policy").policy.read_bytes()[:200])
    with pytest.raises(PolicyFormatError, match=r"half.npz.*cannot be read"):
        policy_file.load(half)


# ------------------------------------------------------------------ what is wrong, in a line


SETTINGS = """
import dataclasses
from ternevo.settings.policies import PolicySettings
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.settings import Settings
from ternevo.types import Policy

def function(): pass
class Plain: pass
class Bare(PolicySettings):
    width: int = 3
    def build(self, obs, action): return None
@dataclasses.dataclass(frozen=True)
class NoBuild(PolicySettings):
    width: int = 3
@dataclasses.dataclass(frozen=True)
class NoDefault(PolicySettings):
    width: int
    def build(self, obs, action): return None
@dataclasses.dataclass(frozen=True)
class Taken(PolicySettings):
    seed: int = 3
    def build(self, obs, action): return None
@dataclasses.dataclass(frozen=True)
class BuildsNone(PolicySettings):
    def build(self, obs, action): return None
@dataclasses.dataclass(frozen=True)
class NoStrategyBuild(Settings):
    pass
@dataclasses.dataclass(frozen=True)
class StrategyOfNone(Settings):
    def build(self, env, policy, weights, num_generations): return None
@dataclasses.dataclass(frozen=True)
class NoAlgorithm(Evolution):
    pass
"""


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--policy", "my_own:Bear"], ["my_own has no 'Bear'", "Did you mean 'Bare'?", "Plain"]),
        (["--policy", "nowhere.at_all:X"], ["No module named 'nowhere'", "current directory"]),
        (
            ["--policy", "my_own:function"],
            ["extends ternevo.settings.policies.settings.PolicySettings", "function"],
        ),
        (["--policy", "my_own:Plain"], ["does not extend PolicySettings"]),
        (["--policy", "my_own:Bare"], ["not decorated with @dataclasses.dataclass(frozen=True)"]),
        (["--policy", "my_own:NoBuild"], ["no method build(self, obs, action)"]),
        (["--policy", "my_own:NoDefault"], ["field 'width' has no default"]),
        (["--policy", "my_own:Taken"], ["Taken and RunConfig both have a field 'seed'"]),
        (["--policy", "my_own:BuildsNone"], ["BuildsNone.build", "ternevo.types.Policy", "None"]),
        (["--strategy", "my_own:NoStrategyBuild"], ["build(self, env, policy, weights, num_gen"]),
        (["--strategy", "my_own:StrategyOfNone"], ["ternevo.types.Strategy, not None"]),
        (["--strategy", "my_own:NoAlgorithm"], ["NoAlgorithm has no search_algorithm(self, sol"]),
        (["--strategy", "my_own:Plain"], ["extends ternevo.settings.strategies.settings.Settings"]),
    ],
)
def test_wrong_settings_are_refused_with_what_is_missing(argv, parts, lab, capsys):
    write(lab, "my_own", SETTINGS)
    error = refused(capsys, [*argv, "--env", "probe/bandit", "--runs_dir", "wrong"])
    for part in parts:
        assert part in error
    assert not list(lab.glob("wrong/**/config.json"))


ENVIRONMENTS = """
from ternevo import envs
from ternevo.types import ActionSpec, Env, ObsSpec
import jax.numpy as jnp

bandit = envs.make("probe/bandit")
number = 3
def nothing(episode_length=None): return None
def no_argument(): return bandit
def no_id(episode_length=None):
    return Env(obs=ObsSpec((1,)), action=bandit.action, episode_length=1, reset=None, step=None)
def wide(episode_length=None): return bandit._replace(obs=ObsSpec((2,)), obs_names=())
def unbounded(episode_length=None): return bandit._replace(action=ActionSpec("continuous", 2))
def only_obs(episode_length=None): return bandit._replace(reset=lambda key, task: jnp.ones(1))
def no_task(episode_length=None): return bandit._replace(reset=lambda key: (0, jnp.ones(1)))
def integers(episode_length=None):
    def step(key, state, action):
        state, timestep = bandit.step(key, state, action)
        return state, timestep._replace(reward=jnp.int32(1))
    return bandit._replace(step=step)
def other_state(episode_length=None):
    return bandit._replace(step=lambda *args: ((), bandit.step(*args)[1]))
def render(name, states, stem): return "a.png"
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothng", "my_worlds has no 'nothng'. Did you mean 'nothing'?"),
        ("number", "must be a function that can be called as factory(episode_length=...)"),
        ("no_argument", "unexpected keyword argument 'episode_length'"),
        ("nothing", "what my_worlds:nothing returns must be a ternevo.types.Env, not None"),
        ("no_id", "missing 1 required positional argument: 'id'"),
        ("wide", "the observation of reset must be float32[2], not float32[1]"),
        ("unbounded", "ActionSpec('continuous', size, low, high)"),
        ("only_obs", "reset must return (state, obs)"),
        ("no_task", "reset must be called as reset(key, task)"),
        ("integers", "reward of step must be float32[], not int32[]"),
        ("other_state", "step must return a state like that of reset"),
    ],
)
def test_wrong_environments_are_refused(name, message, lab):
    write(lab, "my_worlds", ENVIRONMENTS)
    with pytest.raises(UnknownName) as refusal:
        envs.make(f"my_worlds:{name}")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_renderer_returns_the_path_of_its_file(lab):
    write(lab, "my_worlds", ENVIRONMENTS)
    with pytest.raises(WrongObject, match=r"my_worlds:render returns must be a pathlib.*not a str"):
        envs.render("my_worlds:nothing", [()], lab / "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": lambda key: ()}, "draws no weights"),
        ({"init": lambda key: {"w": jnp.ones(3)}}, r"there is an array float32\[3\] in it"),
        (
            {"init": lambda key: Tensor(jnp.ones(3), jnp.int8(0))},
            r"values .* must be int8, not float32",
        ),
        ({"init": lambda key: Tensor(jnp.ones(3, jnp.int8), 0)}, r"exponent .* must be int8\[\]"),
        (
            {"apply": lambda params, memory, inputs: inputs.obs[:2]},
            r"must return \(memory, output\)",
        ),
        (
            {"apply": lambda params, memory, inputs: (memory, inputs.obs)},
            r"output float32\[2\], not.*\[3\]",
        ),
        (
            {"apply": lambda params, memory, inputs: (inputs.obs, inputs.obs[:2])},
            r"memory like that of reset",
        ),
        (
            {
                "reset": lambda params, key: jnp.zeros(2, jnp.int32),
                "apply": lambda params, memory, inputs: (inputs.obs[:2], inputs.obs[:2]),
            },
            "int32",
        ),
        ({"reset": lambda: ()}, r"reset must be a function reset\(params, key\)"),
    ],
)
def test_wrong_functions_of_a_policy_are_refused(changes, message, monkeypatch):
    build = MLP.build
    monkeypatch.setattr(MLP, "build", lambda *arguments: build(*arguments)._replace(**changes))
    with pytest.raises(WrongObject, match=message):
        contract.build(MLP(), ObsSpec((3,)), ACTION)


@jax.tree_util.register_pytree_node_class
class Plain:
    """A pytree with neither `==` nor a text of its own."""

    def __init__(self, x):
        self.x = x

    def tree_flatten(self):
        return (self.x,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_states_and_memories_may_be_pytrees_of_any_class(monkeypatch):
    build, bandit = MLP.build, envs.make("probe/bandit")

    def reset(key, task):
        state, obs = bandit.reset(key, task)
        return Plain(state), obs

    def step(key, state, action, after=Plain):
        state, timestep = bandit.step(key, state.x, action)
        return after(state), timestep

    own._check_functions(bandit._replace(reset=reset, step=step))
    other = partial(step, after=lambda state: Plain(Plain(state)))
    with pytest.raises(WrongObject, match=r"like that of reset, PyTreeDef.*Plain.*not PyTreeDef"):
        own._check_functions(bandit._replace(reset=reset, step=other))
    changes = {
        "reset": lambda params, key: Plain(jnp.zeros(2)),
        "apply": lambda params, memory, inputs: (Plain(memory.x), inputs.obs[:2]),
    }
    monkeypatch.setattr(MLP, "build", lambda *arguments: build(*arguments)._replace(**changes))
    contract.build(MLP(), ObsSpec((3,)), ACTION)
    changes["apply"] = lambda params, memory, inputs: (Plain(inputs.obs), inputs.obs[:2])
    with pytest.raises(WrongObject, match=r"Plain.* of float32\[2\], not .*float32\[3\]"):
        contract.build(MLP(), ObsSpec((3,)), ACTION)


@dataclasses.dataclass(frozen=True)
class Listed(PolicySettings):
    sizes: list[int] = dataclasses.field(default_factory=lambda: [3])


def test_settings_that_a_file_cannot_hold_are_refused():
    with pytest.raises(WrongObject, match=r"'sizes' of Listed is \[3\].*tuples"):
        contract.check_settings(Listed())


def test_settings_come_back_from_json():
    settings = MLP(hidden_sizes=(3, 4), weights="binary", use_bias=False)
    values = json.loads(json.dumps(contract.to_json(settings)))
    assert contract.from_json(MLP, values) == settings


@pytest.mark.wide  # a second page is run for it
def test_a_run_without_a_renderer_ends_with_its_result(runs_of, monkeypatch, capsys):
    folder = runs_of("own_environment")
    text = folder.result.read_text()
    before = json.loads(text)
    folder.result.unlink()
    monkeypatch.delattr(sys.modules["my_lab.world"], "render")
    try:
        run.main([*command_of("own_environment"), "--resume"])
    finally:
        if not folder.result.exists():  # other tests look at this run
            folder.result.write_text(text)
    printed = capsys.readouterr().out
    assert "not rendered: cannot import renderer 'my_lab.world:render'" in printed
    assert json.loads(folder.result.read_text())["policy"] == before["policy"]
