"""A look at a stranger's table: what is printed, and what the configs say."""

import random
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.config.loading.load import load
from sequifier.errors import DataError, SequifierError
from sequifier.project import column_choice, column_facts, keys, whole_sequences
from sequifier.project.make import CONFIGS, OwnTable, make
from tests.support.quiet import quiet

SHOP = {"sequence": "customer", "order": "day", "targets": ["item"]}


def shop(n_customers: int = 30, visits: int = 30) -> pl.DataFrame:
    """A table as people have them: an id, a constant, a row number, measurements, a code, something missing."""
    draw = random.Random(3)
    rows = []
    for customer in range(n_customers):
        for visit in range(visits):
            number = customer * visits + visit
            rows.append(
                {
                    "customer": f"C{customer:03d}",
                    "day": date(2024, 1, 1) + timedelta(days=visit),
                    "item": f"item {(visit + customer) % 7}",
                    "branch_code": draw.randrange(100, 400, 13),
                    "amount_cents": draw.randrange(50, 90_000),
                    "price": None if number % 25 == 7 else draw.random(),
                    "online": draw.random() < 0.4,
                    "receipt": f"R-{number:05d}-{draw.random():.3f}",
                    "number": number,
                    "country": "NZ",
                    "delivered": datetime(2024, 1, 1) + timedelta(hours=number),
                }
            )
    return pl.DataFrame(rows)


def look(tmp_path: Path, data: Path, **given) -> tuple[list[str], dict]:
    """The lines and the loaded configs of a project that is made for a table."""
    lines = make("project", None, tmp_path, OwnTable(data, **given))
    folder = tmp_path / "project" / "configs"
    return lines, {file: load(model, folder / file).config for file, model in CONFIGS.items()}


