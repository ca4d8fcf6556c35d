"""Verdicts of docs/systems.md on what other programs measured: NEAT, learning in a life, ES, POET.

They read results/neat.jsonl, of neat.py, hyperneat.py and neat_q.py, results/lifetimes.jsonl, of
lifetimes.py, results/quadruped.jsonl, of quadruped.py, results/ntm.jsonl, of ntm.py,
results/poet.jsonl, of poet.py, and results/advantages.jsonl and results/games.jsonl, of programs of
these names, which judge their own. Thresholds are those of the acceptance suite; see acceptance.py
for the others.
"""

import json
import statistics
from collections.abc import Iterator
from typing import Any

import advantages
import games
from claims import RESULTS, WORDS, Verdict, is_above, shown

LIFETIMES = "python experiments/lifetimes.py"
SCALING = Verdict(
    *("C9", "A-ES", "a generation on more devices takes proportionally less time"),
    *("predicted in [Scaling](scaling.md#the-cost-model)", "not run", ""),
)


def all_of_them() -> list[Verdict]:
    """Return the verdicts of all arms that were run."""
    lives = _lines("lifetimes.jsonl")
    learned = _lines("ntm.jsonl")
    return [
        *_neat(_lines("neat.jsonl")),
        *_lifetimes(lives),
        *_quadruped(_lines("quadruped.jsonl")),
        *_machines(lives, learned),
        *advantages.judged(_lines("advantages.jsonl")),
        *games.judged(_lines("games.jsonl")),
        SCALING,
        *_poet(_lines("poet.jsonl")),
    ]


def _lines(name: str) -> list[dict[str, Any]]:
    path = RESULTS / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _verdict(
    claims: str, experiment: str, statement: str, found: str, holds: bool, command: str
) -> Verdict:
    return Verdict(claims, experiment, statement, found, "yes" if holds else "no", command)


# ------------------------------------------------------------------------------------- graphs


