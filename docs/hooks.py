"""What the site needs besides its plugins: options of commands, formulas, links of notebooks.

`<!-- help: ternevo.run -->` on a page becomes what `python -m ternevo.run --help` prints while the
site is built, so that no copy can be out of date; `<!-- help: ternevo.run --strategy vote; strategy
options -->` only the box of that name. Formulas are drawn by matplotlib as SVG:
MathJax or KaTeX would be fetched from elsewhere, or kept here in a copy of megabytes.
Links of notebooks are those of the repository; here they lead to the pages of this site.
"""

import functools
import html
import logging
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from mkdocs.structure.files import Files
from mkdocs.utils import get_relative_url

HELP = re.compile(r"<!-- help: (?P<arguments>[\w. -]+?)(; (?P<box>[\w ]+))? -->")
COLUMNS = 88  # as many as fit beside the navigation
BOX = r"^╭─ {name} ─.*?^╰─+╯$"
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
FONT = FontProperties(math_fontfamily="stix")
UNITS = 100  # of the drawing, in an em of the text
LARGER = {"span": 1.1, "div": 1.25}  # than the text, in a line and on its own
LETTERS = {1: "M", 2: "L", 3: "Q", 4: "C"}  # matplotlib's codes of a path, in SVG
CLOSE = 79
UPSIDE_DOWN = Affine2D().scale(1, -1)  # y points down in SVG
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
CODE_IN_CELL = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
WHOLE = re.compile(r"--\S+( [^-\s]\S*)?|\S+")  # an option with its value, or a word
HREF = re.compile(r'(?<=href=")(?P<link>[^"#]+)(?=[#"])')
IN_DOCS = re.compile(r"https://github\.com/ternevo/ternevo/blob/main/docs/(?P<path>.+)")
log = logging.getLogger("mkdocs.hooks.ternevo")
REMOTE_PICTURE = re.compile(r'<img alt="(?P<alt>[^"]*)"[^>]*src="https?:[^>]*>')


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the options of the commands that a page names."""
    return HELP.sub(
        lambda match: f"```text\n{options_of(match['arguments'], match['box'])}\n```", markdown
    )


def on_page_content(content: str, page: Any, files: Files, **_: Any) -> str:
    """Draw the formulas of a page, and name the pictures that would be fetched from elsewhere."""
    if page.file.src_uri.endswith(".ipynb"):
        content = HREF.sub(lambda match: link_on_site(match["link"], page, files), content)
    content = CELL.sub(lambda cell: CODE_IN_CELL.sub(unbroken, cell[0]), content)
    content = REMOTE_PICTURE.sub(lambda match: match["alt"], content)
    return FORMULA.sub(lambda match: draw(html.unescape(match["tex"]), match["tag"]), content)


def unbroken(code: re.Match[str]) -> str:
    """Return code in which a line may end between options or words, and not within one."""
    return WHOLE.sub(r'<span class="whole">\g<0></span>', code[0])


# -------------------------------------------------------------------------------- notebooks


def link_on_site(link: str, page: Any, files: Files) -> str:
    """Return where a link of a notebook leads on the site; warn, which is an error, if nowhere.

    A link to a page of docs/ in the repository leads to that page here, one to another notebook to
    its page; any other one stays as it is.
    """
    in_docs = IN_DOCS.fullmatch(link)
    if in_docs is None and re.match(r"[a-z]+:", link):
        return link
    folder = os.path.dirname(page.file.src_uri)
    name = in_docs["path"] if in_docs else os.path.normpath(os.path.join(folder, link))
    target = files.get_file_from_path(name)
    if target is None:
        log.warning("%s links to %s, which is not on the site", page.file.src_uri, link)
        return link
    return get_relative_url(target.url, page.file.url)


# ------------------------------------------------------------------------ commands, formulas


@functools.cache
def options_of(arguments: str, box: str | None) -> str:
    """Return what `python -m <arguments> --help` prints, or one box of it.

    Raises:
      LookupError: no box has that name.
    """
    environment = os.environ | {"COLUMNS": str(COLUMNS), "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments.split(), "--help"],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    text = "\n".join(textwrap.fill(line, COLUMNS) for line in done.stdout.strip().splitlines())
    if box is None:
        return text
    found = re.search(BOX.format(name=box), text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise LookupError(f"python -m {arguments} --help shows no box {box!r}")
    return found[0]


@functools.cache
def draw(tex: str, tag: str) -> str:
    """Return a formula as an SVG in the colour of the text, with its source as the label.

    Raises:
      ValueError: matplotlib does not know the formula; the message says where.
    """
    tex = " ".join(tex.split())
    shown = tex.replace(r"\frac", r"\dfrac") if tag == "div" else tex
    path = TextPath((0, 0), f"${shown}$", size=UNITS * LARGER[tag], prop=FONT)
    outline = "".join(
        "Z" if code == CLOSE else LETTERS[int(code)] + " ".join(f"{x:.0f}" for x in points)
        for points, code in path.transformed(UPSIDE_DOWN).iter_segments(simplify=False)
    )
    left, low, right, high = path.get_extents().extents
    return (
        f'<{tag} class="formula" role="img" aria-label="{html.escape(tex)}">'
        f'<svg viewBox="{left:.0f} {-high:.0f} {right - left:.0f} {high - low:.0f}" '
        f'style="width:{(right - left) / UNITS:.2f}em;vertical-align:{low / UNITS:.2f}em">'
        f'<path d="{outline}"/></svg></{tag}>'
    )
