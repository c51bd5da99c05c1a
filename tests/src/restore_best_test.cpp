// A program's run that restores its best weights holds them after finish(), on every rank: those of the best
// checkpoint, bit by bit, which last.h5 then names.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "io/checkpoint/checkpoint.h"
#include "src/run/train.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

TEST(RestoreBest, TheReplicaHoldsTheBestWeights) {
  Communicator world = Communicator::world();
  std::unique_ptr<TemporaryFolder> folder;
  std::string path;
  if (world.is_root()) {
    folder = std::make_unique<TemporaryFolder>();
    path = folder->path();
    for (const char* name : {"train", "val"}) {
      FixtureField input{"input", {64, 5}, "float32", {}}, target{"target", {64}, "int64", {}};
      const int salt = name[0] == 't' ? 0 : 5;
      for (int i = 0; i < 64 * 5; ++i)
        input.values.push_back(((i + salt) * 37 % 23 - 11) / 8.0 + (i % 5 == i / 5 % 3));
      // Of the validation data some are labelled wrongly, so that being sure costs more and more.
      for (int i = 0; i < 64; ++i) target.values.push_back((i + (salt > 0 && i % 3 == 0)) % 3);
      write_hdf5(path + "/" + name + ".h5", {input, target});
    }
  }
  path = world.broadcast_string(path);
  for (const bool shards : {false, true}) {
    // A rate at which the validation loss soon rises.
    const Value job{{"name", "best"},
                    {"model", {{"zoo", "mlp"}, {"classes", 3}, {"hidden", std::vector<int>{8}}}},
                    {"data", {{"train", path + "/train.h5"}, {"validation", path + "/val.h5"}}},
                    {"batch", {{"global", 16}, {"micro", 4}, {"shard_optimizer", shards}}},
                    {"optimizer", {{"adam", {{"lr", 0.3}}}}},
                    {"checkpoint", {{"best", "loss"}}},
                    {"train", {{"epochs", 8}, {"restore_best", true}}},
                    {"device", "cpu"}};
    const Job read = make_job(job);
    lockstep::Run run(read, world, {.out = path + (shards ? "/sharded" : "/run"), .prints = false});
    while (run.goes_on()) run.advance();
    const ParameterArena& arena = run.replica().arena();
    const float* weights = arena.host().as<float>();
    const std::vector<float> last(weights, weights + arena.n_elements());
    const RunResult result = run.finish();
    ASSERT_LT(result.best_step, result.step) << "the test needs a best step before the last";
    const std::string checkpoints = result.run_folder + "/checkpoints/";
    EXPECT_EQ(fs::read_symlink(checkpoints + "last.h5"), checkpoint_file_name(result.best_step));
    int64_t n_compared = 0, n_changed = 0;
    for (const Segment& segment : arena.segments()) {
      std::vector<float> best(static_cast<size_t>(segment.n_elements()));
      load_checkpoint(checkpoints + "best.h5",
                      {{"/parameters/" + segment.name, segment.shape, DType::kFloat32, best.data()}});
      for (size_t i = 0; i < best.size(); ++i, ++n_compared) {
        const size_t at = static_cast<size_t>(segment.offset) + i;
        EXPECT_EQ(arena.host().as<float>()[at], best[i]) << segment.name;
        n_changed += last[at] != best[i];
      }
    }
    EXPECT_EQ(n_compared, 5 * 8 + 8 + 8 * 3 + 3);
    EXPECT_GT(n_changed, 30);
    world.barrier();
  }
}

}  // namespace
}  // namespace lockstep
