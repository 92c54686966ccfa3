// What every kernel of this folder needs: how kernels are declared, half types, and the exponential of claim ATT-9.
//
// Arithmetic is written out: products and sums are contracted nowhere (--fmad=false) but where fma() says so.  So a
// kernel without tensor cores gives the same bits on every card, and on a CPU under tests/emulated/cuda_on_cpu.h.
#pragma once

#ifdef __CUDACC__
// A kernel that takes one struct by value, in blocks of at most `threads`.
#define KERNEL(name, Arguments, threads) extern "C" __global__ void __launch_bounds__(threads) name(const Arguments a)
extern __shared__ __align__(16) unsigned char shared_memory[];  // its size is given by the launch

__device__ __forceinline__ float half_as_float(unsigned short bits) {
    float found;
    asm("cvt.f32.f16 %0, %1;" : "=f"(found) : "h"(bits));
    return found;
}
__device__ __forceinline__ unsigned short float_as_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
__device__ __forceinline__ unsigned short float_as_brain(float x) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

typedef long long whole;  // every integer that comes from the host has 64 bits

// A 16-bit number as it is stored.  Values are read into float32 exactly, and rounded once when they are written.
struct half_number {
    unsigned short bits;
};
struct brain_number {
    unsigned short bits;
};

__device__ __forceinline__ float read(half_number x) { return half_as_float(x.bits); }
__device__ __forceinline__ float read(brain_number x) { return __int_as_float(int(unsigned(x.bits) << 16)); }
__device__ __forceinline__ void write(half_number& to, float x) { to.bits = float_as_half(x); }
__device__ __forceinline__ void write(brain_number& to, float x) { to.bits = float_as_brain(x); }
__device__ __forceinline__ float read(float x) { return x; }
__device__ __forceinline__ double read(double x) { return x; }
__device__ __forceinline__ void write(float& to, float x) { to = x; }
__device__ __forceinline__ void write(double& to, double x) { to = x; }

// Four numbers that lie side by side, read and written at once.
template <class Work>
struct __attribute__((aligned(16))) four {
    Work at[4];
};

template <class Work>
struct numbers;

template <>
struct numbers<float> {
    static constexpr int degree = 7, mantissa = 23;
    static constexpr float log2e = 0x1.715476p+0f, high = 0.693145751953125f, low = 1.42860682030941723e-6f;
    static constexpr float rounding = 0x1.8000fep+23f, least = -0x1.5d58a2p+6f, lowest = -0x1.fffffep+127f;
    static __device__ __forceinline__ float scaled(float p, float power) {
        return p * __int_as_float(__float_as_int(power) << mantissa);
    }
    static __device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
};

template <>
struct numbers<double> {
    static constexpr int degree = 13, mantissa = 52;
    static constexpr double log2e = 0x1.71547652b82fep+0, high = 0.6931471803691238, low = 1.9082149292705877e-10;
    static constexpr double rounding = 0x1.80000000003ffp+52, least = -0x1.6232bdd7abcd3p+9;
    static constexpr double lowest = -0x1.fffffffffffffp+1023;
    static __device__ __forceinline__ double scaled(double p, double power) {
        return p * __longlong_as_double(
            static_cast<long long>(static_cast<unsigned long long>(__double_as_longlong(power)) << mantissa));
    }
    static __device__ __forceinline__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }
};

// e^x for x ≤ 0 and −∞: reduction, polynomial, power of two (ATT-9).  It is 1 at 0, and 0 below the least normal
// number.  A little above 0, where a score and its log-sum-exp were rounded, it is as near.
template <class Work>
__device__ __forceinline__ Work exponential(Work x) {
    typedef numbers<Work> of;
    constexpr Work inverse[14] = {
        Work(1.0), Work(1.0), Work(1.0 / 2), Work(1.0 / 6), Work(1.0 / 24), Work(1.0 / 120), Work(1.0 / 720),
        Work(1.0 / 5040), Work(1.0 / 40320), Work(1.0 / 362880), Work(1.0 / 3628800), Work(1.0 / 39916800),
        Work(1.0 / 479001600), Work(1.0 / 6227020800.0)};
    const Work near = x < of::least ? of::least : x;
    const Work power = fma(near, of::log2e, of::rounding);
    const Work k = power - of::rounding;
    const Work t = fma(-k, of::low, fma(-k, of::high, near));
    Work p = inverse[of::degree];
#pragma unroll
    for (int i = of::degree - 1; i >= 0; i--) p = fma(p, t, inverse[i]);
    return x < of::least ? Work(0) : of::scaled(p, power);
}
