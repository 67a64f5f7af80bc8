// Dropout without storing the mask: what is drawn depends on the seed and the index alone, so backward draws the same again.
//
// An element is kept if its word, of 32 random bits, is below `threshold`; then it becomes x * scale, else x * 0, so that a nan
// stays. If `shifted`, `up` is added to kept elements, and `down` to the others.
__device__ inline real dropped(real x, bool kept, wide scale, size shifted, wide up, wide down) {
    wide y = (wide)x * (kept ? scale : 0);
    if (shifted) y += kept ? up : down;
    return (real)y;
}

// Elements. A thread computes four neighbours, for which it draws once.
extern "C" __global__ void drop(real *y, const real *x, size seed, size threshold, wide scale, size shifted, wide up, wide down,
                                size n) {
    EACH(four, (n + 3) / 4) {
        const Words words = philox(seed, four);
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            const size i = 4 * four + k;
            if (i < n) y[i] = dropped(x[i], words.at[k] < threshold, scale, shifted, up, down);
        }
    }
}

// Whole channels of `each` elements, one block per channel.
extern "C" __global__ void drop_channels(real *y, const real *x, size seed, size threshold, wide scale, size shifted, wide up,
                                         wide down, size each) {
    const size channel = blockIdx.x, start = channel * each;
    const bool kept = philox(seed, channel / 4).at[channel % 4] < threshold;
    SHARE(i, each) y[start + i] = dropped(x[start + i], kept, scale, shifted, up, down);
}
