// The geometry of a window that slides over images, as in windows.py, for the kernels that include it.

// Along one axis: how many pixels and places, and the settings of the window; `padding` is the one before the first pixel.
// `step` and `back` are stride and dilation divided by their greatest common divisor.
struct Axis {
    size pixels, places, kernel, stride, padding, dilation, step, back;
};
struct Sliding {
    Axis down, across;
};

// a / b, neither of them negative. A GPU divides 32 bits several times faster than 64.
__device__ inline size quotient(size a, size b) {
    return (a | b) >> 32 ? a / b : (size)((unsigned)a / (unsigned)b);
}

// Where the window at a place begins.
__device__ inline size start(Axis at, size place) { return place * at.stride - at.padding; }

// Which windows see a pixel: element `first` of the one at `place`; element first + step of the one at place - back; and so on,
// until the elements or the places end. The first places may be past the last one. If none sees it, `first` is the kernel size.
struct Seen {
    size first, place;
};
__device__ inline Seen seen(Axis at, size pixel) {
    size from = pixel + at.padding, first = 0;
    if (at.stride == 1) return {0, from};
    while (first < at.step) {  // until from - first · dilation is a multiple of the stride
        size number = from + first * at.dilation * (at.stride - 1);
        if (number == quotient(number, at.stride) * at.stride) break;
        first++;
    }
    if (first == at.step || from < first * at.dilation) return {at.kernel, 0};
    return {first, quotient(from - first * at.dilation, at.stride)};
}
