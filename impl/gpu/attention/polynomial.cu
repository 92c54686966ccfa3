// What norms and extremes say of the heads of attention by polynomials, and the certificate of their rows.
#include "device.cuh"

constexpr int THREADS = 128;
constexpr double SLACK = 1 + 0x1p-30, U = 0x1p-53;

// From sums and extremes of keys and values: the centre of the keys, the interval of the values of every column, its
// middle, and the power of two above half of its length.  A head without keys has 0 everywhere, and 1 for that power.
struct Settle {
    const double *sums, *least, *largest;               // (heads, dim), (heads, columns), (heads, columns)
    const whole* lengths;                               // (batch) or null
    double *centre, *hull_least, *hull_largest, *middle, *grow;  // (heads, dim), and (heads, columns) four times
    whole per_batch, keys, dim, columns, count;         // count: of heads
};
KERNEL(polynomial_settle, Settle, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, width = a.dim > a.columns ? a.dim : a.columns;
    const whole head = i / width, c = i % width;
    if (head >= a.count) return;
    const whole length = a.lengths ? a.lengths[head / a.per_batch] : a.keys;
    if (c < a.dim) a.centre[head * a.dim + c] = length > 0 ? a.sums[head * a.dim + c] / double(length) : 0;
    if (c >= a.columns) return;
    const whole at = head * a.columns + c;
    const double least = length > 0 ? a.least[at] : 0, largest = length > 0 ? a.largest[at] : 0;
    const double middle = least / 2 + largest / 2;
    const double half = (largest - middle > middle - least ? largest - middle : middle - least) * (1 + 0x1p-50);
    int power = 0;
    if (half < numbers<double>::infinity()) frexp(half, &power);
    a.hull_least[at] = least, a.hull_largest[at] = largest, a.middle[at] = middle;
    a.grow[at] = ldexp(1.0, power < -1000 ? -1000 : power > 1023 ? 1023 : power);
}

// The coordinates of a head: keys are divided by a power of two above their largest norm, and queries multiplied by it
// and by the scale.  reach: a bound of the scores and one of the norms of the queries, in these coordinates.
struct Frame {
    const double *keys, *queries;      // (heads of keys), (heads of queries): the largest squares of norms
    double *shrink, *factor, *reach;   // (heads of keys), (heads of queries), (heads of queries, 2)
    whole count, group, dim;           // count: of heads of queries
    double scale;
};
// An upper bound of a norm whose square was computed with one rounding for every coordinate.
__device__ __forceinline__ double root(double square, whole dim) {
    return sqrt(square) * (1 + double(dim + 16) * 0x1p-52) + sqrt(double(dim)) * 0x1p-510;
}
KERNEL(polynomial_frame, Frame, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.count) return;
    const double key = root(a.keys[i / a.group], a.dim), query = root(a.queries[i], a.dim);
    int power = 0;
    if (key < numbers<double>::infinity()) frexp(key, &power);
    power = power < -1000 ? -1000 : power;
    const double shrink = ldexp(1.0, -power), factor = a.scale * ldexp(1.0, power);
    if (i % a.group == 0) a.shrink[i / a.group] = shrink;
    a.factor[i] = factor;
    a.reach[2 * i] = fabs(factor) * query * (key * shrink) * SLACK;
    a.reach[2 * i + 1] = fabs(factor) * query * SLACK;
}

// The bound of GPU-7 for every head of queries and column; infinite where its conditions do not hold.
//
// radius: of the interval of the polynomial.  cut: what the polynomial errs, in units of the interval of the values.
// growth: Γ.  relative, absolute: of the rounding of the output.
struct Certify {
    const double *reach, *share, *least, *largest, *grow;  // (heads of queries, 2), (…), (heads of keys, columns) thrice
    const whole* lengths;                                  // (batch) or null
    double* out;                                           // (heads of queries, columns)
    whole per_batch, group, columns, count;                // per_batch: heads of queries; count: of all of them
    double radius, cut, growth, relative, absolute;
};
KERNEL(polynomial_certify, Certify, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, head = i / a.columns;
    if (head >= a.count) return;
    if (a.lengths && a.lengths[head / a.per_batch] <= 0) {  // without a key rows are 0, exactly
        a.out[i] = 0;
        return;
    }
    const whole of = head / a.group * a.columns + i % a.columns;
    const double least = a.least[of], largest = a.largest[of], share = a.share[head], reach = a.reach[2 * head];
    const double magnitude = fabs(least) > fabs(largest) ? fabs(least) : fabs(largest);
    const double spread = (largest - least) * (1 + 0x1p-50), half = spread * (0.5 + 0x1p-49) + 0x1p-1070;
    const double lost = a.growth / share;
    double bound = numbers<double>::infinity();
    if (share > 0 && lost < 0.5 && reach <= a.radius && a.reach[2 * head + 1] <= 256 && spread < 0x1p1000) {
        const double shifted = 3 * U * reach * SLACK + 0x1p-500, cut = a.cut * spread;
        const double rounded = lost * (2 * half + cut) + 0x1p-299 / share * a.grow[of];
        bound = (shifted / 2 * spread + cut + rounded + 4 * U * half + 3 * U * (magnitude + half + cut + rounded) +
                 a.relative * magnitude + a.absolute) * SLACK + 0x1p-1070;
    }
    a.out[i] = bound;
}
