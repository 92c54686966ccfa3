// Complex Fourier transforms in float64, of rows whose length is a power of two (Stockham): one launch for each stage.
//
// A stage joins four transforms of `span` numbers to one of 4·span, or two to one of 2·span; what it reads and writes
// lies in different arrays, so that numbers end up in order without a permutation.  A thread has one butterfly.
// Threads next to each other read numbers next to each other, and write runs of `span` numbers.
#include "complex.cuh"
#include "polynomial.cuh"

// All lengths are powers of two: `bits` is log₂ of the length of a row, `done` that of the transforms that are there.
struct Stage {
    const complex_number* from;   // (rows, 2^bits)
    const complex_number* turns;  // (2^bits): e^(−2πik/2^bits)
    complex_number* to;           // (rows, 2^bits)
    whole bits, done, count;      // count: of all butterflies
    double sign;                  // 1, or −1 for the transform back
};

template <int radix_bits>
__device__ __forceinline__ void stage(const Stage& a) {
    constexpr int radix = 1 << radix_bits;
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.count) return;
    const whole apart = a.bits - radix_bits, row = i >> apart << a.bits, j = i & ((whole(1) << apart) - 1);
    const whole k = j & ((whole(1) << a.done) - 1), first = row + (j >> a.done << (a.done + radix_bits)) + k;
    complex_number x[radix];
#pragma unroll
    for (int r = 0; r < radix; r++) {
        x[r] = a.from[row + j + (whole(r) << apart)];
        if (r == 0 || a.done == 0) continue;
        const complex_number turn = a.turns[r * k << (apart - a.done)];
        x[r] = complex_number{turn.real, a.sign * turn.imaginary} * x[r];
    }
    if constexpr (radix == 2) {
        const complex_number sum = x[0] + x[1], difference = x[0] - x[1];
        x[0] = sum, x[1] = difference;
    } else {
        const complex_number even = x[0] + x[2], odd = x[1] + x[3], apart_even = x[0] - x[2];
        const complex_number apart_odd = quarter_turn(x[1] - x[3], a.sign);
        x[0] = even + odd, x[1] = apart_even + apart_odd, x[2] = even - odd, x[3] = apart_even - apart_odd;
    }
#pragma unroll
    for (int r = 0; r < radix; r++) a.to[first + (whole(r) << a.done)] = x[r];
}
KERNEL(fourier_2, Stage, THREADS) { stage<1>(a); }
KERNEL(fourier_4, Stage, THREADS) { stage<2>(a); }
