// One record per process, of atomics that are read apart: a reader may see the work of one moment with the
// step of the next, which is good enough for a message.
#include "comm/activity.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstring>

namespace lockstep {
namespace {

constexpr const char* kNoWork = "starting";

struct Record {
  std::atomic<const char*> work{kNoWork}, collective{nullptr};
  std::atomic<int64_t> step{0}, since_ns{0};
  std::atomic<int> bucket{-1};
};
Record record;
thread_local bool tells = false;

int64_t now_ns() {
  using namespace std::chrono;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

void set(std::atomic<const char*>& place, const char* value) {
  place.store(value, std::memory_order_relaxed);
  record.since_ns.store(now_ns(), std::memory_order_relaxed);
}

}  // namespace

std::string Activity::str() const {
  std::string text = work;
  if (collective) {
    const bool says_more = *work != '\0' && std::strcmp(work, collective) != 0;
    text = says_more ? fmt::format("{}, in {}", work, collective) : std::string(collective);
  }
  return collective && bucket >= 0 ? fmt::format("{}, bucket {}", text, bucket) : text;
}

void start_telling_activity() {
  tells = true;
  set(record.work, kNoWork);
}
void stop_telling_activity() { tells = false; }

Activity current_activity() {
  Activity now;
  now.step = record.step.load(std::memory_order_relaxed);
  now.work = record.work.load(std::memory_order_relaxed);
  now.collective = record.collective.load(std::memory_order_relaxed);
  now.bucket = record.bucket.load(std::memory_order_relaxed);
  now.for_s = 1e-9 * static_cast<double>(now_ns() - record.since_ns.load(std::memory_order_relaxed));
  return now;
}

void tell_step(int64_t step) {
  if (tells) record.step.store(step, std::memory_order_relaxed);
}

void tell_bucket(int bucket) { record.bucket.store(bucket, std::memory_order_relaxed); }

Work::Work(const char* what) {
  if (!tells) return;
  before_ = record.work.load(std::memory_order_relaxed);
  set(record.work, what);
}

Work::~Work() {
  if (before_) set(record.work, before_);
}

InCollective::InCollective(const char* which)
    : told_(tells && !record.collective.load(std::memory_order_relaxed)) {
  if (told_) set(record.collective, which);
}

InCollective::~InCollective() {
  if (told_) set(record.collective, nullptr);
}

}  // namespace lockstep
