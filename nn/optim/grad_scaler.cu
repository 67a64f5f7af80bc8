// Gradients times a number, all in one launch; and 1 in `overflowed` if a result is inf or nan: whoever writes there writes the
// same. Column 0 of the rows is a gradient.
extern "C" __global__ void unscale(Rows rows, wide by, float *overflowed) {
    const Part part = part_of(rows);
    real *g = (real *)rows.at[0][part.row];
    EACH_IN(i, part) {
        wide result = (wide)g[i] * by;
        g[i] = (real)result;
        if (result - result != 0) *overflowed = 1;
    }
}
