"""What is predicted from one input never replaces what was predicted from another."""

import hashlib
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.support.shop import preprocess_shop, write_shop
from tests.support.trained_shop import infer, model, new_rows

PLAIN = Path("outputs/predictions/sequifier-one-best-1-predictions.csv")


def written() -> dict[Path, str]:
    """Every output that is not a link, by its content."""
    files = (path for path in Path("outputs").rglob("*") if path.is_file() and not path.is_symlink())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_default_split_has_the_plain_name_and_keeps_what_it_says(trained: Path) -> None:
    (first,) = infer(model("one"), output_probabilities=True)
    assert first.predictions == PLAIN
    before = written()
    write_shop(trained / "data" / "new.csv", new_rows(3))
    inputs = [
        {"data_path": "data/shop-split0.parquet"},
        {"data_path": "data/shop-split1.parquet", "evaluate": False},
        {"data_path": "data/new.csv", "read_format": "raw"},
    ]
    names = []
    for values in inputs:
        names.append(infer(model("one"), output_probabilities=True, **values)[0].predictions.name)
        assert before.items() <= written().items(), "nothing of another input is changed or removed"
        before = written()
    assert names == [f"sequifier-one-best-1-{stem}-predictions.csv" for stem in ("shop-split0", "shop-split1", "new")]
    assert not PLAIN.is_symlink()
    (again,) = infer(model("one"), data_path="data/shop-split2.parquet", output_probabilities=True)
    assert again.predictions == PLAIN
    assert written() == before, "the same input, the same outputs"


def test_inputs_of_one_name_in_several_folders_are_kept_apart(trained: Path) -> None:
    found = []
    for number, folder in enumerate(("a", "b", "c/b", "a")):
        write_shop(trained / folder / "new.csv", new_rows(2 + number % 3))
        (result,) = infer(model("one"), read_format="raw", data_path=f"{folder}/new.csv")
        found.append((result.predictions, pl.read_csv(result.predictions).height))
    (first, second, third, again) = found
    assert again[0] == first[0] == PLAIN.with_name("sequifier-one-best-1-new-predictions.csv")
    assert second[0].name == "sequifier-one-best-1-b-new-predictions.csv"
    assert len({path for path, _ in found}) == 3
    assert pl.read_csv(second[0]).height == 3
    assert pl.read_csv(third[0]).height == 4


@pytest.mark.parametrize("write_format", ["csv", "parquet"])
def test_without_the_default_split_the_plain_name_leads_to_the_newest(trained: Path, write_format: str) -> None:
    plain = PLAIN.with_suffix(f".{write_format}")
    read = pl.read_csv if write_format == "csv" else pl.read_parquet
    for n in (2, 5):
        write_shop(trained / "raw" / f"table{n}.csv", new_rows(n))
        infer(model("one"), data_path=f"raw/table{n}.csv", read_format="raw", write_format=write_format)
        assert read(plain).height == n
    (split,) = infer(model("one"), data_path="data/shop-split0.parquet", write_format=write_format)
    assert read(plain).equals(read(split.predictions))
    infer(model("one"), data_path="raw/table2.csv", read_format="raw", write_format=write_format)
    assert read(plain).height == 2
    before = written()
    (default,) = infer(model("one"), write_format=write_format)
    assert default.predictions == plain
    assert not plain.is_symlink()
    assert before.items() <= written().items()
    infer(model("one"), data_path="raw/table2.csv", read_format="raw", write_format=write_format)
    assert not plain.is_symlink()


def test_only_files_that_version_1_wrote_have_links_without_the_input(trained: Path) -> None:
    infer(model("one"), data_path="data/shop-split0.parquet", output_probabilities=True, top_k=2, evaluate_by=["item"])
    links = {path.as_posix() for path in Path("outputs").rglob("*") if path.is_symlink()}
    name = "sequifier-one-best-1"
    assert links == {PLAIN.as_posix(), f"outputs/probabilities/{name}-item-probabilities.csv"}
    assert [path.name for path in Path("outputs/top_k").iterdir()] == [f"{name}-shop-split0-item-top_k.csv"]


def test_folders_of_shards_are_named_and_linked_like_files(trained: Path) -> None:
    preprocess_shop(trained, write_format="pt", merge_output=False, batches_per_file=30)
    shutil.move("data/shop-split1", "data/other")
    for path in Path("data/other").glob("*.pt"):
        assert path.name.startswith("shop-split1")
    (other,) = infer(model("one"), data_path="data/other")
    plain = PLAIN.with_suffix("")
    assert other.predictions.name == "sequifier-one-best-1-other-predictions"
    assert plain.resolve() == other.predictions.resolve()
    content = written()
    (default,) = infer(model("one"))
    assert default.predictions == plain
    assert not plain.is_symlink()
    assert content.items() <= written().items()
