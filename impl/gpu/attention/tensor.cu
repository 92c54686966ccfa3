// Exact attention on tensor cores: tiles of 64 queries against tiles of 64 keys, with an online softmax.
//
// A block has 64 queries of one head and up to 128 columns of the values.  Each of its four warps has 16 queries.
// Weights are rounded to the type of 16-bit values before they multiply these; their sum is that of the weights before.
// Nothing depends on the order in which blocks run.
#include "attention/tensor.cuh"

struct Arguments {
    View query, key, value;
    Options options;
    const float* sink;  // (heads), or null
    void *out, *lse;    // (batch, heads, queries, columns) and (batch, heads, queries) or null, contiguous
    whole heads, group, queries, keys, dim, columns;
};

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

    typedef tiled<Stored> Tiled;
    Cell<Stored>* const queries = reinterpret_cast<Cell<Stored>*>(shared_memory);
    Cell<Stored>* const rights = queries + ROWS * Tiled::line;
    Cell<Stored>* const values = Tiled::values_apart ? rights + ROWS * Tiled::line : rights;
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
            // what lies here has been read; before the first columns, if values lie apart, since these were laid
            if (depth > 0 || (!Tiled::values_apart && tile > keys.from)) __syncthreads();
            if (a.dim > DEEP || tile == keys.from)
                lay<Stored, everything>(queries, Rows{a.query, batch, head, start, end, a.dim}, depth, deep);
            lay<Stored, everything>(rights, Rows{a.key, batch, source, tile, keys.length, a.dim}, depth, deep);
            __syncthreads();
            multiply_lines(Stored(), score, queries, rights, deep, a.dim);
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
        Weights<Stored> weights;
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
                weights.set(n, r, first * Tiled::unit, second * Tiled::unit);
            }
        }
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sums[n][i] *= factor[i / 2];

        // their products with the values; those of the tile before were read before the queries and keys were laid
        if (!Tiled::values_apart) __syncthreads();  // the keys have been read
        add_weighted<false>(
            sums, weights, 1.0f, values, Rows{a.value, batch, source, tile, keys.until, a.columns}, first_column, columns,
            false);
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
                    write(out[column], nothing ? 0.0f : sums[n][2 * r + i] * weight / (sum * Tiled::unit));
        if (a.lse && first_column == 0 && t == 0)
            static_cast<float*>(a.lse)[number] = nothing ? -numbers<float>::infinity() : most + log(sum);
    }
}

KERNEL(attention_float32, Arguments, LANES) { attend<float>(a); }
KERNEL(attention_float16, Arguments, LANES) { attend<half_number>(a); }
KERNEL(attention_bfloat16, Arguments, LANES) { attend<brain_number>(a); }
