// The norm of all gradients, as one vector, and their multiplication by a factor: one launch each for many gradients
// (multi-tensor). Column 0 of the rows is a gradient.

// The sum of squares of the elements of each block → parts, from index `before` on.
extern "C" __global__ void squares(Rows rows, wide *parts, size before) {
    const Part part = part_of(rows);
    const real *g = (const real *)rows.at[0][part.row];
    wide sum = 0;
    EACH_IN(i, part) sum += (wide)g[i] * (wide)g[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[before + blockIdx.x] = sum;
}

// The sum of n elements, by one block: n is a 2,048th of the elements of the gradients.
extern "C" __global__ void __launch_bounds__(1024)
add_up(wide *total, const wide *parts, size n) {
    wide sum = 0;
    SHARE(i, n) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = sum;
}

extern "C" __global__ void scale(Rows rows, const wide *factor) {
    const Part part = part_of(rows);
    real *g = (real *)rows.at[0][part.row];
    const wide by = *factor;
    EACH_IN(i, part) g[i] = (real)((wide)g[i] * by);
}
