"""The rank of the true class among its candidates, from the probabilities of an exported model, as in training.

Probabilities are float32: classes whose logits differ by less than that are ties, which count against the truth.
Shapes: M predicted events, K known classes.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events
from sequifier.artifacts.metadata import find_split
from sequifier.artifacts.split_file import read_events
from sequifier.callbacks import Log
from sequifier.config.inference import InferConfig
from sequifier.config.ranking import Ranking, SampledCandidates
from sequifier.dataset.ranking.candidates import Candidates, build_candidates
from sequifier.dataset.ranking.history import Rows, missing_events
from sequifier.errors import DataError
from sequifier.inference.check import Job
from sequifier.metrics.predictions import ClassPredictions


class Histories:
    """The whole histories of the sequences of encoded events: with the events of earlier splits that they lack.

    Args:
        config: project_root.
        job: the model and the events.
    """

    def __init__(self, config: InferConfig, job: Job) -> None:
        self._root, self._job, self._source = config.project_root, job, job.source
        self._read: dict[tuple[str, int], Events] = {}

    def missing(self, events: Events, target: str) -> dict[int, NDArray[Any]]:
        """Return the classes that a part of the events lacks at the start of its sequences, by number of the sequence.

        Raises:
            DataError: they are not known, because no metadata name the splits before this one.
        """
        return missing_events(events, target, self._context_events, partial(self._earlier, target))

    def candidates(self, events: Events, ranking: Mapping[str, Ranking]) -> dict[str, Candidates]:
        """Return the candidates of ranked targets in a part of the events.

        Raises:
            DataError: a target has too few candidates, or its history is not known.
        """
        file, metadata = self._job.file, self._source.metadata
        train = events
        by_popularity = [
            target
            for target, asked in ranking.items()
            if isinstance(asked.candidates, SampledCandidates) and asked.candidates.by == "popularity"
        ]
        if by_popularity:
            splits = [self._split(target, 0) for target in by_popularity]
            train = replace(
                splits[0], columns={name: each.columns[name] for name, each in zip(by_popularity, splits, strict=True)}
            )
        return build_candidates(
            ranking,
            split=lambda target: events,
            earlier=self._earlier,
            train=train,
            n_classes={target.name: target.n_classes for target in file.architecture.targets},
            context_events=self._context_events,
            fingerprint="" if metadata is None else metadata.fingerprint,
            end_ids=file.end_ids,
        )

    @property
    def _context_events(self) -> int:
        """Number of context events above which a sequence may lack some; where it is not known, any may."""
        metadata = self._source.metadata
        return 1 if metadata is None else metadata.sequifier.context_events

    def _earlier(self, target: str) -> list[Events]:
        if self._source.metadata is None:
            raise DataError(
                f"the events before those of the split are not known, so neither is the history of `{target}`",
                where=str(self._source.path),
                fix="give the metadata that name this split (metadata_config_path), or use read_format: raw",
            )
        return [self._split(target, number) for number in range(self._source.number)]

    def _split(self, target: str, number: int) -> Events:
        metadata = self._source.metadata
        assert metadata is not None
        if (target, number) not in self._read:
            path = find_split(metadata, metadata.split_paths[number], self._root, "data_path")
            hashes = metadata.sequifier.column_hashes[number]
            self._read[target, number] = read_events(path, [target], expected_hashes=hashes)
        return self._read[target, number]


def ranking_of(config: InferConfig, job: Job, log: Log) -> dict[str, Ranking]:
    """Return how the evaluated targets of a model are ranked: as in its training."""
    if config.autoregression or job.source.holds_windows:
        return {}
    evaluated = {target.name for target in job.source.evaluated}
    found = {}
    for target, stored in job.file.config.get("ranking", {}).items():
        asked = Ranking.model_validate(stored)
        if target not in evaluated:
            continue
        if job.source.metadata is None and (asked.exclude_seen or asked.is_sampled):
            log(f"note: `{target}` is not ranked: no metadata name the splits before {job.source.path}")
            continue
        found[target] = asked
    return found


def ranked(
    candidates: Candidates,
    found: ClassPredictions,
    probabilities: NDArray[np.float32],
    truth: NDArray[np.integer],
    rows: Rows,
) -> ClassPredictions:
    """Return predictions with the place of the true class among the candidates.

    Args:
        candidates: of the target.
        found: the predictions.
        probabilities: (M, K + 1) of ids 0 to K.
        truth: (M,) true ids, known ones.
        rows: of the events, (M,).
    """
    of_truth = probabilities[np.arange(len(truth)), truth]
    rank = (probabilities[:, 1:] >= of_truth[:, None]).sum(axis=1) - 1
    (ahead,) = candidates.ahead(rows, lambda owner, classes: [probabilities[owner, classes] >= of_truth[owner]])
    place = np.maximum(candidates.place(rank, ahead), 0)  # of an END it has no meaning, and counts nowhere
    return replace(found, place=place.astype(np.float64), cutoffs=candidates.cutoffs)
