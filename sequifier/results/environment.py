"""Whether the runs of a ranking were computed in the same environment: device, number format, versions."""

from collections import Counter
from collections.abc import Iterable

from sequifier.artifacts.ledger import DONE, Record, latest_by_run

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


def difference_warning(records: Iterable[Record]) -> str | None:
    """A line that lists what ranked runs differ in besides their settings; None where they do not.

    Args:
        records: a ledger; the last record of each run with a result counts.
    """
    done = [record for record in latest_by_run(records).values() if record.state in DONE]
    differing = []
    for field, name in FACTS.items():
        counts = Counter(UNKNOWN if (value := getattr(record, field)) is None else str(value) for record in done)
        if len(counts) > 1:
            listed = "; ".join(f"{value}: {n} run{'s' * (n > 1)}" for value, n in counts.most_common())
            differing.append(f"{name} ({listed})")
    if not differing:
        return None
    return f"runs ranked together differ in more than their settings: {', '.join(differing)}"
