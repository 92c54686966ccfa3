// What norms and extremes say of the heads of attention by polynomials.
#include "polynomial.cuh"

// From sums and extremes of keys and values: the centre of the keys, the interval of the values of every column, its
// middle, and the power of two above half of its length, at least 2^-1000.  A head without keys has 0 in place of all
// else.
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
    const double middle = least / 2 + largest / 2, half = farthest(least, largest, middle);
    int power = half > 0 ? 0 : -1000;  // what underflow may lose is in units of the power
    if (half > 0 && half < numbers<double>::infinity()) frexp(half, &power);
    a.hull_least[at] = least, a.hull_largest[at] = largest, a.middle[at] = middle;
    a.grow[at] = ldexp(1.0, power < -1000 ? -1000 : power > 1023 ? 1023 : power);
}

// The coordinates of a head: keys are divided by a power of two above their largest norm, and queries multiplied by it
// and by the scale.  reach: a bound of the scores and one of the norms of the queries, in these coordinates; and by
// what scores of rotated vectors may be off (ROPE-3), which are told by `turned`.
struct Frame {
    const double *keys, *queries;      // (heads of keys), (heads of queries): the largest squares of norms
    const double* turned;              // (heads of keys): of keys that are rotated and not centred; or null
    double *shrink, *factor, *reach;   // (heads of keys), (heads of queries), (heads of queries, 3)
    whole count, group, dim;           // count: of heads of queries
    double scale;
};
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
    a.reach[3 * i] = fabs(factor) * query * (key * shrink) * SLACK;
    a.reach[3 * i + 1] = fabs(factor) * query * SLACK;
    a.reach[3 * i + 2] = 0;
    if (!a.turned) return;
    const double turned = root(a.turned[i / a.group], a.dim), size = fabs(a.scale);
    a.reach[3 * i + 2] =
        (31 * U * size * query * turned + 0x1p-1072 * sqrt(double(a.dim)) * size * (query + turned) + 0x1p-500) * SLACK;
}
