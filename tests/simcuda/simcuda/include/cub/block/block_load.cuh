// CUB's BlockLoad, as far as CuPy's reductions use it: each thread reads `ITEMS` neighbouring elements of a tile.
#pragma once

namespace cub {

enum BlockLoadAlgorithm { BLOCK_LOAD_DIRECT };

template <class T, int THREADS, int ITEMS, BlockLoadAlgorithm = BLOCK_LOAD_DIRECT> struct BlockLoad {
    struct TempStorage {};
    BlockLoad(TempStorage &) {}
    template <class From, class Default> void Load(const From *from, T (&items)[ITEMS], int valid, Default other) {
        for (int j = 0; j < ITEMS; j++) {
            int i = (int)threadIdx.x * ITEMS + j;
            items[j] = i < valid ? (T)from[i] : (T)other;
        }
    }
};

}  // namespace cub
