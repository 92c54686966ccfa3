// The exact gradient of attention: scores recomputed tile by tile, and no array of all of them.
//
// Every probability of a row is e^(s − lse) with the stored log-sum-exp, and δ = ⟨dO, o⟩ − dlse comes from the stored
// output (BWD-0).  A block owns what it writes: 64 queries, or 64 keys of one key head, and up to 128 columns; or a
// tile of the bias.  So there are no atomic additions, and nothing depends on the order in which blocks run.
#include "attention_gradient/arguments.cuh"

// δ and the log-sum-exp of every row, a row a thread.
template <class Stored, class Work>
__device__ __forceinline__ void prepare(const Arguments& a) {
    const whole number = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (number >= a.batches * a.heads * a.queries) return;
    const whole row = number % a.queries, head = number / a.queries % a.heads, batch = number / (a.queries * a.heads);
    Work delta = 0;
    for (whole c = 0; c < a.columns; c++)
        delta = fma(at<Stored>(a.grad_output, batch, head, row, c),
                    any<Work>(a.output, a.output_type, batch, head, row, c), delta);
    if (a.grad_lse.data) delta -= any<Work>(a.grad_lse, a.grad_lse_type, batch, head, row, 0);
    static_cast<Work*>(a.delta)[number] = delta;
    static_cast<Work*>(a.sum)[number] = any<Work>(a.lse, a.lse_type, batch, head, row, 0);
}

// P and dS of a tile of queries and keys; dS before the softcap too, which is the gradient of the bias.
template <class Stored, class Work>
__device__ __forceinline__ void differentiate(
    const Arguments& a, const Span& keys, whole batch, whole head, whole start, whole end, whole tile,
    Work (&probability)[4][4], Work (&grad_score)[4][4], Work (&grad_bias)[4][4]) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    const whole source = head / a.group, first = (batch * a.heads + head) * a.queries;
    multiply_rows<Stored>(
        probability, Constant<Work>{Work(a.options.scale)}, Rows{a.query, batch, head, start, end, a.dim},
        Rows{a.key, batch, source, tile, keys.length, a.dim});
    multiply_rows<Stored>(
        grad_score, Constant<Work>{1}, Rows{a.grad_output, batch, head, start, end, a.columns},
        Rows{a.value, batch, source, tile, keys.length, a.columns});
#pragma unroll
    for (int r = 0; r < 4; r++) {
        const whole row = start + 4 * y + r;
        const bool there = row < end;
        Work top = there ? static_cast<const Work*>(a.sum)[first + row] : Work(0);
        const Work delta = there ? static_cast<const Work*>(a.delta)[first + row] : Work(0);
        if (top == -numbers<Work>::infinity()) top = 0;  // of an empty row: its scores are all −∞
#pragma unroll
        for (int j = 0; j < 4; j++) {
            Work slope;
            const Work score =
                scored(a.options, keys, probability[r][j], batch, head, row, tile + x + 16 * j, there, slope);
            probability[r][j] = exponential(score - top);
            grad_bias[r][j] = probability[r][j] * (grad_score[r][j] - delta);
            grad_score[r][j] = a.options.softcap > 0 ? grad_bias[r][j] * slope : grad_bias[r][j];
        }
    }
}

template <class Stored, class Work>
__device__ __forceinline__ void put(void* to, const Work (&sums)[4][8], Work factor, whole first, whole rows,
                                    whole columns, whole first_column) {
    const int y = threadIdx.x / 16;
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 8; c++)
            if (4 * y + r < rows && first_column + column_of(c) < columns)
                write(static_cast<Stored*>(to)[(first + 4 * y + r) * columns + first_column + column_of(c)],
                      factor * sums[r][c]);
}

