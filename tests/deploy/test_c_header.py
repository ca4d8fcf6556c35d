"""The C header against `integer`, with ==: every kernel, several compilers, a simulated board."""

import dataclasses
import hashlib
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from policy_records import make_record

from ternevo.deploy import c_header, integer, tvp
from ternevo.deploy.record import PolicyRecord

EXAMPLES = Path(__file__).parents[2] / "examples" / "deploy"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
AVX512 = ("-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mavx512bitalg")
KERNELS = {
    "PORTABLE": (),
    "VERTICAL": (),
    "AVX2": ("-mavx2",),
    "AVX512": AVX512,
}
NEEDED = {"AVX2": {"avx2"}, "AVX512": {"avx512bw", "avx512vl", "avx512_vnni", "avx512_bitalg"}}


# ------------------------------------------------------------------------------------ policies


@dataclasses.dataclass(frozen=True)
class Case:
    """What a random policy is like."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...] = ()
    weights: str = "ternary"
    has_bias: bool = True
    inputs: str = "f32"
    outputs: str = "discrete"
    bits: int = 8
    exponents: tuple[int, ...] = ()
    bias_exponent: int = 0
    observation_shift: int = 0
    output_shift: int = 0
    density: float = 0.67
    range_: tuple[float, float] = (-1.0, 1.0)
    reach: int = 24

    scales: str = "layer"

    def record(self, seed: int) -> PolicyRecord:
        return make_record(
            self.sizes,
            self.activations,
            self.weights,
            self.has_bias,
            self.bits,
            (self.observation_shift, self.output_shift),
            self.outputs,
            self.inputs,
            seed,
            self.scales,
            exponents=self.exponents or [self.usual(size) for size in self.sizes],
            bias_exponent=self.bias_exponent,
            density=self.density,
            reach=(-self.reach, self.reach),
            range_=self.range_,
        )

    def usual(self, num_in: int) -> int:
        """Return the exponent that keeps the variance."""
        return round(np.log2(max(1.0, np.sqrt(num_in * self.density))))


def usual_cases() -> list[Case]:
    """Every activation, kind of weights, input and output, with biases and without."""
    kinds = itertools.product(
        ("int8", "int4", "sign", "ternary"), ("ternary", "binary"), ("f32", "i8", "bits")
    )
    cases = []
    for i, (activation, weights, inputs) in enumerate(kinds):
        cases.append(
            Case(
                ((4, 16, 2), (9, 33, 40, 5), (70, 64, 17), (27, 130, 1))[i % 4],
                (activation,) * 2,
                weights,
                has_bias=i % 3 > 0,
                inputs=inputs,
                outputs=("discrete", "continuous")[i // 2 % 2],
                bits=8 - i % 8,
                output_shift=i % 3,
                observation_shift=i % 5 % 3,
                scales="output" if i % 5 in (0, 3) else "layer",
            )
        )
    return cases


EXTREME_CASES = [
    Case((1, 1)),
    Case((3, 2), weights="binary", inputs="bits"),
    Case((400, 6), inputs="bits", outputs="continuous", range_=(-0.1, 3.3)),
    Case((40, 300, 270, 3), ("sign", "ternary"), "binary"),  # counts that are no bytes
    Case((300, 260, 4), ("sign",), density=1.0),  # 16 bits are not enough for sums
    Case((600, 20, 1030), ("int8",), density=0.9),  # more outputs than an argmax by keys takes
    Case((520, 140, 9), ("ternary",), bias_exponent=-24, outputs="continuous", range_=(-2, 2)),
    Case((30, 40, 50, 60, 3), ("sign", "int8", "ternary"), outputs="continuous"),
    Case((30, 40, 50, 60, 3), ("ternary", "int4", "sign"), inputs="i8", bits=3),
    Case((20, 100, 4), ("int8",), exponents=(24, -24), outputs="continuous"),
    Case((20, 100, 4), ("int4",), exponents=(-24, 24), outputs="continuous", output_shift=8),
    Case((20, 100, 4), ("int8",), exponents=(-5, 3), observation_shift=8, bias_exponent=24),
    Case((20, 100, 40, 4), ("int8", "int4"), exponents=(-1, -2, 0), observation_shift=3),
    Case((20, 100, 4), ("ternary",), exponents=(24, 24), outputs="continuous"),
    Case((20, 100, 4), ("ternary",), exponents=(-24, -24), bits=1, outputs="continuous"),
    Case((20, 100, 4), ("ternary",), exponents=(9, 3), bits=2),
    Case((20, 100, 4), ("sign",), density=0.0),
    Case((5, 7, 3), ("ternary",), density=0.3, bias_exponent=-3, outputs="continuous"),
    Case((5, 7, 3), ("int4",), density=0.0, inputs="bits"),
    Case((6, 8, 4), ("sign",), outputs="continuous", range_=(1e-42, 1e30)),
    Case((70, 8, 4), ("sign",), reach=120),
    Case((21, 8, 4), ("int8",), reach=120, outputs="continuous"),
    # Exponents of outputs: through sums that are compared, summed up and counted, and in argmaxes.
    Case((9, 40, 300, 270, 30, 3), ("int8", "ternary", "ternary", "int4"), scales="output"),
    Case((600, 20, 1030), ("int8",), density=0.9, scales="output"),
    Case((300, 70, 9), ("sign",), scales="output", outputs="continuous", range_=(-2, 2)),
    Case((20, 100, 4), ("ternary",), exponents=(-24, 24), scales="output", bias_exponent=-24),
    Case((4096, 3), density=1.0, scales="output"),
]


def policy(*sizes: int, activation: str = "sign", **settings) -> PolicyRecord:
    """Return one such as is trained."""
    record = Case(sizes, (activation,) * (len(sizes) - 2), **settings).record(0)
    exponent = np.random.default_rng(1).integers(-2, 6, record.mean.size).astype(np.int8)
    return dataclasses.replace(record, exponent=exponent)


def observations(record: PolicyRecord, count: int, rng) -> np.ndarray:
    """Return float32 [count, in]: usual ones, ties of the rounding, and special numbers."""
    shape = (count, record.obs_size)
    if record.input_kind != "f32":
        values = rng.choice([0.0, -0.0, 1.0, 1e-45, np.inf, -3.9, 200.7, -200.7, 55.5], shape)
        return values.astype(np.float32)
    scale = np.ldexp(1.0, -record.exponent.astype(int))
    usual = record.mean + rng.normal(0, 50, shape) * scale
    ties = (record.mean + rng.integers(-300, 301, shape) / 2 * scale).astype(np.float32)
    near = np.nextafter(ties, rng.choice([-np.inf, np.inf], shape).astype(np.float32))
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-40, 3.4e38, -3.4e38, 1.2e-38]
    kinds = [usual, ties, near, rng.choice(special, shape)]
    return np.choose(rng.choice(4, shape, p=[0.4, 0.3, 0.2, 0.1]), kinds).astype(np.float32)


def integers(record: PolicyRecord, count: int, rng) -> np.ndarray:
    """Return int8 [count, in] as can be passed; -128 too, which the quantiser never gives."""
    low, high = (0, 1) if record.input_kind == "bits" else (-128, 127)
    values = rng.integers(low, high + 1, (count, record.obs_size))
    values[: count // 4] = rng.choice([low, high], values[: count // 4].shape)
    values[count // 4 : count // 2] //= 16
    values[0] = 0
    return values.astype(np.int8)


# ------------------------------------------------------------------------------------- running


HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
static void get(void *to, size_t size) {
  if (fread(to, 1, size, stdin) != size) exit(3);
}
static void put(const void *from, size_t size) {
  if (fwrite(from, 1, size, stdout) != size) exit(4);
}
#define LOOP(NAME, UP, TYPE, SIZE, ACT, ACT_Q, FIXED)            \
  static void NAME##_loop(int count) {                           \
    float obs[UP##_N_IN];                                        \
    int8_t q[UP##_N_IN];                                         \
    int32_t logits[UP##_N_OUT];                                  \
    TYPE action[SIZE];                                           \
    int32_t result = NAME##_selftest();                          \
    int i;                                                       \
    put(&result, 4);                                             \
    for (i = 0; i < count; i++) {                                \
      get(obs, sizeof obs);                                      \
      NAME##_quantise(obs, q);                                   \
      put(q, sizeof q);                                          \
      ACT;                                                       \
      put(action, sizeof action);                                \
    }                                                            \
    for (i = 0; i < count; i++) {                                \
      get(q, sizeof q);                                          \
      NAME##_logits_q(q, logits);                                \
      put(logits, sizeof logits);                                \
      ACT_Q;                                                     \
      put(action, sizeof action);                                \
      FIXED;                                                     \
      put(logits, sizeof logits);                                \
    }                                                            \
  }
#define DISCRETE(NAME, UP)                                               \
  LOOP(NAME, UP, int32_t, 1, action[0] = (int32_t)NAME##_act(obs),       \
       action[0] = (int32_t)NAME##_act_q(q), (void)0)
#define CONTINUOUS(NAME, UP)                                                      \
  LOOP(NAME, UP, float, UP##_N_OUT, NAME##_act(obs, action), NAME##_act_q(q, action), \
       NAME##_act_fixed(q, logits))
"""


