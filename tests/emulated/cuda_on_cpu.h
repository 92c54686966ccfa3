// The thread model of CUDA on one thread of a CPU: g++ builds a .cu file with this header, and its kernels run.
//
//     g++ -shared -fPIC -O2 -ffp-contract=off -x c++ -include cuda_on_cpu.h kernel.cu -o kernel.so
//
// Every CUDA thread is a coroutine with a stack of its own.  It runs alone until it waits at a barrier or in a shuffle,
// or returns, and a warp goes on until all of its lanes wait at a barrier or return.  So what a thread reads that another one writes between the same two barriers depends on the order in
// which threads run: a kernel without a race has the same result in every order (ascending, descending, shuffled), and
// one that lacks a barrier has not.  Blocks run one after the other in such an order too.  Shared memory is full of NaN
// when a block begins and has guards on both sides.  A launch ends with a sentence where a thread leaves before a
// barrier, where threads wait at different ones, where a shuffle names lanes that do not come, and where a guard was
// written to.
//
// A kernel is declared with KERNEL(name, Arguments, threads) { … a.member … } and takes one struct by value.  Its dynamic shared
// memory is `shared_memory`.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace cuda_on_cpu {

struct Index {
    unsigned x = 0, y = 0, z = 0;
};

enum Order : int { ascending, descending, shuffled };

// The arithmetic of a tensor core, and whether the special function unit errs as much as it may.
struct Unit {
    int group;   // products of 16-bit numbers that are added at once to the running sum; of tf32 half as many, at least 4
    int extra;   // bits that are kept below the last place of the addend with the largest exponent
    int errs;
};

// What a launch is told, in the layout that tests/emulated/__init__.py writes.
struct Launch {
    unsigned grid[3], block[3];
    uint64_t shared;  // bytes
    int order;
    uint64_t seed;
    Unit unit;
};

constexpr size_t STACK = 256 * 1024, GUARD = 4096, WARP = 32, MOST = 1024;
constexpr unsigned char GUARDED = 0xA5, EMPTY = 0xFF;  // four bytes 0xFF are a NaN in float32, two in either half type

enum class State { fresh, running, at_barrier, in_warp, done };

struct Thread {
    Index at;
    State state = State::fresh;
    int line = 0;       // of the barrier or the shuffle that it waits in
    unsigned mask = 0;  // the lanes that a shuffle waits for
    unsigned char slot[32];
    jmp_buf place;
    char* stack = nullptr;
};

struct Machine {
    Launch launch;
    std::function<void()> body;
    std::vector<Thread> threads;
    std::vector<unsigned char> shared;
    Thread* here = nullptr;
    Index block;
    jmp_buf scheduler;
    ucontext_t entry, unused;
    std::string fault;
    uint64_t random = 0;
};

inline Machine machine;

inline unsigned char* shared() { return machine.shared.data() + GUARD; }

inline std::string named(const Index& i) {
    char words[64];
    snprintf(words, sizeof words, "(%u, %u, %u)", i.x, i.y, i.z);
    return words;
}

// Back to the scheduler, until it lets this thread go on.
inline void wait(State state, int line, unsigned mask) {
    Thread& own = *machine.here;
    own.state = state, own.line = line, own.mask = mask;
    if (!_setjmp(own.place)) _longjmp(machine.scheduler, 1);
}

inline void begin() {
    machine.body();
    machine.here->state = State::done;
    _longjmp(machine.scheduler, 1);
}

inline void go_on(Thread& thread) {
    machine.here = &thread;
    const bool fresh = thread.state == State::fresh;
    thread.state = State::running;
    if (_setjmp(machine.scheduler)) return;
    if (!fresh) _longjmp(thread.place, 1);
    getcontext(&machine.entry);
    machine.entry.uc_stack.ss_sp = thread.stack;
    machine.entry.uc_stack.ss_size = STACK;
    machine.entry.uc_link = nullptr;
    makecontext(&machine.entry, begin, 0);
    swapcontext(&machine.unused, &machine.entry);
}

inline std::vector<size_t> order(size_t count) {
    std::vector<size_t> found(count);
    for (size_t i = 0; i < count; i++) found[i] = i;
    if (machine.launch.order == descending) std::reverse(found.begin(), found.end());
    if (machine.launch.order == shuffled)
        for (size_t i = count; i > 1; i--) {
            machine.random = machine.random * 6364136223846793005u + 1442695040888963407u;
            std::swap(found[i - 1], found[(machine.random >> 33) % i]);
        }
    return found;
}

