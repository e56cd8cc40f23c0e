"""Runs docs/tutorial.md: every config and command of the page, in order, in a new project.

    python docs/tutorial.py                    in a temporary folder; some five minutes on 2 cores
    python docs/tutorial.py --write            and puts what the commands printed into the page
    python docs/tutorial.py --small FOLDER     the same steps on little data, in FOLDER

A block of the page is run as it stands: `yaml` whose first line is a comment with a path is written there, each line of
`bash` is a command, and `text first=3 last=2` shows so many lines of what the last command above it printed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).with_name("tutorial.md")
BLOCK = re.compile(r"^```(yaml|bash|text)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SMALL = {
    "preprocess": "-D max_rows=20000",
    "hyperparameter-search": "--n-samples 4",
    "sampler-search": "--n-samples 9 --samples-per-config 1 -D n_prompts=4",
}
"""What a command gets behind its own flags when the tutorial is run on little data."""


@dataclass
class Shown:
    """A `text` block: what stands in the page, and what the last command above it printed."""

    in_page: str
    printed: str


def run(folder: Path, *, small: bool = False, page: str | None = None) -> list[Shown]:
    """Run the page in a folder; its project is `folder / "demo"`.

    Args:
        folder: to work in.
        small: on little data.
        page: its text; None: docs/tutorial.md.

    Raises:
        SystemExit: a command failed; with what it said.
    """
    here, printed, shown = folder, "", []
    for kind, rule, body in BLOCK.findall(PAGE.read_text(encoding="utf-8") if page is None else page):
        if kind == "yaml":
            path = re.match(r"# (\S+\.yaml)\n", body)
            assert path is not None, f"no path in the first line of:\n{body}"
            (here / path[1]).write_text(body, encoding="utf-8")
        elif kind == "text":
            shown.append(Shown(body, excerpt(printed, rule)))
        else:
            for line in body.splitlines():
                if line.startswith("cd "):
                    here = here / line.removeprefix("cd ")
                else:
                    printed = command(line, here, small=small)
    return shown


def command(line: str, folder: Path, *, small: bool) -> str:
    """Run one command line; what it printed to standard output. What it says while it works goes to standard error."""
    name = re.match(r"sequifier ([a-z-]+)", line)
    line = line.partition("  # ")[0]
    if small and name is not None:
        line += f" {SMALL.get(name[1], '')}"
    print(f"\n$ {line}", file=sys.stderr, flush=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": path}
    )
    print(done.stdout, file=sys.stderr, flush=True)
    if done.returncode:
        raise SystemExit(f"{line}: exit code {done.returncode}")
    return done.stdout


def excerpt(printed: str, rule: str) -> str:
    """The lines of an output that a block shows, `…` for those between."""
    lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
    counts = {key: int(value) for key, value in re.findall(r"(first|last)=(\d+)", rule)}
    first, last = counts.get("first", 0), counts.get("last", 0)
    if not counts or first + last >= len(lines):
        return "\n".join(lines) + "\n"
    return "\n".join([*lines[:first], "…", *lines[len(lines) - last :]]) + "\n"


def write(page: Path, shown: list[Shown]) -> None:
    """Put into the page what was printed."""
    printed = iter(shown)

    def new(block: re.Match[str]) -> str:
        return f"```text{block[2]}\n{next(printed).printed}```" if block[1] == "text" else block[0]

    page.write_text(BLOCK.sub(new, page.read_text(encoding="utf-8")), encoding="utf-8")


def main(
    page: Path = PAGE, prepare: Callable[[Path], None] = lambda folder: None, description: str | None = __doc__
) -> None:
    """The command line.

    Args:
        page: the page to run.
        prepare: writes into the folder what the page begins with.
        description: of the script.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="to work in; a temporary one without it")
    parser.add_argument("--small", action="store_true", help="on little data")
    parser.add_argument("--write", action="store_true", help="put what was printed into the page")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        shown = run(folder, small=asked.small, page=page.read_text(encoding="utf-8"))
    if asked.write:
        write(page, shown)


if __name__ == "__main__":
    main()
