"""A small XES log as programs for process mining write it: an extension, a classifier, lifecycle transitions."""

from collections.abc import Sequence

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849-2016" xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<classifier name="Activity" keys="concept:name lifecycle:transition"/>
<string key="concept:name" value="the log"/>
"""

Traces = Sequence[tuple[str, Sequence[str]]]


def log_of(traces: Traces) -> str:
    """Return a log of (name, activities); an event takes an hour, and costs as its number."""
    parts = [HEAD]
    for number, (name, activities) in enumerate(traces):
        parts.append(f'<trace><string key="concept:name" value="{name}"/><int key="amount" value="{100 * number}"/>')
        for step, activity in enumerate(activities):
            parts.append(
                f'<event><string key="concept:name" value="{activity}"/>'
                f'<date key="time:timestamp" value="2024-03-{1 + number % 28:02}T{step % 24:02}:30:00.000+01:00"/>'
                f'<string key="lifecycle:transition" value="{("start", "complete")[step % 2]}"/>'
                f'<float key="cost" value="{step}.5"/></event>\n'
            )
        parts.append("</trace>\n")
    return "".join([*parts, "</log>\n"])


def claims(n_traces: int = 40) -> Traces:
    """Cases of an insurance, of 4 to 12 events."""
    loops = ("check", "ask", "wait", "decide")
    return [
        (f"claim {case}", ["register", *(loops[(case + step) % 4] for step in range(2 + case % 9)), "close"])
        for case in range(n_traces)
    ]
