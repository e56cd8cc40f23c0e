"""Columns side by side."""

import pytest
import torch

from sequifier.model.embedding import EventEmbedding


def test_parts_are_concatenated_in_column_order() -> None:
    embedding = EventEmbedding(n_classes=(5, 3), n_real=2, embedding_widths=(4, 2, 3, 1), dim_model=10, joint=False)
    categories = torch.tensor([[[1, 2], [4, 0]]])
    reals = torch.tensor([[[0.5, -1.0], [2.0, 3.0]]])
    first, second = embedding.categorical
    real = embedding.real[0]
    expected = [
        torch.cat(
            [
                first.weight[categories[0, step, 0]],
                second.weight[categories[0, step, 1]],
                real.weight[:, 0] * reals[0, step, 0] + real.bias,
                reals[0, step, 1:],  # width 1: the raw value
            ]
        )
        for step in range(2)
    ]
    torch.testing.assert_close(embedding(categories, reals), torch.stack(expected)[None])


def test_a_joint_layer_mixes_them() -> None:
    embedding = EventEmbedding(n_classes=(5,), n_real=0, embedding_widths=(3,), dim_model=6, joint=True)
    vectors = embedding(torch.tensor([[[2]]]), torch.empty(1, 1, 0))
    expected = embedding.categorical[0].weight[2] @ embedding.joint.weight.T + embedding.joint.bias
    torch.testing.assert_close(vectors[0, 0], expected)


def test_stored_ids_of_32_bits_are_taken_as_they_are() -> None:
    embedding = EventEmbedding(n_classes=(5,), n_real=0, embedding_widths=(3,), dim_model=3, joint=False)
    ids, no_reals = torch.tensor([[[2], [4]]]), torch.empty(1, 2, 0)
    assert torch.equal(embedding(ids.int(), no_reals), embedding(ids, no_reals))


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_id_0_stays_zero_in_training(optimizer: type[torch.optim.Optimizer]) -> None:
    embedding = EventEmbedding(n_classes=(4,), n_real=0, embedding_widths=(2,), dim_model=2, joint=False)
    steps = optimizer(embedding.parameters(), lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
    for _ in range(3):
        embedding(torch.tensor([[[0], [1], [3]]]), torch.empty(1, 3, 0)).sum().backward()
        steps.step()
    assert embedding.categorical[0].weight[0].tolist() == [0.0, 0.0]


def test_widths_that_do_not_sum_to_the_model_width_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to 5, not to dim_model 8"):
        EventEmbedding(n_classes=(4,), n_real=1, embedding_widths=(3, 2), dim_model=8, joint=False)


def test_a_width_for_each_column_is_required() -> None:
    with pytest.raises(ValueError, match="1 embedding_widths for 1 categorical and 1 real columns"):
        EventEmbedding(n_classes=(4,), n_real=1, embedding_widths=(8,), dim_model=8, joint=False)
