"""Execute the notebooks and store what they print and draw: `make notebooks`.

    python notebooks/execute.py                  # all of them, minutes each
    python notebooks/execute.py 00_quickstart    # one of them
    python notebooks/execute.py --check          # are the outputs those of the present cells?

What differs from one execution to the next, or says something of the machine, is left out of the
outputs: progress bars, times in the names of runs, paths. Pictures are stored with fewer colours.
A checksum of the cells is stored with the outputs, so that `--check`, and with it the pre-commit
hook and the tests, sees cells that were changed afterwards.
"""

import argparse
import base64
import hashlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image, ImageSequence

FOLDER = Path(__file__).parent
MAX_BYTES = 400_000
"""How large a notebook with its outputs may be."""
COLORS = 64
MAX_FRAMES = 60
"""Frames of a stored animation; of a longer one every second or third is kept, at its pace."""
MAX_TEXT = 280_000
"""Characters of a page within a page; a longer one is not stored."""
PROGRESS = re.compile(r"\d+%\||\[\d\d:\d\d<|[\d.]+ ?\w+/s[,\]]")
NAME_OF_RUN = re.compile(r"notebook-\d{8}-\d{6}")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
NOT_STORED = "This page is too large to be stored here: run the notebook to see it."


def main() -> None:
    """Execute the notebooks that are named, or check them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="such as 00_quickstart; by default all")
    parser.add_argument("--check", action="store_true", help="execute nothing, say what is stale")
    arguments = parser.parse_args()
    paths = sorted(FOLDER.glob("*.ipynb"))
    chosen = [path for path in paths if not arguments.names or path.stem in arguments.names]
    if not chosen:
        parser.error(f"no such notebook; there are {', '.join(path.stem for path in paths)}")
    if arguments.check:
        raise SystemExit("\n".join(filter(None, map(staleness, chosen))) or 0)
    for path in chosen:
        execute(path)
        print(f"{path.name}  {path.stat().st_size:,} bytes", flush=True)


# ---------------------------------------------------------------------------------- the checksum


def checksum(notebook: NotebookNode) -> str:
    """Return the SHA-256 of all cells, without their outputs."""
    cells = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in notebook.cells)
    return hashlib.sha256(cells.encode()).hexdigest()


def staleness(path: Path) -> str:
    """Return what is wrong with the outputs of a notebook, "" if nothing is."""
    notebook = nbformat.read(path, as_version=4)
    if notebook.metadata.get("ternevo", {}).get("checksum") == checksum(notebook):
        return ""
    name = path.stem
    return f"{path.name} was changed after it was executed: python notebooks/execute.py {name}"


# ---------------------------------------------------------------------------------- execution


def execute(path: Path) -> None:
    """Execute a notebook in an empty folder, and write it with its outputs.

    Raises:
      CellExecutionError: a cell failed; the notebook is left as it was.
      ValueError: it would be too large.
    """
    notebook = without_outputs(nbformat.read(path, as_version=4))
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=None,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        kernels = client.create_kernel_manager()
        kernels.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])  # this Python, no other
        client.execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = tidied(cell.outputs, folder)
    notebook.metadata.language_info = {"name": "python"}
    notebook.metadata["ternevo"] = {"checksum": checksum(notebook)}
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if len(text) > MAX_BYTES:
        raise ValueError(f"{path.name} would have {len(text):,} bytes; at most {MAX_BYTES:,}")
    path.write_text(text, encoding="utf-8")


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook with no outputs."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


# ---------------------------------------------------------------------------------- the outputs


def tidied(outputs: list[NotebookNode], folder: str) -> list[NotebookNode]:
    """Return outputs without what is of one execution only; streams are put together."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
            else:
                kept.append(nbformat.v4.new_output("stream", name="stdout", text=output.text))
        else:
            output.data = dict(small(kind, data) for kind, data in output.data.items())
            output.metadata = {}
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = impersonal(printed(output.text), folder)
        elif "text/plain" in output.data:
            output.data["text/plain"] = impersonal(output.data["text/plain"], folder)
    return [output for output in kept if output.output_type != "stream" or output.text.strip()]


def printed(text: str) -> str:
    """Return what a terminal shows in the end: no progress bars, and only the last of each line."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in lines]
    return "\n".join(line for line in lines if not PROGRESS.search(line)).strip("\n") + "\n"


def impersonal(text: str, folder: str) -> str:
    """Return a text without the time of a run, the place where it was and addresses in memory."""
    for place in {folder, os.path.realpath(folder)}:
        text = text.replace(f"{place}/", "").replace(place, ".")
    return NAME_OF_RUN.sub("notebook", ADDRESS.sub("", text))


def small(kind: str, data: str) -> tuple[str, str]:
    """Return kind and data of an output: pictures with fewer colours and frames, no huge pages."""
    if kind == "image/png":
        return kind, picture(data)
    if kind == "image/gif":
        return "image/png", animation(data)
    if kind == "text/html" and len(data) > MAX_TEXT:
        return kind, NOT_STORED
    return kind, data


def picture(data: str) -> str:
    """Return a PNG with fewer colours."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        reduced = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        reduced.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def animation(data: str) -> str:
    """Return a GIF as an animated PNG of half the size, which more viewers of notebooks show."""
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        duration = image.info.get("duration", 40)
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    every = -(-len(frames) // MAX_FRAMES)
    size = tuple(length // 2 for length in frames[0].size)
    chosen = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames[::every]]
    sheet = Image.new("RGB", (size[0], size[1] * len(chosen)))
    for i, frame in enumerate(chosen):
        sheet.paste(frame, (0, i * size[1]))
    palette = sheet.quantize(COLORS, dither=Image.Dither.NONE)
    chosen = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in chosen]
    buffer = io.BytesIO()
    chosen[0].save(
        *(buffer, "PNG"),
        save_all=True,
        append_images=chosen[1:],
        duration=duration * every,
        loop=0,
    )
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    sys.exit(main())
