// CUB's BlockReduce, as far as CuPy's reductions use it. The order is that of CUB's BLOCK_REDUCE_WARP_REDUCTIONS: each thread's
// own items, then halves of a warp, then warp after warp. As there, thread 0 alone gets the result: others get none to rely on.
#pragma once

namespace cub {

template <class T, int THREADS> class BlockReduce {
  public:
    struct TempStorage {
        alignas(T) unsigned char bytes[THREADS][sizeof(T)];
    };
    BlockReduce(TempStorage &storage) : storage(storage) {}

    template <int ITEMS, class Op> T Reduce(T (&items)[ITEMS], Op op) {
        T own = items[0];
        for (int j = 1; j < ITEMS; j++) own = op(own, items[j]);
        return Reduce(own, op);
    }
    template <class Op> T Reduce(T own, Op op) { return Reduce(own, op, THREADS); }
    template <class Op> T Reduce(T own, Op op, int valid) {
        memcpy(storage.bytes[threadIdx.x], &own, sizeof own);
        __syncthreads();
        if (threadIdx.x) return own;
        T total = warp(0, valid, op);
        for (int first = 32; first < valid; first += 32) total = op(total, warp(first, valid, op));
        return total;
    }
    T Sum(T own) { return Reduce(own, [](const T &a, const T &b) { return a + b; }); }

  private:
    TempStorage &storage;

    template <class Op> T warp(int first, int valid, Op op) {
        int lanes = std::min(32, valid - first);
        alignas(T) unsigned char room[32 * sizeof(T)];
        memcpy(room, storage.bytes[first], lanes * sizeof(T));
        T *part = (T *)room;
        for (int by = 1; by < lanes; by *= 2)
            for (int i = 0; i + by < lanes; i++) part[i] = op(part[i], part[i + by]);  // before i + by changes: as if at once
        return part[0];
    }
};

}  // namespace cub
