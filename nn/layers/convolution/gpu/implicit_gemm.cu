// Convolution as a matrix product (GEMM) whose second matrix, that of im2col, is never written: each block of threads reads what
// it needs of it from the images. (Chetlur et al. 2014, "cuDNN: efficient primitives for deep learning", section 3.1.)
//
// A block computes a tile of ROWS × COLUMNS results. Sixteen terms of all their sums at a time are loaded into shared memory,
// once for all its threads; each thread multiplies them for 4 × 4 results that it keeps in registers, while the next sixteen are
// being loaded. A half is widened when loaded, and rounded when stored.

#include "../../windows.cuh"

constexpr unsigned BLOCK = 256, DEPTH = 16;

// Four adjacent elements, which are read from shared memory at once.
struct __align__(16) Four {
    wide at[4];
};

// An index of three digits: channel, row and column of a kernel, or image, row and column of a place. To add a fixed number is to
// add its digits, with carries: no division.
struct Digits {
    unsigned high, i, j;
};
__device__ inline Digits digits(unsigned number, unsigned down, unsigned across) {
    unsigned line = number / across;
    return {line / down, line % down, number % across};
}
__device__ inline void advance(Digits &number, Digits by, unsigned down, unsigned across) {
    number.high += by.high, number.i += by.i, number.j += by.j;
    if (number.j >= across) number.j -= across, number.i++;
    if (number.i >= down) number.i -= down, number.high++;
}

// This thread's 4 × 4 results of (ROWS × 16) · (16 × COLUMNS). In shared memory each line of both has one Four more than it needs:
// otherwise threads that write down a column would all use the same bank (a bank conflict).
template <unsigned ROWS, unsigned COLUMNS>
__device__ inline void multiply(
    const Four (&a)[DEPTH][ROWS / 4 + 1], const Four (&b)[DEPTH][COLUMNS / 4 + 1], wide (&sum)[4][4]) {
    unsigned ty = threadIdx.x / (COLUMNS / 4), tx = threadIdx.x % (COLUMNS / 4);
#pragma unroll
    for (unsigned k = 0; k < DEPTH; k++) {
        Four u = a[k][ty], v = b[k][tx];
#pragma unroll
        for (unsigned r = 0; r < 4; r++)
#pragma unroll
            for (unsigned s = 0; s < 4; s++) sum[r][s] += u.at[r] * v.at[s];
    }
}

// What forward and grad_input have in common: results in lines and places, each the sum over channels and taps of a weight times
// a pixel. Coordinates are unsigned: one left of or above the image wraps around to a very large one, so that a single comparison
// tests both borders.
struct Sum {
    unsigned rows, channels, down, across;  // of a group: results; what is summed over, each with this many taps
    size weight, weight_group;  // where the first weight is, and steps from one to the next
    unsigned weight_row, weight_channel, weight_i, weight_j;
    unsigned height, width, lines, places;  // of the images that are read; of the results
    unsigned top, left, stride_i, stride_j, tap_i, tap_j;  // the first place's first pixel; pixels per place, and per tap
    size to, to_i, to_j, to_plane, images;  // where the first result goes, and steps
};

