"""The frame of a page: head, style, script, and the rule that nothing is ever asked of a network."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from sequifier import __version__
from sequifier.printable import printable


class Page:
    """A page that is filled section by section. Everything given is HTML, unless it says otherwise."""

    def __init__(self, title: str) -> None:
        self._title, self._header, self._footer = title, "", ""
        self._sections: list[tuple[str, str, str]] = []
        self._charts: dict[str, dict[str, Any]] = {}
        self._refresh = ""

    def refresh(self, seconds: int) -> None:
        """Have a browser read the file again every so often: for a search that is running."""
        self._refresh = f'<meta http-equiv="refresh" content="{seconds}">'

    def header(self, content: str) -> None:
        """What stands above all sections; it opens with the heading and closes its row."""
        self._header = content

    def add(self, key: str, title: str, content: str) -> None:
        """A section, and its entry in the navigation."""
        self._sections.append((key, title, content))

    def footer(self, command: str) -> None:
        """How the page was made, as text."""
        made = f" by <code>{escape(command)}</code>" if command else ""
        self._footer = f"Written{made}, sequifier {__version__}. This page asks nothing of a network."

    def chart(
        self,
        name: str,
        scales: Mapping[str, object],
        metric: str,
        lines: Sequence[tuple[str, str, Sequence[float | None], Sequence[float | None]]],
    ) -> None:
        """What the script needs to read values off a drawing: (key, name, values, training losses) of each line."""
        self._charts[name] = {
            "scales": scales,
            "metric": metric,
            "lines": [
                {"key": key, "name": printable(label), "y": [_digits(value) for value in values]}
                | ({"t": [_digits(value) for value in train]} if train else {})
                for key, label, values, train in lines
            ],
        }

    def html(self) -> str:
        """The whole page."""
        folder = files("sequifier.report.page")
        template = (folder / "templates" / "page.html").read_text(encoding="utf-8")
        script = (folder / "page.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        links = "".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in self._sections)
        content = "".join(content for _, _, content in self._sections)
        navigation = f'<nav aria-label="Sections"><ul>{links}</ul></nav>' if len(self._sections) > 1 else ""
        body = (
            f'<header><div class="top-row">{self._header}</header>{navigation}<main id="main">{content}</main>'
            f"<footer>{self._footer}</footer>"
        )
        # `<` in the data could end the element that holds it.
        data = json.dumps({"charts": self._charts}, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        parts = {
            "%SCRIPT_HASH%": f"sha256-{digest}",
            "%REFRESH%": self._refresh,
            "%TITLE%": printable(escape(self._title)),
            "%SCRIPT%": script,
            "%DATA%": data,
            "%BODY%": printable(body),
        }
        before, rest = template, ""
        for mark in (
            "%SCRIPT_HASH%",
            "%REFRESH%",
            "%TITLE%",
            "%BODY%",
            "%DATA%",
            "%SCRIPT%",
        ):  # in their order in the file
            head, found, before = before.partition(mark)
            assert found, mark
            rest += head + parts[mark]
        return rest + before


def section(key: str, title: str, content: str) -> str:
    """A section with its heading."""
    return f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{escape(title)}</h2>{content}</section>'


def figures(items: Sequence[tuple[str, str, str]]) -> str:
    """A few large numbers: (what, value, note) as text."""
    parts = []
    for what, value, note in items:
        small = f"<small>{escape(note)}</small>" if note else ""
        parts.append(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}{small}</dd></div>")
    return f'<dl class="figures">{"".join(parts)}</dl>'


def copied(text: str, name: str) -> str:
    """Text that can be copied by a button, where the script runs."""
    return f'<code class="copy" data-name="{escape(name)}" title="{escape(text)}">{escape(text)}</code>'


def _digits(value: float | None) -> float | None:
    """To five digits: more than a drawing shows."""
    return None if value is None else float(f"{value:.5g}")
