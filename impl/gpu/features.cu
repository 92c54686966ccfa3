// Monomials of points, their means over many points, polynomials that are evaluated from such means, and their bounds.
//
// All arithmetic is in float64.  A monomial is a product of two or four of lower degree, of which a block keeps a small
// table in shared memory for 32 points at a time: so no array of all features is ever made.
#include "polynomial.cuh"
#include "view.cuh"

constexpr int ROWS = 32, APART = ROWS + 1, WIDE = 8, PAIR = 2, SUMMED = 512, SLICE = 128, TILE = 64, NEAR = 16;
constexpr int LINE = WIDE + 2;  // a row of a tile of weights: eight columns, the one of ones, and an empty one

// Points and what is multiplied of them: x = factor·(point − centre), both of which may differ from head to head.
struct Points {
    View view;                      // (batch, heads, rows, dim)
    const double *centre, *factor;  // (batch·heads, dim) or null for 0; (batch·heads)
    whole type, heads, rows, dim;
};

// The monomials of at most a degree.  The first `entries` of them are the table that others are products of: entry 0 is
// 1, those from 1 on are the coordinates, and entry i from there on is `parent` times a coordinate, one level after
// the other.
struct Monomials {
    const whole *parent, *variable, *ends;  // (entries), (entries), (levels): one more than the last of a degree
    const whole* parts;                     // (padded, parts): the entries whose product it is
    whole entries, levels, padded;
};

// The sum, the least and the largest number of every column of 128 rows; where a sum is not finite, NaN.
struct Extent {
    View points;
    const whole* lengths;  // (batch) or null: how many rows are points
    double* out;           // (batch·heads, slices, 3, columns)
    whole type, heads, rows, columns, slices;
};
KERNEL(features_extent, Extent, THREADS) {
    const whole slice = blockIdx.x % a.slices, head = blockIdx.x / a.slices, batch = head / a.heads;
    const whole length = a.lengths ? a.lengths[batch] : a.rows, first = slice * SLICE;
    const whole end = first + SLICE < length ? first + SLICE : length;
    double* const out = a.out + blockIdx.x * 3 * a.columns;
    for (whole c = threadIdx.x; c < a.columns; c += THREADS) {
        double sum = 0, least = numbers<double>::infinity(), largest = -least;
        for (whole row = first; row < end; row++) {
            const double x = any<double>(a.points, a.type, batch, head % a.heads, row, c);
            sum += x, least = x < least ? x : least, largest = x > largest ? x : largest;
        }
        const double fault = sum - sum;  // 0, or NaN
        out[c] = sum, out[a.columns + c] = least + fault, out[2 * a.columns + c] = largest + fault;
    }
}

// The largest Σ (point − centre)² of 128 rows; infinite where a number is not finite.
struct Norms {
    View points;
    const whole* lengths;  // (batch) or null
    const double* centre;  // (batch·heads, columns) or null for 0
    double* out;           // (batch·heads, slices)
    whole type, heads, rows, columns, slices;
};
KERNEL(features_norms, Norms, THREADS) {
    double* const found = reinterpret_cast<double*>(shared_memory);
    const int t = threadIdx.x;
    const whole head = blockIdx.x / a.slices, batch = head / a.heads, row = blockIdx.x % a.slices * SLICE + t;
    double square = 0;
    if (row < (a.lengths ? a.lengths[batch] : a.rows))
        for (whole c = 0; c < a.columns; c++) {
            const double x = any<double>(a.points, a.type, batch, head % a.heads, row, c);
            const double apart = x - (a.centre ? a.centre[head * a.columns + c] : 0);
            square = fma(apart, apart, square);
        }
    found[t] = square < numbers<double>::infinity() ? square : numbers<double>::infinity();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half && found[t + half] > found[t]) found[t] = found[t + half];
    }
    if (t == 0) a.out[blockIdx.x] = found[0];
}
static_assert(SLICE == THREADS, "a thread has a row");

