// Kernels with one fault each, and one without: what the thread model on a CPU is to expose
// (tests/impl/test_gpu_emulation.py).
#include "device.cuh"

struct Arguments {
    float* x;
    whole count;
};

// x[block] = the sum of the block's numbers, by a tree in shared memory
template <int fault>
__device__ __forceinline__ void tree(const Arguments& a) {
    float* const tile = reinterpret_cast<float*>(shared_memory);
    const unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    if (fault != 6 || i != 5) tile[t] = i < a.count ? a.x[i] : 0.0f;
    if (fault != 1) __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) tile[t] += tile[t + half];
        if (fault == 3 && t == 3) return;
        if (fault == 4 && t % 2) {
            __syncthreads();
            continue;
        }
        if (fault != 2) __syncthreads();
    }
    if (t == 0) a.x[blockIdx.x * blockDim.x] = tile[0];
    if (fault == 5) tile[blockDim.x + t] = 0.0f;
}

KERNEL(sound, Arguments, 64) { tree<0>(a); }
KERNEL(no_barrier_after_writing, Arguments, 64) { tree<1>(a); }
KERNEL(no_barrier_in_the_loop, Arguments, 64) { tree<2>(a); }
KERNEL(a_thread_returns, Arguments, 64) { tree<3>(a); }
KERNEL(two_barriers, Arguments, 64) { tree<4>(a); }
KERNEL(beyond_shared_memory, Arguments, 64) { tree<5>(a); }
KERNEL(a_number_never_written, Arguments, 64) { tree<6>(a); }

// every thread takes the number of its right neighbour; the next round must not begin before all have read
KERNEL(no_barrier_after_reading, Arguments, 64) {
    float* const tile = reinterpret_cast<float*>(shared_memory);
    const unsigned t = threadIdx.x;
    float own = a.x[blockIdx.x * 64 + t];
    for (int round = 0; round < 3; round++) {
        tile[t] = own;
        __syncthreads();
        own = tile[(t + 1) % 64];
    }
    a.x[blockIdx.x * 64 + t] = own;
}

// warps that read from each other, with shuffles and no barrier in a round
KERNEL(no_barrier_between_warps, Arguments, 64) {
    float* const tile = reinterpret_cast<float*>(shared_memory);
    const unsigned t = threadIdx.x;
    float own = a.x[blockIdx.x * 64 + t];
    tile[t] = own;
    __syncthreads();
    for (int round = 0; round < 3; round++) {
        own += __shfl_xor_sync(0xffffffffu, own, 1);
        tile[t] = own;
        own = __shfl_xor_sync(0xffffffffu, tile[(t + 32) % 64], 2);
    }
    a.x[blockIdx.x * 64 + t] = own;
}

// all blocks write to one place
KERNEL(blocks_race, Arguments, 64) {
    if (threadIdx.x == 0) a.x[0] = float(blockIdx.x);
}

// some lanes never come to the shuffle
KERNEL(lanes_that_do_not_come, Arguments, 64) {
    if (threadIdx.x % 32 < 16) a.x[threadIdx.x] += __shfl_xor_sync(0xffffffffu, a.x[threadIdx.x], 1);
}

// reads from a lane that its mask does not name
KERNEL(a_lane_outside_of_the_mask, Arguments, 64) {
    const unsigned lane = threadIdx.x % 32;
    if (lane < 16) a.x[blockIdx.x * 64 + threadIdx.x] = __shfl_sync(0x0000ffffu, a.x[threadIdx.x], lane + 16);
}

// every conversion of a half type, and the exponential: what tests compare with NumPy
struct Conversion {
    const float* from;
    unsigned short *half, *brain;
    const unsigned short* bits;
    float *from_half, *from_brain, *power;
    whole count;
};
KERNEL(convert, Conversion, 64) {
    for (whole i = blockIdx.x * 64 + threadIdx.x; i < a.count; i += whole(gridDim.x) * 64) {
        half_number half;
        brain_number brain;
        write(half, a.from[i]), write(brain, a.from[i]);
        a.half[i] = half.bits, a.brain[i] = brain.bits;
        half.bits = brain.bits = a.bits[i];
        a.from_half[i] = read(half), a.from_brain[i] = read(brain);
        a.power[i] = exponential(a.from[i] > 0 ? -a.from[i] : a.from[i]);
    }
}
