// The threads of a block. Each that may have to wait for others is a fiber: a stack of its own, and a switch of seven registers.
// They run one after the other, each until it waits or ends, and again from the first: what CUDA leaves open, this makes
// repeatable. Threads that wait must wait for the same thing: a barrier of the block, or of their warp.

#include "sim.h"
#include <algorithm>

#if !defined(__x86_64__)
#error "fibers are switched by x86-64 assembler"
#endif

extern "C" void sim_switch(void **from, void *to);
asm(R"(
.text
.globl sim_switch
.hidden sim_switch
sim_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
)");

namespace {

constexpr size_t STACK_BYTES = 1 << 16;
constexpr unsigned WARP = 32;
enum State : char { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, ENDED };

struct Fiber {
    char *stack = nullptr;
    void *pointer = nullptr;  // its stack pointer while it does not run
    State state = ENDED;
    unsigned mask = 0;  // at a barrier of its warp: the lanes that meet there
};
std::vector<Fiber> fibers;
void *scheduler;
unsigned running;
void (*body)(void *);
void *closure;

void entry() {
    body(closure);
    fibers[running].state = ENDED;
    sim_switch(&fibers[running].pointer, scheduler);
    abort();
}

void prepare(unsigned threads) {
    if (fibers.size() < threads) fibers.resize(threads);
    for (unsigned i = 0; i < threads; i++) {
        Fiber &fiber = fibers[i];
        if (!fiber.stack) fiber.stack = (char *)aligned_alloc(4096, STACK_BYTES);
        void **top = (void **)(((uintptr_t)fiber.stack + STACK_BYTES - 64) & ~(uintptr_t)15);
        top[-1] = nullptr;
        top[-2] = (void *)entry;  // sim_switch returns here
        std::fill(top - 8, top - 2, nullptr);  // the registers that it pops
        fiber.pointer = top - 8;
        fiber.state = READY;
    }
}

// Threads that wait at the barrier of the block may go on if each other one has ended or waits there, too.
bool release_block(unsigned threads) {
    unsigned waiting = 0;
    for (unsigned i = 0; i < threads; i++) {
        if (fibers[i].state == AT_WARP_BARRIER) return false;
        waiting += fibers[i].state == AT_BLOCK_BARRIER;
    }
    for (unsigned i = 0; i < threads; i++)
        if (fibers[i].state == AT_BLOCK_BARRIER) fibers[i].state = READY;
    return waiting;
}

// A thread that waits for lanes of its warp may go on if each of them has ended or waits for the same lanes.
void release_warp(unsigned first, unsigned last) {
    unsigned free = 0;
    for (unsigned i = first; i < last; i++) {
        if (fibers[i].state != AT_WARP_BARRIER) continue;
        bool met = true;
        for (unsigned j = first; j < last; j++)
            if (fibers[i].mask >> (j - first) & 1)
                met &= fibers[j].state == ENDED || (fibers[j].state == AT_WARP_BARRIER && fibers[j].mask == fibers[i].mask);
        free |= (unsigned)met << (i - first);
    }
    for (unsigned i = first; i < last; i++)
        if (free >> (i - first) & 1) fibers[i].state = READY;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) unsigned sim_lane() { return running; }

// A barrier of the whole block (`mask` 0), or of the lanes of this warp that `mask` names.
extern "C" __attribute__((visibility("default"))) void sim_barrier(unsigned mask) {
    fibers[running].state = mask ? AT_WARP_BARRIER : AT_BLOCK_BARRIER;
    fibers[running].mask = mask;
    sim_switch(&fibers[running].pointer, scheduler);
}

// Run all threads of a block, in this order each time (nullptr: by their numbers); `place` sets threadIdx.
// 0: all ended. 1: some ended while others waited for them at __syncthreads(). 2: some wait for what can never come: at
// __syncthreads() while others of the block wait for lanes of their warp, or for lanes that wait elsewhere.
extern "C" __attribute__((visibility("default"))) int sim_run_block(
    unsigned threads, void (*of_thread)(void *), void (*place)(unsigned), void *with, const unsigned *order) {
    prepare(threads);
    body = of_thread, closure = with;
    bool missed = false;
    for (;;) {
        unsigned ended = 0, ready = 0;
        for (unsigned n = 0; n < threads; n++) {
            unsigned i = order ? order[n] : n;
            if (fibers[i].state == READY) {
                running = i;
                place(i);
                sim_switch(&scheduler, fibers[i].pointer);
            }
            ended += fibers[i].state == ENDED;
        }
        if (ended == threads) return missed ? 1 : 0;
        for (unsigned first = 0; first < threads; first += WARP) release_warp(first, std::min(first + WARP, threads));
        for (unsigned i = 0; i < threads; i++) ready += fibers[i].state == READY;
        if (ready) continue;
        missed |= ended > 0;
        if (!release_block(threads)) return 2;
    }
}
