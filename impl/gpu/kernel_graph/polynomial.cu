// What the polynomial method needs of points and vectors beside features.cu: frames, places, the matrix between
// features, and the certificate.
#include "polynomial.cuh"
#include "view.cuh"

// The power of two above the largest size of every column, within 2^±1000, and what the host may ask: how far points
// and targets are from the centre, at most, and the largest Σ|v| of a column.  NaN stays NaN.
struct Settle {
    const double *points, *targets;   // the largest ‖point − centre‖² of each, as computed
    const double *sizes, *mass;       // (columns): the largest |v|, and at least Σ|v|
    double *grow, *told;              // (columns) and 3 numbers
    whole dim, columns;
};
KERNEL(polynomial_settle, Settle, THREADS) {
    const whole c = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (c < a.columns) {
        int power = 0;
        if (a.sizes[c] < numbers<double>::infinity()) frexp(a.sizes[c], &power);
        a.grow[c] = ldexp(1.0, power < -1000 ? -1000 : power > 1000 ? 1000 : power);
    }
    if (c > 0) return;
    double most = 0;
    for (whole k = 0; k < a.columns; k++)
        if (a.mass[k] > most || a.mass[k] != a.mass[k]) most = a.mass[k];
    a.told[0] = root(a.points[0], a.dim), a.told[1] = root(a.targets[0], a.dim), a.told[2] = most;
}

// x = shrink·(point − centre), with |x|² after the coordinates where there is room, and e^(−decay|x|²).
struct Place {
    View points;
    const double* centre;
    double *out, *front;  // (rows, width) and (rows) or null
    whole type, rows, dim, width;
    double shrink, decay;
};
KERNEL(polynomial_place, Place, THREADS) {
    const whole row = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (row >= a.rows) return;
    double square = 0;
    for (whole c = 0; c < a.dim; c++) {
        const double x = a.shrink * (any<double>(a.points, a.type, 0, 0, row, c) - a.centre[c]);
        a.out[row * a.width + c] = x;
        square = fma(x, x, square);
    }
    if (a.width > a.dim) a.out[row * a.width + a.dim] = square;
    if (a.front) a.front[row] = exponential(-(a.decay * square));
}

// The matrix between features times their sums: row r has entries[starts[r] … starts[r + 1]).
struct Mix {
    const whole *starts, *columns;
    const double *entries, *sums;  // the second (rank, width)
    double* out;                   // (rank, width)
    whole width, count;
};
KERNEL(polynomial_mix, Mix, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, row = i / a.width, c = i % a.width;
    if (i >= a.count) return;
    double sum = 0;
    for (whole e = a.starts[row]; e < a.starts[row + 1]; e++)
        sum = fma(a.entries[e], a.sums[a.columns[e] * a.width + c], sum);
    a.out[i] = sum;
}

// The sums, without a point's own weight, with the diagonal, and their bound (GPU-19); infinite where points are
// farther than the plan takes them to be.  A Laplacian has one more column, the sums of weights, and multiplies those
// by v_i: then a point's own weight cancels, whatever it was taken for (GPU-21).
struct Finish {
    const double *totals, *grow, *front;  // (count, width), (width), (count) or null; width = columns + laplacian
    const double *mass, *told;            // (width) and 3 numbers
    View vectors;                         // (count, columns)
    void* out;                            // (count, columns), of the type of the points
    double* error;                        // (count, columns)
    whole vector_type, single, count, columns, graph, laplacian;
    double own, diagonal, reach, other, floor, doubt, least;
};
KERNEL(polynomial_finish, Finish, THREADS) {
    const whole i = whole(blockIdx.x) * THREADS + threadIdx.x, row = i / a.columns, c = i % a.columns;
    if (row >= a.count) return;
    const auto total = [&](whole column) {
        const double sum = a.totals[row * (a.columns + a.laplacian) + column] * a.grow[column];
        return a.front ? sum * a.front[row] : sum;
    };
    double value = total(c), bound = a.floor * a.mass[c] + a.least;
    if (a.laplacian) {
        const double v = any<double>(a.vectors, a.vector_type, 0, 0, row, c);
        value = fma(total(a.columns), v, -value);
        bound += (a.floor * a.mass[a.columns] + a.least) * fabs(v);
    } else if (a.graph) {
        const double v = any<double>(a.vectors, a.vector_type, 0, 0, row, c);
        value = fma(-a.own, v, value);
        bound += a.doubt * fabs(v);
        if (a.diagonal != 0) {
            value = fma(a.diagonal, v, value);
            bound += 2 * U * (fabs(a.diagonal * v) + fabs(value));
        }
    }
    if (a.single) {
        value = double(float(value));
        static_cast<float*>(a.out)[i] = float(value);
        bound += 0x1p-24 * 1.01 * fabs(value) + 0x1p-149;
    } else {
        static_cast<double*>(a.out)[i] = value;
    }
    const bool held = a.told[0] <= a.reach && a.told[1] <= a.other && a.mass[c] < 0x1p1000;
    const bool is_number = fabs(value) < numbers<double>::infinity();
    a.error[i] = held && is_number ? bound * SLACK : numbers<double>::infinity();
}
