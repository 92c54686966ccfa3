// Attention with relative positions as products with Toeplitz matrices (ROPE-2): everything but the transforms.
//
// A unit is a head of keys of one batch, with the heads of queries that share its symbol: `members` of them.  A row of
// a transform has two columns of a unit as its parts: of the values, and the ones, which are the last column.
#include "complex.cuh"
#include "polynomial.cuh"
#include "view.cuh"

// Where units lie in the arrays.  Of batch b the units are those from b·per_batch on, `per_key` of them for a head of
// keys; their symbols are b·symbol_batch + (unit − b·per_batch)·symbol_unit.
struct Units {
    whole per_batch, per_key, members, symbol_batch, symbol_unit, columns, rows, queries, keys, bits;
};
__device__ __forceinline__ whole key_head(const Units& of, whole unit) { return unit / of.per_key; }
__device__ __forceinline__ whole symbol_of(const Units& of, whole unit) {
    return unit / of.per_batch * of.symbol_batch + unit % of.per_batch * of.symbol_unit;
}
__device__ __forceinline__ whole length_of(const Units& of, const whole* lengths, whole unit) {
    return lengths ? lengths[unit / of.per_batch] : of.keys;
}

// The largest number that a thread of the block has; every thread is told.  NaN is no number here.
__device__ __forceinline__ double largest_of(double x) {
    double* const found = reinterpret_cast<double*>(shared_memory);
    const int t = threadIdx.x;
    __syncthreads();
    found[t] = x;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half && found[t + half] > found[t]) found[t] = found[t + half];
    }
    __syncthreads();
    return found[0];
}
// The sum over the threads of a block, in a tree.
__device__ __forceinline__ double sum_of(double x) {
    double* const found = reinterpret_cast<double*>(shared_memory);
    const int t = threadIdx.x;
    __syncthreads();
    found[t] = x;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) found[t] += found[t + half];
    }
    __syncthreads();
    return found[0];
}
__device__ __forceinline__ double larger(double x, double y) { return x > y ? x : y; }

// The weight e^(bias − its maximum) of every offset, 0 where the mask or the bias hides, and where a key is seen.
//
// Offset t stands for i − j = t − (keys − 1).  A block has a symbol.  error: by which factor weights may be off, NaN
// where a bias is not a number.
struct Weight {
    View bias;               // (1, 1, heads, offsets), or absent
    const whole* lengths;    // (batch), or null where symbols do not depend on them
    double *weight, *error, *largest;  // (batch, heads, offsets), (batch, heads) twice: the largest bias that is seen
    whole* seen;             // (batch, heads, offsets)
    whole type, heads, queries, keys, left, right, from_end;
};
KERNEL(rope_weight, Weight, THREADS) {
    const whole offsets = a.queries + a.keys - 1, head = blockIdx.x % a.heads, t = threadIdx.x;
    const whole length = a.lengths ? a.lengths[blockIdx.x / a.heads] : a.keys;
    const whole moved = a.from_end ? length - a.queries : 0;
    const double infinity = numbers<double>::infinity();
    double largest = -infinity, below = -infinity, fault = 0;
    for (whole n = t; n < offsets; n += THREADS) {
        const whole apart = n - (a.keys - 1);
        bool shown = n >= a.keys - length && apart <= a.left - moved && apart >= -a.right - moved;
        double bias = 0;
        if (a.bias.data && shown) {
            bias = any<double>(a.bias, a.type, 0, 0, head, n);
            shown = bias != -infinity;
            if (shown) fault += bias - bias;  // 0, or NaN
        }
        if (shown) largest = larger(bias, largest), below = larger(-bias, below);
        a.seen[blockIdx.x * offsets + n] = shown;
        a.weight[blockIdx.x * offsets + n] = bias;
    }
    largest = largest_of(largest), below = largest_of(below), fault = sum_of(fault);
    for (whole n = t; n < offsets; n += THREADS) {
        const whole at = blockIdx.x * offsets + n;
        a.weight[at] = a.seen[at] ? exponential(a.weight[at] - largest) : 0;
    }
    if (t > 0) return;
    const double furthest = largest + below < 746 ? largest + below : 746;
    a.largest[blockIdx.x] = largest;
    a.error[blockIdx.x] = (a.bias.data && largest > -infinity ? (8 + 1.01 * furthest) * U * SLACK : 0) + fault;
}

