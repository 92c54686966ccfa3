// Monomials of points, their means over many points, polynomials that are evaluated from such means, and their bounds.
//
// All arithmetic is in float64.  A monomial is a product of two or four of lower degree, of which a block keeps a small
// table in shared memory for 32 points at a time: so no array of all features is ever made.
#include "polynomial.cuh"
#include "view.cuh"

constexpr int ROWS = 32, APART = ROWS + 1, WIDE = 8, PAIR = 2, SUMMED = 512, SLICE = 128, TILE = 64;
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
    const whole groups = (a.columns + WIDE - 1) / WIDE, tiles = (a.of.padded + THREADS * PAIR - 1) / (THREADS * PAIR);
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

__device__ __forceinline__ void put(void* to, whole type, whole place, double x) {
    switch (type) {
        case 0: static_cast<float*>(to)[place] = float(x); break;
        case 1: static_cast<double*>(to)[place] = x; break;
        case 2: write(static_cast<half_number*>(to)[place], float(x)); break;
        default: write(static_cast<brain_number*>(to)[place], float(x));
    }
}

// Σ_α x^α weighted_α at 32 points, for eight columns and the last one, which is that of the monomials alone.
struct Combination {
    Monomials of;
    Points points;
    const double* weighted;  // (batch·heads/group, padded, columns + 1)
    whole group, columns, tiles;
};

// What a block combines: the first of its eight columns, of its 32 points, its head, and the head of its weights.
struct Tile {
    whole first, start, number, source;
    __device__ __forceinline__ Tile(const Combination& a) {
        const whole groups = (a.columns + WIDE - 1) / WIDE;
        first = blockIdx.x % groups * WIDE, start = blockIdx.x / groups % a.tiles * ROWS;
        number = blockIdx.x / (groups * a.tiles), source = number / a.group;
    }
};

// Each of the four warps of a block has every fourth monomial, the highest degree first.  The first warp gets the sums,
// a point a thread, and true.
template <int parts>
__device__ __forceinline__ bool combined(const Combination& a, const Tile& tile, double (&sums)[WIDE + 1]) {
    double *const table = reinterpret_cast<double*>(shared_memory), *const weights = table + a.of.entries * APART;
    const int t = threadIdx.x, row = t % 32, warp = t / 32;
    lay(a.of, a.points, tile.number / a.points.heads, tile.number % a.points.heads, tile.start, a.points.rows);

    for (whole part = (a.of.padded - 1) / TILE; part >= 0; part--) {
        const whole base = part * TILE;
        __syncthreads();  // the part before has been read
        for (int n = t; n < TILE * (WIDE + 1); n += THREADS) {
            const int feature = n / (WIDE + 1), c = n % (WIDE + 1);
            const whole column = c == WIDE ? a.columns : tile.first + c;
            const bool real = base + feature < a.of.padded && (c == WIDE || column < a.columns);
            weights[feature * LINE + c] =
                real ? a.weighted[(tile.source * a.of.padded + base + feature) * (a.columns + 1) + column] : 0;
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
    __syncthreads();
#pragma unroll
    for (int c = 0; c <= WIDE; c++) weights[(warp * (WIDE + 1) + c) * ROWS + row] = sums[c];
    __syncthreads();
    if (warp > 0) return false;
#pragma unroll
    for (int c = 0; c <= WIDE; c++)
        for (int other = 1; other < 4; other++) sums[c] += weights[(other * (WIDE + 1) + c) * ROWS + row];
    return true;
}
static_assert(4 * (WIDE + 1) * ROWS >= TILE * LINE, "sums of warps take more memory than a part of the weights");

// The sums themselves.
struct Totals {
    Combination of;
    double* out;  // (batch·heads, rows, columns)
};
template <int parts>
__device__ __forceinline__ void totals(const Totals& a) {
    const Tile tile(a.of);
    double sums[WIDE + 1] = {};
    const bool first = combined<parts>(a.of, tile, sums);
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
    whole out_type;
};
template <int parts>
__device__ __forceinline__ void evaluate(const Evaluate& a) {
    const Tile tile(a.of);
    double sums[WIDE + 1] = {};
    if (!combined<parts>(a.of, tile, sums)) return;
    const whole row = tile.start + threadIdx.x % 32, rows = a.of.points.rows, columns = a.of.columns;
    const bool there = row < rows, empty = a.lengths && a.lengths[tile.number / a.of.points.heads] <= 0;
    double z = sums[WIDE], share = numbers<double>::infinity();
    const bool good = z > 0 && z < numbers<double>::infinity();
    if (there) share = good ? z : -numbers<double>::infinity();
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
    if (tile.first == 0 && threadIdx.x == 0) a.share[tile.number * a.of.tiles + tile.start / ROWS] = share;
}
KERNEL(features_evaluate_2, Evaluate, THREADS) { evaluate<2>(a); }
KERNEL(features_evaluate_4, Evaluate, THREADS) { evaluate<4>(a); }

// The bound of GPU-11 for every head of queries and column; infinite where its conditions do not hold.
//
// reach: bounds of the scores, of the norms of queries, and of what scores are off beside their roundings.
// radius: of the interval of the polynomial.  cut: what the polynomial errs, in units of the interval of the values.
// growth: Γ.  relative, absolute: of the rounding of the output.  most: the largest number of its type.
struct Certify {
    const double *reach, *share;                       // (heads of queries, 3), (heads of queries)
    const double *least, *largest, *middle, *grow;     // (heads of keys, columns), the third null for 0
    const whole* lengths;                              // (batch) or null
    double* out;                                       // (heads of queries, columns)
    whole per_batch, group, columns, count;            // per_batch: heads of queries; count: of all of them
    double radius, cut, growth, relative, absolute, most;
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
        const double shifted = 3 * U * reach * SLACK + 0x1p-500 + a.reach[3 * head + 2], cut = a.cut * spread;
        const double rounded = lost * (2 * half + cut) + 0x1p-299 / share * a.grow[of];
        bound = (shifted / 2 * spread + cut + rounded + 4 * U * half + 3 * U * (magnitude + half + cut + rounded) +
                 a.relative * magnitude + a.absolute) * SLACK + 0x1p-1070;
    }
    a.out[i] = bound;
}
