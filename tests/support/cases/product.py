"""Products of matrices and vectors, and along named axes."""

import string

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.testing import tensors

SIDES = st.integers(1, 3)


@st.composite
def matrix_product(draw):
    drawn = draw(hnp.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3))
    x, y = (draw(tensors(s)) for s in drawn.input_shapes)
    return Case(lambda x, y: x @ y, [x, y], lambda torch, x, y: x @ y)


@st.composite
def strict_product(draw, name, first, second):
    """A product for tensors of so many axes. A letter in `first` and `second` is a length."""
    lengths = {a: draw(SIDES) for a in first + second}
    inputs = [draw(tensors([lengths[a] for a in term])) for term in (first, second)]
    return Case(getattr(mt, name), inputs, lambda torch, x, y: getattr(torch, name)(x, y))


@st.composite
def equations(draw):
    """An einsum of up to four terms, with letters that repeat, axes of length 1 or 0 and an ellipsis here and there."""
    letters = "aBcd"
    lengths = {a: draw(SIDES) if draw(st.integers(0, 9)) else draw(st.integers(0, 3)) for a in letters}
    hidden = [draw(SIDES), draw(SIDES)]
    terms, inputs = [], []
    for _ in range(draw(st.integers(1, 4))):
        term = draw(st.lists(st.sampled_from(letters), max_size=3))
        stretched = [term.count(a) == 1 and draw(st.integers(0, 5)) == 0 for a in term]
        shape = [1 if one else lengths[a] for a, one in zip(term, stretched)]
        if draw(st.booleans()):
            depth, place = draw(st.integers(0, 2)), draw(st.integers(0, len(term)))
            shape[place:place] = [n if draw(st.booleans()) else 1 for n in hidden[2 - depth :]]
            term.insert(place, "...")
        terms.append("".join(term))
        inputs.append(draw(tensors(shape)))
    equation = ",".join(terms)
    if draw(st.booleans()):
        known = sorted(set(equation) & set(string.ascii_letters))
        output = draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        if "..." in equation and draw(st.booleans()):
            output.insert(draw(st.integers(0, len(output))), "...")
        equation += "->" + "".join(output)
    return Case(lambda *xs: mt.einsum(equation, *xs), inputs, lambda torch, *xs: torch.einsum(equation, *xs))


@st.composite
def tensor_product(draw):
    count = draw(st.integers(0, 2))
    both = [draw(SIDES) for _ in range(count)]
    left, right = (draw(st.lists(SIDES, max_size=2)) for _ in range(2))
    first, second = draw(st.permutations(range(count + len(left)))), draw(st.permutations(range(count + len(right))))
    x = draw(tensors([*left, *both])).permute(*first)
    y = draw(tensors([*both, *right])).permute(*second)
    dims = [first.index(len(left) + k) for k in range(count)], [second.index(k) for k in range(count)]
    return Case(lambda x, y: mt.tensordot(x, y, dims), [x, y], lambda torch, x, y: torch.tensordot(x, y, dims))


@st.composite
def bilinear_form(draw):
    lead, first, second, out = draw(st.lists(SIDES, max_size=2)), draw(SIDES), draw(SIDES), draw(SIDES)
    shapes = [(*lead, first), (*lead, second), (out, first, second), *([(out,)] if draw(st.booleans()) else [])]
    inputs = [draw(tensors(shape)) for shape in shapes]
    return Case(mt.bilinear, inputs, lambda torch, *xs: torch.nn.functional.bilinear(*xs))


CASES = {
    "_matmul": matrix_product(),
}

COMPOSED = {
    "mm": strict_product("mm", "mk", "kn"),
    "bmm": strict_product("bmm", "bmk", "bkn"),
    "mv": strict_product("mv", "mk", "k"),
    "dot": strict_product("dot", "k", "k"),
    "outer": strict_product("outer", "m", "n"),
    "einsum": equations(),
    "tensordot": tensor_product(),
    "bilinear": bilinear_form(),
}
