"""Raw events, encoded by the schema inside the model."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier.artifacts.metadata import RawValueRules
from sequifier.artifacts.model_file import read_model_file
from sequifier.artifacts.number_style import NumberStyle
from sequifier.config.preprocess import PreprocessConfig
from sequifier.errors import DataError
from sequifier.preprocess.new_events import encode_new_events
from sequifier.preprocess.pipeline import preprocess
from tests.support.quiet import quiet
from tests.support.shop import preprocess_shop, write_shop
from tests.support.trained_shop import infer, model, new_rows, train

RAW = {"read_format": "raw", "data_path": "data/new.csv"}
Row = tuple[str, int, str, float]


@pytest.fixture
def away(trained: Path) -> Path:
    """The project without anything but its models: no metadata, no splits."""
    for path in [*trained.glob("data/*"), *trained.glob("configs/metadata_configs/*")]:
        path.unlink()
    return trained


def test_the_next_event_of_each_sequence_is_predicted(away: Path) -> None:
    write_shop(away / "data" / "new.csv", list(reversed(new_rows())))
    lines: list[str] = []
    (result,) = infer(model("one"), lines, **RAW)
    found = pl.read_csv(result.predictions)
    assert found.columns == ["sequenceId", "itemPosition", "item", "price"]
    assert found["sequenceId"].to_list() == ["n0", "n1", "n2", "n3"]
    assert found["itemPosition"].to_list() == [12] * 4, "unseen: behind the last visit"
    assert result.evaluation == {}
    assert result.unknown == {}
    assert "4 predictions for 48 events" in lines[-1]


def test_raw_events_give_what_encoded_ones_give(trained: Path) -> None:
    """A split whose last event is cut off raw, predicted from the events before it."""
    write_shop(trained / "data" / "all.csv", new_rows(n_visits=9))
    metadata = "configs/metadata_configs/shop.json"
    preprocess_shop(trained, data_path="data/all.csv", metadata_config_path=metadata, split_ratios=[1.0])
    encoded = pl.read_csv(infer(model("one"), data_path="data/all-split0.parquet")[0].predictions)
    write_shop(trained / "data" / "new.csv", new_rows(n_visits=8))
    (result,) = infer(model("one"), **RAW)
    assert_frame_equal(pl.read_csv(result.predictions), encoded, rel_tol=1e-5)


def test_parquet_and_folders_are_read_as_one_table(away: Path) -> None:
    write_shop(away / "data" / "new.csv", new_rows())
    expected = pl.read_csv(infer(model("one"), **RAW)[0].predictions)
    table = pl.read_csv("data/new.csv")
    table.write_parquet("data/new.parquet")
    (result,) = infer(model("one"), read_format="raw", data_path="data/new.parquet")
    assert_frame_equal(pl.read_csv(result.predictions), expected)
    Path("data/parts").mkdir()
    table[:17].write_csv("data/parts/b.csv")
    table[17:].write_csv("data/parts/a.csv")
    (result,) = infer(model("one"), read_format="raw", data_path="data/parts")
    assert_frame_equal(pl.read_csv(result.predictions), expected)


def test_categories_that_the_model_does_not_know_are_counted(away: Path) -> None:
    write_shop(
        away / "data" / "new.csv", [(c, v, "new" if v in (2, 5) else item, price) for c, v, item, price in new_rows()]
    )
    lines: list[str] = []
    (result,) = infer(model("one"), lines, **RAW)
    assert result.unknown == {"item": 8}
    assert "note: column `item`: 8 of 48 values are unknown to the model (id 0)" in lines


def test_a_single_event_is_enough(away: Path) -> None:
    write_shop(away / "data" / "new.csv", [("x", 5, "item1", 11.0)])
    found = pl.read_csv(infer(model("three"), **RAW)[0].predictions)
    assert found["itemPosition"].to_list() == [6]


def test_raw_events_are_continued(away: Path) -> None:
    write_shop(away / "data" / "new.csv", new_rows())
    next_one = pl.read_csv(infer(model("one"), **RAW)[0].predictions)
    found = pl.read_csv(infer(model("one"), autoregression=True, autoregression_extra_steps=5, **RAW)[0].predictions)
    assert found["itemPosition"].to_list() == [*range(12, 17)] * 4
    assert_frame_equal(found.filter(pl.col("itemPosition") == 12), next_one, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("customer,visit,item\nx,1,item1\n", "column `price`"),
        (
            "customer,visit,item,price\nx,1,item1,cheap\n",
            "is declared as Float64, but 1 of 1 values is text",
        ),
        ("customer,visit,item,price\nx,1,item1,\nx,2,item2,11.5\n", "column `price`: 1 of 2 values is missing"),
        ("customer,visit,item,price\nx,1,item1,10\nx,1,item2,11.5\n", "repeat the customer and visit"),
        ("who,visit,item,price\nx,1,item1,10\n", "column `customer`"),
        ("customer,visit,item,price\nx,1,item1,1e300\nx,2,item1,10\n", "column `price` has the value 1e\\+300"),
        ("customer,visit,item,price\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_bad_raw_events_are_errors_and_nothing_is_written(away: Path, content: str, expected: str) -> None:
    (away / "data" / "new.csv").write_text(content)
    with pytest.raises(DataError, match=expected) as caught:
        infer(model("one"), **RAW)
    settings = ("fill_null", "repeated_positions")
    assert not any(name in caught.value.fix for name in settings), "there is no preprocess config here"
    assert not [path for path in Path("outputs").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("content", "fix"),
    [
        ("customer,visit,item,price\nx,1,item1,cheap\n", "the model reads item (String), price (Float64)"),
        ("customer,visit,item,cost\nx,1,item1,1\n", "the model reads item (String), price (Float64)"),
        ("customer,visit,item,prize\nx,1,item1,1\n", "did you mean `prize`?"),
        (
            "customer,visit,item,price\nx,soon,item1,1\n",
            "write numbers like 12 or 12.5, dates like 2013-01-31 or datetimes like",
        ),
    ],
)
def test_the_fix_of_bad_raw_events_is_one_that_a_model_allows(away: Path, content: str, fix: str) -> None:
    (away / "data" / "new.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        infer(model("one"), **RAW)
    assert caught.value.fix.startswith(fix)


def test_a_text_file_is_continued_by_a_model_of_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/words.txt").write_text("to be or not to be " * 60)
    text = {"data_path": "data/words.txt", "read_format": "text", "seq_length": 5, "text_sequence_length": 100}
    preprocess(PreprocessConfig.model_validate(text), log=quiet)
    metadata = "configs/metadata_configs/words.json"
    train(tmp_path, model_name="words", metadata_config_path=metadata, target_columns=["char"])
    Path("data/prompt.txt").write_text("not to z")
    options = {"read_format": "raw", "data_path": "data/prompt.txt", "write_format": "parquet"}
    (result,) = infer(model("words"), autoregression=True, autoregression_extra_steps=6, **options)
    found = pl.read_parquet(result.predictions)
    assert found.columns == ["sequenceId", "itemPosition", "char"]
    assert found["itemPosition"].to_list() == [8, 9, 10, 11, 12, 13]
    assert set(found["char"]) <= set("to be or not")
    assert result.unknown == {"char": 1}
    (result,) = infer(model("words"), **options)
    assert pl.read_parquet(result.predictions).equals(found[:1])


def test_numbers_and_missing_cells_are_read_as_preprocess_reads_them(away: Path) -> None:
    write_shop(away / "data" / "new.csv", new_rows())
    expected = pl.read_csv(infer(model("one"), **RAW)[0].predictions)
    header, *lines = (away / "data" / "new.csv").read_text().splitlines()
    dressed = [f'"{a}","{b}","{c}","${float(d):,.2f} "' for a, b, c, d in (line.split(",") for line in lines)]
    (away / "data" / "new.csv").write_bytes("\r".join([header, *dressed]).encode())
    assert_frame_equal(pl.read_csv(infer(model("one"), **RAW)[0].predictions), expected)


def test_what_a_model_remembers_decides_for_values_that_fit_two_styles(away: Path) -> None:
    file = read_model_file(Path(model("one")))
    path = away / "data" / "new.csv"
    path.write_text("customer,visit,item,price\nx,03/04/2024,item1,1.234\nx,01/05/2024,item1,2.345\n")
    with pytest.raises(DataError, match="several formats: DD/MM/YYYY and MM/DD/YYYY"):
        list(encode_new_events(path, file))
    german = RawValueRules(numbers={"price": NumberStyle(thousands=".", decimal=",")}, dates="MM/DD/YYYY")
    (events,) = encode_new_events(path, replace(file, reading=german))
    assert [str(day) for day in events.positions] == ["2024-01-05", "2024-03-04"]
    path.write_text("customer;visit;item;price\nx;1,125;item1;1.234\nx;1,500;item1;2.345\n")
    german.numbers["visit"] = NumberStyle(decimal=",")
    (events_of_numbers,) = encode_new_events(path, replace(file, reading=german))
    assert events_of_numbers.positions.tolist() == [1.125, 1.5]
    price = file.statistics["price"]
    expected = [(value - price["mean"]) / price["std"] for value in (2345, 1234)]
    assert events.columns["price"].tolist() == pytest.approx(expected, rel=1e-5)
