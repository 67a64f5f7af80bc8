// Put before the source of every kernel: the words of CUDA C++ for g++. A kernel becomes a plain function; threadIdx and the
// like are variables that are set before it is called for each thread. What waits for other threads is in threads.h.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <type_traits>
#include <utility>
#include <math.h>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local  // so that they lie together, apart from all else: each block finds them poisoned
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __restrict__
#define __grid_constant__
#define __CUDACC_VER_MAJOR__ 12
#define __CUDACC_VER_MINOR__ 9

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
#define SIM_VECTOR(type, name, bytes) \
    struct alignas(2 * bytes) name##2 { type x, y; }; \
    struct name##3 { type x, y, z; }; \
    struct alignas(4 * bytes > 16 ? 16 : 4 * bytes) name##4 { type x, y, z, w; }; \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; } \
    static inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SIM_VECTOR(int, int, 4)
SIM_VECTOR(float, float, 4)
SIM_VECTOR(double, double, 8)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static uint3 threadIdx, blockIdx;
static uint3 blockDim, gridDim;
static const int warpSize = 32;

// Bits of numbers

template <class To, class From> static inline To sim_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits of another size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int x) { return sim_bits<float>(x); }
static inline int __float_as_int(float x) { return sim_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return sim_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return sim_bits<float>(x); }
static inline double __longlong_as_double(long long x) { return sim_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return sim_bits<long long>(x); }
static inline double __hiloint2double(int high, int low) {
    return sim_bits<double>((unsigned long long)(unsigned)high << 32 | (unsigned)low);
}
static inline int __double2hiint(double x) { return (int)(sim_bits<unsigned long long>(x) >> 32); }
static inline int __double2loint(double x) { return (int)sim_bits<unsigned long long>(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    unsigned long long both = (unsigned long long)b << 32 | a;
    unsigned y = 0;
    for (int i = 0; i < 4; i++) y |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return y;
}
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T value) { *p = value; }

// Atomics: threads run one after the other, so each is what it says. Plain overloads as CUDA has them: CuPy adds its own.

template <class T, class Change> static inline T sim_atomic(T *p, Change change) {
    T old = *p;
    *p = change(old);
    return old;
}
#define SIM_ADD(T) static inline T atomicAdd(T *p, T v) { return sim_atomic(p, [v](T old) { return (T)(old + v); }); }
SIM_ADD(int) SIM_ADD(unsigned) SIM_ADD(unsigned long long) SIM_ADD(float) SIM_ADD(double)
#define SIM_ATOMICS(T) \
    static inline T atomicSub(T *p, T v) { return sim_atomic(p, [v](T old) { return (T)(old - v); }); } \
    static inline T atomicMin(T *p, T v) { return sim_atomic(p, [v](T old) { return old < v ? old : v; }); } \
    static inline T atomicMax(T *p, T v) { return sim_atomic(p, [v](T old) { return old > v ? old : v; }); } \
    static inline T atomicAnd(T *p, T v) { return sim_atomic(p, [v](T old) { return (T)(old & v); }); } \
    static inline T atomicOr(T *p, T v) { return sim_atomic(p, [v](T old) { return (T)(old | v); }); } \
    static inline T atomicXor(T *p, T v) { return sim_atomic(p, [v](T old) { return (T)(old ^ v); }); } \
    static inline T atomicExch(T *p, T v) { return sim_atomic(p, [v](T) { return v; }); } \
    static inline T atomicCAS(T *p, T compare, T v) { return sim_atomic(p, [=](T old) { return old == compare ? v : old; }); }
SIM_ATOMICS(int) SIM_ATOMICS(unsigned) SIM_ATOMICS(unsigned long long) SIM_ATOMICS(long long)
static inline float atomicExch(float *p, float v) { return sim_atomic(p, [v](float) { return v; }); }
static inline unsigned short atomicCAS(unsigned short *p, unsigned short compare, unsigned short v) {
    return sim_atomic(p, [=](unsigned short old) { return old == compare ? v : old; });
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}

// Mathematics: CUDA has them in the global namespace, for float and double.

using std::abs; using std::acos; using std::acosh; using std::asin; using std::asinh; using std::atan; using std::atan2;
using std::atanh; using std::cbrt; using std::ceil; using std::copysign; using std::cos; using std::cosh; using std::erf;
using std::erfc; using std::exp; using std::exp2; using std::expm1; using std::fabs; using std::floor; using std::fma;
using std::fmax; using std::fmin; using std::fmod; using std::frexp; using std::hypot; using std::ilogb; using std::isfinite;
using std::isinf; using std::isnan; using std::ldexp; using std::lgamma; using std::llrint; using std::log; using std::log10;
using std::log1p; using std::log2; using std::logb; using std::lrint; using std::modf; using std::nearbyint;
using std::nextafter; using std::pow; using std::remainder; using std::rint; using std::round; using std::signbit;
using std::sin; using std::sinh; using std::sqrt; using std::tan; using std::tanh; using std::tgamma; using std::trunc;
template <class A, class B> static inline typename std::common_type<A, B>::type min(A a, B b) {
    typedef typename std::common_type<A, B>::type T;
    return (T)b < (T)a ? (T)b : (T)a;
}
template <class A, class B> static inline typename std::common_type<A, B>::type max(A a, B b) {
    typedef typename std::common_type<A, B>::type T;
    return (T)a < (T)b ? (T)b : (T)a;
}
// CUDA's min and max of floats are fmin and fmax: they leave a nan out.
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
static inline float rsqrtf(float x) { return (float)(1 / std::sqrt((double)x)); }
static inline float rsqrt(float x) { return rsqrtf(x); }
// glibc has declared functions of these names, for itself.
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __fsqrt_rn(float x) { return std::sqrt(x); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
static inline double norm3d(double a, double b, double c) { return std::sqrt(a * a + b * b + c * c); }
static inline double normcdf(double x) { return std::erfc(-x * M_SQRT1_2) / 2; }
static inline float normcdff(float x) { return std::erfc(-x * (float)M_SQRT1_2) / 2; }
// Floats to integers: a GPU saturates, and gives 0 for nan; C++ leaves it undefined.
template <class To, class From> static inline To sim_saturate(From x) {
    if (x != x) return 0;
    if (x >= (From)std::numeric_limits<To>::max()) return std::numeric_limits<To>::max();
    return x <= (From)std::numeric_limits<To>::min() ? std::numeric_limits<To>::min() : (To)x;
}
static inline int __float2int_rn(float x) { return sim_saturate<int>(std::nearbyint(x)); }
static inline int __float2int_rd(float x) { return sim_saturate<int>(std::floor(x)); }
static inline int __float2int_ru(float x) { return sim_saturate<int>(std::ceil(x)); }
static inline int __float2int_rz(float x) { return sim_saturate<int>(std::trunc(x)); }
static inline long long __float2ll_rn(float x) { return sim_saturate<long long>(std::nearbyint(x)); }
static inline int __double2int_rn(double x) { return sim_saturate<int>(std::nearbyint(x)); }
static inline long long __double2ll_rn(double x) { return sim_saturate<long long>(std::nearbyint(x)); }

#include "cuda_fp16.h"
#include "threads.h"
#include "launch.h"