def write(tmp_path: Path, text: str, name: str = "events.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def csv_of(rows: list[tuple], header: str, separator: str = ",") -> str:
    return "\n".join([header, *(separator.join(map(str, row)) for row in rows)]) + "\n"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_each_column_is_taken_for_what_it_is(suffix, tmp_path) -> None:
    data = tmp_path / f"orders.{suffix}"
    table = shop()
    table.write_csv(data) if suffix == "csv" else table.write_parquet(data)
    lines, configs = look(tmp_path, data, **SHOP)
    preprocess = configs["preprocess.yaml"]
    assert preprocess.selected_columns == ["item", "branch_code", "amount_cents", "price", "online"]
    assert preprocess.column_types == {"amount_cents": "real"}
    assert preprocess.fill_null == {"price": "mean"}
    assert (preprocess.sequence_column, preprocess.position_column) == ("customer", "day")
    assert (preprocess.time_features, preprocess.time_unit) == (["gap", "weekday"], "days")
    assert preprocess.vocabulary_from == "train"
    assert preprocess.read_format == suffix
    said = " ".join(" ".join(lines).split())
    assert f"orders.{suffix}: 900 rows, 30 sequences of `customer`, ordered by `day`" in said
    for reason in (
        "country it is always NZ",
        "delivered dates are no features themselves",
        "receipt nearly every",
        "number nearly",
    ):
        assert reason in said
    assert "36 of 900 values are missing; filled with: mean" in said
    assert lines[-3:] == ["  cd project", "  sequifier preprocess", "  sequifier hyperparameter-search"]


def test_reasons_are_written_into_the_config(tmp_path) -> None:
    shop().write_csv(tmp_path / "orders.csv")
    look(tmp_path, tmp_path / "orders.csv", **SHOP)
    text = (tmp_path / "project" / "configs" / "preprocess.yaml").read_text()
    assert "#   country: it is always NZ.\n" in text
    assert "  # Integers, treated as a measurement because its name is that of a measurement.\n  amount" in text
    assert "  # 36 of 900 values are missing.\n  price: mean" in text


def test_the_configs_of_a_project_belong_together(tmp_path) -> None:
    shop().write_csv(tmp_path / "orders.csv")
    _, configs = look(tmp_path, tmp_path / "orders.csv", **SHOP)
    train, search, infer = (configs[f"{name}.yaml"] for name in ("train", "hyperparameter_search", "infer"))
    for config in (train, search, infer):
        assert config.metadata_config_path == "configs/metadata_configs/orders.json"
    assert train.target_columns == search.target_columns == ["item"]
    assert search.n_samples == 12
    assert infer.model_path == [f"models/sequifier-project-best-{train.training_spec.epochs}.onnx"]


def test_a_table_that_preprocess_reads_is_named_by_its_path_and_not_copied(tmp_path) -> None:
    (tmp_path / "work").mkdir()
    beside, elsewhere = tmp_path / "work" / "orders.csv", tmp_path / "orders.csv"
    shop().write_csv(beside)
    shop().write_csv(elsewhere)
    _, configs = look(tmp_path / "work", beside, **SHOP)
    assert configs["preprocess.yaml"].data_path == "../orders.csv"
    assert list((tmp_path / "work" / "project" / "data").iterdir()) == []
    make("other", None, tmp_path / "work", OwnTable(elsewhere, **SHOP))
    assert f'data_path: "{elsewhere}"' in (tmp_path / "work" / "other" / "configs" / "preprocess.yaml").read_text()


@pytest.mark.parametrize("name", [" price", "é\t", "row", "time_gap", "a\nb", 'a"b', "- x", "None"])
def test_preprocess_reads_columns_of_any_name(name, tmp_path, monkeypatch) -> None:
    table = shop(10).select("day", "price", "item", n="customer").rename({"price": name})
    table.write_csv(tmp_path / "orders.csv")
    _, configs = look(tmp_path, tmp_path / "orders.csv", sequence="n", order="day", targets=["item"])
    monkeypatch.chdir(tmp_path / "project")
    metadata = read_metadata(api.preprocess(configs["preprocess.yaml"], log=quiet))
    assert {*metadata.columns} == {name.strip(), "item", "time_gap", "time_weekday"}


@pytest.mark.parametrize("name", ["row", "n", "value"])
def test_keys_may_have_any_name(name, tmp_path) -> None:
    table = shop(10).select(pl.col("customer").alias(name), "day", "item", "price")
    table.write_csv(tmp_path / "orders.csv")
    look(tmp_path, tmp_path / "orders.csv", sequence=name, order="day", targets=["item"])
    pl.concat([table, table.head(1).with_columns(pl.lit(None).alias("day"))]).write_csv(tmp_path / "orders.csv")
    with pytest.raises(DataError, match="1 of 301 rows have no value in the order column `day`"):
        make("other", None, tmp_path, OwnTable(tmp_path / "orders.csv", sequence=name, order="day", targets=["item"]))


@pytest.mark.parametrize("name", ["orders.csv", "orders.parquet"])
def test_the_content_of_a_file_is_its_format(name, tmp_path, monkeypatch) -> None:
    """Whatever its name is, as in downloads."""
    (tmp_path / name).touch()
    (shop().write_parquet if name == "orders.csv" else shop().write_csv)(tmp_path / name)
    _, configs = look(tmp_path, tmp_path / name, **SHOP)
    monkeypatch.chdir(tmp_path / "project")
    metadata = read_metadata(api.preprocess(configs["preprocess.yaml"], log=quiet))
    assert metadata.sequifier.rows == [720, 90, 90]


def test_semicolons_decimal_commas_local_dates_and_a_byte_order_mark(tmp_path, monkeypatch) -> None:
    rows = [
        (user, f"{13 + day}.01.2024", f'"Äpfel; {day % 3}"', f"{day},5" if day else "NA")
        for user in range(5)
        for day in range(12)
    ]
    data = write(tmp_path, "\ufeff" + csv_of(rows, "user;Datum;Artikel;Preis", ";").replace("\n", "\r\n") + ";;;\r\n")
    lines, configs = look(tmp_path, data, sequence="user", order="Datum", targets=["Preis"])
    monkeypatch.chdir(tmp_path / "project")
    metadata = read_metadata(api.preprocess(configs["preprocess.yaml"], log=quiet))
    assert metadata.column_types == {
        "Artikel": "String",
        "Preis": "Float64",
        "time_gap": "Float64",
        "time_weekday": "Int64",
    }
    assert metadata.categories("Artikel") == ["Äpfel; 0", "Äpfel; 1", "Äpfel; 2"]
    assert (sum(metadata.sequifier.rows), metadata.sequifier.position_type) == (60, "Date")
    said = "\n".join(lines)
    for change in (
        "separated by `;`",
        "1 empty row is left out",
        "have the format DD.MM.YYYY, not 2013-01-31",
        "decimal comma",
    ):
        assert change in said
    assert "in this target: models would learn to predict the mean there; better remove those rows" in said


def test_dates_that_could_be_read_in_two_ways_are_an_error(tmp_path) -> None:
    rows = [(user, f"0{day}/03/2024", "x") for user in range(3) for day in range(1, 8)]
    data = write(tmp_path, csv_of(rows, "user,date,x"))
    with pytest.raises(DataError, match=r"several formats: DD/MM/YYYY and MM/DD/YYYY"):
        look(tmp_path, data, targets=["x"])
    assert not (tmp_path / "project").exists()


def test_positions_that_repeat_keep_the_order_of_the_table(tmp_path) -> None:
    rows = [(user, day, item) for day in (2, 1) for item in "abcdefghij" for user in (7, 8)]
    lines, configs = look(tmp_path, write(tmp_path, csv_of(rows, "user,day,item")), targets=["item"])
    preprocess = configs["preprocess.yaml"]
    assert (preprocess.position_column, preprocess.repeated_positions) == ("day", "keep")
    assert any(
        "36 rows have the `day` of another one of the same sequence (user 7 at day 1: 10 rows)" in x for x in lines
    )


def test_rows_that_were_entered_twice_are_pointed_out(tmp_path) -> None:
    rows = [(user, day, "ab"[day % 2]) for user in range(3) for day in range(10)]
    lines, _ = look(tmp_path, write(tmp_path, csv_of([*rows, *rows[:4]], "user,day,item")), targets=["item"])
    said = "4 of them are identical to another row in every column; if they are copies, make the project with --drop-"
    assert any(said in line for line in lines)


@pytest.mark.parametrize("n_copies", [4, 0])
def test_rows_that_were_entered_twice_can_be_left_out(n_copies, tmp_path, monkeypatch) -> None:
    rows = [(user, day, "ab"[day % 2]) for user in range(3) for day in range(10)]
    data = write(tmp_path, csv_of([*rows, *rows[:n_copies]], "user,day,item"))
    lines, configs = look(tmp_path, data, targets=["item"], drop_duplicates=True)
    preprocess = configs["preprocess.yaml"]
    assert (preprocess.drop_duplicates, preprocess.repeated_positions) == (True, "error")
    assert lines[0].startswith("events.csv: 30 rows, 3 sequences")
    assert f"  {n_copies} rows are left out: identical to an earlier row in every column" in lines
    monkeypatch.chdir(tmp_path / "project")
    assert sum(read_metadata(api.preprocess(preprocess, log=quiet)).sequifier.rows) == 30


def test_rows_without_an_order_are_never_copies(tmp_path) -> None:
    data = write(tmp_path, csv_of([("ab"[n % 2], "xyz"[n % 3]) for n in range(30)], "user,item"))
    with pytest.raises(DataError, match=r"identical rows are different events[\s\S]*--order COLUMN"):
        look(tmp_path, data, order="None", drop_duplicates=True)
    assert not (tmp_path / "project").exists()


def test_a_single_series_needs_no_sequence_column(tmp_path) -> None:
    rows = [(f"2024-01-01 {hour // 60:02d}:{hour % 60:02d}", hour / 7, hour % 3) for hour in range(300)]
    lines, configs = look(tmp_path, write(tmp_path, csv_of(rows, "date,load,state")), targets=["load"])
    assert any("is treated as a single series" in line for line in lines)
    assert configs["preprocess.yaml"].sequence_column is None
    assert configs["train.yaml"].window_stride < configs["preprocess.yaml"].seq_length


def test_a_single_series_can_be_requested(tmp_path) -> None:
    rows = [(step % 4, step, step % 3) for step in range(100)]
    data = write(tmp_path, csv_of(rows, "user,t,x"))
    _, configs = look(tmp_path, data, sequence="None", order="t", targets=["x"])
    assert configs["preprocess.yaml"].sequence_column is None
    assert configs["preprocess.yaml"].selected_columns == ["user", "x"]


def test_codes_keep_their_zeros(tmp_path) -> None:
    rows = [(user, t, f"{t % 9:03d}", 10**18 * 10 + t % 5) for user in range(3) for t in range(30)]
    _, configs = look(tmp_path, write(tmp_path, csv_of(rows, "user,t,code,big")), targets=["code"])
    assert configs["preprocess.yaml"].column_types == {"code": "String", "big": "String"}


def test_whole_numbers_with_gaps_are_codes_and_text_with_na_is_a_number(tmp_path) -> None:
    rows = [
        (user, t, "" if t == 3 else f"{t % 4}.0", "NA" if t == 5 else t / 8) for user in range(9) for t in range(30)
    ]
    lines, configs = look(tmp_path, write(tmp_path, csv_of(rows, "user,t,flag,level_m")), targets=["flag"])
    assert configs["preprocess.yaml"].column_types == {"flag": "categorical"}
    assert configs["preprocess.yaml"].fill_null == {"flag": "unknown", "level_m": "mean"}
    assert any("9 values like `NA` count as missing numbers" in line for line in lines)


@pytest.mark.parametrize("all_kept", [50_000, 1_000])
def test_rare_categories_of_large_columns_become_unknown_and_free_text_is_left_out(
    all_kept, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(column_choice, "ALL_KEPT", all_kept)
    draw = random.Random(0)
    words = [f"w{min(int(draw.paretovariate(0.3)), 10**6)}" for _ in range(9000)]
    rows = [(n // 300, n % 300, word, f"note {n // 3}") for n, word in enumerate(words)]
    lines, configs = look(tmp_path, write(tmp_path, csv_of(rows, "user,t,word,note")), targets=["word"])
    counts = pl.Series(words).value_counts(name="n")
    kept = counts.filter(pl.col("n") >= 5)
    share = kept["n"].sum() / 90
    said = f"the {kept.height} values that occur 5 times or more cover {share:.1f} % of the rows"
    assert (said in "\n".join(lines)) == (all_kept < counts.height)
    assert configs["preprocess.yaml"].min_count == ({"word": 5} if all_kept < counts.height else 1)
    assert configs["preprocess.yaml"].selected_columns == ["word"]


def test_sequences_of_one_to_three_events_are_split_as_a_whole(tmp_path) -> None:
    rows = [(session, step, f"page {(session + step) % 4}") for session in range(90) for step in range(1 + session % 3)]
    _, configs = look(tmp_path, write(tmp_path, csv_of(rows, "session,step,page")), targets=["page"])
    assert configs["preprocess.yaml"].split_method == "between_sequence"
    assert configs["preprocess.yaml"].seq_length == 2


def test_the_last_items_of_each_user_are_held_out(tmp_path, monkeypatch) -> None:
    rows = [(user, place, f"i{(user * 7 + place * place) % 250}") for user in range(1000) for place in range(9)]
    data = write(tmp_path, csv_of(rows, "user,place,item"))

    lines, configs = look(tmp_path, data, sequence="user", order="place", targets=["item"])

    preprocess = configs["preprocess.yaml"]
    assert (preprocess.split_method, preprocess.split_events) == ("last_events", [1, 1])
    assert "split_ratios" not in (tmp_path / "project" / "configs" / "preprocess.yaml").read_text()
    said = " ".join(" ".join(lines).split())
    assert "windows of 6 events the target has 250 categories, as items of a catalogue" in said
    monkeypatch.chdir(tmp_path / "project")
    assert read_metadata(api.preprocess(preprocess, log=quiet)).sequifier.rows == [7000, 1000, 1000]


@pytest.mark.parametrize(("days_between", "split_order"), [(1, "by_start"), (0.01, "random"), (0, "random")])
def test_short_sequences_with_dates_are_split_in_time(days_between, split_order, tmp_path, monkeypatch) -> None:
    first = datetime(2024, 3, 1)
    rows = [
        (
            f"c{case}",
            (first + timedelta(days=days_between * case, hours=7 * step)).isoformat(),
            "abc"[(case + step) % 3],
        )
        for case in range(60)
        for step in range(6)
    ]
    data = write(tmp_path, csv_of(rows, "case,time,activity"))

    lines, configs = look(tmp_path, data, sequence="case", order="time", targets=["activity"])

    preprocess = configs["preprocess.yaml"]
    assert (preprocess.split_method, preprocess.split_order) == ("between_sequence", split_order)
    assert preprocess.split_overlap == ("cut" if split_order == "by_start" else "keep")
    said = " ".join(" ".join(lines).split())
    assert ("training sequences are cut where validation starts" in said) == (split_order == "by_start")
    monkeypatch.chdir(tmp_path / "project")
    # Case 47 has two events, 28 and 35 hours after its start, from the start of case 48 on.
    n_cut = {"by_start": 2, "random": 0}[split_order]
    assert read_metadata(api.preprocess(preprocess, log=quiet)).sequifier.rows == [48 * 6 - n_cut, 36, 36]


def test_a_folder_of_parts_is_one_table(tmp_path) -> None:
    (tmp_path / "parts").mkdir()
    shop(10).write_csv(tmp_path / "parts" / "a.csv")
    shop(20).tail(300).write_csv(tmp_path / "parts" / "b.csv")
    lines, configs = look(tmp_path, tmp_path / "parts", **SHOP)
    assert lines[0] == "parts: 600 rows, 20 sequences of `customer`, ordered by `day`"
    assert configs["preprocess.yaml"].data_path == "../parts"


def test_odd_names_of_columns_and_projects_survive(tmp_path) -> None:
    rows = [(user, t, t % 5, t / 3) for user in range(4) for t in range(30)]
    data = write(tmp_path, csv_of(rows, 'the user,"a: b #c","no",-x'), "my events: 1.csv")
    folder = tmp_path / "a b"
    folder.mkdir()
    make("my embedding #1", None, folder, OwnTable(data, sequence="the user", order="a: b #c", targets=["no", "-x"]))
    project = folder / "my embedding #1"
    configs = {file: load(model, project / "configs" / file).config for file, model in CONFIGS.items()}
    assert configs["preprocess.yaml"].position_column == "a: b #c"
    assert configs["preprocess.yaml"].selected_columns == ["no", "-x"]
    assert configs["preprocess.yaml"].data_path == str(data)
    assert configs["train.yaml"].model_name == "my-emb-1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sequence": "custmer"}, r"no column `custmer`[\s\S]*--sequence[\s\S]*did you mean `customer`"),
        ({"targets": ["zzz"]}, r"no column `zzz`[\s\S]*the columns are\n    customer: text, 30 distinct values"),
        ({"targets": []}, r"which column should be predicted[\s\S]*item: text, 7 distinct values, item 0 to item 6"),
        ({"targets": ["country"]}, r"`country` cannot be predicted: it is always NZ"),
        ({"targets": ["delivered"]}, r"`delivered` cannot be predicted: dates"),
        ({"targets": ["day"]}, r"`day` is the order column already"),
        ({"order": "item"}, r"`item` cannot order events: it is text"),
        ({"sequence": "day"}, r"`day` cannot be both"),
        ({"sequence": "receipt"}, r"each `receipt` has one row"),
    ],
)
def test_what_cannot_be_guessed_or_used_is_one_clear_error(given, message, tmp_path) -> None:
    shop().write_csv(tmp_path / "orders.csv")
    with pytest.raises(SequifierError, match=message):
        look(tmp_path, tmp_path / "orders.csv", **(SHOP | given))
    assert not (tmp_path / "project").exists()


