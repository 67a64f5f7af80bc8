// Errors, settings and the lock.

#include "sim.h"
#include <map>

namespace sim {

std::recursive_mutex lock;

static bool asked_for(const char *name) {
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0");
}
static Settings from_environment() {
    const char *devices = getenv("SIMCUDA_DEVICES");
    Settings s;
    s.verbose = asked_for("SIMCUDA_VERBOSE"), s.noop = asked_for("SIMCUDA_NOOP"), s.orders = asked_for("SIMCUDA_ORDERS");
    s.eager = asked_for("SIMCUDA_EAGER"), s.devices = devices ? atoi(devices) : 1;
    return s;
}
Settings settings = from_environment();

static std::map<int, std::string> words;  // of the latest error of each code
static int earlier;

int fail(int code, const std::string &said) {
    words[code] = said;
    if (settings.verbose) fprintf(stderr, "simcuda: %s\n", said.c_str());
    return code;
}
void stick(int code) { earlier = earlier ? earlier : code; }
int take_sticky() {
    int code = earlier;
    earlier = SUCCESS;
    return code;
}

static const std::map<int, const char *> NAMES = {
    {INVALID_VALUE, "ErrorInvalidValue"}, {OUT_OF_MEMORY, "ErrorMemoryAllocation"}, {INVALID_DEVICE, "ErrorInvalidDevice"},
    {NO_DEVICE, "ErrorNoDevice"}, {INVALID_IMAGE, "ErrorInvalidKernelImage"}, {INVALID_HANDLE, "ErrorInvalidResourceHandle"},
    {NOT_FOUND, "ErrorSymbolNotFound"}, {NOT_READY, "ErrorNotReady"}, {ILLEGAL_ADDRESS, "ErrorIllegalAddress"},
    {LAUNCH_FAILURE, "ErrorLaunchFailure"}, {NOT_SUPPORTED, "ErrorNotSupported"}, {PEER_ALREADY, "ErrorPeerAccessAlreadyEnabled"},
    {PEER_NOT_ENABLED, "ErrorPeerAccessNotEnabled"}, {CAPTURE_UNSUPPORTED, "ErrorStreamCaptureUnsupported"},
    {CAPTURE_INVALIDATED, "ErrorStreamCaptureInvalidated"}, {CAPTURE_UNMATCHED, "ErrorStreamCaptureUnmatched"},
    {CAPTURE_UNJOINED, "ErrorStreamCaptureUnjoined"}, {CAPTURE_ISOLATION, "ErrorStreamCaptureIsolation"},
    {CAPTURE_IMPLICIT, "ErrorStreamCaptureImplicit"}, {CAPTURED_EVENT, "ErrorCapturedEvent"},
    {CAPTURE_WRONG_THREAD, "ErrorStreamCaptureWrongThread"},
};
static std::string name_of(const char *before, int code) {
    auto found = NAMES.find(code);
    return found == NAMES.end() ? before + std::string("Error") + std::to_string(code) : before + std::string(found->second);
}
static const char *kept(std::string text) {  // as long as this thread asks for no other
    static thread_local std::string texts[4];
    static thread_local int next;
    return (texts[next++ % 4] = std::move(text)).c_str();
}
static const char *description(int code) {
    Guard guard(lock);
    auto found = words.find(code);
    return found == words.end() ? kept("simulated CUDA: " + name_of("cuda", code)) : kept(found->second);
}

}  // namespace sim

using namespace sim;

API const char *sim_cudaGetErrorName(int code) { return kept(name_of("cuda", code)); }
API const char *sim_cudaGetErrorString(int code) { return description(code); }
RUNTIME(cudaGetLastError)() { return take_sticky(); }
RUNTIME(cudaPeekAtLastError)() { return earlier; }
API int cuGetErrorName(int code, const char **text) {
    *text = kept(name_of("CUDA_", code));
    return SUCCESS;
}
API int cuGetErrorString(int code, const char **text) {
    *text = description(code);
    return SUCCESS;
}
// Of what CuPy's own copy of the runtime can, and this cannot.
API int sim_unsupported() { return fail(NOT_SUPPORTED, "simcuda does not have this call of the CUDA runtime"); }

// For Python: settings by name, and the error of work done earlier, in words.
API int sim_set(const char *name, int value) {
    Guard guard(lock);
    std::map<std::string, bool *> flags = {
        {"verbose", &settings.verbose}, {"noop", &settings.noop}, {"orders", &settings.orders}, {"eager", &settings.eager}};
    if (!strcmp(name, "devices")) {
        int before = settings.devices;
        settings.devices = value;
        return before;
    }
    auto found = flags.find(name);
    if (found == flags.end()) return -1;
    int before = *found->second;
    *found->second = value;
    return before;
}
