// What the kernels of all .cu files stand on. Two types come before it: `real`, of the numbers in arrays, and `wide`, in which
// sums are taken: float for half precision, else the same.

typedef long long size;  // a number of elements: there may be more than 2^31

// A loop over 0 ≤ i < n that all threads of the grid share, whatever their number.
#define EACH(i, n) for (size i = (size)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (size)gridDim.x * blockDim.x)

// A loop over 0 ≤ i < n that the threads of one block share.
#define SHARE(i, n) for (size i = threadIdx.x; i < (n); i += blockDim.x)

// The sum, or the largest, of the values of all threads of a block. Every thread must call it, and gets the result. The number
// of threads is a power of two, at most 1024. Always added in the same order: so the same numbers give the same sum.
__device__ inline wide block_sum(wide value) {
    __shared__ wide part[1024];
    part[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    wide total = part[0];
    __syncthreads();  // before another sum writes there
    return total;
}

__device__ inline wide block_max(wide value) {  // a nan is larger than all
    __shared__ wide part[1024];
    part[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) {
            wide a = part[threadIdx.x], b = part[threadIdx.x + half];
            part[threadIdx.x] = a > b || a != a ? a : b;
        }
        __syncthreads();
    }
    wide largest = part[0];
    __syncthreads();
    return largest;
}