def test_of_two_dates_the_one_that_is_called_so_orders_the_events(tmp_path) -> None:
    shop().write_csv(tmp_path / "orders.csv")
    lines, _ = look(tmp_path, tmp_path / "orders.csv", targets=["item"])
    assert any("`day` is used" in line for line in lines)
    assert any("`customer` is used, because of its name" in line for line in lines)
    shop().rename({"day": "ordered"}).write_csv(tmp_path / "orders.csv")
    with pytest.raises(SequifierError, match=r"which column orders[\s\S]*--order[\s\S]*    ordered: date, 30 distinct"):
        make("other", None, tmp_path, OwnTable(tmp_path / "orders.csv", targets=["item"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "no rows"),
        (b"PK\x03\x04rest", "spreadsheet or a zip"),
        (b'{"a": 1}', "looks like JSON"),
        (b"\x1f\x8b\x08rest", "compressed"),
        ("user,t,ort\n1,1,München\n1,2,Köln\n".encode("latin-1"), "iconv"),
        ("user,t\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"1,2,3.5\n1,3,4.5\n", "first line looks like data"),
        (b"user\n1\n2\n", "one column"),
        (b"user,x,x\n1,2,3\n", "the header has `x` more than once"),
        (b"user,t,x\n1,1,a\n,2,b\n1,3,a\n", "1 of 3 rows have no value in the sequence column `user`"),
        (b"user,t,x\n1,1,a\n1,2,b\n", "too few for training and validation"),
    ],
)
def test_files_that_are_no_table_are_named_as_what_they_are(text, message, tmp_path) -> None:
    (tmp_path / "events.csv").write_bytes(text)
    with pytest.raises(DataError, match=message):
        look(tmp_path, tmp_path / "events.csv", targets=["x"] if b"x" in text else [])
    assert not (tmp_path / "project").exists()


def test_a_large_table_is_looked_at_in_parts_and_gives_the_same(tmp_path, monkeypatch) -> None:
    shop().write_csv(tmp_path / "orders.csv")
    _, at_once = look(tmp_path, tmp_path / "orders.csv", **SHOP)
    monkeypatch.setattr(column_facts, "EXACT_ROWS", 100)
    monkeypatch.setattr(column_facts, "EXACT_VALUES", 100)
    monkeypatch.setattr(keys, "ROWS_AT_ONCE", 50)
    (tmp_path / "project").rename(tmp_path / "first")
    lines, in_parts = look(tmp_path, tmp_path / "orders.csv", **SHOP)
    assert in_parts == at_once
    assert any("receipt" in line and "(about " in line for line in lines)


def test_a_file_that_does_not_exist(tmp_path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        look(tmp_path, tmp_path / "nope.csv")


@pytest.mark.parametrize(
    ("values", "kind", "fill"),
    [
        (['"1,000.25"', "NA", "7"], "Float64", "mean"),
        (["5 %", "7.5 %", "2 %"], "Float64", None),
        (["$5.50", '"$1,000"', "$7"], "Float64", None),
        (["007", "12", "8"], "String", None),
        (["3", "\\N", "-4"], "Int64", "unknown"),
    ],
)
def test_preprocess_reads_what_make_saw(values, kind, fill, tmp_path) -> None:
    """Without a copy: both decide by the same code."""
    from sequifier.preprocess.pipeline import preprocess

    rows = [(i // 20, f"{i % 20 + 10}/{i // 20 + 1}/2024", "abc"[i % 3], values[i % 7 % 3]) for i in range(200)]
    data = write(tmp_path, csv_of(rows, "user,day,kind,x"))
    lines, configs = look(tmp_path, data, sequence="user", order="day", targets=["kind"])
    assert list((tmp_path / "project" / "data").iterdir()) == []
    assert configs["preprocess.yaml"].fill_null == ({"x": fill} if fill else {})
    assert any("`day`: its dates have the format DD/MM/YYYY, not 2013-01-31" in line for line in lines)
    config = configs["preprocess.yaml"].model_copy(update={"data_path": str(data), "project_root": str(tmp_path)})
    metadata = read_metadata(preprocess(config, log=quiet))
    assert metadata.column_types["x"] == kind
    assert metadata.sequifier.position_type == "Date"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square_of_the_columns(tmp_path) -> None:
    """1,000 columns took 0.8 GB, 3,000 took 8.8 GB; now it is 0.2 GB for either."""
    n, draw = 1500, random.Random(1)
    header = ",".join(["user", "t", "y", *(f"c{i}" for i in range(n))])
    rows = [(i // 20, i % 20, "abc"[i % 3], *(draw.randrange(9) for _ in range(n))) for i in range(60)]
    write(tmp_path, csv_of(rows, header))
    script = """
import resource
from pathlib import Path
from sequifier.project.make import OwnTable, make
make("project", None, Path(), OwnTable(Path("events.csv"), targets=["y"]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(child.stdout) * unit < 600e6


def test_a_date_that_has_no_one_meaning_cannot_order_events(tmp_path) -> None:
    rows = [(user, f"{28 + user}-03-{24 + i}", "ab"[i % 2]) for user in range(3) for i in range(9)]
    with pytest.raises(DataError, match=r"`day` cannot order events: .* `28-03-24`: the year has two digits"):
        look(tmp_path, write(tmp_path, csv_of(rows, "user,day,x")), sequence="user", order="day", targets=["x"])


def test_integers_that_are_dates_with_the_year_last_cannot_order_events(tmp_path) -> None:
    rows = [(user, f"{3 + i:02}02{2024 + i % 2}", "ab"[i % 2]) for user in range(3) for i in range(12)]
    with pytest.raises(DataError, match=r"`day` cannot order events: its integers are dates in the format DDMMYYYY"):
        look(tmp_path, write(tmp_path, csv_of(rows, "user,day,x")), sequence="user", order="day", targets=["x"])


def test_items_are_ranked_and_items_that_return_stay_candidates(tmp_path) -> None:
    def table(name: str, *, n_items: int) -> Path:
        rows = [(user, place, f"i{(user * 7 + place * 31) % n_items}") for user in range(1000) for place in range(9)]
        return write(tmp_path, csv_of(rows, "user,place,item"), name)

    once = table("once.csv", n_items=251)  # 31 * 9 places are different items of 251
    lines, configs = look(tmp_path, once, sequence="user", order="place", targets=["item"])
    for file in ("train.yaml", "hyperparameter_search.yaml"):
        config = configs[file]
        assert (config.metric, config.direction) == ("val_item_ndcg_10", "maximize")
        assert config.ranking["item"].exclude_seen
    assert configs["infer.yaml"].top_k == 10
    said = " ".join(" ".join(lines).split())
    assert "models are compared by how high they rank the true item (NDCG at 10)" in said
    assert "0% of the events repeat an item of their sequence, so items that it has had are no candidates" in said

    rows = [(user, place, f"i{(user * 7 + place // 2) % 250}") for user in range(1000) for place in range(10)]
    again = write(tmp_path, csv_of(rows, "user,place,item"), "again.csv")
    make("other", None, tmp_path, OwnTable(again, sequence="user", order="place", targets=["item"]))
    text = (tmp_path / "other" / "configs" / "train.yaml").read_text()
    assert (
        "# 50.0 % of the events repeat an item of their sequence, so items that it has had stay candidates.\n" in text
    )
    assert "ranking: {item: {k: [5, 10, 20], exclude_seen: false}}" in text


def visits(n_customers: int = 60, **columns) -> str:
    """Customers with 6 visits each; a column is a function of customer and visit."""
    rows = [
        (
            f"c{customer}",
            visit,
            f"page {(customer + visit * visit) % 4}",
            *(of(customer, visit) for of in columns.values()),
        )
        for customer in range(n_customers)
        for visit in range(6)
    ]
    return csv_of(rows, ",".join(["customer", "visit", "page", *columns]))


def test_columns_with_one_value_for_each_sequence_are_named(tmp_path) -> None:
    text = visits(
        region=lambda customer, visit: f"r{customer % 3}",
        rare=lambda customer, visit: customer < 4,  # four customers may be chance
        changes=lambda customer, visit: (customer == 7 and visit == 3) or customer % 2 == 0,
    )
    lines, configs = look(tmp_path, write(tmp_path, text), targets=["page"])

    assert configs["preprocess.yaml"].sequence_columns == ["region"]
    assert configs["preprocess.yaml"].selected_columns == ["page", "region", "rare", "changes"]
    said = " ".join(" ".join(lines).split())
    assert "region attribute categorical 3 values" in said
    assert "note: Models read region from the first event on." in said
    assert "predict it: sequifier make ... --target region" in said
    api.preprocess(configs["preprocess.yaml"].model_copy(update={"project_root": str(tmp_path / "project")}), log=quiet)


def test_constant_columns_of_a_large_table_are_found_in_parts(tmp_path, monkeypatch) -> None:
    columns = {
        "region": lambda customer, visit: f"r{customer % 3}",
        "late": lambda c, v: c % 3 if (c, v) != (59, 5) else 9,
    }
    data = write(tmp_path, visits(**columns))
    monkeypatch.setattr(whole_sequences, "SAMPLE_ROWS", 50)
    monkeypatch.setattr(whole_sequences, "ROWS_AT_ONCE", 70)
    _, configs = look(tmp_path, data, targets=["page"])
    assert configs["preprocess.yaml"].sequence_columns == ["region"]


@pytest.mark.parametrize(("n_customers", "metric"), [(600, "val_churned_auc"), (60, "val_loss")])
def test_a_target_with_one_value_for_each_sequence_is_a_label(n_customers, metric, tmp_path, monkeypatch) -> None:
    text = visits(n_customers, churned=lambda customer, visit: customer % 5 == 0, region=lambda c, v: f"r{c % 3}")
    lines, configs = look(tmp_path, write(tmp_path, text), targets=["churned"])

    preprocess = configs["preprocess.yaml"]
    assert preprocess.sequence_columns == ["churned", "region"]
    assert (preprocess.split_method, preprocess.split_ratios) == ("between_sequence", [0.8, 0.1, 0.1])
    for file in ("train.yaml", "hyperparameter_search.yaml"):
        config = configs[file]
        assert config.target_positions == {"churned": "every"}
        assert (config.metric, config.direction) == (metric, "minimize" if metric == "val_loss" else "maximize")
    said = " ".join(" ".join(lines).split())
    assert "churned label categorical 2 values" in said
    assert "region attribute categorical 3 values" in said
    assert "a target has one value for each sequence, so each split has whole sequences" in said
    assert f"models are compared on only about {n_customers // 10} sequences" in said
    text = (tmp_path / "project" / "configs" / "train.yaml").read_text()
    assert "# Labels of whole sequences are predicted after each event, and never read.\n" in text
    assert "null: all columns but churned.\n" in text
    monkeypatch.chdir(tmp_path / "project")
    api.preprocess(preprocess, log=quiet)
    small = {"training_spec": configs["train.yaml"].training_spec.model_copy(update={"epochs": 1, "device": "cpu"})}
    result = api.train(configs["train.yaml"].model_copy(update=small), emit=quiet)
    assert result.ended == "finished"


def test_long_sequences_with_a_label_are_not_cut(tmp_path) -> None:
    rows = [(s, t, f"a{(s + t * t) % 5}", s % 2) for s in range(40) for t in range(40)]
    _, configs = look(tmp_path, write(tmp_path, csv_of(rows, "case,t,activity,outcome")), targets=["outcome"])
    assert configs["preprocess.yaml"].split_method == "between_sequence"
    assert configs["train.yaml"].target_positions == {"outcome": "every"}


def test_a_label_that_is_missing_in_some_rows_is_pointed_out(tmp_path) -> None:
    text = visits(churned=lambda customer, visit: customer % 2 if visit == 5 else "")
    lines, configs = look(tmp_path, write(tmp_path, text), targets=["churned"])
    assert configs["preprocess.yaml"].sequence_columns is None
    said = " ".join(" ".join(lines).split())
    assert "note: `churned` has one value for each sequence, which is missing in some of its rows; fill it in" in said


@pytest.mark.parametrize(
    ("n_items", "priced", "is_sampled"), [(300, False, False), (9000, False, True), (9000, True, True)]
)
def test_items_of_a_large_shop_share_vectors_and_a_sample(n_items, priced, is_sampled, tmp_path) -> None:
    rows = [
        (user, place, f"i{(user * 10 + place) % n_items}", *([place / 7 + user] if priced else []))
        for user in range(1500)
        for place in range(10)
    ]
    header = "user,place,item" + (",price" if priced else "")
    _, configs = look(tmp_path, write(tmp_path, csv_of(rows, header)), sequence="user", order="place", targets=["item"])
    train, search = configs["train.yaml"], configs["hyperparameter_search.yaml"]
    assert configs["preprocess.yaml"].min_count == 1
    assert train.model_spec.tie_weights == ([] if priced else ["item"])
    assert ("item" in train.training_spec.softmax) == is_sampled
    if is_sampled:
        assert train.training_spec.softmax["item"].sampled == 2000
    assert dict(search.training_hyperparameter_sampling)["softmax"] == [train.training_spec.softmax]