// Lets the lanes of a warp go on that wait for each other in a shuffle; false where none can.
inline bool release_warp(size_t warp) {
    auto& threads = machine.threads;
    const size_t lanes = std::min(WARP, threads.size() - warp);
    bool released = false;
    for (size_t lane = 0; lane < lanes; lane++) {
        const Thread asking = threads[warp + lane];
        if (asking.state != State::in_warp || !(asking.mask >> lane & 1)) continue;
        bool all = lanes == WARP || !(asking.mask >> lanes);
        for (size_t other = 0; other < lanes; other++) {
            const Thread& t = threads[warp + other];
            if (asking.mask >> other & 1)
                all = all && t.state == State::in_warp && t.mask == asking.mask && t.line == asking.line;
        }
        if (!all) continue;
        for (size_t other = 0; other < lanes; other++)
            if (asking.mask >> other & 1) threads[warp + other].state = State::running;
        released = true;
    }
    return released;
}

// Lets all threads go on that wait at the same barrier; false where they do not.
inline bool release() {
    auto& threads = machine.threads;
    for (const Thread& t : threads)
        if (t.state != State::at_barrier || t.line != threads[0].line) return false;
    for (Thread& t : threads) t.state = State::running;
    return true;
}

inline std::string stuck() {
    const Thread *waiting = nullptr, *other = nullptr;
    for (const Thread& t : machine.threads)
        if (t.state != State::done && !waiting) waiting = &t;
    for (const Thread& t : machine.threads)
        if (t.state != waiting->state || t.line != waiting->line || t.mask != waiting->mask) other = &t;
    const auto said = [](const Thread& t) {
        const std::string name = "thread " + named(t.at);
        if (t.state == State::done) return name + " has returned";
        return name + (t.state == State::at_barrier ? " waits at the barrier" : " is in the shuffle") + " of line " +
               std::to_string(t.line);
    };
    return "block " + named(machine.block) + ": " + said(*waiting) +
           (other ? ", but " + said(*other) : ", and a lane of its mask never comes");
}

inline void run_block() {
    auto& threads = machine.threads;
    std::fill(machine.shared.begin(), machine.shared.end(), GUARDED);
    std::fill(shared(), shared() + machine.launch.shared, EMPTY);
    for (Thread& t : threads) t.state = State::fresh;
    for (;;) {
        bool alive = false;
        for (size_t warp : order((threads.size() + WARP - 1) / WARP)) do
                for (size_t lane : order(std::min(WARP, threads.size() - WARP * warp))) {
                    Thread& t = threads[WARP * warp + lane];
                    if (t.state == State::fresh || t.state == State::running) go_on(t);
                }
            while (release_warp(WARP * warp));
        for (const Thread& t : threads) alive = alive || t.state != State::done;
        if (!alive) break;
        if (!release()) {
            machine.fault = stuck();
            return;
        }
    }
    for (size_t i = 0; i < GUARD; i++)
        if (machine.shared[i] != GUARDED || machine.shared[GUARD + machine.launch.shared + i] != GUARDED) {
            machine.fault = "block " + named(machine.block) + ": shared memory was written outside of its " +
                            std::to_string(machine.launch.shared) + " bytes";
            return;
        }
}

