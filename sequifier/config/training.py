"""`training_spec`: how one model is trained."""

from typing import Any

from pydantic import model_validator

from sequifier.config.computation_fields import ComputationFields
from sequifier.config.loss_fields import LossFields
from sequifier.config.optimization_fields import OptimizationFields
from sequifier.config.progress_fields import ProgressFields


class TrainingSpec(ComputationFields, ProgressFields, LossFields, OptimizationFields):  # fields of the last base first
    """How one model is trained."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, values: Any) -> Any:
        # v1 configs have null for "the default" in these two fields.
        if isinstance(values, dict):
            nulls = {"accumulation_steps", "layer_autocast"} & {key for key, value in values.items() if value is None}
            return {key: value for key, value in values.items() if key not in nulls}
        return values

    @property
    def step_size(self) -> int:
        """Windows in one optimizer step."""
        return self.effective_batch_size or self.batch_size * self.accumulation_steps

    def steps_per_epoch(self, n_windows: int) -> int:
        """Optimizer steps of one epoch on `n_windows` training windows."""
        return -(-n_windows // self.step_size)

    def optimizer_steps(self, n_windows: int) -> int:
        """Optimizer steps of a whole run on `n_windows` training windows."""
        steps = self.epochs * self.steps_per_epoch(n_windows)
        return min(steps, self.max_steps or steps)
