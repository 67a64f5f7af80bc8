// Dropout, with a mask that nobody keeps: what is drawn depends on the seed and the place alone, and backward draws it again.
//
// A number is kept if its word, of 32 random bits, is below `threshold`; then it becomes x · scale, else x · 0, so that a nan
// stays. If `shifted`, `up` is added to what is kept, and `down` to what is not.
__device__ inline real dropped(real x, bool kept, wide scale, size shifted, wide up, wide down) {
    wide y = (wide)x * (kept ? scale : 0);
    if (shifted) y += kept ? up : down;
    return (real)y;
}

// Each number by itself. A thread takes four neighbours, for which it draws once.
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

// Whole channels of `each` numbers: a block for each of them.
extern "C" __global__ void drop_channels(real *y, const real *x, size seed, size threshold, wide scale, size shifted, wide up,
                                         wide down, size each) {
    const size channel = blockIdx.x, start = channel * each;
    const bool kept = philox(seed, channel / 4).at[channel % 4] < threshold;
    SHARE(i, each) y[start + i] = dropped(x[start + i], kept, scale, shifted, up, down);
}
