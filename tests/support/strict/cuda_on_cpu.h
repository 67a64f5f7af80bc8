// CUDA's words, so that g++ compiles a kernel's own source and a processor runs it: block by block, and in a block thread by
// thread, each until it waits for the others. The source stands in a namespace without a name, so that all of it is its own.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <numeric>
#include <random>
#include <utility>
#include <vector>
#include <setjmp.h>
#include <ucontext.h>

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

// Memory that a block shares holds anything when the block begins: here nan, or -1. So it lies together. The address sanitizer
// looks after what lies where the compiler puts it.
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define __shared__ static
inline void poison_shared_memory() {}
#else
#define __shared__ static __attribute__((section("shared_memory")))
extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));
inline void poison_shared_memory() {
    if (__start_shared_memory) std::memset(__start_shared_memory, 0xff, (size_t)(__stop_shared_memory - __start_shared_memory));
}
#endif

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

// In which order blocks run, and the threads of a block between two waits: as they are numbered, backward, or by chance, anew
// each time. A GPU promises none. What depends on it is a race.
struct Order {
    enum { FORWARD, BACKWARD, SHUFFLED } kind = FORWARD;
    std::minstd_rand chance;
    std::vector<unsigned> places;

    void begin(unsigned count) {
        if (kind != SHUFFLED) return;
        places.resize(count);
        std::iota(places.begin(), places.end(), 0u);
        std::shuffle(places.begin(), places.end(), chance);
    }
    unsigned at(unsigned i, unsigned count) const { return kind == FORWARD ? i : kind == BACKWARD ? count - 1 - i : places[i]; }
};
static Order block_order, thread_order;

// Threads of a block that wait for each other: each has a stack of its own, and gives way where it waits. A context starts a
// thread on its stack; from then on a jump is enough, and a hundred times faster, for it leaves the signals alone. The address
// sanitizer is told of each change of stacks.
namespace fibers {
#ifdef __SANITIZE_ADDRESS__
constexpr size_t STACK = 1 << 18;
static const void *host_stack;
static size_t host_size;
static void *host_fake;
inline void leave_for(const void *stack, size_t size, void **fake) { __sanitizer_start_switch_fiber(fake, stack, size); }
inline void arrive(void *fake, const void **from, size_t *size) { __sanitizer_finish_switch_fiber(fake, from, size); }
#define ON_SWITCH(call) call
#else
constexpr size_t STACK = 1 << 16;
#define ON_SWITCH(call)
#endif
struct Fiber { ucontext_t start; jmp_buf here; void *fake; bool begun, done; };
static std::vector<Fiber> all;
static std::vector<char> stacks;
static jmp_buf scheduler;
static unsigned running;
static void (*body)(void *);
static void *closure;

static void enter() {
    ON_SWITCH(arrive(nullptr, &host_stack, &host_size));
    body(closure);
    all[running].done = true;
    ON_SWITCH(leave_for(host_stack, host_size, nullptr));
    _longjmp(scheduler, 1);
}
static void place(unsigned i) { threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)}; }

static void resume(unsigned i) {
    running = i;
    place(i);
    if (_setjmp(scheduler)) {
        ON_SWITCH(arrive(host_fake, nullptr, nullptr));
        return;
    }
    ON_SWITCH(leave_for(&stacks[running * STACK], STACK, &host_fake));
    if (all[i].begun) _longjmp(all[i].here, 1);
    all[i].begun = true;
    setcontext(&all[i].start);
}

static void wait() {
    if (_setjmp(all[running].here)) {
        ON_SWITCH(arrive(all[running].fake, &host_stack, &host_size));
        return;
    }
    ON_SWITCH(leave_for(host_stack, host_size, &all[running].fake));
    _longjmp(scheduler, 1);
}

static int run_block() {  // 0, or 1 if some threads ended while others waited for them
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
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
    unsigned ended = 0;
    while (!ended) {
        thread_order.begin(count);
        for (unsigned k = 0; k < count; k++) {
            unsigned i = thread_order.at(k, count);
            resume(i);
            ended += all[i].done;
        }
    }
    return ended != count;
}
}  // namespace fibers

inline void __syncthreads() { fibers::wait(); }

// Blocks `first` to `last` of the grid, x fastest.
struct Launch { const unsigned *grid, *block; long long first, last; int order; };

template <class Kernel> int launch(const Launch &of, Kernel kernel) {
    gridDim = {of.grid[0], of.grid[1], of.grid[2]};
    blockDim = {of.block[0], of.block[1], of.block[2]};
    block_order.kind = thread_order.kind = static_cast<decltype(Order::kind)>(of.order);
    unsigned blocks = (unsigned)(of.last - of.first), threads = blockDim.x * blockDim.y * blockDim.z;
    block_order.begin(blocks);
    for (unsigned k = 0; k < blocks; k++) {
        long long b = of.first + block_order.at(k, blocks), x = gridDim.x, y = gridDim.y;
        blockIdx = {(unsigned)(b % x), (unsigned)(b / x % y), (unsigned)(b / (x * y))};
        poison_shared_memory();
        (void)threads;
#ifdef THREADS_WAIT
        fibers::closure = &kernel;
        fibers::body = [](void *k) { (*static_cast<Kernel *>(k))(); };
        if (int failed = fibers::run_block()) return failed;
#else
        thread_order.begin(threads);
        for (unsigned i = 0; i < threads; i++) { fibers::place(thread_order.at(i, threads)); kernel(); }
#endif
    }
    return 0;
}

// A kernel with its arguments, each given as a pointer to it.
template <class... Parameters, size_t... At>
int launch_with(const Launch &of, void (*kernel)(Parameters...), void **arguments, std::index_sequence<At...>) {
    (void)arguments;
    return launch(of, [=]() { kernel(*static_cast<std::decay_t<Parameters> *>(arguments[At])...); });
}
template <class... Parameters> int launch_with(const Launch &of, void (*kernel)(Parameters...), void **arguments) {
    return launch_with(of, kernel, arguments, std::index_sequence_for<Parameters...>());
}
#define RUN(kernel)                                                                                                            \
    extern "C" int run_##kernel(const Launch *of, void **arguments) { return launch_with(*of, kernel, arguments); }
