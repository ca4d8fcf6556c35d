"""`python -m ternevo.export RUN --to FORMAT`: export a trained policy to a target format.

With `--ternarize` instead of `--to`, it converts a trained float policy to trits.
"""

import tyro

from ternevo.commands import prog
from ternevo.installation import require
from ternevo.machine import startup
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.export import ExportConfig


def main(argv: list[str] | None = None) -> None:
    """Export and print the files written; exit with 2 on bad input."""
    config = tyro.cli(
        ExportConfig,
        args=argv,
        prog=prog("export"),
        use_underscores=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    with errors_in_a_line():
        if (config.to is None) == (not config.ternarize):
            raise ValueError("give either --to FORMAT or --ternarize, in separate steps")
        if config.ternarize:
            startup.prepare()
            require("--ternarize", "train")
            from ternevo.training import ternarizing  # JAX, which `--to` does without

            ternarizing.export_ternarized(config)
        else:
            from ternevo.training import exporting

            exporting.export(config)


if __name__ == "__main__":
    main()