template <unsigned ROWS, unsigned COLUMNS>
__device__ inline void add_up(real *y, const real *x, const real *weight, const real *bias, const Sum &of, size groups) {
    __shared__ Four a[DEPTH][ROWS / 4 + 1], b[DEPTH][COLUMNS / 4 + 1];
    constexpr unsigned OF_A = ROWS * DEPTH / BLOCK, OF_B = COLUMNS * DEPTH / BLOCK;
    unsigned t = threadIdx.x, tiles = (of.rows + ROWS - 1) / ROWS, group = blockIdx.y / tiles;
    unsigned first_row = blockIdx.y % tiles * ROWS, terms = of.channels * of.down * of.across;
    size first_column = (size)blockIdx.x * COLUMNS, area = (size)of.lines * of.places, columns = of.images * area;
    if (first_column >= columns) return;  // all threads of the block

    // This thread loads weights of one term, for every 16th row, and pixels of every BLOCK / COLUMNS-th term, for one column.
    wide mine[4][4] = {}, next_a[OF_A], next_b[OF_B];
    size column = first_column + t % COLUMNS;
    bool live = column < columns;
    size image = live ? quotient(column, area) : 0;
    unsigned place = live ? (unsigned)(column - image * area) : 0;
    unsigned top = of.top + place / of.places * of.stride_i, left = of.left + place % of.places * of.stride_j;
    size plane = (size)of.height * of.width;
    const real *pixels = x + (image * groups + group) * of.channels * plane;
    const real *weights = weight + of.weight + group * of.weight_group;

    Digits ka = {}, kb = {}, by_a = {}, by_b = {};
    if (terms) {
        ka = digits(t % DEPTH, of.down, of.across), by_a = digits(DEPTH, of.down, of.across);
        kb = digits(t / COLUMNS, of.down, of.across), by_b = digits(BLOCK / COLUMNS, of.down, of.across);
    }
    auto load = [&]() {
        size at = (size)ka.high * of.weight_channel + (ka.i * of.weight_i + ka.j * of.weight_j);
#pragma unroll
        for (unsigned n = 0; n < OF_A; n++) {
            unsigned row = first_row + t / DEPTH + n * (BLOCK / DEPTH);
            next_a[n] = row < of.rows && ka.high < of.channels ? (wide)weights[(size)row * of.weight_row + at] : (wide)0;
        }
        advance(ka, by_a, of.down, of.across);
#pragma unroll
        for (unsigned n = 0; n < OF_B; n++) {
            unsigned i = top + kb.i * of.tap_i, j = left + kb.j * of.tap_j;
            bool inside = live && kb.high < of.channels && i < of.height && j < of.width;
            next_b[n] = inside ? (wide)pixels[kb.high * plane + i * of.width + j] : (wide)0;
            advance(kb, by_b, of.down, of.across);
        }
    };
    if (terms) load();
    for (unsigned k = 0; k < terms; k += DEPTH) {
#pragma unroll
        for (unsigned n = 0; n < OF_A; n++) {
            unsigned row = t / DEPTH + n * (BLOCK / DEPTH);
            a[t % DEPTH][row / 4].at[row % 4] = next_a[n];
        }
#pragma unroll
        for (unsigned n = 0; n < OF_B; n++) b[t / COLUMNS + n * (BLOCK / COLUMNS)][t % COLUMNS / 4].at[t % 4] = next_b[n];
        __syncthreads();
        if (k + DEPTH < terms) load();
        multiply<ROWS, COLUMNS>(a, b, mine);
        __syncthreads();
    }

    unsigned row = first_row + t / (COLUMNS / 4) * 4;
    for (unsigned s = 0; s < 4; s++) {
        size number = first_column + t % (COLUMNS / 4) * 4 + s;
        if (number >= columns) break;
        size in = quotient(number, area);
        unsigned rest = (unsigned)(number - in * area);
        real *to = y + (in * groups + group) * of.rows * of.to_plane + of.to;
        to += rest / of.places * of.to_i + rest % of.places * of.to_j;
#pragma unroll
        for (unsigned r = 0; r < 4; r++) {
            if (row + r >= of.rows) continue;
            wide result = mine[r][s] + (bias ? (wide)bias[group * of.rows + row + r] : (wide)0);
            to[(row + r) * of.to_plane] = (real)result;
        }
    }
}

// forward: (N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W'). Rows are kernels, columns are places of all images.
__device__ inline Sum forward_sum(Sliding at, size images, size channels, size kernels) {
    const Axis &d = at.down, &s = at.across;
    size area = d.kernel * s.kernel;
    return {(unsigned)kernels, (unsigned)channels, (unsigned)d.kernel, (unsigned)s.kernel,
            0, kernels * channels * area, (unsigned)(channels * area), (unsigned)area, (unsigned)s.kernel, 1,
            (unsigned)d.pixels, (unsigned)s.pixels, (unsigned)d.places, (unsigned)s.places,
            (unsigned)-d.padding, (unsigned)-s.padding, (unsigned)d.stride, (unsigned)s.stride,
            (unsigned)d.dilation, (unsigned)s.dilation,
            0, s.places, 1, d.places * s.places, images};
}