// The sums of |W| in a row and in a column of the matrix of an offset, the largest ones.
struct Norms {
    View relative;  // (1, 1, places, offsets)
    const whole* support;  // (places, 2)
    double* out;  // (offsets, 2)
    whole type, places, dim, offsets;
};
KERNEL(rope_norms, Norms, THREADS) {
    const whole n = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (n >= a.offsets) return;
    for (int side = 0; side < 2; side++) {
        double found = 0;
        for (whole place = 0; place < a.dim; place++) {
            double sum = 0;
            for (whole e = 0; e < a.places; e++)
                if (a.support[2 * e + side] == place) sum += fabs(any<double>(a.relative, a.type, 0, 0, e, n));
            found = larger(sum, found);
        }
        a.out[2 * n + side] = found;
    }
}

// A power of two above a size, and 1 for 0.
__device__ __forceinline__ double above(double size) {
    int power = 0;
    if (size < numbers<double>::infinity()) frexp(size, &power);
    return ldexp(1.0, power < -1000 ? -1000 : power > 1023 ? 1023 : power);
}

// From extremes and norms: powers of two that keys and W are divided by, the factor of the queries, and bounds.
//
// sizes: of the numbers of a scaled query.  reach: of the scores; of the numbers of scaled queries; and by what scores
// of rotated vectors may be off (ROPE-3).  What is outside of the domain has a reach that is not finite.
struct Frame {
    Units of;
    const double *key_least, *key_largest, *key_squares;  // (heads of keys, dim) twice, (heads of keys)
    const double *query_least, *query_largest, *query_squares;  // as many of queries
    const double *relative_least, *relative_largest, *norms;  // (places) twice, (2): of sums of |W|; or null
    const whole *support, *lengths;  // (places, 2), (batch) or null
    double *shrink, *unit, *factor, *sizes, *reach;  // (heads of keys), (1), (heads), (heads, dim), (heads, 3)
    whole places, dim, rotated, count;  // count: of heads of queries
    double scale;
};
KERNEL(rope_frame, Frame, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.count) return;
    const whole of_key = key_head(a.of, i / a.of.members);
    const bool some = length_of(a.of, a.lengths, i / a.of.members) > 0;
    double key = 0, relative = 0, wrong = 0;
    for (whole c = 0; c < a.dim && some; c++) {
        const double least = a.key_least[of_key * a.dim + c], largest = a.key_largest[of_key * a.dim + c];
        key = larger(larger(-least, largest), key), wrong += least - least;
    }
    for (whole e = 0; e < a.places && a.norms; e++) {
        const double least = a.relative_least[e], largest = a.relative_largest[e];
        relative = larger(larger(-least, largest), relative), wrong += least - least;
    }
    const double of_keys = above(key), of_relative = a.norms ? above(relative) : 1;
    const double factor = a.scale * (of_keys * of_relative), size = fabs(factor);
    if (!(key < 0x1p1000 && relative < 0x1p1000 && (a.scale == 0 || size >= 0x1p-1022)))
        wrong = numbers<double>::infinity();
    if (i % (a.of.members * a.of.per_key) == 0) a.shrink[of_key] = 1 / of_keys;
    a.factor[i] = factor;
    if (i == 0) a.unit[0] = 1 / of_relative;

    double* const sizes = a.sizes + i * a.dim;
    double widest = 0;
    for (whole c = 0; c < a.dim; c++) {
        const double least = a.query_least[i * a.dim + c], largest = a.query_largest[i * a.dim + c];
        sizes[c] = size * larger(larger(-least, largest), 0) * SLACK, wrong += least - least;
        widest = larger(sizes[c], widest);
    }
    // Σ_e |z||ω||x| by the entries, and by norms
    double entries = 0;
    for (whole e = 0; e < a.places && some; e++) {
        const whole row = a.support[2 * e], column = of_key * a.dim + a.support[2 * e + 1];
        const double coordinate = larger(larger(-a.key_least[column], a.key_largest[column]), 0) / of_keys;
        const double w = a.norms ? larger(larger(-a.relative_least[e], a.relative_largest[e]), 0) / of_relative : 1;
        entries += sizes[row] * w * coordinate;
    }
    const double length = root(a.key_squares[of_key], a.dim), reached = size * root(a.query_squares[i], a.dim);
    double norms = reached * (length / of_keys);
    if (a.norms) norms *= sqrt(a.norms[0] / of_relative) * sqrt(a.norms[1] / of_relative) * (1 + double(a.places) * U);
    a.reach[3 * i] = (norms < entries ? norms : entries) * SLACK + wrong;
    a.reach[3 * i + 1] = widest;
    a.reach[3 * i + 2] = 0x1p-500;
    if (!a.rotated) return;
    const double query = root(a.query_squares[i], a.dim), scale = fabs(a.scale);
    const double vanished = 0x1p-1072 * sqrt(double(a.dim)) * scale * (query + length) + 0x1p-500;
    a.reach[3 * i + 2] = (31 * U * scale * query * length + vanished) * SLACK;
}

