// main() of MPI tests: starts MPI, runs all tests on every rank, fails if any rank failed,
// and ends a hung run with the name of the test that hung.
#include <gtest/gtest.h>
#include <mpi.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "comm/communicator.h"

namespace {

constexpr int kWatchdogSeconds = 90;
std::atomic<int64_t> last_event_s{0};
std::atomic<const char*> current_suite{"(start-up)"};
std::atomic<const char*> current_test{""};

int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class RankReporter : public testing::EmptyTestEventListener {
 public:
  explicit RankReporter(int rank) : rank_(rank) {}
  void OnTestStart(const testing::TestInfo& info) override {
    current_suite = info.test_suite_name();
    current_test = info.name();
    last_event_s = now_s();
  }
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank_, result.file_name() ? result.file_name() : "?",
                 result.line_number(), result.message());
  }

 private:
  int rank_;
};

void watch(int rank) {
  for (;;) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    if (now_s() - last_event_s <= kWatchdogSeconds) continue;
    std::fprintf(stderr, "[rank %d] watchdog: %s.%s has run for more than %d s; a collective hangs\n", rank,
                 current_suite.load(), current_test.load(), kWatchdogSeconds);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  lockstep::MpiSession session(&argc, &argv);
  lockstep::Communicator world = lockstep::Communicator::world();
  last_event_s = now_s();
  std::thread(watch, world.rank()).detach();

  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (!world.is_root()) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankReporter(world.rank()));
  const int failed = RUN_ALL_TESTS();
  return world.all_reduce_max(failed) == 0 ? 0 : 1;
}
