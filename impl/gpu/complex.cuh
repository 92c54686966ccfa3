// Complex numbers in float64: sums, and products with two roundings of each part.
#pragma once
#include "device.cuh"

struct __attribute__((aligned(16))) complex_number {
    double real, imaginary;
};

__device__ __forceinline__ complex_number operator+(complex_number x, complex_number y) {
    return {x.real + y.real, x.imaginary + y.imaginary};
}
__device__ __forceinline__ complex_number operator-(complex_number x, complex_number y) {
    return {x.real - y.real, x.imaginary - y.imaginary};
}
__device__ __forceinline__ complex_number operator*(complex_number by, complex_number x) {
    return {
        fma(by.real, x.real, -(by.imaginary * x.imaginary)), fma(by.real, x.imaginary, by.imaginary * x.real)};
}

// The product with −i, or with i where sign is −1: exact.
__device__ __forceinline__ complex_number quarter_turn(complex_number x, double sign) {
    return {sign * x.imaginary, -sign * x.real};
}
