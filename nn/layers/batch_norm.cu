// Batch normalisation. Several blocks share the elements of a channel, since a GPU has more than a hundred multiprocessors, and a
// network may have few channels: each block sums its part, and every block that needs the total adds up the parts, always in the
// same order.

struct Shape {
    size channels, positions;
    size count;   // elements of a channel: images · positions
    size length;  // of the part of a block
    size parts;   // per channel
};

// A thread's iterator over a part: element i = image · positions + p of channel c is at (image · channels + c) · positions + p.
// A step of blockDim.x elements takes additions only; a division per element would cost more than the rest of the work.
struct Way {
    size channel, part, at, left, p, step, turn, positions;
    unsigned on;
    __device__ void next() {
        at += step, p += on, left -= blockDim.x;
        if (p >= positions) p -= positions, at += turn;
    }
};

__device__ inline Way way(const Shape &s) {
    size channel = blockIdx.x / s.parts, part = blockIdx.x % s.parts, first = part * s.length + threadIdx.x;
    size end = part + 1 < s.parts ? (part + 1) * s.length : s.count;
    size image = first / s.positions, p = first % s.positions;
    size images = blockDim.x / s.positions, row = s.channels * s.positions;
    unsigned on = (unsigned)(blockDim.x % s.positions);
    size at = (image * s.channels + channel) * s.positions + p;
    return {channel, part, at, end - first, p, images * row + on, row - s.positions, s.positions, on};
}

#define ALONG(w) for (; w.left > 0; w.next())

// The number of elements in part j of a channel.
__device__ inline wide within(const Shape &s, size j) { return (wide)(j + 1 < s.parts ? s.length : s.count - j * s.length); }

// Each block: the mean of its part, as a rounded pivot and the rest, and the sum of squared deviations from it. The second loop
// reads the part from the cache. `parts` is (3, channels · parts).
extern "C" __global__ void look(wide *parts, const real *x, Shape s) {
    Way start = way(s);
    wide n = within(s, start.part), sum = 0, deviation = 0, squares = 0;
    for (Way w = start; w.left > 0; w.next()) sum += (wide)x[w.at];
    wide pivot = block_sum(sum) / n;
    for (Way w = start; w.left > 0; w.next()) {
        wide d = (wide)x[w.at] - pivot;
        deviation += d, squares += d * d;
    }
    wide rest = block_sum(deviation) / n;
    squares = block_sum(squares) - n * rest * rest;
    size blocks = s.channels * s.parts;
    if (threadIdx.x) return;
    parts[blockIdx.x] = pivot, parts[blocks + blockIdx.x] = rest, parts[2 * blocks + blockIdx.x] = squares;
}

struct Spread { wide pivot, rest, variance; };

// Mean, as pivot + rest, and variance of a channel from those of its parts (Chan, Golub & LeVeque 1983, "Algorithms for
// computing the sample variance", section 2). Every block of the channel computes it, which takes less time than another launch.
__device__ inline Spread together(const wide *parts, const Shape &s, size channel) {
    size blocks = s.channels * s.parts, first = channel * s.parts;
    const wide *pivots = parts + first, *rests = pivots + blocks, *squares = rests + blocks;
    wide pivot = pivots[0], sum = 0, total = 0;
    SHARE(j, s.parts) sum += within(s, j) * (pivots[j] - pivot + rests[j]);
    wide rest = block_sum(sum) / (wide)s.count;
    SHARE(j, s.parts) {
        wide away = pivots[j] - pivot + rests[j] - rest;
        total += squares[j] + within(s, j) * away * away;
    }
    wide variance = block_sum(total) / (wide)s.count;
    return {pivot, rest, variance < 0 ? 0 : variance};
}

