// Cross-entropy with class indices. The logits (N, C, P) are N · P lines of C elements, P apart, with a label (N, P) for each line.
// The target of a line is a share of each class (see labels.py): `own` for the label, and weight[j] · smoothing/C for each class j.

struct Target {
    wide own, all;  // the label's share, and the sum of all, of an example that is kept
    wide counts;    // weight in the mean: that of the label's class; nan if there is no such class
    size label;     // 0 if out of range
    bool kept;      // false if the example is ignored
};

__device__ inline wide other(const wide *weight, size j, wide smoothing, const Lines &s) {
    return (weight ? weight[j] : 1) * (smoothing / (wide)s.length);
}

// All threads of a block must call it: a team of threads adds up the shares of its line.
__device__ inline Target target_of(const size *labels, const wide *weight, size ignore, wide smoothing, const Line &line,
                                   const Lines &s) {
    wide others = 0;
    if (smoothing != 0) {  // the same for all threads
        EACH_OF(j, line, s) others += other(weight, j, smoothing, s);
        others = team_sum(others, line, s);
    }
    if (!line.there) return {0, 0, 0, 0, false};
    size label = labels[line.row];
    bool kept = label != ignore, known = label >= 0 && label < s.length;
    if (!known) label = 0;
    wide counts = kept ? known ? weight ? weight[label] : 1 : nan("") : 0, own = counts * (1 - smoothing);
    return {own, own + others, counts, label, kept};
}

// Of two labels, the one further out of range: negative ones first, as in a comparison of unsigned integers.
__device__ inline size worse(size a, size b) { return (a < 0) != (b < 0) ? (a < 0 ? a : b) : a > b ? a : b; }

__device__ inline size block_worst(size value) {
    __shared__ size part[1024];
    part[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] = worse(part[threadIdx.x], part[threadIdx.x + half]);
        __syncthreads();
    }
    size worst = part[0];
    __syncthreads();  // before the next call overwrites `part`
    return worst;
}

// The loss of each line, all · log Σ e^z − Σ shares · z, where z = x − largest. `known` (2, lines) keeps the largest and Σ e^z of
// each line for the backward pass. Each block writes the sums of its losses and weights to `sums` (2, blocks), and the worst of
// its labels. `each` may be null.
extern "C" __global__ void losses(real *each, wide *known, wide *sums, size *worst, const real *x, const size *labels,
                                  const wide *weight, size ignore, wide smoothing, Lines s) {
    Line line = line_of(s);
    Target target = target_of(labels, weight, ignore, smoothing, line, s);
    wide largest = line_max(x, line, s), sum = 0, products = 0;
    EACH_OF(j, line, s) {
        wide z = (wide)x[line.at + j * s.inner] - largest;
        sum += exp(z);
        if (smoothing != 0) products += other(weight, j, smoothing, s) * z;
    }
    sum = team_sum(sum, line, s);
    products = team_sum(products, line, s);
    wide loss = 0;
    size label = 0;
    if (line.there && line.lane == 0) {
        if (target.kept) {
            wide z = (wide)x[line.at + target.label * s.inner] - largest;
            loss = target.all * log(sum) - (target.own * z + products);
            label = labels[line.row];
        }
        known[line.row] = largest, known[s.count + line.row] = sum;
        if (each) each[line.row] = (real)loss;
    }
    loss = block_sum(loss);
    wide counts = block_sum(line.lane == 0 ? target.counts : 0);
    label = block_worst(label);
    if (threadIdx.x == 0) sums[blockIdx.x] = loss, sums[gridDim.x + blockIdx.x] = counts, worst[blockIdx.x] = label;
}

// One block adds up the sums of all blocks. With `mean` the divisor is the sum of the weights, or ∞ if that is 0: then the mean is
// nan, and the gradient 0. `loss` may be null.
extern "C" __global__ void __launch_bounds__(1024)
add_up(real *loss, wide *divisor, size *worst, const wide *sums, const size *worsts,
                                  size mean, size blocks) {
    wide total = 0, counts = 0;
    size label = 0;
    SHARE(i, blocks) total += sums[i], counts += sums[blocks + i], label = worse(label, worsts[i]);
    total = block_sum(total), counts = block_sum(counts), label = block_worst(label);
    if (threadIdx.x) return;
    bool nothing = counts == 0;
    *divisor = !mean ? 1 : nothing ? 1 / counts : counts;
    *worst = label;
    if (loss) *loss = (real)(total / *divisor + (mean && nothing ? nan("") : 0));
}

// The gradient of the logits, (softmax · Σ shares − shares) · g / divisor. g is one number, or one for each line.
extern "C" __global__ void differentiate(real *dx, const real *g, size g_each, const wide *divisor, const wide *known,
                                         const real *x, const size *labels, const wide *weight, size ignore, wide smoothing,
                                         Lines s) {
    Line line = line_of(s);
    Target target = target_of(labels, weight, ignore, smoothing, line, s);
    if (!line.there) return;
    wide largest = known[line.row], scale = (wide)g[g_each ? line.row : 0] / *divisor;
    wide softmax = target.all / known[s.count + line.row];
    EACH_OF(j, line, s) {
        size i = line.at + j * s.inner;
        wide share = j == target.label ? target.own : 0;
        if (smoothing != 0) share += other(weight, j, smoothing, s);
        dx[i] = (real)(target.kept ? (exp((wide)x[i] - largest) * softmax - share) * scale : 0);
    }
}
