// The thread model of CUDA on one thread of a CPU: g++ builds a .cu file with this header, and its kernels run.
//
//     g++ -shared -fPIC -O1 -ffp-contract=off -Wno-psabi -x c++ -include cuda_on_cpu.h kernel.cu -o kernel.so
//
// Every CUDA thread is a coroutine with a stack of its own.  It runs alone until it waits at a barrier or in a shuffle,
// or returns, and a warp goes on until all of its lanes wait at a barrier or return.  So what a thread reads that
// another one writes between the same two barriers depends on the order in which threads run: a kernel without a race
// has the same result in every order (ascending, descending, shuffled), and one that lacks a barrier has not.  Blocks
// run one after the other in such an order too.  Shared memory is full of NaN when a block begins and has guards on
// both sides.  A launch ends with a sentence where a thread leaves before a barrier, where threads wait at different
// ones, where a shuffle names lanes that do not come, and where a guard was written to.
//
// A kernel is declared with KERNEL(name, Arguments, threads) { … a.member … } and takes one struct by value.  Its
// dynamic shared memory is `shared_memory`.
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
    unsigned char given[48], answer[16];  // of an operation of a warp
    bool answered = false;
};

// Where a thread goes on; one that has returned waits there for the next block's.
struct Coroutine {
    jmp_buf place;
    bool idle = false;
};

struct Machine {
    Launch launch;
    std::function<void()> body;
    std::vector<Thread> threads;
    std::vector<Coroutine> coroutines = std::vector<Coroutine>(MOST);
    char* stacks = nullptr;
    std::vector<unsigned char> shared;
    Thread* here = nullptr;
    Index block;
    jmp_buf scheduler;
    ucontext_t entry, unused;
    std::string fault;
    uint64_t random = 0;
};

static Machine machine;  // one of each library

inline unsigned char* shared() { return machine.shared.data() + GUARD; }

inline std::string named(const Index& i) {
    char words[64];
    snprintf(words, sizeof words, "(%u, %u, %u)", i.x, i.y, i.z);
    return words;
}

// The coroutine of the thread that runs.
inline Coroutine& own() { return machine.coroutines[machine.here - machine.threads.data()]; }

// Back to the scheduler, until it lets this thread go on.
inline void leave() {
    if (!_setjmp(own().place)) _longjmp(machine.scheduler, 1);
}

inline void wait(State state, int line, unsigned mask) {
    Thread& thread = *machine.here;
    thread.state = state, thread.line = line, thread.mask = mask;
    leave();
}

inline void begin() {
    for (;;) {
        machine.body();
        machine.here->state = State::done, own().idle = true;
        leave();
    }
}

