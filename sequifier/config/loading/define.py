"""`-D KEY=VALUE`: one value from the command line, read by the type of its field."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from sequifier.config.base import allows_none, plain_type
from sequifier.config.loading.merged import Merged
from sequifier.config.loading.old_names import renames
from sequifier.config.loading.problems import annotation_at
from sequifier.config.loading.written_names import names_as_written, takes_maps, takes_names
from sequifier.config.loading.yaml12 import parse_words
from sequifier.errors import Problem

MOST_KEYS = 10  # of a dotted key


def define(merged: Merged, model: type[BaseModel], word: str) -> Problem | None:
    key, equals, text = word.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        return Problem("", f"`{word}` is not key=value", "-D", "write -D training_spec.epochs=3")
    if len(path) > MOST_KEYS:
        return Problem("", f"a key of {len(path):,} parts, where configs have {MOST_KEYS} at most", "-D")
    length = len(path) - 1
    if (renamed := renames(model, path[:length]).get(path[length])) is not None:
        path = (*path[:length], renamed.field)
        if renamed.is_old:
            message = f"is called `{renamed.field}` now"
            merged.notes.append(Problem(key, message, "-D", f"write -D {'.'.join(path)}=..."))
    annotation = annotation_at(model, path)
    value = _by_type(annotation, text)
    if isinstance(value, str) and text.startswith(("[", "{")) and not (_is_text(annotation) or _is_prompt(annotation)):
        return Problem(key, f"`{text}` is not a complete list or map", "-D", "close its brackets, and quote the word")
    merged.put(path, value, "-D")
    return None


def _by_type(annotation: Any, text: str) -> Any:
    """A word of the command line as a value of the field's type; never evaluated."""
    if allows_none(annotation) and text in ("None", "null", "~", ""):
        return None
    if _is_text(annotation):
        return text
    if text in ("None", ""):
        return None
    document = parse_words(text)
    is_map = isinstance(document.values, dict) and takes_maps(annotation)
    if is_map or not takes_names(annotation) or isinstance(document.values, list):
        return names_as_written(document.values, document.texts, annotation)
    # `ROMEO:`, `a # b` and `{x}` are other things in YAML, where this field takes text (or a list).
    is_quoted = isinstance(document.values, str) and text.startswith(('"', "'"))
    return document.values if is_quoted else text


def _is_text(annotation: Any) -> bool:
    kind = plain_type(annotation)
    return kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)))


def _is_prompt(annotation: Any) -> bool:
    """Whether the field takes any text, brackets included, or a list."""
    is_other = get_origin(plain_type(annotation)) is list or takes_maps(annotation)
    return takes_names(annotation) and not is_other
