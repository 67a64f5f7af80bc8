// softmax and log_softmax along an axis: one kernel forward and one backward. A team of threads reads its line three times,
// for the maximum, the sum and the result; from the second time on it is in the cache.

extern "C" __global__ void softmax(real *y, const real *x, size logarithm, Lines s) {
    Line line = line_of(s);
    wide largest = line_max(x, line, s), sum = 0;
    EACH_OF(j, line, s) sum += exp((wide)x[line.at + j * s.inner] - largest);
    sum = team_sum(sum, line, s);
    wide log_sum = log(sum);
    EACH_OF(j, line, s) {
        wide z = (wide)x[line.at + j * s.inner] - largest;
        y[line.at + j * s.inner] = (real)(logarithm ? z - log_sum : exp(z) / sum);
    }
}

// dx = y · (g − Σ g · y), or, if y is log_softmax, g − e^y · Σ g.
extern "C" __global__ void softmax_back(real *dx, const real *g, const real *y, size logarithm, Lines s) {
    Line line = line_of(s);
    wide sum = 0;
    EACH_OF(j, line, s) {
        size i = line.at + j * s.inner;
        sum += logarithm ? (wide)g[i] : (wide)g[i] * (wide)y[i];
    }
    sum = team_sum(sum, line, s);
    EACH_OF(j, line, s) {
        size i = line.at + j * s.inner;
        dx[i] = (real)(logarithm ? (wide)g[i] - exp((wide)y[i]) * sum : (wide)y[i] * ((wide)g[i] - sum));
    }
}
