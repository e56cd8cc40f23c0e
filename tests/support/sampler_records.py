"""Records of a sampler search, computed from a formula."""

import random
from typing import Any

from sequifier.artifacts.sampler_results import SCORE, SamplerRecord

RANGES = {"top_p": ("top_p", 0.8, 0.99), "min_p": ("min_p", 0.005, 0.15), "top_k": ("top_k", 5, 100)}


def records(n: int = 30, *, seed: int = 0, search: str = "a" * 16) -> list[SamplerRecord]:
    """Return records of random configurations; min_p at a temperature of 1 is best, and one has no score."""
    draw = random.Random(seed)
    found = []
    for run in range(n):
        sampler = list(RANGES)[run % 3]
        name, low, high = RANGES[sampler]
        value = draw.randint(int(low), int(high)) if sampler == "top_k" else draw.uniform(low, high)
        parameters = {"temperature": draw.uniform(0.6, 1.6), name: value, "max_tokens": 32}
        score = 8.0 - 4 * (parameters["temperature"] - 1) ** 2 - (0 if sampler == "min_p" else 1)
        prompts = [score + draw.gauss(0, 0.5) for _ in range(8)]
        values: dict[str, Any] = {
            "run": run,
            "name": f"hot-run-{run}",
            "identity": f"{search}{run:048d}",
            "data": "evaluated",
            "batch_size": 1,
            "seed": 42,
            "search": search,
            "strategy": "random",
            "model": "m.onnx",
            "sampler_type": sampler,
            "parameters": parameters,
        }
        if run == 4:
            found.append(SamplerRecord.model_validate(values | {"state": "failed", "error": "no answer"}))
            continue
        mean = sum(prompts) / 8
        result = {
            "state": "finished",
            "mean_score": mean,
            "std_score": 0.5,
            "standard_error": 0.2,
            "scores": {"token_accuracy": mean},
            "metrics": {SCORE: mean, "mae": 10 - mean},
            "by_prompt": prompts,
            "sample_count": 24,
            "seconds": {"total": 2.0},
        }
        found.append(SamplerRecord.model_validate(values | result))
    return found
