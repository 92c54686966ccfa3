// Exact attention of 16-bit numbers on tensor cores: tiles of 64 queries against tiles of 64 keys, with an online softmax.
//
// A block has 64 queries of one head and up to 128 columns of the values.  Each of its four warps has 16 queries, whose
// scores and sums stay in registers: those of a lane are in the rows g and g + 8 of tensor_core.cuh, so that a row lies in
// four lanes side by side.  Weights are rounded to the type of the values before they multiply these; their sum is that
// of the weights before.  Nothing depends on the order in which blocks run.
#include "attention/tile.cuh"
#include "tensor_core.cuh"

struct Arguments {
    View query, key, value;
    Options options;
    const float* sink;  // (heads), or null
    void *out, *lse;    // (batch, heads, queries, columns) and (batch, heads, queries) or null, contiguous
    whole heads, group, queries, keys, dim, columns;
};

constexpr int WARPS = 4, LANES = 32 * WARPS, DEEP = 128, LINE = DEEP + 8;  // a line in shared memory: no power of two
static_assert(COLUMNS <= DEEP && ROWS == 16 * WARPS, "values lie in such lines too, and a warp has 16 queries");

// What a type needs.  Weights are multiplied by `unit`, a power of two, before they are rounded: so none above 2^-29 is
// subnormal in float16.  split: subnormal values are multiplied apart (GPU-10 says why).
template <class Stored>
struct halves;
template <>
struct halves<half_number> {
    static constexpr float unit = 32768, lift = 16384;
    static constexpr bool split = true;
};
template <>
struct halves<brain_number> {
    static constexpr float unit = 1, lift = 1;
    static constexpr bool split = false;
};

enum Part { everything, normal, subnormal };

struct __attribute__((aligned(16))) eight {
    unsigned short at[8];
};

// Rows of an array in shared memory, `columns` of them from the first one on and zeros up to the next multiple of 16.
// part: `normal` has zeros for subnormal float16 numbers, and says whether there are any; `subnormal` has these alone, times
// 2^14, exactly.
template <class Stored, Part part>
__device__ __forceinline__ bool lay(unsigned short* lines, const Rows& rows, whole first_column, int columns) {
    const int pieces = (columns + 15) / 16 * 2;
    const View& view = rows.view;
    const Stored* const from = static_cast<const Stored*>(view.data) + rows.batch * view.batch + rows.head * view.head;
    const bool aligned = view.column == 1 && view.row % 8 == 0 && first_column % 8 == 0 &&
                         reinterpret_cast<unsigned long long>(from) % 16 == 0;
    bool left_out = false;
    for (int i = threadIdx.x; i < ROWS * pieces; i += LANES) {
        const int row = i / pieces, at = i % pieces * 8;
        const whole column = first_column + at;
        const Stored* const first = from + (rows.first + row) * view.row + column * view.column;
        eight found;
        if (aligned && rows.first + row < rows.end && column + 8 <= rows.columns)
            found = *reinterpret_cast<const eight*>(first);
        else
#pragma unroll
            for (int k = 0; k < 8; k++) {
                const bool there = rows.first + row < rows.end && column + k < rows.columns;
                found.at[k] = there ? first[k * view.column].bits : 0;
            }
        if (part != everything)
#pragma unroll
            for (int k = 0; k < 8; k++) {
                const bool tiny = (found.at[k] & 0x7c00) == 0;
                if (part == normal && tiny) left_out = left_out || (found.at[k] & 0x3ff), found.at[k] = 0;
                if (part == subnormal)
                    found.at[k] = tiny ? float_as_half(half_as_float(found.at[k]) * halves<half_number>::lift) : 0;
            }
        *reinterpret_cast<eight*>(lines + row * LINE + at) = found;
    }
    return left_out;
}

// The largest, or the sum, of the four lanes that have the same rows.
__device__ __forceinline__ float largest_of_row(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float sum_of_row(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// sum of columns 16n … 16n + 15 += weights (16 × 64) · values, where values lie in lines from `lines` on.
template <class Stored>
__device__ __forceinline__ void add_products(
    float (&first)[4], float (&second)[4], const unsigned (&weights)[4][4], const unsigned short* lines, int n) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        unsigned found[4];
        four_transposed(found, lines + (16 * k + lane % 16) * LINE + 16 * n + lane / 16 * 8);
        multiply_add(Stored(), first, weights[k], {found[0], found[1]});
        multiply_add(Stored(), second, weights[k], {found[2], found[3]});
    }
}

// A score from its product, one function for all of a lane's, which are too many to have it in every place.
__device__ __attribute__((noinline)) float seen(
    const Arguments& a, const Span& keys, float product, whole batch, whole head, whole row, whole key) {
    float slope;
    return scored(a.options, keys, product, batch, head, row, key, row < a.queries, slope);
}

