// What CuPy has compiled into its modules for a GPU: sorting (Thrust) and reductions, scans and histograms over a whole array or
// over segments of it (CUB). loader.py redirects CuPy's entries to these. Each waits for its stream first, and computes at once.

#include "sim.h"
#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>

namespace sim {

// CuPy's numbers of dtypes (type_dispatcher.cuh) and of what to reduce by (cupy_cub.h).
enum Type { INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT16, FLOAT32, FLOAT64, COMPLEX64, COMPLEX128, BOOL };
enum By { SUM, MIN, MAX, ARGMIN, ARGMAX, CUMSUM, CUMPROD, PROD };

template <class Do> static int by_type(int type, Do &&act) {
    switch (type) {
        case INT8: act(int8_t()); break;
        case UINT8: act(uint8_t()); break;
        case INT16: act(int16_t()); break;
        case UINT16: act(uint16_t()); break;
        case INT32: act(int32_t()); break;
        case UINT32: act(uint32_t()); break;
        case INT64: act(int64_t()); break;
        case UINT64: act(uint64_t()); break;
        case FLOAT16: act(_Float16()); break;
        case FLOAT32: act(float()); break;
        case FLOAT64: act(double()); break;
        case COMPLEX64: act(std::complex<float>()); break;
        case COMPLEX128: act(std::complex<double>()); break;
        case BOOL: act(bool()); break;
        default: fprintf(stderr, "simcuda: CuPy's dtype number %d is not known\n", type); return NOT_SUPPORTED;
    }
    return SUCCESS;
}

// The order in which CuPy sorts: nan after all else, complex numbers by their real parts first.
template <class T> static bool is_nan(T x) { return x != x; }
template <class T> static bool before(T a, T b) { return is_nan(b) ? !is_nan(a) : a < b; }
template <class T> static bool before(std::complex<T> a, std::complex<T> b) {
    if (is_nan(b.real())) return !is_nan(a.real()) || before(a.imag(), b.imag());
    return a.real() == b.real() ? before(a.imag(), b.imag()) : before(a.real(), b.real());
}

// What sums are taken in: half precision in float, the rest in their own type.
template <class T> struct Wide { typedef T type; };
template <> struct Wide<_Float16> { typedef float type; };
template <> struct Wide<bool> { typedef int64_t type; };

// Halves of halves, as threads would: the error grows with the logarithm of the number.
template <class W, class T, class Join> static W tree(const T *x, size_t n, Join join) {
    if (n <= 8) {
        W total = (W)x[0];
        for (size_t i = 1; i < n; i++) total = join(total, (W)x[i]);
        return total;
    }
    return join(tree<W>(x, n / 2, join), tree<W>(x + n / 2, n - n / 2, join));
}
template <class T> static T plus(T a, T b) { return a + b; }
template <class T> static T times(T a, T b) { return a * b; }
template <class T> static size_t extreme(const T *x, size_t n, bool largest) {  // the first; a nan is more extreme than all
    size_t best = 0;
    for (size_t i = 1; i < n && !is_nan(x[best]); i++)
        if (is_nan(x[i]) || (largest ? before(x[best], x[i]) : before(x[i], x[best]))) best = i;
    return best;
}
template <class T> struct Found { int place; T value; };

template <class T> static void reduce_one(const T *x, void *result, size_t segment, size_t n, int by) {
    typedef typename Wide<T>::type W;
    if (by == SUM) ((T *)result)[segment] = n ? (T)tree<W>(x, n, plus<W>) : T(0);
    else if (by == PROD) ((T *)result)[segment] = n ? (T)tree<W>(x, n, times<W>) : T(1);
    else if (by == MIN || by == MAX) ((T *)result)[segment] = x[extreme(x, n, by == MAX)];
    else {
        size_t at = extreme(x, n, by == ARGMAX);
        ((Found<T> *)result)[segment] = {(int)at, x[at]};
    }
}
static void start(const char *name, void *stream) {
    if (captured(stream)) cannot_capture(stream, name);
    else finish(stream, name);
    count("launch"), count(std::string("kernel\x1f") + name);
}
static void reduce(const char *name, const void *x, void *result, size_t segments, size_t n, void *stream, int by, int type) {
    Guard guard(lock);
    start(name, stream);
    if (settings.noop) return;
    by_type(type, [&](auto zero) {
        typedef decltype(zero) T;
        for (size_t i = 0; i < segments; i++) reduce_one((const T *)x + i * n, result, i, n, by);
    });
}
template <class T> static void scan(const T *x, T *y, size_t n, bool sum) {
    typename Wide<T>::type total = sum ? 0 : 1;
    for (size_t i = 0; i < n; i++) {
        total = sum ? total + (typename Wide<T>::type)x[i] : total * (typename Wide<T>::type)x[i];
        y[i] = (T)total;
    }
}

static void sort_rows(int type, void *data, size_t *places, const std::vector<ptrdiff_t> &shape) {
    size_t n = shape.empty() ? 1 : shape.back(), all = 1;
    for (auto side : shape) all *= side;
    if (!all) return;
    by_type(type, [&](auto zero) {
        typedef decltype(zero) T;
        for (size_t row = 0; row < all / n; row++) {
            T *x = (T *)data + row * n;
            if (!places) {
                std::stable_sort(x, x + n, [](T a, T b) { return before(a, b); });
                continue;
            }
            size_t *at = places + row * n;
            std::iota(at, at + n, 0);
            std::stable_sort(at, at + n, [x](size_t a, size_t b) { return before(x[a], x[b]); });
        }
    });
}

}  // namespace sim