// A symbol: a sum of monomials of W, each with its multinomial coefficient, times the weights; and sums of its squares.
struct Symbol {
    View relative;           // (1, 1, places, offsets), or absent: 1
    const whole* monomials;  // (terms, degree): places
    const double *ways, *unit, *weight;  // (terms), (1): 1 over a power of two above W, (symbols, offsets)
    complex_number* out;     // (symbols, 2^bits)
    double* squares;         // (symbols, slices)
    whole type, terms, degree, offsets, bits, slices;
};
KERNEL(rope_symbol, Symbol, THREADS) {
    const whole symbol = blockIdx.x / a.slices, slice = blockIdx.x % a.slices, n = slice * THREADS + threadIdx.x;
    double total = 0;
    if (n < a.offsets) {
        total = 1;
        if (a.relative.data) {
            total = 0;
            for (whole term = 0; term < a.terms; term++) {
                double product = 1;
                for (whole k = 0; k < a.degree; k++) {
                    const double w =
                        any<double>(a.relative, a.type, 0, 0, a.monomials[term * a.degree + k], n) * a.unit[0];
                    product = k > 0 ? product * w : w;
                }
                total += a.ways[term] * product;
            }
        }
        total *= a.weight[symbol * a.offsets + n];
    }
    if (n < whole(1) << a.bits) a.out[(symbol << a.bits) + n] = {total, 0};
    const double sum = sum_of(total * total);
    if (threadIdx.x == 0) a.squares[blockIdx.x] = sum;
}

// The largest |ĥ|² of 128 numbers of a spectrum.
struct Largest {
    const complex_number* spectra;  // (symbols, 2^bits)
    double* out;                    // (symbols, slices)
    whole bits, slices;
};
KERNEL(rope_largest, Largest, THREADS) {
    const whole symbol = blockIdx.x / a.slices, n = blockIdx.x % a.slices * THREADS + threadIdx.x;
    double square = 0;
    if (n < whole(1) << a.bits) {
        const complex_number x = a.spectra[(symbol << a.bits) + n];
        square = x.real * x.real + x.imaginary * x.imaginary;
    }
    const double found = largest_of(square);
    if (threadIdx.x == 0) a.out[blockIdx.x] = found;
}

// Rows for the transforms: two columns y = (value − middle)/grow of a unit, or ones, times a monomial of its keys.
struct Columns {
    Units of;
    View keys, values;                // (batch, heads, keys, dim), (batch, heads, keys, columns)
    const double *shrink, *middle, *grow;  // (heads of keys), (heads of keys, columns) twice
    const whole *lengths, *monomial;  // (batch) or null, (degree)
    complex_number* out;              // (count, 2^bits)
    double* squares;                  // (count, slices)
    whole key_type, value_type, key_heads, degree, first, slices;  // first: of all rows, that is the first here
};
KERNEL(rope_columns, Columns, THREADS) {
    const whole here = blockIdx.x / a.slices, n = blockIdx.x % a.slices * THREADS + threadIdx.x;
    const whole row = a.first + here, unit = row / a.of.rows, column = row % a.of.rows * 2;
    const whole number = key_head(a.of, unit), batch = number / a.key_heads, head = number % a.key_heads;
    double part[2] = {};
    if (n < length_of(a.of, a.lengths, unit)) {
        double product = 1;
        for (whole k = 0; k < a.degree; k++) {
            const double x = any<double>(a.keys, a.key_type, batch, head, n, a.monomial[k]) * a.shrink[number];
            product = k > 0 ? product * x : x;
        }
        for (int side = 0; side < 2; side++) {
            const whole c = column + side, at = number * a.of.columns + c;
            if (c > a.of.columns) continue;
            part[side] = product;
            if (c < a.of.columns)
                part[side] *= (any<double>(a.values, a.value_type, batch, head, n, c) - a.middle[at]) / a.grow[at];
        }
    }
    if (n < whole(1) << a.of.bits) a.out[(here << a.of.bits) + n] = {part[0], part[1]};
    const double sum = sum_of(part[0] * part[0] + part[1] * part[1]);
    if (threadIdx.x == 0) a.squares[blockIdx.x] = sum;
}