// The table of monomials of 32 points in shared memory, entry after entry; points from `end` on are 0.
__device__ __forceinline__ void lay(
    const Monomials& of, const Points& points, whole batch, whole head, whole start, whole end) {
    double* const table = reinterpret_cast<double*>(shared_memory);
    const int t = threadIdx.x;
    const whole number = batch * points.heads + head;
    __syncthreads();  // what lies here has been read
    if (t < ROWS) table[t] = 1;
    for (whole n = t; n < ROWS * points.dim; n += THREADS) {
        const whole row = n / points.dim, c = n % points.dim;
        double x = 0;
        if (start + row < end) {
            const double origin = points.centre ? points.centre[number * points.dim + c] : 0;
            x = points.factor[number] * (any<double>(points.view, points.type, batch, head, start + row, c) - origin);
        }
        table[(1 + c) * APART + row] = x;
    }
    __syncthreads();
    for (whole level = 1; level < of.levels; level++) {
        const whole first = of.ends[level - 1];
        for (whole n = t; n < (of.ends[level] - first) * ROWS; n += THREADS) {
            const whole entry = first + n / ROWS, row = n % ROWS;
            table[entry * APART + row] =
                table[of.parent[entry] * APART + row] * table[(1 + of.variable[entry]) * APART + row];
        }
        __syncthreads();
    }
}

// Sums of monomials times values, y = (value − middle)/grow, and of the monomials, over one span of the keys.
//
// A thread has two monomials and eight columns.  512 keys are summed, and then these sums.
struct Moments {
    Monomials of;
    Points keys;
    View values;                   // (batch, heads, rows, columns)
    const double *middle, *grow;   // (batch·heads, columns), the first null for 0
    const whole* lengths;          // (batch) or null
    double* out;                   // (batch·heads, spans, padded, columns + 1), the monomials alone in the last column
    whole value_type, columns, span, spans;
};
template <int parts>
__device__ __forceinline__ void moments(const Moments& a) {
    double *const table = reinterpret_cast<double*>(shared_memory), *const values = table + a.of.entries * APART;
    const int t = threadIdx.x;
    const whole groups = a.columns > WIDE ? (a.columns + WIDE - 1) / WIDE : 1, tiles = (a.of.padded + THREADS * PAIR - 1) / (THREADS * PAIR);
    const whole first = blockIdx.x % groups * WIDE, tile = blockIdx.x / groups % tiles;
    const whole place = blockIdx.x / (groups * tiles), span = place % a.spans, number = place / a.spans;
    const whole batch = number / a.keys.heads, head = number % a.keys.heads, from = span * a.span;
    const whole length = a.lengths ? a.lengths[batch] : a.keys.rows;
    const whole end = from + a.span < length ? from + a.span : length;
    whole feature[PAIR], at[PAIR][parts];
#pragma unroll
    for (int i = 0; i < PAIR; i++) {
        feature[i] = (tile * PAIR + i) * THREADS + t;
#pragma unroll
        for (int p = 0; p < parts; p++)
            at[i][p] = feature[i] < a.of.padded ? a.of.parts[feature[i] * parts + p] * APART : 0;
    }

    double part[PAIR][WIDE + 1] = {}, total[PAIR][WIDE + 1] = {};
    for (whole start = from; start < end; start += ROWS) {
        lay(a.of, a.keys, batch, head, start, end);
        for (int n = t; n < ROWS * WIDE; n += THREADS) {
            const whole row = start + n / WIDE, c = first + n % WIDE, of = number * a.columns + c;
            double y = 0;
            if (row < end && c < a.columns)
                y = (any<double>(a.values, a.value_type, batch, head, row, c) - (a.middle ? a.middle[of] : 0)) /
                    a.grow[of];
            values[n] = y;
        }
        __syncthreads();
        const int count = end - start < ROWS ? int(end - start) : ROWS;
        for (int row = 0; row < count; row++)
#pragma unroll
            for (int i = 0; i < PAIR; i++) {
                double x = table[at[i][0] + row];
#pragma unroll
                for (int p = 1; p < parts; p++) x *= table[at[i][p] + row];
#pragma unroll
                for (int c = 0; c < WIDE; c++) part[i][c] = fma(x, values[row * WIDE + c], part[i][c]);
                part[i][WIDE] += x;
            }
        if ((start + ROWS - from) % SUMMED == 0 || start + ROWS >= end)
#pragma unroll
            for (int i = 0; i < PAIR; i++)
#pragma unroll
                for (int c = 0; c <= WIDE; c++) total[i][c] += part[i][c], part[i][c] = 0;
    }
#pragma unroll
    for (int i = 0; i < PAIR; i++) {
        if (feature[i] >= a.of.padded) continue;
        double* const out = a.out + (place * a.of.padded + feature[i]) * (a.columns + 1);
#pragma unroll
        for (int c = 0; c < WIDE; c++)
            if (first + c < a.columns) out[first + c] = total[i][c];
        if (first == 0) out[a.columns] = total[i][WIDE];
    }
}
KERNEL(features_moments_2, Moments, THREADS) { moments<2>(a); }
KERNEL(features_moments_4, Moments, THREADS) { moments<4>(a); }

