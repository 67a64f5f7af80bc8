// Modules and launches. A module is a shared library that nvrtc.cpp made; its kernels are found by name. A launch copies its
// parameters at once, and runs when its stream comes to it.

#include "sim.h"
#include <algorithm>
#include <dlfcn.h>
#include <link.h>
#include <map>
#include <random>
#include "../include/launch_types.h"

namespace sim {

struct Module {
    void *library;
    char *(*touch)();
    size_t shared_bytes = 0;
};
struct Function {
    const SimKernel *kernel;
    Module *module;
    std::string name;
};

static const unsigned MOST_BLOCKS[] = {2147483647u, 65535, 65535}, MOST_THREADS[] = {1024, 1024, 64};
static const unsigned MOST_SHARED = 232448;  // of an H100, where a kernel asks for more than 48 KiB

// The bytes of thread-local memory that a loaded library has: those of its shared variables.
static size_t thread_local_bytes(void *library) {
    link_map *map = nullptr;
    if (dlinfo(library, RTLD_DI_LINKMAP, &map)) return 0;
    const char *base = (const char *)map->l_addr;
    auto *header = (const ElfW(Ehdr) *)base;
    auto *part = (const ElfW(Phdr) *)(base + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++)
        if (part[i].p_type == PT_TLS) return part[i].p_memsz;
    return 0;
}

static int run_in_order(const Function &f, SimLaunch &launch, void **arguments) {
    int failed = f.kernel->run(&launch, arguments);
    // CuPy's own kernels rely on what GPUs since Volta do, though CUDA does not promise it: a thread that has ended is not waited for.
    if (failed == 1 && !f.name.compare(0, 5, "cupy_")) return SUCCESS;
    if (failed)
        return fail(LAUNCH_FAILURE, f.name + (failed == 1 ? ": some threads of a block ended while others waited for them at __syncthreads()"
                                                          : ": threads of a block wait for each other at different places"));
    return SUCCESS;
}

// The memory that a kernel may write to: the allocations that its pointers lie in, be they parameters or parts of a struct.
static std::vector<const Allocation *> reached(const Function &f, void **arguments) {
    std::vector<const Allocation *> found;
    for (unsigned i = 0; i < f.kernel->count; i++) {
        for (unsigned at = 0; at + sizeof(void *) <= f.kernel->parameters[i].size; at += sizeof(void *)) {
            void *word;
            memcpy(&word, (char *)arguments[i] + at, sizeof word);
            const Allocation *a = f.kernel->parameters[i].kind == 'p' || f.kernel->parameters[i].kind == 's' ? allocation_of(word) : nullptr;
            if (a && std::find(found.begin(), found.end(), a) == found.end()) found.push_back(a);
        }
    }
    return found;
}

// Three times: in order, backward, shuffled, each from the same memory. The results must be the same bits.
static int run_in_every_order(const Function &f, SimLaunch &launch, void **arguments) {
    static const char *names[] = {"in order", "backward", "shuffled"};
    size_t blocks = (size_t)launch.blocks[0] * launch.blocks[1] * launch.blocks[2];
    size_t threads = (size_t)launch.threads[0] * launch.threads[1] * launch.threads[2];
    std::vector<unsigned> block_order(blocks), thread_order(threads);
    auto memory = reached(f, arguments);
    std::vector<std::string> before, first;
    for (auto *a : memory) before.emplace_back(a->start, a->size);
    for (int order = 0; order < 3; order++) {
        for (size_t i = 0; i < blocks; i++) block_order[i] = order ? blocks - 1 - i : i;
        for (size_t i = 0; i < threads; i++) thread_order[i] = order ? threads - 1 - i : i;
        if (order == 2) {
            std::mt19937 draw(1);
            std::shuffle(block_order.begin(), block_order.end(), draw);
            std::shuffle(thread_order.begin(), thread_order.end(), draw);
        }
        launch.block_order = block_order.data(), launch.thread_order = thread_order.data();
        for (size_t i = 0; i < memory.size(); i++) memcpy(memory[i]->start, before[i].data(), before[i].size());
        if (int failed = run_in_order(f, launch, arguments)) return failed;
        for (size_t i = 0; i < memory.size(); i++) {
            if (!order) first.emplace_back(memory[i]->start, memory[i]->size);
            else if (memcmp(memory[i]->start, first[i].data(), first[i].size()))
                return fail(LAUNCH_FAILURE, f.name + ": a race: other results where blocks and threads run " + names[order]);
        }
    }
    return SUCCESS;
}

static int run(const Function &f, const Grid &grid, const std::vector<std::string> &values) {
    std::vector<void *> arguments;
    for (auto &value : values) arguments.push_back((void *)value.data());
    static thread_local std::map<Module *, char *> shared;  // where this thread has a module's shared variables
    SimLaunch launch = {};
    memcpy(launch.blocks, grid.blocks, sizeof grid.blocks);
    memcpy(launch.threads, grid.threads, sizeof grid.threads);
    if (f.module->shared_bytes) {
        char *&at = shared[f.module];
        if (!at) {
            f.module->touch();
            dlinfo(f.module->library, RTLD_DI_TLS_DATA, &at);
        }
        launch.shared = at, launch.shared_bytes = f.module->shared_bytes;
    }
    std::vector<char> dynamic(grid.shared + 16);
    launch.dynamic = (void *)(((uintptr_t)dynamic.data() + 15) & ~(uintptr_t)15), launch.dynamic_bytes = grid.shared;
    return (settings.orders ? run_in_every_order : run_in_order)(f, launch, arguments.data());
}

// Pointers that no GPU could follow are found at the launch. (A GPU finds most of them when it is too late to say where.)
static int check_pointers(const Function &f, void **arguments) {
    for (unsigned i = 0; i < f.kernel->count; i++) {
        void *address;
        memcpy(&address, arguments[i], f.kernel->parameters[i].kind == 'p' ? sizeof address : 0);
        if (f.kernel->parameters[i].kind != 'p' || !address) continue;
        std::string name = f.name + ": parameter " + std::to_string(i);
        if (int failed = check_range(name.c_str(), address, 1)) return failed;
    }
    return SUCCESS;
}

static int launch(const Function *f, const Grid &grid, void *stream, void **arguments) {
    std::string size = "blocks";
    for (int i = 0; i < 3; i++) size += " " + std::to_string(grid.blocks[i]);
    size += ", threads";
    for (int i = 0; i < 3; i++) size += " " + std::to_string(grid.threads[i]);
    bool fits = (size_t)grid.threads[0] * grid.threads[1] * grid.threads[2] <= 1024 && grid.shared <= MOST_SHARED;
    for (int i = 0; i < 3; i++)
        fits &= grid.blocks[i] && grid.threads[i] && grid.blocks[i] <= MOST_BLOCKS[i] && grid.threads[i] <= MOST_THREADS[i];
    if (!fits) return fail(INVALID_VALUE, f->name + ": no GPU has such a grid: " + size + ", shared bytes " + std::to_string(grid.shared));
    if (int failed = check_pointers(*f, arguments)) return failed;
    if (settings.verbose) fprintf(stderr, "simcuda: launch %s, %s\n", f->name.c_str(), size.c_str());
    std::vector<std::string> values;
    for (unsigned i = 0; i < f->kernel->count; i++) values.emplace_back((char *)arguments[i], f->kernel->parameters[i].size);
    return submit(stream, {f->name, [f, grid, values] { return settings.noop ? SUCCESS : run(*f, grid, values); }, true});
}

}  // namespace sim

