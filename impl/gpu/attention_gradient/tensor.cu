// The gradients of queries, keys and values in 16-bit types on tensor cores: as exact.cu, by products of tensor.cuh.
//
// A block owns 64 queries, or 64 keys of one key head, and up to 128 columns of what it writes.  Its rows are those of
// its four warps, and the others go by in tiles of 64, of which scores and dS are computed anew: with queries in the
// rows for dQ, and with keys there for dK and dV.  P and dS are rounded to the type of the inputs before they multiply
// these, each tile is added up apart, and tiles are added in float32.  Subnormal float16 numbers are cut more coarsely
// in the unit: where that could be seen, rows are multiplied by fma, and in what is weighed they are multiplied apart
// (GPU-16).
#include "attention/tensor.cuh"
#include "attention_gradient/arguments.cuh"

enum Of { queries, keys, values };

// P times a power of two: one that a wrong log-sum-exp puts out of range is brought to the largest number, nearly 2.
__device__ __forceinline__ float in_range(half_number, float x) { return x > 65504 ? 65504.0f : x; }
__device__ __forceinline__ float in_range(brain_number, float x) { return x; }

// Products of the 64 rows of `left`, 16 of each warp, with the 64 of `right`, whose last columns stay in `rights`.
// Says whether a float16 number of either is subnormal: then they are multiplied by fma where another one is beyond the
// limit, or where a thread says so.  laid: the left ones lie there; about_left: what was found of them.
template <class Stored>
__device__ __forceinline__ bool multiply_rows(
    float (&product)[8][4], Cell<Stored>* lefts, Cell<Stored>* rights, const Rows& left, const Rows& right, float limit,
    bool always, bool laid, int& about_left) {
    bool small = false;
#pragma unroll
    for (int n = 0; n < 8; n++) product[n][0] = product[n][1] = product[n][2] = product[n][3] = 0;
    for (whole depth = 0; depth < left.columns; depth += DEEP) {
        const int deep = left.columns - depth < DEEP ? int(left.columns - depth) : DEEP;
        __syncthreads();  // what lies here has been read
        if (!laid || left.columns > DEEP) about_left = lay<Stored, everything>(lefts, left, depth, deep, limit);
        const int about = about_left | lay<Stored, everything>(rights, right, depth, deep, limit);
        bool apart = __syncthreads_or(about & 1);
        small = small || apart;
        if (apart) apart = __syncthreads_or(always || (about & 2));
        if (apart)
            multiply_by_fma<Stored>(product, lefts, rights, deep);
        else
            multiply_lines(Stored(), product, lefts, rights, deep, left.columns);
    }
    return small;
}

// A score from its product, and the slope of its softcap: one function for all of a lane's.
struct Score {
    float score, slope;
};
__device__ __attribute__((noinline)) Score seen(
    const Arguments& a, const Span& span, float product, whole batch, whole head, whole row, whole key) {
    Score found;
    found.score = scored(a.options, span, product, batch, head, row, key, row < a.queries, found.slope);
    return found;
}