def _neat(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield what graphs and learners of action values reached; the last line of an arm counts."""
    latest = {(row["system"], row["task"], row["arm"], row.get("weights")): row for row in rows}
    for (system, task, arm, weights), row in latest.items():
        name = task.partition("/")[2].replace("_", " ")
        if system == "NEAT":
            yield _solved(row, name, arm, str(weights))
        elif system == "HyperNEAT":
            yield _boxes(row, arm)
        elif system == "NEAT+Q" and arm not in BY_HAND:
            yield from _learner_of_values(name, arm, row, latest)


BY_HAND = ("fixed0", "fixed4", "fixed8")
"""Arms of networks that were designed by hand; each number is that of the hidden nodes."""
NEAT_Q = "python experiments/neat_q.py"


def _learner_of_values(
    name: str, arm: str, row: dict[str, Any], latest: dict[Any, dict[str, Any]]
) -> Iterator[Verdict]:
    """Yield the mean return of an arm of NEAT+Q, and it beside all networks designed by hand."""

    def returns(row: dict[str, Any]) -> list[float]:
        return [seed["return"] for seed in row["seeds"]]

    own, words = returns(row), f"{name}, {arm}: "
    found, holds = f"{shown(own)}, {len(own)} seeds", statistics.fmean(own) >= -150
    said = words + "a mean return of -150"
    yield _verdict("C3", "A-NEATQ", said, found, holds, row["command"])
    kind = (row["system"], row["task"])
    keys = ((*kind, hand, row["weights"]) for hand in BY_HAND)
    by_hand = [returns(latest[key]) for key in keys if key in latest]
    if not by_hand:
        return
    best = max(by_hand, key=statistics.fmean)
    said = words + f"better than the best of {len(BY_HAND)} networks designed by hand"
    found += f"; {shown(best)}, {len(best)} seeds, by hand"
    if len(by_hand) < len(BY_HAND):
        found += f", of which {len(by_hand)} of {len(BY_HAND)} were run"
        missing = " ".join(hand for hand in BY_HAND if (*kind, hand, row["weights"]) not in latest)
        command = f"{NEAT_Q} {row['task']} --arm {missing} --weights {row['weights']}"
        command += f" --seeds {len(own)} --record"
        yield Verdict("C3", "A-NEATQ", said, found, "not run", command)
        return
    holds = is_above(own[: len(best)], best[: len(own)])
    yield _verdict("C3", "A-NEATQ", said, found, holds, row["command"])


def _solved(row: dict[str, Any], name: str, arm: str, weights: str) -> Verdict:
    """Return how many seeds solve a task: nine of ten, all of five, or none of a control."""
    seeds = list(row["seeds"].values())
    solved = [seed for seed in seeds if seed["generation"] is not None]
    found = f"{len(solved)} of {len(seeds)} seeds"
    if solved:
        found += f"; mean of {statistics.fmean(s['evaluations'] for s in solved):,.0f} evaluations"
    is_control = "control" in arm or arm.startswith("no ")
    said = f"{name}, {weights}, {arm}: {'does worse' if is_control else 'solved'}"
    share = len(solved) / len(seeds)
    holds = share < 0.9 if is_control else share >= 0.9
    return _verdict("C2", "A-NEAT", said, found, holds, row["command"])


def _boxes(row: dict[str, Any], arm: str) -> Verdict:
    """Return the share of pictures in which the large box is found, at the size of training."""
    first = row["seeds"][0]["hits"]
    hits = {size: [seed["hits"][size][0] for seed in row["seeds"]] for size in first}
    if arm == "direct":
        said, holds = "boxes, direct encoding: below 50 %", statistics.fmean(hits["11"]) < 0.5
        return _verdict("C13", "A-HYPER", said, shown(hits["11"]), holds, row["command"])
    return _verdict(
        "C13",
        "A-HYPER",
        f"boxes, {arm}: 90 % at 11 x 11, and 75 % at 33 x 33 without evolution",
        f"{shown(hits['11'])} and {shown(hits['33'])}",
        statistics.fmean(hits["11"]) >= 0.9 and statistics.fmean(hits["33"]) >= 0.75,
        row["command"],
    )


# ----------------------------------------------------------------------------------- lifetimes


def _lifetimes(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield what policies that learn while they live reached."""

    def of(system: str, arm: str, test: str) -> list[float]:
        own = [row for row in rows if (row["system"], row["arm"]) == (system, arm)]
        return [row["returns"][test] for row in sorted(own, key=lambda row: row["seed"])]

    rules, static = (
        of("hebbian", arm, "unseen") for arm in ("a rule per input, integers", "static, ternary")
    )
    if rules and static:
        said = (
            "mean over unseen bodies: evolved rules reach 0.7 in each seed, what does not learn "
            "at most 0"
        )
        holds = min(rules) >= 0.7 and statistics.fmean(static) <= 0
        found = f"{shown(rules)} and {shown(static)}"
        yield _verdict("C6", "A-HEBB", said, found, holds, f"{LIFETIMES} --systems hebbian")
    test = "last episode"
    climbs, unguided, none = (
        of("hill_climber", arm, test)
        for arm in ("evolved start and mask", "random start, evolved mask", "no trials")
    )
    if climbs and unguided and none:
        said = "four corners: -140 after 20 trials, and 100 above random starts"
        gap = statistics.fmean(climbs) - statistics.fmean(unguided)
        found = f"{shown(climbs)} and {shown(unguided)}; {shown(none)} without trials"
        holds = statistics.fmean(climbs) >= -140 and gap >= 100 and is_above(climbs, none)
        yield _verdict("C5", "A-ESMAML", said, found, holds, f"{LIFETIMES} --systems hill_climber")
    yield from _masks(rows)
    noisy = of("noise", "20 trials of an episode", test)
    if noisy:
        said = "with noise of 20 on returns: -140"
        holds = statistics.fmean(noisy) >= -140
        yield _verdict("C5", "A-ESMAML", said, shown(noisy), holds, f"{LIFETIMES} --systems noise")


def _masks(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield whether evolved masks freeze the weights of the state, and leave biases free."""
    frozen = [
        sum(mask == -1 for row in layer["weight_mask"] for mask in row)
        for line in rows
        if (line["system"], line["arm"]) == ("hill_climber", "evolved start and mask")
        for layer in line.get("masks", [])
    ]
    if frozen:
        said = "four corners: the evolved mask freezes three of the four weights of the state"
        found = f"{sum(x >= 3 for x in frozen)} of {len(frozen)} seeds; frozen: " + ", ".join(
            map(str, frozen)
        )
        holds = min(frozen) >= 3
        yield _verdict("C5", "A-ESMAML", said, found, holds, f"{LIFETIMES} --systems hill_climber")


# ---------------------------------------------------------------------------------- quadruped

SEEN_DAMAGES, UNSEEN_DAMAGE = ("none", "right front leg"), "left front leg"
LEAST_QUADRUPEDS = 3
"""Seeds of both arms below which nothing is said of them."""


def _quadruped(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield both halves of the lecture's table of damaged quadrupeds, for trits and for floats."""
    command = "python experiments/quadruped.py"
    for kind, learning, still in (
        ("ternary", "Hebbian, integers", "static, ternary"),
        ("float", "Hebbian, float", "static, float"),
    ):
        said = (
            f"quadruped, {kind}: static walks farther than Hebbian where both trained",
            f"quadruped, {kind}: Hebbian is solved with the unseen leg, and static is not",
        )
        pairs = _pairs(rows, learning, still)
        enough = len(pairs) >= LEAST_QUADRUPEDS
        found = _halves(pairs) if enough else ((_few(len(pairs), LEAST_QUADRUPEDS), None),) * 2
        for statement, (words, holds) in zip(said, found, strict=True):
            yield Verdict("C6", "A-HEBB", statement, words, WORDS[holds], command)


def _few(count: int, least: int) -> str:
    return f"{count} of the {least} seeds that are needed" if count else ""


def _pairs(
    rows: list[dict[str, Any]], learning: str, still: str
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the rows of both arms for each seed that both have, at the budget of the last row."""
    if not rows:
        return []
    budget = _budget(rows[-1])
    of = {
        arm: {row["seed"]: row for row in rows if row["arm"] == arm and _budget(row) == budget}
        for arm in (learning, still)
    }
    return [
        (of[learning][seed], of[still][seed]) for seed in sorted(of[learning].keys() & of[still])
    ]


def _budget(row: dict[str, Any]) -> str:
    """Return the options of a row that all arms share."""
    return row["options"].partition(" --policy")[0]


def _halves(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[tuple[str, bool]]:
    """Yield figures and truth of each half: where both trained, and with the unseen leg."""

    def ways(damage: str) -> tuple[list[float], list[float]]:
        hebbian, static = (
            [statistics.fmean(pair[i]["ways"][damage]) for pair in pairs] for i in (0, 1)
        )
        return static, hebbian

    seen = [ways(damage) for damage in SEEN_DAMAGES]
    words = ", ".join(f"{shown(static)} and {shown(hebbian)} m" for static, hebbian in seen)
    yield f"{words}; {len(pairs)} seeds", all(is_above(*both) for both in seen)
    static, hebbian = ways(UNSEEN_DAMAGE)
    holds = statistics.fmean(hebbian) >= pairs[0][0]["solved"] > statistics.fmean(static)
    yield f"{shown(hebbian)} and {shown(static)} m; {len(pairs)} seeds", holds


# ------------------------------------------------------------------------------ Turing machines

LIVES, LONG = 256, 100
"""Lives of a test of lifetimes.py, and the length of what they copy."""
EXACT = 1 - 1 / (2 * 4 * LONG * LIVES)
"""A return of exact copies: above it not one bit of 4 is wrong, in any of all lives."""
EXACT_SEEDS = {"1 bit": 5, "2 bits": 4, "4 bits": 4}
"""How many of five seeds are to be exact at length 100."""
CELLS = "a tape of 128 cells, where training and the file have 24"
LEAST_NTMS = 3
"""Seeds of the NTM below which it is not said that it fails."""


def _machines(rows: list[dict[str, Any]], learned: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield what evolved Turing machines reached, and the one that gradients learn."""

    def of(system: str, arm: str) -> list[dict[str, Any]]:
        own = [row for row in rows if (row["system"], row["arm"]) == (system, arm)]
        return sorted(own, key=lambda row: row["seed"])

    for bits, wanted in EXACT_SEEDS.items():
        system = f"copy, {bits}"
        for arm in ("ternary", "ternary, shaped", "float"):
            found = [row["returns"]["length 100"] for row in of(system, arm)]
            if found:
                exact = sum(x >= EXACT for x in found)
                said = f"{system}, {arm}: exact at length 100 in {wanted} of 5 seeds, on {CELLS}"
                words = f"{exact} of {len(found)} seeds"
                command = f'{LIFETIMES} --systems "{system}"'
                yield _verdict("C7", "A-ENTM", said, words, exact >= wanted, command)
    by_gradients = [row for row in learned if row["bits"] == 2]
    if by_gradients:
        found = [row["returns"]["length 100"] for row in of("copy, 2 bits", "ternary")]
        is_exact = sum(x >= EXACT for x in found) >= EXACT_SEEDS["2 bits"]
        yield from _by_gradients(by_gradients, is_exact)
    yield from _seasons(of)


def _by_gradients(rows: list[dict[str, Any]], is_exact: bool) -> Iterator[Verdict]:
    """Yield whether the NTM learns short sequences, and fails at long ones.

    Who has not learned short ones fails at all: that says nothing of what is asked.
    """
    long, short = ([row["errors"][length] for row in rows] for length in ("40", "10"))
    learns, name = statistics.fmean(short) < 0.01, "copy, 2 bits, NTM by gradients"
    count, command = f"{len(rows)} seeds", rows[0]["command"]
    said = f"{name}: below 1 % of bits wrong at length 10, the longest of training"
    words = f"{shown(short)} of bits wrong, {count}"
    yield _verdict("C7", "A-ENTM", said, words, learns, command)
    said = f"{name}: learns length 10 and fails at 40, where evolved machines are exact at 100"
    words = f"{shown(long)} of bits wrong at 40, {count}"
    if len(rows) < LEAST_NTMS:
        words += f" of the {LEAST_NTMS} that are needed"
        command = f"python experiments/ntm.py --num_seeds {LEAST_NTMS}"
        yield Verdict("C7", "A-ENTM", said, words, "not run", command)
    else:
        holds = learns and is_exact and min(long) > 0
        yield _verdict("C7", "A-ENTM", said, words, holds, command)


SEASON_SEEDS = 5
"""Seeds of an arm below which nothing is said of seasons."""


def _seasons(of: Any) -> Iterator[Verdict]:
    """Yield what was remembered of seasons."""
    column, command = "two foods", f"{LIFETIMES} --systems season --optimization 2"
    machine, nothing = of("season", "ternary"), of("season", "no memory")
    if not machine:
        return

    def judged(said: str, words: str, holds: bool, *arms: list[dict[str, Any]]) -> Verdict:
        count = min(len(arm) for arm in arms)
        if count < SEASON_SEEDS:
            words += f", {count} of the {SEASON_SEEDS} seeds that are needed"
            return Verdict("C8", "A-SEASON", said, words, "not run", command)
        return _verdict("C8", "A-SEASON", said, words, holds, command)

    returns = [row["returns"][column] for row in machine]
    said = "seasons of two foods, ternary: 0.90"
    yield judged(said, shown(returns), statistics.fmean(returns) >= 0.9, machine)
    if shaped := of("season", "ternary, shaped, 512 members"):
        found = [row["returns"][column] for row in shaped]
        said = "seasons of two foods, ternary, 512 members and a shaped fitness: 0.90"
        yield judged(said, shown(found), statistics.fmean(found) >= 0.9, shaped)
    if nothing:
        without = [row["returns"][column] for row in nothing]
        gap = statistics.fmean(returns) - statistics.fmean(without)
        said = "0.25 above what has no memory"
        words = f"{shown(returns)} against {shown(without)}"
        yield judged(said, words, gap >= 0.25, machine, nothing)
    back = [
        row["lives"][column]["right on the first day of a season that returns"] for row in machine
    ]
    later = [row["lives"][column]["right on other days"] for row in machine]
    said = "nothing is forgotten: the first day of a season that returns is as good as later days"
    holds = statistics.fmean(back) >= statistics.fmean(later) - 0.02
    yield judged(said, f"{shown(back)} and {shown(later)}", holds, machine)


# ----------------------------------------------------------------------------- open-endedness

POET, SOLVED, LEAST_SEEDS = "python experiments/poet.py", 200, 3
"""What runs POET, its score of a solved environment, and seeds below which nothing is said."""


def _poet(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """Yield what POET made, and who solves its hardest environment without it."""
    by_arm = {
        arm: {row["seed"]: row for row in rows if row["arm"] == arm}
        for arm in ("POET", "direct", "curriculum")
    }
    yield _made(list(by_arm["POET"].values()))
    for arm, words in (("direct", "from scratch"), ("curriculum", "by a straight curriculum")):
        seeds = sorted(by_arm[arm])
        said = f"hop-runner: its hardest solved environment is not solved {words}, in most seeds"
        if len(seeds) < LEAST_SEEDS:
            yield Verdict("C14", "A-OE", said, _few(len(seeds), LEAST_SEEDS), "not run", POET)
            continue
        own = [by_arm["POET"][seed]["hardest"]["score"] for seed in seeds]
        scores = [by_arm[arm][seed]["niches"][0]["score"] for seed in seeds]
        failed = sum(score < SOLVED for score in scores)
        taken = ([by_arm[name][seed]["steps"] for seed in seeds] for name in (arm, "POET"))
        steps, whole = (f"{statistics.fmean(counts) / 1e6:.1f} million steps" for counts in taken)
        found = f"{failed} of {len(seeds)} fail; {shown(scores)} after {steps}"
        found += f", POET {shown(own)} after {whole}"
        yield _verdict("C14", "A-OE", said, found, failed > len(seeds) / 2, POET)


def _made(rows: list[dict[str, Any]]) -> Verdict:
    """Return whether POET admits environments, and policies move to others."""
    said = "hop-runner: POET admits 4 environments, and policies move, in each seed"
    if len(rows) < LEAST_SEEDS:
        return Verdict("C14", "A-OE", said, _few(len(rows), LEAST_SEEDS), "not run", POET)
    names = ("poet/admitted", "poet/moved_direct", "poet/moved_tuned", "poet/annecs")
    admitted, direct, tuned, annecs = (
        [int(row["metrics"][name]) for row in rows] for name in names
    )
    moves = [sum(pair) for pair in zip(direct, tuned, strict=True)]
    found = f"admitted {_listed(admitted)}, moved {_listed(moves)}, ANNECS {_listed(annecs)}"
    holds = min(admitted) >= 4 and min(moves) >= 1
    return _verdict("C14", "A-OE", said, found, holds, POET)


def _listed(counts: list[int]) -> str:
    return ", ".join(map(str, counts))
