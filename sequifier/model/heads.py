"""From the vector of a step to a prediction of each target."""

from collections.abc import Mapping

from torch import Tensor, nn


class Heads(nn.Module):
    """One linear layer per target.

    Args:
        dim_model: D.
        target_classes: target name -> its classes, id 0 included; 0 for a real target.
    """

    def __init__(self, *, dim_model: int, target_classes: Mapping[str, int]) -> None:
        super().__init__()
        for name, n_classes in target_classes.items():
            if n_classes == 1:
                raise ValueError(f"target {name!r} has no class besides 0, which is never predicted")
        self.target_classes = dict(target_classes)
        # A list in target order: a target's name may hold dots, which module names may not.
        self.linear = nn.ModuleList(
            nn.Linear(dim_model, n_classes - 1 if n_classes else 1) for n_classes in target_classes.values()
        )

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """Predict all targets from each vector.

        Args:
            hidden: (..., D).

        Returns:
            Target name -> (..., n_classes - 1) logits, class c at index c - 1; or (...,) values of a real target.
        """
        predictions = {}
        for (name, n_classes), linear in zip(self.target_classes.items(), self.linear, strict=True):
            prediction = linear(hidden)
            predictions[name] = prediction if n_classes else prediction.squeeze(-1)
        return predictions