// Means of monomials times their weights in the polynomial, or times the numbers `before`, which are of other keys.
struct Weigh {
    const double *sums, *weights, *before;  // (batch·heads, spans, padded, width), (padded), (batch·heads, padded, width)
    const whole* lengths;                   // (batch) or null
    double* out;                            // (batch·heads, padded, width)
    whole heads, rows, spans, padded, width, count;
};
KERNEL(features_weigh, Weigh, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, size = a.padded * a.width;
    if (i >= a.count) return;
    const whole head = i / size, place = i % size, length = a.lengths ? a.lengths[head / a.heads] : a.rows;
    double sum = 0;
    for (whole span = 0; span < a.spans; span++) sum += a.sums[(head * a.spans + span) * size + place];
    const double mean = length > 0 ? sum / double(length) : 0;
    a.out[i] = (a.before ? a.before[i] : a.weights[place / a.width]) * mean;
}

// Running sums over the blocks of keys of a segment, times the weights of the polynomial (GPU-17).
//
// prefix: of block k, the sum over the first block of its segment to k, in place of the sums of blocks.  suffix: the
// sum over k to the last block.  Either is absent where no row needs it; one may be where the sums are.
struct Scan {
    const double *sums, *weights;      // (heads, blocks, padded, width), (padded)
    double *prefix, *suffix;           // as the sums, or null
    whole blocks, segment, padded, width, count;  // segment: blocks of it; count: of heads, segments and numbers
};
KERNEL(features_scan, Scan, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, size = a.padded * a.width;
    if (i >= a.count) return;
    const whole place = i % size, segments = (a.blocks + a.segment - 1) / a.segment, segment = i / size % segments;
    const whole first = segment * a.segment, last = first + a.segment < a.blocks ? first + a.segment : a.blocks;
    const whole at = (i / size / segments * a.blocks) * size + place;
    const double weight = a.weights[place / a.width];
    double sum = 0;
    for (whole k = last - 1; a.suffix && k >= first; k--) {
        sum += a.sums[at + k * size];
        a.suffix[at + k * size] = weight * sum;
    }
    sum = 0;
    for (whole k = first; a.prefix && k < last; k++) {
        sum += a.sums[at + k * size];
        a.prefix[at + k * size] = weight * sum;
    }
}

// Σ_α x^α weighted_α at 32 points, for eight columns and the last one, which is that of the monomials alone.
struct Combination {
    Monomials of;
    Points points;
    const double* weighted;  // (batch·heads/group, padded, columns + 1)
    whole group, columns, tiles;
};