// grad_input: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, H, W). Rows are channels, columns are pixels. With a stride, pixels
// see different elements of the kernel: those that are a multiple of the stride apart see the same. They are one phase, and a
// block works on one (blockIdx.z). Within a phase it is a convolution again, of stride 1, with a part of the kernel backward.
struct Phase {
    unsigned first, count, element, taps, begin;  // its first pixel, how many; its first element, how many; the first place
};
__device__ inline Phase phase_of(Axis at, size first) {
    size element = 0;  // the place may be negative: pixels further on are seen from the places that there are
    while (element < at.step && (first + at.padding + element * at.dilation * (at.stride - 1)) % at.stride) element++;
    size count = first < at.pixels ? (at.pixels - 1 - first) / at.stride + 1 : 0;
    size taps = element < at.step && element < at.kernel ? (at.kernel - 1 - element) / at.step + 1 : 0;
    size begin = (first + at.padding - element * at.dilation) / at.stride;
    return {(unsigned)first, (unsigned)count, (unsigned)element, (unsigned)taps, (unsigned)begin};
}
__device__ inline Sum grad_input_sum(Sliding at, size images, size channels, size kernels) {
    const Axis &d = at.down, &s = at.across;
    size area = d.kernel * s.kernel, number = blockIdx.z;
    Phase i = phase_of(d, number / s.stride), j = phase_of(s, number % s.stride);
    return {(unsigned)channels, (unsigned)kernels, i.taps, j.taps,
            i.element * s.kernel + j.element, kernels * channels * area,
            (unsigned)area, (unsigned)(channels * area), (unsigned)(d.step * s.kernel), (unsigned)s.step,
            (unsigned)d.places, (unsigned)s.places, i.count, j.count,
            i.begin, j.begin, 1, 1, (unsigned)-d.back, (unsigned)-s.back,
            i.first * s.pixels + j.first, d.stride * s.pixels, s.stride, d.pixels * s.pixels, images};
}

// Each for two tiles: where a group has few rows, most of a tile of 64 rows would be unused.
extern "C" __global__ void __launch_bounds__(256)
forward_64(real *y, const real *x, const real *weight, const real *bias,
    Sliding at, size images, size channels, size kernels, size groups) {
    add_up<64, 64>(y, x, weight, bias, forward_sum(at, images, channels, kernels), groups);
}
extern "C" __global__ void __launch_bounds__(256)
forward_16(real *y, const real *x, const real *weight, const real *bias,
    Sliding at, size images, size channels, size kernels, size groups) {
    add_up<16, 256>(y, x, weight, bias, forward_sum(at, images, channels, kernels), groups);
}
extern "C" __global__ void __launch_bounds__(256)
grad_input_64(real *x, const real *g, const real *weight, const real *bias,
    Sliding at, size images, size channels, size kernels, size groups) {
    add_up<64, 64>(x, g, weight, bias, grad_input_sum(at, images, channels, kernels), groups);
}
extern "C" __global__ void __launch_bounds__(256)
grad_input_16(real *x, const real *g, const real *weight, const real *bias,
    Sliding at, size images, size channels, size kernels, size groups) {
    add_up<16, 256>(x, g, weight, bias, grad_input_sum(at, images, channels, kernels), groups);
}

