// What the files of the simulated driver share. Each file is one topic:
//
//   memory.cpp    what is allocated, where, and what its bytes are before anybody writes them
//   streams.cpp   queues of work, events, and what of it has to be done before what
//   graphs.cpp    capture of a stream into a graph, and its replay
//   kernels.cpp   loaded modules and launches;  block.cpp: the threads of a block
//   nvrtc.cpp     CUDA C++ compiled by g++
//   runtime.cpp   the CUDA runtime's calls;  driver.cpp: the driver's
//   cublas.cpp    matrix products;  library.cpp: CUB's and Thrust's functions that CuPy has compiled in
//   counts.cpp    how often each call came
//
// One lock (`lock`) guards all of it: calls come from several Python threads, and a kernel runs on the thread that waits for it.

#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))
#define RUNTIME(name) API int sim_##name  // CuPy's own copy of the runtime is redirected to these: see loader.py

namespace sim {

// Error codes: the runtime's (driver_types.h) and the driver's (cuda.h) are the same numbers.
enum Error {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    NO_DEVICE = 100,
    INVALID_IMAGE = 200,
    PEER_ALREADY = 704,
    PEER_NOT_ENABLED = 705,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILURE = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNMATCHED = 903,
    CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    CAPTURE_WRONG_THREAD = 908,
};

extern std::recursive_mutex lock;
typedef std::lock_guard<std::recursive_mutex> Guard;

// Settings: environment variables SIMCUDA_…, which simcuda's Python functions can change while the program runs.
struct Settings {
    bool verbose = false;  // print each call that does work
    bool noop = false;     // count kernels, compute nothing: what is left is what the host costs
    bool orders = false;   // run each kernel three times, in other orders: other results are a race
    bool eager = false;    // run work at once, as if the device were never behind
    int devices = 1;
};
extern Settings settings;

// errors.cpp. What went wrong in words: the code's name comes from CUDA, the words are handed out as its description.
int fail(int code, const std::string &words);
void stick(int code);  // an error of work that nobody waits for yet
int take_sticky();     // the first such error, once; 0 if there is none

// counts.cpp
void count(const std::string &what, long times = 1);

// memory.cpp
enum Kind { DEVICE = 1, HOST = 2, MANAGED = 3 };
struct Allocation {
    char *start;
    size_t size;
    int device;
    Kind kind;
};
const Allocation *allocation_of(const void *address);  // nullptr: it lies in none
int current_device();
bool peers(int device, int other);  // whether kernels on `device` may read memory of `other`
int check_range(const char *name, const void *address, size_t size);  // it lies in device or pinned memory, which kernels here may use
void poison(void *address, size_t size);

// streams.cpp
struct Capture;
struct Work {
    std::string name;
    std::function<int()> run;  // → an error code
    bool kernel = false;
};
int submit(void *stream, Work work);       // put it at the end of the stream's queue, or into the graph that captures the stream
int finish(void *stream, const char *by);  // run what the stream holds, and what that has to wait for; an error while it is captured
int finish_device(const char *by);
bool captured(void *stream);
int forbidden_while_capturing(const char *call);  // an error, if a capture is under way that does not allow such calls
int cannot_capture(void *stream, const char *what);  // an error that ends the capture of this stream

// kernels.cpp
struct Grid {
    unsigned blocks[3], threads[3], shared;
};

}  // namespace sim

// block.cpp: called by the code that nvrtc.cpp compiles, too
extern "C" {
unsigned sim_lane();
void sim_barrier(unsigned mask);
}
