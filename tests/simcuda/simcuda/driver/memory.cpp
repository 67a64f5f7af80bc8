// Device memory is memory of this process, poisoned when it comes and when it goes: floats are nan there, integers −1.

#include "sim.h"
#include <cuda_runtime_api.h>
#include <map>
#include <set>

namespace sim {

static std::map<char *, Allocation> allocations;  // by their first byte
static std::set<std::pair<int, int>> access_to;   // (device, other): peer access is on
static thread_local int device;
static const size_t ALIGNMENT = 512, TOTAL = (size_t)80 << 30;
static size_t used;

int current_device() { return device; }
bool peers(int one, int other) { return one == other || access_to.count({one, other}); }
void poison(void *address, size_t size) {
    if (!settings.noop) memset(address, 0xff, size);
}

const Allocation *allocation_of(const void *address) {
    auto after = allocations.upper_bound((char *)address);
    if (after == allocations.begin()) return nullptr;
    const Allocation &a = std::prev(after)->second;
    return (const char *)address < a.start + a.size ? &a : nullptr;
}

int check_range(const char *name, const void *address, size_t size) {
    const Allocation *a = allocation_of(address);
    if (!a) return fail(ILLEGAL_ADDRESS, std::string(name) + ": its address is not in memory of the device (or that was freed)");
    if ((const char *)address + size > a->start + a->size)
        return fail(ILLEGAL_ADDRESS, std::string(name) + ": its memory goes beyond the end of an allocation");
    if (a->kind == DEVICE && !peers(device, a->device))
        return fail(ILLEGAL_ADDRESS, std::string(name) + ": memory of device " + std::to_string(a->device) + ", while the current one is " +
                                         std::to_string(device) + " and may not use it");
    return SUCCESS;
}

static int allocate(void **address, size_t size, Kind kind) {
    Guard guard(lock);
    *address = nullptr;
    if (!size) return SUCCESS;
    if (kind == DEVICE && used + size > TOTAL) return fail(OUT_OF_MEMORY, "out of memory");
    char *start = (char *)aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!start) return fail(OUT_OF_MEMORY, "out of memory");
    poison(start, size);
    used += kind == DEVICE ? size : 0;
    allocations[start] = {start, size, device, kind};
    *address = start;
    return SUCCESS;
}

// What waits may still use it: so all of it is done first, as CUDA's cudaFree does.
static int release(void *address, bool waits) {
    Guard guard(lock);
    if (!address) return SUCCESS;
    auto found = allocations.find((char *)address);
    if (found == allocations.end()) return fail(INVALID_VALUE, "an address is freed that was not allocated");
    if (waits) finish_device("cudaFree");
    poison(address, found->second.size);
    used -= found->second.kind == DEVICE ? found->second.size : 0;
    free(address);
    allocations.erase(found);
    return SUCCESS;
}

// Copies. `kind` is what the caller says, unless it is cudaMemcpyDefault: then the addresses say it.

static bool on_device(const void *address) {
    const Allocation *a = allocation_of(address);
    return a && a->kind != HOST;
}
static bool pinned(const void *address) {
    const Allocation *a = allocation_of(address);
    return a && a->kind == HOST;
}
static const char *direction(const void *to, const void *from) {
    return on_device(to) ? (on_device(from) ? "copy" : "upload") : on_device(from) ? "download" : "host copy";
}
static int check_copy(const void *to, const void *from, size_t size) {
    for (const void *address : {to, from}) {
        const Allocation *a = allocation_of(address);
        if (a && (char *)address + size > a->start + a->size) return fail(INVALID_VALUE, "a copy goes beyond the end of an allocation");
    }
    return SUCCESS;
}
static int move(void *to, const void *from, size_t size) {
    memmove(to, from, size);
    return SUCCESS;
}

// A copy on a stream. The host's memory, unless it is pinned, is read before the call returns, and written before it returns.
static int copy_later(void *to, const void *from, size_t size, void *stream) {
    Guard guard(lock);
    if (!size) return SUCCESS;
    if (int failed = check_copy(to, from, size)) return failed;
    std::string what = direction(to, from);
    if (captured(stream)) {
        if (what != "copy" && !pinned(on_device(to) ? from : to)) return cannot_capture(stream, "a copy from or to memory that is not pinned");
        return submit(stream, {what, [=] { return move(to, from, size); }});
    }
    count(what);
    if (what == "upload" && !pinned(from)) {
        auto staged = std::make_shared<std::string>((const char *)from, size);
        return submit(stream, {what, [=] { return move(to, staged->data(), size); }});
    }
    if (int failed = submit(stream, {what, [=] { return move(to, from, size); }})) return failed;
    bool blocks = what == "host copy" || (what == "download" && !pinned(to));
    return blocks ? finish(stream, "a copy to memory that is not pinned") : (int)SUCCESS;
}
static int copy_now(void *to, const void *from, size_t size) {
    Guard guard(lock);
    if (int failed = forbidden_while_capturing("cudaMemcpy")) return failed;
    if (int failed = check_copy(to, from, size)) return failed;
    std::string what = direction(to, from);
    count(what);
    if (what != "copy") count("wait");
    if (int failed = submit(nullptr, {what, [=] { return move(to, from, size); }})) return failed;
    return finish(nullptr, "cudaMemcpy");
}
static int fill_later(void *to, int value, size_t size, void *stream) {
    Guard guard(lock);
    if (!size) return SUCCESS;
    if (int failed = check_range("cudaMemset", to, size)) return failed;
    if (!captured(stream)) count("fill");
    return submit(stream, {"fill", [=] { memset(to, value, size); return SUCCESS; }});
}

}  // namespace sim

