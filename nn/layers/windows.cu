// Unfold (im2col) and fold (col2im): windows copied into columns, and columns added up to images. Images lie plane by plane, one
// plane for each channel of each image.

#include "windows.cuh"

// The columns of `count` places, from index `first` on. An element of a window at the first of these places, of an image and a
// channel, stands at image · image_stride + (channel · kh · kw + element) · row; the next place is next to it.
// A thread copies what one window sees of one channel: neighbouring threads write, and mostly read, neighbouring elements.
extern "C" __global__ void unfold(real *columns, const real *x, Sliding at, size images, size channels, size first, size count,
                                  size image_stride, size row) {
    EACH(e, images * channels * count) {
        size plane = quotient(e, count), number = e - plane * count, image = quotient(plane, channels);
        size i = quotient(first + number, at.across.places), j = first + number - i * at.across.places;
        size top = start(at.down, i), left = start(at.across, j);
        const real *from = x + plane * at.down.pixels * at.across.pixels;
        size channel = plane - image * channels, element = channel * at.down.kernel * at.across.kernel;
        real *to = columns + image * image_stride + element * row + number;
        for (size a = 0; a < at.down.kernel; a++) {
            size y = top + a * at.down.dilation;
            bool inside = y >= 0 && y < at.down.pixels;
            for (size b = 0; b < at.across.kernel; b++, to += row) {
                size z = left + b * at.across.dilation;
                *to = inside && z >= 0 && z < at.across.pixels ? from[y * at.across.pixels + z] : (real)0.0f;
            }
        }
    }
}

// The adjoint: each pixel is the sum of all elements of columns that were copied from it. A thread gathers one pixel's, in a
// fixed order. Of the `of` channels of each image and group, those from `first` on have columns, `channels` of them.
extern "C" __global__ void fold(real *x, const real *columns, Sliding at, size planes, size channels, size first, size of) {
    size pixels = at.down.pixels * at.across.pixels, places = at.down.places * at.across.places;
    EACH(e, planes * pixels) {
        size plane = quotient(e, pixels), pixel = e - plane * pixels, outer = quotient(plane, channels);
        size y = quotient(pixel, at.across.pixels);
        Seen rows = seen(at.down, y), line = seen(at.across, pixel - y * at.across.pixels);
        const real *from = columns + plane * at.down.kernel * at.across.kernel * places;
        wide sum = 0;
        for (size a = rows.first, i = rows.place; a < at.down.kernel && i >= 0; a += at.down.step, i -= at.down.back) {
            if (i >= at.down.places) continue;
            size b = line.first, j = line.place;
            for (; b < at.across.kernel && j >= 0; b += at.across.step, j -= at.across.back) {
                if (j < at.across.places)
                    sum += (wide)from[(a * at.across.kernel + b) * places + i * at.across.places + j];
            }
        }
        x[(outer * of + first + plane - outer * channels) * pixels + pixel] = (real)sum;
    }
}
