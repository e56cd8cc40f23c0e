"""Check that the splits have targets for the longest horizon of a search, before anything trains."""

from sequifier.artifacts.metadata import Metadata
from sequifier.config.horizon import horizon_problem
from sequifier.config.loading.paths import find_input
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError


def check_horizons(config: SearchConfig, metadata: Metadata) -> None:
    """Read the lengths of the sequences, if a run of the search has a horizon.

    A split that is missing is reported elsewhere, when the search starts.

    Raises:
        ConfigError: a split has no target for the longest horizon.
        DataError: a split cannot be read.
    """
    spec = dict(config.training_hyperparameter_sampling)
    longest = config.horizons[1]
    needed = (("training", 0, longest), ("validation", 1, spec["evaluation_horizon"] or longest))
    if max(steps for _, _, steps in needed) == 1:
        return
    from sequifier.artifacts.split_file import read_events  # numpy loads here
    from sequifier.dataset.windows import most_steps

    splits = metadata.split_paths
    for name, number, steps in needed:
        key = f"{name}_data_path"
        try:
            given = getattr(config, key) or splits[min(number, len(splits) - 1)]
            path = find_input(given, config.project_root, key)
        except ConfigError:
            continue
        events = read_events(path, [], expected_hashes=None, format=config.read_format)
        sees_context = number == 1 and spec["evaluation_context"] == "full"
        most = most_steps(events.offsets, events.n_context, sees_context=sees_context)
        if steps > max(most, 1):
            raise ConfigError([horizon_problem(steps, most, name)])
