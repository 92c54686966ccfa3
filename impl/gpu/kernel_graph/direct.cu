// Sums over all pairs of points, as they are defined: Σ_j f(|x_i − y_j|²)·v_j, or ·(v_i − v_j).
//
// A thread has a target and eight columns of the vectors.  A block goes through the sources sixteen at a time, whose
// coordinates and vectors lie in shared memory: every thread reads the same ones at once.  512 sources are summed in
// the type of the points, and these sums in float64.
#include "view.cuh"

struct Arguments {
    View points, vectors, targets;  // (sources, dim), (sources, columns) and (targets, dim), as rows and columns
    void* out;                      // (targets, columns), contiguous
    whole sources, count, dim, columns, graph, laplacian, code;
    double a, b, c, diagonal;
};

constexpr int THREADS = 128, PART = 16, DEPTH = 16, WIDE = 8, TILE = 512;

// The functions, by the numbers of impl/cpu/kernel_graph/weights.py.
enum Code { GAUSSIAN, LAPLACIAN, HALVES, POWER, MATERN3, MATERN5, POLYNOMIAL, ARC0, ARC1, TANGENT, THRESHOLD };

// The angle of a squared distance z of unit vectors is 2·asin(√z/2), which loses nothing near 0.
__device__ __forceinline__ double arc(double z, whole code) {
    constexpr double pi = 0x1.921fb54442d18p+1;
    const double half = sqrt(z) / 2 < 1 ? sqrt(z) / 2 : 1, angle = 2 * asin(half), cosine = 1 - 2 * half * half;
    const double first = (sin(angle) + (pi - angle) * cosine) / pi, nought = (pi - angle) / pi;
    return code == ARC0 ? nought : code == ARC1 ? first : first + cosine * nought;
}

template <class Work>
__device__ __forceinline__ Work halves(Work r, int halves) {  // r^(−halves/2)
    if (halves == 1) return Work(1) / sqrt(r);
    if (halves == 2) return Work(1) / r;
    if (halves == 3) return Work(1) / (r * sqrt(r));
    const Work inverse = Work(1) / r;
    Work power = halves % 2 ? Work(1) / sqrt(r) : Work(1);
    for (int i = 0; i < halves / 2; i++) power *= inverse;
    return power;
}

template <class Work>
__device__ __forceinline__ Work weight(const Arguments& a, Work z) {
    const Work first = Work(a.a), second = Work(a.b);
    switch (a.code) {
        case GAUSSIAN: return exponential(-(first * z));
        case LAPLACIAN: return exponential(-(first * sqrt(z)));
        case HALVES: return halves(first + second * z, int(a.c));
        case POWER: return Work(pow(a.a + a.b * double(z), -0.5 * a.c));
        case MATERN3: {
            const Work s = sqrt(Work(3) * z);
            return (Work(1) + s) * exponential(-s);
        }
        case MATERN5: {
            const Work s = sqrt(Work(5) * z);
            return (Work(1) + s * (Work(1) + s / Work(3))) * exponential(-s);
        }
        case POLYNOMIAL: {
            Work power = z;
            for (whole i = 1; i < whole(a.c); i++) power *= z;
            return power;
        }
        case THRESHOLD: return double(z) <= a.a ? Work(1) : Work(0);
        default: return Work(arc(double(z), a.code));
    }
}

template <class Work>
__device__ __forceinline__ void sum(const Arguments& a) {
    Work *const place = reinterpret_cast<Work*>(shared_memory), *const vectors = place + DEPTH * PART;
    const int t = threadIdx.x;
    const whole groups = (a.columns + WIDE - 1) / WIDE, first = blockIdx.x % groups * WIDE;
    const whole i = whole(blockIdx.x / groups) * THREADS + t;
    const bool there = i < a.count;
    const auto vector = [&](whole row, whole column) {
        return row < a.sources && column < a.columns ? at<Work>(a.vectors, 0, 0, row, column) : Work(0);
    };
    Work own[WIDE], part[WIDE] = {};
    double total[WIDE] = {};
#pragma unroll
    for (int c = 0; c < WIDE; c++) own[c] = there && a.graph ? vector(i, first + c) : Work(0);

    for (whole start = 0; start < a.sources; start += PART) {
        Work z[PART] = {};
        for (whole depth = 0; depth < a.dim; depth += DEPTH) {
            const whole more = a.dim - depth < DEPTH ? a.dim - depth : DEPTH;
            __syncthreads();  // what lies here has been read
            for (int n = t; n < DEPTH * PART; n += THREADS) {
                const int k = n % DEPTH, j = n / DEPTH;
                const bool real = k < more && start + j < a.sources;
                place[k * PART + j] = real ? at<Work>(a.points, 0, 0, start + j, depth + k) : Work(0);
            }
            if (depth == 0) {
                vectors[t] = vector(start + t / WIDE, first + t % WIDE);
            }
            __syncthreads();
            for (whole k = 0; k < more; k++) {
                const Work x = there ? at<Work>(a.targets, 0, 0, i, depth + k) : Work(0);
#pragma unroll
                for (int j = 0; j < PART; j++) {
                    const Work apart = x - place[k * PART + j];
                    z[j] = fma(apart, apart, z[j]);
                }
            }
        }
#pragma unroll
        for (int j = 0; j < PART; j++) {
            const whole source = start + j;
            if (source >= a.sources || (a.graph && source == i)) continue;  // f may be infinite at 0
            const Work w = weight(a, z[j]);
#pragma unroll
            for (int c = 0; c < WIDE; c++)
                part[c] = fma(w, a.laplacian ? own[c] - vectors[j * WIDE + c] : vectors[j * WIDE + c], part[c]);
        }
        if ((start + PART) % TILE == 0 || start + PART >= a.sources)
#pragma unroll
            for (int c = 0; c < WIDE; c++) total[c] += double(part[c]), part[c] = 0;
    }
    if (!there) return;
#pragma unroll
    for (int c = 0; c < WIDE; c++) {
        if (a.graph && !a.laplacian) total[c] += a.diagonal * double(own[c]);
        if (first + c < a.columns) static_cast<Work*>(a.out)[i * a.columns + first + c] = Work(total[c]);
    }
}
static_assert(PART * WIDE == THREADS, "a thread lays one number of the vectors");

KERNEL(direct_float32, Arguments, THREADS) { sum<float>(a); }
KERNEL(direct_float64, Arguments, THREADS) { sum<double>(a); }
