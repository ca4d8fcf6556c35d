"""`python -m ternevo.export RUN --to FORMAT`: a trained policy as a file for where it is to run.

`--ternarize` is another matter: it cuts a trained float policy into trits.
"""

import tyro

from ternevo.machine import startup
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.export import ExportConfig


def main(argv: list[str] | None = None) -> None:
    """Export, and print what was written; exit 2 on bad input."""
    config = tyro.cli(
        ExportConfig,
        args=argv,
        prog="python -m ternevo.export",
        use_underscores=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    with errors_in_a_line():
        if (config.to is None) == (not config.ternarize):
            raise ValueError("say either --to FORMAT or --ternarize; they are two steps")
        if config.ternarize:
            startup.prepare()
            from ternevo.training import ternarizing  # JAX, which `--to` does without

            ternarizing.export_ternarized(config)
        else:
            from ternevo.training import exporting

            exporting.export(config)


if __name__ == "__main__":
    main()
