// Exact attention: tiles of 64 queries against tiles of 64 keys, with an online softmax.
//
// A block has 64 queries of one head and up to 128 columns of the values.  Nothing depends on the order in which blocks
// run.
#include "attention/tile.cuh"

struct Arguments {
    View query, key, value;
    Options options;
    const void* sink;  // (heads) in the type of the arithmetic, or null
    void *out, *lse;   // (batch, heads, queries, columns) and (batch, heads, queries) or null, contiguous
    whole heads, group, queries, keys, dim, columns;
};

template <class Stored, class Work>
__device__ __forceinline__ void attend(const Arguments& a) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    const whole groups = (a.columns + COLUMNS - 1) / COLUMNS, tiles = (a.queries + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, start = blockIdx.x / groups % tiles * ROWS;
    const whole head = blockIdx.x / (groups * tiles) % a.heads, batch = blockIdx.x / (groups * tiles * a.heads);
    const whole source = head / a.group, end = start + ROWS < a.queries ? start + ROWS : a.queries;
    const Span keys = span(a.options, batch, a.queries, a.keys, start, end);

    Online<Work> rows;
    rows.begin();
    for (whole tile = keys.from; tile < keys.until; tile += ROWS) {
        Work score[4][4];
        multiply_rows<Stored>(
            score, Constant<Work>{Work(a.options.scale)}, Rows{a.query, batch, head, start, end, a.dim},
            Rows{a.key, batch, source, tile, keys.length, a.dim});
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const whole row = start + 4 * y + r;
            Work slope;
#pragma unroll
            for (int j = 0; j < 4; j++)
                score[r][j] = scored(
                    a.options, keys, score[r][j], batch, head, row, tile + x + 16 * j, row < a.queries, slope);
        }
        rows.weigh(score);
        store<false>(score);
        add_products<Stored>(
            rows.sums, Constant<Work>{1}, Rows{a.value, batch, source, tile, keys.until, a.columns}, first_column);
    }

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const whole row = start + 4 * y + r;
        Work sum = summed(rows.total[r]), weight = 1, most = rows.top[r];
        if (a.sink) {
            const Work sink = static_cast<const Work*>(a.sink)[head];
            most = sink > most ? sink : most;
            weight = exponential(rows.top[r] - most);
            sum = sum * weight + exponential(sink - most);
        }
        if (row >= a.queries) continue;
        const whole number = (batch * a.heads + head) * a.queries + row;
        const bool nothing = sum == 0;  // every key is hidden
#pragma unroll
        for (int c = 0; c < 8; c++)
            if (first_column + column_of(c) < a.columns)
                write(static_cast<Stored*>(a.out)[number * a.columns + first_column + column_of(c)],
                      nothing ? Work(0) : rows.sums[r][c] * weight / sum);
        if (a.lse && first_column == 0 && x == 0)
            static_cast<Work*>(a.lse)[number] = nothing ? -numbers<Work>::infinity() : most + log(sum);
    }
}

KERNEL(attention_float32, Arguments, THREADS) { attend<float, float>(a); }
KERNEL(attention_float64, Arguments, THREADS) { attend<double, double>(a); }
KERNEL(attention_float16, Arguments, THREADS) { attend<half_number, float>(a); }
KERNEL(attention_bfloat16, Arguments, THREADS) { attend<brain_number, float>(a); }
