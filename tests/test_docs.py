"""The documentation: examples run, links lead somewhere, every page is in the navigation."""

import ast
import doctest
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from markdown.extensions.toc import slugify
from mkdocs.structure.files import File, Files

from ternevo.hub import catalogue

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
MODULES_WITH_EXAMPLES = sorted(
    path for path in (ROOT / "ternevo").rglob("*.py") if ">>> " in path.read_text()
)
EXAMPLES = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES_WITH_EXAMPLES = [path for path in PAGES if EXAMPLES.search(path.read_text())]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<text>.*?)(?: *\{[^}]*#(?P<id>[\w-]+)[^}]*\})?$", re.MULTILINE)
LIVE_PAGES = {DOCS / "gallery" / f"{name}.html" for name in catalogue.entries()}
"""Written as the site is built, as are their cards in the gallery."""
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


def page_name(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


# ------------------------------------------------------------------- examples


def run_examples(source: str, names: dict, where: Path) -> None:
    """Run the examples of a text one after another."""
    test = doctest.DocTestParser().get_doctest(source, dict(names), where.name, str(where), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert test.examples
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("path", MODULES_WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_of_docstrings_run(path):
    # By their source: doctest does not see through the decorators that check annotations in tests.
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    names = vars(importlib.import_module(name))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            text = ast.get_docstring(node) or ""
            if ">>> " in text:
                run_examples(text, names, path)


@pytest.mark.parametrize("path", PAGES_WITH_EXAMPLES, ids=page_name)
def test_examples_of_pages_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run_examples("\n".join(EXAMPLES.findall(path.read_text())), {}, path)


# ---------------------------------------------------------- links, navigation


def in_navigation(entry: object) -> set[str]:
    """Return the files that an entry of the navigation names."""
    if isinstance(entry, str):
        return {entry}
    entries = entry.values() if isinstance(entry, dict) else entry
    return set().union(*map(in_navigation, entries))


def test_every_page_is_in_the_navigation_and_every_entry_is_there():
    named = in_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert {page_name(path) for path in PAGES} <= named
    assert [name for name in named if not (DOCS / name).exists()] == []


def test_every_module_is_in_the_reference():
    paths = {path.relative_to(ROOT) for path in (ROOT / "ternevo").rglob("*.py")}
    paths = {p for p in paths if p.name != "__main__.py" and "bench" not in p.parts}
    modules = {".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in paths}
    pages = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    assert modules == set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))


def without_code(path: Path) -> str:
    return CODE.sub(lambda code: "" if code[0].startswith("```") else "`x`", path.read_text())


def has_anchor(path: Path, anchor: str) -> bool:
    """Return whether a page has a heading of that anchor, or documents the module of that name."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    cards = {name.lower() for name in catalogue.entries()} if "<!-- gallery -->" in text else set()
    headings = cards | {
        match["id"] or slugify(match["text"], "-") for match in HEADING.finditer(text)
    }
    modules = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    return anchor in headings or any(anchor.startswith(f"{module}.") for module in modules)


def is_broken(page: Path, link: str) -> bool:
    """Return whether a relative link of a page leads nowhere within docs/."""
    name, _, anchor = link.partition("#")
    target = Path(os.path.normpath(page.parent / name)) if name else page
    if target in LIVE_PAGES:
        return False
    if not target.is_relative_to(DOCS) or not target.exists():
        return True
    return bool(anchor) and not has_anchor(target, anchor)


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_links_and_pictures_of_pages_are_there(path):
    links = LINK.findall(without_code(path))
    relative = [link for link in links if not link.startswith(("https://", "http://"))]
    assert [link for link in relative if is_broken(path, link)] == []


def test_a_broken_link_is_found():
    page = DOCS / "index.md"
    assert is_broken(page, "nowhere.md")
    assert is_broken(page, "install.md#nowhere")
    assert is_broken(page, "../README.md")  # not on the site
    assert not is_broken(page, "install.md#with-pip")


# ------------------------------------------------- names of files, modules and functions

TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "experiments" / "README.md"]
TEXTS += sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = [path for room in ("ternevo", "experiments") for path in (ROOT / room).rglob("*.py")]
ROOMS = [path.name for path in (ROOT / "ternevo").iterdir() if path.is_dir()]
FROM_THE_ROOT = re.compile(r"(?<![\w./-])(?:ternevo|experiments|tests|notebooks)/[\w./*-]*[\w*]")
FROM_A_ROOM = re.compile(rf"`((?:{'|'.join(ROOMS)})/[\w/*]+\.\w+)`")
DOTTED = re.compile(r"(?<![\w./-])ternevo(?:\.\w+)+")


def lost_paths(text: str) -> list[str]:
    """Return the paths that a text names and that lead nowhere; NAME stands for any name."""
    found = [(ROOT, path) for path in FROM_THE_ROOT.findall(text)]
    found += [(ROOT / "ternevo", path) for path in FROM_A_ROOM.findall(text)]
    pattern = {path: re.sub(r"(?<![a-zA-Z])[A-Z]{3,}(?![a-z])|_$", "*", path) for _, path in found}
    return [path for start, path in found if not any(start.glob(pattern[path]))]


def is_lost(name: str) -> bool:
    """Return whether a dotted name is neither a module nor something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return True
    return False


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_pages_name_is_there(path):
    text = path.read_text()
    assert lost_paths(text) == []
    if path.parent != DOCS / "reference":  # see test_every_module_is_in_the_reference
        assert list(filter(is_lost, dict.fromkeys(DOTTED.findall(text)))) == []


def test_files_that_sources_name_are_there():
    lost = {path.name: lost_paths(path.read_text()) for path in SOURCES}
    assert {name: paths for name, paths in lost.items() if paths} == {}


def test_a_name_that_is_gone_is_found():
    text = "`strategies/evolution.py`, `algorithms/vote.py`, experiments/TASK.yaml, tests/gone.py"
    assert lost_paths(text) == ["tests/gone.py", "strategies/evolution.py"]
    assert is_lost("ternevo.devices") and is_lost("ternevo.train.start")
    assert not is_lost("ternevo.machine.devices") and not is_lost("ternevo.train")


# ------------------------------------------------------------------- the site


def hooks(name="hooks"):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_notebooks_lead_to_pages_of_the_site(caplog):
    """As they stand they are those of the repository: other notebooks, pages of docs/."""
    files = Files([File(name, "docs", "site", False) for name in ("tutorials/01.ipynb", "ppo.md")])
    page = SimpleNamespace(file=File("tutorials/00.ipynb", "docs", "site", False))
    ours = "https://github.com/ternevo/ternevo/blob/main"
    found = hooks().on_page_content(
        f'<a href="01.ipynb">a</a> <a href="{ours}/docs/ppo.md#what-matters">b</a> '
        f'<a href="{ours}/Makefile">c</a> <a href="#here">d</a>',
        page=page,
        files=files,
    )
    links = re.findall(r'href="([^"]+)"', found)
    assert links == ["01.ipynb", "../ppo.html#what-matters", f"{ours}/Makefile", "#here"]
    assert not caplog.records
    hooks().on_page_content('<a href="02.ipynb">a</a>', page=page, files=files)
    assert "02.ipynb, which is not on the site" in caplog.text  # an error in a strict build


def test_options_in_tables_are_not_broken():
    page = SimpleNamespace(file=File("a.md", "docs", "site", False))
    content = "<p><code>--lr 0.1</code></p><td>a <code>--lr 0.1 --num_seeds 2 x</code></td>"
    found = hooks().on_page_content(content, page=page, files=Files([]))
    whole = re.findall('<span class="whole">([^<]*)</span>', found)
    assert whole == ["--lr 0.1", "--num_seeds 2", "x"]
    assert found.startswith("<p><code>--lr 0.1</code></p>")


def test_the_gallery_has_a_card_for_each_policy():
    cards = hooks("gallery_hooks").on_page_markdown("<!-- gallery -->")
    for name, entry in catalogue.entries().items():
        assert f'href="{name}.html"' in cards
        assert f"<b>{entry.bytes:,} bytes {entry.does}</b>" in cards
    assert cards.count("<section") == len(catalogue.entries())


class Resources(HTMLParser):
    """Collect what a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag, attrs):
        url = dict(attrs).get(LOADED.get(tag, ""))
        self.urls += [url] if url else []


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "gallery" / "Pendulum-v1.html").exists()
    assert (tmp_path / "search" / "search_index.js").exists()  # for pages read from the disk
    for page in (tmp_path / "tutorials").glob("*.html"):
        assert ".ipynb" not in re.sub(r"https:[^\"]*", "", page.read_text()), page
    assert "--population_size" in (tmp_path / "reference" / "commands.html").read_text()
    for page in tmp_path.rglob("*.html"):
        resources = Resources()
        resources.feed(page.read_text())
        assert [url for url in resources.urls if re.match("(https?:)?//", url)] == [], page