// grad_weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw). Rows are kernels, columns are the weights of a kernel, and a sum
// goes over all places of all images: long sums of few results. So they are cut into shares (blockIdx.z), of `share` terms,
// whose sums `add_parts` adds up, always in the same order.
extern "C" __global__ void __launch_bounds__(256)
grad_weight(wide *parts, const real *x, const real *g,
    Sliding at, size images, size channels, size kernels, size groups, size share) {
    __shared__ Four a[DEPTH][64 / 4 + 1], b[DEPTH][64 / 4 + 1];
    unsigned t = threadIdx.x, tiles = (unsigned)((kernels + 63) / 64), group = blockIdx.y / tiles;
    unsigned down = (unsigned)at.down.kernel, across = (unsigned)at.across.kernel, weights = (unsigned)channels * down * across;
    unsigned height = (unsigned)at.down.pixels, width = (unsigned)at.across.pixels;
    unsigned lines = (unsigned)at.down.places, line = (unsigned)at.across.places;
    size places = at.down.places * at.across.places, first_row = blockIdx.y % tiles * 64, first_column = (size)blockIdx.x * 64;
    size term = blockIdx.z * share, end = min(term + share, images * places);

    // This thread loads one place in sixteen: the gradients of four kernels, and the pixels that four weights see there.
    wide mine[4][4] = {}, next_a[4], next_b[4];
    size plane[4];
    unsigned di[4], dj[4];
    bool live[4];
    for (unsigned n = 0; n < 4; n++) {
        size column = first_column + t / DEPTH + n * (BLOCK / DEPTH);
        live[n] = column < weights;
        Digits k = digits(live[n] ? (unsigned)column : 0, down, across);
        plane[n] = k.high * (size)height * width;
        di[n] = k.i * (unsigned)at.down.dilation, dj[n] = k.j * (unsigned)at.across.dilation;
    }
    term += t % DEPTH;
    size image = quotient(term, places);
    Digits at_term = digits((unsigned)(term - image * places), lines, line), by = digits(DEPTH, lines, line);
    at_term.high = (unsigned)image;
    auto load = [&]() {
        size stack = at_term.high * groups + group;
        const real *gradients = g + stack * kernels * places + (size)at_term.i * line + at_term.j;
        const real *pixels = x + stack * channels * height * width;
        unsigned top = at_term.i * (unsigned)at.down.stride - (unsigned)at.down.padding;
        unsigned left = at_term.j * (unsigned)at.across.stride - (unsigned)at.across.padding;
#pragma unroll
        for (unsigned n = 0; n < 4; n++) {
            size row = first_row + t / DEPTH + n * (BLOCK / DEPTH);
            next_a[n] = term < end && row < kernels ? (wide)gradients[row * places] : (wide)0;
            unsigned i = top + di[n], j = left + dj[n];
            bool inside = term < end && live[n] && i < height && j < width;
            next_b[n] = inside ? (wide)pixels[plane[n] + i * width + j] : (wide)0;
        }
        advance(at_term, by, lines, line);
        term += DEPTH;
    };
    load();
    for (size done = blockIdx.z * share; done < end; done += DEPTH) {
#pragma unroll
        for (unsigned n = 0; n < 4; n++) {
            unsigned number = t / DEPTH + n * (BLOCK / DEPTH);
            a[t % DEPTH][number / 4].at[number % 4] = next_a[n];
            b[t % DEPTH][number / 4].at[number % 4] = next_b[n];
        }
        __syncthreads();
        if (done + DEPTH < end) load();
        multiply<64, 64>(a, b, mine);
        __syncthreads();
    }

    wide *to = parts + (blockIdx.z * groups + group) * kernels * weights;
    for (unsigned r = 0; r < 4; r++) {
        size row = first_row + t / 16 * 4 + r;
        for (unsigned s = 0; s < 4; s++) {
            size column = first_column + t % 16 * 4 + s;
            if (row < kernels && column < weights) to[row * weights + column] = mine[r][s];
        }
    }
}

// y = the sum of `shares` parts of n elements each, in their order.
extern "C" __global__ void add_parts(real *y, const wide *parts, size n, size shares) {
    EACH(i, n) {
        wide sum = 0;
        for (size share = 0; share < shares; share++) sum += parts[share * n + i];
        y[i] = (real)sum;
    }
}
