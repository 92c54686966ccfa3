// Exact attention of any order: tiles of 64 queries against tiles of 64 keys of the last mode, for one key of every
// other mode at a time, whose product multiplies the queries and the values.
//
// A block has 64 queries of one head and up to 128 columns of the values.  It adds at most 1,024 combinations one after
// the other, in an online softmax of their own, before they are added to those before.
#include "attention/tile.cuh"

constexpr int MODES = 11, BLOCK = 1024;  // of order 12

struct Arguments {
    View query, keys[MODES], values[MODES];
    whole lengths[MODES], widths[MODES];  // of the modes, and of their windows: |query − key| < width
    double scale;
    void *out, *lse;  // (batch, heads, queries, columns) and (batch, heads, queries) or null, contiguous
    whole heads, group, queries, modes, dim, columns, causal;
};

// From `from` until `until`: keys that some queries see, or queries that see some keys.
struct Range {
    whole from, until;
};

__device__ __forceinline__ Range both(const Range& one, const Range& other) {
    return {one.from > other.from ? one.from : other.from, one.until < other.until ? one.until : other.until};
}

__device__ __forceinline__ Range keys_of(const Arguments& a, whole mode, const Range& queries) {
    const whole width = a.widths[mode], past = a.causal ? queries.until : queries.until - 1 + width;
    return both({0, a.lengths[mode]}, {queries.from - width + 1, past});
}

__device__ __forceinline__ Range queries_of(const Arguments& a, whole mode, whole key) {
    return {a.causal ? key : key - a.widths[mode] + 1, key + a.widths[mode]};
}

// A factor times a row of every mode but the last, column by column.
template <class Stored, class Work>
struct Combined {
    Work factor;
    const View* modes;
    const whole* rows;
    whole count, batch, head;

    __device__ __forceinline__ Work operator()(whole column) const {
        Work product = factor;
        for (whole mode = 0; mode < count; mode++) product *= at<Stored>(modes[mode], batch, head, rows[mode], column);
        return product;
    }
};

template <class Stored, class Work>
__device__ __forceinline__ void attend(const Arguments& a) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    const whole groups = (a.columns + COLUMNS - 1) / COLUMNS, tiles = (a.queries + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, start = blockIdx.x / groups % tiles * ROWS;
    const whole head = blockIdx.x / (groups * tiles) % a.heads, batch = blockIdx.x / (groups * tiles * a.heads);
    const whole source = head / a.group, end = start + ROWS < a.queries ? start + ROWS : a.queries, last = a.modes - 1;

    Range outer[MODES];
    whole chosen[MODES], count = 1;
    for (whole mode = 0; mode < last; mode++) {
        outer[mode] = keys_of(a, mode, {start, end});
        const whole seen = outer[mode].until - outer[mode].from;
        count *= seen > 0 ? seen : 0;
    }
    const Combined<Stored, Work> of_keys{Work(a.scale), a.keys, chosen, last, batch, source};
    const Combined<Stored, Work> of_values{Work(1), a.values, chosen, last, batch, source};

    Online<Work> part, rows;
    part.begin(), rows.begin();
    int added = 0;
    for (whole number = 0; number < count; number++) {
        Range seeing{start, end};
        for (whole mode = last - 1, rest = number; mode >= 0; mode--) {
            const whole size = outer[mode].until - outer[mode].from;
            chosen[mode] = outer[mode].from + rest % size, rest /= size;
            seeing = both(seeing, queries_of(a, mode, chosen[mode]));
        }
        if (seeing.from >= seeing.until) continue;
        const Range keys = keys_of(a, last, seeing);
        for (whole tile = keys.from; tile < keys.until; tile += ROWS) {
            if (added + ROWS > BLOCK) rows.merge(part), added = 0;
            Work score[4][4];
            multiply_rows<Stored>(
                score, of_keys, Rows{a.query, batch, head, start, end, a.dim},
                Rows{a.keys[last], batch, source, tile, keys.until, a.dim});
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const whole key = tile + x + 16 * j;
                const Range own = both(seeing, queries_of(a, last, key));
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    const whole row = start + 4 * y + r;
                    if (key >= keys.until || row < own.from || row >= own.until)
                        score[r][j] = -numbers<Work>::infinity();
                }
            }
            part.weigh(score);
            store<false>(score);
            add_products<Stored>(
                part.sums, of_values, Rows{a.values[last], batch, source, tile, keys.until, a.columns}, first_column);
            added += ROWS;
        }
    }
    rows.merge(part);

#pragma unroll
    for (int r = 0; r < 4; r++) {
        const whole row = start + 4 * y + r, number = (batch * a.heads + head) * a.queries + row;
        const Work sum = summed(rows.total[r]);
        if (row >= a.queries) continue;
        const bool nothing = sum == 0;  // every combination is hidden
#pragma unroll
        for (int c = 0; c < 8; c++)
            if (first_column + column_of(c) < a.columns)
                write(static_cast<Stored*>(a.out)[number * a.columns + first_column + column_of(c)],
                      nothing ? Work(0) : rows.sums[r][c] / sum);
        if (a.lse && first_column == 0 && x == 0)
            static_cast<Work*>(a.lse)[number] = nothing ? -numbers<Work>::infinity() : rows.top[r] + log(sum);
    }
}

KERNEL(tensor_attention_float32, Arguments, THREADS) { attend<float, float>(a); }
KERNEL(tensor_attention_float64, Arguments, THREADS) { attend<double, double>(a); }
KERNEL(tensor_attention_float16, Arguments, THREADS) { attend<half_number, float>(a); }
KERNEL(tensor_attention_bfloat16, Arguments, THREADS) { attend<brain_number, float>(a); }
