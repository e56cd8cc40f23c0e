"""What pyproject.toml cannot say: the guides in docs/ are installed beside the code, for `sequifier docs`."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithGuides(build_py):
    """Copies docs/*.md to sequifier/guides/."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the guides are read from docs/
            return
        folder = Path(self.build_lib) / "sequifier" / "guides"
        folder.mkdir(parents=True, exist_ok=True)
        for guide in sorted(Path("docs").glob("*.md")):
            self.copy_file(str(guide), str(folder / guide.name))


setup(cmdclass={"build_py": BuildWithGuides})
