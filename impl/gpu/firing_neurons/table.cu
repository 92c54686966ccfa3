// Correlations ⟨w_r, x_i⟩ of neurons and points, and what of them exceeds a threshold.
//
// Products are made by tiles of 64 × 64, in the order of the coordinates: a pair has the same bits whatever it is asked
// with.  What fires is found by scans of 4,096 numbers a block; lists are counted first and then written, each block to
// its own place, so that they are in ascending order.
#include "attention/tile.cuh"

struct Arguments {
    View left, right;      // (rows, dim) and (columns, dim), as rows and columns
    View table;            // correlations (rows, columns) in the type of the arithmetic
    const whole* items;    // (count) rows of the table that are asked for
    const whole* neurons;  // (columns) the neurons of which `right` has new weights, or null: all, in their order
    whole* turns;          // (neurons) the last turn in which a neuron was named
    void* out;             // of the kernel: flags, places or bounds (count, columns), or weights (neurons, dim) or null
    double *norms, *others;  // of rows, and of columns
    whole* starts;           // (count · parts + 1) how many fire in a part of a row, then where its list begins
    whole* ids;              // the lists
    void* values;
    whole rows, columns, dim, count, parts, turn, total;
    double limit, relative, absolute, most;
};

constexpr int WARP = 32, WIDE = 4096;

// The neuron that new weights are of; −1 where there is none, or where later weights are of the same one.
__device__ __forceinline__ whole neuron_of(const Arguments& a, whole row) {
    if (!a.neurons) return row;
    const whole neuron = a.neurons[row];
    return neuron >= 0 && neuron < a.total && a.turns[neuron] == a.turn + row ? neuron : -1;
}

KERNEL(name_neurons, Arguments, THREADS) {
    const whole row = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (row >= a.columns) return;
    const whole neuron = a.neurons[row];
    if (neuron >= 0 && neuron < a.total) atomicMax(a.turns + neuron, a.turn + row);
}

// A warp has a row: a bound of its norm, and its copy.  It is scaled by a power of two, so that no square overflows.
template <class Stored>
__device__ __forceinline__ void take(const Arguments& a) {
    const int lane = threadIdx.x % WARP;
    const whole row = whole(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    const whole neuron = row < a.columns ? neuron_of(a, row) : -1;
    if (neuron < 0) return;  // all of the warp
    Stored* const kept = static_cast<Stored*>(a.out);
    const Stored* const from = static_cast<const Stored*>(a.right.data) + row * a.right.row;
    double most = 0, sum = 0;
    for (whole column = lane; column < a.dim; column += WARP) {
        const Stored stored = from[column * a.right.column];
        const double x = fabs(double(read(stored)));
        most = x > most ? x : most;
        if (kept) kept[neuron * a.dim + column] = stored;
    }
    for (int with = WARP / 2; with > 0; with /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, most, with);
        most = other > most ? other : most;
    }
    int exponent;
    frexp(most, &exponent);
    for (whole column = lane; column < a.dim; column += WARP) {
        const double x = ldexp(double(read(from[column * a.right.column])), -exponent);
        sum = fma(x, x, sum);
    }
    for (int with = WARP / 2; with > 0; with /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, with);
    if (lane > 0) return;
    const double norm = ldexp(sqrt(sum) * (1 + 0x1p-30), exponent);
    a.norms[neuron] = most > 0 ? norm + 0x1p-1074 : 0;  // its last bits may have been lost
}

// The products of a tile of 64 × 64, as flags (rows, columns) where these are asked for, and in the table otherwise.
template <class Stored, class Work>
__device__ __forceinline__ void multiply(const Arguments& a) {
    Work* const table = static_cast<Work*>(const_cast<void*>(a.table.data));
    bool* const flags = static_cast<bool*>(a.out);
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    const whole tiles = (a.columns + ROWS - 1) / ROWS;
    const whole start = blockIdx.x / tiles * ROWS, first = blockIdx.x % tiles * ROWS;
    Work product[4][4];
    multiply_rows<Stored>(
        product, Constant<Work>{1}, Rows{a.left, 0, 0, start, a.rows, a.dim},
        Rows{a.right, 0, 0, first, a.columns, a.dim});
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const whole column = first + x + 16 * j;
        const whole neuron = column < a.columns ? neuron_of(a, column) : -1;
        if (neuron < 0) continue;
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const whole row = start + 4 * y + r;
            if (row >= a.rows) continue;
            if (flags) flags[row * a.columns + column] = product[r][j] > Work(a.limit);
            else table[row * a.table.row + neuron * a.table.column] = product[r][j];
        }
    }
}

// A block has 4,096 columns of one row that is asked for.
struct Part {
    whole number, item, first, end;
    bool there;

