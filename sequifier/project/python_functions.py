"""The judge of the Python example: do generated functions have Python's grammar?

    judge: {type: script, command: python -m sequifier.project.python_functions}

A generation is a row of kinds of tokens, see `python_tokens.kind_of`. Each `def` in it begins a function, which is
written out (names become `n`, numbers `0`, strings `''`) and given to `ast.parse`. A function that the end of the
generation cuts off is judged as far as its last whole line. The score is 10 times the share that is accepted; null
where no function was begun, for then there is nothing to judge.
"""

import ast
import json
import sys
from collections.abc import Iterator, Sequence

_WRITTEN = {
    "NAME": "n",
    "NUMBER": "0",
    "STRING": "''",
    "FSTRING_START": "f'",
    "FSTRING_MIDDLE": "n",
    "FSTRING_END": "'",
    "TSTRING_START": "t'",
    "TSTRING_MIDDLE": "n",
    "TSTRING_END": "'",
}
_INDENT = "    "


def functions(kinds: Sequence[str | None]) -> Iterator[tuple[list[str], bool]]:
    """The tokens of each function that is begun, from its `def` to the end of its block, and whether it ends there.

    They come one after the other; what is defined inside of one is part of it.
    """
    place = 0
    while place < len(kinds):
        if kinds[place] != "def":
            place += 1
            continue
        end, is_whole = _end_of(kinds, place)
        yield [kind or "?" for kind in kinds[place:end]], is_whole
        place = end


def _end_of(kinds: Sequence[str | None], start: int) -> tuple[int, bool]:
    """Where the block of a `def` ends: behind the DEDENT of its body, or behind a body on the same line."""
    depth = 0
    for place in range(start, len(kinds)):
        kind = kinds[place]
        depth += (kind == "INDENT") - (kind == "DEDENT")
        if kind == "DEDENT" and depth <= 0:
            return place + 1, True
        if kind == "NEWLINE" and depth == 0 and place + 1 < len(kinds) and kinds[place + 1] != "INDENT":
            return place + 1, True
    return len(kinds), False


def written(kinds: Sequence[str], *, is_whole: bool = True) -> str:
    """Tokens as source text: its whole lines.

    Args:
        kinds: of a function.
        is_whole: or cut off: then blocks that are open get what they lack, `pass` or `finally`.
    """
    lines: list[str] = []
    words: list[str] = []
    depth = 0
    for kind in kinds:
        if kind == "INDENT":
            depth += 1
        elif kind == "DEDENT":
            depth = max(depth - 1, 0)
        elif kind == "NEWLINE":
            lines.append(_INDENT * depth + _joined(words))
            words = []
        else:
            words.append(kind)
    return "\n".join(lines if is_whole else _closed(lines)) + "\n"


def _closed(lines: Sequence[str]) -> list[str]:
    """Lines of which the last ones are missing, with their open blocks closed."""
    closed = list(lines)
    while closed and closed[-1].lstrip().startswith("@"):
        closed.pop()  # of a definition that did not come
    if closed and closed[-1].endswith(":"):
        closed.append(_indent_of(closed[-1]) + _INDENT + "pass")
    level = len(closed[-1]) if closed else 0
    for line in reversed(closed[:]):
        indent = _indent_of(line)
        if len(indent) < level:  # the block that the one below stands in
            level = len(indent)
            if line.split()[:1] == ["try"]:
                closed.append(f"{indent}finally: pass")
    return closed


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _joined(words: Sequence[str]) -> str:
    """Tokens with spaces between them, except inside of strings, where a space would be text."""
    text = " ".join(
        "r" if before == "!" and word == "NAME" else _WRITTEN.get(word, word)
        for before, word in zip(["", *words], words, strict=False)
    )
    return text.replace("! r", "!r")


def is_accepted(kinds: Sequence[str], *, is_whole: bool = True) -> bool | None:
    """Whether `ast.parse` takes a function; None where not even its first line is whole."""
    if "NEWLINE" not in kinds:
        return None
    try:
        ast.parse(written(kinds, is_whole=is_whole))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def score(kinds: Sequence[str | None]) -> float | None:
    """0 to 10, None where there is no function to judge."""
    judged = [
        accepted
        for each, is_whole in functions(kinds)
        if (accepted := is_accepted(each, is_whole=is_whole)) is not None
    ]
    return 10 * sum(judged) / len(judged) if judged else None


def main() -> None:
    """Read generations from standard input, print their scores."""
    told = json.load(sys.stdin)
    print(json.dumps({"scores": [score(each["labels"]["kind"]) for each in told["generations"]]}))


if __name__ == "__main__":
    main()
