// Multiply many gradients by a factor in one launch (multi-tensor), and set `overflowed` to 1 if a result is inf or nan: all
// threads that write there write the same value, so no atomics are needed. Column 0 of the rows is a gradient.
extern "C" __global__ void unscale(Rows rows, wide by, float *overflowed) {
    const Part part = part_of(rows);
    real *g = (real *)rows.at[0][part.row];
    EACH_IN(i, part) {
        wide result = (wide)g[i] * by;
        g[i] = (real)result;
        if (result - result != 0) *overflowed = 1;
    }
}
