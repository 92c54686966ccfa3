// The rotary embedding with exact angles (ROT-8): a frequency is kept in turns, as a fraction of 2^64 and a rest.
//
// A thread has a token and a pair of columns, whose angle it evaluates once for all heads of queries and of keys.
// Neighbours have neighbouring pairs.
#include "view.cuh"

struct Arguments {
    View query, key;              // (batch, heads, length, columns); no key: no heads of it
    void *query_out, *key_out;    // contiguous
    const whole* positions;       // or null: 0 … length − 1
    whole batch_step, step;       // of the positions, in elements
    const unsigned long long* turns;  // (pairs): of a position, in 2^-64
    const double* rest;               // (pairs): of the last of these
    double magnitude;
    whole batches, heads, key_heads, length, columns, pairs, halves;
};

constexpr int THREADS = 256;

// Cosine and sine of an angle in 2^-64 turns.
__device__ __forceinline__ void turned(unsigned long long turn, double& cosine, double& sine) {
    constexpr double of_sine[8] = {-1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880,
                                   -1.0 / 5040, 1.0 / 120, -1.0 / 6, 1.0};
    constexpr double of_cosine[9] = {1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
                                     1.0 / 40320, -1.0 / 720, 1.0 / 24, -1.0 / 2, 1.0};
    const unsigned long long quarter = (turn + (1ull << 61)) >> 62;  // the nearest: at most an eighth of a turn is left
    const double angle = double(whole(turn - (quarter << 62))) * 0x1.921fb54442d18p-62;  // 2π·2^-64
    const double square = angle * angle;
    double s = of_sine[0], c = of_cosine[0];
#pragma unroll
    for (int k = 1; k < 8; k++) s = s * square + of_sine[k];
#pragma unroll
    for (int k = 1; k < 9; k++) c = c * square + of_cosine[k];
    s *= angle;
    const bool odd = quarter & 1;
    cosine = odd ? s : c, sine = odd ? c : s;
    if (quarter == 1 || quarter == 2) cosine = -cosine;
    if (quarter >= 2) sine = -sine;
}

// Columns `one` and `two` of a token in every head of an array, rotated or copied.
template <bool rotate, class Stored, class Work>
__device__ __forceinline__ void heads_of(
    const View& x, void* out, whole heads, const Arguments& a, whole batch, whole i, whole one, whole two, Work cosine,
    Work sine) {
    for (whole head = 0; head < heads; head++) {
        Stored* const row = static_cast<Stored*>(out) + ((batch * heads + head) * a.length + i) * a.columns;
        if (rotate) {
            const Work first = at<Stored>(x, batch, head, i, one), second = at<Stored>(x, batch, head, i, two);
            write(row[one], cosine * first - sine * second);
            write(row[two], sine * first + cosine * second);
        } else
            for (whole column = one; column <= two && column < a.columns; column++)
                write(row[column], at<Stored>(x, batch, head, i, column));
    }
}

template <class Stored, class Work>
__device__ __forceinline__ void embed(const Arguments& a) {
    const whole slots = (a.columns + 1) / 2, number = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (number >= a.batches * a.length * slots) return;
    const whole pair = number % slots, i = number / slots % a.length, batch = number / (slots * a.length);
    if (pair >= a.pairs) {  // columns that stay as they are
        heads_of<false, Stored>(a.query, a.query_out, a.heads, a, batch, i, 2 * pair, 2 * pair + 1, Work(1), Work(0));
        heads_of<false, Stored>(a.key, a.key_out, a.key_heads, a, batch, i, 2 * pair, 2 * pair + 1, Work(1), Work(0));
        return;
    }
    const whole position = a.positions ? a.positions[batch * a.batch_step + i * a.step] : i;
    const unsigned long long size = position < 0 ? -position : position;
    double cosine, sine;
    turned(size * a.turns[pair] + static_cast<unsigned long long>(double(size) * a.rest[pair]), cosine, sine);
    const Work c = Work(a.magnitude * cosine), s = Work(a.magnitude * (position < 0 ? -sine : sine));
    const whole one = a.halves ? pair : 2 * pair, two = a.halves ? pair + a.pairs : 2 * pair + 1;
    heads_of<true, Stored>(a.query, a.query_out, a.heads, a, batch, i, one, two, c, s);
    heads_of<true, Stored>(a.key, a.key_out, a.key_heads, a, batch, i, one, two, c, s);
}

KERNEL(rope_float32, Arguments, THREADS) { embed<float, float>(a); }
KERNEL(rope_float64, Arguments, THREADS) { embed<double, double>(a); }
KERNEL(rope_float16, Arguments, THREADS) { embed<half_number, float>(a); }
KERNEL(rope_bfloat16, Arguments, THREADS) { embed<brain_number, float>(a); }