COUNT = 200
"""Observations of a policy, and as many vectors of integers."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One C file with many policies, what goes into it, and what must come out."""
    return one_file(tmp_path_factory.mktemp("everything"), usual_cases() + EXTREME_CASES)


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """The same with fewer policies, as compiling takes most of the time."""
    return one_file(tmp_path_factory.mktemp("some"), usual_cases()[::5] + EXTREME_CASES)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The same with one policy of each kind of activation, for many ways to compile."""
    return one_file(tmp_path_factory.mktemp("few"), usual_cases()[::3])


def one_file(folder: Path, cases: list[Case]) -> tuple[Path, bytes, bytes]:
    names, calls = [], []
    stdin, expected = b"", b""
    rng = np.random.default_rng(0)
    for i, case in enumerate(cases):
        record = case.record(i)
        (folder / f"p{i}.h").write_text(c_header.to_c(record, f"p{i}", num_vectors=4))
        names.append(f'#include "p{i}.h"\n{record.output_kind.upper()}(p{i}, P{i})\n')
        calls.append(f"  p{i}_loop({COUNT});\n")
        obs, q = observations(record, COUNT, rng), integers(record, COUNT, rng)
        stdin += obs.tobytes() + q.tobytes()
        expected += answers(record, obs, q)
    main = f"int main(void) {{\n{''.join(calls)}  return 0;\n}}\n"
    (folder / "all.c").write_text(HARNESS + "".join(names) + main)
    return folder, stdin, expected


def answers(record: PolicyRecord, obs: np.ndarray, q: np.ndarray) -> bytes:
    net = integer.compile_integer(record)
    with np.errstate(all="ignore"):
        quantised = integer.quantise(record, obs)

    def action(found):
        return integer.actions(record, net.output_exponent, found).reshape(COUNT, -1) + 0

    actions = action(integer.logits(net, quantised))
    logits = integer.logits(net, q)
    fixed = logits
    if record.output_kind == "continuous":
        one = 2 ** max(net.output_exponent, 0)
        fixed = np.clip(logits.astype(np.int64), -one, one).astype(np.int32)
    first = zip(quantised, actions, strict=True)
    second = zip(logits, action(logits), fixed, strict=True)
    pieces = [np.zeros(1, np.int32), *itertools.chain(*first), *itertools.chain(*second)]
    return b"".join(piece.tobytes() for piece in pieces)


def cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", path.read_text(), re.M) if path.exists() else None
    return set(found[1].split()) if found else set()


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: object, **settings) -> subprocess.CompletedProcess:
    done = subprocess.run([str(part) for part in command], capture_output=True, **settings)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:].decode(errors="replace")
    return done


def compare(files, compiler: str, kernel: str, *flags: str) -> None:
    """Compile everything, run it, and compare what it says."""
    folder, stdin, expected = files
    program = folder / "program"
    if not NEEDED.get(kernel, set()) <= cpu_flags():
        pytest.skip(f"this processor has no {kernel}")
    language = ("-std=c++11", "-x", "c++") if "++" in compiler else ("-std=c99",)
    options = (
        *language,
        *STRICT,
        *KERNELS.get(kernel, ()),
        f"-DTERNEVO_KERNEL=TERNEVO_{kernel}",
        *flags,
    )
    run(tool(compiler), *options, folder / "all.c", "-o", program)
    found = run(program, input=stdin).stdout
    assert len(found) == len(expected)
    different = np.flatnonzero(np.frombuffer(found, np.uint8) != np.frombuffer(expected, np.uint8))
    assert not different.size, f"{different.size} bytes differ, the first is byte {different[0]}"


TABLES = "-DTERNEVO_GENERATED=0"
SOFT = "-DTERNEVO_SOFT_FLOAT=1"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")


def check_32_bits(folder: Path) -> None:
    """Skip the test if gcc cannot make programs of 32 bits."""
    (folder / "empty.c").write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
    probe = [tool("gcc"), "-m32", folder / "empty.c", "-o", folder / "empty"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("gcc has no -m32 here")


@pytest.mark.wide  # with fewer policies it does below
@pytest.mark.parametrize(
    "compiler, kernel, flags",
    [
        ("gcc", "PORTABLE", ("-O1",)),
        ("gcc", "AVX2", ("-O1", TABLES)),
        ("gcc", "AVX512", ("-O1", TABLES)),
        ("g++", "PORTABLE", ("-O1", TABLES)),
        ("clang", "VERTICAL", ("-O1", TABLES)),
    ],
)
def test_c_computes_what_python_does(some, compiler, kernel, flags):
    compare(some, compiler, kernel, *flags)


@pytest.mark.parametrize(
    "kernel, flags",
    [
        ("PORTABLE", ("-O0",)),
        ("PORTABLE", ("-O2",)),
        pytest.param("PORTABLE", ("-O3",), marks=pytest.mark.slow),
        ("VERTICAL", ("-Os", SOFT)),
        pytest.param("VERTICAL", ("-O3", TABLES), marks=pytest.mark.slow),
        ("AVX512", ("-O3", "-ffp-contract=fast")),
        # The last level counts, and this one compiles soonest. A part is in test_c_layers.py.
        pytest.param("PORTABLE", (*SANITIZERS, "-O0"), marks=pytest.mark.wide),
        pytest.param("AVX512", (*SANITIZERS, TABLES), marks=pytest.mark.wide),
    ],
)
def test_levels_agree_and_nothing_is_undefined(few, kernel, flags):
    """A part of what the slow tests below do with many policies and compilers."""
    compare(few, "gcc", kernel, *flags)


def test_32_bits_agree(few, tmp_path):
    check_32_bits(tmp_path)
    compare(few, "gcc", "PORTABLE", "-m32", "-O2")


NEON = r"""
#include <stdint.h>
#define FN static inline __attribute__((unused))
#define EACH(n) for (int i = 0; i < n; i++)
typedef struct { int8_t v[8]; } int8x8_t;
typedef struct { int16_t v[8]; } int16x8_t;
typedef struct { int32_t v[4]; } int32x4_t;
typedef struct { uint8_t v[8]; } uint8x8_t;
typedef struct { uint8_t v[16]; } uint8x16_t;
#define MAKE(type, name, parameters, n, expression) \
  FN type name parameters { type r; EACH(n) r.v[i] = expression; return r; }
