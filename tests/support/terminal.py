"""A terminal: a command runs in a pseudo-terminal, and what its screen showed is read line by line."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.cells import cell_len

_TOKEN = re.compile(r"\x1b\[(?P<arguments>[?0-9;]*)(?P<control>[A-Za-z])|(?P<character>.)", re.DOTALL)


@dataclass
class Screen:
    """A screen of any length. It knows the control sequences that rich writes; others are an error.

    Attributes:
        columns: width.
        is_cursor_visible: at the end.
        wrapped: lines that continue on the next one, because they were too long.
    """

    columns: int
    is_cursor_visible: bool = True
    wrapped: list[str] = field(default_factory=list)
    _cells: list[list[str]] = field(default_factory=lambda: [[]])
    _row: int = 0
    _column: int = 0

    @property
    def lines(self) -> list[str]:
        """All lines, from the first one."""
        return ["".join(cells).rstrip() for cells in self._cells]

    def write(self, text: str) -> None:
        """Show a text."""
        for token in _TOKEN.finditer(text):
            if token["control"] is None:
                self._character(token["character"])
            else:
                self._control(token["control"], token["arguments"])

    def _character(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
            if self._row == len(self._cells):
                self._cells.append([])
        else:
            assert character.isprintable(), f"{character!r} reached the terminal"
            width = cell_len(character)
            if self._column + width > self.columns:
                self.wrapped.append(self.lines[self._row])
                self._character("\n")
                self._column = 0
            cells = self._cells[self._row]
            cells += [" "] * (self._column - len(cells))
            cells[self._column : self._column + width] = [character] + [""] * (width - 1)
            self._column += width

    def _control(self, control: str, arguments: str) -> None:
        if control == "A":
            self._row -= int(arguments or 1)
            assert self._row >= 0
        elif control == "K":
            assert arguments == "2", arguments
            self._cells[self._row] = []
        elif arguments == "?25":
            self.is_cursor_visible = control == "h"
        else:
            assert control == "m", f"unknown control sequence {arguments}{control}"


@dataclass
class Shown:
    """What a command showed.

    Attributes:
        code: exit code.
        screen: at the end.
        frames: the lines of the screen after each part of the output.
    """

    code: int
    screen: Screen
    frames: list[list[str]]


def run_in_terminal(
    command: Sequence[str], folder: Path, *, columns: int, rows: int = 40, interrupt_at: str | None = None
) -> Shown:
    """Run a command whose streams are a terminal.

    Args:
        command: to run.
        folder: to run it in.
        columns: width of the terminal.
        rows: its height.
        interrupt_at: press Ctrl-C once, as soon as the screen shows this text.
    """
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environment, "TERM": "xterm-256color", "PYTHONUTF8": "1"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    screen, frames, rest = Screen(columns), [], b""
    while True:
        try:
            part = os.read(control, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        # The last control sequence or character may be cut.
        whole, rest = _whole(rest + part)
        screen.write(whole)
        frames.append(screen.lines)
        if interrupt_at is not None and any(interrupt_at in line for line in screen.lines):
            os.write(control, b"\x03")
            interrupt_at = None
    os.close(control)
    return Shown(process.wait(60), screen, frames)


def _whole(content: bytes) -> tuple[str, bytes]:
    """The text of whole characters and control sequences, and the bytes behind it."""
    end = len(content)
    cut = re.search(rb"\x1b(\[[?0-9;]*)?$", content)
    if cut is not None:
        end = cut.start()
    while True:
        try:
            return content[:end].decode(), content[end:]
        except UnicodeDecodeError as error:
            end = error.start
