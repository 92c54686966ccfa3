// Products of matrices of 16-bit numbers on tensor cores, sm_80 and later: one warp multiplies 16 × 16 by 16 × 8
// numbers and adds to 16 × 8 sums in float32.  What this rounds is GPU-10 of the proofs.
//
// How a warp holds the matrices, where lane l has the group g = l / 4 and the place t = l % 4:
//
//     a, 16 × 16    a[0] (g, 2t) (g, 2t + 1)         a[1] (g + 8, 2t) (g + 8, 2t + 1)
//                   a[2] (g, 2t + 8) (g, 2t + 9)     a[3] (g + 8, 2t + 8) (g + 8, 2t + 9)
//     b, 16 × 8     b[0] (2t, g) (2t + 1, g)         b[1] (2t + 8, g) (2t + 9, g)
//     sum, 16 × 8   sum[0] (g, 2t), sum[1] (g, 2t + 1), sum[2] (g + 8, 2t), sum[3] (g + 8, 2t + 1)
//
// Two 16-bit numbers share a word, the first in its lower half.  So the sums of one product are, rounded and packed,
// the factor a of the next: sum[0], sum[1] of columns 0 … 7 are its a[0], and those of columns 8 … 15 its a[2].
//
// Numbers of 19 bits (tf32: float32 with 11 significant bits) have a word each, and a product is 16 × 8 by 8 × 8:
//
//     a, 16 × 8     a[0] (g, t)   a[1] (g + 8, t)   a[2] (g, t + 4)   a[3] (g + 8, t + 4)
//     b, 8 × 8      b[0] (t, g)   b[1] (t + 4, g)
//
// A sum does not depend on how its terms are named.  So sums of 16 × 8 are a factor a, in the order sum[0], sum[2],
// sum[1], sum[3], of a product whose b[0] is row 2t of the other factor, and b[1] row 2t + 1.  What is rounded is
// GPU-15.
#pragma once
#include "device.cuh"

#ifdef __CUDACC__
__device__ __forceinline__ void multiply_add_half(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void multiply_add_brain(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void multiply_add_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The nearest number of 11 significant bits, of two the larger in size; the 13 bits below are not said to be 0.
__device__ __forceinline__ unsigned nearest_tf32(float x) {
    unsigned found;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(found) : "f"(x));
    return found;
}

// Four matrices of 8 × 8 numbers from shared memory.  Lanes 8i … 8i + 7 name the rows of matrix i, of which each is 16
// bytes long and lies at a multiple of 16.  found[i] of lane l is (g, 2t) and (g, 2t + 1) of matrix i.
__device__ __forceinline__ void four_matrices(unsigned (&found)[4], const unsigned short* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(found[0]), "=r"(found[1]), "=r"(found[2]), "=r"(found[3])
                 : "r"(unsigned(__cvta_generic_to_shared(row)))
                 : "memory");
}
// The same, each of them transposed: found[i] of lane l is (2t, g) and (2t + 1, g) of matrix i as it is stored.
__device__ __forceinline__ void four_transposed(unsigned (&found)[4], const unsigned short* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(found[0]), "=r"(found[1]), "=r"(found[2]), "=r"(found[3])
                 : "r"(unsigned(__cvta_generic_to_shared(row)))
                 : "memory");
}

// Two numbers, rounded to nearest, in one word.
__device__ __forceinline__ unsigned two_halves(float first, float second) {
    unsigned found;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(found) : "f"(second), "f"(first));
    return found;
}
__device__ __forceinline__ unsigned two_brains(float first, float second) {
    unsigned found;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(found) : "f"(second), "f"(first));
    return found;
}

// 2^x of the special function unit: within 2 units of the last place as the vendor states, 1 at 0, 0 at −∞, and 0 for
// results below the least normal number.
__device__ __forceinline__ float power_of_two(float x) {
    float found;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(found) : "f"(x));
    return found;
}
#endif

__device__ __forceinline__ void multiply_add(
    half_number, float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    multiply_add_half(sum, a, b);
}
__device__ __forceinline__ void multiply_add(
    brain_number, float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    multiply_add_brain(sum, a, b);
}
__device__ __forceinline__ unsigned packed(half_number, float first, float second) { return two_halves(first, second); }
__device__ __forceinline__ unsigned packed(brain_number, float first, float second) { return two_brains(first, second); }

// A number in two of 11 bits: the nearest one, and the nearest one to what is left, which is computed exactly.
struct Parts {
    unsigned high, low;
};
__device__ __forceinline__ Parts in_two(float x) {
    const unsigned high = nearest_tf32(x) & 0xffffe000u;
    return {high, nearest_tf32(x - __int_as_float(int(high))) & 0xffffe000u};
}
