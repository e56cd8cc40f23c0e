"""The errors of the seasonal naive forecast in the training events, by which `mase` scales errors, as in training."""

from sequifier.artifacts.events import statistics_columns
from sequifier.artifacts.metadata import find_split
from sequifier.artifacts.split_file import read_events
from sequifier.config.inference import InferConfig
from sequifier.dataset.naive import NaiveErrors, naive_errors
from sequifier.errors import SequifierError
from sequifier.inference.check import Job


def naive_errors_of(config: InferConfig, job: Job) -> dict[str, NaiveErrors]:
    """Return the errors of each evaluated real target of events.

    They are known where the events are a split of the model's training data, whose first split still exists.
    """
    file, metadata = job.file, job.source.metadata
    if metadata is None or metadata.fingerprint != file.data["fingerprint"] or job.request.of_sequences:
        return {}
    found = {}
    for target in job.source.evaluated:
        if target.kind != "real":
            continue
        scale = file.scale(target.name)
        columns = [target.name, *(statistics_columns(target.name) if scale.by_sequence else ())]
        try:
            path = find_split(metadata, file.config["training_data_path"], config.project_root, "data_path")
            train = read_events(path, columns, expected_hashes=metadata.sequifier.column_hashes[0])
        except SequifierError:
            return {}  # it was moved or changed since, or the model was trained on something else
        errors = naive_errors(train, target.name, scale, train.sequence_ids, has_start=file.time.has_start)
        if errors is not None:
            found[target.name] = errors
    return found
