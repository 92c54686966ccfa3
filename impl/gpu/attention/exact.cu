// Exact attention: tiles of 64 queries against tiles of 64 keys, with an online softmax.
//
// A block of 16 × 16 threads has 64 queries of one head and up to 128 columns of the values.  Thread (x, y) has the
// queries 4y … 4y + 3 with the keys x, x + 16, x + 32, x + 48 of a tile, and with the columns 4x … 4x + 3 and
// 64 + 4x … 64 + 4x + 3 of the output; all of these stay in registers.  The sixteen threads of one y lie in half a warp,
// so that maxima and sums of rows need shuffles alone.  Nothing depends on the order in which blocks run.
#include "device.cuh"

// An array of four axes; strides count elements and may be 0 or negative.  No data: the option is absent.
struct View {
    const void* data;
    whole batch, head, row, column;
};

struct Arguments {
    View query, key, value, mask, bias;
    const whole* lengths;  // (batch) or null
    const void* sink;      // (heads) in the type of the arithmetic, or null
    void *out, *lse;       // (batch, heads, queries, columns) and (batch, heads, queries), contiguous
    whole heads, group, queries, keys, dim, columns;
    whole left, right, bottom_right;  // what a query sees: of its position, so many keys to the left and to the right
    whole bias_type;                  // 0 float32, 1 float64, 2 float16, 3 bfloat16
    double scale, softcap;            // softcap 0: none
};

constexpr int ROWS = 64, KEYS = 64, DEPTH = 32, COLUMNS = 128, PART = 32, THREADS = 256;
constexpr int APART = DEPTH + 4, SPREAD = KEYS + 4;  // rows in shared memory: no power of two, and a multiple of four
static_assert(ROWS * SPREAD <= (ROWS + KEYS) * APART, "weights lie where queries and keys lay");

template <class Stored>
__device__ __forceinline__ auto at(const View& view, whole batch, whole head, whole row, whole column) {
    return read(static_cast<const Stored*>(
        view.data)[batch * view.batch + head * view.head + row * view.row + column * view.column]);
}

template <class Work>
__device__ __forceinline__ Work bias_at(const Arguments& a, whole batch, whole head, whole row, whole column) {
    switch (a.bias_type) {
        case 0: return Work(at<float>(a.bias, batch, head, row, column));
        case 1: return Work(at<double>(a.bias, batch, head, row, column));
        case 2: return Work(at<half_number>(a.bias, batch, head, row, column));
        default: return Work(at<brain_number>(a.bias, batch, head, row, column));
    }
}

// The largest, or the sum, of the sixteen threads that have the same queries; each of them gets the same bits.
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

