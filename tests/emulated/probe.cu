// What a card is asked about its units, and the thread model on a CPU too: tests/impl/test_tensor_core_gpu.py.
#include "tensor_core.cuh"

// sums[block] (16 × 8) += left[block] (16 × 16) · right[block] (8 × 16, turned), one warp a block
struct Products {
    const unsigned short *left, *right;
    float* sums;
};

template <class Stored>
__device__ __forceinline__ void multiply(const Products& a) {
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    const unsigned short *const left = a.left + blockIdx.x * 256, *const right = a.right + blockIdx.x * 128;
    float *const sums = a.sums + blockIdx.x * 128, sum[4];
    const auto two = [](const unsigned short* from) { return from[0] | unsigned(from[1]) << 16; };
    for (int i = 0; i < 4; i++) sum[i] = sums[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    multiply_add(
        Stored(), sum,
        {two(left + g * 16 + 2 * t), two(left + (g + 8) * 16 + 2 * t), two(left + g * 16 + 2 * t + 8),
         two(left + (g + 8) * 16 + 2 * t + 8)},
        {two(right + g * 16 + 2 * t), two(right + g * 16 + 2 * t + 8)});
    for (int i = 0; i < 4; i++) sums[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}
KERNEL(multiply_float16, Products, 32) { multiply<half_number>(a); }
KERNEL(multiply_bfloat16, Products, 32) { multiply<brain_number>(a); }

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
