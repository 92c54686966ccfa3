// A tile of 64 rows against 64 others on tensor cores, in a block of four warps: what kernels with such tiles share.
//
// A warp has 16 rows of a tile.  Their products with the 64 other rows, and the sums that these weigh, stay in
// registers: those of a lane are in the rows g and g + 8 of tensor_core.cuh, so that a row lies in four lanes side by
// side.  float16 and bfloat16 are multiplied as they are (GPU-10).  float32 numbers are two of 11 bits each, of which
// three products are taken; the large ones are added up outside of the unit, whose sums are cut (GPU-15).
#pragma once
#include "attention/tile.cuh"
#include "tensor_core.cuh"

constexpr int WARPS = 4, LANES = 32 * WARPS, DEEP = 128;  // DEEP: columns of a factor in shared memory at once
constexpr int FEW = 24;  // columns below which float32 factors are multiplied by fma
static_assert(COLUMNS <= DEEP && ROWS == 16 * WARPS, "values lie in such lines too, and a warp has 16 queries");

// What a type needs.  Cell: what lies in shared memory, in lines of so many that no two rows meet in a bank.  Weights
// are multiplied by `unit`, a power of two, before they are rounded: so none above 2^-29 is subnormal in float16.
// split: subnormal values are multiplied apart (GPU-10 says why).  values_apart: values do not lie where keys lay.
template <class Stored>
struct tiled {
    typedef unsigned short Cell;
    static constexpr int line = DEEP + 8;
    static constexpr float unit = 1, lift = 1;
    static constexpr bool split = false, values_apart = true;
};
template <>
struct tiled<half_number> : tiled<brain_number> {
    static constexpr float unit = 32768, lift = 16384;
    static constexpr bool split = true;
};
template <>
struct tiled<float> {
    typedef float Cell;
    static constexpr int line = DEEP + 4;
    static constexpr float unit = 1, lift = 1;
    static constexpr bool split = false, values_apart = false;
};
template <class Stored>
using Cell = typename tiled<Stored>::Cell;

__device__ __forceinline__ unsigned short cell(half_number x) { return x.bits; }
__device__ __forceinline__ unsigned short cell(brain_number x) { return x.bits; }
__device__ __forceinline__ float cell(float x) { return x; }
__device__ __forceinline__ float number(half_number, unsigned short x) { return half_as_float(x); }
__device__ __forceinline__ float number(brain_number, unsigned short x) { return read(brain_number{x}); }
__device__ __forceinline__ float number(float, float x) { return x; }

enum Part { everything, normal, subnormal };

template <class Each>
struct __attribute__((aligned(16))) sixteen_bytes {
    static constexpr int count = 16 / sizeof(Each);
    Each at[count];
};

// Rows of an array in shared memory, `columns` of them from the first one on and zeros up to the next multiple of 16.
// Says, of float16, whether there are subnormal numbers among them (1), and some beyond the limit (2).  part: `normal`
// has zeros for the first, and `subnormal` has these alone, times 2^14, exactly.
template <class Stored, Part part>
__device__ __forceinline__ int lay(
    Cell<Stored>* lines, const Rows& rows, whole first_column, int columns, float limit = numbers<float>::infinity()) {
    typedef sixteen_bytes<Cell<Stored>> Piece;
    const int pieces = (columns + 15) / 16 * (16 / Piece::count);
    const View& view = rows.view;
    const Stored* const from = static_cast<const Stored*>(view.data) + rows.batch * view.batch + rows.head * view.head;
    const bool aligned = view.column == 1 && view.row % Piece::count == 0 && first_column % Piece::count == 0 &&
                         reinterpret_cast<unsigned long long>(from) % 16 == 0;
    int found_some = 0;
    for (int i = threadIdx.x; i < ROWS * pieces; i += LANES) {
        const int row = i / pieces, at = i % pieces * Piece::count;
        const whole column = first_column + at;
        const Stored* const first = from + (rows.first + row) * view.row + column * view.column;
        Piece found;
        if (aligned && rows.first + row < rows.end && column + Piece::count <= rows.columns)
            found = *reinterpret_cast<const Piece*>(first);
        else
#pragma unroll
            for (int k = 0; k < Piece::count; k++) {
                const bool there = rows.first + row < rows.end && column + k < rows.columns;
                found.at[k] = there ? cell(first[k * view.column]) : Cell<Stored>(0);
            }
        if constexpr (tiled<Stored>::split)
#pragma unroll
            for (int k = 0; k < Piece::count; k++) {
                const bool tiny = (found.at[k] & 0x7c00) == 0;
                if (tiny && (found.at[k] & 0x3ff)) found_some |= 1;
                if (part == everything && fabsf(half_as_float(found.at[k])) > limit) found_some |= 2;
                if (part == normal && tiny) found.at[k] = 0;
                if (part == subnormal)
                    found.at[k] = tiny ? float_as_half(half_as_float(found.at[k]) * tiled<Stored>::lift) : 0;
            }
        *reinterpret_cast<Piece*>(lines + row * tiled<Stored>::line + at) = found;
    }
    return found_some;
}

