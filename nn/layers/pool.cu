// Max pooling and average pooling. Forward, one thread computes one window; backward, one thread computes one pixel, from all
// windows that see it, so no two threads add to one element. Neighbouring threads have neighbouring windows, or pixels.

struct Window {
    size height, width, down, across;  // of the feature map, and the number of windows along each axis
    size kernel[2], stride[2], before[2], dilation[2];
};

// The pixel, along an axis, of element i of window `place`. It may lie in the padding.
__device__ inline size pixel_of(size place, size i, const Window &w, unsigned axis) {
    return place * w.stride[axis] + i * w.dilation[axis] - w.before[axis];
}

// The first and the last window along an axis that cover a pixel. With dilation, `sees` tells those that skip it.
struct Range { size first, last; };

__device__ inline Range windows_of(size pixel, size count, const Window &w, unsigned axis) {
    size at = pixel + w.before[axis], ahead = at - (w.kernel[axis] - 1) * w.dilation[axis], stride = w.stride[axis];
    return {ahead > 0 ? (ahead + stride - 1) / stride : 0, at / stride < count ? at / stride : count - 1};
}

__device__ inline bool sees(size place, size pixel, const Window &w, unsigned axis) {
    return w.dilation[axis] == 1 || (pixel + w.before[axis] - place * w.stride[axis]) % w.dilation[axis] == 0;
}

// The largest value y of each window, and its argmax: row · width + column of the first maximum, row by row. A nan is larger
// than all. Either result may be a null pointer.
extern "C" __global__ void max_pool(real *y, size *argmax, const real *x, Window w, size count) {
    EACH(i, count) {
        size a = i / w.across % w.down, b = i % w.across, best = -1;
        const real *map = x + i / w.across / w.down * w.height * w.width;
        wide largest = 0;
        for (size k = 0; k < w.kernel[0]; k++) {
            size row = pixel_of(a, k, w, 0);
            if (row < 0 || row >= w.height) continue;
            for (size l = 0; l < w.kernel[1]; l++) {
                size column = pixel_of(b, l, w, 1);
                if (column < 0 || column >= w.width) continue;
                wide value = (wide)map[row * w.width + column];
                bool larger = value > largest || (value != value && largest == largest);
                if (best < 0 || larger) largest = value, best = row * w.width + column;
            }
        }
        if (y) y[i] = (real)largest;
        if (argmax) argmax[i] = best;
    }
}

// Whether no pixel before this one, row by row, is a maximum of window (a, b) too.
__device__ inline bool is_first(const real *map, size row, size column, wide largest, size a, size b, const Window &w) {
    for (size k = 0; k < w.kernel[0]; k++) {
        size r = pixel_of(a, k, w, 0);
        if (r < 0) continue;
        if (r > row) break;
        for (size l = 0; l < w.kernel[1]; l++) {
            size c = pixel_of(b, l, w, 1);
            if (c < 0 || c >= w.width) continue;
            if (r == row && c >= column) break;
            wide value = (wide)map[r * w.width + c];
            if (value == largest || value != value) return false;
        }
    }
    return true;
}

// Backward from x and y alone: the gradient of a pixel is the sum of g over the windows whose first maximum it is.
extern "C" __global__ void max_pool_grad(real *grad_input, const real *g, const real *x, const real *y, Window w, size count) {
    EACH(i, count) {
        size row = i / w.width % w.height, column = i % w.width, channel = i / w.width / w.height;
        const real *map = x + channel * w.height * w.width;
        wide value = (wide)x[i], sum = 0;
        Range down = windows_of(row, w.down, w, 0), across = windows_of(column, w.across, w, 1);
        for (size a = down.first; a <= down.last; a++) {
            if (!sees(a, row, w, 0)) continue;
            for (size b = across.first; b <= across.last; b++) {
                if (!sees(b, column, w, 1)) continue;
                size place = (channel * w.down + a) * w.across + b;
                wide largest = (wide)y[place];
                bool is_maximum = value == largest || value != value;
                if (is_maximum && is_first(map, row, column, largest, a, b, w)) sum += (wide)g[place];
            }
        }
        grad_input[i] = (real)sum;
    }
}

// The pixels that count in the mean: along each axis from low to high - 1.
struct Counted { size low[2], high[2]; };

__device__ inline size count_along(size place, const Window &w, const Counted &counted, unsigned axis) {
    size start = place * w.stride[axis] - w.before[axis], end = start + w.kernel[axis];
    return (end < counted.high[axis] ? end : counted.high[axis]) - (start > counted.low[axis] ? start : counted.low[axis]);
}

// The factor of the sum of window (a, b): `scale`; or if that is 0, 1 / the number of counted pixels that the window sees.
__device__ inline wide scale_of(size a, size b, wide scale, const Counted &counted, const Window &w) {
    return scale != 0 ? scale : 1 / (wide)(count_along(a, w, counted, 0) * count_along(b, w, counted, 1));
}

// The sum of each window times its scale.
extern "C" __global__ void avg_pool(real *y, const real *x, wide scale, Counted counted, Window w, size count) {
    EACH(i, count) {
        size a = i / w.across % w.down, b = i % w.across;
        const real *map = x + i / w.across / w.down * w.height * w.width;
        wide sum = 0;
        for (size k = 0; k < w.kernel[0]; k++) {
            size row = pixel_of(a, k, w, 0);
            if (row < 0 || row >= w.height) continue;
            for (size l = 0; l < w.kernel[1]; l++) {
                size column = pixel_of(b, l, w, 1);
                if (column >= 0 && column < w.width) sum += (wide)map[row * w.width + column];
            }
        }
        y[i] = (real)(sum * scale_of(a, b, scale, counted, w));
    }
}

// The adjoint of avg_pool: the gradient of a pixel is the sum of g times scale over the windows that see it.
extern "C" __global__ void avg_pool_grad(real *grad_input, const real *g, wide scale, Counted counted, Window w, size count) {
    EACH(i, count) {
        size row = i / w.width % w.height, column = i % w.width, channel = i / w.width / w.height;
        wide sum = 0;
        Range down = windows_of(row, w.down, w, 0), across = windows_of(column, w.across, w, 1);
        for (size a = down.first; a <= down.last; a++) {
            if (!sees(a, row, w, 0)) continue;
            for (size b = across.first; b <= across.last; b++) {
                if (!sees(b, column, w, 1)) continue;
                sum += (wide)g[(channel * w.down + a) * w.across + b] * scale_of(a, b, scale, counted, w);
            }
        }
        grad_input[i] = (real)sum;
    }
}