// What a block of a launch combines: 32 points from `start` on of a head, and eight columns from `first` on.
struct Tile {
    whole first, start, number, batch, head, source;  // number: of the head in all; source: that of its weights
    __device__ __forceinline__ Tile(const Combination& a) {
        const whole groups = a.columns > WIDE ? (a.columns + WIDE - 1) / WIDE : 1;
        first = blockIdx.x % groups * WIDE, start = blockIdx.x / groups % a.tiles * ROWS;
        number = blockIdx.x / (groups * a.tiles), source = number / a.group;
        batch = number / a.points.heads, head = number % a.points.heads;
    }
};

// Adds what a thread has of Σ_α x^α (one + two)_α, from tables (padded, columns + 1); an absent one is 0.  Each of the
// four warps of a block has every fourth monomial, the highest degree first.
template <int parts>
__device__ __forceinline__ void sum_terms(
    const Combination& a, whole first, const double* one, const double* two, double (&sums)[WIDE + 1]) {
    double *const table = reinterpret_cast<double*>(shared_memory), *const weights = table + a.of.entries * APART;
    const int t = threadIdx.x, row = t % 32, warp = t / 32;
    for (whole part = (a.of.padded - 1) / TILE; part >= 0; part--) {
        const whole base = part * TILE;
        __syncthreads();  // the part before has been read
        for (int n = t; n < TILE * (WIDE + 1); n += THREADS) {
            const int feature = n / (WIDE + 1), c = n % (WIDE + 1);
            const whole column = c == WIDE ? a.columns : first + c;
            const bool real = base + feature < a.of.padded && (c == WIDE || column < a.columns);
            const whole from = (base + feature) * (a.columns + 1) + column;
            weights[feature * LINE + c] = (real && one ? one[from] : 0) + (real && two ? two[from] : 0);
        }
        __syncthreads();
        const int count = a.of.padded - base < TILE ? int(a.of.padded - base) : TILE;
        for (int feature = TILE - 4 + warp; feature >= 0; feature -= 4) {
            if (feature >= count) continue;
            const whole* const at = a.of.parts + (base + feature) * parts;
            double x = table[at[0] * APART + row];
#pragma unroll
            for (int p = 1; p < parts; p++) x *= table[at[p] * APART + row];
            const double* const weight = weights + feature * LINE;
#pragma unroll
            for (int c = 0; c <= WIDE; c++) sums[c] = fma(x, weight[c], sums[c]);
        }
    }
}

// Adds up what the four warps have.  The first warp gets the sums, a point a thread, and true.
__device__ __forceinline__ bool gathered(const Combination& a, double (&sums)[WIDE + 1]) {
    double* const apart = reinterpret_cast<double*>(shared_memory) + a.of.entries * APART;
    const int t = threadIdx.x, row = t % 32, warp = t / 32;
    __syncthreads();
#pragma unroll
    for (int c = 0; c <= WIDE; c++) apart[(warp * (WIDE + 1) + c) * ROWS + row] = sums[c];
    __syncthreads();
    if (warp > 0) return false;
#pragma unroll
    for (int c = 0; c <= WIDE; c++)
        for (int other = 1; other < 4; other++) sums[c] += apart[(other * (WIDE + 1) + c) * ROWS + row];
    return true;
}
static_assert(4 * (WIDE + 1) * ROWS >= TILE * LINE, "sums of warps take more memory than a part of the weights");

// The sums of a table.
template <int parts>
__device__ __forceinline__ void combine(const Combination& a, const Tile& tile, double (&sums)[WIDE + 1]) {
    lay(a.of, a.points, tile.batch, tile.head, tile.start, a.points.rows);
    sum_terms<parts>(a, tile.first, a.weighted + tile.source * a.of.padded * (a.columns + 1), nullptr, sums);
}

