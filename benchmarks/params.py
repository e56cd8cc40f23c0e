"""`sequifier.params` beside `hyperparameter` 0.6.0, whose core is Rust: reading, entering scopes, calling functions.

The same statements run in both, in turn, in processes of their own; what counts is the shortest of many short loops,
which a busy machine disturbs least. The peer gets a virtual environment in a cache folder, made once.

    python benchmarks/params.py [--rounds 5]
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import peers

PEER = "hyperparameter==0.6.0"
LIMITS = {"read": 1.0, "read, key made up": 1.0, "enter and leave a scope": 1.0, "call, three defaults": 1.5}
"""Microseconds that ours may take, with few keys or many."""

MEASURE = """
import json, sys, timeit
if sys.argv[1] == "ours":
    from sequifier.params import auto_param, param_scope
else:
    from hyperparameter import param as auto_param, scope as param_scope

@auto_param("train")
def train(lr=1e-3, batch_size=32, name="a"):
    pass

given = {"model.dropout": 0.3}
statements = {
    "read": "param_scope.model.dropout | 0.1",
    "read, key made up": "param_scope['model.dropout'] | 0.1",
    "enter and leave a scope": "with param_scope(**given): pass",
    "call, three defaults": "train()",
    "call, three from the scope": "train()",
}

def shortest(statement):
    timer = timeit.Timer(statement, globals=globals())
    try:
        loops = max(20, int(0.002 / (timer.timeit(20) / 20)))
    except TypeError:
        return None  # not there: the peer has no brackets on its current scope
    return min(timer.repeat(25, loops)) / loops * 1e6

def measured(n_keys):
    found = {}
    with param_scope(**{f"k{i}.x": i for i in range(n_keys)}):
        for name, statement in statements.items():
            if "from the scope" in name:
                with param_scope(**{"train.lr": 0.1, "train.batch_size": 4, "train.name": "b"}):
                    found[f"{name} ({n_keys:,} keys)"] = shortest(statement)
            else:
                found[f"{name} ({n_keys:,} keys)"] = shortest(statement)
    return found

without = {f"{name} (no scope)": shortest(statements[name]) for name in list(statements)[:4]}
print(json.dumps(without | measured(10) | measured(1000)))
"""


def peer_python() -> Path:
    """The interpreter of the peer's environment, installed when it is not there yet."""
    folder = peers.CACHE / PEER.replace("==", "-")
    python = folder / "bin/python"
    if not (folder / "installed").exists():
        print(f"installing {PEER} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
        (folder / "installed").touch()
    return python


def measure(python: str | Path, whose: str) -> dict[str, float | None]:
    """Microseconds of each statement, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SEQUIFIER_PARAMS")}
    done = subprocess.run(
        [str(python), "-c", MEASURE, whose], env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, float | None] = json.loads(done.stdout)
    return found


def least(rounds: list[dict[str, float | None]]) -> dict[str, float]:
    """The least of each statement over all rounds; infinite for one that is not there."""
    return {name: min(found[name] or float("inf") for found in rounds) for name in rounds[0]}


def main() -> None:
    """Measure in turn, print a table, fail above the limits."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    n_rounds = arguments.parse_args().rounds
    theirs_python = peer_python()
    rounds = [(measure(sys.executable, "ours"), measure(theirs_python, "theirs")) for _ in range(n_rounds)]
    ours, theirs = least([ours for ours, _ in rounds]), least([theirs for _, theirs in rounds])
    print(f"Python {platform.python_version()}, {platform.machine()}, {n_rounds} rounds; microseconds")
    print(f"| | ours | {PEER.replace('==', ' ')} | ratio |\n|---|---|---|---|")
    too_slow = []
    for name, own in ours.items():
        other = theirs[name]
        compared = "not there | " if other == float("inf") else f"{other:.2f} | {other / own:.0f}"
        print(f"| {name} | {own:.2f} | {compared} |")
        if own > LIMITS.get(name.partition(" (")[0], float("inf")):
            too_slow.append(f"{name}: {own:.2f}")
    if too_slow:
        raise SystemExit("above the limit: " + "; ".join(too_slow))


if __name__ == "__main__":
    main()
