"""Puts the presets of configs/ into the wheel as skillrl/configs (all else: pyproject.toml)."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPresets(build_py):
    """An editable install reads configs/ in place; a built package carries a copy."""

    def run(self):
        """Builds as always, then copies the presets."""
        super().run()
        if self.editable_mode:
            return
        target = pathlib.Path(self.build_lib, "skillrl", "configs")
        target.mkdir(parents=True, exist_ok=True)
        for preset in sorted(pathlib.Path("configs").glob("*.json")):
            self.copy_file(str(preset), str(target / preset.name))


setup(cmdclass={"build_py": BuildWithPresets})