// The largest, or the sum, of the four lanes that have the same rows.
__device__ __forceinline__ float largest_of_row(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float sum_of_row(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// product[n] of the 64 rows 8n … 8n + 7 += those of the warp · them, over `deep` columns, by fma in their order.
template <class Stored>
__device__ __forceinline__ void multiply_by_fma(
    float (&product)[8][4], const Cell<Stored>* lefts, const Cell<Stored>* rights, int deep) {
    constexpr int line = tiled<Stored>::line;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const Cell<Stored>* const own = lefts + (16 * (int(threadIdx.x) / 32) + g) * line;
    for (int e = 0; e < deep; e++) {
        const float near = number(Stored(), own[e]), far = number(Stored(), own[8 * line + e]);
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float other = number(Stored(), rights[(8 * n + 2 * t + i) * line + e]);
                product[n][i] = fma(near, other, product[n][i]);
                product[n][2 + i] = fma(far, other, product[n][2 + i]);
            }
    }
}

// The same on tensor cores; `dim`: of how many columns these are.
template <class Stored>
__device__ __forceinline__ void multiply_lines(
    Stored, float (&product)[8][4], const unsigned short* lefts, const unsigned short* rights, int deep, whole) {
    constexpr int line = tiled<Stored>::line;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int e = 0; e < deep; e += 16) {
        unsigned left[4];
        four_matrices(left, lefts + (16 * warp + lane % 16) * line + e + lane / 16 * 8);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            unsigned right[4];
            const int row = 16 * n + lane % 8 + lane / 16 * 8, column = e + lane / 8 % 2 * 8;
            four_matrices(right, rights + row * line + column);
            multiply_add(Stored(), product[2 * n], left, {right[0], right[1]});
            multiply_add(Stored(), product[2 * n + 1], left, {right[2], right[3]});
        }
    }
}
__device__ __forceinline__ void multiply_lines(
    float, float (&product)[8][4], const float* lefts, const float* rights, int deep, whole dim) {
    constexpr int line = tiled<float>::line;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const float* const own = lefts + (16 * (int(threadIdx.x) / 32) + g) * line;
    if (dim < FEW) return multiply_by_fma<float>(product, lefts, rights, deep);
    float small[8][4] = {};
    for (int e = 0; e < deep; e += 8) {
        unsigned high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const Parts parts = in_two(own[i % 2 * 8 * line + e + t + i / 2 * 4]);
            high[i] = parts.high, low[i] = parts.low;
        }
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const float* const from = rights + (8 * n + g) * line + e + t;
            const Parts first = in_two(from[0]), second = in_two(from[4]);
            float large[4] = {};
            multiply_add_tf32(small[n], low, {first.high, second.high});
            multiply_add_tf32(small[n], high, {first.low, second.low});
            multiply_add_tf32(large, high, {first.high, second.high});
#pragma unroll
            for (int i = 0; i < 4; i++) product[n][i] += large[i];
        }
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) product[n][i] += small[n][i];
}