// Spectra of rows times those of their symbols: the first of a sum, or added to it.  And what this product may lose.
//
// e: of the transforms (GPU-14).  rounded: 2e and what products and sums lose.
struct Multiply {
    Units of;
    const complex_number *symbols, *columns;           // (symbols, 2^bits), (count, 2^bits)
    const double *largest, *symbol_squares, *squares;  // (symbols) twice, (count)
    complex_number* out;                               // (count, 2^bits)
    double* lost;                                      // (count)
    whole first, count, added;
    double e, rounded;
};
KERNEL(rope_multiply, Multiply, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, here = i >> a.of.bits;
    if (here >= a.count) return;
    const whole n = i & ((whole(1) << a.of.bits) - 1), symbol = symbol_of(a.of, (a.first + here) / a.of.rows);
    const complex_number product = a.symbols[(symbol << a.of.bits) + n] * a.columns[i];
    a.out[i] = a.added ? a.out[i] + product : product;
    if (n > 0) return;
    const double norm = root(a.squares[here], 2 * a.of.keys);
    const double of_symbol = root(a.symbol_squares[symbol], a.of.queries + a.of.keys);
    const double lost = (a.rounded * root(a.largest[symbol], 2) + a.e * of_symbol * sqrt(double(a.of.keys))) * norm *
                        (1 + 4 * a.e) * SLACK;
    a.lost[here] = a.added ? a.lost[here] + lost : lost;
}

// Rows of products times a monomial of the queries and a coefficient, added to the sums of every head of queries.
//
// Sums: N of every column, and Z, of the column of ones; all, of degree 0: Σ_j e^bias.  So it is with what they lost.
struct Add {
    Units of;
    View queries;                          // (batch, heads, queries, dim)
    const complex_number* products;        // (count, 2^bits), which are 2^bits too large
    const double *lost, *factor, *sizes;   // (count), (heads), (heads, dim)
    const whole* monomial;                 // (degree)
    double *sums, *all;                    // (heads, columns + 1, queries), (heads, queries)
    double *sums_lost, *all_lost;          // (heads, columns + 1), (heads)
    whole type, heads, dim, degree, first, count, added;
    double ways, coefficient;
};
KERNEL(rope_add, Add, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, query = i % a.of.queries;
    const whole member = i / a.of.queries % a.of.members, here = i / (a.of.queries * a.of.members);
    if (here >= a.count) return;
    const whole row = a.first + here, number = row / a.of.rows * a.of.members + member;
    double power = 1, size = 1;
    for (whole k = 0; k < a.degree; k++) {
        const whole c = a.monomial[k];
        const double z =
            a.factor[number] * any<double>(a.queries, a.type, number / a.heads, number % a.heads, query, c);
        power = k > 0 ? power * z : z, size *= a.sizes[number * a.dim + c];
    }
    power = a.coefficient * (a.ways * power);
    const double lost = fabs(a.coefficient) * a.ways * size * a.lost[here] * SLACK;
    complex_number product = a.products[(here << a.of.bits) + query + a.of.keys - 1];
    const double back = ldexp(1.0, -int(a.of.bits));
    product = {product.real * back, product.imaginary * back};
    for (int side = 0; side < 2; side++) {
        const whole c = row % a.of.rows * 2 + side, column = number * (a.of.columns + 1) + c;
        if (c > a.of.columns) continue;
        const double x = side == 0 ? product.real : product.imaginary;
        double& sum = a.sums[column * a.of.queries + query];
        sum = a.added ? fma(power, x, sum) : power * x;
        if (query == 0) a.sums_lost[column] = (a.added ? a.sums_lost[column] : 0) + lost;
        if (a.degree > 0 || c < a.of.columns) continue;
        a.all[number * a.of.queries + query] = x;
        if (query == 0) a.all_lost[number] = a.lost[here];
    }
}

