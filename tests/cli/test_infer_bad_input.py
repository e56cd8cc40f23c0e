"""`sequifier infer` with models and events that do not fit: one clear error, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest

from tests.support.command_line import Run
from tests.support.shop import new_shop, preprocess_shop, shop_rows, working_copy, write_shop
from tests.support.trained_shop import train

ONNX, PT = "models/sequifier-tiny-best-1.onnx", "models/sequifier-tiny-best-1.pt"
SPLIT = Path("data/shop-split2.parquet")


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = new_shop(tmp_path_factory.mktemp("trained") / "shop")
    train(root, export_pt=True)
    return root


@pytest.fixture
def shop_with_model(_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = working_copy(_trained, tmp_path, monkeypatch)
    (root / "configs" / "infer.yaml").write_text("project_root: .\ndevice: cpu\n")
    return root


def files() -> dict[Path, bytes]:
    """Everything but the record of the call itself."""
    found = (path for path in Path().rglob("*") if path.is_file() and path.parts[0] != "logs")
    return {path: path.read_bytes() for path in found}


def of_another_schema(root: Path) -> None:
    rows = [(customer, visit, item.replace("item", "thing"), price) for customer, visit, item, price in shop_rows()]
    write_shop(root / "data" / "other.csv", rows)
    preprocess_shop(root, data_path=str(root / "data" / "other.csv"))


def changed(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    return lambda root: change(pl.read_parquet(SPLIT)).write_parquet("data/changed.parquet")


def cut(path: str, share: float) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(
        (root / path).read_bytes()[: int(share * (root / path).stat().st_size)]
    )


def corrupt(root: Path) -> None:
    """A block in the middle of the weights, which are floats: the file is still a graph, of other numbers."""
    graph = onnx.load(root / ONNX)
    graph.graph.initializer[0].ClearField("raw_data")
    (root / ONNX).write_bytes(graph.SerializeToString())


def overwritten(root: Path) -> None:
    content = bytearray((root / ONNX).read_bytes())
    content[40:90] = bytes(50)
    (root / ONNX).write_bytes(content)


RAW = ["-D", "read_format=raw"]
NEW = "customer,visit,item,price\n"


def raw_file(text: str, name: str = "new.csv") -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "data" / name).write_text(text)

    return write


def raw_table(price: pl.Expr) -> Callable[[Path], None]:
    """Raw events with a price of a type that no column has."""

    def write(root: Path) -> None:
        events = pl.DataFrame({"customer": ["a"], "visit": [1], "item": ["item1"]})
        events.with_columns(price=price).write_parquet(root / "data" / "new.parquet")

    return write


@pytest.mark.parametrize(
    ("prepare", "words", "expected"),
    [
        (of_another_schema, ["-dp", "data/other-split2.parquet"], "encode column `item` differently: its vocabulary"),
        (changed(lambda rows: rows.drop("price")), ["-dp", "data/changed.parquet"], "column `price` is missing"),
        (
            changed(lambda rows: rows.with_columns(pl.col("price").cast(pl.String))),
            ["-dp", "data/changed.parquet"],
            "column `price` has the type String, which is not encoded",
        ),
        (
            changed(lambda rows: rows.with_columns(price=pl.lit([1.0]))),
            ["-dp", "data/changed.parquet"],
            "column `price` has the type List(Float64), which is not encoded",
        ),
        (changed(lambda rows: rows.clear()), ["-dp", "data/changed.parquet"], "changed.parquet has no rows"),
        (
            lambda root: (root / "data" / "empty.parquet").touch(),
            ["-dp", "data/empty.parquet"],
            "cannot read empty.par",
        ),
        (lambda root: (root / "data" / "empty.csv").touch(), ["-dp", "data/empty.csv"], "cannot read empty.csv as csv"),
        (cut(str(SPLIT), 0.6), ["-dp", str(SPLIT)], "cannot read shop-split2.parquet as parquet"),
        (raw_file("customer,visit,item\na,1,item1\n"), ["-dp", "data/new.csv", *RAW], "column `price`"),
        (
            raw_file(NEW + "a,1,item1,dear\n"),
            ["-dp", "data/new.csv", *RAW],
            "values is text: `",
        ),
        (raw_table(pl.lit([1.0])), ["-dp", "data/new.parquet", *RAW], "column `price`"),
        (raw_table(pl.lit(b"1")), ["-dp", "data/new.parquet", *RAW], "column `price`"),
        (raw_file(NEW), ["-dp", "data/new.csv", *RAW], "there are no rows"),
        (raw_file(""), ["-dp", "data/new.csv", *RAW], "no rows"),
        (cut(ONNX, 0.5), [], "not an ONNX file, or it is truncated"),
        (cut(ONNX, 0.0), [], "not exported by Sequifier, or it is truncated"),
        (overwritten, [], "ONNX"),
        (corrupt, [], "changed or damaged since it was exported"),
        (cut(PT, 0.5), ["-mp", PT], "not a file of torch, or it is truncated"),
        (lambda root: None, ["-mp", "models/none.onnx"], "no such file or folder"),
    ],
)
def test_one_clear_error_and_nothing_is_written(
    run: Run, shop_with_model: Path, prepare: Callable[[Path], Any], words: list[str], expected: str
) -> None:
    prepare(shop_with_model)
    before = files()
    done = run("infer", *([] if "-mp" in words else ["-mp", ONNX]), *words)
    assert done.code == 1
    assert expected in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert files() == before


def test_sequences_shorter_than_the_window_are_predicted_from_what_there_is(run: Run, shop_with_model: Path) -> None:
    """Documented: a short history is a padded window, and an event without history is not predicted."""
    (shop_with_model / "data" / "new.csv").write_text(NEW + "a,1,item1,11.0\nb,1,item1,11.0\nb,2,item2,12.0\n")
    done = run("infer", "-mp", ONNX, "-dp", "data/new.csv", *RAW)
    assert done.code == 0, done.err
    written = pl.read_csv(done.out.strip())
    assert written.select("sequenceId", "itemPosition").rows() == [("a", 2), ("b", 3)]
    own = pl.read_parquet(SPLIT).filter(~pl.col("isContext"))
    first = own.group_by("sequenceId", maintain_order=True).head(1)
    second = own.group_by("sequenceId", maintain_order=True).head(2).filter(pl.col("sequenceId") == "c05")
    pl.concat([first.filter(pl.col("sequenceId") < "c05"), second]).write_parquet("data/short.parquet")
    done = run("infer", "-mp", ONNX, "-dp", "data/short.parquet")
    assert done.code == 0, done.err
    assert pl.read_csv(done.out.strip())["sequenceId"].to_list() == ["c05"]
    first.write_parquet("data/short.parquet")
    before = files()
    done = run("infer", "-mp", ONNX, "-dp", "data/short.parquet")
    assert done.code == 1
    assert "nothing to predict from" in done.err
    assert files() == before


def test_what_was_predicted_before_stays_when_the_next_call_fails(run: Run, shop_with_model: Path) -> None:
    assert run("infer", "-mp", ONNX, "-D", "output_probabilities=true").code == 0
    wrong = pl.read_parquet(SPLIT).with_columns(
        item=pl.when(pl.arange(pl.len()) == pl.len() - 1).then(99).otherwise("item")
    )
    wrong.with_columns(pl.col("item").cast(pl.Int32)).write_parquet("data/wrong.parquet")
    before = files()
    done = run("infer", "-mp", ONNX, "-dp", "data/wrong.parquet", "-D", "output_probabilities=true")
    assert done.code == 1
    assert "column `item` has id 99" in done.err
    assert files() == before
