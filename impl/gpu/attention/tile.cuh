// A tile of 64 queries against 64 keys, in a block of 16 × 16 threads: what forward and backward passes share.
//
// Thread (x, y) has the rows 4y … 4y + 3 of a tile with its columns x, x + 16, x + 32, x + 48.  Of a product with a
// tile it has the same rows, and the columns 4x … 4x + 3 and 64 + 4x … 64 + 4x + 3.  All of these stay in registers.
// The sixteen threads of one y lie in half a warp, so that maxima and sums of rows need shuffles alone.
#pragma once
#include "view.cuh"

// The options of a softmax, and the type of the bias: 0 float32, 1 float64, 2 float16, 3 bfloat16.
struct Options {
    View mask, bias;
    const whole* lengths;             // (batch) or null
    whole left, right, bottom_right;  // what a query sees: of its position, so many keys to the left and to the right
    whole bias_type;
    double scale, softcap;  // softcap 0: none
};

constexpr int ROWS = 64, COLUMNS = 128, DEPTH = 32, PART = 32, THREADS = 256;  // ROWS: of queries, and of keys
constexpr int APART = DEPTH + 4, SPREAD = ROWS + 4;  // rows in shared memory: no power of two, and a multiple of four
static_assert(ROWS * SPREAD <= 2 * ROWS * APART, "a tile of weights lies where the two factors lay");

// Rows of an array that a tile is made of: `first` and the next ones, below `end`; zeros stand beyond.
struct Rows {
    const View& view;
    whole batch, head, first, end, columns;
};

// What a factor of rows is that is the same in every column.
template <class Work>
struct Constant {
    Work value;
    __device__ __forceinline__ Work operator()(whole) const { return value; }
};

template <class Work, class Stored, class Factor>
__device__ __forceinline__ Work element(const Rows& rows, int row, whole column, const Factor& factor) {
    const bool there = rows.first + row < rows.end && column < rows.columns;
    return there ? factor(column) * at<Stored>(rows.view, rows.batch, rows.head, rows.first + row, column) : Work(0);
}

// products[r][j] = Σ_c factor(c)·left(4y + r, c)·right(x + 16j, c), in the order of c, factor·left rounded first.
template <class Stored, class Work, class Factor>
__device__ __forceinline__ void multiply_rows(
    Work (&products)[4][4], const Factor& factor, const Rows& left, const Rows& right) {
    Work *const lefts = reinterpret_cast<Work*>(shared_memory), *const rights = lefts + ROWS * APART;
    const int t = threadIdx.x, x = t % 16, y = t / 16;
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int j = 0; j < 4; j++) products[r][j] = 0;
    for (whole depth = 0; depth < left.columns; depth += DEPTH) {
        __syncthreads();  // what lies here has been read
        for (int i = t; i < ROWS * DEPTH; i += THREADS) {
            const int row = i / DEPTH, column = i % DEPTH;
            lefts[row * APART + column] = element<Work, Stored>(left, row, depth + column, factor);
            rights[row * APART + column] = element<Work, Stored>(right, row, depth + column, Constant<Work>{1});
        }
        __syncthreads();
#pragma unroll 4
        for (int e = 0; e < DEPTH; e += 4) {
            four<Work> a[4], b[4];
#pragma unroll
            for (int r = 0; r < 4; r++) a[r] = *reinterpret_cast<const four<Work>*>(lefts + (4 * y + r) * APART + e);
#pragma unroll
            for (int j = 0; j < 4; j++) b[j] = *reinterpret_cast<const four<Work>*>(rights + (x + 16 * j) * APART + e);
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int r = 0; r < 4; r++)
#pragma unroll
                    for (int j = 0; j < 4; j++) products[r][j] = fma(a[r].at[n], b[j].at[n], products[r][j]);
        }
    }
}

// The tile of weights in shared memory: weight[r][j] of every thread at (row, column), or at (column, row).
template <bool turned, class Work>
__device__ __forceinline__ void store(const Work (&weight)[4][4]) {
    Work* const weights = reinterpret_cast<Work*>(shared_memory);
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    __syncthreads();  // what lies here has been read
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int row = 4 * y + r, column = x + 16 * j;
            weights[turned ? column * SPREAD + row : row * SPREAD + column] = weight[r][j];
        }
}

