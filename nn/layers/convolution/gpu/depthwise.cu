// Depthwise convolution: each channel has one kernel of its own, of few weights, so there is no matrix to multiply and little
// to compute: what counts is to read each element from memory once. Neighbouring threads take neighbouring elements of a plane;
// windows that overlap read from the cache.

#include "../../windows.cuh"

// (N, C, H, W), (C, 1, kh, kw), (C,) → (N, C, H', W'). A thread computes one place.
extern "C" __global__ void forward(real *y, const real *x, const real *weight, const real *bias, Sliding at, size images,
                                   size channels) {
    size places = at.down.places * at.across.places;
    EACH(e, images * channels * places) {
        size plane = quotient(e, places), place = e - plane * places, channel = plane - quotient(plane, channels) * channels;
        size i = quotient(place, at.across.places), top = start(at.down, i);
        size left = start(at.across, place - i * at.across.places);
        const real *from = x + plane * at.down.pixels * at.across.pixels;
        const real *kernel = weight + channel * at.down.kernel * at.across.kernel;
        wide sum = bias ? (wide)bias[channel] : (wide)0;
        for (size a = 0; a < at.down.kernel; a++) {
            size row = top + a * at.down.dilation;
            if (row < 0 || row >= at.down.pixels) continue;
            for (size b = 0; b < at.across.kernel; b++) {
                size column = left + b * at.across.dilation;
                if (column >= 0 && column < at.across.pixels)
                    sum += (wide)kernel[a * at.across.kernel + b] * (wide)from[row * at.across.pixels + column];
            }
        }
        y[e] = (real)sum;
    }
}

// (N, C, H', W'), (C, 1, kh, kw), (C,) → (N, C, H, W). A thread computes one pixel, from the windows that see it.
extern "C" __global__ void grad_input(real *x, const real *g, const real *weight, const real *bias, Sliding at, size images,
                                    size channels) {
    size pixels = at.down.pixels * at.across.pixels;
    EACH(e, images * channels * pixels) {
        size plane = quotient(e, pixels), pixel = e - plane * pixels, channel = plane - quotient(plane, channels) * channels;
        size y = quotient(pixel, at.across.pixels);
        Seen rows = seen(at.down, y), line = seen(at.across, pixel - y * at.across.pixels);
        const real *from = g + plane * at.down.places * at.across.places;
        const real *kernel = weight + channel * at.down.kernel * at.across.kernel;
        wide sum = bias ? (wide)bias[channel] : (wide)0;
        for (size a = rows.first, i = rows.place; a < at.down.kernel && i >= 0; a += at.down.step, i -= at.down.back) {
            if (i >= at.down.places) continue;
            size b = line.first, j = line.place;
            for (; b < at.across.kernel && j >= 0; b += at.across.step, j -= at.across.back) {
                if (j < at.across.places)
                    sum += (wide)kernel[a * at.across.kernel + b] * (wide)from[i * at.across.places + j];
            }
        }
        x[e] = (real)sum;
    }
}

// (N, C, H, W), (N, C, H', W') → `shares` parts of (C, 1, kh, kw), to be added up. A block sums for up to four weights side by
// side (blockIdx.x), of one channel (blockIdx.y), over a share of all places of all images (blockIdx.z): each element of the
// gradient that is read serves four sums.
extern "C" __global__ void grad_weight(wide *parts, const real *x, const real *g, Sliding at, size images, size channels,
                                     size share) {
    size places = at.down.places * at.across.places, pixels = at.down.pixels * at.across.pixels;
    unsigned fours = (unsigned)((at.across.kernel + 3) / 4);
    size a = blockIdx.x / fours, b = blockIdx.x % fours * 4, channel = blockIdx.y;
    size begin = blockIdx.z * share, end = min(begin + share, images * places);
    wide sums[4] = {};
    for (size term = begin + threadIdx.x; term < end; term += blockDim.x) {
        size image = quotient(term, places), place = term - image * places, i = quotient(place, at.across.places);
        size row = start(at.down, i) + a * at.down.dilation;
        if (row < 0 || row >= at.down.pixels) continue;
        size left = start(at.across, place - i * at.across.places) + b * at.across.dilation, plane = image * channels + channel;
        const real *from = x + plane * pixels + row * at.across.pixels;
        wide gradient = (wide)g[plane * places + place];
#pragma unroll
        for (unsigned n = 0; n < 4; n++) {
            size column = left + n * at.across.dilation;
            if (b + n < at.across.kernel && column >= 0 && column < at.across.pixels) sums[n] += gradient * (wide)from[column];
        }
    }
    wide *to = parts + ((blockIdx.z * channels + channel) * at.down.kernel + a) * at.across.kernel;
#pragma unroll
    for (unsigned n = 0; n < 4; n++) {
        wide sum = block_sum(sums[n]);
        if (threadIdx.x == 0 && b + n < at.across.kernel) to[b + n] = sum;
    }
}
