"""The notebooks: they run from top to bottom, and their outputs are of the present cells."""

import ast
import base64
import gc
import importlib
import importlib.util
import io
import os
import re
import shlex
import sys
import warnings
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import nbformat
import pytest
import tyro
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

from ternevo.settings import command_line
from ternevo.sweep import space

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPOSITORY = "https://github.com/ternevo/ternevo"
BADGE = "https://colab.research.google.com/github/ternevo/ternevo/blob/main/notebooks"
BUDGET = "0.03"
LONGEST_DEFINITION = 3  # lines: what needs more belongs into the package
COMMAND = re.compile(r"^\s*!python -m (ternevo\.\w+)(.*)$", re.MULTILINE)
FOLDERS = dict.fromkeys(("RUN", "RUNS", "PPO_RUNS", "FOLDER"), Path("runs/notebook"))
VALUES = {"BUDGET": 1.0, "size": 256, "number": 1, **FOLDERS}
"""What stands for the names in command lines that are worked out when a notebook runs."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    """The notebook, with commands of several lines in one."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(
            r"^ *!(?:.*\\\n)*.*$",
            lambda command: re.sub(r" *\\\n *", " ", command[0]),
            cell.source,
            flags=re.MULTILINE,
        )
    return notebook


def code_of(path):
    """The code cells as Python, with magics and commands as calls."""
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    return ast.parse("\n".join(TransformerManager().transform_cell(cell) for cell in cells))


def names_of(path):
    """`VALUES`, and the texts that a notebook gives a name to."""
    names = dict(VALUES)
    for node in ast.walk(code_of(path)):
        match node:
            case ast.Assign([ast.Name(name)], ast.Constant() | ast.JoinedStr() as value):
                text = eval(compile(ast.Expression(value), str(path), "eval"), {}, names)
                names |= {name: text} if isinstance(text, str) else {}
    return names


def commands_of(path):
    """The commands of a notebook as (module, arguments), with values for names in braces."""
    names = names_of(path)
    source = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")
    for module, arguments in COMMAND.findall(source):
        filled = re.sub(r"{([^}]*)}", lambda found: str(eval(found[1], {}, names)), arguments)
        yield module, shlex.split(filled)


def test_there_are_seven_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == ["00", "01", "02", "03", "04", "05", "06"]


@each_notebook
def test_first_cell_links_to_this_notebook_in_colab(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.findall(r"\]\((https://colab[^)]*\.ipynb)\)", first.source) == [
        f"{BADGE}/{path.name}"
    ]
    assert first.source.count("\n# ") == 1  # one title


@each_notebook
def test_first_code_cell_installs_on_colab_and_only_there(path):
    install = next(cell.source for cell in read(path).cells if cell.cell_type == "code")
    guard, indented = install.split('if "google.colab" in sys.modules:\n')
    assert "pip" not in guard
    assert all(line.startswith("    ") for line in indented.splitlines())
    assert re.search(rf'%pip install -q "ternevo\S* @ git\+{REPOSITORY}"', indented)


# --- what is stored ----------------------------------------------------------------------------


def load_program():
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


execute_program = load_program()
PLACES = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users|usr|opt|var|mnt)/|[A-Z]:\\\\")


