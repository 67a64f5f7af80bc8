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

// Rows of arrays, passed by value, so that one launch serves many tensors: the arrays of a row, all of one length, lie at
// at[0][row], at[1][row] … Every block works on one chunk of one row. See multi_tensor.py, which fills it. (A kernel takes 4 KiB.)
struct Rows {
    static constexpr unsigned MAX_ROWS = 72, COLUMNS = 5, CHUNK_ELEMENTS = 2048;
    void *at[COLUMNS][MAX_ROWS];
    size count[MAX_ROWS];
    unsigned end[MAX_ROWS];  // blocks up to the end of this row
};

struct Part { unsigned row; size first, last; };

// What this block works on: the elements first ≤ i < last of a row.
__device__ inline Part part_of(const Rows &rows) {
    unsigned row = 0;  // all threads of a block look at the same few numbers
    while (blockIdx.x >= rows.end[row]) row++;
    size first = (size)(blockIdx.x - (row ? rows.end[row - 1] : 0)) * Rows::CHUNK_ELEMENTS;
    return {row, first, first + Rows::CHUNK_ELEMENTS < rows.count[row] ? first + Rows::CHUNK_ELEMENTS : rows.count[row]};
}

#define EACH_IN(i, part) for (size i = (part).first + threadIdx.x; i < (part).last; i += blockDim.x)

// Random bits that depend on a seed and a number alone, so that every thread draws its own: Philox 4x32 of 10 rounds (Salmon,
// Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3). The seed is the key, the number the
// counter. philox.py has the same in array calls.
struct Words { unsigned at[4]; };

__device__ inline Words philox(size seed, size number) {
    unsigned key0 = (unsigned)seed, key1 = (unsigned)(seed >> 32);
    unsigned a = (unsigned)number, b = (unsigned)(number >> 32), c = 0, d = 0;
    for (unsigned round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, a), low0 = 0xD2511F53u * a;
        unsigned high1 = __umulhi(0xCD9E8D57u, c), low1 = 0xCD9E8D57u * c;
        a = high1 ^ b ^ key0, b = low1, c = high0 ^ d ^ key1, d = low0;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}

// The lines of an array: the numbers along one axis, `inner` apart. A team of threads works on each; `team` is a power of two.
// Where lines lie one after the other (inner = 1), the threads of a team are neighbours, else neighbours are of lines that lie
// side by side: so that neighbours read neighbouring numbers. See reduction.py, which makes it.
struct Lines { size count, length, inner, team; };

struct Line {
    size row, at;         // its number, and where its first number is
    unsigned lane, apart; // which of its team a thread is, and how far from the next
    bool there;           // or there are fewer lines than teams
};

__device__ inline Line line_of(const Lines &s) {
    unsigned team = (unsigned)s.team, teams = blockDim.x / team;
    bool neighbours = s.inner == 1;
    unsigned lane = neighbours ? threadIdx.x % team : threadIdx.x / teams;
    size row = (size)blockIdx.x * teams + (neighbours ? threadIdx.x / team : threadIdx.x % teams);
    return {row, row / s.inner * s.length * s.inner + row % s.inner, lane, neighbours ? 1 : teams, row < s.count};
}

// A loop over the numbers of a line that its team shares: j is its place in the line, line.at + j · inner in the array.
#define EACH_OF(j, line, s) for (size j = (line).there ? (line).lane : (s).length; j < (s).length; j += (s).team)

// As block_sum and block_max, but over the threads of a team. Every thread of the block must call it, `there` or not.
__device__ inline wide team_sum(wide value, const Line &line, const Lines &s) {
    __shared__ wide part[1024];
    part[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = (unsigned)s.team / 2; half; half /= 2) {
        if (line.lane < half) part[threadIdx.x] += part[threadIdx.x + half * line.apart];
        __syncthreads();
    }
    wide total = part[threadIdx.x - line.lane * line.apart];
    __syncthreads();
    return total;
}

__device__ inline wide larger(wide a, wide b) { return a > b || a != a ? a : b; }  // a nan is larger than all

__device__ inline wide team_max(wide value, const Line &line, const Lines &s) {
    __shared__ wide part[1024];
    part[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = (unsigned)s.team / 2; half; half /= 2) {
        if (line.lane < half) part[threadIdx.x] = larger(part[threadIdx.x], part[threadIdx.x + half * line.apart]);
        __syncthreads();
    }
    wide largest = part[threadIdx.x - line.lane * line.apart];
    __syncthreads();
    return largest;
}

// The largest number of a line; a nan is larger than all.
__device__ inline wide line_max(const real *x, const Line &line, const Lines &s) {
    wide largest = line.there && s.length ? (wide)x[line.at] : (wide)0;
    EACH_OF(j, line, s) largest = larger((wide)x[line.at + j * s.inner], largest);
    return team_max(largest, line, s);
}