// sums[r][c] += Σ_e weights(4y + r, e)·factor·right(e, column of c), in the order of e, factor·right rounded first.
template <class Stored, class Work, class Factor>
__device__ __forceinline__ void add_products(
    Work (&sums)[4][8], const Factor& factor, const Rows& right, whole first_column) {
    const Work* const weights = reinterpret_cast<const Work*>(shared_memory);
    Work* const rights = reinterpret_cast<Work*>(shared_memory) + 2 * ROWS * APART;
    const int t = threadIdx.x, x = t % 16, y = t / 16;
    for (int part = 0; part < ROWS && right.first + part < right.end; part += PART) {
        __syncthreads();  // the rows of the part before have been read, and the weights are written
        for (int i = t; i < PART * COLUMNS; i += THREADS)
            rights[i] = element<Work, Stored>(right, part + i / COLUMNS, first_column + i % COLUMNS, factor);
        __syncthreads();
#pragma unroll 2
        for (int e = 0; e < PART; e += 4) {
            four<Work> w[4];
#pragma unroll
            for (int r = 0; r < 4; r++)
                w[r] = *reinterpret_cast<const four<Work>*>(weights + (4 * y + r) * SPREAD + part + e);
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const Work* const row = rights + (e + n) * COLUMNS + 4 * x;
                const four<Work> near = *reinterpret_cast<const four<Work>*>(row);
                const four<Work> far = *reinterpret_cast<const four<Work>*>(row + 64);
#pragma unroll
                for (int r = 0; r < 4; r++)
#pragma unroll
                    for (int c = 0; c < 4; c++) {
                        sums[r][c] = fma(w[r].at[n], near.at[c], sums[r][c]);
                        sums[r][4 + c] = fma(w[r].at[n], far.at[c], sums[r][4 + c]);
                    }
            }
        }
    }
}

// The column of the output that sums[r][c] is of, from the first of the block.
__device__ __forceinline__ int column_of(int c) { return c / 4 * 64 + 4 * (int(threadIdx.x) % 16) + c % 4; }

// The keys from `from` until `until` are those that some query from `start` up to `end` may see, masks apart.
struct Span {
    whole length, offset, from, until;
};
__device__ __forceinline__ Span span(const Options& o, whole batch, whole queries, whole keys, whole start, whole end) {
    Span found;
    found.length = o.lengths ? o.lengths[batch] : keys;
    found.offset = o.bottom_right ? found.length - queries : 0;
    const whole low = start + found.offset - o.left, high = end + found.offset + o.right;
    found.from = low > 0 ? low : 0, found.until = high < found.length ? high : found.length;
    return found;
}

// A score from its product: softcap, bias, and −∞ where the query does not see the key.  slope: of the softcap.
template <class Work>
__device__ __forceinline__ Work scored(
    const Options& o, const Span& keys, Work product, whole batch, whole head, whole row, whole key, bool there,
    Work& slope) {
    const whole position = row + keys.offset;
    bool seen = there && key < keys.length && key >= position - o.left && key <= position + o.right;
    slope = 1;
    if (seen && o.softcap > 0) {
        const Work bent = tanh(product / Work(o.softcap));
        product = Work(o.softcap) * bent, slope = 1 - bent * bent;
    }
    if (seen && o.bias.data) product += any<Work>(o.bias, o.bias_type, batch, head, row, key);
    if (seen && o.mask.data)
        seen = static_cast<const unsigned char*>(o.mask.data)[
            batch * o.mask.batch + head * o.mask.head + row * o.mask.row + key * o.mask.column];
    return seen ? product : -numbers<Work>::infinity();
}

// The largest, or the sum, of the sixteen threads that have the same rows; each of them gets the same bits.
template <class Work>
__device__ __forceinline__ Work largest(Work x) {
#pragma unroll
    for (int with = 8; with > 0; with /= 2) {
        const Work other = __shfl_xor_sync(0xffffffffu, x, with);
        x = other > x ? other : x;
    }
    return x;
}
template <class Work>
__device__ __forceinline__ Work summed(Work x) {
#pragma unroll
    for (int with = 8; with > 0; with /= 2) x += __shfl_xor_sync(0xffffffffu, x, with);
    return x;
}

// An online softmax of the rows of a thread, and the sums of values that it weighs.
template <class Work>
struct Online {
    Work top[4], total[4], sums[4][8];

    __device__ __forceinline__ void begin() {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            top[r] = numbers<Work>::lowest, total[r] = 0;  // finite, so that no difference of scores is NaN
#pragma unroll
            for (int c = 0; c < 8; c++) sums[r][c] = 0;
        }
    }

    // Makes weights of the scores of a tile, e^(score − top), and adds them to the totals.
    __device__ __forceinline__ void weigh(Work (&score)[4][4]) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            Work most = top[r];
#pragma unroll
            for (int j = 0; j < 4; j++) most = score[r][j] > most ? score[r][j] : most;
            most = largest(most);
            const Work factor = exponential(top[r] - most);
            top[r] = most;
            total[r] *= factor;
#pragma unroll
            for (int c = 0; c < 8; c++) sums[r][c] *= factor;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                score[r][j] = exponential(score[r][j] - most);
                total[r] += score[r][j];
            }
        }
    }

    // Adds what another one has seen, which begins anew.
    __device__ __forceinline__ void merge(Online& other) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const Work most = other.top[r] > top[r] ? other.top[r] : top[r];
            const Work own = exponential(top[r] - most), more = exponential(other.top[r] - most);
            top[r] = most;
            total[r] = total[r] * own + other.total[r] * more;
#pragma unroll
            for (int c = 0; c < 8; c++) sums[r][c] = sums[r][c] * own + other.sums[r][c] * more;
        }
        other.begin();
    }
};