// The weights (16 × 64) of a warp, rounded as the left factor of a product.
template <class Stored>
struct Weights {
    unsigned of[4][4];

    // Those of the row g + 8r and the columns 8n + 2t and 8n + 2t + 1.
    __device__ __forceinline__ void set(int n, int r, float first, float second) {
        of[n / 2][n % 2 * 2 + r] = packed(Stored(), first, second);
    }
};
template <>
struct Weights<float> {
    unsigned high[8][4], low[8][4];

    __device__ __forceinline__ void set(int n, int r, float first, float second) {
        const Parts one = in_two(first), other = in_two(second);
        high[n][r] = one.high, low[n][r] = one.low;
        high[n][r + 2] = other.high, low[n][r + 2] = other.low;
    }
};

// sum of columns 16n … 16n + 15 += weights · values, where values lie in lines from `lines` on.
template <class Stored>
__device__ __forceinline__ void add_products(
    float (&first)[4], float (&second)[4], const Weights<Stored>& weights, const unsigned short* lines, int n) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        unsigned found[4];
        four_transposed(found, lines + (16 * k + lane % 16) * tiled<Stored>::line + 16 * n + lane / 16 * 8);
        multiply_add(Stored(), first, weights.of[k], {found[0], found[1]});
        multiply_add(Stored(), second, weights.of[k], {found[2], found[3]});
    }
}
__device__ __forceinline__ void add_products(
    float (&first)[4], float (&second)[4], const Weights<float>& weights, const float* lines, int n) {
    constexpr int line = tiled<float>::line;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float small[2][4] = {};
#pragma unroll
    for (int k = 0; k < 8; k++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
            const float* const from = lines + (8 * k + 2 * t) * line + 16 * n + 8 * side + g;
            const Parts one = in_two(from[0]), other = in_two(from[line]);
            float large[4] = {}, (&sum)[4] = side ? second : first;
            multiply_add_tf32(small[side], weights.low[k], {one.high, other.high});
            multiply_add_tf32(small[side], weights.high[k], {one.low, other.low});
            multiply_add_tf32(large, weights.high[k], {one.high, other.high});
#pragma unroll
            for (int i = 0; i < 4; i++) sum[i] += large[i];
        }
#pragma unroll
    for (int i = 0; i < 4; i++) first[i] += small[0][i], second[i] += small[1][i];
}

// sums += weights · rows / unit, of `columns` columns from the first one on.  laid: these lie in the lines, and none is
// subnormal in float16.  outside: the products of a tile are added to the sums in float32, and not in the unit.
template <bool outside, class Stored>
__device__ __forceinline__ void add_weighted(
    float (&sums)[COLUMNS / 8][4], const Weights<Stored>& weights, float unit, Cell<Stored>* lines, const Rows& rows,
    whole first_column, int columns, bool laid) {
    const auto add = [&](float factor) {
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++)
            if (16 * n < columns) {
                float found[2][4] = {};
                add_products(found[0], found[1], weights, lines, n);
#pragma unroll
                for (int i = 0; i < 8; i++)
                    sums[2 * n + i / 4][i % 4] = fma(found[i / 4][i % 4], factor, sums[2 * n + i / 4][i % 4]);
            }
    };
    constexpr Part first_part = tiled<Stored>::split ? normal : everything;
    [[maybe_unused]] bool more = false;
    if (!laid) more = __syncthreads_or(lay<Stored, first_part>(lines, rows, first_column, columns) & 1);
    if constexpr (outside) add(1 / unit);
    else
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++)
            if (16 * n < columns) add_products(sums[2 * n], sums[2 * n + 1], weights, lines, n);
    if constexpr (tiled<Stored>::split)
        if (more) {
            __syncthreads();  // the normal ones have been read
            lay<Stored, subnormal>(lines, rows, first_column, columns);
            __syncthreads();
            add(1 / (tiled<Stored>::lift * unit));
        }
}
