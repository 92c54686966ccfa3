// What norms and extremes say of the heads of attention of order k by polynomials: what they say of each mode is
// multiplied, one mode after the other.
#include "polynomial.cuh"

__device__ __forceinline__ double larger(double least, double largest) {
    return fabs(least) > fabs(largest) ? fabs(least) : fabs(largest);
}

// Keys of a mode are divided by a power of two above their largest number, and values of a column by one above theirs.
//
// known: the products, over the modes so far, of the largest coordinates; of these but for one mode, of which it is the
// largest norm, at best; and of the powers of two.  What is not finite, or far from 1, leaves no certificate: then the
// last is infinite, or an interval is NaN.
struct Mode {
    const double *key_least, *key_largest, *squares;  // (heads, dim), (heads, dim), (heads): of norms
    const double *least, *largest;                    // (heads, columns)
    double *shrink, *grow;                            // (heads), (heads, columns): of this mode alone
    double *most, *known;                             // (heads, dim), the largest coordinates; (heads, 3)
    double *hull_least, *hull_largest, *growth;       // (heads, columns): of products of values
    whole first, dim, columns, count;                 // count: of heads
};
KERNEL(polynomial_mode, Mode, THREADS) {
    const whole head = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (head >= a.count) return;
    const double inf = numbers<double>::infinity();
    const double *const low = a.key_least + head * a.dim, *const high = a.key_largest + head * a.dim;
    double *const most = a.most + head * a.dim, *const known = a.known + 3 * head;
    const bool finite = a.squares[head] < inf;
    double top = 0;
    for (whole c = 0; c < a.dim; c++) top = larger(low[c], high[c]) > top ? larger(low[c], high[c]) : top;
    int power = 0;
    if (finite) frexp(top, &power);
    const double shrink = ldexp(1.0, -power), norm = root(a.squares[head], a.dim) * shrink;
    a.shrink[head] = shrink, top *= shrink;
    for (whole c = 0; c < a.dim; c++) most[c] = (a.first ? 1 : most[c]) * (larger(low[c], high[c]) * shrink);
    const double tops = a.first ? 1 : known[0], best = a.first ? norm : known[1] * top;
    const double unit = (a.first ? 1 : known[2]) * ldexp(1.0, power);
    known[0] = tops * top, known[1] = tops * norm < best ? tops * norm : best;
    known[2] = finite && unit >= 0x1p-500 && unit <= 0x1p500 ? unit : inf;

    for (whole c = 0; c < a.columns; c++) {
        const whole at = head * a.columns + c;
        const double least = a.least[at], largest = a.largest[at], size = larger(least, largest);
        power = 0;
        if (size < inf) frexp(size, &power);
        power = power < -900 ? -900 : power > 1023 ? 1023 : power;
        a.grow[at] = ldexp(1.0, power);
        const double growth = (a.first ? 1 : a.growth[at]) * a.grow[at];
        a.growth[at] = growth;
        double from = least, to = largest, total = least + largest;
        if (!a.first) {  // the corners, rounded outwards
            const double corners[4] = {
                a.hull_least[at] * least, a.hull_least[at] * largest, a.hull_largest[at] * least,
                a.hull_largest[at] * largest};
            from = to = total = corners[0];
            for (int i = 1; i < 4; i++) {
                from = corners[i] < from ? corners[i] : from, to = corners[i] > to ? corners[i] : to;
                total += corners[i];
            }
            from -= fabs(from) * 0x1p-51 + 0x1p-1070, to += fabs(to) * 0x1p-51 + 0x1p-1070;
        }
        const bool usual = fabs(total) < inf && growth >= 0x1p-900 && growth <= 0x1p900;
        a.hull_least[at] = usual ? from : inf - inf, a.hull_largest[at] = usual ? to : inf - inf;
    }
}

// Queries are multiplied by the scale and by the powers of two of all modes.
struct Frame {
    const double *least, *largest, *squares;  // (heads of queries, dim), (heads of queries, dim), (heads of queries)
    const double *most, *known;               // of all modes: (heads of keys, dim), (heads of keys, 3)
    double *factor, *reach;                   // (heads of queries), (heads of queries, 3)
    whole count, group, dim;                  // count: of heads of queries
    double scale;
};
KERNEL(polynomial_frame, Frame, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.count) return;
    const whole source = i / a.group;
    const double norm = root(a.squares[i], a.dim), factor = a.scale * a.known[3 * source + 2];
    double sum = 0;
    for (whole c = 0; c < a.dim; c++)
        sum += larger(a.least[i * a.dim + c], a.largest[i * a.dim + c]) * a.most[source * a.dim + c];
    const double by_norm = norm * a.known[3 * source + 1], least = sum < by_norm ? sum : by_norm;
    const bool usual = factor == 0 || (fabs(factor) >= 0x1p-1000 && fabs(factor) < numbers<double>::infinity());
    a.factor[i] = factor;
    a.reach[3 * i] = usual && norm < numbers<double>::infinity() ? fabs(factor) * least * SLACK
                                                                 : numbers<double>::infinity();
    a.reach[3 * i + 1] = fabs(factor) * norm * SLACK, a.reach[3 * i + 2] = 0;
}
