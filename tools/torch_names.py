"""Write `config/catalogue/torch_names.json` from the installed libraries: `python -m tools.torch_names`.

Options, types and defaults are read from signatures; whether an optimizer can be used is found by a trial.
The tables below have what no signature shows; `generate` fails when one of them is no longer true.
"""

import collections.abc
import inspect
import json
import math
import types
import typing
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from sequifier.config.catalogue import torch_names as config_names
from sequifier.config.catalogue.torch_names import AUTO_OPTIONS, read_optimizer_entry
from sequifier.training.losses import LOSSES
from tools.trial import try_optimizer

PATH = Path(config_names.__file__).with_name("torch_names.json")

RESERVED = {
    "optimizers": {
        "lr": "is `training_spec.learning_rate`; set it there",
        "learning_rate": "is `training_spec.learning_rate`; set it there",
        "params": "are the model's parameters",
        "model": "is the model of the run",
        "optimizer": "is AdamW over the parameters of the run",
        "maximize": "would train towards the largest loss",
        "capturable": "is for CUDA graphs, which are not used",
        "differentiable": "is for training through an optimizer's steps",
        "use_muon": "is set by Sequifier: Muon trains the matrices of the blocks",
    },
    "schedulers": {
        "optimizer": "is the optimizer of the run",
        "last_epoch": "is restored from the checkpoint",
        "verbose": "no longer exists; each epoch's learning rate is in the log",
        "scale_fn": "needs a Python function, which YAML cannot hold; use `mode`",
        "scale_mode": "belongs to `scale_fn`, which needs a Python function; use `mode`",
    },
    "criteria": {
        "reduction": "is fixed: the sum over valid positions divided by their number",
        "reduce": "is fixed: the sum over valid positions divided by their number",
        "size_average": "is fixed: the sum over valid positions divided by their number",
        "weight": "is `training_spec.class_weights`",
        "ignore_index": "is fixed: padding and unknown (id 0) never count",
    },
}
"""Keyword arguments that a config cannot set, and why."""

OUR_DEFAULTS: dict[str, dict[str, Any]] = {
    "AdEMAMix": {"weight_decouple": True},  # as in the paper, and in v1
    "AdaFactor": {"relative_step": False},  # else it takes no notice of learning_rate
    "Shampoo": {"matrix_eps": 1e-4},  # as in v1; with 1e-6 the rank-deficient gradient of a softmax head gave NaN
    "Muon": {"adjust_lr_fn": "match_rms_adamw"},  # so that one learning rate suits Muon and its AdamW part
}

CHOICES: dict[str, dict[str, list[Any]]] = {
    "Muon": {"adjust_lr_fn": ["original", "match_rms_adamw"]},
    "MultiMarginLoss": {"p": [1, 2]},
}
"""Allowed values that no annotation lists."""

AT_LEAST_1 = (*AUTO_OPTIONS, "T_mult", "step_size", "step_size_up", "step_size_down")
"""Lengths in a scheduler that torch divides by, in some schedulers only in the middle of a run."""

MATRICES_ONLY = ("Muon", "AdaGO", "AdaMuon", "MuonClip", "NorMuon")

STATE_COPIES = {"SGD": 0, "SignSGD": 0, "Lion": 1, "Muon": 1, "Adagrad": 1, "RMSprop": 1, "AdEMAMix": 3}
"""Numbers that an optimizer stores for each parameter, where they are not 2 as for Adam."""

WRAPPER = "it wraps another optimizer, which a name with options cannot describe"
CLOSURE = "it runs the model again inside its step (a closure), which the training loop does not support"
HESSIAN = "it needs second derivatives (backward with create_graph)"
NOT_PLAIN = "its state has Python objects, so its checkpoint does not load with weights_only"