    __device__ __forceinline__ Part(const Arguments& a)
        : number(blockIdx.x / a.parts), item(a.items[number]), first(blockIdx.x % a.parts * WIDE),
          end(first + WIDE < a.columns ? first + WIDE : a.columns), there(item >= 0 && item < a.rows) {}
};

// Whether a correlation exceeds the threshold; nothing does in a row that is not there.
template <class Work>
__device__ __forceinline__ bool fires(const Arguments& a, const Part& part, whole column) {
    return part.there && column < part.end && at<Work>(a.table, 0, 0, part.item, column) > Work(a.limit);
}

template <class Work>
__device__ __forceinline__ void compare(const Arguments& a) {
    const Part part(a);
    for (whole column = part.first + threadIdx.x; column < part.end; column += THREADS)
        static_cast<bool*>(a.out)[part.number * a.columns + column] = fires<Work>(a, part, column);
}

// The sum of all threads of a block, in its first warp.
__device__ __forceinline__ int of_block(int own) {
    int* const warps = reinterpret_cast<int*>(shared_memory);
    for (int with = WARP / 2; with > 0; with /= 2) own += __shfl_xor_sync(0xffffffffu, own, with);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = own;
    __syncthreads();
    int sum = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) sum += warps[warp];
    return sum;
}

template <class Work>
__device__ __forceinline__ void count(const Arguments& a) {
    const Part part(a);
    int own = 0;
    for (whole column = part.first + threadIdx.x; column < part.end; column += THREADS)
        own += fires<Work>(a, part, column);
    const int sum = of_block(own);
    if (threadIdx.x == 0) a.starts[blockIdx.x + 1] = sum;
}

// Every thread of a block takes its turn in a chunk of 256 columns, so that the lists ascend.
template <class Work>
__device__ __forceinline__ void collect(const Arguments& a) {
    const Part part(a);
    unsigned* const warps = reinterpret_cast<unsigned*>(shared_memory);
    const int lane = threadIdx.x % WARP, own = threadIdx.x / WARP;
    whole next = a.starts[blockIdx.x];
    for (whole chunk = part.first; chunk < part.end; chunk += THREADS) {
        const whole column = chunk + threadIdx.x;
        const bool found = fires<Work>(a, part, column);
        const unsigned mask = __ballot_sync(0xffffffffu, found);
        __syncthreads();  // the masks of the chunk before have been read
        if (lane == 0) warps[own] = mask;
        __syncthreads();
        whole place = next + __popc(mask & ((1u << lane) - 1));
        for (int warp = 0; warp < THREADS / WARP; warp++) {
            place += warp < own ? __popc(warps[warp]) : 0;
            next += __popc(warps[warp]);
        }
        if (!found) continue;
        a.ids[place] = column;
        static_cast<Work*>(a.values)[place] = at<Work>(a.table, 0, 0, part.item, column);
    }
}

// Correlations as they are, and bounds of their errors (GPU-7).
template <class Work>
__device__ __forceinline__ void look_up(const Arguments& a) {
    const Part part(a);
    for (whole column = part.first + threadIdx.x; column < part.end; column += THREADS) {
        const whole place = part.number * a.columns + column;
        const double size = part.there ? a.norms[part.item] * a.others[column] : numbers<double>::infinity();
        static_cast<Work*>(a.values)[place] = part.there ? at<Work>(a.table, 0, 0, part.item, column) : Work(0);
        static_cast<double*>(a.out)[place] =
            size < a.most ? (a.relative * size + a.absolute) * (1 + 0x1p-30) : numbers<double>::infinity();
    }
}

KERNEL(take_float32, Arguments, THREADS) { take<float>(a); }
KERNEL(take_float64, Arguments, THREADS) { take<double>(a); }
KERNEL(take_float16, Arguments, THREADS) { take<half_number>(a); }
KERNEL(take_bfloat16, Arguments, THREADS) { take<brain_number>(a); }
KERNEL(multiply_float32, Arguments, THREADS) { multiply<float, float>(a); }
KERNEL(multiply_float64, Arguments, THREADS) { multiply<double, double>(a); }
KERNEL(multiply_float16, Arguments, THREADS) { multiply<half_number, float>(a); }
KERNEL(multiply_bfloat16, Arguments, THREADS) { multiply<brain_number, float>(a); }
KERNEL(compare_float32, Arguments, THREADS) { compare<float>(a); }
KERNEL(compare_float64, Arguments, THREADS) { compare<double>(a); }
KERNEL(count_float32, Arguments, THREADS) { count<float>(a); }
KERNEL(count_float64, Arguments, THREADS) { count<double>(a); }
KERNEL(collect_float32, Arguments, THREADS) { collect<float>(a); }
KERNEL(collect_float64, Arguments, THREADS) { collect<double>(a); }
KERNEL(look_up_float32, Arguments, THREADS) { look_up<float>(a); }
KERNEL(look_up_float64, Arguments, THREADS) { look_up<double>(a); }