inline void go_on(Thread& thread) {
    machine.here = &thread;
    const bool fresh = thread.state == State::fresh, known = !fresh || own().idle;
    thread.state = State::running, own().idle = false;
    if (_setjmp(machine.scheduler)) return;
    if (known) _longjmp(own().place, 1);
    getcontext(&machine.entry);
    machine.entry.uc_stack.ss_sp = machine.stacks + (machine.here - machine.threads.data()) * STACK;
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
        const Thread& asking = threads[warp + lane];
        if (asking.state != State::in_warp || !(asking.mask >> lane & 1)) continue;
        const unsigned mask = asking.mask;
        bool all = lanes == WARP || !(mask >> lanes);
        for (size_t other = 0; all && other < lanes; other++) {
            const Thread& t = threads[warp + other];
            if (mask >> other & 1) all = t.state == State::in_warp && t.mask == mask && t.line == asking.line;
        }
        if (!all) continue;
        for (size_t other = 0; other < lanes; other++)
            if (mask >> other & 1) threads[warp + other].state = State::running;
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
    if (count > MOST) return "a block of more than 1024 threads";
    if (!machine.stacks)  // for every launch; the system gives the pages that are used
        machine.stacks = static_cast<char*>(
            mmap(nullptr, MOST * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (size_t i = 0; i < count; i++)
        machine.threads[i].at = {unsigned(i % b[0]), unsigned(i / b[0] % b[1]), unsigned(i / b[0] / b[1])};
    for (size_t i : order(blocks)) {
        machine.block = {unsigned(i % g[0]), unsigned(i / g[0] % g[1]), unsigned(i / g[0] / g[1])};
        run_block();
        if (!machine.fault.empty()) break;
    }
    return machine.fault.empty() ? nullptr : machine.fault.c_str();
}

inline size_t lane() { return (machine.here - machine.threads.data()) % WARP; }

// An operation of the lanes of a mask.  Each gives something; when all have come, the first that goes on finds what all
// of them are answered: answer(lanes), where lanes[0] … lanes[31] are the threads of the warp.
template <class Answered, class Given, class Answer>
Answered together(unsigned mask, int line, const Given& given, const Answer& answer) {
    static_assert(sizeof(Given) <= sizeof(Thread::given) && sizeof(Answered) <= sizeof(Thread::answer), "too large");
    Thread& own = *machine.here;
    memcpy(own.given, &given, sizeof given);
    wait(State::in_warp, line, mask);
    if (!own.answered) {
        Thread* const lanes = &own - lane();
        answer(lanes);
        for (size_t i = 0; i < WARP; i++)
            if (mask >> i & 1) lanes[i].answered = true;
    }
    own.answered = false;
    Answered found;
    memcpy(static_cast<void*>(&found), own.answer, sizeof found);
    return found;
}

template <class T>
T given(const Thread& thread) {
    T found;
    memcpy(&found, thread.given, sizeof found);
    return found;
}

// What lane `source` of the warp gives, when every lane of the mask has given its own.
template <class T>
T exchanged(unsigned mask, T own, size_t source, int line) {
    struct Given {
        size_t source;
        T own;
    };
    return together<T>(mask, line, Given{source, own}, [mask](Thread* lanes) {
        for (size_t i = 0; i < WARP; i++) {
            if (!(mask >> i & 1)) continue;
            const size_t from = given<Given>(lanes[i]).source;
            if (from < WARP && (mask >> from & 1)) {
                const T found = given<Given>(lanes[from]).own;
                memcpy(lanes[i].answer, &found, sizeof found);
            } else
                memset(lanes[i].answer, EMPTY, sizeof(T));  // a lane outside the mask: undefined on the card
        }
    });
}

// The barrier of all threads, after which each of them has read what the others gave.
inline bool any(bool own, int line) {
    machine.here->given[0] = own;
    wait(State::at_barrier, line, 0);
    bool found = false;
    for (const Thread& t : machine.threads) found = found || t.given[0];
    wait(State::at_barrier, line, 0);
    return found;
}

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
    using namespace cuda_on_cpu;
    return together<unsigned>(mask, line, truth != 0, [mask](Thread* lanes) {
        unsigned found = 0;
        for (size_t i = 0; i < WARP; i++)
            if (mask >> i & 1) found |= unsigned(given<bool>(lanes[i])) << i;
        for (size_t i = 0; i < WARP; i++)
            if (mask >> i & 1) memcpy(lanes[i].answer, &found, sizeof found);
    });
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
    const int rest = bits & 0x7fff;
    const float size = rest > 0x7c00    ? NAN
                       : rest == 0x7c00 ? INFINITY
                                        : __int_as_float(rest << 13) * 0x1p112f;  // subnormal numbers too
    return bits & 0x8000 ? -size : size;
}
inline unsigned short float_as_half(float x) {
    const unsigned bits = unsigned(__float_as_int(x)), size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    if (isnan(x)) return 0x7fff;
    if (fabsf(x) >= 65520.0f) return static_cast<unsigned short>(sign | 0x7c00);  // half way to 2^16, and beyond
    if (fabsf(x) < 0x1p-14f) return static_cast<unsigned short>(sign | unsigned(nearbyintf(fabsf(x) * 0x1p24f)));
    // one that is rounded up to the next power of two carries on by itself
    return static_cast<unsigned short>(sign | ((size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13));
}
inline unsigned short float_as_brain(float x) {
    const unsigned bits = static_cast<unsigned>(__float_as_int(x));
    if (isnan(x)) return 0x7fff;
    return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Tensor cores, with the rounding that is measured of them (F. A. Khattak and M. Mikaitis, Accurate models of NVIDIA
// tensor cores, 2025): products are exact.  `group` of them and the running sum are cut, each of them, below the last
// of 24 + `extra` bits of the addend with the largest exponent, added, and cut to 24 bits.  Zeros take no part.  The
// exponent of a product is that of its leading bit, but a subnormal factor counts as if it were normal.  What is given
// and is infinite counts as no number: sums that meet it are NaN.
namespace cuda_on_cpu {

// A type of factors: significant bits, and those of its exponent; the sign is above them.  `depth`: products of a sum.
template <int bits_, int wide_, int depth_>
struct Form {
    static constexpr int bits = bits_, wide = wide_, depth = depth_;
};
using HalfForm = Form<11, 5, 16>;
using BrainForm = Form<8, 8, 16>;
using Tf32Form = Form<11, 8, 8>;

inline double power(int exponent) { return __longlong_as_double((exponent + 1023ll) << 52); }

// The eight columns of a product.
typedef double Numbers __attribute__((vector_size(64)));
typedef int64_t Wholes __attribute__((vector_size(64)));
typedef float Singles __attribute__((vector_size(32)));

// What a warp multiplies and adds to, as numbers that doubles hold exactly; a factor that is no number is NaN.
struct Products {
    double left[16][16];
    int64_t left_exponent[16][16];
    Numbers right[16], sum[16];
    Wholes right_exponent[16];
};

struct Taken {
    double number;
    int64_t exponent;
};

template <class Form>
Taken taken(unsigned word) {
    constexpr int sign = Form::bits - 1 + Form::wide, ones = (1 << Form::wide) - 1, bias = ones >> 1;
    const unsigned rest = word & ((1u << sign) - 1), negative = word >> sign & 1;
    const int field = int(rest >> (Form::bits - 1));
    const double size = __int_as_float(int(negative << 31 | rest << (24 - Form::bits)));  // as bits of float32
    return {field == ones ? NAN : size * power(127 - bias), (field ? field : 1) - bias};
}

// Every addend is found as a whole number of units of the last place that is kept, and so is their sum.
template <class Form>
void multiply(Products& a) {
    constexpr int64_t NONE = -(1 << 20);
    constexpr double LEAST = 0x1p-126, LARGEST = 0x1.fffffep127;
    const Unit& unit = machine.launch.unit;
    const int group = Form::depth == 16 ? unit.group : std::max(4, unit.group / 2);
    const auto exponents = [](Numbers x) { return ((Wholes)x >> 52 & 2047) - 1023; };
    const auto wholes = [](Numbers x) { return __builtin_convertvector(x, Wholes); };
    const auto numbers = [](Wholes x) { return __builtin_convertvector(x, Numbers); };
    const auto larger = [](Wholes x, Wholes y) { return x > y ? x : y; };
    for (int row = 0; row < 16; row++) {
        Numbers sum = a.sum[row], no_number = 0 * sum;  // NaN where a factor or the sum is none, and 0 elsewhere
        for (int from = 0; from < Form::depth; from += group) {
            Wholes most = NONE + Wholes{};
            for (int k = from; k < from + group; k++) {
                const Numbers product = a.left[row][k] * a.right[k];
                const Wholes exponent = larger(exponents(product), a.left_exponent[row][k] + a.right_exponent[k]);
                most = larger(most, product != 0 ? exponent : NONE);
                no_number += 0 * product;
            }
            const Wholes none = most == NONE;
            most = larger(most, (sum != 0) & ~none ? larger(exponents(sum), -126 + Wholes{}) : NONE);
            const Wholes last = none ? 0 : most - 23 - unit.extra;
            const Numbers units = (Numbers)((1023 - last) << 52), unit_size = (Numbers)((1023 + last) << 52);
            Wholes found = wholes(sum * units);
            for (int k = from; k < from + group; k++) found += wholes(a.left[row][k] * a.right[k] * units);
            // cut to 24 bits, and below the least normal number of float32 to a multiple of its least one
            const Numbers whole = numbers(found) * unit_size, cut = (Numbers)((Wholes)whole & -(1ll << 29));
            const Wholes small = (whole < LEAST) & (whole > -LEAST);
            const Numbers next = small ? numbers(wholes((small ? whole : 0) * 0x1p149)) * 0x1p-149 : cut;
            const Wholes beyond = (sum > LARGEST) | (sum < -LARGEST);  // beyond float32: stays infinite to the end
            sum = none | beyond ? sum : __builtin_convertvector(__builtin_convertvector(next, Singles), Numbers);
        }
        a.sum[row] = no_number == 0 ? sum : NAN;
    }
}

// Every lane gives its parts of both factors: words of two 16-bit numbers, or of one whose lowest 13 bits are left out.
template <class Form>
void multiply_add(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line) {
    struct Given {
        unsigned a[4], b[2];
        float sum[4];
    };
    struct Answered {
        float sum[4];
    };
    Given own;
    memcpy(own.a, a, sizeof own.a), memcpy(own.b, b, sizeof own.b), memcpy(own.sum, sum, sizeof own.sum);
    const Answered found = together<Answered>(0xffffffffu, line, own, [](Thread* lanes) {
        Products all;
        constexpr int wide = Form::depth / 8;  // numbers of a word
        const auto number = [](unsigned word, int k) {
            return taken<Form>(wide == 1 ? word >> 13 : word >> 16 * k & 0xffff);
        };
        for (int l = 0; l < 32; l++) {
            const Given of = given<Given>(lanes[l]);
            const int g = l / 4, t = l % 4;
            for (int i = 0; i < 4; i++) {
                for (int k = 0; k < wide; k++) {
                    const int row = g + i % 2 * 8, at = wide * (t + i / 2 * 4) + k;
                    const Taken found = number(of.a[i], k);
                    all.left[row][at] = found.number, all.left_exponent[row][at] = found.exponent;
                }
                all.sum[g + i / 2 * 8][2 * t + i % 2] = double(of.sum[i]);
            }
            for (int i = 0; i < 2; i++)
                for (int k = 0; k < wide; k++) {
                    const int at = wide * (t + i * 4) + k;
                    const Taken found = number(of.b[i], k);
                    all.right[at][g] = found.number, all.right_exponent[at][g] = found.exponent;
                }
        }
        multiply<Form>(all);
        for (int l = 0; l < 32; l++) {
            Answered found;
            for (int i = 0; i < 4; i++) found.sum[i] = float(all.sum[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2]);
            memcpy(lanes[l].answer, &found, sizeof found);
        }
    });
    memcpy(sum, found.sum, sizeof found.sum);
}

inline void four_matrices(unsigned (&found)[4], const unsigned short* row, bool transposed, int line) {
    struct Answered {
        unsigned words[4];
    };
    const Answered all = together<Answered>(0xffffffffu, line, row, [transposed](Thread* lanes) {
        for (int l = 0; l < 32; l++) {
            Answered words;
            for (int i = 0; i < 4; i++) {
                const auto number = [&](int row, int column) {
                    return unsigned(given<const unsigned short*>(lanes[8 * i + row])[column]);
                };
                const int g = l / 4, t = l % 4;
                words.words[i] = transposed ? number(2 * t, g) | number(2 * t + 1, g) << 16
                                            : number(g, 2 * t) | number(g, 2 * t + 1) << 16;
            }
            memcpy(lanes[l].answer, &words, sizeof words);
        }
    });
    memcpy(found, all.words, sizeof all.words);
}

}  // namespace cuda_on_cpu

inline void multiply_add_half(
    float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    cuda_on_cpu::multiply_add<cuda_on_cpu::HalfForm>(sum, a, b, line);
}
inline void multiply_add_brain(
    float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    cuda_on_cpu::multiply_add<cuda_on_cpu::BrainForm>(sum, a, b, line);
}
inline void multiply_add_tf32(
    float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    cuda_on_cpu::multiply_add<cuda_on_cpu::Tf32Form>(sum, a, b, line);
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