using namespace sim;

RUNTIME(cudaMalloc)(void **address, size_t size) {
    if (int failed = forbidden_while_capturing("cudaMalloc")) return failed;
    Guard guard(lock);
    count("allocation");
    return allocate(address, size, DEVICE);
}
RUNTIME(cudaMallocAsync)(void **address, size_t size, void *) { return allocate(address, size, DEVICE); }
RUNTIME(cudaMallocManaged)(void **address, size_t size, unsigned) { return allocate(address, size, MANAGED); }
RUNTIME(cudaHostAlloc)(void **address, size_t size, unsigned) { return allocate(address, size, HOST); }
RUNTIME(cudaMallocHost)(void **address, size_t size) { return allocate(address, size, HOST); }
RUNTIME(cudaFree)(void *address) {
    if (int failed = forbidden_while_capturing("cudaFree")) return failed;
    return release(address, true);
}
RUNTIME(cudaFreeHost)(void *address) { return release(address, true); }
RUNTIME(cudaFreeAsync)(void *address, void *stream) {
    Guard guard(lock);
    return submit(stream, {"cudaFreeAsync", [=] { return release(address, false); }});
}
RUNTIME(cudaHostRegister)(void *address, size_t size, unsigned) {
    Guard guard(lock);
    allocations[(char *)address] = {(char *)address, size, device, HOST};
    return SUCCESS;
}
RUNTIME(cudaHostUnregister)(void *address) {
    Guard guard(lock);
    finish_device("cudaHostUnregister");
    return allocations.erase((char *)address) ? SUCCESS : fail(INVALID_VALUE, "memory is unregistered that was not registered");
}
RUNTIME(cudaHostGetDevicePointer)(void **address, void *host, unsigned) {
    *address = host;
    return SUCCESS;
}
RUNTIME(cudaMemGetInfo)(size_t *left, size_t *total) {
    *left = TOTAL - used, *total = TOTAL;
    return SUCCESS;
}
RUNTIME(cudaMemcpy)(void *to, const void *from, size_t size, int) { return copy_now(to, from, size); }
RUNTIME(cudaMemcpyAsync)(void *to, const void *from, size_t size, int, void *stream) { return copy_later(to, from, size, stream); }
RUNTIME(cudaMemcpyPeer)(void *to, int, const void *from, int, size_t size) { return copy_now(to, from, size); }
RUNTIME(cudaMemcpyPeerAsync)(void *to, int, const void *from, int, size_t size, void *stream) {
    return copy_later(to, from, size, stream);
}
RUNTIME(cudaMemcpy2DAsync)(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, int, void *stream) {
    Guard guard(lock);
    count(direction(to, from));
    int failed = submit(stream, {"cudaMemcpy2DAsync", [=] {
        for (size_t i = 0; i < height; i++) memmove((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
        return SUCCESS;
    }});
    return failed ? failed : finish(stream, "cudaMemcpy2DAsync");
}
RUNTIME(cudaMemset)(void *to, int value, size_t size) { return fill_later(to, value, size, nullptr); }
RUNTIME(cudaMemsetAsync)(void *to, int value, size_t size, void *stream) { return fill_later(to, value, size, stream); }
RUNTIME(cudaMemPrefetchAsync)(const void *, size_t, int, void *) { return SUCCESS; }
RUNTIME(cudaMemAdvise)(const void *, size_t, int, int) { return SUCCESS; }
RUNTIME(cudaPointerGetAttributes)(cudaPointerAttributes *is, const void *address) {
    Guard guard(lock);
    memset(is, 0, sizeof *is);
    const Allocation *a = allocation_of(address);
    is->type = !a ? cudaMemoryTypeUnregistered : a->kind == HOST ? cudaMemoryTypeHost : a->kind == MANAGED ? cudaMemoryTypeManaged : cudaMemoryTypeDevice;
    is->device = a ? a->device : 0;
    is->devicePointer = a ? (void *)address : nullptr;
    is->hostPointer = !a || a->kind != DEVICE ? (void *)address : nullptr;
    return SUCCESS;
}

// Devices

RUNTIME(cudaGetDevice)(int *number) {
    *number = device;
    return SUCCESS;
}
RUNTIME(cudaSetDevice)(int number) {
    if (number < 0 || number >= settings.devices) return fail(INVALID_DEVICE, "there is no device " + std::to_string(number));
    device = number;
    return SUCCESS;
}
RUNTIME(cudaGetDeviceCount)(int *number) {
    *number = settings.devices;
    return settings.devices ? SUCCESS : fail(NO_DEVICE, "no CUDA-capable device is detected");
}
RUNTIME(cudaDeviceCanAccessPeer)(int *can, int one, int other) {
    *can = one != other && one < settings.devices && other < settings.devices;
    return SUCCESS;
}
RUNTIME(cudaDeviceEnablePeerAccess)(int other, unsigned) {
    Guard guard(lock);
    return access_to.insert({device, other}).second ? SUCCESS : fail(PEER_ALREADY, "peer access is already enabled");
}
RUNTIME(cudaDeviceDisablePeerAccess)(int other) {
    Guard guard(lock);
    return access_to.erase({device, other}) ? SUCCESS : fail(PEER_NOT_ENABLED, "peer access has not been enabled");
}
