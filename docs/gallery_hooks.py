"""The gallery: a card for each policy of the hub where a page says `<!-- gallery -->`.

Beside it, a live page of each, as the exporter writes it. What a web page cannot compute, brax and
MinAtar, it shows as the recorded episode in gallery/NAME.json, made by `experiments/gallery.py`.
"""

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
from mkdocs.structure.files import File, Files

from ternevo.deploy.html import to_html
from ternevo.deploy.tvp import load
from ternevo.hub import catalogue
from ternevo.hub.catalogue import Entry

MARK = "<!-- gallery -->"
FOLDER = Path(__file__).parent / "gallery"
WIDE = 240 / 112  # width of a picture, in its height


def on_files(files: Files, config: Any) -> Files:
    """Add the live pages."""
    for entry in catalogue.entries().values():
        page = live_page(entry)
        files.append(File.generated(config, f"gallery/{entry.name}.html", content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the cards."""
    cards = "\n".join(map(card, catalogue.entries().values()))
    return markdown.replace(MARK, f'<div class="policies">\n{cards}\n</div>')


def live_page(entry: Entry) -> str:
    """Return the page of a policy, with its recorded episode where there is one."""
    episode = FOLDER / f"{entry.name}.json"
    replay = json.loads(episode.read_text()) if episode.exists() else None
    return to_html(load(entry.path), f"{entry.bytes:,} bytes {entry.does}", replay)


def card(entry: Entry) -> str:
    """Return what the gallery shows of a policy."""
    words = {name: html.escape(str(value)) for name, value in entry._asdict().items()}
    returns, sizes = entry.returns, "-".join(map(str, entry.sizes))
    origin = (
        f"Seed {entry.seed}, the best of {entry.seeds} by its evaluations during training; "
        if entry.seeds > 1
        else f"Seed {entry.seed}; "
    )
    origin += (
        f"{entry.env_steps:,} environment steps. Return: mean of {returns.episodes} fresh episodes "
        f"and its 95 % interval. {words['machine']}, commit {entry.commit[:7]}."
    )
    return f"""<section class="policy" id="{words["name"].lower()}">
<a class="look" href="{words["name"]}.html" title="Watch it live">{picture(entry)}</a>
<div>
<h3>{words["name"]}</h3>
<p><a href="{words["name"]}.html"><b>{entry.bytes:,} bytes {words["does"]}</b></a></p>
<p>Return <b>{number(returns.mean)}</b> ({number(returns.low)} to {number(returns.high)}), network \
<span class="whole">{sizes}</span>, by <code>{words["strategy"]}</code></p>
<details><summary>Where it comes from</summary>
<pre><code>{words["command"]}</code></pre>
<p>{origin}</p>
</details>
</div>
</section>"""


def number(value: float) -> str:
    """Return a return as people write it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def picture(entry: Entry) -> str:
    """Return a still of a policy at its task, as SVG: a drawing, or of the recorded episode."""
    drawn, recorded = (FOLDER / f"{entry.name}{end}" for end in (".svg", ".json"))
    if drawn.exists():
        return drawn.read_text().strip()
    episode = json.loads(recorded.read_text())
    return still_of_bodies(episode["bodies"]) if "bodies" in episode else still_of_grid(episode)


def still_of_bodies(bodies: dict[str, Any]) -> str:
    """Return the bodies at a third of an episode."""
    ends = np.frombuffer(base64.b64decode(bodies["ends"]), "<i2").astype(float)
    frames = ends.reshape(-1, len(bodies["radii"]), 4) / bodies["scale"]
    frame, height = frames[len(frames) // 3], bodies["high"] - min(bodies["low"], 0)
    left = frame[0, [0, 2]].mean() - height * WIDE / 2
    lines = "".join(
        f'<line class="{("ink", "minus")[i % 2]}" stroke-width="{2 * radius:.3f}" '
        f'x1="{x1 - left:.3f}" y1="{bodies["high"] - y1:.3f}" '
        f'x2="{x2 - left:.3f}" y2="{bodies["high"] - y2 + 0.001:.3f}"/>'
        for i, ((x1, y1, x2, y2), radius) in enumerate(zip(frame, bodies["radii"], strict=True))
    )
    floor = f'<line class="soft" stroke-width="{height / 80:.3f}" x1="0" x2="{height * WIDE:.2f}" '
    floor += f'y1="{bodies["high"]:.3f}" y2="{bodies["high"]:.3f}"/>'
    return svg(height * WIDE, height * 1.06, (floor if bodies["follows"] else "") + lines)


def still_of_grid(episode: dict[str, Any]) -> str:
    """Return the cells at a third of an episode."""
    rows, columns, channels = episode["grid"]
    packed = np.frombuffer(base64.b64decode(episode["observations"]), np.uint8)
    steps = np.frombuffer(base64.b64decode(episode["rewards"]), "<f4").size
    bits = np.unpackbits(packed.reshape(steps, -1), axis=1)[steps // 3, : rows * columns * channels]
    seen = bits.reshape(rows, columns, channels)
    cells = "".join(
        f'<rect class="channel-{seen[y, x].argmax() % 5}" x="{x + 0.05}" y="{y + 0.05}" '
        'width="0.9" height="0.9" rx="0.15"/>'
        for y in range(rows)
        for x in range(columns)
        if seen[y, x].any()
    )
    left = (rows * WIDE - columns) / 2
    return svg(rows * WIDE, rows, f'<g transform="translate({left:.3f})">{cells}</g>')


def svg(width: float, height: float, inside: str) -> str:
    """Return a drawing of that size."""
    return f'<svg viewBox="0 0 {width:.3f} {height:.3f}" aria-hidden="true">{inside}</svg>'
