// Numbers spread evenly from low to low + width: four for each drawing of Philox. `bits` random bits make one of [0, 1), which
// `real` holds exactly; shift is 32 − bits, unit 2^−bits.
extern "C" __global__ void uniform(real *numbers, size seed, size shift, wide unit, wide width, wide low, size n) {
    EACH(four, (n + 3) / 4) {
        const Words words = philox(seed, four);
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            const size i = 4 * four + k;
            if (i < n) numbers[i] = (real)((wide)(words.at[k] >> shift) * unit * width + low);
        }
    }
}