using namespace sim;

API int cuModuleLoadData(Module **module, const void *image) {
    Guard guard(lock);
    const char *text = (const char *)image;
    if (strncmp(text, "simcuda:", 8)) return fail(INVALID_IMAGE, "a module that simcuda's NVRTC did not make: it runs on a GPU alone");
    void *library = dlopen(text + 8, RTLD_NOW | RTLD_LOCAL);
    if (!library) return fail(INVALID_IMAGE, dlerror());
    *module = new Module{library, (char *(*)())dlsym(library, "sim_touch"), thread_local_bytes(library)};
    if ((*module)->shared_bytes <= 1) (*module)->shared_bytes = 0;  // sim_touched alone
    return SUCCESS;
}
API int cuModuleUnload(Module *) { return SUCCESS; }  // work that waits may still need it
API int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    Guard guard(lock);
    auto *kernel = (const SimKernel *)dlsym(module->library, (std::string("simkernel_") + name).c_str());
    if (!kernel) return fail(NOT_FOUND, std::string("the module has no kernel ") + name);
    auto *readable = (const char *const *)dlsym(module->library, (std::string("simname_") + name).c_str());
    *function = new Function{kernel, module, readable ? *readable : name};
    return SUCCESS;
}
API int cuModuleGetGlobal_v2(void **address, size_t *bytes, Module *module, const char *name) {
    *address = dlsym(module->library, name);
    if (bytes) *bytes = 0;
    return *address ? SUCCESS : fail(NOT_FOUND, std::string("the module has no variable ") + name);
}
API int cuModuleGetGlobal(void **address, size_t *bytes, Module *module, const char *name) {
    return cuModuleGetGlobal_v2(address, bytes, module, name);
}
API int cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                       void *stream, void **arguments, void **) {
    Guard guard(lock);
    return launch(f, {{gx, gy, gz}, {bx, by, bz}, shared}, stream, arguments);
}
API int cuLaunchCooperativeKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                  unsigned shared, void *stream, void **arguments) {
    return fail(NOT_SUPPORTED, f->name + ": simcuda runs block after block: it has no barrier of a whole grid");
}
API int cuFuncGetAttribute(int *value, int attribute, Function *f) {
    enum { MAX_THREADS = 0, SHARED_BYTES = 1, REGISTERS = 4 };
    *value = attribute == MAX_THREADS ? 1024 : attribute == SHARED_BYTES ? (int)f->module->shared_bytes : attribute == REGISTERS ? 32 : 0;
    return SUCCESS;
}
API int cuFuncSetAttribute(Function *, int, int) { return SUCCESS; }
API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Function *, int threads, size_t) {
    *blocks = 2048 / (threads ? threads : 1);
    return SUCCESS;
}
API int cuOccupancyMaxPotentialBlockSize(int *blocks, int *threads, Function *, void *, size_t, int) {
    *blocks = 132, *threads = 1024;
    return SUCCESS;
}
