"""Sample data without a download: the tokens of Python's own standard library.

A sequence is a module, an event is a token. Which kind of token comes next, and how long is it?
"""

import keyword
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import DataError

if TYPE_CHECKING:
    import polars

MODULES = 120
"""Number of modules, sorted by name; tokenizing them takes about a second."""

LONGEST = 80
"""Largest length of a token in characters: longer docstrings would dominate the loss."""

# Comments, blank lines and the markers of a file are not part of the grammar.
_LEFT_OUT = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)


def write(path: Path, library: Path | None = None) -> None:
    """Write the tokens of the first `MODULES` modules of the standard library as Parquet.

    Columns: `sequenceId` (name of the module), `itemPosition` (0, 1, ...), `kind` (see `kind_of`), `length`
    (characters, at most `LONGEST`) and `indentation` (number of blocks around the token).

    Args:
        path: the Parquet file.
        library: folder of modules; the running Python's standard library by default.

    Raises:
        DataError: the folder has no readable Python source.
    """
    library = library or Path(sysconfig.get_path("stdlib"))
    events = _events(library)
    with atomic_path(path) as temporary:
        events.write_parquet(temporary)


def kind_of(token: tokenize.TokenInfo) -> str:
    """Return the kind of a token: each keyword and operator is a kind, others are NAME, NUMBER, STRING, INDENT, ..."""
    is_keyword = token.type == tokenize.NAME and keyword.iskeyword(token.string)
    return token.string if is_keyword or token.type == tokenize.OP else tokenize.tok_name[token.type]


def tokens(module: Path) -> Iterator[tuple[str, int, int]]:
    """Yield kind, length in characters and indentation of each token of a module.

    Raises:
        SyntaxError, tokenize.TokenError, UnicodeDecodeError: the file is not valid in this version of Python.
    """
    indentation = 0
    with module.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type in _LEFT_OUT:
                continue
            # INDENT is inside of its block, DEDENT outside.
            indentation += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
            yield kind_of(token), min(len(token.string), LONGEST), indentation


def _events(library: Path) -> "polars.DataFrame":
    import polars as pl

    modules = []
    for module in sorted(library.glob("*.py"), key=lambda file: file.stem):
        try:
            events = list(tokens(module))
        except (SyntaxError, tokenize.TokenError, UnicodeDecodeError):
            continue  # a template, or a file for another version
        schema = {"kind": pl.String, "length": pl.Float64, "indentation": pl.Int64}
        frame = pl.DataFrame(events, schema=schema, orient="row")
        position = pl.int_range(pl.len(), dtype=pl.Int64).alias("itemPosition")
        modules.append(frame.select(pl.lit(module.stem).alias("sequenceId"), position, pl.all()))
        if len(modules) == MODULES:
            break
    if not modules:
        raise DataError(
            "there are no Python source files for the sample data",
            where=str(library),
            fix="use a Python with the source of its standard library",
        )
    return pl.concat(modules)
