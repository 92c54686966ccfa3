// What a card is asked about its units, and the thread model on a CPU too: tests/impl/test_tensor_core_gpu.py.
#include "tensor_core.cuh"

// sums[block] (16 × 8) += left[block] (16 × depth) · right[block] (depth × 8, turned), one warp a block
struct Products {
    const void *left, *right;
    float* sums;
};

// The word of a lane that begins with number `at`.
__device__ __forceinline__ unsigned word(const unsigned short* from, int at) { return from[at] | unsigned(from[at + 1]) << 16; }
__device__ __forceinline__ unsigned word(const unsigned* from, int at) { return from[at]; }

template <class Number, int depth, class Multiply>
__device__ __forceinline__ void multiply(const Products& a, const Multiply& multiplied) {
    constexpr int wide = depth / 8, half = depth / 2;  // numbers of a word, and where the second half begins
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    const Number* const left = static_cast<const Number*>(a.left) + blockIdx.x * 16 * depth;
    const Number* const right = static_cast<const Number*>(a.right) + blockIdx.x * 8 * depth;
    float *const sums = a.sums + blockIdx.x * 128, sum[4];
    for (int i = 0; i < 4; i++) sum[i] = sums[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    const unsigned first[4] = {
        word(left, g * depth + wide * t), word(left, (g + 8) * depth + wide * t),
        word(left, g * depth + wide * t + half), word(left, (g + 8) * depth + wide * t + half)};
    const unsigned second[2] = {word(right, g * depth + wide * t), word(right, g * depth + wide * t + half)};
    multiplied(sum, first, second);
    for (int i = 0; i < 4; i++) sums[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}
struct Half {
    __device__ void operator()(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) const {
        multiply_add_half(sum, a, b);
    }
};
struct Brain {
    __device__ void operator()(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) const {
        multiply_add_brain(sum, a, b);
    }
};
struct Tf32 {
    __device__ void operator()(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) const {
        multiply_add_tf32(sum, a, b);
    }
};
KERNEL(multiply_float16, Products, 32) { multiply<unsigned short, 16>(a, Half()); }
KERNEL(multiply_bfloat16, Products, 32) { multiply<unsigned short, 16>(a, Brain()); }
KERNEL(multiply_tf32, Products, 32) { multiply<unsigned, 8>(a, Tf32()); }

// the two parts of numbers
struct Split {
    const float* x;
    unsigned* parts;  // (2, count)
    whole count;
};
KERNEL(split, Split, 64) {
    for (whole i = blockIdx.x * 64 + threadIdx.x; i < a.count; i += whole(gridDim.x) * 64) {
        const Parts parts = in_two(a.x[i]);
        a.parts[i] = parts.high, a.parts[a.count + i] = parts.low;
    }
}

// four matrices of 8 × 8 numbers, as they lie and transposed: found[2][32][4]
struct Matrices {
    const unsigned short* from;
    unsigned* found;
};
KERNEL(matrices, Matrices, 32) {
    unsigned short* const lines = reinterpret_cast<unsigned short*>(shared_memory);
    const int lane = threadIdx.x;
    for (int k = 0; k < 8; k++) lines[lane * 8 + k] = a.from[lane * 8 + k];
    __syncthreads();
    unsigned found[4];
    four_matrices(found, lines + lane * 8);
    for (int i = 0; i < 4; i++) a.found[lane * 4 + i] = found[i];
    four_transposed(found, lines + lane * 8);
    for (int i = 0; i < 4; i++) a.found[128 + lane * 4 + i] = found[i];
}

struct Powers {
    const float* x;
    float* powers;
    whole count;
};
KERNEL(powers, Powers, 64) {
    for (whole i = blockIdx.x * 64 + threadIdx.x; i < a.count; i += whole(gridDim.x) * 64)
        a.powers[i] = power_of_two(a.x[i]);
}
