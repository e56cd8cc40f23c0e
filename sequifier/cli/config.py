"""`sequifier config`: show, validate, explain and document configs."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sequifier.cli.options import CONFIG_FILE, Command, ListOption, given, with_seed_options
from sequifier.cli.output import console, echo
from sequifier.errors import ConfigError, Problem, RunError, SequifierError

if TYPE_CHECKING:
    from sequifier.check import Checked
    from sequifier.config.loading.sources import Valued

KINDS = ("preprocess", "train", "infer", "hyperparameter_search", "sampler_search")
"""As in config/loading/kinds.py, which loads pydantic; a test compares them."""

kind_option = click.option("--kind", type=click.Choice(KINDS), help="Kind of config, where its keys fit several kinds.")
define_option = click.option(
    "-D", "--define", "defines", cls=ListOption, metavar="KEY=VALUE...", help="Override config fields by dotted key."
)
section_option = click.option("--config-section", metavar="NAME", help="Merge this entry of `sections:` into the file.")


@click.group("config")
def command() -> None:
    """Show where values come from, find mistakes, explain fields.

    \b
    Example:
        sequifier config validate configs/train.yaml
        sequifier config show --config-path configs/train.yaml -D training_spec.epochs=3
        sequifier config explain learning_rate
        sequifier config reference --json-schema --output .schemas
    """


@command.command("show", cls=Command)
@click.option("--config-path", type=CONFIG_FILE, help="The YAML config; without it, the default file of --kind.")
@kind_option
@define_option
@section_option
@with_seed_options
@click.option("--given", "only_given", is_flag=True, help="Only values that a file or a flag gives.")
@click.option("--verbose/--quiet", "verbose", default=None, help="--quiet: no notes.")
def show(
    config_path: Path | None,
    kind: str | None,
    defines: tuple[str, ...],
    config_section: str | None,
    seed: int | None,
    randomize: bool,
    only_given: bool,
    verbose: bool | None,
) -> None:
    """Print every value of a config and where it comes from.

    The last line has the config hash; for a run this is the identity that its log and the ledger show.

    A place is FILE:LINE, `base` FILE:LINE of an inherited file, FILE:LINE (section NAME), -D, a flag, the metadata, or
    default.

    \b
    Example:
        sequifier config show --config-path configs/small-model.yaml --given
    """
    from sequifier import api
    from sequifier.cli.options import located
    from sequifier.config.loading.kinds import KINDS, kind_of
    from sequifier.config.loading.load import load
    from sequifier.config.loading.sources import DEFAULT, values_with_sources

    if config_path is None and kind is None:
        raise click.UsageError("give --config-path FILE, or --kind for the default file of that kind")
    path = config_path or Path(f"configs/{kind}.yaml")
    kind = kind or kind_of(path)
    loaded = load(KINDS[kind], path, section=config_section, defines=defines, flags=given(seed, randomize))
    with located(loaded):
        checked = api.check_config(loaded.config)
    if verbose is not False:
        for note in loaded.located(ConfigError(checked.notes)).problems:
            echo(f"note: {note}", err=True)
    rows = values_with_sources(loaded, checked.config, metadata=str(checked.metadata_path))
    echo(f"{path} ({kind})")
    _print_table([row for row in rows if not only_given or row.source != DEFAULT])
    echo(_summary(checked))


def _summary(checked: "Checked") -> str:
    return ", ".join([f"config {checked.config_hash[:16]}", *checked.facts])


def _print_table(rows: "Sequence[Valued]") -> None:
    """Print aligned columns, in colour on a terminal."""
    if sys.stdout.isatty():
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for head in ("key", "value", "from"):
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(Text(row.key), Text(row.value), Text(row.source), style="dim" * (row.source == "default"))
        console().print(table)
        return
    key_width = max((len(row.key) for row in rows), default=0)
    value_width = min(max((len(row.value) for row in rows), default=0), 60)
    for row in rows:
        echo(f"{row.key:<{key_width}}  {row.value:<{value_width}}  {row.source}")


@command.command("validate", cls=Command)
@click.argument("files", nargs=-1, type=CONFIG_FILE, metavar="[FILE...]")
@click.option("--config-path", "named", cls=ListOption, type=CONFIG_FILE, metavar="FILE...", help="The same as FILE.")
@kind_option
@define_option
@section_option
@click.option("--verbose/--quiet", "verbose", default=None, help="--quiet: problems only.")
def validate(
    files: tuple[Path, ...],
    named: tuple[Path, ...],
    kind: str | None,
    defines: tuple[str, ...],
    config_section: str | None,
    verbose: bool | None,
) -> int:
    """Find every mistake in configs, without running anything.

    The exit code is 1 when there are mistakes. Without FILE, the default files that exist are checked:
    configs/preprocess.yaml, configs/train.yaml and so on. Every entry of `sections:` is checked too. Where preprocessed
    data exist, columns, sizes and lengths of schedulers are checked against them.

    \b
    Example:
        sequifier config validate configs/train.yaml configs/hyperparameter_search.yaml
    """
    paths = (*files, *named) or tuple(path for known in KINDS if (path := Path(f"configs/{known}.yaml")).is_file())
    if not paths:
        raise click.UsageError("there is no config in configs/; name the FILE")
    failed = False
    for path in paths:
        try:
            summary, notes = _validated(path, kind, config_section, defines)
        except SequifierError as error:
            failed = True
            echo(f"error: {error}", err=True, color="red")
            continue
        if verbose is not False:
            for note in notes:
                echo(f"note: {note}", err=True)
            echo(f"{path}: ok ({summary})")
    return 1 if failed else 0


def _validated(
    path: Path, kind: str | None, section: str | None, defines: tuple[str, ...]
) -> tuple[str, list[Problem]]:
    """A summary of a config and notes on it; with every entry of its `sections:`, or only the named one.

    Raises:
        ConfigError: all problems of all sections.
    """
    from sequifier import api
    from sequifier.config.loading.kinds import KINDS, kind_of
    from sequifier.config.loading.load import load
    from sequifier.config.loading.problems import config_error
    from sequifier.config.loading.read import section_names

    kind = kind or kind_of(path)
    names: list[str | None] = [section] if section is not None else [None, *section_names(path)]
    problems: list[Problem] = []
    notes: list[Problem] = []
    summaries = []
    for name in names:
        try:
            loaded = load(KINDS[kind], path, section=name, defines=defines)
            try:
                checked = api.check_config(loaded.config)
            except ConfigError as error:
                raise loaded.located(error) from error
        except ConfigError as error:
            found = [*error.problems, *_hidden(error)]
            problems += [problem for problem in found if problem not in problems]
            continue
        odd = (*loaded.notes, *loaded.located(ConfigError(checked.notes)).problems)
        notes += [note for note in odd if note not in notes]
        summaries.append(_summary(checked) if name is None else f"section {name}: {_summary(checked)}")
    if problems:
        raise config_error(problems, path)
    return "; ".join([kind, *summaries]), notes


def _hidden(error: ConfigError) -> Iterator[Problem]:
    """Problems that the files show in the rest of a config with wrong values."""
    from sequifier import api
    from sequifier.config.loading.load import Repaired

    if not isinstance(error.repaired, Repaired):
        return
    loaded = error.repaired.loaded
    try:
        api.check_config(loaded.config)
    except ConfigError as further:
        yield from filter(error.repaired.is_new, loaded.located(further).problems)


@command.command("explain")
@click.argument("field", metavar="FIELD")
def explain(field: str) -> None:
    """Explain a field, an optimizer, a scheduler or a loss.

    Prints purpose, values, default, interactions, when to change it, and how to search it.

    FIELD is a name or dotted key of any config, its name in another library (patience, lr, heads), or the name of an
    optimizer, scheduler or criterion.

    \b
    Example:
        sequifier config explain training_spec.learning_rate
        sequifier config explain AdamW
    """
    from sequifier.config.help.explain import explain

    echo(explain(field))


@command.command("reference")
@click.option("--json-schema", is_flag=True, help="JSON Schema for editors instead of Markdown.")
@click.option("--kind", type=click.Choice(KINDS), help="With --json-schema: only this kind of config.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write to this file; without --kind, schemas to a folder."
)
def reference(json_schema: bool, kind: str | None, output: Path | None) -> None:
    """Print all fields as Markdown or JSON Schema.

    With --json-schema and --output FOLDER, one schema per kind is written: FOLDER/train.schema.json and so on. An
    editor with the YAML language server finds it from the first line of a file:

    \b
        # yaml-language-server: $schema=../.schemas/train.schema.json

    \b
    Example:
        sequifier config reference --json-schema --output .schemas
    """
    if kind is not None and not json_schema:
        raise click.UsageError("--kind goes with --json-schema")
    from sequifier.config.help.reference import reference

    if not json_schema:
        _write(reference(), output)
        return
    from sequifier.config.help.json_schema import json_schema as schema_of
    from sequifier.config.help.json_schema import json_schemas

    if kind is None and output is not None:
        for known in KINDS:
            _write(json.dumps(schema_of(known), indent=1) + "\n", output / f"{known}.schema.json")
        return
    _write(json.dumps(json_schemas() if kind is None else schema_of(kind), indent=1) + "\n", output)


def _write(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file and print the file's name."""
    if output is None:
        echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"cannot write the file: {error.strerror}", where=str(output), fix="choose another place with --output"
        ) from error
    echo(output)
