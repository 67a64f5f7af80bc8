"""Columns and branches, as they print."""

from microtensor.nn.inspect.table import branches, shape_text, sides_text, table


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
