"""Whether the runs of a ranking were computed in the same environment: device, number format, versions."""

from collections import Counter
from collections.abc import Iterable, Mapping

from sequifier.artifacts.ledger import DONE, Record

FACTS = {
    "device": "device",
    "products": "number format of products",
    "torch": "torch",
    "cpu_threads": "cpu_threads",
    "sequifier": "sequifier",
    "arithmetic": "arithmetic",
}
"""What a result depends on besides data and config: field of a record -> name in a warning."""

UNKNOWN = "not recorded"
"""Value of a run whose record is older than the field."""


def environment_of(record: Record) -> dict[str, str]:
    """The environment of a result, by field of `FACTS`; empty for a run without a result."""
    if record.state not in DONE:
        return {}
    values = {field: getattr(record, field) for field in FACTS}
    return {field: UNKNOWN if value is None else str(value) for field, value in values.items()}


def difference_warning(environments: Iterable[Mapping[str, str]]) -> str | None:
    """A line that lists what ranked runs differ in besides their settings; None where they do not.

    Args:
        environments: of the runs; empty ones, of runs without a result, do not count.
    """
    known = [environment for environment in environments if environment]
    differing = []
    for field, name in FACTS.items():
        counts = Counter(environment[field] for environment in known)
        if len(counts) > 1:
            listed = "; ".join(f"{value}: {n} run{'s' * (n > 1)}" for value, n in counts.most_common())
            differing.append(f"{name} ({listed})")
    if not differing:
        return None
    return f"runs ranked together differ in more than their settings: {', '.join(differing)}"
