"""Write the table of what each export can hold into docs/deployment.md, between its marks.

python docs/export_table.py
"""

from pathlib import Path

from ternevo.deploy import capabilities
from ternevo.files import replace_text

PAGE = Path(__file__).parent / "deployment.md"
MARKS = ("<!-- exports -->", "<!-- end of exports -->")


def filled(text: str) -> str:
    """Return the text of the page with the table of this version."""
    before, first, rest = text.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    return f"{before}{first}\n\n{capabilities.table()}\n\n{last}{after}"


if __name__ == "__main__":
    replace_text(PAGE, filled(PAGE.read_text()))