// Null, or a sentence that lives until the next launch.
inline const char* run(const Launch& launch, std::function<void()> body) {
    const unsigned *g = launch.grid, *b = launch.block;
    const size_t count = size_t(b[0]) * b[1] * b[2], blocks = size_t(g[0]) * g[1] * g[2];
    machine.launch = launch, machine.body = body, machine.random = launch.seed, machine.fault = "";
    machine.shared.assign(launch.shared + 2 * GUARD, GUARDED);
    machine.threads.assign(count, Thread());
    static char* stacks = static_cast<char*>(  // for every launch; the system gives the pages that are used
        mmap(nullptr, MOST * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (count > MOST) return "a block of more than 1024 threads";
    for (size_t i = 0; i < count; i++) {
        machine.threads[i].at = {unsigned(i % b[0]), unsigned(i / b[0] % b[1]), unsigned(i / b[0] / b[1])};
        machine.threads[i].stack = stacks + i * STACK;
    }
    for (size_t i : order(blocks)) {
        machine.block = {unsigned(i % g[0]), unsigned(i / g[0] % g[1]), unsigned(i / g[0] / g[1])};
        run_block();
        if (!machine.fault.empty()) break;
    }
    return machine.fault.empty() ? nullptr : machine.fault.c_str();
}

// What lane `source` of the warp gives, when every lane of the mask has given its own.
template <class T>
T exchanged(unsigned mask, T given, size_t source, int line) {
    static_assert(sizeof(T) <= sizeof(Thread::slot), "larger than a slot");
    const size_t own = machine.here - machine.threads.data();
    memcpy(machine.here->slot, &given, sizeof(T));
    wait(State::in_warp, line, mask);
    T found = given;
    if (source < WARP && (mask >> source & 1))
        memcpy(&found, machine.threads[own / WARP * WARP + source].slot, sizeof(T));
    else
        memset(static_cast<void*>(&found), EMPTY, sizeof(T));  // a lane outside the mask: undefined on the card
    wait(State::in_warp, line, mask);
    return found;
}

// The barrier of all threads, after which each of them has read what the others gave.
inline bool any(bool own, int line) {
    memcpy(machine.here->slot, &own, sizeof own);
    wait(State::at_barrier, line, 0);
    bool found = false;
    for (const Thread& t : machine.threads) found = found || t.slot[0];
    wait(State::at_barrier, line, 0);
    return found;
}

inline size_t lane() { return (machine.here - machine.threads.data()) % WARP; }

}  // namespace cuda_on_cpu

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define threadIdx (cuda_on_cpu::machine.here->at)
#define blockIdx (cuda_on_cpu::machine.block)
#define blockDim (cuda_on_cpu::Index{cuda_on_cpu::machine.launch.block[0], cuda_on_cpu::machine.launch.block[1], \
                                     cuda_on_cpu::machine.launch.block[2]})
#define gridDim (cuda_on_cpu::Index{cuda_on_cpu::machine.launch.grid[0], cuda_on_cpu::machine.launch.grid[1], \
                                    cuda_on_cpu::machine.launch.grid[2]})
#define shared_memory (cuda_on_cpu::shared())

