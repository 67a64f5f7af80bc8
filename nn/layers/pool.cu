// Max and average pooling. Forward, a thread for each window; backward, a thread for each pixel, which looks at the windows
// that see it: so nothing is added by two threads to one place. Neighbouring threads have neighbouring windows, or pixels.

struct Window {
    size height, width, down, across;  // of an image, and how many windows along each axis
    size kernel[2], stride[2], before[2], dilation[2];
};

// Element i of window `place` along an axis lies on this pixel, if that is on the image.
__device__ inline size pixel_of(size place, size i, const Window &w, unsigned axis) {
    return place * w.stride[axis] + i * w.dilation[axis] - w.before[axis];
}

// The first and the last window along an axis that may see a pixel; with dilation they step over some.
struct Range { size first, last; };

__device__ inline Range windows_of(size pixel, size count, const Window &w, unsigned axis) {
    size at = pixel + w.before[axis], ahead = at - (w.kernel[axis] - 1) * w.dilation[axis], stride = w.stride[axis];
    return {ahead > 0 ? (ahead + stride - 1) / stride : 0, at / stride < count ? at / stride : count - 1};
}

__device__ inline bool sees(size place, size pixel, const Window &w, unsigned axis) {
    return w.dilation[axis] == 1 || (pixel + w.before[axis] - place * w.stride[axis]) % w.dilation[axis] == 0;
}

// The largest number of each window, and where it is first, row by row: row · width + column. A nan is larger than all. Either
// result may be null.
extern "C" __global__ void largest(real *y, size *winner, const real *x, Window w, size count) {
    EACH(i, count) {
        size a = i / w.across % w.down, b = i % w.across, best = -1;
        const real *image = x + i / w.across / w.down * w.height * w.width;
        wide most = 0;
        for (size k = 0; k < w.kernel[0]; k++) {
            size row = pixel_of(a, k, w, 0);
            if (row < 0 || row >= w.height) continue;
            for (size l = 0; l < w.kernel[1]; l++) {
                size column = pixel_of(b, l, w, 1);
                if (column < 0 || column >= w.width) continue;
                wide value = (wide)image[row * w.width + column];
                if (best < 0 || value > most || (value != value && most == most)) most = value, best = row * w.width + column;
            }
        }
        if (y) y[i] = (real)most;
        if (winner) winner[i] = best;
    }
}

// Whether no number before this pixel is the largest of the window (a, b) as well.
__device__ inline bool first(const real *image, size row, size column, wide most, size a, size b, const Window &w) {
    for (size k = 0; k < w.kernel[0]; k++) {
        size r = pixel_of(a, k, w, 0);
        if (r < 0) continue;
        if (r > row) break;
        for (size l = 0; l < w.kernel[1]; l++) {
            size c = pixel_of(b, l, w, 1);
            if (c < 0 || c >= w.width) continue;
            if (r == row && c >= column) break;
            wide value = (wide)image[r * w.width + c];
            if (value == most || value != value) return false;
        }
    }
    return true;
}

// Backward, from the numbers and the maxima alone: a pixel gets the gradients of the windows in which it is the first maximum.
extern "C" __global__ void to_first_largest(real *dx, const real *g, const real *x, const real *y, Window w, size count) {
    EACH(i, count) {
        size row = i / w.width % w.height, column = i % w.width, plane = i / w.width / w.height;
        const real *image = x + plane * w.height * w.width;
        wide value = (wide)x[i], sum = 0;
        Range down = windows_of(row, w.down, w, 0), across = windows_of(column, w.across, w, 1);
        for (size a = down.first; a <= down.last; a++) {
            if (!sees(a, row, w, 0)) continue;
            for (size b = across.first; b <= across.last; b++) {
                if (!sees(b, column, w, 1)) continue;
                size place = (plane * w.down + a) * w.across + b;
                wide most = (wide)y[place];
                if ((value == most || value != value) && first(image, row, column, most, a, b, w)) sum += (wide)g[place];
            }
        }
        dx[i] = (real)sum;
    }
}

// What a window's sum is multiplied by: a number for all; or, if that is 0, one over how many pixels it sees of those from low
// to high along each axis.
struct Share { size low[2], high[2]; };

__device__ inline size counted(size place, const Window &w, const Share &share, unsigned axis) {
    size start = place * w.stride[axis] - w.before[axis], end = start + w.kernel[axis];
    return (end < share.high[axis] ? end : share.high[axis]) - (start > share.low[axis] ? start : share.low[axis]);
}

__device__ inline wide share_of(size a, size b, wide all, const Share &share, const Window &w) {
    return all != 0 ? all : 1 / (wide)(counted(a, w, share, 0) * counted(b, w, share, 1));
}

// The sum of each window times its share.
extern "C" __global__ void average(real *y, const real *x, wide all, Share share, Window w, size count) {
    EACH(i, count) {
        size a = i / w.across % w.down, b = i % w.across;
        const real *image = x + i / w.across / w.down * w.height * w.width;
        wide sum = 0;
        for (size k = 0; k < w.kernel[0]; k++) {
            size row = pixel_of(a, k, w, 0);
            if (row < 0 || row >= w.height) continue;
            for (size l = 0; l < w.kernel[1]; l++) {
                size column = pixel_of(b, l, w, 1);
                if (column >= 0 && column < w.width) sum += (wide)image[row * w.width + column];
            }
        }
        y[i] = (real)(sum * share_of(a, b, all, share, w));
    }
}

// Its adjoint: each pixel gets the gradients of the windows that see it, times their shares.
extern "C" __global__ void spread(real *dx, const real *g, wide all, Share share, Window w, size count) {
    EACH(i, count) {
        size row = i / w.width % w.height, column = i % w.width, plane = i / w.width / w.height;
        wide sum = 0;
        Range down = windows_of(row, w.down, w, 0), across = windows_of(column, w.across, w, 1);
        for (size a = down.first; a <= down.last; a++) {
            if (!sees(a, row, w, 0)) continue;
            for (size b = across.first; b <= across.last; b++) {
                if (sees(b, column, w, 1)) sum += (wide)g[(plane * w.down + a) * w.across + b] * share_of(a, b, all, share, w);
            }
        }
        dx[i] = (real)sum;
    }
}
