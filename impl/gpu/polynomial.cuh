// What bounds of the polynomial method are made of.
#pragma once
#include "device.cuh"

constexpr double SLACK = 1 + 0x1p-30, U = 0x1p-53;  // the first pays for the rounding of bounds themselves
constexpr int THREADS = 128;

// A bound of |v − middle| for all numbers v of an interval.  The middle of a short one may be an end of it.
__device__ __forceinline__ double farthest(double least, double largest, double middle) {
    return (largest - middle > middle - least ? largest - middle : middle - least) * (1 + 0x1p-50);
}

// An upper bound of a norm whose square was computed with one rounding for every coordinate.
__device__ __forceinline__ double root(double square, whole dim) {
    return sqrt(square) * (1 + double(dim + 16) * 0x1p-52) + sqrt(double(dim)) * 0x1p-510;
}
