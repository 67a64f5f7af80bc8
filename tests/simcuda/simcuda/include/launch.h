// How the driver runs a kernel of this file: it finds a SimKernel by name.
#pragma once
#include <tuple>
#include "launch_types.h"

extern "C" int sim_run_block(unsigned threads, void (*)(void *), void (*place)(unsigned), void *, const unsigned *order);

static void *sim_dynamic_shared;
static void sim_place(unsigned i) {
    threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
}

template <class T> struct SimPlain { typedef typename std::remove_cv<typename std::remove_reference<T>::type>::type type; };
template <class T> constexpr SimParameter sim_parameter() {
    typedef typename SimPlain<T>::type P;
    return {sizeof(P), std::is_pointer<P>::value ? 'p' : std::is_floating_point<P>::value ? 'f' : std::is_integral<P>::value ? 'i' : 's'};
}

template <class... P, size_t... I>
static int sim_run(void (*kernel)(P...), const SimLaunch *launch, void **arguments, std::index_sequence<I...>) {
    gridDim = {launch->blocks[0], launch->blocks[1], launch->blocks[2]};
    blockDim = {launch->threads[0], launch->threads[1], launch->threads[2]};
    sim_dynamic_shared = launch->dynamic;
    unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    size_t blocks = (size_t)gridDim.x * gridDim.y * gridDim.z;
    auto thread = [&] { kernel(*(typename SimPlain<P>::type *)arguments[I]...); };
    for (size_t n = 0; n < blocks; n++) {
        size_t b = launch->block_order ? launch->block_order[n] : n;
        blockIdx = {(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y), (unsigned)(b / ((size_t)gridDim.x * gridDim.y))};
        if (launch->shared_bytes) memset(launch->shared, 0xff, launch->shared_bytes);
        if (launch->dynamic_bytes) memset(launch->dynamic, 0xff, launch->dynamic_bytes);
#ifdef SIM_FIBERS
        int failed = sim_run_block(
            threads, [](void *closure) { (*(decltype(thread) *)closure)(); }, sim_place, &thread, launch->thread_order);
        if (failed) return failed;
#else
        for (unsigned i = 0; i < threads; i++) {
            sim_place(launch->thread_order ? launch->thread_order[i] : i);
            thread();
        }
#endif
    }
    return 0;
}
template <class... P> static int sim_run(void (*kernel)(P...), const SimLaunch *launch, void **arguments) {
    return sim_run(kernel, launch, arguments, std::index_sequence_for<P...>());
}
template <class... P> struct SimParameters { static constexpr SimParameter all[sizeof...(P) + 1] = {sim_parameter<P>()..., {}}; };
template <class... P> constexpr const SimParameter *sim_parameters(void (*)(P...)) { return SimParameters<P...>::all; }
template <class... P> constexpr unsigned sim_count(void (*)(P...)) { return sizeof...(P); }

// At the end of the file, a line for each kernel; `symbol` is what the driver looks for.
#define SIM_KERNEL(symbol, kernel) \
    extern "C" const char *const simname_##symbol = #kernel; \
    extern "C" int simrun_##symbol(const SimLaunch *launch, void **arguments) { return sim_run(kernel, launch, arguments); } \
    extern "C" const SimKernel simkernel_##symbol = {simrun_##symbol, sim_count(kernel), sim_parameters(kernel)};
// Once: makes the thread's shared variables be there. (They are its thread-local memory, which comes at first use.)
static thread_local char sim_touched;
extern "C" char *sim_touch() { return &sim_touched; }
