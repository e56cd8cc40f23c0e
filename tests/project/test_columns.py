"""What a column is good for, by its values and its name."""

import pytest

from sequifier.project.column_choice import choose, is_id_like, percent, words_of
from sequifier.project.column_facts import Facts
from sequifier.project.inspect_columns import InspectedColumn


def integers(*, distinct: int, lowest: int = 0, highest: int | None = None, rows: int = 10_000) -> Facts:
    return Facts("integer", rows, 0, distinct, lowest, distinct - 1 if highest is None else highest)


@pytest.mark.parametrize(
    ("column", "facts", "use"),
    [
        ("hour", integers(distinct=24), "categorical"),
        ("stars", integers(distinct=5), "categorical"),
        ("quantity", integers(distinct=12), "categorical"),
        ("quantity", integers(distinct=60), "real"),
        ("unitPrice", integers(distinct=500), "real"),
        ("x", integers(distinct=500), "categorical"),
        ("x", integers(distinct=500, lowest=-3), "real"),
        ("x", integers(distinct=1500), "real"),
        ("product_id", integers(distinct=1500), "categorical"),
        ("productId", integers(distinct=1500), "categorical"),
        ("x", integers(distinct=90, rows=300), "real"),
        ("zip_code", integers(distinct=90, rows=300), "categorical"),
        ("id", integers(distinct=10_000, lowest=10**6, highest=10**9), "left out"),
        ("x", integers(distinct=10_000), "left out"),  # 0 to 9,999: it only counts the rows
        ("x", integers(distinct=9_900, highest=10**9), "real"),
        ("amount", integers(distinct=10_000), "real"),
    ],
)
def test_integers_are_codes_measurements_or_ids(column, facts, use) -> None:
    choice = choose(column, facts, InspectedColumn("integer", None), is_target=False)
    assert choice.use == use
    assert choice.declared == ("real" if use == "real" else None)
    assert bool(choice.why) == (use != "categorical")


def test_a_target_stays_though_it_looks_like_an_id() -> None:
    facts = Facts("text", 1000, 0, 1000, "a", "z")
    assert choose("word", facts, InspectedColumn("text", None), is_target=False).use == "left out"
    assert choose("word", facts, InspectedColumn("text", None), is_target=True).use == "categorical"


def test_numbers_with_fractions_are_never_ids_or_codes() -> None:
    facts = Facts("number", 1000, 0, 1000, 0.5, 99.5)
    assert not is_id_like("id", facts)
    assert choose("id", facts, InspectedColumn("number", None), is_target=False).use == "real"


def test_an_estimate_of_different_values_needs_less_to_be_an_id() -> None:
    few, many = (Facts("text", 10**7, 0, n, "a", "z", is_estimated=True) for n in (7 * 10**6, 9 * 10**6))
    assert (is_id_like("x", few), is_id_like("x", many)) == (False, True)


@pytest.mark.parametrize(("missing", "use"), [(0, "real"), (100, "real"), (960, "left out"), (1000, "left out")])
def test_missing_values_are_filled_until_nearly_all_are_missing(missing, use) -> None:
    facts = Facts("number", 1000, missing, min(30, 1000 - missing), 0.5, 9.5)
    choice = choose("level", facts, InspectedColumn("number", None), is_target=False)
    assert (choice.use, choice.fill) == (use, "mean" if use == "real" and missing else None)


def test_names_are_taken_apart_into_words() -> None:
    assert words_of("unitPrice_EUR") == {"unit", "price", "eur"}
    assert words_of("CustomerID") == {"customer", "id"}
    assert words_of("valid") == {"valid"}


def test_a_fraction_is_never_rounded_to_0_or_1() -> None:
    fractions = (0, 1e-9, 0.5, 1 - 1e-9, 1)
    assert [percent(fraction) for fraction in fractions] == ["0%", "0.1 %", "50.0 %", "99.9 %", "100%"]
