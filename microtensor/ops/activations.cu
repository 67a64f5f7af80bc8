// The gradient of piecewise linear activations: g where low < y < high, and where y is nan; 0 elsewhere. A limit that is nan is none.
extern "C" __global__ void between(real *dx, const real *g, const real *y, wide low, wide high, size n) {
    low = (wide)(real)low, high = (wide)(real)high;  // rounded as y is
    EACH(i, n) dx[i] = (wide)y[i] <= low || (wide)y[i] >= high ? (real)0 : g[i];
}
