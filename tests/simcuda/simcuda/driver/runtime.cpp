// What a device is: properties and limits, those of an H100; and the driver's calls that CuPy makes besides launches.

#include "sim.h"
#include <cuda_runtime_api.h>

using namespace sim;

static int version() {
    const char *version = getenv("SIMCUDA_VERSION");
    return version && *version ? atoi(version) : 12090;
}

RUNTIME(cudaDriverGetVersion)(int *number) {
    *number = version();
    return SUCCESS;
}
RUNTIME(cudaRuntimeGetVersion)(int *number) {
    *number = version();
    return SUCCESS;
}
RUNTIME(cudaDeviceGetAttribute)(int *value, int attribute, int device) {
    if (device < 0 || device >= settings.devices) return fail(INVALID_DEVICE, "there is no device " + std::to_string(device));
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: case cudaDevAttrMaxBlockDimX: case cudaDevAttrMaxBlockDimY: *value = 1024; break;
        case cudaDevAttrMaxBlockDimZ: *value = 64; break;
        case cudaDevAttrMaxGridDimX: *value = 2147483647; break;
        case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: *value = 65535; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = 49152; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 232448; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = 233472; break;
        case cudaDevAttrMaxRegistersPerBlock: case cudaDevAttrMaxRegistersPerMultiprocessor: *value = 65536; break;
        case cudaDevAttrWarpSize: *value = 32; break;
        case cudaDevAttrMultiProcessorCount: *value = 132; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
        case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
        case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
        case cudaDevAttrL2CacheSize: *value = 50 << 20; break;
        case cudaDevAttrUnifiedAddressing: case cudaDevAttrAsyncEngineCount: case cudaDevAttrConcurrentKernels:
        case cudaDevAttrMemoryPoolsSupported: case cudaDevAttrManagedMemory: *value = 1; break;
        default: *value = 0;
    }
    return SUCCESS;
}
RUNTIME(cudaGetDeviceProperties)(cudaDeviceProp *is, int device) {
    if (device < 0 || device >= settings.devices) return fail(INVALID_DEVICE, "there is no device " + std::to_string(device));
    memset(is, 0, sizeof *is);
    strcpy(is->name, "simcuda");
    is->major = 9, is->minor = 0, is->multiProcessorCount = 132, is->warpSize = 32;
    is->totalGlobalMem = (size_t)80 << 30, is->l2CacheSize = 50 << 20;
    is->sharedMemPerBlock = 49152, is->sharedMemPerMultiprocessor = 233472, is->regsPerBlock = 65536, is->regsPerMultiprocessor = 65536;
    is->maxThreadsPerBlock = 1024, is->maxThreadsPerMultiProcessor = 2048;
    is->maxThreadsDim[0] = is->maxThreadsDim[1] = 1024, is->maxThreadsDim[2] = 64;
    is->maxGridSize[0] = 2147483647, is->maxGridSize[1] = is->maxGridSize[2] = 65535;
    return SUCCESS;
}
RUNTIME(cudaGetDeviceProperties_v2)(cudaDeviceProp *is, int device) { return sim_cudaGetDeviceProperties(is, device); }
RUNTIME(cudaDeviceGetPCIBusId)(char *text, int size, int device) {
    snprintf(text, size, "0000:%02x:00.0", device + 1);
    return SUCCESS;
}
RUNTIME(cudaDeviceGetByPCIBusId)(int *device, const char *text) {
    unsigned bus = 0;
    if (sscanf(text, "0000:%02x", &bus) != 1 || !bus || (int)bus > settings.devices) return fail(INVALID_DEVICE, "there is no such device");
    *device = bus - 1;
    return SUCCESS;
}
RUNTIME(cudaDeviceGetLimit)(size_t *value, int) {
    *value = 0;
    return SUCCESS;
}
RUNTIME(cudaDeviceSetLimit)(int, size_t) { return SUCCESS; }
RUNTIME(cudaProfilerStart)() { return SUCCESS; }
RUNTIME(cudaProfilerStop)() { return SUCCESS; }

API int cuInit(unsigned) { return SUCCESS; }
API int cuDriverGetVersion(int *number) { return sim_cudaDriverGetVersion(number); }
API int cuCtxGetCurrent(void **context) {
    *context = (void *)(uintptr_t)(0x1000 + current_device());
    return SUCCESS;
}
API int cuCtxSetCurrent(void *) { return SUCCESS; }
API int cuCtxGetDevice(int *device) {
    *device = current_device();
    return SUCCESS;
}
API int cuStreamGetCtx(void *, void **context) { return cuCtxGetCurrent(context); }
