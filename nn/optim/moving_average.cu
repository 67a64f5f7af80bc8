// The moving average of many weights in one launch (multi-tensor). Column 0 of the rows are weights, column 1 their average.
extern "C" __global__ void update_average(Rows rows, wide rest) {
    const Part part = part_of(rows);
    const real *p = (const real *)rows.at[0][part.row];
    real *mean = (real *)rows.at[1][part.row];
    EACH_IN(i, part) {
        wide apart = (wide)p[i] - (wide)mean[i];
        mean[i] = (real)((wide)mean[i] + apart * rest);
    }
}

extern "C" __global__ void copy(Rows rows) {
    const Part part = part_of(rows);
    const real *from = (const real *)rows.at[0][part.row];
    real *to = (real *)rows.at[1][part.row];
    EACH_IN(i, part) to[i] = from[i];
}
