// Attention over all keys from attention over parts of them: Σ_t e^(l_t − top)·o_t / Σ_t e^(l_t − top), in float64.
//
// A warp has a row, and a lane every 32nd of its columns.  32 weights are computed at once, one a lane, and lie in
// shared memory while all lanes add up their columns, part after part.
#include "view.cuh"

struct Arguments {
    View outputs, logs;  // (parts, heads, rows, columns) and (parts, heads, rows, 1); a head of every batch
    View sink;           // (1, heads, 1, 1), or absent
    void *out, *lse;     // (heads, rows, columns), and (heads, rows) in the type of the logarithms or null; any strides
    whole out_head, out_row, lse_head, lse_row;  // of these, in elements; columns lie side by side
    whole parts, heads, rows, columns, log_type, sink_type;
};

constexpr int THREADS = 256, WARP = 32;

__device__ __forceinline__ void write_once(double& to, double x) { to = x; }
__device__ __forceinline__ void write_once(float& to, double x) { to = float(x); }

// Rounded to odd, a number of float32 is rounded to a shorter type as the number itself is: once.
template <class Half>
__device__ __forceinline__ void write_once(Half& to, double x) {
    float near = float(x);
    if (double(near) != x && x == x) {
        int bits = __float_as_int(near);
        if (fabs(double(near)) > fabs(x)) bits--;
        near = __int_as_float(bits | 1);
    }
    write(to, near);
}

template <class Stored>
__device__ __forceinline__ void merge(const Arguments& a) {
    const int lane = threadIdx.x % WARP;
    double* const weights = reinterpret_cast<double*>(shared_memory) + threadIdx.x / WARP * WARP;
    const whole number = whole(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    if (number >= a.heads * a.rows) return;  // all of the warp
    const whole head = number / a.rows, row = number % a.rows;
    const auto log_of = [&](whole part) { return any<double>(a.logs, a.log_type, part, head, row, 0); };

    double top = a.sink.data ? any<double>(a.sink, a.sink_type, 0, head, 0, 0) : numbers<double>::lowest;
    const double sink = top;
    for (whole part = lane; part < a.parts; part += WARP) {
        const double log = log_of(part);
        top = log > top ? log : top;
    }
    for (int with = WARP / 2; with > 0; with /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, top, with);
        top = other > top ? other : top;
    }
    double total = 0;
    for (whole first = 0; first < a.columns; first += WARP) {
        const whole column = first + lane;
        double sum = 0;
        total = a.sink.data ? exponential(sink - top) : 0.0;
        for (whole chunk = 0; chunk < a.parts; chunk += WARP) {
            __syncwarp();  // what lies here has been read
            weights[lane] = chunk + lane < a.parts ? exponential(log_of(chunk + lane) - top) : 0.0;
            __syncwarp();
            for (whole part = chunk; part < chunk + WARP && part < a.parts; part++) {
                const double weight = weights[part - chunk];
                total += weight;
                if (weight > 0 && column < a.columns)  // the output of a part without keys is not read
                    sum = fma(weight, double(at<Stored>(a.outputs, part, head, row, column)), sum);
            }
        }
        if (column < a.columns)
            write_once(
                static_cast<Stored*>(a.out)[head * a.out_head + row * a.out_row + column], total > 0 ? sum / total : 0.0);
    }
    if (!a.lse || lane > 0) return;
    const double log_sum = total > 0 ? top + log(total) : -numbers<double>::infinity();
    const whole place = head * a.lse_head + row * a.lse_row;
    switch (a.log_type) {
        case 0: write_once(static_cast<float*>(a.lse)[place], log_sum); break;
        case 1: write_once(static_cast<double*>(a.lse)[place], log_sum); break;
        case 2: write_once(static_cast<half_number*>(a.lse)[place], log_sum); break;
        default: write_once(static_cast<brain_number*>(a.lse)[place], log_sum);
    }
}

KERNEL(merge_float32, Arguments, THREADS) { merge<float>(a); }
KERNEL(merge_float64, Arguments, THREADS) { merge<double>(a); }
KERNEL(merge_float16, Arguments, THREADS) { merge<half_number>(a); }
KERNEL(merge_bfloat16, Arguments, THREADS) { merge<brain_number>(a); }
