"""The raw files: one file, or the files of a folder."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.events import CONTEXT, POSITION, SEQUENCE
from sequifier.artifacts.table_form import PLAIN_TABLE, TableForm
from sequifier.config.loading.paths import find_input
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.preprocess_fields import RawFormat
from sequifier.errors import DataError
from sequifier.percent import counted
from sequifier.preprocess.damaged_csv import check_quotes
from sequifier.preprocess.foreign_file import check_is_content, check_is_text_table
from sequifier.preprocess.plain_csv import form_of, unpack, write_plain
from sequifier.preprocess.table_formats import TABLE_FORMATS, ending, format_by_content

_SUFFIXES: dict[RawFormat, tuple[str, ...]] = {name: found.suffixes for name, found in TABLE_FORMATS.items()}
_SUFFIXES["text"] = _SUFFIXES["item_lists"] = (".txt",)


@dataclass(frozen=True)
class Source:
    """The raw files.

    Attributes:
        path: the file or folder.
        files: the files, sorted.
        format: their format.
        keys: the key columns, by which the form of a CSV file is found; None: they are not known yet.
        features: the other columns that are known, by which it is found too.
        form: the form of the table, as far as it is known; of the first file once the source is readable.
        converted: file -> file with its rows that polars can read.
        notes: notes for the user on files that are left out, and on the conversion.
    """

    path: Path
    files: tuple[Path, ...]
    format: RawFormat
    keys: tuple[str, ...] | None = None
    features: tuple[str, ...] = ()
    form: TableForm = PLAIN_TABLE
    converted: Mapping[Path, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the splits and the metadata."""
        return named_after(self.path)

    def scan(self, file: Path) -> pl.LazyFrame:
        """Return the rows of a file as stored."""
        return TABLE_FORMATS[self.format].scan(self.stored(file))

    def stored(self, file: Path) -> Path:
        """Return the file that has the rows of a file in a form that polars can read."""
        return self.converted.get(file, file)

    def readable(self, folder: Path) -> "Source":
        """Return the source with files that polars can read, and write these into a folder where it cannot.

        Files that an interrupted call wrote into the folder are used again.

        Raises:
            DataError: a file is damaged, or of another format.
            RunError: the folder cannot be written to.
        """
        if self.format not in TABLE_FORMATS:
            return self
        for file in self.files:
            check_is_content(file)
        if TABLE_FORMATS[self.format].is_text:
            return self._as_plain_csv(folder)
        convert = TABLE_FORMATS[self.format].convert
        if convert is None:
            return self
        converted: dict[Path, Path] = {}
        notes: list[str] = []
        for number, file in enumerate(self.files):
            converted[file] = folder / f"converted-{number:06}.parquet"
            if not converted[file].exists():
                with atomic_path(converted[file]) as temporary:
                    notes += convert(file, temporary)
        return replace(self, converted=converted, notes=(*self.notes, *notes))

    def _as_plain_csv(self, folder: Path) -> "Source":
        converted: dict[Path, Path] = {}
        forms: list[TableForm] = []
        for number, file in enumerate(self.files):
            unpacked = file
            if file.suffix.lower() == ".gz":
                converted[file] = unpacked = folder / f"unpacked-{number:06}.csv"
                if not unpacked.exists():
                    unpack(file, unpacked)
            check_is_text_table(unpacked, shown=file)
            forms.append(form_of(unpacked, self.keys, self.form, shown=file, features=self.features))
            if not forms[-1].lists_items:
                check_quotes(unpacked, forms[-1].separator, shown=file)
            if forms[-1] != PLAIN_TABLE:
                converted[file] = folder / f"converted-{number:06}.csv"
                if not converted[file].exists():
                    write_plain(unpacked, forms[-1], converted[file], shown=file)
        return replace(self, form=forms[0], converted=converted)


def table_path(config: PreprocessConfig) -> Path:
    """Find the file of `sequence_table`, as `find_source` finds the events.

    Raises:
        ConfigError: it does not exist.
    """
    assert config.sequence_table is not None
    return find_input(config.sequence_table.path, config.project_root, "sequence_table.path", working_folder_first=True)


