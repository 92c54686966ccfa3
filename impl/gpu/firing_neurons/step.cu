// One training step of f(x) = Σ_r outer_r·max(⟨w_r, x⟩ − b, 0): tiles of 64 points against 64 neurons, of which no
// correlation is kept.
//
// A block of the forward pass has 64 points and up to 128 outputs, one of the backward pass 64 neurons and up to 128
// coordinates.  Both compute a correlation by the same operations, so that they decide alike who fires.
#include "attention/tile.cuh"

struct Arguments {
    View data, targets, weights, outer;  // (points, dim), (points, outputs), (neurons, dim) and (neurons, outputs)
    void *output, *slope;                // (points, outputs): f, and the gradient of the loss in it; contiguous
    void *gradient, *moved;              // (neurons, dim), contiguous
    whole points, neurons, dim, outputs, cross_entropy;
    double limit, threshold, rate;
};

constexpr int WARP = 32;

template <class Work>
__device__ __forceinline__ void forward(const Arguments& a) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    const whole groups = (a.outputs + COLUMNS - 1) / COLUMNS, first = blockIdx.x % groups * COLUMNS;
    const whole start = blockIdx.x / groups * ROWS;
    Work sums[4][8] = {};
    for (whole tile = 0; tile < a.neurons; tile += ROWS) {
        Work product[4][4];
        multiply_rows<Work>(
            product, Constant<Work>{1}, Rows{a.data, 0, 0, start, a.points, a.dim},
            Rows{a.weights, 0, 0, tile, a.neurons, a.dim});
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const bool fires = product[r][j] > Work(a.limit) && tile + x + 16 * j < a.neurons;
                product[r][j] = fires ? product[r][j] - Work(a.threshold) : Work(0);
            }
        store<false>(product);
        add_products<Work>(sums, Constant<Work>{1}, Rows{a.outer, 0, 0, tile, a.neurons, a.outputs}, first);
    }
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 8; c++) {
            const whole row = start + 4 * y + r, column = first + column_of(c);
            if (row < a.points && column < a.outputs)
                static_cast<Work*>(a.output)[row * a.outputs + column] = sums[r][c];
        }
}

// A warp has a point.
template <class Work>
__device__ __forceinline__ void residual(const Arguments& a) {
    const int lane = threadIdx.x % WARP;
    const whole point = whole(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    if (point >= a.points) return;  // all of the warp
    const Work* const output = static_cast<const Work*>(a.output) + point * a.outputs;
    Work* const slope = static_cast<Work*>(a.slope) + point * a.outputs;
    const auto target = [&](whole column) { return at<Work>(a.targets, 0, 0, point, column); };
    if (!a.cross_entropy) {
        for (whole column = lane; column < a.outputs; column += WARP) slope[column] = output[column] - target(column);
        return;
    }
    Work top = numbers<Work>::lowest, total = 0, wanted = 0;
    for (whole column = lane; column < a.outputs; column += WARP) top = output[column] > top ? output[column] : top;
    for (int with = WARP / 2; with > 0; with /= 2) {
        const Work other = __shfl_xor_sync(0xffffffffu, top, with);
        top = other > top ? other : top;
    }
    for (whole column = lane; column < a.outputs; column += WARP) {
        total += exponential(output[column] - top);
        wanted += target(column);
    }
    for (int with = WARP / 2; with > 0; with /= 2) {
        total += __shfl_xor_sync(0xffffffffu, total, with);
        wanted += __shfl_xor_sync(0xffffffffu, wanted, with);
    }
    for (whole column = lane; column < a.outputs; column += WARP)
        slope[column] = wanted * (exponential(output[column] - top) / total) - target(column);
}

template <class Work>
__device__ __forceinline__ void backward(const Arguments& a) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    const whole groups = (a.dim + COLUMNS - 1) / COLUMNS, first = blockIdx.x % groups * COLUMNS;
    const whole start = blockIdx.x / groups * ROWS;
    const View slope{a.slope, 0, 0, a.outputs, 1};
    Work sums[4][8] = {};
    for (whole tile = 0; tile < a.points; tile += ROWS) {
        Work product[4][4], by[4][4];
        multiply_rows<Work>(
            product, Constant<Work>{1}, Rows{a.weights, 0, 0, start, a.neurons, a.dim},
            Rows{a.data, 0, 0, tile, a.points, a.dim});
        multiply_rows<Work>(
            by, Constant<Work>{1}, Rows{a.outer, 0, 0, start, a.neurons, a.outputs},
            Rows{slope, 0, 0, tile, a.points, a.outputs});
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                by[r][j] = product[r][j] > Work(a.limit) && tile + x + 16 * j < a.points ? by[r][j] : Work(0);
        store<false>(by);
        add_products<Work>(sums, Constant<Work>{1}, Rows{a.data, 0, 0, tile, a.points, a.dim}, first);
    }
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 8; c++) {
            const whole row = start + 4 * y + r, column = first + column_of(c);
            if (row >= a.neurons || column >= a.dim) continue;
            static_cast<Work*>(a.gradient)[row * a.dim + column] = sums[r][c];
            static_cast<Work*>(a.moved)[row * a.dim + column] =
                at<Work>(a.weights, 0, 0, row, column) - Work(a.rate) * sums[r][c];
        }
}

KERNEL(forward_float32, Arguments, THREADS) { forward<float>(a); }
KERNEL(forward_float64, Arguments, THREADS) { forward<double>(a); }
KERNEL(residual_float32, Arguments, THREADS) { residual<float>(a); }
KERNEL(residual_float64, Arguments, THREADS) { residual<double>(a); }
KERNEL(backward_float32, Arguments, THREADS) { backward<float>(a); }
KERNEL(backward_float64, Arguments, THREADS) { backward<double>(a); }
