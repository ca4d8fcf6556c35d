"""The optional C extension; all else about the package stands in pyproject.toml.

Without a compiler the package installs all the same, and NumPy runs the policies.
"""

import sys

from setuptools import Extension, setup

NATIVE = "ternevo/deploy/native"
SOURCES = ["module.c", "tvp.c", "kernels.c"]
# No fused multiply-add, which would round once where float32 rounds twice.
FLAGS = ["-std=c99", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]

setup(
    ext_modules=[
        Extension(
            "ternevo.deploy._native",
            sources=[f"{NATIVE}/{name}" for name in SOURCES],
            depends=[f"{NATIVE}/{name}" for name in ("tvp.h", "kernels.h")],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=[] if sys.platform == "win32" else FLAGS,
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