template <class Stored>
__device__ __forceinline__ void attend(const Arguments& a) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const whole groups = (a.columns + COLUMNS - 1) / COLUMNS, tiles = (a.queries + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, start = blockIdx.x / groups % tiles * ROWS;
    const whole head = blockIdx.x / (groups * tiles) % a.heads, batch = blockIdx.x / (groups * tiles * a.heads);
    const whole source = head / a.group, end = start + ROWS < a.queries ? start + ROWS : a.queries;
    const Span keys = span(a.options, batch, a.queries, a.keys, start, end);
    const int columns = a.columns - first_column < COLUMNS ? int(a.columns - first_column) : COLUMNS;
    const float scale = float(a.options.scale);
    const bool plain = !a.options.mask.data && !a.options.bias.data && a.options.softcap <= 0;
    const whole own = start + 16 * warp + g;  // and own + 8: the queries of this lane

    unsigned short* const queries = reinterpret_cast<unsigned short*>(shared_memory);
    unsigned short *const rights = queries + ROWS * LINE, *const values = rights + ROWS * LINE;
    float top[2] = {numbers<float>::lowest, numbers<float>::lowest}, total[2] = {0, 0}, sums[COLUMNS / 8][4];
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++) sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;

    for (whole tile = keys.from; tile < keys.until; tile += ROWS) {
        // products of queries and keys: score[n] is of the keys 8n … 8n + 7 of the tile
        float score[8][4];
#pragma unroll
        for (int n = 0; n < 8; n++) score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0;
        for (whole depth = 0; depth < a.dim; depth += DEEP) {
            const int deep = a.dim - depth < DEEP ? int(a.dim - depth) : DEEP;
            if (depth > 0) __syncthreads();  // what lies here has been read; before the first, since values were laid
            if (a.dim > DEEP || tile == keys.from)
                lay<Stored, everything>(queries, Rows{a.query, batch, head, start, end, a.dim}, depth, deep);
            lay<Stored, everything>(rights, Rows{a.key, batch, source, tile, keys.length, a.dim}, depth, deep);
            __syncthreads();
            for (int e = 0; e < deep; e += 16) {
                unsigned left[4];
                four_matrices(left, queries + (16 * warp + lane % 16) * LINE + e + lane / 16 * 8);
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    unsigned right[4];
                    const int row = 16 * n + lane % 8 + lane / 16 * 8, column = e + lane / 8 % 2 * 8;
                    four_matrices(right, rights + row * LINE + column);
                    multiply_add(Stored(), score[2 * n], left, {right[0], right[1]});
                    multiply_add(Stored(), score[2 * n + 1], left, {right[2], right[3]});
                }
            }
        }

        const bool open = plain && end == start + ROWS && tile + ROWS <= keys.length &&  // every query sees every key
                          tile >= end - 1 + keys.offset - a.options.left &&
                          tile + ROWS - 1 <= start + keys.offset + a.options.right;
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                score[n][i] *= scale;
                if (!open)
                    score[n][i] =
                        seen(a, keys, score[n][i], batch, head, own + i / 2 * 8, tile + 8 * n + 2 * t + i % 2);
            }

        // weights e^(score − top), whose sums are kept in float32, and rounded as the left factor of the next product
        unsigned weights[4][4];
        float factor[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float most = top[r];
#pragma unroll
            for (int n = 0; n < 8; n++) most = fmaxf(most, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
            most = largest_of_row(most);
            factor[r] = power_of_two((top[r] - most) * numbers<float>::log2e);
            top[r] = most;
            total[r] *= factor[r];
#pragma unroll
            for (int n = 0; n < 8; n++) {
                const float first = power_of_two((score[n][2 * r] - most) * numbers<float>::log2e);
                const float second = power_of_two((score[n][2 * r + 1] - most) * numbers<float>::log2e);
                total[r] += first, total[r] += second;
                weights[n / 2][n % 2 * 2 + r] =
                    packed(Stored(), first * halves<Stored>::unit, second * halves<Stored>::unit);
            }
        }
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sums[n][i] *= factor[i / 2];

        // their products with the values; those of the tile before were read before the queries and keys were laid
        const Rows rows{a.value, batch, source, tile, keys.until, a.columns};
        constexpr Part first_part = halves<Stored>::split ? normal : everything;
        const bool more = __syncthreads_or(lay<Stored, first_part>(values, rows, first_column, columns));
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++)
            if (16 * n < columns) add_products<Stored>(sums[2 * n], sums[2 * n + 1], weights, values, n);
        if (halves<Stored>::split && more) {
            __syncthreads();  // the normal ones have been read
            lay<Stored, subnormal>(values, rows, first_column, columns);
            __syncthreads();
#pragma unroll
            for (int n = 0; n < COLUMNS / 16; n++) {
                float found[2][4] = {};
                if (16 * n < columns) add_products<Stored>(found[0], found[1], weights, values, n);
#pragma unroll
                for (int i = 0; i < 8; i++)
                    sums[2 * n + i / 4][i % 4] =
                        fma(found[i / 4][i % 4], 1 / halves<Stored>::lift, sums[2 * n + i / 4][i % 4]);
            }
        }
    }

#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum = sum_of_row(total[r]), weight = 1, most = top[r];
        if (a.sink) {
            const float sink = a.sink[head];
            most = sink > most ? sink : most;
            weight = exponential(top[r] - most);
            sum = sum * weight + exponential(sink - most);
        }
        const whole row = own + 8 * r, number = (batch * a.heads + head) * a.queries + row;
        if (row >= a.queries) continue;
        const bool nothing = sum == 0;  // every key is hidden
        Stored* const out = static_cast<Stored*>(a.out) + number * a.columns + first_column;
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++)
                if (const int column = 8 * n + 2 * t + i; column < columns)
                    write(out[column], nothing ? 0.0f : sums[n][2 * r + i] * weight / (sum * halves<Stored>::unit));
        if (a.lse && first_column == 0 && t == 0)
            static_cast<float*>(a.lse)[number] = nothing ? -numbers<float>::infinity() : most + log(sum);
    }
}

KERNEL(attention_float16, Arguments, LANES) { attend<half_number>(a); }
KERNEL(attention_bfloat16, Arguments, LANES) { attend<brain_number>(a); }