def named_after(path: Path) -> str:
    """Return the name of a file or folder, also of `.` or `..`."""
    path = path if path.name not in ("", "..") else path.resolve()
    return path.name if path.is_dir() else path.name[: len(path.name) - len(ending(path))]


def check_is_raw(file: Path, columns: Iterable[str]) -> None:
    """Refuse files that `preprocess` has written.

    Raises:
        DataError: the file is an encoded split, or has windows of Sequifier v1.
    """
    found = set(columns)
    is_split = re.search(r"-split\d+", f"{file.parent.name}/{file.name}") is not None
    what = ""
    if is_split and {SEQUENCE, POSITION, CONTEXT} <= found:
        what = "an encoded split that `sequifier preprocess` wrote"
    elif {"subsequenceId", "inputCol"} <= found:
        what = "a split of encoded windows that Sequifier v1 wrote"
    if what:
        raise DataError(
            f"`{file.name}` is {what}, not a table of raw events",
            where=str(file),
            fix="give the raw table; `infer` reads such a split without read_format: raw",
        )


def _is_raw(item: Path, folder: Path) -> bool:
    """Whether a file is not hidden, and not a split of an earlier run in a data/ that is preprocessed itself."""
    is_hidden = any(part.startswith(".") for part in item.parts)
    return not is_hidden and re.fullmatch(rf"{re.escape(named_after(folder))}-split\d+\.\w+", item.name) is None


def find_source(config: PreprocessConfig) -> Source:
    """Find the raw files of `data_path`, below the working folder or else project_root.

    Raises:
        ConfigError: the path does not exist.
        DataError: there is no file of `read_format`.
    """
    path = find_input(config.data_path, config.project_root, "data_path", working_folder_first=True)
    format, features = config.read_format, tuple(config.selected_columns or ())
    if path.is_file():
        other = _named_format(path, format)
        if other != format and any(
            name in TABLE_FORMATS and not TABLE_FORMATS[name].is_text for name in (format, other)
        ):
            raise DataError(
                f"`{path.name}` is not a {format} file",
                where=f"data_path: {config.data_path}",
                fix=f"set read_format: {other}",
            )
        return Source(path, (path,), format, keys=_keys(config), features=features, form=_form(config))
    everything = sorted(item for item in path.rglob("*") if item.is_file() and _is_raw(item.relative_to(path), path))
    files = tuple(item for item in everything if ending(item) in _SUFFIXES[format])
    if not files and format == "text":
        files = tuple(everything)  # source code, for instance
    if not files:
        found = sorted({ending(item) for item in everything})
        raise DataError(
            f"no {format} file ({', '.join(_SUFFIXES[format])}) in `{config.data_path}`",
            where=str(path),
            fix=f"the folder has {', '.join(found) or 'no files'}; set data_path or read_format accordingly",
        )
    notes: tuple[str, ...] = ()
    if others := {*everything} - {*files}:
        endings = ", ".join(sorted({ending(item) or item.name for item in others}))
        named = ", ".join(_SUFFIXES[format])
        notes = (
            f"{counted(len(others), 'file')} of the folder left out: their names do not end in {named} ({endings})",
        )
    return Source(path, files, format, keys=_keys(config), features=features, form=_form(config), notes=notes)


def _named_format(file: Path, format: RawFormat) -> RawFormat:
    """Return the format that the content or the ending of a file shows; `format` where they show none."""
    if found := format_by_content(file):
        return found
    suffix = ending(file)
    named = next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes), format)
    lacks_mark = named in TABLE_FORMATS and bool(TABLE_FORMATS[named].begins_with)
    # A file of text may have any ending.
    return format if lacks_mark and format in TABLE_FORMATS and TABLE_FORMATS[format].is_text else named


def _keys(config: PreprocessConfig) -> tuple[str, ...]:
    """Return the columns that the table must have: its keys, or without keys the features that the config names."""
    keys = tuple(column for column in (config.sequence_column, config.position_column) if column is not None)
    return keys or tuple(config.selected_columns or ())


def _form(config: PreprocessConfig) -> TableForm:
    return TableForm(column_names=config.column_names, lists_items=config.read_format == "item_lists")