// The sums themselves.
struct Totals {
    Combination of;
    double* out;  // (batch·heads, rows, columns)
};
template <int parts>
__device__ __forceinline__ void totals(const Totals& a) {
    const Tile tile(a.of);
    double sums[WIDE + 1] = {};
    combine<parts>(a.of, tile, sums);
    const bool first = gathered(a.of, sums);
    const whole row = tile.start + threadIdx.x % 32;
    if (!first || row >= a.of.points.rows) return;
    for (int c = 0; c < WIDE && tile.first + c < a.of.columns; c++)
        a.out[(tile.number * a.of.points.rows + row) * a.of.columns + tile.first + c] = sums[c];
}
KERNEL(features_totals_2, Totals, THREADS) { totals<2>(a); }
KERNEL(features_totals_4, Totals, THREADS) { totals<4>(a); }

// The rows middle + grow·N/Z of the sums (N, Z), within the interval of the values, and the least Z.
struct Evaluate {
    Combination of;
    const double *middle, *grow, *least, *largest;   // (batch·heads/group, columns), the first null for 0
    const whole* lengths;                            // (batch) or null: rows without a key are 0
    void* out;                                       // (batch, heads, rows, columns), contiguous
    double* share;                                   // (batch·heads, tiles): the least Z, −∞ where one is not positive
    double* most;                                    // the same: the largest Z, ∞ where one is not finite; or null
    whole out_type;
};

// Writes the rows and the least Z/count; count: of the keys that Z is a sum over, 0 for a row without one.
__device__ __forceinline__ void write_rows(const Evaluate& a, const Tile& tile, double (&sums)[WIDE + 1], double count) {
    if (!gathered(a.of, sums)) return;
    const whole row = tile.start + threadIdx.x % 32, rows = a.of.points.rows, columns = a.of.columns;
    const bool there = row < rows, empty = count <= 0;
    double z = sums[WIDE], share = numbers<double>::infinity();
    const bool good = z > 0 && z < numbers<double>::infinity();
    if (there && !empty) share = good ? z / count : -numbers<double>::infinity();
    z = good ? z : 1;
    for (int c = 0; c < WIDE && there && tile.first + c < columns; c++) {
        const whole of = tile.source * columns + tile.first + c;
        double x = (a.middle ? a.middle[of] : 0) + a.grow[of] * (sums[c] / z);
        x = x < a.least[of] ? a.least[of] : x > a.largest[of] ? a.largest[of] : x;
        put(a.out, a.out_type, (tile.number * rows + row) * columns + tile.first + c, empty ? 0 : x);
    }
#pragma unroll
    for (int with = 16; with > 0; with /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, share, with);
        share = other < share ? other : share;
    }
    const whole place = tile.number * a.of.tiles + tile.start / ROWS;
    if (tile.first == 0 && threadIdx.x == 0) a.share[place] = share;
    if (tile.first > 0 || !a.most) return;
    double most = !there ? 0 : sums[WIDE] < numbers<double>::infinity() ? sums[WIDE] : numbers<double>::infinity();
#pragma unroll
    for (int with = 16; with > 0; with /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, most, with);
        most = other > most ? other : most;
    }
    if (threadIdx.x == 0) a.most[place] = most;
}

template <int parts>
__device__ __forceinline__ void evaluate(const Evaluate& a) {
    const Tile tile(a.of);
    double sums[WIDE + 1] = {};
    combine<parts>(a.of, tile, sums);
    write_rows(a, tile, sums, a.lengths && a.lengths[tile.batch] <= 0 ? 0 : 1);  // means: Z itself
}
KERNEL(features_evaluate_2, Evaluate, THREADS) { evaluate<2>(a); }
KERNEL(features_evaluate_4, Evaluate, THREADS) { evaluate<4>(a); }

