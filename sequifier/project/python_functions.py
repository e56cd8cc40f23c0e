"""The judge of the Python example: do generated functions have Python's grammar?

    judge: {type: script, command: python -m sequifier.project.python_functions}

A generation is a sequence of kinds of tokens, see `python_tokens.kind_of`. Each `def` starts a function. It is written
as source (names become `n`, numbers `0`, strings `''`) and parsed with `ast.parse`, up to its last whole line where the
generation ends inside of it. The score is 10 times the fraction of accepted functions, and null without functions.
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
    """Yield the tokens of each function, from `def` to the end of its block, and whether the block is complete.

    A function inside of another one is part of that one.
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
    """Return the end of the block of a `def`: after the DEDENT of its body, or after a body on the same line."""
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
    """Return the whole lines of a function as source text.

    Args:
        kinds: tokens of the function.
        is_whole: whether it is complete. Otherwise open blocks are closed with `pass` or `finally`.
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
    """Return incomplete lines with their open blocks closed."""
    closed = list(lines)
    while closed and closed[-1].lstrip().startswith("@"):
        closed.pop()  # without the definition that it belongs to
    if closed and closed[-1].endswith(":"):
        closed.append(_indent_of(closed[-1]) + _INDENT + "pass")
    level = len(closed[-1]) if closed else 0
    for line in reversed(closed[:]):
        indent = _indent_of(line)
        if len(indent) < level:  # an outer block
            level = len(indent)
            if line.split()[:1] == ["try"]:
                closed.append(f"{indent}finally: pass")
    return closed


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _joined(words: Sequence[str]) -> str:
    """Return tokens with spaces between them, except inside of strings, where a space would be text."""
    text = " ".join(
        "r" if before == "!" and word == "NAME" else _WRITTEN.get(word, word)
        for before, word in zip(["", *words], words, strict=False)
    )
    return text.replace("! r", "!r")


def is_accepted(kinds: Sequence[str], *, is_whole: bool = True) -> bool | None:
    """Whether `ast.parse` accepts a function; None where its first line is incomplete."""
    if "NEWLINE" not in kinds:
        return None
    try:
        ast.parse(written(kinds, is_whole=is_whole))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def score(kinds: Sequence[str | None]) -> float | None:
    """Return a score from 0 to 10; None where there is no function to judge."""
    judged = [
        accepted
        for each, is_whole in functions(kinds)
        if (accepted := is_accepted(each, is_whole=is_whole)) is not None
    ]
    return 10 * sum(judged) / len(judged) if judged else None


def main() -> None:
    """Read generations from standard input, print their scores."""
    request = json.load(sys.stdin)
    print(json.dumps({"scores": [score(each["labels"]["kind"]) for each in request["generations"]]}))


if __name__ == "__main__":
    main()
