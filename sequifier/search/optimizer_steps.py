"""The optimizer steps of a planned run, for learning rate schedules that count them."""

from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts.metadata import Metadata
from sequifier.config.loading.paths import find_input
from sequifier.config.train import TrainConfig

if TYPE_CHECKING:
    from sequifier.artifacts.events import Events


class StepCounter:
    """Counts the optimizer steps of runs on one data set; reads a training split when it is first asked about it."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._n_windows: dict[tuple[object, ...], int] = {}
        self._events: dict[Path, Events] = {}

    def __call__(self, config: TrainConfig) -> int:
        """The number of steps of a resolved run, all its epochs together."""
        from sequifier.artifacts.split_file import read_events  # numpy loads here
        from sequifier.dataset.windows import label_windows, training_windows

        assert config.training_data_path and config.seq_length and config.window_stride
        path = find_input(config.training_data_path, config.project_root, "training_data_path")
        if path not in self._events:
            self._events[path] = read_events(path, [*config.target_positions], expected_hashes=None)
        key = (path, config.seq_length, config.window_stride, config.predicts_from_last, config.prediction_horizon)
        if key not in self._n_windows:
            events, n_windows = self._events[path], 0
            if config.targets_at(None):
                windows = training_windows(
                    events.offsets,
                    events.n_context,
                    seq_length=config.seq_length,
                    stride=config.window_stride,
                    mode=self._metadata.sequifier.subsequence_start_mode,
                    only_last=config.predicts_from_last,
                    horizon=config.prediction_horizon,
                )
                n_windows = len(windows)
            for position, target in {position: name for name, position in config.target_positions.items()}.items():
                n_windows += len(label_windows(events, target, every=position == "every"))
            self._n_windows[key] = n_windows
        return config.training_spec.optimizer_steps(self._n_windows[key])
