"""A policy as one web page: its task, its weights and its numbers, live, in any browser.

The page holds the file's bytes, a reader and an interpreter in JavaScript (`web/`), and examples
that NumPy computed; it acts only if it computes the same integers. It loads nothing from anywhere.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternevo.deploy import capabilities, integer, tvp
from ternevo.deploy.record import PolicyRecord

SCRIPTS = ("policy.js", "physics.js", "layers.js", "view.js")
"""In this order; the first computes policies and needs no browser."""

MAX_EXAMPLES = 64
MAX_EXAMPLE_FLOATS = 16_384
"""Keeps the examples of a wide policy smaller than the policy."""

Replay = dict[str, Any]
"""A recorded episode as JSON.

`observations` are base64: int8 [steps, in] as the policy quantises them, of a grid packed bits;
`rewards` float32 [steps]; `rate` is in steps a second; `actions` are names of discrete actions, and
may be left out. Of bodies, `bodies` has int16 `ends` [frames, shapes, 4] (x and z of both ends of a
capsule, times `scale`), `radii`, the number of steps between two frames (`every`), `low` and `high`
of what is shown, and whether the view `follows` the first body. Of bits that are a picture, `grid`
is [rows, columns, channels].
"""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 3 3'%3E"
    "%3Cpath fill='%230067b0' d='M0 0h1v2h2v1H2V1H0z'/%3E"
    "%3Cpath fill='%23d9660a' d='M2 0h1v1H2zM0 2h1v1H0z'/%3E%3C/svg%3E"
)


GRAPH = """\
  <section class="card" id="graph" aria-labelledby="graph-title">
    <div class="bar"><h2 id="graph-title">Nodes and links</h2></div>
    <img src="data:image/png;base64,{}"
      alt="The graph: layers of nodes with their gains, and links with their signs">
  </section>
"""

GRID_RATE = 12
"""Steps a second of a game on a grid."""


def to_html(
    record: PolicyRecord,
    title: str | None = None,
    replay: Replay | None = None,
    picture: bytes | None = None,
) -> str:
    """Return the page.

    Args:
      record: the policy; the name of its environment, if there, selects the task that is shown.
      title: headline instead of one made of the task and the size.
      replay: a recorded episode, to show for a task whose physics the page does not have.
      picture: of the policy as a graph, a PNG.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run.
      NotIntegerError: the policy computes with floats.
      PolicyFormatError: the record breaks a rule of the format.
    """
    capabilities.check_export(record, "html")
    integer.check_integer(record)
    policy = tvp.encode(record.bare())
    env = record.metadata.get("env", "")
    script, style = "\n".join(map(_source, SCRIPTS)), _source("style.css")
    fields = {
        "csp": html.escape(_content_security_policy(script, style)),
        "title": html.escape(title or f"A policy of {len(policy)} bytes"),
        "icon": html.escape(ICON),
        "style": style,
        "graph": GRAPH.format(_base64(picture)) if picture else "",
        "data": _json(_data(record, policy, env, title) | ({"replay": replay} if replay else {})),
        "script": script,
    }
    # One pass, so that nothing that was filled in is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: fields[found[1]], _source("page.html"))


def replay_of_grid(
    observations: NDArray, rewards: NDArray, shape: Sequence[int], rate: int = GRID_RATE
) -> Replay:
    """Return a recorded episode of a game whose observations are bits, and a picture.

    Args:
      observations: [steps, in], 0 or 1: what the policy saw before each step.
      rewards: [steps].
      shape: (height, width, channels) of an observation.
      rate: steps a second.

    Raises:
      ValueError: an observation is not of bits, or not of that shape.
    """
    if not np.isin(observations, (0, 1)).all():
        raise ValueError("observations of a grid must be 0 or 1")
    if observations.shape != (len(rewards), math.prod(shape)):
        raise ValueError(
            f"{len(rewards)} rewards and observations {observations.shape} of a grid {tuple(shape)}"
        )
    return {
        "rate": rate,
        "observations": _base64(np.packbits(observations.astype(bool), axis=1).tobytes()),
        "rewards": _base64(np.asarray(rewards, "<f4").tobytes()),
        "grid": list(shape),
    }


def _source(name: str) -> str:
    return (resources.files("ternevo.deploy") / "web" / name).read_text(encoding="utf-8")


def _content_security_policy(script: str, style: str) -> str:
    """Allow this script and this style, and nothing from anywhere."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: Any) -> str:
    """Return JSON that cannot end the element it stands in."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data(record: PolicyRecord, policy: bytes, env: str, title: str | None) -> dict[str, Any]:
    return {
        "policy": _base64(policy),
        "id": hashlib.sha256(policy).hexdigest(),
        "env": env,
        "title": title,
        "obsNames": list(record.obs_names),
        "actionNames": list(record.action_names),
        "examples": _examples(record),
    }


def _examples(record: PolicyRecord) -> dict[str, Any]:
    """Return observations, and the logits and actions that NumPy computes for them.

    Those of a policy with memory are one episode.
    """
    net = integer.compile_integer(record)
    observations = example_observations(record)
    logits = integer.episode(net, integer.quantise(record, observations))
    actions = integer.actions(record, net.output_exponent, logits)
    is_bits = record.input_kind == "bits"  # a number each would be most of the page
    seen = np.packbits(observations > 0, axis=1) if is_bits else observations.astype("<f4")
    return {
        "count": len(observations),
        "observations": _base64(seen.tobytes()),
        "logits": _base64(logits.astype("<i4").tobytes()),
        "actions": _base64(actions.astype(actions.dtype.newbyteorder("<")).tobytes()),
    }


def example_observations(record: PolicyRecord) -> NDArray[np.float32]:
    """Return float32 [n, in]: usual ones, ties of the rounding, and what no sensor should send."""
    count = int(np.clip(MAX_EXAMPLE_FLOATS // record.obs_size, 4, MAX_EXAMPLES))
    random = np.random.default_rng(0)
    shape = (count, record.obs_size)
    if record.input_kind == "bits":
        return random.integers(0, 2, shape).astype(np.float32)
    low, high = (0, 255) if record.input_kind == "pixels" else (-150, 150)
    observations = random.integers(low, high + 1, shape).astype(np.float32)
    observations[count // 2 :] += np.float32(0.5)
    if record.input_kind == "f32":
        scale = np.ldexp(np.float32(1), -record.exponent.astype(np.int32))
        with np.errstate(over="ignore"):
            observations = (observations * scale + record.mean).astype(np.float32)
    observations[0, 0], observations[1, -1], observations[2, 0] = np.nan, np.inf, -np.inf
    return observations


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
