// cuBLAS: matrix products, column-major, summed in float for half and bfloat16, always in the same order.

#include "sim.h"

namespace sim {

struct Handle {
    void *stream = nullptr;
    int math_mode = 0, pointer_mode = 0;  // 1: alpha and beta are on the device
};
enum Type { FLOAT = 0, DOUBLE = 1, HALF = 2, BFLOAT16 = 14 };
enum Status { OK = 0, INVALID = 7, FAILED = 13, UNSUPPORTED = 15 };

struct bfloat16 {
    unsigned short bits;
    bfloat16() = default;
    bfloat16(float x) {
        unsigned all;
        memcpy(&all, &x, 4);
        bits = x != x ? 0x7fff : (unsigned short)((all + 0x7fff + (all >> 16 & 1)) >> 16);
    }
    operator float() const {
        unsigned all = (unsigned)bits << 16;
        float x;
        memcpy(&x, &all, 4);
        return x;
    }
};

struct Product {  // C = alpha op(A) op(B) + beta C, `count` times
    int transpose_a, transpose_b, m, n, k;
    const void *a, *b;
    void *c;
    int lda, ldb, ldc;
    long long step_a, step_b, step_c;
    int count;
    double alpha, beta;
};

// A column of C at a time: the columns of op(A), which are packed first, times the numbers of a column of op(B).
template <class T, class Wide> static void multiply(const Product &p, const T *a, const T *b, T *c) {
    long m = p.m, n = p.n, k = p.k;
    std::vector<Wide> columns(m * k), sum(m);
    for (long l = 0; l < k; l++)
        for (long i = 0; i < m; i++) columns[l * m + i] = (Wide)(p.transpose_a ? a[i * p.lda + l] : a[l * p.lda + i]);
    for (long j = 0; j < n; j++) {
        std::fill(sum.begin(), sum.end(), Wide(0));
        for (long l = 0; l < k; l++) {
            Wide factor = (Wide)(p.transpose_b ? b[l * p.ldb + j] : b[j * p.ldb + l]);
            const Wide *column = &columns[l * m];
            for (long i = 0; i < m; i++) sum[i] += column[i] * factor;
        }
        Wide alpha = (Wide)p.alpha, beta = (Wide)p.beta;
        for (long i = 0; i < m; i++) {
            T &to = c[j * p.ldc + i];
            to = (T)(beta == 0 ? alpha * sum[i] : alpha * sum[i] + beta * (Wide)to);  // beta 0: what was there does not count
        }
    }
}
template <class T, class Wide> static void multiply_all(const Product &p) {
    for (int i = 0; i < p.count; i++)
        multiply<T, Wide>(p, (const T *)p.a + i * p.step_a, (const T *)p.b + i * p.step_b, (T *)p.c + i * p.step_c);
}
static size_t bytes(int type) { return type == DOUBLE ? 8 : type == FLOAT ? 4 : 2; }

static int refuse(const std::string &words) {
    fprintf(stderr, "simcuda: cuBLAS: %s\n", words.c_str());
    return INVALID;
}
// What the product reads and writes must lie in memory of the device, from its first number to its last.
static int check(const Product &p, int type) {
    int rows_a = p.transpose_a ? p.k : p.m, columns_a = p.transpose_a ? p.m : p.k;
    int rows_b = p.transpose_b ? p.n : p.k, columns_b = p.transpose_b ? p.k : p.n;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.count < 0) return refuse("a size is negative");
    if (p.lda < std::max(1, rows_a) || p.ldb < std::max(1, rows_b) || p.ldc < std::max(1, p.m)) return refuse("a leading dimension is below the number of rows");
    if (!p.m || !p.n || !p.count) return OK;
    struct { const char *name; const void *at; long rows, columns, ld; long long step; } all[] = {
        {"A", p.a, rows_a, columns_a, p.lda, p.step_a}, {"B", p.b, rows_b, columns_b, p.ldb, p.step_b}, {"C", p.c, p.m, p.n, p.ldc, p.step_c}};
    for (auto &x : all) {
        if (!x.rows || !x.columns) continue;
        size_t last = (size_t)((x.columns - 1) * x.ld + x.rows + (p.count - 1) * x.step) * bytes(type);
        if (check_range(x.name, x.at, last)) return refuse(std::string("the matrix ") + x.name + " is not in memory of the device, or goes beyond it");
    }
    return OK;
}

static double scalar(const Handle *h, const void *at, bool is_double) {
    if (h->pointer_mode) finish(h->stream, "cuBLAS, for alpha and beta on the device");
    return is_double ? *(const double *)at : *(const float *)at;
}

