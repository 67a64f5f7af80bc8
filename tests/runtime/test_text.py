"""Columns and branches, as they print."""

from microtensor.runtime.text import branches, bytes_text, shape_text, sides_text, table


def test_columns_are_as_wide_as_their_widest_cell():
    assert table(["a", "long header", "b"], [["x", "1", ""], ["wider", "22", "end"]], left=(0, 2)).split("\n") == [
        "a      long header  b",
        "───────────────────────",
        "x                1",
        "wider           22  end",
    ]


def test_branches_of_a_tree():
    assert branches([0, 1, 2, 3, 2, 1, 2]) == ["", "├ ", "│ ├ ", "│ │ └ ", "│ └ ", "└ ", "  └ "]
    assert branches([]) == []


def test_shapes_and_sides():
    assert shape_text(()) == ""
    assert shape_text(3) == "3"
    assert shape_text([(1, 2), (3,)]) == "1×2, 3"
    assert sides_text(None) == sides_text(()) == ""
    assert sides_text((3, None)) == "3×-"
    assert sides_text((32.0, 32)) == "32"


def test_bytes():
    counts = (0, 999, 1000, 999_949, 999_950, 102_228_128, 553_430_176_000, 2 * 10**15)
    assert [bytes_text(n) for n in counts] == [
        "0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "102.2 MB", "553.4 GB", "2000.0 TB",
    ]  # fmt: skip