def stored(path):
    """The notebook as it is in the file, its outputs, and all texts in these."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    for output in outputs:
        data = output.get("data", {})
        texts += [value for kind, value in data.items() if kind.startswith("text/")]
    return notebook, outputs, texts


@each_notebook
def test_what_is_stored_was_computed_by_the_present_cells(path):
    notebook, outputs, _ = stored(path)
    assert execute_program.staleness(path) == ""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert outputs and "error" not in {output.output_type for output in outputs}
    assert "image/png" in {kind for output in outputs for kind in output.get("data", {})}


@each_notebook
def test_what_is_stored_is_small_and_says_nothing_of_the_machine(path):
    notebook, _, texts = stored(path)
    assert path.stat().st_size <= execute_program.MAX_BYTES
    assert not [cell for cell in notebook.cells if cell.metadata]
    assert notebook.metadata["language_info"] == {"name": "python"}
    for text in texts:
        assert not PLACES.findall(text)
        assert not execute_program.PROGRESS.search(text) or "<iframe" in text
        assert not execute_program.NAME_OF_RUN.search(text)
        assert not execute_program.ADDRESS.search(text)


def test_a_changed_cell_is_seen(tmp_path):
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    notebook.cells[-1].source += " More."
    nbformat.write(notebook, tmp_path / "00_quickstart.ipynb")
    assert "changed" in execute_program.staleness(tmp_path / "00_quickstart.ipynb")


def test_outputs_are_tidied():
    text = "0%|  | 0/3 [00:00<?, ?gen/s]\r100%|██| 3/3 [00:01<00:00, 2.9gen/s]\nA\rB\r\n"
    text += "/tmp/x/runs/notebook-20260102-030405/seed0  /tmp/x\n\x1b[1mbold\x1b[0m\n"
    streams = [
        nbformat.v4.new_output("stream", name=name, text=part)
        for name, part in (("stderr", text[:40]), ("stdout", text[40:]))
    ]
    [found] = execute_program.tidied(streams, "/tmp/x")
    assert (found.name, found.text) == ("stdout", "B\nruns/notebook/seed0  .\nbold\n")


def test_an_animation_is_stored_with_fewer_frames_at_its_pace():
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (40, 20), (i, 0, 255 - i)) for i in range(0, 200, 2)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=50)
    kind, data = execute_program.small("image/gif", base64.b64encode(buffer.getvalue()).decode())
    assert kind == "image/png"
    with Image.open(io.BytesIO(base64.b64decode(data))) as found:
        found.load()
        assert (found.size, found.info["duration"]) == ((20, 10), 100)
        assert 20 < found.n_frames <= execute_program.MAX_FRAMES


@each_notebook
def test_notebooks_define_nothing_of_their_own(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(code_of(path)):
        if isinstance(node, kinds):
            assert node.end_lineno - node.lineno < LONGEST_DEFINITION, node.name


@each_notebook
def test_links_lead_to_files_of_the_project(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    inside = re.findall(rf"\({REPOSITORY}/(?:blob|tree)/main/([^)#]+)[^)]*\)", text)
    beside = [f"notebooks/{name}" for name in re.findall(r"\]\(([^):]+\.ipynb)\)", text)]
    for name in (*inside, *beside):
        assert (ROOT / name).exists(), name


class Parsed(Exception):
    """A command line was understood."""


@each_notebook
def test_command_lines_are_understood_by_the_commands(path, monkeypatch):
    real = tyro.cli

    def parse_only(*args, **kwargs):
        raise Parsed(real(*args, **kwargs))

    monkeypatch.setattr(tyro, "cli", parse_only)
    for module, arguments in commands_of(path):
        name = f"{module}.__main__" if (ROOT / Path(*module.split("."))).is_dir() else module
        with pytest.raises(Parsed):
            importlib.import_module(name).main(arguments)


def test_the_sweep_file_of_a_notebook_gives_arguments_of_a_run(tmp_path):
    (path,) = [path for path in NOTEBOOKS if path.name.startswith("04")]
    (tmp_path / "sweep.yaml").write_text(names_of(path)["SWEEP"])
    sweep = space.read(tmp_path / "sweep.yaml")
    parsed = command_line.parse(sweep.arguments(space.first_values(space.space(sweep.parameters))))
    assert (parsed.env, parsed.num_generations) == ("gymnax/CartPole-v1", 3)


# --- they run ----------------------------------------------------------------------------------


def checked(source):
    """A cell in which a command that fails is an error, as it is not by itself."""
    return re.sub(
        r"^(\s*)(!.*)$", r"\1\2\n\1assert _exit_code == 0, _exit_code", source, flags=re.MULTILINE
    )


def execute(path, folder):
    """Run a notebook in a folder by the Python that runs the tests; return its outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what jupyter and zmq say about themselves
        from jupyter_client.kernelspec import KernelSpecManager
        from nbclient import NotebookClient

        notebook = read(path)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source = checked(cell.source)
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, kernel_name="python3", timeout=600, resources=resources)
        kernel = client.create_kernel_manager()
        # That of ipykernel, whatever kernels the user has.
        kernel.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
        assert kernel.kernel_spec.argv[0] == sys.executable
        client.execute()
        gc.collect()  # here, where it does not matter which socket complains
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


SMALLER = (
    *("--population_size=4", "--num_episodes=1", "--num_eval_episodes=1", "--num_devices=1"),
    *("--num_final_episodes=1", "--episode_length=10"),
)
"""Added to the run of the first notebook: the policy has the same shapes."""


def execute_here(path):
    """Run the cells of a notebook in this process, and its commands by calls of their programs."""

    def command(module, arguments):
        further = SMALLER if module == "ternevo.run" else ()
        importlib.import_module(module).main([*shlex.split(arguments), *further])

    names = {"command": command}
    for cell in read(path).cells:
        if cell.cell_type == "code":
            source = COMMAND.sub(r'command("\1", f"""\2""")', cell.source)
            assert "\n!" not in source
            exec(compile(TransformerManager().transform_cell(source), str(path), "exec"), names)
            plt.close("all")
    return names


@pytest.mark.wide  # its commands are understood, above
def test_the_first_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # which it changes
    monkeypatch.setenv("TERNEVO_BUDGET", BUDGET)
    names = execute_here(NOTEBOOKS[0])
    printed = capsys.readouterr()
    assert not re.findall(r"^.*(?:Warning|error):.*$", printed.out + printed.err, re.MULTILINE)
    assert "The notebook took " in printed.out
    assert {path.name for path in names["RUN"].glob("*.gif")} == {"episode.gif", "play.gif"}


@pytest.mark.slow
@each_notebook
def test_notebooks_run_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TERNEVO_BUDGET", BUDGET)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    outputs = execute(path, tmp_path)
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not re.findall(r"^.*(?:Warning|error):.*$", printed, re.MULTILINE)
    shown = [name for output in outputs for name in output.get("data", {})]
    assert {"image/png", "image/gif"} & set(shown)  # there is a picture