// The same where row i attends to the keys i + t − left ≤ j ≤ i + t + right only (GPU-17).
//
// Keys lie in blocks, and blocks in segments, of which features_scan has running sums.  The blocks that all of 32
// queries attend to are the end of one segment and the beginning of the next: two tables.  The keys beside them are
// taken one by one, with weight P(⟨z, x⟩), by those queries that attend to them; each warp has every fourth.
struct Banded {
    Evaluate of;                      // whose table is not read
    Points keys;
    View values;                      // (batch, heads of keys, keys, columns)
    const double *prefix, *suffix;    // (heads of keys, blocks, padded, columns + 1), or null: of features_scan
    const double* polynomial;         // (degree + 1): coefficients
    whole value_type, degree, block, blocks, segment;  // block: keys of it; segment: blocks of it
    whole beside, left, right;        // beside: whether the last query is beside the last key, t = keys − queries
};
__device__ __forceinline__ whole within(whole x, whole most) { return x < 0 ? 0 : x > most ? most : x; }

template <int parts>
__device__ __forceinline__ void banded(const Banded& a) {
    double *const table = reinterpret_cast<double*>(shared_memory);
    double *const near = table + (1 + a.keys.dim) * APART, *const near_values = near + NEAR * a.keys.dim;
    const Tile tile(a.of.of);
    const int t = threadIdx.x, row = t % 32, warp = t / 32;
    const whole queries = a.of.of.points.rows, keys = a.of.lengths ? a.of.lengths[tile.batch] : a.keys.rows;
    const whole offset = a.beside ? keys - queries : 0, key_head = tile.source % a.keys.heads;
    const whole last = (tile.start + ROWS < queries ? tile.start + ROWS : queries) - 1;
    const whole begin = within(last + offset - a.left, keys), end = within(tile.start + offset + a.right + 1, keys);

    // the whole blocks from `from` up to `to` that all rows attend to, and their two tables
    whole from = (begin + a.block - 1) / a.block, to = end >= keys ? (keys + a.block - 1) / a.block : end / a.block;
    const whole size = a.of.of.of.padded * (a.of.of.columns + 1);
    const double *one = nullptr, *two = nullptr;
    if (from < to) {
        const bool all = end >= keys;  // what follows in the last segment is empty
        const whole segment = from / a.segment, next = (segment + 1) * a.segment;
        const bool whole_end = to == next || (all && to <= next);
        if (to > next + a.segment) to = next + a.segment;
        const double *const prefix = a.prefix ? a.prefix + (tile.source * a.blocks + to - 1) * size : nullptr;
        const double *const suffix = a.suffix ? a.suffix + (tile.source * a.blocks + from) * size : nullptr;
        if (to > next) {
            one = prefix, two = suffix;
        } else if (prefix && from == segment * a.segment) {
            one = prefix;
        } else if (suffix && whole_end) {
            two = suffix;
        }
    }
    lay(a.of.of.of, a.of.of.points, tile.batch, tile.head, tile.start, queries);
    double sums[WIDE + 1] = {};
    if (one || two) sum_terms<parts>(a.of.of, tile.first, one, two, sums);

    const whole place = tile.start + row + offset;
    const whole mine = within(place - a.left, keys), until = within(place + a.right + 1, keys);
    const whole least = within(tile.start + offset - a.left, keys), most = within(last + offset + a.right + 1, keys);
    const whole cut = one || two ? from * a.block : most, resume = one || two ? to * a.block : most;
    for (whole start = least; start < most; start += NEAR) {
        if (start >= cut && start < resume) start = resume;
        const whole stop = start < cut ? (cut < most ? cut : most) : most;
        if (start >= stop) break;
        __syncthreads();  // what lies here has been read
        for (whole n = t; n < NEAR * a.keys.dim; n += THREADS) {
            const whole key = start + n / a.keys.dim, c = n % a.keys.dim, of = tile.source * a.keys.dim + c;
            near[n] = key < stop ? a.keys.factor[tile.source] * (any<double>(a.keys.view, a.keys.type, tile.batch,
                                       key_head, key, c) - (a.keys.centre ? a.keys.centre[of] : 0)) : 0;
        }
        for (int n = t; n < NEAR * WIDE; n += THREADS) {
            const whole key = start + n / WIDE, c = tile.first + n % WIDE, of = tile.source * a.of.of.columns + c;
            near_values[n] = key < stop && c < a.of.of.columns ?
                (any<double>(a.values, a.value_type, tile.batch, key_head, key, c) - (a.of.middle ? a.of.middle[of] : 0)) /
                    a.of.grow[of] : 0;
        }
        __syncthreads();
        for (int k = warp; k < NEAR && start + k < stop; k += 4) {
            double score = 0;
            for (whole c = 0; c < a.keys.dim; c++)
                score = fma(table[(1 + c) * APART + row], near[k * a.keys.dim + c], score);
            double weight = a.polynomial[a.degree];
            for (whole m = a.degree - 1; m >= 0; m--) weight = fma(weight, score, a.polynomial[m]);
            if (start + k < mine || start + k >= until) weight = 0;
#pragma unroll
            for (int c = 0; c < WIDE; c++) sums[c] = fma(weight, near_values[k * WIDE + c], sums[c]);
            sums[WIDE] += weight;
        }
    }
    write_rows(a.of, tile, sums, double(until - mine));
}
KERNEL(features_banded_2, Banded, THREADS) { banded<2>(a); }
KERNEL(features_banded_4, Banded, THREADS) { banded<4>(a); }