// dQ: 64 queries of a head, all keys that they see.
template <class Stored, class Work>
__device__ __forceinline__ void to_queries(const Arguments& a) {
    const whole groups = (a.dim + COLUMNS - 1) / COLUMNS, tiles = (a.queries + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, start = blockIdx.x / groups % tiles * ROWS;
    const whole head = blockIdx.x / (groups * tiles) % a.heads, batch = blockIdx.x / (groups * tiles * a.heads);
    const whole end = start + ROWS < a.queries ? start + ROWS : a.queries;
    const Span keys = span(a.options, batch, a.queries, a.keys, start, end);
    Work sums[4][8] = {}, probability[4][4], grad_score[4][4], grad_bias[4][4];
    for (whole tile = keys.from; tile < keys.until; tile += ROWS) {
        differentiate<Stored>(a, keys, batch, head, start, end, tile, probability, grad_score, grad_bias);
        store<false>(grad_score);
        add_products<Stored>(
            sums, Constant<Work>{1}, Rows{a.key, batch, head / a.group, tile, keys.length, a.dim}, first_column);
    }
    put<Stored>(a.grad_query, sums, Work(a.options.scale), (batch * a.heads + head) * a.queries + start, end - start,
                a.dim, first_column);
}

// dK or dV: 64 keys of a key head, all queries of its group.
template <bool of_values, class Stored, class Work>
__device__ __forceinline__ void to_keys(const Arguments& a) {
    const whole columns = of_values ? a.columns : a.dim, key_heads = a.heads / a.group;
    const whole groups = (columns + COLUMNS - 1) / COLUMNS, tiles = (a.keys + ROWS - 1) / ROWS;
    const whole first_column = blockIdx.x % groups * COLUMNS, tile = blockIdx.x / groups % tiles * ROWS;
    const whole source = blockIdx.x / (groups * tiles) % key_heads, batch = blockIdx.x / (groups * tiles * key_heads);
    const whole last = tile + ROWS < a.keys ? tile + ROWS : a.keys;
    Work sums[4][8] = {}, probability[4][4], grad_score[4][4], grad_bias[4][4];
    for (whole head = source * a.group; head < (source + 1) * a.group; head++)
        for (whole start = 0; start < a.queries; start += ROWS) {
            const whole end = start + ROWS < a.queries ? start + ROWS : a.queries;
            const Span keys = span(a.options, batch, a.queries, a.keys, start, end);
            if (keys.from >= last || keys.until <= tile) continue;  // none of the queries sees one of the keys
            differentiate<Stored>(a, keys, batch, head, start, end, tile, probability, grad_score, grad_bias);
            if (of_values) {
                store<true>(probability);
                add_products<Stored>(
                    sums, Constant<Work>{1}, Rows{a.grad_output, batch, head, start, end, a.columns}, first_column);
            } else {
                store<true>(grad_score);
                add_products<Stored>(
                    sums, Constant<Work>{Work(a.options.scale)}, Rows{a.query, batch, head, start, end, a.dim}, first_column);
            }
        }
    put<Stored>(of_values ? a.grad_value : a.grad_key, sums, Work(1), (batch * key_heads + source) * a.keys + tile,
                last - tile, columns, first_column);
}

// The gradient of the bias in the type of the arithmetic: a tile of its elements, all batches, heads, queries and keys
// that share them.
template <class Stored, class Work>
__device__ __forceinline__ void to_bias(const Arguments& a) {
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    const whole across = (a.bias_keys + ROWS - 1) / ROWS, down = (a.bias_queries + ROWS - 1) / ROWS;
    const whole left = blockIdx.x % across * ROWS, upper = blockIdx.x / across % down * ROWS;
    const whole own_head = blockIdx.x / (across * down) % a.bias_heads;
    const whole own_batch = blockIdx.x / (across * down * a.bias_heads);
    const bool all_keys = a.bias_keys == 1, all_queries = a.bias_queries == 1;
    Work found[4][4] = {}, probability[4][4], grad_score[4][4], grad_bias[4][4];
    for (whole batch = own_batch; batch < a.batches; batch += a.bias_batches)
        for (whole head = own_head; head < a.heads; head += a.bias_heads)
            for (whole start = upper; start < (all_queries ? a.queries : upper + 1); start += ROWS) {
                const whole end = start + ROWS < a.queries ? start + ROWS : a.queries;
                const Span keys = span(a.options, batch, a.queries, a.keys, start, end);
                for (whole tile = left; tile < (all_keys ? a.keys : left + 1); tile += ROWS) {
                    if (keys.from >= tile + ROWS || keys.until <= tile) continue;
                    differentiate<Stored>(a, keys, batch, head, start, end, tile, probability, grad_score, grad_bias);
#pragma unroll
                    for (int r = 0; r < 4; r++)
#pragma unroll
                        for (int j = 0; j < 4; j++) found[r][j] += grad_bias[r][j];
                }
            }
    Work* const columns = reinterpret_cast<Work*>(shared_memory);  // of each y, what its rows add up to, a key each
    Work* const to = static_cast<Work*>(a.to_bias) + (own_batch * a.bias_heads + own_head) * a.bias_queries * a.bias_keys;
    if (all_keys) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            found[r][0] = summed(((found[r][0] + found[r][1]) + found[r][2]) + found[r][3]);
            found[r][1] = found[r][2] = found[r][3] = 0;
        }
    }
    if (!all_queries) {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const whole row = upper + 4 * y + r, key = left + x + 16 * j;
                if (row < a.bias_queries && (all_keys ? x + j == 0 : key < a.bias_keys))
                    to[row * a.bias_keys + (all_keys ? 0 : key)] = found[r][j];
            }
        return;
    }
    __syncthreads();  // what lies here has been read
