// The most or least similar pair of documents: tiles of 64 documents against 64, of which no product is kept.
//
// A block has 64 documents of the left and a share of the right ones, and leaves its best pair.  One block then takes
// the best of these.  Of equal pairs the first in the order of (i, j) wins, whatever the order of threads and blocks.
#include "attention/tile.cuh"

struct Arguments {
    View left, right;              // (documents, words) as rows and columns; no right: the left ones once more
    void *to_left, *to_right;      // the same in the type of the arithmetic, of norm 1 for the cosine; contiguous
    void* values;                  // (blocks): of the best pair of every block, in the type of the arithmetic
    whole* pairs;                  // (blocks, 2)
    void* similarity;              // and of all
    whole* pair;                   // (2)
    whole lefts, rights, words, shares, one, least, cosine;
};

template <class Work>
struct Best {
    Work value;
    whole i, j;

    __device__ __forceinline__ void take(Work other, whole row, whole column) {
        if (other > value || (other == value && (row < i || (row == i && column < j))))
            value = other, i = row, j = column;
    }
};

// A document: scaled by the power of two that makes its largest number less than 1, and divided by its norm then.
template <class Stored, class Work>
__device__ __forceinline__ void prepare_one(const Arguments& a, const View& from, void* to, whole document) {
    Work* const row = static_cast<Work*>(to) + document * a.words;
    Work most = 0, sum = 0;
    for (whole word = 0; word < a.words; word++) {
        row[word] = at<Stored>(from, 0, 0, document, word);
        most = row[word] > most ? row[word] : -row[word] > most ? -row[word] : most;
    }
    if (!a.cosine) return;
    int exponent;
    frexp(most, &exponent);
    for (whole word = 0; word < a.words; word++) {
        row[word] = ldexp(row[word], -exponent);
        sum = fma(row[word], row[word], sum);
    }
    const Work norm = sqrt(sum);
    for (whole word = 0; word < a.words; word++) row[word] /= norm;
}

template <class Stored, class Work>
__device__ __forceinline__ void prepare(const Arguments& a) {
    const whole number = whole(blockIdx.x) * THREADS + threadIdx.x;
    if (number < a.lefts) prepare_one<Stored, Work>(a, a.left, a.to_left, number);
    else if (!a.one && number < a.lefts + a.rights)
        prepare_one<Stored, Work>(a, a.right, a.to_right, number - a.lefts);
}

// The best of all threads of a block, in its first one.
template <class Work>
__device__ __forceinline__ Best<Work> of_block(Best<Work> best) {
    Best<Work>* const all = reinterpret_cast<Best<Work>*>(shared_memory);
    __syncthreads();  // what lies here has been read
    all[threadIdx.x] = best;
    for (int apart = THREADS / 2; apart > 0; apart /= 2) {
        __syncthreads();
        if (int(threadIdx.x) < apart) {
            const Best<Work> other = all[threadIdx.x + apart];
            all[threadIdx.x].take(other.value, other.i, other.j);
        }
    }
    return all[0];
}

template <class Work>
__device__ __forceinline__ void search(const Arguments& a) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    const whole start = blockIdx.x / a.shares * ROWS, end = start + ROWS < a.lefts ? start + ROWS : a.lefts;
    const View left{a.to_left, 0, 0, a.words, 1}, right{a.to_right, 0, 0, a.words, 1};
    Best<Work> best{-numbers<Work>::infinity(), a.lefts, a.rights};
    for (whole tile = blockIdx.x % a.shares * ROWS; tile < a.rights; tile += a.shares * ROWS) {
        if (a.one && tile + ROWS <= start) continue;  // (j, i) is (i, j)
        Work product[4][4];
        multiply_rows<Work>(
            product, Constant<Work>{a.least ? Work(-1) : Work(1)}, Rows{left, 0, 0, start, end, a.words},
            Rows{right, 0, 0, tile, a.rights, a.words});
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const whole row = start + 4 * y + r, column = tile + x + 16 * j;
                if (row < end && column < a.rights && (!a.one || row < column))
                    best.take(product[r][j], row, column);
            }
    }
    best = of_block(best);
    if (threadIdx.x > 0) return;
    static_cast<Work*>(a.values)[blockIdx.x] = best.value;
    a.pairs[2 * blockIdx.x] = best.i, a.pairs[2 * blockIdx.x + 1] = best.j;
}

template <class Work>
__device__ __forceinline__ void best_of_blocks(const Arguments& a) {
    Best<Work> best{-numbers<Work>::infinity(), a.lefts, a.rights};
    const whole blocks = (a.lefts + ROWS - 1) / ROWS * a.shares;
    for (whole block = threadIdx.x; block < blocks; block += THREADS)
        best.take(static_cast<const Work*>(a.values)[block], a.pairs[2 * block], a.pairs[2 * block + 1]);
    best = of_block(best);
    if (threadIdx.x > 0) return;
    *static_cast<Work*>(a.similarity) = a.least ? -best.value : best.value;
    a.pair[0] = best.i, a.pair[1] = best.j;
}

KERNEL(prepare_float32, Arguments, THREADS) { prepare<float, float>(a); }
KERNEL(prepare_float64, Arguments, THREADS) { prepare<double, double>(a); }
KERNEL(prepare_float16, Arguments, THREADS) { prepare<half_number, float>(a); }
KERNEL(prepare_bfloat16, Arguments, THREADS) { prepare<brain_number, float>(a); }
KERNEL(search_float32, Arguments, THREADS) { search<float>(a); }
KERNEL(search_float64, Arguments, THREADS) { search<double>(a); }
KERNEL(best_float32, Arguments, THREADS) { best_of_blocks<float>(a); }
KERNEL(best_float64, Arguments, THREADS) { best_of_blocks<double>(a); }