UNSUPPORTED_OPTIMIZERS = {
    "LBFGS": CLOSURE,
    "AliG": CLOSURE,
    "BSAM": CLOSURE,
    "SAM": WRAPPER + ", and runs the model twice per step",
    "FriendlySAM": WRAPPER + ", and runs the model twice per step",
    "GSAM": WRAPPER + ", and runs the model twice per step",
    "LookSAM": WRAPPER + ", and runs the model twice per step",
    "WSAM": WRAPPER + ", and runs the model twice per step",
    "Lookahead": WRAPPER + "; Ranger is RAdam with it",
    "OrthoGrad": WRAPPER,
    "PCGrad": WRAPPER + ", and needs a loss per task",
    "SafeFP16Optimizer": WRAPPER,
    "ScheduleFreeWrapper": WRAPPER + "; ScheduleFreeAdamW, ScheduleFreeRAdam and ScheduleFreeSGD need none",
    "TRAC": WRAPPER,
    "AdaHessian": HESSIAN,
    "SophiaH": HESSIAN,
    "SparseAdam": "it needs sparse gradients, and ours are dense; use Adam",
    "AdaLOMO": "it updates during the backward pass, which excludes accumulation and clipping",
    "LOMO": "it updates during the backward pass, which excludes accumulation and clipping",
    "AdamMini": "it needs the parameter names of one architecture; use Adam or Lion",
    "LoRARite": "it is for the pairs of matrices of low-rank adapters",
    "SpectralSphere": "it trains matrices only, not biases, norms and embeddings",
    "DeMo": "it is for several processes, and needs the package einops",
    "DistributedMuon": "it is for several processes; Muon does the same in one",
    "AdaShift": NOT_PLAIN,
    "Conda": NOT_PLAIN,
    "Kron": "it uses numpy's global random generator, which a checkpoint does not store; SOAP is similar",
    "SCION": NOT_PLAIN,
    "SCIONLight": NOT_PLAIN,
    "ScalableShampoo": NOT_PLAIN + "; Shampoo and SOAP are similar",
}
"""Optimizers that fail their trial, and why."""

GONE = {
    "RangerQH": "no library has it any more; use Ranger or QHAdam",
    "RangerVA": "no library has it any more; use Ranger",
}
"""Names of v1 whose class no longer exists."""

OPTIMIZER_ALIASES = {
    "A2GradUni": {"name": "A2Grad", "options": {"variant": "uni"}},
    "A2GradInc": {"name": "A2Grad", "options": {"variant": "inc"}},
    "A2GradExp": {"name": "A2Grad", "options": {"variant": "exp"}},
    "Apollo": {"name": "ApolloDQN"},
}
"""v1's names that differ from today's in more than case (v1 took them from the package torch_optimizer)."""

OPTION_ALIASES = {
    "AccSGD": {"small_const": "constant"},
    "AdEMAMix": {"T_alpha_beta3": "t_alpha_beta3"},
    "AdaBelief": {"amsgrad": "ams_bound"},
    "AdaBound": {"amsbound": "ams_bound"},
    "ApolloDQN": {"warmup": "warmup_steps"},
    "DiffGrad": {"amsgrad": "ams_bound"},
    "QHAdam": {"decouple_weight_decay": "weight_decouple"},
    "SWATS": {"amsgrad": "ams_bound"},
    "Shampoo": {"epsilon": "matrix_eps", "update_freq": "preconditioning_compute_steps"},
}
"""v1's options that have another name today, by today's optimizer."""

FUNCTION = "it needs a Python function, which YAML cannot hold"
UNSUPPORTED_SCHEDULERS = {"LambdaLR": FUNCTION, "MultiplicativeLR": FUNCTION + "; ExponentialLR multiplies by a number"}

NOT_A_CRITERION = "it does not take (prediction, target) of one target; available: " + ", ".join(LOSSES)


def optimizer_classes() -> dict[str, tuple[str, type[Optimizer]]]:
    """Return every optimizer class by name, with its library. Of equal names, torch.optim's counts."""
    import pytorch_optimizer

    found: dict[str, tuple[str, type[Optimizer]]] = {}
    for library, module in (("torch", torch.optim), ("pytorch_optimizer", pytorch_optimizer)):
        for name, member in sorted(vars(module).items()):
            if inspect.isclass(member) and issubclass(member, Optimizer) and member is not Optimizer:
                found.setdefault(name, (library, member))
    return found


def _optimizers() -> tuple[dict[str, Any], dict[str, str]]:
    supported, unsupported = {}, dict(GONE)
    for name, (library, optimizer_class) in optimizer_classes().items():
        options = _described(name, optimizer_class, "optimizers")
        entry: dict[str, Any] = {"from": library, "options": options}
        if name in MATRICES_ONLY:
            entry["matrices_only"] = True
        if name in STATE_COPIES:
            entry["state_copies"] = STATE_COPIES[name]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the libraries, about their own code
                entry |= try_optimizer(name, read_optimizer_entry(entry))
        except Exception as error:
            if name not in UNSUPPORTED_OPTIMIZERS:
                raise RuntimeError(f"{name} cannot be used; say why in UNSUPPORTED_OPTIMIZERS") from error
            unsupported[name] = UNSUPPORTED_OPTIMIZERS[name]
        else:
            supported[name] = entry
    if stale := UNSUPPORTED_OPTIMIZERS.keys() - unsupported.keys():
        raise RuntimeError(f"these can be used now, or are gone: {sorted(stale)}")
    return supported, dict(sorted(unsupported.items()))


