// What a thread does with others of its block: barriers, and the exchange of numbers within a warp.
#pragma once

extern "C" unsigned sim_lane();               // the number of the thread that runs, in its block
extern "C" void sim_barrier(unsigned mask);   // of the whole block: 0; of these lanes of the warp

#ifdef SIM_FIBERS
static inline void __syncthreads() { sim_barrier(0); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { sim_barrier(mask); }
template <class Join> static inline int sim_vote(int value, Join join) {
    static int votes[1024];
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
    votes[sim_lane()] = value;
    sim_barrier(0);
    int joined = votes[0];
    for (unsigned i = 1; i < count; i++) joined = join(joined, votes[i]);
    sim_barrier(0);
    return joined;
}
static inline int __syncthreads_or(int x) { return sim_vote(x != 0, [](int a, int b) { return a | b; }); }
static inline int __syncthreads_and(int x) { return sim_vote(x != 0, [](int a, int b) { return a & b; }); }
static inline int __syncthreads_count(int x) { return sim_vote(x != 0, [](int a, int b) { return a + b; }); }

// Each lane shows a value, and sees those of all lanes that `mask` names.
static unsigned char sim_shown[1024][32];
template <class T, class See> static inline auto sim_exchange(unsigned mask, T value, See see) {
    static_assert(sizeof(T) <= 32, "a number of at most 32 bytes");
    unsigned lane = sim_lane();
    memcpy(sim_shown[lane], &value, sizeof value);
    sim_barrier(mask);
    auto seen = see([lane](unsigned other) {
        T shown;
        memcpy(&shown, sim_shown[(lane & ~31u) + other], sizeof shown);
        return shown;
    });
    sim_barrier(mask);
    return seen;
}
// The value of lane `source`, if it is one of this lane's segment of `width`; else the own.
template <class T> static inline T sim_shuffle(unsigned mask, T value, int source, bool there) {
    return sim_exchange(mask, value, [=](auto of) { return there ? of((unsigned)source & 31) : value; });
}
template <class T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    int lane = sim_lane() & 31;
    return sim_shuffle(mask, value, (lane & ~(width - 1)) + (source & (width - 1)), true);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    int lane = sim_lane() & 31;
    return sim_shuffle(mask, value, lane - (int)by, (lane & (width - 1)) >= (int)by);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    int lane = sim_lane() & 31;
    return sim_shuffle(mask, value, lane + (int)by, (lane & (width - 1)) + (int)by < width);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32) {
    int lane = sim_lane() & 31, other = lane ^ by;
    return sim_shuffle(mask, value, other, (other & ~(width - 1)) <= (lane & ~(width - 1)));
}
static inline unsigned __ballot_sync(unsigned mask, int value) {
    return sim_exchange(mask, value, [=](auto of) {
        unsigned all = 0;
        for (unsigned i = 0; i < 32; i++)
            if (mask >> i & 1) all |= (unsigned)(of(i) != 0) << i;
        return all;
    });
}
static inline int __any_sync(unsigned mask, int value) { return __ballot_sync(mask, value) != 0; }
static inline int __all_sync(unsigned mask, int value) { return __ballot_sync(mask, value) == mask; }
static inline unsigned __activemask() { return 1u << (sim_lane() & 31); }
#endif