template <Of of, class Stored>
__device__ __forceinline__ void differentiate(const Arguments& a) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const whole width = of == values ? a.columns : a.dim, count = of == queries ? a.queries : a.keys;
    const whole heads = of == queries ? a.heads : a.heads / a.group;
    const whole groups = (width + COLUMNS - 1) / COLUMNS, tiles = (count + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, own = blockIdx.x / groups % tiles * ROWS;
    const whole owner = blockIdx.x / (groups * tiles) % heads, batch = blockIdx.x / (groups * tiles * heads);
    const whole last = own + ROWS < count ? own + ROWS : count;
    const int columns = width - first_column < COLUMNS ? int(width - first_column) : COLUMNS;
    const float scale = float(a.options.scale);

    Cell<Stored>* const lefts = reinterpret_cast<Cell<Stored>*>(shared_memory);
    Cell<Stored>* const grads = lefts + ROWS * tiled<Stored>::line;
    Cell<Stored>* const rights = grads + ROWS * tiled<Stored>::line;
    Cell<Stored>* const right_grads = rights + ROWS * tiled<Stored>::line;
    // up to these, subnormal numbers cost a score less than 2^-14, and a product with dO less than 2^-28
    const float most = 524288.0f / (fabsf(scale) * float((a.dim + 15) / 16)), limit = most < 0x1p-14f ? -1 : most;
    const float limit_of_grad = 32.0f / float((a.columns + 15) / 16);
    float sums[COLUMNS / 8][4];
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++) sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;

    // the heads of queries, and the tiles of keys or of queries, that go by
    int about = 0, about_grad = 0;
    for (whole head = of == queries ? owner : owner * a.group;
         head < (of == queries ? owner + 1 : (owner + 1) * a.group); head++) {
        const whole source = head / a.group, rows = (batch * a.heads + head) * a.queries;
        Span seen_by = span(a.options, batch, a.queries, a.keys, own, last);
        const whole from = of == queries ? seen_by.from : 0, until = of == queries ? seen_by.until : a.queries;
        for (whole tile = from; tile < until; tile += ROWS) {
            const whole start = of == queries ? own : tile, first = of == queries ? tile : own;
            const whole end = start + ROWS < a.queries ? start + ROWS : a.queries;
            if (of != queries) {
                seen_by = span(a.options, batch, a.queries, a.keys, start, end);
                if (seen_by.from >= last || seen_by.until <= own) continue;  // none of the queries sees one of the keys
            }
            const Rows query{a.query, batch, head, start, end, a.dim};
            const Rows key{a.key, batch, source, first, seen_by.length, a.dim};
            const Rows grad{a.grad_output, batch, head, start, end, a.columns};
            const Rows value{a.value, batch, source, first, seen_by.length, a.columns};
            const bool laid = of == queries ? tile > from : false;

            float weight[8][4], gradient[8][4];
            const bool small = multiply_rows<Stored>(
                weight, lefts, rights, of == queries ? query : key, of == queries ? key : query, limit, false, laid, about);
            bool beyond = false;
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int near = 16 * warp + g + i / 2 * 8, far = 8 * n + 2 * t + i % 2;
                    const whole row = start + (of == queries ? near : far), number = first + (of == queries ? far : near);
                    float top = row < a.queries ? static_cast<const float*>(a.sum)[rows + row] : 0.0f;
                    if (top == -numbers<float>::infinity()) top = 0;  // of an empty row: its scores are all −∞
                    const Score found = seen(a, seen_by, weight[n][i] * scale, batch, head, row, number);
                    weight[n][i] = power_of_two((found.score - top) * numbers<float>::log2e);
                    beyond = beyond || weight[n][i] > 2;
                    if (of != values && a.options.softcap > 0) weight[n][i] *= found.slope;
                }

            if (of != values) {
                multiply_rows<Stored>(
                    gradient, grads, right_grads, of == queries ? grad : value, of == queries ? value : grad,
                    limit_of_grad, beyond, laid, about_grad);
#pragma unroll
                for (int n = 0; n < 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const whole row = start + (of == queries ? 16 * warp + g + i / 2 * 8 : 8 * n + 2 * t + i % 2);
                        const float delta = row < a.queries ? static_cast<const float*>(a.delta)[rows + row] : 0.0f;
                        weight[n][i] *= gradient[n][i] - delta;
                    }
            }

            // in float16, small dS are multiplied by 2^14 and apart from others, and P by as much as in the forward
            // pass
            constexpr float unit = of == values ? tiled<Stored>::unit : 1;
            constexpr bool split = of != values && tiled<Stored>::split;
            const Rows& weighed = of == queries ? key : of == keys ? query : grad;
            const bool lies = of != values && a.dim <= DEEP && !small;
            Weights<Stored> weights, lifted;
            bool more = false;
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    float large[2], little[2];
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        const float x = weight[n][2 * r + i];
                        const bool tiny = split && fabsf(x) < 0x1p-14f;
                        large[i] = tiny ? 0 : of == values ? in_range(Stored(), x * unit) : x;
                        little[i] = tiny ? x * tiled<Stored>::lift : 0;
                        more = more || little[i] != 0;
                    }
                    weights.set(n, r, large[0], large[1]);
                    if (split) lifted.set(n, r, little[0], little[1]);
                }
            if (!lies) __syncthreads();  // what lies here has been read
            add_weighted<true>(sums, weights, unit, rights, weighed, first_column, columns, lies);
            if constexpr (split)
                if (__syncthreads_or(more))
                    add_weighted<true>(
                        sums, lifted, tiled<Stored>::lift, rights, weighed, first_column, columns, lies);
        }
    }

    const float factor = of == values ? 1.0f : scale;
    Stored* const to = static_cast<Stored*>(of == queries ? a.grad_query : of == keys ? a.grad_key : a.grad_value);
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const whole row = own + 16 * warp + g + i / 2 * 8;
            const int column = 8 * n + 2 * t + i % 2;
            if (row < last && column < columns)
                write(to[((batch * heads + owner) * count + row) * width + first_column + column], factor * sums[n][i]);
        }
}

#define ALL(name, Stored)                                                                  \
    KERNEL(queries_##name, Arguments, LANES) { differentiate<queries, Stored>(a); }        \
    KERNEL(keys_##name, Arguments, LANES) { differentiate<keys, Stored>(a); }              \
    KERNEL(values_##name, Arguments, LANES) { differentiate<values, Stored>(a); }
ALL(float16, half_number)
ALL(bfloat16, brain_number)
