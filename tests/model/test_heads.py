"""Predictions of targets of both kinds."""

import pytest
import torch

from sequifier.model.heads import Heads


def test_each_target_gets_its_own_linear_layer() -> None:
    heads = Heads(dim_model=4, target_classes={"a.b kind": 6, "größe": 0})
    hidden = torch.randn(2, 3, 4)
    predictions = {name: decoder.prediction() for name, decoder in heads(hidden).items()}
    logits, value = heads.linear
    assert list(predictions) == ["a.b kind", "größe"]
    torch.testing.assert_close(predictions["a.b kind"], hidden @ logits.weight.T + logits.bias)
    torch.testing.assert_close(predictions["größe"], hidden @ value.weight[0] + value.bias)


def test_class_0_has_no_logit() -> None:
    assert Heads(dim_model=4, target_classes={"kind": 6})(torch.zeros(7, 4))["kind"].prediction().shape == (7, 5)


def test_a_target_without_a_known_class_is_refused() -> None:
    with pytest.raises(ValueError, match="'kind' has no class besides 0"):
        Heads(dim_model=4, target_classes={"kind": 1})