template <class Stored, class Work>
__device__ __forceinline__ void attend(const Arguments& a) {
    typedef numbers<Work> of;
    Work* const queries = reinterpret_cast<Work*>(shared_memory);  // ROWS rows of DEPTH numbers
    Work* const keys = queries + ROWS * APART;                     // KEYS rows of DEPTH numbers
    Work* const weights = queries;                                 // ROWS rows of KEYS numbers
    Work* const values = keys + KEYS * APART;                      // PART rows of COLUMNS numbers
    const int t = threadIdx.x, x = t % 16, y = t / 16;

    const whole groups = (a.columns + COLUMNS - 1) / COLUMNS, tiles = (a.queries + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, start = blockIdx.x / groups % tiles * ROWS;
    const whole head = blockIdx.x / (groups * tiles) % a.heads, batch = blockIdx.x / (groups * tiles * a.heads);
    const whole source = head / a.group;
    const whole length = a.lengths ? a.lengths[batch] : a.keys;
    const whole offset = a.bottom_right ? length - a.queries : 0;
    const whole end = start + ROWS < a.queries ? start + ROWS : a.queries;

    Work top[4], total[4], sums[4][8];
#pragma unroll
    for (int r = 0; r < 4; r++) {
        top[r] = of::lowest, total[r] = 0;  // finite, so that no difference of scores is NaN
#pragma unroll
        for (int c = 0; c < 8; c++) sums[r][c] = 0;
    }

    // the keys that some query of the tile may see
    const whole low = start + offset - a.left, high = end + offset + a.right;
    const whole from = low > 0 ? low : 0, until = high < length ? high : length;
    for (whole tile = from; tile < until; tile += KEYS) {
        Work score[4][4] = {};
        for (whole depth = 0; depth < a.dim; depth += DEPTH) {
            __syncthreads();  // what lies here has been read
            for (int i = t; i < ROWS * DEPTH; i += THREADS) {
                const whole row = start + i / DEPTH, column = depth + i % DEPTH;
                const bool there = row < a.queries && column < a.dim;
                queries[i / DEPTH * APART + i % DEPTH] =
                    there ? Work(a.scale) * at<Stored>(a.query, batch, head, row, column) : Work(0);
            }
            for (int i = t; i < KEYS * DEPTH; i += THREADS) {
                const whole row = tile + i / DEPTH, column = depth + i % DEPTH;
                const bool there = row < length && column < a.dim;
                keys[i / DEPTH * APART + i % DEPTH] = there ? at<Stored>(a.key, batch, source, row, column) : Work(0);
            }
            __syncthreads();
#pragma unroll 4
            for (int e = 0; e < DEPTH; e += 4) {
                four<Work> q[4], k[4];
#pragma unroll
                for (int r = 0; r < 4; r++)
                    q[r] = *reinterpret_cast<const four<Work>*>(queries + (4 * y + r) * APART + e);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    k[j] = *reinterpret_cast<const four<Work>*>(keys + (x + 16 * j) * APART + e);
#pragma unroll
                for (int n = 0; n < 4; n++)
#pragma unroll
                    for (int r = 0; r < 4; r++)
#pragma unroll
                        for (int j = 0; j < 4; j++) score[r][j] = fma(q[r].at[n], k[j].at[n], score[r][j]);
            }
        }
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const whole row = start + 4 * y + r, position = row + offset;
            Work most = top[r];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const whole key = tile + x + 16 * j;
                bool seen = row < a.queries && key < length && key >= position - a.left && key <= position + a.right;
                if (seen) {
                    if (a.softcap > 0) score[r][j] = Work(a.softcap) * tanh(score[r][j] / Work(a.softcap));
                    if (a.bias.data) score[r][j] += bias_at<Work>(a, batch, head, row, key);
                    if (a.mask.data)
                        seen = static_cast<const unsigned char*>(a.mask.data)[
                            batch * a.mask.batch + head * a.mask.head + row * a.mask.row + key * a.mask.column];
                }
                if (!seen) score[r][j] = -of::infinity();
                most = score[r][j] > most ? score[r][j] : most;
            }
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
        __syncthreads();  // the last queries and keys have been read
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int j = 0; j < 4; j++) weights[(4 * y + r) * SPREAD + x + 16 * j] = score[r][j];
        for (int part = 0; part < KEYS && tile + part < until; part += PART) {
            __syncthreads();  // the values of the part before have been read
            for (int i = t; i < PART * COLUMNS; i += THREADS) {
                const whole row = tile + part + i / COLUMNS, column = first_column + i % COLUMNS;
                const bool there = row < length && column < a.columns;
                values[i] = there ? at<Stored>(a.value, batch, source, row, column) : Work(0);
            }
            __syncthreads();
#pragma unroll 2
            for (int e = 0; e < PART; e += 4) {
                four<Work> w[4];
#pragma unroll
                for (int r = 0; r < 4; r++)
                    w[r] = *reinterpret_cast<const four<Work>*>(weights + (4 * y + r) * SPREAD + part + e);
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    const Work* const row = values + (e + n) * COLUMNS + 4 * x;
                    const four<Work> left = *reinterpret_cast<const four<Work>*>(row);
                    const four<Work> right = *reinterpret_cast<const four<Work>*>(row + 64);
#pragma unroll
                    for (int r = 0; r < 4; r++)
#pragma unroll
                        for (int c = 0; c < 4; c++) {
                            sums[r][c] = fma(w[r].at[n], left.at[c], sums[r][c]);
                            sums[r][4 + c] = fma(w[r].at[n], right.at[c], sums[r][4 + c]);
                        }
                }
            }
        }
    }

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const whole row = start + 4 * y + r;
        Work sum = summed(total[r]), weight = 1, most = top[r];
        if (a.sink) {
            const Work sink = static_cast<const Work*>(a.sink)[head];
            most = sink > most ? sink : most;
            weight = exponential(top[r] - most);
            sum = sum * weight + exponential(sink - most);
        }
        if (row >= a.queries) continue;
        const whole number = (batch * a.heads + head) * a.queries + row;
        const bool nothing = sum == 0;  // every key is hidden
#pragma unroll
        for (int c = 0; c < 8; c++) {
            const whole column = first_column + c / 4 * 64 + 4 * x + c % 4;
            if (column < a.columns)
                write(static_cast<Stored*>(a.out)[number * a.columns + column],
                      nothing ? Work(0) : sums[r][c] * weight / sum);
        }
        if (a.lse && first_column == 0 && x == 0)
            static_cast<Work*>(a.lse)[number] = nothing ? -of::infinity() : most + log(sum);
    }
}

KERNEL(attention_float32, Arguments, 256) { attend<float, float>(a); }
KERNEL(attention_float64, Arguments, 256) { attend<double, double>(a); }
KERNEL(attention_float16, Arguments, 256) { attend<half_number, float>(a); }
KERNEL(attention_bfloat16, Arguments, 256) { attend<brain_number, float>(a); }
