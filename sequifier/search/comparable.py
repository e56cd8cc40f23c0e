"""Check before training that new runs can be ranked with the runs of the ledger."""

from collections.abc import Sequence

from sequifier.artifacts.ledger import Record, latest_by_run
from sequifier.config.resolve import DataSchema
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, Problem, RunError


def check_comparable(config: SearchConfig, records: Sequence[Record], data: DataSchema) -> None:
    """Refuse runs on other data, or with other targets, under the name of an existing search.

    Args:
        config: the search.
        records: its ledger so far.
        data: metadata of the data set.

    Raises:
        RunError: the ledger is of other data.
        ConfigError: the ledger is of other targets.
    """
    for record in records:
        if record.data != data.fingerprint:
            raise RunError(
                f"the data changed: {record.name} was trained on data {record.data}, the metadata says "
                f"{data.fingerprint}; their results cannot be compared",
                fix="choose another hp_search_name for the new data, or preprocess the old data again",
            )
    for record in latest_by_run(records).values():
        if record.n_targets is not None and {*record.n_targets} != {*config.target_columns}:
            before, now = ", ".join(record.n_targets), ", ".join(config.target_columns)
            message = (
                f"{record.name} predicted {before}, these runs would predict {now}: their losses cannot be compared"
            )
            fix = "choose another hp_search_name for other targets"
            raise ConfigError([Problem("target_columns", message, fix=fix)])
