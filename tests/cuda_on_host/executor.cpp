// The scheduler behind executor.h. Worker fibers take the threads of a block one after another; one
// whose thread must wait hands over to the next that can go on. A warp that can go on does so before
// other threads begin, so that warps drift apart as far as the barriers let them.
#include <cuda_on_host/executor.h>
#include <cuda_on_host/language.h>

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_on_host/fiber_stack.h"
#include "tests/cuda_on_host/shared_memory.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_host {

namespace {

enum class Wait { kNothing, kBarrier, kExchange, kVote };

/// A fiber that runs threads, or the code that called run_grid. `context` says where it goes on.
struct Worker {
  boost::context::fiber context;
  StackBounds stack;
  int thread = 0;  // number in the block: x fastest
  Wait wait = Wait::kNothing;
  Place place;
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0, result = 0;
};

bool same_place(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string text_of(const Place& place) {
  return std::string(place.file_name()) + ":" + std::to_string(place.line());
}

Order order_of_environment() {
  const char* value = std::getenv("LOCKSTEP_HOST_ORDER");
  const std::string name = value == nullptr ? "forward" : value;
  if (name == "forward") return Order::kForward;
  if (name == "reversed") return Order::kReversed;
  if (name == "shuffled") return Order::kShuffled;
  fail("LOCKSTEP_HOST_ORDER is '%s'; it may be forward, reversed or shuffled", name.c_str());
}

class Executor {
 public:
  void run(dim3 grid, dim3 block, const std::function<void()>& thread_body);

  void block_barrier(const Place& place);
  uint64_t warp_operation(Wait kind, const Place& place, unsigned mask, uint64_t value, int source);
  int thread() const { return running_->thread; }

  std::mutex mutex;
  Order order = order_of_environment();
  int64_t n_kernels = 0;

 private:
  static constexpr int kLanes = 32;

  void order_threads(dim3 block);
  void run_block();
  /// The worker that goes on when the running one cannot; main_ when the block is over.
  Worker* next();
  Worker* idle_worker();
  void work();
  void switch_to(Worker* worker);
  void wait_until_released();
  void release_warp(int warp, unsigned mask);
  [[noreturn]] void fail_stuck();
  std::string name_of(int thread) const;

  const std::function<void()>* body_ = nullptr;
  Worker main_;
  Worker* running_ = &main_;
  Worker* leaving_ = nullptr;  // who switched last
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
  std::vector<Worker*> ready_;  // the last goes on first

  // The running block.
  int n_threads_ = 0, n_started_ = 0, n_ended_ = 0, n_at_barrier_ = 0;
  std::vector<int> in_order_;                 // of the threads
  std::vector<std::vector<int>> warp_lanes_;  // of each warp, in the same order
  std::vector<uint3> index_of_;               // threadIdx of each thread
  std::vector<Worker*> waiting_;              // of each thread; null: not begun, running or ended
  std::vector<unsigned> arrived_;             // of each warp: lanes at a warp operation
};

void Executor::run(dim3 grid, dim3 block, const std::function<void()>& thread_body) {
  body_ = &thread_body;
  gridDim = grid;
  blockDim = block;
  order_threads(block);
  const int64_t n_blocks = static_cast<int64_t>(grid.x) * grid.y * grid.z;
  // Every stride prime to n visits all blocks once.
  int64_t stride = 1;
  if (order == Order::kShuffled)
    for (stride = n_blocks / 2 + n_blocks / 8 + 1; std::gcd(stride, n_blocks) != 1;) ++stride;
  int64_t at = order == Order::kReversed ? n_blocks - 1 : order == Order::kShuffled ? n_blocks / 3 : 0;
  for (int64_t i = 0; i < n_blocks; ++i) {
    const auto b = static_cast<uint64_t>(at);
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / grid.x / grid.y)};
    run_block();
    at = order == Order::kReversed ? at - 1 : (at + stride) % n_blocks;
  }
  ++n_kernels;
}

