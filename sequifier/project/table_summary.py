"""The summary that `make` prints for a user's table."""

from collections.abc import Iterator

from sequifier.percent import counted
from sequifier.project.event_times import GAP
from sequifier.project.findings import Findings, shown_name
from sequifier.project.sizes import SLOW_MINUTES
from sequifier.project.table_configs import attributes_note, duration, training_length

_WIDTH = 100
"""Characters of a line, see `_fitted`."""
_FEW_TARGETS = 200
"""Validation targets below which `make` warns."""
_SAMPLE_ROWS = 200_000
"""Rows of the part that `make` proposes of a large table."""
_FEW_MODELS = 3
"""Models of the part that `make` proposes of a long search."""


def summary(found: Findings) -> Iterator[str]:
    """Yield the lines of the summary."""
    sequence = "" if found.keys.sequence is None else f" of `{found.keys.sequence}`"
    table = found.table.path.name
    ordered = "in the order of the table" if found.keys.order is None else f"ordered by `{found.keys.order}`"
    yield f"{table}: {found.n_rows:,} rows, {found.n_sequences}{sequence}, {ordered}"
    if found.keys.sequence is not None:
        yield f"a sequence has {found.lengths}"
    yield from (f"note: {note}" for note in found.notes)
    yield from (f"warning: {warning}" for warning in found.warnings)
    yield from _columns(found)
    if found.attributes:
        yield f"note: {attributes_note(found)}"
    for target in found.targets:
        if target in found.whole.partly:
            yield (
                f"note: `{target}` has one value for each sequence, which is missing in some of its rows; fill it in "
                "there to make it a label of the sequence"
            )
    if form := [*found.form, *found.formats]:
        yield "how the table is read, also by `infer` (read_format: raw):"
        yield from (f"  {line}" for line in form)
    yield from _fitted(f"windows of {counted(found.seq_length, 'event')}", found.split.why.split("; "))
    if found.event_times is not None and found.event_times.is_observed:
        yield found.event_times.why
    if found.forecast.is_proposed:
        yield found.forecast.why
        if found.stride > 1:
            yield f"training starts a forecast every {found.stride} events (window_stride), validation at each event"
    yield from filter(None, (found.metric.why, found.metric.why_seen))
    counts = found.keys.lengths.counts
    n_validation = int((len(counts) if found.labels else sum(counts)) * found.split.ratios[1])
    if n_validation < _FEW_TARGETS:
        yield (
            f"warning: models are compared on only about {n_validation:,} "
            f"{'sequences' if found.labels else 'events'}; small differences between them are not reliable"
        )
    if found.minutes > SLOW_MINUTES:
        what, command = "the search is long for a CPU", f"hyperparameter-search -D n_samples={_FEW_MODELS}"
        if found.n_rows > _SAMPLE_ROWS:
            what, command = "the table is large for a CPU", f"preprocess -D max_rows={_SAMPLE_ROWS}"
        yield f"note: {what}; use a GPU, or try a part of it first: sequifier {command}"
    yield f"search: {found.sizes.runs} models of {training_length(found)}, {duration(found)}"


def _columns(found: Findings) -> Iterator[str]:
    yield "columns:"
    width = min(max((len(shown_name(choice.column)) for choice in found.choices), default=0), 30)
    for choice in sorted(found.used, key=lambda choice: choice.column not in found.targets):
        role = "target" if choice.column in found.targets else "input"
        if choice.column in found.whole.columns:
            role = "label" if role == "target" else "attribute"
        line = f"  {shown_name(choice.column):<{width}}  {role:<9}  {choice.use:<11}  {choice.summary}"
        skewed = f"{choice.transform}, because {choice.skewed}" if choice.transform else ""
        filled = f"{found.missing(choice)}; filled with: {choice.fill}" if choice.fill else ""
        remarks = [remark for remark in (choice.why, choice.rare, filled, skewed) if remark]
        yield from _fitted(line, remarks)
    if found.event_times is not None:
        yield f"  {GAP:<{width}}  target     real         the time since the event before; a model predicts its density"
    for column, features in found.time.features.items():
        of = "time" if found.time.is_position else shown_name(column)
        yield f"  {', '.join(f'{of}_{feature}' for feature in features)}  input"
        yield f"    computed, because {found.time.why}"
    if found.left_out:
        yield "left out:"
        yield from (f"  {shown_name(choice.column):<{width}}  {choice.why}" for choice in found.left_out)


def _fitted(line: str, remarks: list[str]) -> list[str]:
    """One line, or where that would be too long the remarks below it."""
    whole = "; ".join([line, *remarks])
    return [whole] if len(whole) <= _WIDTH else [line, *(f"    {remark}" for remark in remarks)]
