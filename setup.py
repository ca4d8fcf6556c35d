"""What pyproject.toml cannot say: the optional C extension, the pages, and the long description.

Without a compiler the package installs all the same, and NumPy runs the policies.
"""

import re
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

NATIVE = "ternevo/deploy/native"
SOURCES = ["module.c", "tvp.c", "kernels.c"]
# No fused multiply-add, which would round once where float32 rounds twice.
FLAGS = ["-std=c99", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]

PAGES = sorted(map(str, Path("experiments").rglob("*.yaml")))
REPOSITORY = "https://github.com/ternevo/ternevo"
PICTURES = "https://raw.githubusercontent.com/ternevo/ternevo"
RELATIVE_LINK = re.compile(r'(?P<before>\]\(|(?:src|href)=")(?![a-z]+:|#)(?P<path>[^)"\s#]+)')


class BuildWithPages(build_py):
    """Put the pages of experiments/ into ternevo/pages/, where `ternevo.settings.pages` finds them.

    An editable install reads them where they are.
    """

    def run(self):
        """Build the modules, and copy the pages beside them."""
        super().run()
        if self.editable_mode:
            return
        for page in PAGES:
            target = Path(self.build_lib, "ternevo", "pages", Path(page).relative_to("experiments"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, target)

    def get_source_files(self):
        """Return what a source distribution needs, with the pages."""
        return [*super().get_source_files(), *PAGES]


def absolute(text):
    """Return the README for readers elsewhere: its relative links lead to the repository."""

    def made_absolute(link):
        is_picture = Path(link["path"]).suffix in (".gif", ".jpg", ".png", ".svg")
        where = f"{PICTURES}/main" if is_picture else f"{REPOSITORY}/blob/main"
        return f"{link['before']}{where}/{link['path']}"

    return RELATIVE_LINK.sub(made_absolute, text)


setup(
    long_description=absolute(Path("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": BuildWithPages},
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
