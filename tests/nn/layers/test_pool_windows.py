"""What windows see of an image, place by place."""

from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers import pool_windows
from microtensor.nn.layers.windows import Window
from microtensor.testing import geometries


@given(geometries(half_padding=True), st.booleans())
def test_visible_is_its_definition(g, ceil_mode):
    """Element i lies on pixel place · stride + i · dilation − padding, where there is one."""
    window = Window.of("", g.kernel, g.stride, g.padding, g.dilation)
    window = pool_windows.ceil_window(window, g.size) if ceil_mode else window
    places = window.places("", g.size)
    for axis, elements in enumerate(pool_windows.visible(window, g.size)):
        assert len(elements) == g.kernel[axis]
        for i, (at, pixels) in enumerate(elements):
            found = dict(zip(range(places[axis])[at], range(g.size[axis])[pixels], strict=True))
            everywhere = {p: p * g.stride[axis] + i * g.dilation[axis] - g.padding[axis] for p in range(places[axis])}
            assert found == {p: pixel for p, pixel in everywhere.items() if 0 <= pixel < g.size[axis]}


@given(geometries(half_padding=True))
def test_windows_apart_share_no_pixel(g):
    window = Window.of("", g.kernel, g.stride, g.padding, g.dilation)
    for axis, distance in enumerate(pool_windows.disjoint_distance(window)):
        pixels = {i * g.dilation[axis] for i in range(g.kernel[axis])}
        for further in range(distance, distance + 3):
            assert not pixels & {pixel + further * g.stride[axis] for pixel in pixels}
