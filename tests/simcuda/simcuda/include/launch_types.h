// What a compiled kernel and the driver agree on.
#pragma once
#include <cstddef>

struct SimLaunch {
    unsigned blocks[3], threads[3];
    const unsigned *block_order, *thread_order;  // nullptr: by their numbers
    void *shared, *dynamic;                      // shared memory: of the file's variables; of the size that the launch gives
    size_t shared_bytes, dynamic_bytes;
};
struct SimParameter {
    unsigned size;
    char kind;  // p: a pointer, i: an integer, f: a float, s: a struct
};
struct SimKernel {
    int (*run)(const SimLaunch *, void **);
    unsigned count;
    const SimParameter *parameters;
};
