"""The engine that a search config names: this machine, or a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sequifier.callbacks import Log
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, Problem
from sequifier.execution.engine import LocalEngine
from sequifier.search.executor import Engine


@contextmanager
def engine_of(config: SearchConfig, *, connects: bool, log: Log) -> Iterator[Engine]:
    """Yield the engine of a search, whose processes have ended when the block is left.

    Args:
        config: the search.
        connects: False for a plan alone, which needs no cluster.
        log: receives lines about the cluster.

    Raises:
        ConfigError: it is a Ray cluster, and Ray is not installed.
    """
    if config.execution.engine == "local":
        folder = config.root / "logs" / config.hp_search_name
        yield LocalEngine(folder, stall_seconds=60 * config.stall_minutes)
        return
    if find_spec("ray") is None:
        fix = "pip install 'sequifier-search[ray]', on all nodes; or write `engine: local`"
        raise ConfigError([Problem("execution.engine", "ray is not installed here", fix=fix)])
    from sequifier.execution.cluster.engine import RayEngine  # Ray loads here

    engine = RayEngine(config, connects=connects, log=log)
    try:
        yield engine
    finally:
        engine.close()
