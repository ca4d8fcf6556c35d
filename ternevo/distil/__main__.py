"""`python -m ternevo.distil --teacher MODEL --env ENV`: make a small policy of any policy."""

import sys

from ternevo.commands import prog
from ternevo.distil import compared
from ternevo.files import replacing
from ternevo.installation import require
from ternevo.machine import startup
from ternevo.runs.errors import errors_in_a_line
<<<<<<< HEAD
from ternevo.settings.distil import DistilConfig
from ternevo.settings.parser import parsed

EXAMPLES = (
    "--teacher model.onnx --env LunarLander-v3 --out lander.tvp",
    "--teacher my_lab.policies:expert --env Pendulum-v1 --hidden_sizes 32 --out pendulum.tvp",
)
=======
from ternevo.settings.distil import DESCRIPTION, DistilConfig
from ternevo.settings.options import types, written_out
>>>>>>> 6d4a0c6 (Distilling learns from scratch in each round, and help begins with what must be said)


def main(argv: list[str] | None = None) -> None:
    """Distil and write the policy; exit 2 on bad input, 130 when stopped."""
    config = parsed(DistilConfig, argv, prog=prog("distil"), examples=EXAMPLES)
    with errors_in_a_line():
<<<<<<< HEAD
        require("distilling", "train")
        require("distilling", "gym")
=======
        config = tyro.cli(
            DistilConfig,
            args=written_out(sys.argv[1:] if argv is None else argv, types(DistilConfig)),
            prog="python -m ternevo.distil",
            description=DESCRIPTION,
            use_underscores=True,
            config=(
                tyro.conf.FlagConversionOff,
                tyro.conf.UsePythonSyntaxForLiteralCollections,
            ),
        )
>>>>>>> 6d4a0c6 (Distilling learns from scratch in each round, and help begins with what must be said)
        try:
            run(config)
        except KeyboardInterrupt as error:
            print("interrupted: no policy was written", file=sys.stderr)
            raise SystemExit(130) from error


def run(config: DistilConfig) -> None:
    """Distil as the settings say, and print the outcome."""
    if not config.out.parent.is_dir():
        raise FileNotFoundError(f"{config.out.parent}: there is no such folder")
    startup.prepare()
    done = compared(config.teacher, config.env, config, batched=config.batched, progress=True)
    data = done.policy.to_bytes()
    with replacing(config.out) as temporary:
        temporary.write_bytes(data)
    print(done)
    print(f"policy      {config.out}: {len(data):,} bytes", flush=True)


if __name__ == "__main__":
    main()