// The rows middle + grow·N/Z, within the interval of the values, and their bounds (ROPE-6), in place of the sums: of
// every column, and in place of Z the largest of them.
//
// rate: γ of degree 0.  absolute_growth: Σ|c_m|R^m, and growth: with γ_(K_m).  vanished: what underflow may lose.
struct Certify {
    Units of;
    double* sums;                                      // as of Add
    const double *all, *sums_lost, *all_lost, *reach;  // as of Add and Frame
    const double *least, *largest, *middle, *grow, *weight_error;  // (heads of keys, columns) four times, (symbols)
    const whole *seen, *lengths;  // (symbols, offsets): of offsets up to one, how many are seen; (batch) or null
    void* out;                    // (heads, queries, columns), contiguous
    whole type, count;            // count: of rows
    double radius, cut, growth, absolute_growth, rate, vanished, relative, absolute, most;
};
KERNEL(rope_certify, Certify, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, query = i % a.of.queries, number = i / a.of.queries;
    if (i >= a.count) return;
    const whole unit = number / a.of.members, symbol = symbol_of(a.of, unit), of_key = key_head(a.of, unit);
    const whole length = length_of(a.of, a.lengths, unit), last = query + a.of.keys - 1, before = last - length;
    const whole* const seen = a.seen + symbol * (a.of.queries + a.of.keys - 1);
    const bool some = length > 0 && seen[last] > (before >= 0 ? seen[before] : 0);
    const double infinity = numbers<double>::infinity();
    double* const sums = a.sums + number * (a.of.columns + 1) * a.of.queries + query;
    const double *const lost = a.sums_lost + number * (a.of.columns + 1), *const reach = a.reach + 3 * number;
    const double weight = sums[a.of.columns * a.of.queries];
    const double rate = a.rate + a.weight_error[symbol], growth = a.growth + a.weight_error[symbol] * a.absolute_growth;
    const double total = (fabs(a.all[i]) + a.all_lost[number] + a.vanished) * (1 + 2 * rate) * SLACK;  // ≥ Σ_j e^bias
    const double relative = growth * SLACK * total, off_weight = relative + lost[a.of.columns] + a.vanished;
    const bool inside = weight > 0 && reach[0] <= a.radius && reach[1] <= 256 && rate < 0.125;
    double worst = 0;
    for (whole c = 0; c < a.of.columns; c++) {
        const whole at = of_key * a.of.columns + c;
        const double least = a.least[at], largest = a.largest[at], grow = a.grow[at], middle = a.middle[at];
        double x = middle + grow * (sums[c * a.of.queries] / weight), bound = 0;
        x = x > least ? x < largest ? x : largest : least;
        put(a.out, a.type, i * a.of.columns + c, some ? x : 0);
        if (some) {
            const double spread = (largest - least) * (1 + 0x1p-50), half = farthest(least, largest, middle);
            const double magnitude = larger(fabs(least), fabs(largest)), cut = a.cut * spread;
            const double off = relative * (half / grow) + lost[c] + a.vanished;
            const double rounded = (off * grow + (half + cut) * off_weight) / weight;
            bound = reach[2] / 2 * spread + cut + rounded + 4 * U * half + 3 * U * (magnitude + half + cut + rounded);
            bound = (bound + a.relative * magnitude + a.absolute) * SLACK + 0x1p-1070;
            if (!(inside && bound < infinity && spread < 0x1p1000 && magnitude <= a.most)) bound = infinity;
        }
        sums[c * a.of.queries] = bound, worst = larger(bound, worst);
    }
    sums[a.of.columns * a.of.queries] = worst;
}

// Rows whose bound is larger than what was asked, from their scores, where a head has few of them; and their bounds.
//
// A block has a row.  Threads have every 128th key; they add weights and products with eight columns of the values.
struct Apart {
    Units of;
    View query, key, value, relative, bias;  // as of Add, Columns, Symbol and Weight
    const double *shrink, *unit, *factor, *reach, *least, *largest, *middle, *grow, *largest_bias, *weight_error;
    const whole *support, *seen, *lengths, *rows;  // rows (heads): how many have such a bound
    double* bounds;                                // (heads, columns + 1, queries), the largest last
    void* out;                                     // (heads, queries, columns)
    whole query_type, key_type, value_type, relative_type, bias_type, type, heads, key_heads, places, few;
    double asked, relative_unit, absolute, most;
};

