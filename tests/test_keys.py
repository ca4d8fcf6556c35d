"""Numbers that are folded into the key of a seed: one table, each number once."""

import ast
from pathlib import Path

import numpy as np

from ternevo import keys

PACKAGE = Path(keys.__file__).parent
RESERVED = {name: number for name, number in vars(keys).items() if name.isupper()}


def test_no_two_uses_share_a_number_and_none_is_a_generation():
    assert len(set(RESERVED.values())) == len(RESERVED) >= 7
    largest = np.iinfo(np.int32).max  # generations and steps are int32, and count up from 0 or 1
    beyond = set(RESERVED.values()) - {keys.START}
    assert keys.START == 0 and all(largest - 10 <= number <= largest for number in beyond)


def test_numbers_that_stored_results_were_drawn_with_stay():
    """They are in `result.json` of every run, and in what `export` has printed."""
    assert keys.FINAL_EVALUATION == 2**31 - 1
    assert keys.SHOWN_EPISODE == 2**31 - 2
    assert keys.FRESH_EPISODES == 2**31 - 3


def test_no_module_folds_in_a_constant_of_its_own():
    """A constant is 0 for the reset of an episode, or stands in the table."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        own = {target.id for node in tree.body for target in assigned(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "jax.random.fold_in":
                number = node.args[1]
                is_own = isinstance(number, ast.Name) and number.id in own
                is_literal = isinstance(number, ast.Constant) and number.value != 0
                assert not is_own and not is_literal, f"{path}: {ast.unparse(node)}"


def assigned(node: ast.stmt) -> list[ast.Name]:
    """Return the names that a statement at the top of a module assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target for target in targets if isinstance(target, ast.Name)]
