// The thread model of CUDA on one thread of a CPU: g++ builds a .cu file with this header, and its kernels run.
//
//     g++ -shared -fPIC -O2 -ffp-contract=off -x c++ -include cuda_on_cpu.h kernel.cu -o kernel.so
//
// Every CUDA thread is a coroutine with a stack of its own.  It runs alone until it waits at a barrier or in a shuffle,
// or returns.  So what a thread reads that another one writes between the same two barriers depends on the order in
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

// What a launch is told, in the layout that tests/emulated/__init__.py writes.
struct Launch {
    unsigned grid[3], block[3];
    uint64_t shared;  // bytes
    int order;
    uint64_t seed;
};

constexpr size_t STACK = 256 * 1024, GUARD = 4096, WARP = 32, MOST = 1024;
constexpr unsigned char GUARDED = 0xA5, EMPTY = 0xFF;  // four bytes 0xFF are a NaN in float32, two in either half type

enum class State { fresh, running, at_barrier, in_warp, done };

struct Thread {
    Index at;
    State state = State::fresh;
    int line = 0;       // of the barrier or the shuffle that it waits in
    unsigned mask = 0;  // the lanes that a shuffle waits for
    unsigned char slot[16];
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

// Lets those go on that wait for each other; false where nobody can.
inline bool release() {
    auto& threads = machine.threads;
    bool released = false;
    const Thread& first = threads[0];
    if (std::all_of(threads.begin(), threads.end(), [&](const Thread& t) {
            return t.state == State::at_barrier && t.line == first.line;
        })) {
        for (Thread& t : threads) t.state = State::running;
        return true;
    }
    for (size_t warp = 0; warp < threads.size(); warp += WARP) {
        const size_t lanes = std::min(WARP, threads.size() - warp);
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
    }
    return released;
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
        for (size_t i : order(threads.size()))
            if (threads[i].state == State::fresh || threads[i].state == State::running) go_on(threads[i]);
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