#define KERNEL(name, Arguments, threads)                                                                  \
    static void name##_thread(const Arguments& a);                                                        \
    extern "C" const char* name(const void* arguments, const cuda_on_cpu::Launch* launch) {               \
        return cuda_on_cpu::run(*launch, [=] { name##_thread(*static_cast<const Arguments*>(arguments)); }); \
    }                                                                                                     \
    static void name##_thread(const Arguments& a)

inline void __syncthreads(int line = __builtin_LINE()) {
    cuda_on_cpu::wait(cuda_on_cpu::State::at_barrier, line, 0);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
    cuda_on_cpu::wait(cuda_on_cpu::State::in_warp, line, mask);
}
inline int __syncthreads_or(int truth, int line = __builtin_LINE()) { return cuda_on_cpu::any(truth != 0, line); }
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
    const size_t own = cuda_on_cpu::lane();
    return cuda_on_cpu::exchanged(mask, value, own / width * width + source % width, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, int line = __builtin_LINE()) {
    const size_t own = cuda_on_cpu::lane(), source = own ^ size_t(with);
    return cuda_on_cpu::exchanged(mask, value, source / width == own / width ? source : own, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, int line = __builtin_LINE()) {
    const size_t own = cuda_on_cpu::lane(), source = own + by;
    return cuda_on_cpu::exchanged(mask, value, source / width == own / width ? source : own, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, int line = __builtin_LINE()) {
    const size_t own = cuda_on_cpu::lane();
    return cuda_on_cpu::exchanged(mask, value, own % width >= by ? own - by : own, line);
}
inline unsigned __ballot_sync(unsigned mask, int truth, int line = __builtin_LINE()) {
    unsigned found = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) found |= unsigned(cuda_on_cpu::exchanged(mask, truth != 0, size_t(lane), line)) << lane;
    return found;
}
inline int __any_sync(unsigned mask, int truth, int line = __builtin_LINE()) {
    return __ballot_sync(mask, truth, line) != 0;
}
inline int __all_sync(unsigned mask, int truth, int line = __builtin_LINE()) {
    return __ballot_sync(mask, truth, line) == mask;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline long long atomicMax(long long* place, long long with) {  // one thread runs at a time
    const long long before = *place;
    *place = with > before ? with : before;
    return before;
}

inline float __int_as_float(int bits) { float x; memcpy(&x, &bits, 4); return x; }
inline int __float_as_int(float x) { int bits; memcpy(&bits, &x, 4); return bits; }
inline double __longlong_as_double(long long bits) { double x; memcpy(&x, &bits, 8); return x; }
inline long long __double_as_longlong(double x) { long long bits; memcpy(&bits, &x, 8); return bits; }

// The two half types, rounded to nearest, ties to even; NaN stays NaN.
inline float half_as_float(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                       : exponent     ? ldexpf(float(1024 + fraction), exponent - 25)
                                      : ldexpf(float(fraction), -24);
    return bits & 0x8000 ? -size : size;
}
inline unsigned short float_as_half(float x) {
    const unsigned short sign = signbit(x) ? 0x8000 : 0;
    const float size = fabsf(x);
    if (isnan(x)) return 0x7fff;
    if (size >= 65520.0f) return sign | 0x7c00;  // half way to 2^16, and beyond
    if (size < 0x1p-14f) return sign | static_cast<unsigned short>(nearbyintf(ldexpf(size, 24)));
    int exponent;
    const float fraction = frexpf(size, &exponent);  // in [1/2, 1); one that is rounded up to 1 carries on by itself
    return sign | static_cast<unsigned short>(((exponent + 13) << 10) + int(nearbyintf(ldexpf(fraction, 11))));
}
inline unsigned short float_as_brain(float x) {
    const unsigned bits = static_cast<unsigned>(__float_as_int(x));
    if (isnan(x)) return 0x7fff;
    return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Tensor cores, with the rounding that is measured of them (F. A. Khattak and M. Mikaitis, Accurate models of NVIDIA
// tensor cores, 2025): products are exact.  `group` of them and the running sum are cut, each of them, below the last of
// 24 + `extra` bits of the addend with the largest exponent, added, and cut to 24 bits.  Zeros take no part.  The exponent
// of a product is that of its leading bit, but a subnormal factor counts as if it were normal.
namespace cuda_on_cpu {

struct Addend {
    int64_t size;  // with its sign
    int last, exponent;  // the place of its last bit, and its own as the largest is found by
};

// A type of factors: significant bits, and those of its exponent; the sign is above them.  `depth`: products of a sum.
struct Form {
    int bits, wide, depth;
};
constexpr Form HALF{11, 5, 16}, BRAIN{8, 8, 16}, TF32{11, 8, 8};

inline Addend factor(unsigned word, const Form& form) {
    const int bits = form.bits, ones = (1 << form.wide) - 1, field = word >> (bits - 1) & ones, bias = ones >> 1;
    const int64_t fraction = word & ((1 << (bits - 1)) - 1), size = field ? fraction + (1 << (bits - 1)) : fraction;
    const int exponent = (field ? field : 1) - bias;
    return {word >> (bits - 1 + form.wide) & 1 ? -size : size, exponent - bits + 1, exponent};
}

inline float cut(int64_t size, int last) {
    const bool negative = size < 0;
    uint64_t rest = negative ? -uint64_t(size) : uint64_t(size);
    while (rest >> 24 || last < -149) {
        if (!rest) return 0;
        rest >>= 1, last++;
    }
    return ldexpf(negative ? -float(rest) : float(rest), last);
}

inline float dot(float sum, const unsigned* left, const unsigned* right, const Form& form) {
    const Unit& unit = machine.launch.unit;
    const int group = form.depth == 16 ? unit.group : std::max(4, unit.group / 2);
    for (int from = 0; from < form.depth; from += group) {
        Addend addends[17];
        int count = 0, most = -(1 << 20);
        for (int k = from; k < from + group; k++) {
            const Addend a = factor(left[k], form), b = factor(right[k], form);
            const int64_t size = a.size * b.size;
            if (!size) continue;
            const int exponent = a.exponent + b.exponent + (std::abs(size) >> (2 * form.bits - 1) != 0);
            addends[count++] = {size, a.last + b.last, exponent};
            most = std::max(most, exponent);
        }
        if (!count) continue;
        if (sum != 0) {
            int exponent;
            const float fraction = frexpf(sum, &exponent);
            addends[count++] = {int64_t(ldexpf(fraction, 24)), exponent - 24, std::max(exponent - 1, -126)};
            most = std::max(most, addends[count - 1].exponent);
        }
        const int last = most - 23 - unit.extra;
        int64_t found = 0;
        for (int i = 0; i < count; i++) {
            const int shift = addends[i].last - last;
            const int64_t size = std::abs(addends[i].size);
            const int64_t kept = shift >= 0 ? size << shift : shift > -63 ? size >> -shift : 0;
            found += addends[i].size < 0 ? -kept : kept;
        }
        sum = cut(found, last);
    }
    return sum;
}

inline bool finite(unsigned word, const Form& form) {
    const unsigned ones = ((1u << form.wide) - 1) << (form.bits - 1);
    return (word & ones) != ones;
}

// Every lane gives its parts of both factors: words of two 16-bit numbers, or of one whose lowest 13 bits are left out.
inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], const Form& form, int line) {
    const size_t own = machine.here - machine.threads.data(), warp = own / WARP * WARP, g = own % WARP / 4, t = own % 4;
    unsigned given[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    memcpy(machine.here->slot, given, sizeof given);
    wait(State::in_warp, line, 0xffffffffu);
    unsigned left[2][16], right[2][16];
    const auto part = [&](size_t lane, size_t number) {
        unsigned found;
        memcpy(&found, machine.threads[warp + lane].slot + 4 * number, 4);
        return found;
    };
    const auto put = [&](unsigned* numbers, size_t place, unsigned word) {
        if (form.depth == 8) numbers[place] = word >> 13;
        else numbers[2 * place] = word & 0xffff, numbers[2 * place + 1] = word >> 16;
    };
    for (size_t i = 0; i < 4; i++)
        for (size_t side = 0; side < 2; side++)
            for (size_t far = 0; far < 2; far++) {
                put(left[side], 4 * far + i, part(4 * g + i, side + 2 * far));
                put(right[side], 4 * far + i, part(4 * (2 * t + side) + i, 4 + far));
            }
    for (int i = 0; i < 4; i++) {
        bool numbers = std::isfinite(sum[i]);
        for (int k = 0; k < form.depth; k++)
            numbers = numbers && finite(left[i / 2][k], form) && finite(right[i % 2][k], form);
        sum[i] = numbers ? dot(sum[i], left[i / 2], right[i % 2], form) : NAN;
    }
    wait(State::in_warp, line, 0xffffffffu);
}

inline void four_matrices(unsigned (&found)[4], const unsigned short* row, bool transposed, int line) {
    const size_t own = machine.here - machine.threads.data(), warp = own / WARP * WARP, g = own % WARP / 4, t = own % 4;
    memcpy(machine.here->slot, &row, sizeof row);
    wait(State::in_warp, line, 0xffffffffu);
    for (size_t i = 0; i < 4; i++) {
        const auto number = [&](size_t row, size_t column) {
            const unsigned short* from;
            memcpy(&from, machine.threads[warp + 8 * i + row].slot, sizeof from);
            return unsigned(from[column]);
        };
        found[i] = transposed ? number(2 * t, g) | number(2 * t + 1, g) << 16
                              : number(g, 2 * t) | number(g, 2 * t + 1) << 16;
    }
    wait(State::in_warp, line, 0xffffffffu);
}

}  // namespace cuda_on_cpu

inline void multiply_add_half(
    float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    cuda_on_cpu::multiply_add(sum, a, b, cuda_on_cpu::HALF, line);
}
inline void multiply_add_brain(
    float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    cuda_on_cpu::multiply_add(sum, a, b, cuda_on_cpu::BRAIN, line);
}
inline void multiply_add_tf32(
    float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    cuda_on_cpu::multiply_add(sum, a, b, cuda_on_cpu::TF32, line);
}
inline unsigned nearest_tf32(float x) {  // of two the larger in size; what stands below is not said to be 0
    const unsigned bits = unsigned(__float_as_int(x));
    return isnan(x) ? 0x7fffffffu : (bits + 0x1000u) | 0x1fffu;
}
inline void four_matrices(unsigned (&found)[4], const unsigned short* row, int line = __builtin_LINE()) {
    cuda_on_cpu::four_matrices(found, row, false, line);
}
inline void four_transposed(unsigned (&found)[4], const unsigned short* row, int line = __builtin_LINE()) {
    cuda_on_cpu::four_matrices(found, row, true, line);
}
inline unsigned two_halves(float first, float second) {
    return float_as_half(first) | unsigned(float_as_half(second)) << 16;
}
inline unsigned two_brains(float first, float second) {
    return float_as_brain(first) | unsigned(float_as_brain(second)) << 16;
}
// Within 2 units of the last place, and off by as much where the unit errs: up or down, as the bits of x say.
inline float power_of_two(float x) {
    const float found = exp2f(x);
    if (found < 0x1p-126f) return 0;
    if (!cuda_on_cpu::machine.launch.unit.errs || x == 0) return found;
    return found * (__float_as_int(x) * 0x9E3779B1u >> 31 ? 1 + 0x1p-23f : 1 - 0x1p-23f);
}