def _schedulers() -> dict[str, Any]:
    classes = {
        name: member
        for name, member in vars(lr_scheduler).items()
        if inspect.isclass(member)
        and issubclass(member, lr_scheduler.LRScheduler)
        and not name.startswith("_")
        and member is not lr_scheduler.LRScheduler
    }
    supported = sorted(classes.keys() - UNSUPPORTED_SCHEDULERS.keys())
    return {name: {"options": _described(name, classes[name], "schedulers")} for name in supported}


def _criteria() -> tuple[dict[str, Any], dict[str, str]]:
    supported = {
        name: {"kind": loss.kind, "options": _described(name, getattr(nn, name), "criteria")}
        for name, loss in LOSSES.items()
    }
    losses = [name for name in vars(nn) if name.endswith("Loss") and name not in supported]
    return supported, dict.fromkeys(sorted(losses), NOT_A_CRITERION)


def _described(name: str, described: type, family: str) -> dict[str, Any]:
    """Return the options of a class as they are in the file."""
    options = {}
    for parameter in inspect.signature(described, eval_str=True, locals=vars(collections.abc)).parameters.values():
        fixed = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        if fixed or parameter.name in RESERVED[family] or parameter.name in ("schedulers", "lr_lambda"):
            continue
        option = _option(parameter)
        if option is None:  # a function, a dtype, an object: not for YAML
            continue
        if choices := CHOICES.get(name, {}).get(parameter.name):
            option["choices"] = choices
        if family == "schedulers" and parameter.name in AT_LEAST_1:
            option["minimum"] = 1
        if parameter.name in OUR_DEFAULTS.get(name, {}) and family == "optimizers":
            option["library_default"] = option.get("default")
            option["default"] = OUR_DEFAULTS[name][parameter.name]
        options[parameter.name] = option
    return options


def _option(parameter: inspect.Parameter) -> dict[str, Any] | None:
    default, required = parameter.default, parameter.default is inspect.Parameter.empty
    annotation = parameter.annotation if parameter.annotation is not inspect.Parameter.empty else type(default)
    members = list(_members(annotation))
    scalar = next((kind for kind in (bool, int, float, str) if kind in members), None)
    if float in members and scalar is int:
        scalar = float
    literals = [
        choice
        for member in members
        if typing.get_origin(member) is typing.Literal
        for choice in typing.get_args(member)
    ]
    sequences = [member for member in members if _is_sequence(member)]
    option: dict[str, Any]
    if literals:
        option = {"type": type(literals[0]).__name__, "choices": literals}
    elif isinstance(default, tuple) or (sequences and scalar is None):
        item = next((kind for kind in (int, float, str) if any(kind in _items(member) for member in sequences)), float)
        option = {"type": "list", "items": item.__name__}
        if isinstance(default, tuple) and len(default) > 1:
            option["length"] = len(default)
    elif scalar is not None:
        option = {"type": scalar.__name__}
    else:
        return None
    if required:
        return option | {"required": True}
    is_nullable = default is None or type(None) in members or (isinstance(default, tuple) and None in default)
    return option | {"default": _plain(default, option["type"])} | ({"nullable": True} if is_nullable else {})


def _members(annotation: Any) -> Iterable[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _is_sequence(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    return inspect.isclass(origin) and issubclass(origin, Iterable) and not issubclass(origin, str | Mapping | Tensor)


def _items(annotation: Any) -> list[Any]:
    return [member for item in typing.get_args(annotation) for member in _members(item)]


def _plain(default: Any, kind: str) -> Any:
    if isinstance(default, tuple):
        return list(default)
    if kind == "float" and default is not None:
        return float(default) if math.isfinite(default) else str(default)
    return default


def versions() -> dict[str, str]:
    """Return the versions of the installed libraries; "2.13.0+cpu" and "2.13.0+cu130" are the same."""
    return {name: version(name).partition("+")[0] for name in ("torch", "pytorch_optimizer")}


def generate() -> dict[str, Any]:
    """Return the content of the file for the installed libraries.

    Raises:
        RuntimeError: a table of this module no longer agrees with the libraries.
    """
    optimizers, unsupported_optimizers = _optimizers()
    criteria, unsupported_criteria = _criteria()
    return {
        "versions": versions(),
        "optimizers": optimizers,
        "schedulers": _schedulers(),
        "criteria": criteria,
        "unsupported": {
            "optimizers": unsupported_optimizers,
            "schedulers": UNSUPPORTED_SCHEDULERS,
            "criteria": unsupported_criteria,
        },
        "aliases": {"optimizers": OPTIMIZER_ALIASES, "schedulers": {}, "criteria": {}},
        "option_aliases": OPTION_ALIASES,
        "reserved": RESERVED,
    }


def text(content: Mapping[str, Any]) -> str:
    """Return the text of the file: one option per line."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def main() -> None:
    """Write the file."""
    PATH.write_text(text(generate()), encoding="utf-8")
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
