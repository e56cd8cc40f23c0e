"""Planning a search on the files of its project, before anything trains and again whenever its ledger has grown."""

from collections.abc import Sequence
from dataclasses import replace

from sequifier.artifacts.ledger import Record
from sequifier.artifacts.metadata import check_planned, find_metadata, find_split, read_metadata
from sequifier.artifacts.shard_folder import content_stat
from sequifier.config.search import SearchConfig
from sequifier.search.make_plan import make_plan
from sequifier.search.optimizer_steps import StepCounter
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.program_check import check_programs
from sequifier.search.proposals import Proposer
from sequifier.search.repeats import with_repeats
from sequifier.search.run_file import write_run_files
from sequifier.search.strategy_kinds import STRATEGIES


class Planner:
    """Plans a search on its data.

    Raises:
        ConfigError, DataError: there are no metadata, or they cannot be read.

    Attributes:
        config: the search.
        metadata: of its data, as they were when the search began.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self._path = find_metadata(config.metadata_config_path, config.project_root)
        self._stat = content_stat(self._path)
        self.metadata = read_metadata(self._path)
        self._steps_of = StepCounter(self.metadata)
        self._proposer: Proposer | None = None
        self._cpu_threads = config.cpu_threads

    @property
    def proposes(self) -> bool:
        """Whether the strategy learns from results, so that runs are proposed one by one."""
        return STRATEGIES[self.config.search_strategy].learns

    @property
    def refused(self) -> dict[str, int]:
        """Why proposed cells are not valid runs, and how many for each reason."""
        return {} if self._proposer is None else self._proposer.refused

    def use_threads(self, cpu_threads: int | None) -> None:
        """Give this number of threads to all runs that are planned or proposed from now on."""
        self._cpu_threads = cpu_threads

    def plan(self, records: Sequence[Record]) -> Plan:
        """The plan with all repeats, given the ledger."""
        if not records:
            from sequifier.search.split_check import check_splits  # numpy loads here

            check_splits(self.config, self.metadata)
        plan = make_plan(self.config, self.metadata, records=records, steps_of=self._steps_of)
        return with_repeats(plan.with_threads(self._cpu_threads), records)

    def propose(self, plan: Plan, records: Sequence[Record]) -> PlannedRun | None:
        """The next run of a strategy that learns from results, its run file written."""
        if not self.proposes:
            return None
        if self._proposer is None:
            self._proposer = Proposer(plan, self.metadata, steps_of=self._steps_of)
        proposed = self._proposer.next(records)
        if proposed is not None:
            proposed = proposed.with_threads(self._cpu_threads)
            write_run_files(replace(plan, runs=(proposed,)))
        return proposed

    def check_inputs(self) -> None:
        """Check that what every run needs is still there: the planned metadata, splits and evaluation script.

        Raises:
            ConfigError: a file that the config names is missing.
            DataError: a split that the metadata name is missing, or the metadata changed or cannot be read.
        """
        check_programs(self.config)
        splits, config = self.metadata.split_paths, self.config
        needed = [
            ("training_data_path", config.training_data_path or splits[0]),
            ("validation_data_path", config.validation_data_path or splits[min(1, len(splits) - 1)]),
            *[("metadata_config_path", path) for path in splits[2:3]],  # scores the winner
        ]
        for key, path in needed:
            find_split(self.metadata, path, config.project_root, key)
        if not self._path.exists() or (stat := content_stat(self._path)) != self._stat:
            check_planned(read_metadata(self._path), self.metadata.fingerprint, self._path)
            self._stat = stat
