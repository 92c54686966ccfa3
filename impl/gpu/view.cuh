// Arrays as they are handed over: an address and strides.
#pragma once
#include "device.cuh"

// An array of four axes; strides count elements and may be 0 or negative.  No data: the option is absent.
struct View {
    const void* data;
    whole batch, head, row, column;
};

template <class Stored>
__device__ __forceinline__ auto at(const View& view, whole batch, whole head, whole row, whole column) {
    return read(static_cast<const Stored*>(
        view.data)[batch * view.batch + head * view.head + row * view.row + column * view.column]);
}

// An element of an array whose type is known by its number alone.
template <class Work>
__device__ __forceinline__ Work any(const View& view, whole type, whole batch, whole head, whole row, whole column) {
    switch (type) {
        case 0: return Work(at<float>(view, batch, head, row, column));
        case 1: return Work(at<double>(view, batch, head, row, column));
        case 2: return Work(at<half_number>(view, batch, head, row, column));
        default: return Work(at<brain_number>(view, batch, head, row, column));
    }
}

// Write a number to an array of such a type, rounded to float32 first where that is shorter.
__device__ __forceinline__ void put(void* to, whole type, whole place, double x) {
    switch (type) {
        case 0: static_cast<float*>(to)[place] = float(x); break;
        case 1: static_cast<double*>(to)[place] = x; break;
        case 2: write(static_cast<half_number*>(to)[place], float(x)); break;
        default: write(static_cast<brain_number*>(to)[place], float(x));
    }
}
