"""The batch script that starts a search on an allocation of Slurm, through Ray."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.atomic import check_writable, write_text
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.execution.cluster.places import check_fields

_NODES, _CPUS = 2, 8

_SCRIPT = """\
#!/bin/bash
# Start it by `sbatch {script}`. Edit what it requests; the same script resumes the search after a time limit.
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cpus}
{gpus}#SBATCH --time=24:00:00
#SBATCH --output={output}

set -euo pipefail
cd {folder}
export PATH={programs}:"$PATH"
read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address="$head:$((20000 + SLURM_JOB_ID % 20000))"  # jobs that share a node need different ports

# One Ray node for each node of the job, the search on the first one; all end together. The search finds the cluster of
# its node by `auto`, with which Ray also finds its authentication token, if there is one.
unset RAY_ADDRESS
srun --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task={cpus} \\
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \\
    --num-cpus={cpus} ${{SLURM_GPUS_ON_NODE:+--num-gpus=$SLURM_GPUS_ON_NODE}} -- \\
    {command} -D execution.engine=ray execution.address=auto
"""

_GPUS = """\
##SBATCH --gpus-per-node=4   # remove one # to train on GPUs
"""


def write_script(config: SearchConfig, words: Sequence[str]) -> Path:
    """Write the batch script of a search into `configs`, for the folder and the programs of this process.

    Args:
        config: the search.
        words: of the command that starts it, after `sequifier`.

    Raises:
        ConfigError: a field is of one machine.
        RunError: there is another script of this name, which may have been edited; or no file can be written.
    """
    name = config.hp_search_name
    path = config.root / "configs" / f"{name}-slurm.sh"
    cpus = max(_CPUS, config.execution.cpus_per_run or 1)
    device = str(dict(config.training_hyperparameter_sampling)["device"])
    check_fields(config, device)
    on_gpus = device != "cpu" and config.execution.gpus_per_run
    # Slurm opens the output before the script begins: it makes no folder, and replaces %.
    logs = (config.root / "logs").absolute()
    output = str(logs / name).replace("%", "%%") + "-slurm-%j.out"
    text = _SCRIPT.format(
        script=shlex.quote(str(path)),
        name=shlex.quote(name),
        nodes=_NODES,
        cpus=cpus,
        gpus=_GPUS if on_gpus else "",
        output=shlex.quote(output),
        folder=shlex.quote(str(Path.cwd())),
        programs=shlex.quote(str(Path(sys.executable).parent)),
        command=shlex.join(["sequifier", *words, "--yes"]),
    )
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise RunError(
            "the batch script exists and is not overwritten", where=str(path), fix="delete it, or start it as it is"
        )
    check_writable(logs)
    write_text(path, text)
    return path
