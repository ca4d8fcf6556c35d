"""`python -m ternevo.export RUN --to FORMAT`: export a trained policy to a target format.

With `--ternarize` instead of `--to`, it converts a trained float policy to trits.
"""

from ternevo.commands import prog
from ternevo.installation import require
from ternevo.machine import startup
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.export import ExportConfig
from ternevo.settings.parser import parsed

EXAMPLES = (
    "runs/gymnax/CartPole-v1/ternary_nes/seed0 --to c   # a C99 header",
    "policy.tvp --to onnx --onnx_weights int2 --out policy.onnx",
    "policy.tvp --to html   # a page that plays it",
    "runs/gymnax/CartPole-v1/ternary_nes/float --ternarize",
)


def main(argv: list[str] | None = None) -> None:
    """Export and print the files written; exit with 2 on bad input."""
    config = parsed(
        ExportConfig,
        argv,
        prog=prog("export"),
        examples=EXAMPLES,
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
