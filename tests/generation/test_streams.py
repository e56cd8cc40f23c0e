"""Random numbers by place."""

import numpy as np
import pytest

from sequifier.generation.streams import philox, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0,) * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_generator_gives_the_published_numbers(
    counter: tuple[int, ...], key: tuple[int, int], expected: str
) -> None:
    """Known answers of the authors' library Random123 (kat_vectors)."""
    c0, c1, c2, c3 = (np.array([word], dtype=np.uint64) for word in counter)
    words = philox((c0, c1, c2, c3), (np.uint64(key[0]), np.uint64(key[1])))
    assert " ".join(f"{int(word[0]):08x}" for word in words) == expected


def test_a_number_belongs_to_its_place() -> None:
    sequences = np.arange(100)
    whole = uniforms(7, sequences, 3, 0)
    assert ((whole >= 0) & (whole < 1)).all()
    np.testing.assert_array_equal(uniforms(7, sequences[40:45], 3, 0), whole[40:45])
    np.testing.assert_array_equal(uniforms(7, np.full(5, 2), np.arange(5), 0)[3], whole[2])
    for other in (uniforms(8, sequences, 3, 0), uniforms(7, sequences, 4, 0), uniforms(7, sequences, 3, 1)):
        assert not (other == whole).any()


def test_numbers_are_spread_evenly_and_independent_of_neighbours() -> None:
    grid = np.stack([uniforms(2**63 - 1, np.arange(1000), step, 0) for step in range(100)])
    counts = np.histogram(grid, bins=20, range=(0, 1))[0]
    expected = grid.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8, "chi-square, 19 degrees of freedom, p = 0.001"
    for pair in ((grid[1:], grid[:-1]), (grid[:, 1:], grid[:, :-1])):
        assert abs(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]) < 0.012, "four standard errors"