void Executor::order_threads(dim3 block) {
  n_threads_ = static_cast<int>(block.x * block.y * block.z);
  const int n_warps = (n_threads_ + kLanes - 1) / kLanes;
  in_order_.resize(static_cast<size_t>(n_threads_));
  std::iota(in_order_.begin(), in_order_.end(), 0);
  if (order == Order::kReversed) std::reverse(in_order_.begin(), in_order_.end());
  if (order == Order::kShuffled) {
    std::mt19937 random(static_cast<unsigned>(n_threads_));
    for (size_t i = in_order_.size(); i > 1; --i) std::swap(in_order_[i - 1], in_order_[random() % i]);
  }
  warp_lanes_.assign(static_cast<size_t>(n_warps), {});
  for (int thread : in_order_) warp_lanes_[static_cast<size_t>(thread / kLanes)].push_back(thread % kLanes);
  index_of_.clear();
  for (unsigned z = 0; z < block.z; ++z)
    for (unsigned y = 0; y < block.y; ++y)
      for (unsigned x = 0; x < block.x; ++x) index_of_.push_back({x, y, z});
  waiting_.assign(static_cast<size_t>(n_threads_), nullptr);
  arrived_.assign(static_cast<size_t>(n_warps), 0u);
}

void Executor::run_block() {
  spoil_shared_memory();
  n_started_ = n_ended_ = n_at_barrier_ = 0;
  switch_to(idle_worker());
}

Worker* Executor::next() {
  if (!ready_.empty()) {
    Worker* worker = ready_.back();
    ready_.pop_back();
    return worker;
  }
  if (n_started_ < n_threads_) return idle_worker();
  if (n_ended_ < n_threads_) fail_stuck();
  return &main_;
}

Worker* Executor::idle_worker() {
  if (idle_.empty()) {
    Worker& worker = *workers_.emplace_back(std::make_unique<Worker>());
    StackMaker stacks(worker.stack, workers_.size());
    worker.context = boost::context::fiber(std::allocator_arg, stacks, [this](boost::context::fiber&& from) {
      arrived_on_stack(running_->stack, leaving_->stack);
      leaving_->context = std::move(from);
      work();
      return boost::context::fiber();  // not reached: work() goes on for ever
    });
    return &worker;
  }
  Worker* worker = idle_.back();
  idle_.pop_back();
  return worker;
}

void Executor::work() {
  Worker* self = running_;
  for (;;) {
    while (ready_.empty() && n_started_ < n_threads_) {
      self->thread = in_order_[static_cast<size_t>(n_started_++)];
      threadIdx = index_of_[static_cast<size_t>(self->thread)];
      (*body_)();
      ++n_ended_;
    }
    idle_.push_back(self);
    switch_to(next());
  }
}

void Executor::switch_to(Worker* worker) {
  Worker* self = running_;
  if (worker == self) return;  // idle, and the only one with work
  leaving_ = self;
  running_ = worker;
  leave_stack(self->stack, worker->stack);
  boost::context::fiber from = std::move(worker->context).resume();
  arrived_on_stack(self->stack, leaving_->stack);
  leaving_->context = std::move(from);
}

void Executor::wait_until_released() {
  Worker* self = running_;
  switch_to(next());
  threadIdx = index_of_[static_cast<size_t>(self->thread)];
}

void Executor::block_barrier(const Place& place) {
  Worker* self = running_;
  self->wait = Wait::kBarrier;
  self->place = place;
  waiting_[static_cast<size_t>(self->thread)] = self;
  if (++n_at_barrier_ < n_threads_) return wait_until_released();
  for (size_t i = in_order_.size(); i-- > 0;) {
    Worker*& other = waiting_[static_cast<size_t>(in_order_[i])];
    if (!same_place(other->place, place))
      fail("divergent barrier: %s waits at __syncthreads() in %s, but %s at another one in %s",
           name_of(self->thread).c_str(), text_of(place).c_str(), name_of(other->thread).c_str(),
           text_of(other->place).c_str());
    if (other != self) ready_.push_back(other);
    other = nullptr;
  }
  n_at_barrier_ = 0;
}

uint64_t Executor::warp_operation(Wait kind, const Place& place, unsigned mask, uint64_t value, int source) {
  Worker* self = running_;
  const int warp = self->thread / kLanes, lane = self->thread % kLanes;
  if ((mask >> lane & 1u) == 0)
    fail("%s is lane %d of its warp, which the mask 0x%08x of its warp operation in %s does not name",
         name_of(self->thread).c_str(), lane, mask, text_of(place).c_str());
  self->wait = kind;
  self->place = place;
  self->mask = mask;
  self->source = source;
  self->value = value;
  waiting_[static_cast<size_t>(self->thread)] = self;
  unsigned& arrived = arrived_[static_cast<size_t>(warp)];
  arrived |= 1u << lane;
  if ((arrived & mask) == mask)
    release_warp(warp, mask);
  else
    wait_until_released();
  return self->result;
}

