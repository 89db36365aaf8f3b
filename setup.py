"""Adds to the wheel what lies beside the package in a checkout; all else is in pyproject.toml and setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# recbole_sparse_elsa.options.shipped_folder says where they are found.
SHIPPED = ["configs", "constraints.txt", "CITATION.cff", "CHANGELOG.md"]


class BuildWithShippedFiles(build_py):
    """Copies the files into the folder ``shipped`` of the package that is built; an editable install needs no copy."""

    def run(self):
        """Build the package and copy the files."""
        super().run()
        if self.editable_mode:
            return
        shipped = Path(self.build_lib, "recbole_sparse_elsa", "shipped")
        shutil.rmtree(shipped, ignore_errors=True)  # of an earlier build
        shipped.mkdir(parents=True)
        for name in SHIPPED:
            if Path(name).is_dir():
                shutil.copytree(name, shipped / name)
            else:
                shutil.copy(name, shipped)


setup(cmdclass={"build_py": BuildWithShippedFiles})