using namespace sim;
typedef std::vector<ptrdiff_t> Shape;

// The names are those of CuPy's functions as the compiler writes them.

API void sim__Z11thrust_sortiPvPmRKSt6vectorIlSaIlEElS_(int type, void *data, size_t *, const Shape &shape, intptr_t stream, void *) {
    Guard guard(lock);
    start("thrust::sort", (void *)stream);
    sort_rows(type, data, nullptr, shape);
}
API void sim__Z14thrust_argsortiPmPvS0_RKSt6vectorIlSaIlEElS0_(int type, size_t *places, void *data, void *, const Shape &shape, intptr_t stream, void *) {
    Guard guard(lock);
    start("thrust::argsort", (void *)stream);
    sort_rows(type, data, places, shape);
}
API void sim__Z14thrust_lexsortiPmPvmmlS0_(int type, size_t *places, void *keys, size_t rows, size_t n, intptr_t stream, void *) {
    Guard guard(lock);
    start("thrust::lexsort", (void *)stream);
    std::iota(places, places + n, 0);
    by_type(type, [&](auto zero) {
        typedef decltype(zero) T;
        for (size_t row = 0; row < rows; row++) {
            const T *key = (const T *)keys + row * n;
            std::stable_sort(places, places + n, [key](size_t a, size_t b) { return before(key[a], key[b]); });
        }
    });
}
API void sim__Z17cub_device_reducePvRmS_S_iP11CUstream_stii(void *, size_t &, void *x, void *y, int n, void *stream, int by, int type) {
    reduce("cub::DeviceReduce", x, y, 1, n, stream, by, type);
}
API void sim__Z27cub_device_segmented_reducePvRmS_S_iiP11CUstream_stii(void *, size_t &, void *x, void *y, int segments, int n, void *stream, int by, int type) {
    reduce("cub::DeviceSegmentedReduce", x, y, segments, n, stream, by, type);
}
API void sim__Z15cub_device_scanPvRmS_S_iP11CUstream_stii(void *, size_t &, void *x, void *y, int n, void *stream, int by, int type) {
    Guard guard(lock);
    start("cub::DeviceScan", stream);
    by_type(type, [&](auto zero) { scan((const decltype(zero) *)x, (decltype(zero) *)y, n, by == CUMSUM); });
}
API size_t sim__Z36cub_device_reduce_get_workspace_sizePvS_iP11CUstream_stii(void *, void *, int, void *, int, int) { return 1; }
API size_t sim__Z46cub_device_segmented_reduce_get_workspace_sizePvS_iiP11CUstream_stii(void *, void *, int, int, void *, int, int) { return 1; }
API size_t sim__Z34cub_device_scan_get_workspace_sizePvS_iP11CUstream_stii(void *, void *, int, void *, int, int) { return 1; }
API size_t sim__Z44cub_device_histogram_even_get_workspace_sizePvS_iiimP11CUstream_sti(void *, void *, int, int, int, size_t, void *, int) { return 1; }
API size_t sim__Z45cub_device_histogram_range_get_workspace_sizePvS_iS_mP11CUstream_sti(void *, void *, int, void *, size_t, void *, int) { return 1; }
API void sim__Z25cub_device_histogram_evenPvRmS_S_iiimP11CUstream_sti(void *, size_t &, void *x, void *y, int levels, int lower, int upper, size_t n, void *stream, int type) {
    Guard guard(lock);
    start("cub::DeviceHistogram::HistogramEven", stream);
    int *counts = (int *)y, bins = levels - 1;
    std::fill(counts, counts + bins, 0);
    by_type(type, [&](auto zero) {
        typedef decltype(zero) T;
        if constexpr (std::is_integral<T>::value)
            for (size_t i = 0; i < n; i++) {
                long long value = ((T *)x)[i];
                if (value >= lower && value < upper) counts[(value - lower) * bins / (upper - lower)]++;
            }
    });
}
API void sim__Z26cub_device_histogram_rangePvRmS_S_iS_mP11CUstream_sti(void *, size_t &, void *x, void *y, int levels, void *edges, size_t n, void *stream, int type) {
    Guard guard(lock);
    start("cub::DeviceHistogram::HistogramRange", stream);
    long long *counts = (long long *)y;
    std::fill(counts, counts + levels - 1, 0);
    by_type(type, [&](auto zero) {
        typedef decltype(zero) T;
        const T *edge = (const T *)edges;
        for (size_t i = 0; i < n; i++) {
            T value = ((T *)x)[i];
            const T *above = std::upper_bound(edge, edge + levels, value, [](T a, T b) { return before(a, b); });
            if (above != edge && above != edge + levels) counts[above - edge - 1]++;
        }
    });
}
