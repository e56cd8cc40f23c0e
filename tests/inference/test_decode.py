"""Headers and labels of predictions."""

from sequifier.inference.decode import label_series, probability_headers
from sequifier.inference.tables import file_name


def test_headers_are_in_id_order_with_the_unknown_class_first() -> None:
    assert probability_headers(["b", "a"]) == ["unknown", "b", "a"]
    assert probability_headers([10, 2]) == ["unknown", "10", "2"]
    assert probability_headers([False, True]) == ["unknown", "false", "true"]


def test_a_category_called_like_another_column_carries_its_id() -> None:
    taken = ["sequenceId", "itemPosition"]
    assert probability_headers(["a", "unknown", "sequenceId"], taken=taken) == [
        *("unknown", "a", "unknown (id 2)", "sequenceId (id 3)")
    ]
    headers = probability_headers(["unknown", "unknown (id 1)"], taken=taken)
    assert len(set(headers)) == 3


def test_labels_have_the_type_of_the_raw_column() -> None:
    assert label_series(["a", "b"]).to_list() == [None, "a", "b"]
    assert label_series([10, 20]).to_list() == [None, 10, 20]
    assert label_series([False, True]).to_list() == [None, False, True]


def test_file_names_stay_in_their_folder_and_tell_columns_apart() -> None:
    assert file_name("dest") == "dest"
    assert file_name("prix en €") == "prix en €"
    names = ["a/b", "a%2Fb", "a\\b", "a\nb", "a\0b", ".."]
    assert len({file_name(name) for name in names}) == len(names)
    assert not any("/" in file_name(name) for name in names)
    long = ["🛒" * 300, "🛒" * 300 + "a", "c" * 300]
    assert len({file_name(name) for name in long}) == 3
    assert max(len(file_name(name).encode()) for name in long) <= 140
