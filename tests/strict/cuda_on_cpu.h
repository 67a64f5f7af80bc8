// CUDA's words, so that g++ compiles a kernel's own source and a processor runs it: block by block, and in a block thread by
// thread, each until it waits for the others.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <vector>
#include <utility>
#include <setjmp.h>
#include <ucontext.h>

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

using std::max; using std::min;
using std::abs; using std::exp; using std::log; using std::sqrt; using std::log1p; using std::floor; using std::pow; using std::tanh;
template <class T> inline T rsqrt(T x) { return 1 / std::sqrt(x); }
template <class T> inline T fma_(T a, T b, T c) { return a * b + c; }
template <class T> inline T __ldg(const T *at) { return *at; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }

// Half precision, converted bit by bit, rounding to the nearest, ties to even.
struct __half {
    uint16_t bits;
    __half() = default;
    __half(float value) {
        uint32_t f; std::memcpy(&f, &value, 4);
        uint32_t sign = f >> 16 & 0x8000, rest = f & 0x7fffffff;
        if (rest >= 0x47800000) bits = (uint16_t)(sign | (rest > 0x7f800000 ? 0x7e00 : 0x7c00));  // 2^16 and more, nan
        else if (rest < 0x38800000) {  // less than 2^-14: a multiple of 2^-24
            float scaled; uint32_t magnitude = rest; std::memcpy(&scaled, &magnitude, 4);
            bits = (uint16_t)(sign | (uint32_t)std::nearbyint(scaled * 16777216.0f));
        } else {
            uint32_t rounded = rest + 0xfff + (rest >> 13 & 1);
            bits = (uint16_t)(sign | (rounded - 0x38000000) >> 13);
        }
    }
    operator float() const {
        uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023, f;
        if (exponent == 0) { float value = (float)fraction / 16777216.0f; return sign ? -value : value; }
        f = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | fraction << 13;
        float value; std::memcpy(&value, &f, 4); return value;
    }
};
inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return __half(x); }

// Threads of a block that wait for each other: each has a stack of its own, and gives way where it waits. A context starts a
// thread on its stack; from then on a jump is enough, and a hundred times faster, for it leaves the signals alone.
namespace fibers {
constexpr size_t STACK = 1 << 16;
struct Fiber { ucontext_t start; jmp_buf here; bool begun, done; };
static std::vector<Fiber> all;
static std::vector<char> stacks;
static jmp_buf scheduler;
static unsigned running;
static void (*body)(void *);
static void *closure;

static void enter() {
    body(closure);
    all[running].done = true;
    _longjmp(scheduler, 1);
}
static void place(unsigned i) { threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)}; }

static void resume(unsigned i) {
    running = i;
    place(i);
    if (_setjmp(scheduler)) return;
    if (all[i].begun) _longjmp(all[i].here, 1);
    all[i].begun = true;
    setcontext(&all[i].start);
}

static int run_block() {  // 0, or 1 if some threads ended while others waited for them
    unsigned count = blockDim.x * blockDim.y * blockDim.z, ended = 0;
    all.resize(count);
    stacks.resize(count * STACK);
    for (unsigned i = 0; i < count; i++) {
        all[i].begun = all[i].done = false;
        getcontext(&all[i].start);
        all[i].start.uc_stack.ss_sp = &stacks[i * STACK];
        all[i].start.uc_stack.ss_size = STACK;
        all[i].start.uc_link = nullptr;
        makecontext(&all[i].start, enter, 0);
    }
    while (!ended) {
        for (unsigned i = 0; i < count; i++) { resume(i); ended += all[i].done; }
    }
    return ended != count;
}
}  // namespace fibers

inline void __syncthreads() {
    if (!_setjmp(fibers::all[fibers::running].here)) _longjmp(fibers::scheduler, 1);
}

// Blocks `first` to `last` of the grid, x fastest.
template <class Kernel> int launch(const unsigned *grid, const unsigned *block, long long first, long long last, Kernel kernel) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (long long b = first; b < last; b++) {
        blockIdx = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]), (unsigned)(b / ((long long)grid[0] * grid[1]))};
#ifdef THREADS_WAIT
        fibers::closure = &kernel;
        fibers::body = [](void *k) { (*static_cast<Kernel *>(k))(); };
        if (int failed = fibers::run_block()) return failed;
#else
        for (unsigned i = 0; i < blockDim.x * blockDim.y * blockDim.z; i++) { fibers::place(i); kernel(); }
#endif
    }
    return 0;
}

// A kernel with its arguments, each given as a pointer to it.
template <class... Parameters, size_t... At>
int launch_with(const unsigned *grid, const unsigned *block, long long first, long long last, void (*kernel)(Parameters...),
                void **arguments, std::index_sequence<At...>) {
    (void)arguments;
    return launch(grid, block, first, last, [=]() { kernel(*static_cast<std::decay_t<Parameters> *>(arguments[At])...); });
}
template <class... Parameters>
int launch_with(const unsigned *grid, const unsigned *block, long long first, long long last, void (*kernel)(Parameters...),
                void **arguments) {
    return launch_with(grid, block, first, last, kernel, arguments, std::index_sequence_for<Parameters...>());
}
#define RUN(kernel)                                                                                                            \
    extern "C" int run_##kernel(const unsigned *grid, const unsigned *block, long long first, long long last, void **arguments) { \
        return launch_with(grid, block, first, last, kernel, arguments);                                                       \
    }
