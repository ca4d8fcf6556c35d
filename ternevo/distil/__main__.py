"""`python -m ternevo.distil --teacher MODEL --env ENV`: make a small policy of any policy."""

import sys

from ternevo.commands import prog, while_read
from ternevo.distil import compared
from ternevo.files import replacing
from ternevo.machine import startup
from ternevo.runs.errors import errors_in_a_line
from ternevo.settings.distil import DistilConfig
from ternevo.settings.parser import parsed

EXAMPLES = (
    "--teacher model.onnx --env LunarLander-v3 --out lander.tvp",
    "--teacher my_lab.teachers:lander --env LunarLander-v3 --rounds 20",
    "--teacher float.tvp --env Pendulum-v1 --hidden_sizes 32 32",
)


def main(argv: list[str] | None = None) -> None:
    """Distil and write the policy; exit 2 on bad input, 130 when stopped."""
    config = parsed(DistilConfig, argv, prog=prog("distil"), examples=EXAMPLES)
    with errors_in_a_line():
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
    while_read(main)