// y = (x − mean) · inverse · weight + bias, where inverse = 1 / √(variance + eps); the first block of each channel also keeps
// (pivot, rest, inverse) in `known`, (3, channels), and updates the running mean and variance. Null: 1, 0, or not wanted.
// momentum: used unless momentum_there points to one on the device.
extern "C" __global__ void normalise(real *y, wide *known, wide *running_mean, wide *running_var, const real *x,
                                     const wide *parts, const wide *weight, const wide *bias, wide momentum,
                                     const double *momentum_there, wide eps, Shape s) {
    Way w = way(s);
    Spread spread = together(parts, s, w.channel);
    wide inverse = 1 / sqrt(spread.variance + eps), scale = weight ? weight[w.channel] * inverse : inverse;
    wide shift = bias ? bias[w.channel] : 0;
    if (w.part == 0 && threadIdx.x == 0) {
        size c = w.channel;
        known[c] = spread.pivot, known[s.channels + c] = spread.rest, known[2 * s.channels + c] = inverse;
        wide follow = momentum_there ? (wide)*momentum_there : momentum, n = (wide)s.count;
        if (running_mean) running_mean[c] += follow * (spread.pivot + spread.rest - running_mean[c]);
        if (running_var) running_var[c] += follow * (spread.variance * (n / (n - 1)) - running_var[c]);
    }
    ALONG(w) y[w.at] = (real)((((wide)x[w.at] - spread.pivot) - spread.rest) * scale + shift);
}

// The same by a given mean and variance: y = (x − mean) / √(variance + eps) · weight + bias. Null: 0, 1 or 0.
extern "C" __global__ void normalise_by(real *y, const real *x, const wide *mean, const wide *variance, const wide *weight,
                                        const wide *bias, wide eps, Shape s) {
    Way w = way(s);
    wide scale = (weight ? weight[w.channel] : 1) / sqrt(variance[w.channel] + eps);
    wide away = mean ? mean[w.channel] : 0, shift = bias ? bias[w.channel] : 0;
    ALONG(w) y[w.at] = (real)(((wide)x[w.at] - away) * scale + shift);
}

// Each block: Σ g and Σ g · (x − mean) of its part. `sums` is (2, channels · parts); the mean is pivot + rest, or pivot.
extern "C" __global__ void sum_parts(wide *sums, const real *g, const real *x, const wide *pivot, const wide *rest, Shape s) {
    Way w = way(s);
    wide whole = 0, product = 0, more = rest ? rest[w.channel] : 0, away = pivot[w.channel];
    ALONG(w) {
        wide gradient = (wide)g[w.at];
        whole += gradient, product += gradient * (((wide)x[w.at] - away) - more);
    }
    whole = block_sum(whole), product = block_sum(product);
    if (threadIdx.x == 0) sums[blockIdx.x] = whole, sums[s.channels * s.parts + blockIdx.x] = product;
}

struct Sums { wide whole, product; };

__device__ inline Sums summed(const wide *sums, const Shape &s, size channel) {
    const wide *wholes = sums + channel * s.parts, *products = wholes + s.channels * s.parts;
    wide whole = 0, product = 0;
    SHARE(j, s.parts) whole += wholes[j], product += products[j];
    whole = block_sum(whole);
    return {whole, block_sum(product)};
}

// The gradients of weight and bias, Σ g · x̂ and Σ g, a block for each channel.
extern "C" __global__ void sum_up(wide *dweight, wide *dbias, const wide *sums, const wide *inverse, Shape s) {
    Sums total = summed(sums, s, blockIdx.x);
    if (threadIdx.x == 0) dweight[blockIdx.x] = total.product * inverse[blockIdx.x], dbias[blockIdx.x] = total.whole;
}

// The gradient of x, weight · inverse · (g − mean of g − x̂ · mean of g · x̂), and with it those of weight and bias.
extern "C" __global__ void differentiate(real *dx, wide *dweight, wide *dbias, const real *g, const real *x, const wide *sums,
                                         const wide *known, const wide *weight, Shape s) {
    Way w = way(s);
    size c = w.channel;
    Sums total = summed(sums, s, c);
    wide pivot = known[c], rest = known[s.channels + c], inverse = known[2 * s.channels + c], n = (wide)s.count;
    wide mean = total.whole / n, slope = inverse * inverse * (total.product / n);
    wide scale = weight ? weight[c] * inverse : inverse;
    if (w.part == 0 && threadIdx.x == 0) dweight[c] = total.product * inverse, dbias[c] = total.whole;
    ALONG(w) dx[w.at] = (real)(((wide)g[w.at] - mean - (((wide)x[w.at] - pivot) - rest) * slope) * scale);
}
