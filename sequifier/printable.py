r"""Text from elsewhere, made fit to show: what steers a terminal, or reverses the order of letters, becomes visible.

Labels, keys, file names and the output of scripts may hold escape sequences: they could clear the screen, retitle the
window, or make a message read as another one. Every output goes through `printable`: terminal, logs and pages.
"""

from functools import cache

_UNPRINTABLE = (
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F)),  # controls, but for tab and line feed
    *((0x061C, 0x061C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069)),  # direction: Unicode Standard Annex 9
    (0x2028, 0x2029),  # other ends of lines
    *((0xFEFF, 0xFEFF), (0xD800, 0xDFFF)),  # byte order mark; halves of surrogate pairs, which no encoding can write
)


def printable(text: str) -> str:
    r"""The text with each character that cannot be shown as its escape: `\x1b`, `\u202e`. Line feeds and tabs stay."""
    return text.translate(_escapes())


@cache
def _escapes() -> dict[int, str]:
    # In JSON, `\u009b` is still the same character; controls below 0x20 are escaped there already.
    codes = (code for first, last in _UNPRINTABLE for code in range(first, last + 1))
    return {code: f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}" for code in codes}
