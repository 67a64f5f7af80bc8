// One step of many parameters in one launch (multi-tensor): each thread takes some elements of one parameter through the whole
// step, so that each array is read and written once. Column 0 of the rows is the parameter, column 1 its gradient, the others are
// the arrays of its state. The arithmetic is that of `apply` in Python (sgd.py, adam.py …), in the same order.

// The gradient to descend along, with weight decay: see gradient_with_decay in fused.py.
__device__ inline wide descent(wide p, wide g, wide decay, size maximize) {
    if (maximize) g = -g;
    return decay != 0 ? p * decay + g : g;
}

extern "C" __global__ void sgd(Rows rows, wide lr, wide momentum, wide undampened, wide decay, size first, size nesterov, size maximize) {
    const Part part = part_of(rows);
    real *p = (real *)rows.at[0][part.row], *v = (real *)rows.at[2][part.row];
    const real *g = (const real *)rows.at[1][part.row];
    EACH_IN(i, part) {
        wide step = descent((wide)p[i], (wide)g[i], decay, maximize);
        if (v) {
            wide velocity = first ? step : (wide)v[i] * momentum + step * undampened;
            v[i] = (real)velocity;
            step = nesterov ? step + velocity * momentum : velocity;
        }
        p[i] = (real)((wide)p[i] - step * lr);
    }
}

extern "C" __global__ void adam(Rows rows, wide step_size, wide correction_root, wide beta1, wide rest1, wide beta2, wide rest2, wide eps,
                                wide kept, wide decay, size maximize) {
    const Part part = part_of(rows);
    real *p = (real *)rows.at[0][part.row], *mean = (real *)rows.at[2][part.row];
    real *square = (real *)rows.at[3][part.row], *max_square = (real *)rows.at[4][part.row];
    const real *g = (const real *)rows.at[1][part.row];
    EACH_IN(i, part) {
        wide weight = (wide)p[i] * kept, slope = descent(weight, (wide)g[i], decay, maximize);
        wide m = (wide)mean[i] * beta1 + slope * rest1;
        wide s = (wide)square[i] * beta2 + slope * slope * rest2;
        mean[i] = (real)m;
        square[i] = (real)s;
        if (max_square) {
            wide before = (wide)max_square[i];
            s = before > s || before != before ? before : s;  // nan is kept, as by NumPy's maximum
            max_square[i] = (real)s;
        }
        p[i] = (real)(weight - m / (sqrt(s) / correction_root + eps) * step_size);
    }
}

extern "C" __global__ void rmsprop(Rows rows, wide lr, wide alpha, wide rest, wide eps, wide momentum, wide decay, size maximize) {
    const Part part = part_of(rows);
    real *p = (real *)rows.at[0][part.row], *square = (real *)rows.at[2][part.row];
    real *mean = (real *)rows.at[3][part.row], *v = (real *)rows.at[4][part.row];
    const real *g = (const real *)rows.at[1][part.row];
    EACH_IN(i, part) {
        wide slope = descent((wide)p[i], (wide)g[i], decay, maximize);
        wide s = (wide)square[i] * alpha + slope * slope * rest;
        square[i] = (real)s;
        if (mean) {
            wide m = (wide)mean[i] * alpha + slope * rest;
            mean[i] = (real)m;
            s -= m * m;
            if (s < 0) s = 0;
        }
        wide step = slope / (sqrt(s) + eps);
        if (v) {
            step += (wide)v[i] * momentum;
            v[i] = (real)step;
        }
        p[i] = (real)((wide)p[i] - step * lr);
    }
}

extern "C" __global__ void adagrad(Rows rows, wide rate, wide eps, wide decay, size maximize) {
    const Part part = part_of(rows);
    real *p = (real *)rows.at[0][part.row], *squares = (real *)rows.at[2][part.row];
    const real *g = (const real *)rows.at[1][part.row];
    EACH_IN(i, part) {
        wide slope = descent((wide)p[i], (wide)g[i], decay, maximize);
        wide s = (wide)squares[i] + slope * slope;
        squares[i] = (real)s;
        p[i] = (real)((wide)p[i] - slope / (sqrt(s) + eps) * rate);
    }
}