#pragma unroll
    for (int j = 0; j < 4; j++)
        columns[y * SPREAD + x + 16 * j] = ((found[0][j] + found[1][j]) + found[2][j]) + found[3][j];
    __syncthreads();
    const whole key = left + threadIdx.x;
    if (threadIdx.x < (all_keys ? 1 : ROWS) && (all_keys || key < a.bias_keys)) {
        Work sum = 0;
        for (int part = 0; part < 16; part++) sum += columns[part * SPREAD + threadIdx.x];
        to[all_keys ? 0 : key] = sum;
    }
}

// The gradient of a sink, a head a block: −Σ e^(sink − lse)·δ over all queries.
template <class Work>
__device__ __forceinline__ void to_sink(const Arguments& a) {
    Work* const parts = reinterpret_cast<Work*>(shared_memory);
    const int t = threadIdx.x;
    const whole head = blockIdx.x;
    const Work sink = static_cast<const Work*>(a.sink)[head];
    Work sum = 0;
    for (whole i = t; i < a.batches * a.queries; i += THREADS) {
        const whole number = (i / a.queries * a.heads + head) * a.queries + i % a.queries;
        const Work above = sink - static_cast<const Work*>(a.sum)[number];
        sum -= exponential(above < 0 ? above : Work(0)) * static_cast<const Work*>(a.delta)[number];
    }
    parts[t] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) parts[t] += parts[t + half];
    }
    if (t == 0) static_cast<Work*>(a.grad_sink)[head] = parts[0];
}

#define ALL(name, Stored, Work)                                                                      \
    KERNEL(prepare_##name, Arguments, THREADS) { prepare<Stored, Work>(a); }                             \
    KERNEL(queries_##name, Arguments, THREADS) { to_queries<Stored, Work>(a); }                          \
    KERNEL(keys_##name, Arguments, THREADS) { to_keys<false, Stored, Work>(a); }                         \
    KERNEL(values_##name, Arguments, THREADS) { to_keys<true, Stored, Work>(a); }                        \
    KERNEL(bias_##name, Arguments, THREADS) { to_bias<Stored, Work>(a); }                                \
    KERNEL(sink_##name, Arguments, THREADS) { to_sink<Work>(a); }
ALL(float32, float, float)
ALL(float64, double, double)
ALL(float16, half_number, float)
ALL(bfloat16, brain_number, float)
