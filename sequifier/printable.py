r"""Text that is safe to show: control characters and changes of writing direction become visible escapes.

Labels, keys, file names and the output of scripts may have escape sequences, which could clear the screen, change the
title of the window, or disguise a message. Every output passes through `printable`: terminal, logs and pages.
"""

import shlex
from functools import cache

_UNPRINTABLE = (
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F)),  # controls, except tab and line feed
    *((0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069)),  # direction: Unicode Standard Annex 9
    (0x2028, 0x2029),  # other line separators
    *((0xFEFF, 0xFEFF), (0xD800, 0xDFFF)),  # byte order mark; halves of surrogate pairs, which no encoding can write
)
_LONGEST_SHOWN = 80


def printable(text: str) -> str:
    r"""Return a text with escapes for what cannot be shown, `\x1b` or `\u202e`; line feeds and tabs remain."""
    return text.translate(_escapes())


def shown_text(text: str) -> str:
    """Return a text of the data for a message: short, and with escapes for line feeds and the like."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."


def command_line(*words: object) -> str:
    """Return a command of Sequifier to be pasted into a shell: names and paths with spaces and the like are quoted."""
    return shlex.join(["sequifier", *map(str, words)])


@cache
def _escapes() -> dict[int, str]:
    # In JSON, `\u009b` is still the same character; controls below 0x20 are escaped there already.
    codes = (code for first, last in _UNPRINTABLE for code in range(first, last + 1))
    return {code: f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}" for code in codes}
