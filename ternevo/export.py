"""`python -m ternevo.export RUN --to FORMAT`: export a trained policy to a target format.

With `--weights` instead of `--to`, it rounds a trained float policy to integers of 8, 4 or 2 bits,
or to trits or signs.
"""

from ternevo.commands import prog, while_read
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
    "runs/gymnax/CartPole-v1/ppo/seed0 --weights int8",
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
        given = (config.to is not None, config.ternarize, config.weights is not None)
        if sum(given) != 1:
            raise ValueError(
                "give either --to FORMAT or --ternarize or --weights KIND, in separate steps"
            )
        if config.to is None:
            startup.prepare()
            require("--ternarize" if config.ternarize else "--weights", "train")
            from ternevo.training import ternarizing  # JAX, which `--to` does without

            ternarizing.export_ternarized(config)
        else:
            from ternevo.training import exporting

            exporting.export(config)


if __name__ == "__main__":
    while_read(main)