// The bound of GPU-11 for every head of queries and column; infinite where its conditions do not hold.
//
// reach: bounds of the scores, of the norms of queries, and of what scores are off beside their roundings.
// radius: of the interval of the polynomial.  cut: what the polynomial errs, in units of the interval of the values;
// with moments (GPU-18) it is η, and times 1 + measure·moment + loss over Z it is that.
// growth: Γ.  relative, absolute: of the rounding of the output.  most: the largest number of its type.
struct Certify {
    const double *reach, *share;                       // (heads of queries, 3), (heads of queries)
    const double *least, *largest, *middle, *grow;     // (heads of keys, columns), the third null for 0
    const double* moment;                              // (heads of queries) or null: largest means of powers of scores
    const whole* lengths;                              // (batch) or null
    double* out;                                       // (heads of queries, columns)
    whole per_batch, group, columns, count;            // per_batch: heads of queries; count: of all of them
    double radius, cut, growth, relative, absolute, most, measure, loss;
};
KERNEL(features_certify, Certify, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, head = i / a.columns;
    if (head >= a.count) return;
    if (a.lengths && a.lengths[head / a.per_batch] <= 0) {  // without a key rows are 0, exactly
        a.out[i] = 0;
        return;
    }
    const whole of = head / a.group * a.columns + i % a.columns;
    const double least = a.least[of], largest = a.largest[of], share = a.share[head], reach = a.reach[3 * head];
    const double magnitude = fabs(least) > fabs(largest) ? fabs(least) : fabs(largest);
    const double spread = (largest - least) * (1 + 0x1p-50), half = farthest(least, largest, a.middle ? a.middle[of] : 0);
    const double lost = a.growth / share;
    double bound = numbers<double>::infinity();
    if (share > 0 && lost < 0.5 && reach <= a.radius && a.reach[3 * head + 1] <= 256 && spread < 0x1p1000 &&
        magnitude <= a.most) {
        const double shifted = 3 * U * reach * SLACK + 0x1p-500 + a.reach[3 * head + 2];
        const double weight = a.moment ? (1 + a.measure * a.moment[head] + a.loss) / share : 1, cut = a.cut * weight * spread;
        const double rounded = lost * (2 * half + cut) + 0x1p-299 / share * a.grow[of];
        bound = (shifted / 2 * spread + cut + rounded + 4 * U * half + 3 * U * (magnitude + half + cut + rounded) +
                 a.relative * magnitude + a.absolute) * SLACK + 0x1p-1070;
    }
    a.out[i] = bound < numbers<double>::infinity() ? bound : numbers<double>::infinity();  // ∞·0 is no number
}
