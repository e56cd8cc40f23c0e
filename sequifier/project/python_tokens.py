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
"""Modules taken, in the order of their names: enough to learn from, tokenized in about a second."""

LONGEST = 80
"""Characters at which a length is cut: otherwise a docstring of a page would outweigh everything else."""

# Comments, blank lines and the marks around a file are for readers and tools; they are not the language.
_LEFT_OUT = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)


def write(path: Path, library: Path | None = None) -> None:
    """Write the tokens of the first `MODULES` modules of the standard library as Parquet.

    Columns: `sequenceId` (name of the module), `itemPosition` (0, 1, ...), `kind` (see `kind_of`), `length`
    (characters, at most `LONGEST`) and `indentation` (blocks that the token stands in).

    Args:
        path: the Parquet file.
        library: folder of modules; the running Python's standard library when left out.

    Raises:
        DataError: the folder has no Python source that can be read.
    """
    library = library or Path(sysconfig.get_path("stdlib"))
    events = _events(library)
    with atomic_path(path) as temporary:
        events.write_parquet(temporary)


def kind_of(token: tokenize.TokenInfo) -> str:
    """Kind of a token: keywords and operators are a kind each, the rest is NAME, NUMBER, STRING, INDENT, ..."""
    is_keyword = token.type == tokenize.NAME and keyword.iskeyword(token.string)
    return token.string if is_keyword or token.type == tokenize.OP else tokenize.tok_name[token.type]


def tokens(module: Path) -> Iterator[tuple[str, int, int]]:
    """Kind, length in characters and indentation of each token of a module.

    Raises:
        SyntaxError, tokenize.TokenError, UnicodeDecodeError: the file is not Python of this version.
    """
    indentation = 0
    with module.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type in _LEFT_OUT:
                continue
            # The INDENT itself counts as inside its block, the DEDENT as outside.
            indentation += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
            yield kind_of(token), min(len(token.string), LONGEST), indentation


def _events(library: Path) -> "polars.DataFrame":
    import polars as pl

    modules = []
    for module in sorted(library.glob("*.py"), key=lambda file: file.stem):
        try:
            events = list(tokens(module))
        except (SyntaxError, tokenize.TokenError, UnicodeDecodeError):
            continue  # a template or a file for another version; the library has enough others
        schema = {"kind": pl.String, "length": pl.Float64, "indentation": pl.Int64}
        frame = pl.DataFrame(events, schema=schema, orient="row")
        position = pl.int_range(pl.len(), dtype=pl.Int64).alias("itemPosition")
        modules.append(frame.select(pl.lit(module.stem).alias("sequenceId"), position, pl.all()))
        if len(modules) == MODULES:
            break
    if not modules:
        raise DataError(
            "no Python source files to make the sample data from",
            where=str(library),
            fix="use a Python that comes with the source of its standard library",
        )
    return pl.concat(modules)