#define BYTES(name, expression) MAKE(uint8x16_t, name, (uint8x16_t a, uint8x16_t b), 16, expression)
MAKE(int8x8_t, vld1_s8, (const int8_t *p), 8, p[i])
MAKE(int32x4_t, vld1q_s32, (const int32_t *p), 4, p[i])
MAKE(uint8x16_t, vld1q_u8, (const uint8_t *p), 16, p[i])
MAKE(uint8x16_t, vdupq_n_u8, (uint8_t x), 16, x)
MAKE(int16x8_t, vmull_s8, (int8x8_t a, int8x8_t b), 8, (int16_t)(a.v[i] * b.v[i]))
MAKE(int32x4_t, vpaddlq_s16, (int16x8_t a), 4, a.v[2 * i] + a.v[2 * i + 1])
MAKE(int32x4_t, vaddq_s32, (int32x4_t a, int32x4_t b), 4, a.v[i] + b.v[i])
MAKE(int32x4_t, vpaddq_s32, (int32x4_t a, int32x4_t b), 4,
     i < 2 ? a.v[2 * i] + a.v[2 * i + 1] : b.v[2 * i - 4] + b.v[2 * i - 3])
BYTES(vandq_u8, a.v[i] & b.v[i])
BYTES(veorq_u8, a.v[i] ^ b.v[i])
BYTES(vaddq_u8, (uint8_t)(a.v[i] + b.v[i]))
BYTES(vcgeq_u8, a.v[i] >= b.v[i] ? 255 : 0)
MAKE(uint8x16_t, vcntq_u8, (uint8x16_t a), 16, (uint8_t)__builtin_popcount(a.v[i]))
MAKE(uint8x8_t, vget_low_u8, (uint8x16_t a), 8, a.v[i])
MAKE(uint8x8_t, vget_high_u8, (uint8x16_t a), 8, a.v[i + 8])
FN uint8_t vaddv_u8(uint8x8_t a) { uint8_t r = 0; EACH(8) r = (uint8_t)(r + a.v[i]); return r; }
FN void vst1q_s32(int32_t *p, int32x4_t a) { EACH(4) p[i] = a.v[i]; }
FN void vst1q_u8(uint8_t *p, uint8x16_t a) { EACH(16) p[i] = a.v[i]; }
"""
"""What the NEON instructions that are used do, in plain C, as arm_neon.h."""


@pytest.mark.wide  # of a processor that is not at hand
@pytest.mark.parametrize("files", ["few", pytest.param("some", marks=pytest.mark.slow)])
def test_neon_in_plain_c(files, request, tmp_path):
    """The kernel itself, as no processor that has NEON is at hand; its speed is not known."""
    (tmp_path / "arm_neon.h").write_text(NEON)
    compare(request.getfixturevalue(files), "gcc", "NEON", "-O1", TABLES, f"-I{tmp_path}")


def test_neon_compiles(tmp_path):
    (tmp_path / "policy.h").write_text(c_header.to_c(policy(27, 64, 64, 8)))
    flags = ("--target=aarch64-none-elf", "-ffreestanding", "-std=c99", "-O1", *STRICT, "-x", "c")
    done = subprocess.run([tool("clang"), "--print-targets"], capture_output=True, text=True)
    if "aarch64" not in done.stdout:
        pytest.skip("clang has no AArch64 here")
    (tmp_path / "main.c").write_text(
        '#include "policy.h"\nint act(const float *obs);\n'
        "int act(const float *obs) { return policy_act(obs); }\n"
    )
    code = run(tool("clang"), *flags, "-S", tmp_path / "main.c", "-o", "-", TABLES).stdout
    assert b"cnt\t" in code, "bytes are counted by an instruction"


@pytest.mark.slow
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang"])
@pytest.mark.parametrize("tables", [(), (TABLES,)])
def test_compilers_agree(everything, compiler, kernel, level, tables):
    compare(everything, compiler, kernel, level, *tables)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_nothing_is_undefined(everything, compiler, kernel):
    compare(everything, compiler, kernel, *SANITIZERS, TABLES)
    compare(everything, compiler, kernel, *SANITIZERS)
    compare(everything, compiler, kernel, *SANITIZERS, SOFT)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["PORTABLE", "VERTICAL"])
@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-O2", "-msse2", "-mfpmath=sse")])
def test_32_bits(everything, tmp_path, kernel, flags):
    """Without SSE floats are computed with more digits than they have."""
    check_32_bits(tmp_path)
    compare(everything, "gcc", kernel, "-m32", *flags)


@pytest.mark.slow
def test_fused_operations_change_nothing(everything):
    if "fma" not in cpu_flags():
        pytest.skip("this processor has no FMA")
    for kernel in ("PORTABLE", "AVX2", "AVX512"):
        compare(everything, "gcc", kernel, "-O3", "-mfma", "-ffp-contract=fast")


# --------------------------------------------------------------------------------- the header


def test_parts_can_be_left_out(tmp_path):
    left_out = ("-DTERNEVO_NO_FLOAT", "-DTERNEVO_NO_SELFTEST")
    source = tmp_path / "alone.c"
    source.write_text('#include "policy.h"\nint main(void) { return 0; }\n')
    for record in (policy(4, 16, 2), policy(5, 40, 2, outputs="continuous")):
        (tmp_path / "policy.h").write_text(c_header.to_c(record))
        for flags in ((), left_out):  # functions that nothing calls give no warning
            run(tool("gcc"), "-std=c99", *STRICT, *flags, source, "-o", tmp_path / "alone")
        code = run(tool("gcc"), *left_out, "-E", "-P", source).stdout.decode()
        assert "float" not in code
        assert "test" not in code
        assert "policy_logits_q" in code


def test_fast_math_is_refused(tmp_path):
    (tmp_path / "policy.c").write_text(c_header.to_c(policy(4, 16, 2)))
    for flag in ("-ffast-math", "-ffinite-math-only"):
        command = [tool("gcc"), flag, "-fsyntax-only", str(tmp_path / "policy.c")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode and "-ffast-math changes how floats are rounded" in done.stderr
        run(*command, "-DTERNEVO_NO_FLOAT")


def test_the_self_test_finds_a_changed_weight(tmp_path):
    text = c_header.to_c(policy(27, 64, 64, 8, activation="int8"))
    main = '#include "policy.h"\nint main(void) { return policy_selftest() != 0; }\n'
    (tmp_path / "main.c").write_text(main)
    flags = ("-std=c99", "-O1", TABLES, "-DTERNEVO_KERNEL=TERNEVO_VERTICAL")
    command = (tool("gcc"), *flags, tmp_path / "main.c", "-o", tmp_path / "main")
    (tmp_path / "policy.h").write_text(text)
    run(*command)
    run(tmp_path / "main")
    for table in ("policy_w0", "policy_scale", "policy_test_logits"):
        start = text.index("{\n  ", re.search(rf"\b{table}\[.*\] = ", text).start()) + 4
        end = text.index(",", start)
        other = "1" if text[start:end] != "1" else "0"
        (tmp_path / "policy.h").write_text(text[:start] + other + text[end:])
        run(*command)
        assert subprocess.run([tmp_path / "main"]).returncode == 1, table


def test_the_header_says_which_policy_it_is():
    record = policy(4, 16, 2)
    with_more = dataclasses.replace(record, metadata={"env": "*/ gymnax/CartPole-v1"})
    text = c_header.to_c(with_more, "cart_pole")
    assert hashlib.sha256(tvp.encode(record)).hexdigest() in text
    assert "4-16-2" in text
    code = text[text.index("#ifndef") :]
    assert c_header.to_c(record, "cart_pole").endswith(code), "only the comment is another"
    assert "int cart_pole_act(" in text and "policy_act(" not in text


@pytest.mark.parametrize("name", ["", "1st", "a-b", "ä", "a b", "a\n", "ternevo_x", "a" * 41])
def test_names_that_are_refused(name):
    with pytest.raises(ValueError, match="cannot begin the names of a C header: a letter") as error:
        c_header.to_c(policy(4, 16, 2), name)
    assert repr(name) in str(error.value)


def test_what_is_refused():
    record = policy(4, 2)
    floats = dataclasses.replace(record.layers[0], kind="float", exponent=0)
    with pytest.raises(integer.NotIntegerError):
        c_header.to_c(dataclasses.replace(record, layers=(floats,)))
    with pytest.raises(ValueError, match="num_vectors must be at least 1, got 0"):
        c_header.to_c(record, num_vectors=0)
    wide = Case((4, 2), outputs="continuous", range_=(-3e38, 3e38)).record(0)
    with pytest.raises(tvp.PolicyFormatError):  # lest their sum is no float32
        c_header.to_c(wide)


# -------------------------------------------------------------------------------------- boards


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4"])
@pytest.mark.parametrize("sizes", [(4, 16, 2), (27, 64, 64, 8)])
def test_cortex_m(tmp_path, record_property, sizes, core):
    record = policy(*sizes, activation="sign")
    (tmp_path / "policy.h").write_text(c_header.to_c(record))
    folder, program = EXAMPLES / "bare_metal", tmp_path / "policy.elf"
    # The instructions of an M0 run on the M3 of this board too.
    flags = (f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft", "-std=c99", "-O2", *STRICT)
    script = folder / "mps2_an385.ld"
    link = ("-nostartfiles", "-T", script, "-Wl,--gc-sections", "-lgcc")
    source = folder / "main.c"
    run(tool("arm-none-eabi-gcc"), *flags, f"-I{tmp_path}", source, *link, "-o", program)
    emulator = (tool("qemu-system-arm"), "-M", "mps2-an385", "-nographic", "-monitor", "none")
    semihosting = ("-semihosting-config", "enable=on,target=native", "-icount", "shift=0")
    done = run(*emulator, *semihosting, "-kernel", program, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert "self test 0" in said
    small = (*flags[: -len(STRICT)], "-Os", "-DTERNEVO_NO_FLOAT", "-DTERNEVO_NO_SELFTEST")
    (tmp_path / "only.c").write_text(
        '#include "policy.h"\nint act(const int8_t *q);\n'
        "int act(const int8_t *q) { return policy_act_q(q); }\n"
    )
    run(tool("arm-none-eabi-gcc"), *small, "-c", tmp_path / "only.c", "-o", tmp_path / "only.o")
    size = run(tool("arm-none-eabi-size"), tmp_path / "only.o").stdout.decode().split("\n")[1]
    record_property("said", said)
    record_property("flash bytes of act_q", int(size.split()[0]) + int(size.split()[1]))
    print(sizes, core, said, "flash bytes of act_q, -Os:", size.split()[0])


AVR_MAIN = r"""
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include "policy.h"
static void put(char c) {
  while (!(UCSR0A & (1 << UDRE0))) {
  }
  UDR0 = c;
}
static void number(uint32_t n) {
  char text[10];
  int8_t i = 0;
  do {
    text[i++] = (char)('0' + n % 10);
  } while (n /= 10);
  while (i) put(text[--i]);
  put('\n');
}
int main(void) {
  int8_t q[POLICY_N_IN];
  volatile int action;
  uint16_t start;
  uint8_t i;
  UCSR0B = 1 << TXEN0;
  for (i = 0; i < POLICY_N_IN; i++) q[i] = (int8_t)(37 * i);
  number((uint32_t)(policy_selftest() + 1000));
  __asm__ volatile("" : : "r"(q) : "memory"); /* as if q could be anything */
  TCCR1B = 1;
  start = TCNT1;
  action = policy_act_q(q);
  number((uint16_t)(TCNT1 - start));
  (void)action;
  cli();
  sleep_enable();
  sleep_cpu();
  return 0;
}
"""


@pytest.mark.parametrize("activation", ["sign", "int8"])
@pytest.mark.parametrize("sizes", [(4, 16, 2), (8, 32, 32, 4)])
def test_avr(tmp_path, record_property, sizes, activation):
    (tmp_path / "policy.h").write_text(c_header.to_c(policy(*sizes, activation=activation)))
    (tmp_path / "main.c").write_text(AVR_MAIN)
    program = tmp_path / "policy.elf"
    flags = ("-mmcu=atmega328p", "-DF_CPU=16000000UL", "-std=c99", "-Os", *STRICT)
    run(tool("avr-gcc"), *flags, tmp_path / "main.c", "-o", program)
    done = run(tool("simavr"), "-m", "atmega328p", "-f", "16000000", program, timeout=60)
    numbers = re.findall(r"(\d+)\.\n", (done.stdout + done.stderr).decode())
    assert numbers[0] == "1000", "what the self test returned, and 1000"
    size = run(tool("avr-size"), program).stdout.decode().split("\n")[1].split()
    record_property("cycles", int(numbers[1]))
    record_property("flash bytes of the program", size[0])
    print(sizes, activation, "cycles of act_q:", numbers[1], "program:", size)


def test_the_benchmark_runs(tmp_path):
    (tmp_path / "policy.h").write_text(c_header.to_c(policy(4, 16, 2, outputs="continuous")))
    source = EXAMPLES / "host_benchmark.c"
    flags = ("-O2", "-std=c99", *STRICT, f"-I{tmp_path}", "-o", tmp_path / "benchmark")
    run(tool("gcc"), source, *flags)
    assert b"M evaluations/s" in run(tmp_path / "benchmark").stdout