static int gemm(Handle *h, const char *name, Product p, const void *alpha, const void *beta, int type, bool is_double, int compute = -1) {
    Guard guard(lock);
    p.alpha = scalar(h, alpha, is_double), p.beta = scalar(h, beta, is_double);
    if (int failed = check(p, type)) return failed;
    if (!captured(h->stream)) count("product");
    std::string title = name;
    if (compute >= 0) title += std::string(type == HALF ? " float16" : type == BFLOAT16 ? " bfloat16" : type == DOUBLE ? " float64" : " float32") + " compute " + std::to_string(compute);
    auto run = [p, type] {
        if (settings.noop) return SUCCESS;
        if (type == FLOAT) multiply_all<float, float>(p);
        else if (type == DOUBLE) multiply_all<double, double>(p);
        else if (type == HALF) multiply_all<_Float16, float>(p);
        else multiply_all<bfloat16, float>(p);
        return SUCCESS;
    };
    return submit(h->stream, {title, run, true}) ? FAILED : OK;
}

}  // namespace sim

using namespace sim;

API int cublasCreate_v2(Handle **h) {
    *h = new Handle;
    return OK;
}
API int cublasDestroy_v2(Handle *h) {
    delete h;
    return OK;
}
API int cublasSetStream_v2(Handle *h, void *stream) {
    h->stream = stream;
    return OK;
}
API int cublasGetStream_v2(Handle *h, void **stream) {
    *stream = h->stream;
    return OK;
}
API int cublasGetVersion_v2(Handle *, int *version) {
    *version = 120900;
    return OK;
}
API int cublasSetMathMode(Handle *h, int mode) {
    h->math_mode = mode;
    return OK;
}
API int cublasGetMathMode(Handle *h, int *mode) {
    *mode = h->math_mode;
    return OK;
}
API int cublasSetPointerMode_v2(Handle *h, int mode) {
    h->pointer_mode = mode;
    return OK;
}
API int cublasGetPointerMode_v2(Handle *h, int *mode) {
    *mode = h->pointer_mode;
    return OK;
}
API int cublasSetWorkspace_v2(Handle *, void *, size_t) { return OK; }
API int cublasSgemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda, const float *b, int ldb, const float *beta, float *c, int ldc) {
    return gemm(h, "sgemm", {ta, tb, m, n, k, a, b, c, lda, ldb, ldc, 0, 0, 0, 1, 0, 0}, alpha, beta, FLOAT, false);
}
API int cublasDgemm_v2(Handle *h, int ta, int tb, int m, int n, int k, const double *alpha, const double *a, int lda, const double *b, int ldb, const double *beta, double *c, int ldc) {
    return gemm(h, "dgemm", {ta, tb, m, n, k, a, b, c, lda, ldb, ldc, 0, 0, 0, 1, 0, 0}, alpha, beta, DOUBLE, true);
}
static int known(int a, int b, int c, int compute) {
    bool same = a == b && b == c && (c == FLOAT || c == DOUBLE || c == HALF || c == BFLOAT16);
    if (same) return OK;
    refuse("simcuda multiplies float16, bfloat16, float32 and float64, all three matrices alike, not the types " + std::to_string(a) + ", " + std::to_string(b) + ", " + std::to_string(c));
    return UNSUPPORTED;
}
API int cublasGemmEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute, int) {
    if (int failed = known(type_a, type_b, type_c, compute)) return failed;
    return gemm(h, "gemmEx", {ta, tb, m, n, k, a, b, c, lda, ldb, ldc, 0, 0, 0, 1, 0, 0}, alpha, beta, type_c, type_c == DOUBLE, compute);
}
API int cublasGemmStridedBatchedEx(Handle *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int type_a, int lda, long long step_a, const void *b, int type_b, int ldb, long long step_b,
                                   const void *beta, void *c, int type_c, int ldc, long long step_c, int times, int compute, int) {
    if (int failed = known(type_a, type_b, type_c, compute)) return failed;
    return gemm(h, "gemmStridedBatchedEx", {ta, tb, m, n, k, a, b, c, lda, ldb, ldc, step_a, step_b, step_c, times, 0, 0}, alpha, beta, type_c, type_c == DOUBLE, compute);
}
template <class T> static int batched(Handle *h, const char *name, int ta, int tb, int m, int n, int k, const T *alpha, const T **a, int lda, const T **b, int ldb, const T *beta, T **c, int ldc, int times, int type) {
    Guard guard(lock);
    finish(h->stream, name);  // the pointers are on the device
    for (int i = 0; i < times; i++) {
        Product p = {ta, tb, m, n, k, a[i], b[i], c[i], lda, ldb, ldc, 0, 0, 0, 1, (double)*alpha, (double)*beta};
        if (int failed = check(p, type)) return failed;
        multiply_all<T, T>(p);
    }
    count("product"), count("launch"), count(std::string("kernel\x1f") + name);
    return OK;
}
API int cublasSgemmBatched(Handle *h, int ta, int tb, int m, int n, int k, const float *alpha, const float **a, int lda, const float **b, int ldb, const float *beta, float **c, int ldc, int times) {
    return batched(h, "sgemmBatched", ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, times, FLOAT);
}
API int cublasDgemmBatched(Handle *h, int ta, int tb, int m, int n, int k, const double *alpha, const double **a, int lda, const double **b, int ldb, const double *beta, double **c, int ldc, int times) {
    return batched(h, "dgemmBatched", ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, times, DOUBLE);
}