void Executor::release_warp(int warp, unsigned mask) {
  Worker* self = running_;
  Worker** lanes = waiting_.data() + static_cast<ptrdiff_t>(warp) * kLanes;
  unsigned votes = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    const Worker& other = *lanes[lane];
    if (other.wait != self->wait || other.mask != mask || !same_place(other.place, self->place))
      fail(
          "divergent warp: %s is at the warp operation in %s with mask 0x%08x, but %s, which it names, at "
          "that in %s with mask 0x%08x",
          name_of(self->thread).c_str(), text_of(self->place).c_str(), mask, name_of(other.thread).c_str(),
          text_of(other.place).c_str(), other.mask);
    if (other.wait == Wait::kExchange && (mask >> other.source & 1u) == 0)
      fail("%s reads lane %d in %s, which the mask 0x%08x does not name", name_of(other.thread).c_str(),
           other.source, text_of(other.place).c_str(), mask);
    if (other.wait == Wait::kVote && other.value != 0) votes |= 1u << lane;
  }
  for (int lane = 0; lane < kLanes; ++lane)
    if ((mask >> lane & 1u) != 0)
      lanes[lane]->result = self->wait == Wait::kVote ? votes : lanes[lanes[lane]->source]->value;
  const std::vector<int>& in_order = warp_lanes_[static_cast<size_t>(warp)];
  for (size_t i = in_order.size(); i-- > 0;) {
    const int lane = in_order[i];
    if ((mask >> lane & 1u) == 0) continue;
    if (lanes[lane] != self) ready_.push_back(lanes[lane]);
    lanes[lane] = nullptr;
  }
  arrived_[static_cast<size_t>(warp)] &= ~mask;
}

std::string Executor::name_of(int thread) const {
  const uint3 t = index_of_[static_cast<size_t>(thread)];
  char text[96];
  std::snprintf(text, sizeof text, "thread (%u, %u, %u) of block (%u, %u, %u)", t.x, t.y, t.z, blockIdx.x,
                blockIdx.y, blockIdx.z);
  return text;
}

void Executor::fail_stuck() {
  const Worker* waiter = nullptr;
  int n_at_warp = 0;
  for (const Worker* worker : waiting_) {
    if (worker == nullptr) continue;
    if (worker->wait != Wait::kBarrier) ++n_at_warp;
    if (waiter == nullptr || (worker->wait != Wait::kBarrier && waiter->wait == Wait::kBarrier))
      waiter = worker;
  }
  const bool at_barrier = waiter->wait == Wait::kBarrier;
  fail(
      "divergent %s: %s waits for ever at %s in %s (mask 0x%08x): of %d threads %d have ended, %d wait "
      "at __syncthreads() and %d at warp operations",
      at_barrier ? "barrier" : "warp", name_of(waiter->thread).c_str(),
      at_barrier ? "__syncthreads()" : "a warp operation", text_of(waiter->place).c_str(),
      at_barrier ? 0xFFFFFFFFu : waiter->mask, n_threads_, n_ended_, n_at_barrier_, n_at_warp);
}

/// Never destroyed: its fibers would have to be unwound.
Executor& executor() {
  static Executor& the_executor = *new Executor;
  return the_executor;
}

Executor* running = nullptr;  // within run_grid

}  // namespace

void set_order(Order order) {
  const std::lock_guard lock(executor().mutex);
  executor().order = order;
}

int64_t kernels_run() {
  const std::lock_guard lock(executor().mutex);
  return executor().n_kernels;
}

void run_grid(dim3 grid, dim3 block, const std::function<void()>& thread_body) {
  const std::lock_guard lock(executor().mutex);
  running = &executor();
  running->run(grid, block, thread_body);
}

void block_barrier(const Place& place) { running->block_barrier(place); }

uint64_t exchange(const Place& place, unsigned mask, uint64_t value, int source) {
  return running->warp_operation(Wait::kExchange, place, mask, value, source);
}

unsigned vote(const Place& place, unsigned mask, bool predicate) {
  return static_cast<unsigned>(running->warp_operation(Wait::kVote, place, mask, predicate ? 1 : 0, 0));
}

int lane() { return running->thread() % 32; }

void fail(const char* sentence, ...) {
  va_list values;
  va_start(values, sentence);
  std::fputs("cuda_on_host: ", stderr);
  std::vfprintf(stderr, sentence, values);
  std::fputs("\n", stderr);
  va_end(values);
  std::abort();
}

}  // namespace cuda_on_host