// The score of a row and a key, with its bias less the largest one; −∞ for one that is hidden.
__device__ __forceinline__ double scored(const Apart& a, whole number, whole query, whole j, double& bias) {
    const whole unit = number / a.of.members, symbol = symbol_of(a.of, unit), of_key = key_head(a.of, unit);
    const whole n = query - j + a.of.keys - 1;
    const whole* const seen = a.seen + symbol * (a.of.queries + a.of.keys - 1);
    bias = 0;
    if (seen[n] == (n > 0 ? seen[n - 1] : 0)) return -numbers<double>::infinity();
    double score = 0;
    for (whole e = 0; e < a.places; e++) {
        const double z = a.factor[number] * any<double>(
            a.query, a.query_type, number / a.heads, number % a.heads, query, a.support[2 * e]);
        const double x = a.shrink[of_key] * any<double>(
            a.key, a.key_type, of_key / a.key_heads, of_key % a.key_heads, j, a.support[2 * e + 1]);
        const double w = a.relative.data ? any<double>(a.relative, a.relative_type, 0, 0, e, n) * a.unit[0] : 1;
        score = fma(z * w, x, score);
    }
    if (!a.bias.data) return score;
    const whole head = a.of.symbol_unit ? unit % a.of.per_batch : 0;
    bias = any<double>(a.bias, a.bias_type, 0, 0, head, n) - a.largest_bias[symbol];
    return score + bias;
}

KERNEL(rope_apart, Apart, THREADS) {
    constexpr int WIDE = 8;
    const whole number = blockIdx.x / a.of.queries, query = blockIdx.x % a.of.queries, t = threadIdx.x;
    const whole unit = number / a.of.members, of_key = key_head(a.of, unit);
    double* const bounds = a.bounds + number * (a.of.columns + 1) * a.of.queries + query;
    if (a.rows[number] > a.few || !(bounds[a.of.columns * a.of.queries] > a.asked)) return;
    const whole length = length_of(a.of, a.lengths, unit);
    const double infinity = numbers<double>::infinity();
    double top = -infinity, bias, furthest = 0, weight = 0;
    for (whole j = t; j < length; j += THREADS) top = larger(scored(a, number, query, j, bias), top);
    top = largest_of(top);
    for (whole first = 0; first < a.of.columns; first += WIDE) {
        double sums[WIDE] = {};
        weight = 0;
        for (whole j = t; j < length; j += THREADS) {
            const double p = exponential(scored(a, number, query, j, bias) - top);
            if (p > 0) furthest = larger(fabs(bias), furthest);
            weight += p;
            for (int c = 0; c < WIDE && first + c < a.of.columns && p > 0; c++) {
                const whole at = of_key * a.of.columns + first + c;
                const double v = any<double>(
                    a.value, a.value_type, of_key / a.key_heads, of_key % a.key_heads, j, first + c);
                sums[c] = fma(p, (v - a.middle[at]) / a.grow[at], sums[c]);
            }
        }
        weight = sum_of(weight);
        if (first == 0) furthest = largest_of(furthest);
        const double* const reach = a.reach + 3 * number;
        const double off = ((double(a.places) + 9) * reach[0] + 2 * furthest + 720) * U + reach[2];
        const double lost = (double(length) / THREADS + 16) * U * 1.01;
        const bool inside = weight >= 1 && weight < infinity && reach[0] < 0x1p40 && reach[1] <= 256 &&
                            a.weight_error[symbol_of(a.of, unit)] < 0.125;
        for (int c = 0; c < WIDE && first + c < a.of.columns; c++) {
            const double sum = sum_of(sums[c]);
            const whole at = of_key * a.of.columns + first + c;
            const double least = a.least[at], largest = a.largest[at], middle = a.middle[at];
            double x = middle + a.grow[at] * (sum / weight);
            x = x > least ? x < largest ? x : largest : least;
            const double spread = (largest - least) * (1 + 0x1p-50), half = farthest(least, largest, middle);
            const double magnitude = larger(fabs(least), fabs(largest)), rounded = 2 * lost * half;
            double bound = (off / 2 * spread + rounded + 4 * U * half + 3 * U * (magnitude + half + rounded) +
                            a.relative_unit * magnitude + a.absolute) * SLACK + 0x1p-1070;
            if (!(inside && off < 1 && bound < infinity && spread < 0x1p1000 && magnitude <= a.most)) bound = infinity;
            if (t > 0) continue;
            put(a.out, a.type, (number * a.of.queries + query) * a.of.columns + first + c, x);
            bounds[(first + c) * a.of.queries] = bound;
        }
    }
}
