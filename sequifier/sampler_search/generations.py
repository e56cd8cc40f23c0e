"""The log of generations and judgements, one JSON line each: `logs/[name]/generations/run-N.jsonl`.

For people to read, and for resuming: requests cost money, so an interrupted configuration does not repeat them.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from sequifier.artifacts.read_file import parse_json
from sequifier.errors import RunError
from sequifier.sampler_search.judge import Judgement

Place = tuple[int, int]
"""Prompt and sample."""


class GenerationLog:
    """The file of one configuration, open for writing. Also a context manager.

    Args:
        path: of the file; created when missing.
        identity: of the configuration; lines of other configurations are ignored.

    Attributes:
        texts: prompt and sample -> continuation.
        judgements: prompt and sample -> judgement; missing ones are requested again.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._identity = identity
        self.texts: dict[Place, str] = {}
        self.judgements: dict[Place, Judgement] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("a+b")
        except OSError as error:
            raise RunError(f"cannot write {path.name}: {error.strerror}", where=str(path.parent)) from error
        self._path = path
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)  # remove a line that is incomplete because the process died
        for line in content[:whole].splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a damaged line is requested again
                self._read(parse_json(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self._file.close()
        except OSError:  # a full disk fails again at the flush; the first error is more precise
            if kind is None:
                raise

    def add_texts(self, texts: Iterable[tuple[Place, str]]) -> None:
        """Write the continuations that are new; they are on disk when this returns."""
        self._append(
            {"prompt": prompt, "sample": sample, "text": text}
            for (prompt, sample), text in texts
            if (prompt, sample) not in self.texts
        )

    def add_judgements(self, judgements: Iterable[tuple[Place, Judgement]]) -> None:
        """Write judgements; they are on disk when this returns."""
        self._append(
            {"prompt": prompt, "sample": sample, "judgement": each.score, "parts": dict(each.parts)}
            | ({"error": each.error} if each.error else {})
            for (prompt, sample), each in judgements
        )

    def _append(self, values: Iterable[dict[str, Any]]) -> None:
        lines = [
            json.dumps({"identity": self._identity, **each}, ensure_ascii=False).encode() + b"\n" for each in values
        ]
        if not lines:
            return
        try:
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(
                f"cannot write {self._path.name}: {error.strerror}",
                where=str(self._path.parent),
                fix="free some space, then run the same command again",
            ) from error

    def _read(self, line: dict[str, Any]) -> None:
        if line["identity"] != self._identity:
            return
        place = line["prompt"], line["sample"]
        if "text" in line:
            self.texts[place] = line["text"]
        elif line["judgement"] is not None:
            self.judgements[place] = Judgement(line["judgement"], line["parts"])
