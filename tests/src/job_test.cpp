// Job: every key's value and default, and for every mistake one message with file, line and
// remedy. A case replaces one line of a good job file, so the line in the message is known.
#include "src/run/job.h"
#include "src/step/batch_statistics.h"
#include "src/update/loss_scale.h"

#include <unistd.h>

#include <sstream>

#include "src/network/model.h"
#include "tests/src/expect_error.h"

namespace lockstep {
namespace {

const char* const kGood =
    "name: good\n"                                                    // 1
    "seed: 3\n"                                                       // 2
    "model: {zoo: mlp, input: [4], hidden: [8], classes: 3}\n"        // 3
    "data: {train: {path: a, input: x, target: y}, validation: b}\n"  // 4
    "batch: {global: 32, micro: 4}\n"                                 // 5
    "loss: softmax_cross_entropy\n"                                   // 6
    "optimizer: {sgd: {lr: 0.1, momentum: 0.9}}\n"                    // 7
    "schedule: {cosine: {warmup_epochs: 1}}\n"                        // 8
    "train: {epochs: 10, early_stopping: {patience: 3}}\n"            // 9
    "checkpoint: {every_epochs: 2, keep: 5, best: accuracy}\n"        // 10
    "init: he_normal\n"                                               // 11
    "threads: 2\n";                                                   // 12

/// kGood with line `number` replaced.
std::string with_line(int number, const std::string& line) {
  std::stringstream in(kGood), out;
  std::string text;
  for (int n = 1; std::getline(in, text); ++n) out << (n == number ? line : text) << "\n";
  return out.str();
}

Job read(const std::string& text) { return read_job(Config::from_text(text, "job.yaml")); }
Job read_with(int number, const std::string& line) { return read(with_line(number, line)); }

TEST(Job, ReadsEveryKey) {
  const Job job = read(kGood);
  EXPECT_EQ(job.name, "good");
  EXPECT_EQ(job.seed, 3u);
  EXPECT_EQ(job.threads, 2);
  EXPECT_EQ(job.train->path, "a");
  EXPECT_EQ(job.train->input, "x");
  EXPECT_EQ(job.train->target, "y");
  EXPECT_EQ(job.validation->path, "b");  // a path alone
  EXPECT_EQ(job.global_batch, 32);
  EXPECT_EQ(job.micro_batch, 4);
  EXPECT_EQ(job.n_micro(), 8);
  EXPECT_EQ(job.loss.name, "softmax_cross_entropy");
  EXPECT_EQ(job.optimizer.lr, 0.1);
  EXPECT_EQ(job.optimizer.rule->slots(), std::vector<std::string>{"velocity"});
  EXPECT_EQ(job.schedule.name, "cosine");
  EXPECT_EQ(job.schedule.warmup_epochs, 1);
  EXPECT_EQ(job.epochs, 10);
  EXPECT_EQ(job.early_stopping_patience, 3);
  EXPECT_EQ(job.checkpoint_every_epochs, 2);
  EXPECT_EQ(job.keep, 5);
  EXPECT_EQ(job.best.name, "accuracy");
  EXPECT_EQ(job.init.name, "he_normal");
  EXPECT_EQ(build_model(*job.model, {}).n_parameters(), 4 * 8 + 8 + 8 * 3 + 3);
}

TEST(Job, DevicesAndTheirPrecisions) {
  EXPECT_EQ(read_with(2, "device: cpu").device, Device{});
  EXPECT_EQ(read_with(2, "precision: bfloat16").precision, DType::kBFloat16);
  if (cuda_device_count() > 0) {
    EXPECT_EQ(read(kGood).device.kind, Device::Kind::kCuda);
    EXPECT_TRUE(read_with(2, "precision: tf32").tf32);
    EXPECT_EQ(read_with(2, "precision: float16").precision, DType::kFloat16);
    return;
  }
  EXPECT_EQ(read(kGood).device, Device{});
  for (const auto& [line, remedy] : {std::pair{"device: cuda", "device: cpu"},
                                     {"precision: tf32", "precision: float32"},
                                     {"precision: float16", "precision: float32"}}) {
    try {
      read_with(2, line);
      FAIL() << line << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(error.remedy().find(remedy), std::string::npos) << error.what();
    }
  }
}

TEST(Job, ThreadsBeyondTheCoresMustBeMeant) {
  const auto n_cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const std::string more = std::to_string(n_cores + 1);
  const auto with_threads = [](const std::string& threads) {
    return read_with(12, "device: cpu\nthreads: " + threads);
  };
  EXPECT_NO_THROW(check_thread_count(with_threads(std::to_string(n_cores))));
  expect_error([&] { check_thread_count(with_threads(more)); },
               {"threads", more + " threads per rank", "more_than_cores: true"});
  const Job meant = with_threads("{count: " + more + ", more_than_cores: true}");
  EXPECT_NO_THROW(check_thread_count(meant));
  EXPECT_EQ(meant.threads, n_cores + 1);
  expect_error([&] { check_thread_count(with_threads("{count: " + more + "}")); }, {"more_than_cores"});
  expect_error([&] { with_threads("40000"); }, {"threads", "at most 4096"});
  expect_error([&] { with_threads("{count: 40000, more_than_cores: true}"); }, {"count", "at most 4096"});
}

TEST(Job, NumbersThatNoRunCanMeanAreRefused) {
  const auto data = [](const std::string& more) {
    return read_with(4, "data: {train: {path: a, input: x, target: y}, validation: b, " + more + "}");
  };
  expect_error([&] { data("threads: 20000"); }, {"job.yaml:4: data.threads", "at most 256"});
  expect_error([&] { data("prefetch: 1000000"); }, {"job.yaml:4: data.prefetch", "at most 10000"});
  for (const char* length : {"epochs: 2305843009213693952", "steps: 9223372036854775807"}) {
    expect_error([&] { read_with(9, std::string("train: {") + length + "}"); },
                 {"job.yaml:9: train.", "at most 1000000000"});
  }
  expect_error([] { read_with(10, "checkpoint: {every_steps: 4611686018427387904}"); },
               {"job.yaml:10: checkpoint.every_steps", "at most"});
}

TEST(Job, NamesAreFolders) {
  for (const char* name : {"..", ".", "a/b", "\"a\\e[2Jb\"", "\"a\\nb\"", "''"})
    expect_error([&] { read_with(1, std::string("name: ") + name); }, {"job.yaml:1: name", "folder"});
  expect_error([&] { read_with(1, "name: " + std::string(300, 'a')); }, {"job.yaml:1: name"});
  for (const char* name : {"...", "a b", "größe-1.2_x"})
    EXPECT_EQ(read_with(1, std::string("name: ") + name).name, name);
}

TEST(Job, ThatOfACheckpointReadsAsThisMachineCan) {
  Job job =
      read_with(4, "data: {train: a, validation: b, threads: 200, prefetch: 9999, prefetch_mb: 1.0e+6}");
  job.threads = 4000;
  use_on_this_machine(job);
  EXPECT_LE(job.threads, sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_EQ(job.data_threads, Job{}.data_threads);
  EXPECT_EQ(job.prefetch, Job{}.prefetch);
  EXPECT_EQ(job.prefetch_bytes, Job{}.prefetch_bytes);
}

TEST(LossScale, HalvesAtOnceAndDoublesAfterManyGoodStepsOneStepLate) {
  LossScale scale{65536, 65536, 0};
  scale.advance(true);
  EXPECT_EQ(scale.now, 65536);  // the next micro-batch is on its way
  EXPECT_EQ(scale.next, 32768);
  scale.advance(true);
  EXPECT_EQ(scale.now, 32768);
  EXPECT_EQ(scale.next, 32768);
  for (int64_t i = 0; i < LossScale::kGoodSteps; ++i) scale.advance(false);
  EXPECT_EQ(scale.now, 32768);
  EXPECT_EQ(scale.next, 65536);
  for (int i = 0; i < 100; ++i) scale.advance(true);
  EXPECT_EQ(scale.now, LossScale::kSmallest);
}

TEST(Job, DefaultsOfTheShortestJob) {
  const Job job = read("name: s\nmodel: {zoo: mlp}\nbatch: 16\noptimizer: adam\ntrain: {steps: 5}\n");
  EXPECT_EQ(job.seed, 1u);
  EXPECT_EQ(job.threads, 1);
  EXPECT_FALSE(job.train.has_value());
  EXPECT_EQ(job.global_batch, 16);
  EXPECT_EQ(job.micro_batch, 16);
  EXPECT_EQ(job.reduction, Reduction::kTree);
  EXPECT_EQ(job.first_bucket_bytes, 0);  // measured
  EXPECT_EQ(job.bucket_bytes, 0);
  EXPECT_EQ(job.normalize, Job::Normalize::kAuto);
  EXPECT_TRUE(job.shuffle.is_on);
  EXPECT_EQ(job.prefetch, 4);
  EXPECT_EQ(job.cache_bytes, int64_t{1} << 30);
  EXPECT_EQ(job.optimizer.name, "adam");
  EXPECT_EQ(job.optimizer.lr, 1e-3);
  EXPECT_EQ(job.schedule.name, "constant");
  EXPECT_EQ(job.steps, 5);
  EXPECT_EQ(job.epochs, 0);
  EXPECT_EQ(job.log_every_steps, 0);
  EXPECT_EQ(job.validate_every_epochs, 1);
  EXPECT_EQ(job.early_stopping_patience, 0);
  EXPECT_FALSE(job.stop_without_mistakes);
  EXPECT_EQ(job.checkpoint_every_epochs, 1);
  EXPECT_EQ(job.checkpoint_every_steps, 0);
  EXPECT_EQ(job.checkpoint_every_minutes, 0);
  EXPECT_EQ(job.keep, 3);
}

TEST(Job, BestFollowsTheLoss) {
  EXPECT_EQ(read("name: s\nmodel: {}\nbatch: 1\noptimizer: adam\ntrain: {steps: 5}\n").best.name, "accuracy");
  EXPECT_EQ(read("name: s\nmodel: {}\nbatch: 1\nloss: l2\noptimizer: adam\ntrain: {steps: 5}\n").best.name,
            "loss");
  EXPECT_EQ(read_with(10, "checkpoint: {best: loss}").best.name, "loss");
}

TEST(Job, TheTextOfAResolvedJobReadsAsTheSameJob) {
  Config config = Config::from_text(kGood, "job.yaml");
  config.set("optimizer.lr=0.5");
  config.set("data.shuffle=false");
  const Job job = read_job(config);
  const Job again = read(job.text);
  EXPECT_EQ(again.text, job.text);
  EXPECT_EQ(again.optimizer.lr, 0.5);
  EXPECT_FALSE(again.shuffle.is_on);
  EXPECT_EQ(again.train->target, "y");
}

struct BadLine {
  int number;
  std::string line;
  std::vector<std::string> parts;  // besides "job.yaml:<number>"
};

class BadJob : public testing::TestWithParam<BadLine> {};

TEST_P(BadJob, IsOneMessageWithLineAndRemedy) {
  std::vector<std::string> parts = GetParam().parts;
  parts.push_back("job.yaml:" + std::to_string(GetParam().number));
  EXPECT_NO_THROW(read(kGood));
  expect_error([] { read_with(GetParam().number, GetParam().line); }, parts);
}

const BadLine kBadLines[] = {
    // unknown keys, everywhere
    {2, "sede: 3", {"unknown key 'sede'", "did you mean 'seed'?"}},
    {4, "data: {train: a, validaton: b}", {"data.validaton", "did you mean 'validation'?"}},
    {4, "data: {train: {path: a, targt: y}, validation: b}", {"data.train.targt", "did you mean 'target'?"}},
    {5, "batch: {global: 32, mikro: 4}", {"batch.mikro", "did you mean 'micro'?"}},
    {6, "loss: {l2: {meen: true}}", {"loss.l2.meen", "did you mean 'mean'?"}},
    {7, "optimizer: {sgd: {lr: 0.1, momentun: 0.9}}", {"optimizer.sgd.momentun", "did you mean 'momentum'?"}},
    {7, "optimizer: {adam: {beta3: 0.9}}", {"optimizer.adam.beta3", "did you mean 'beta1'?"}},
    {8,
     "schedule: {cosine: {warmup: 1}}",
     {"schedule.cosine.warmup", "known keys here: final, warmup_epochs"}},
    {9,
     "train: {epochs: 10, early_stoping: {patience: 3}}",
     {"train.early_stoping", "did you mean 'early_stopping'?"}},
    {9, "train: {epochs: 10, early_stopping: {patience: 3, delta: 1}}", {"train.early_stopping.delta"}},
    {10, "checkpoint: {every_epoch: 2}", {"checkpoint.every_epoch", "did you mean 'every_epochs'?"}},
    {11, "init: {normal: {sd: 1}}", {"init.normal.sd", "did you mean 'std'?"}},
    // unknown names
    {6,
     "loss: crossentropy",
     {"unknown loss 'crossentropy'",
      "known losses: softmax_cross_entropy, binary_cross_entropy, l1, l2, hinge, perceptron"}},
    {7,
     "optimizer: {adamm: {lr: 1}}",
     {"unknown optimizer 'adamm'", "did you mean 'adam'?", "sgd, adam, adamw"}},
    {8, "schedule: cosin", {"unknown schedule 'cosin'", "did you mean 'cosine'?", "constant, step, cosine"}},
    {11,
     "init: he_norm",
     {"unknown initialisation 'he_norm'", "did you mean 'he_normal'?", "glorot_uniform"}},
    // wrong types
    {1, "name: [a]", {"name", "expected a text", "a list"}},
    {2, "seed: one", {"seed", "a whole number", "'one'"}},
    {4, "data: {train: a, validation: b, shuffle: 2}", {"data.shuffle", "true or false"}},
    {4, "data: {train: a, validation: b, shuffle: {block: 2}}", {"data.shuffle", "'window' is missing"}},
    {4, "data: {train: a, validation: b, shuffle: {window: 0}}", {"data.shuffle.window", "at least 1"}},
    {4,
     "data: {train: a, validation: b, shuffle: {window: 8, block: 9}}",
     {"data.shuffle.block", "between 1 and"}},
    {4, "data: {train: a, validation: b, threads: -1}", {"data.threads", "negative"}},
    {4, "data: {train: a, validation: b, prefetch_mb: -1}", {"data.prefetch_mb", "negative"}},
    {4, "data: {train: a, validation: b, cache_mb: 1e300}", {"data.cache_mb", "at most 1000000000000"}},
    {4, "data: {train: a, validation: b, threads: 4294967297}", {"data.threads", "at most 256"}},
    {5, "batch: {global: 9223372036854775807, micro: 2}", {"batch.global", "at most 1099511627776"}},
    {5, "batch: {global: 32, bucket_mb: 1e300}", {"batch.bucket_mb", "at most 1000000000000"}},
    {5, "batch: {global: 32.5}", {"batch.global", "a whole number"}},
    {5, "batch: [32]", {"batch"}},
    {7, "optimizer: {sgd: {lr: fast}}", {"optimizer.sgd.lr", "a number", "'fast'"}},
    {7, "optimizer: {adam: 0.1}", {"optimizer.adam", "expected options", "'0.1'"}},
    {7, "optimizer: [sgd]", {"optimizer", "expected one name"}},
    {7, "optimizer: {sgd: {lr: 1}, adam: {lr: 2}}", {"optimizer", "expected one name"}},
    {8, "schedule: {cosine: 3}", {"schedule.cosine", "expected options"}},
    {10, "checkpoint: 5", {"checkpoint", "expected options", "'5'"}},
    {12, "seed: 4", {"'seed' is given twice"}},
    // values
    {1, "name: a/b", {"name", "cannot be the name of a run", "folder"}},
    {1, "name: ''", {"name", "cannot be the name of a run"}},
    {2, "seed: -1", {"seed", "must not be negative"}},
    {2, "device: gpu", {"device", "choose one of: auto, cpu, cuda"}},
    {2, "precision: double", {"precision", "choose one of: float32"}},
    {12, "threads: 0", {"threads", "must be at least 1"}},
    {4, "data: {train: a, validation: b, prefetch: 0}", {"data.prefetch", "must be at least 1"}},
    {4,
     "data: {train: a, validation: b, normalize: zscore}",
     {"data.normalize", "auto, none, unit, mean, standardize"}},
    {4, "data: {validation: b}", {"data", "'train' is missing"}},
    {4, "data: {train: {input: x}, validation: b}", {"data.train", "'path' is missing"}},
    {5, "batch: {global: 0}", {"batch.global", "must be at least 1"}},
    {5, "batch: {global: 32, micro: 0}", {"batch.micro", "must be at least 1"}},
    {5,
     "batch: {global: 100, micro: 8}",
     {"batch.micro", "100 is not divisible by micro-batch 8", "96, 104"}},
    {5, "batch: {global: 4, micro: 8}", {"batch.micro", "not divisible", "nearest global batches: 8"}},
    {5,
     "batch: {global: 48, micro: 8}",
     {"batch.global", "6 micro-batches per step are not a power of two", "32, 64", "reduction: native"}},
    {5, "batch: {global: 32, micro: 4, reduction: ring}", {"batch.reduction", "tree, native, hierarchical"}},
    {5, "batch: {global: 32, bucket_mb: 0}", {"batch.bucket_mb", "must be positive"}},
    {5, "batch: {global: 32, first_bucket_mb: -1}", {"batch.first_bucket_mb", "must be positive"}},
    {5, "batch: {micro: 4}", {"batch", "'global' is missing"}},
    {7, "optimizer: {sgd: {momentum: 0.9}}", {"optimizer.sgd", "'lr' is missing"}},
    {7, "optimizer: {sgd: {lr: -1}}", {"optimizer.sgd.lr", "must not be negative"}},
    {7, "optimizer: {sgd: {lr: .inf}}", {"optimizer.sgd.lr", "not finite"}},
    {7, "optimizer: {sgd: {lr: 1, momentum: 1}}", {"optimizer.sgd.momentum", "[0, 1)"}},
    {7, "optimizer: {sgd: {lr: 1, nesterov: true}}", {"optimizer.sgd.nesterov", "needs momentum"}},
    {7,
     "optimizer: {sgd: {lr: 1, weight_decay: -1}}",
     {"optimizer.sgd.weight_decay", "must not be negative"}},
    {7, "optimizer: {adam: {beta1: 1}}", {"optimizer.adam.beta1", "[0, 1)"}},
    {7, "optimizer: {adamw: {beta2: -0.1}}", {"optimizer.adamw.beta2", "[0, 1)"}},
    {7, "optimizer: {adam: {epsilon: 0}}", {"optimizer.adam.epsilon", "must be positive"}},
    {8, "schedule: {step: {gamma: 0.1}}", {"schedule.step", "every_epochs or epochs"}},
    {8, "schedule: {step: {every_epochs: 3, epochs: [3]}}", {"schedule.step", "every_epochs or epochs"}},
    {8, "schedule: {cosine: {warmup_epochs: -1}}", {"schedule.cosine.warmup_epochs", "must not be negative"}},
    {9, "train: {}", {"train", "either epochs or steps"}},
    {9, "train: {epochs: 1, steps: 1}", {"train", "either epochs or steps"}},
    {9, "train: {epochs: -1}", {"train", "epochs"}},
    {9, "train: {epochs: -1, steps: 5}", {"train.epochs", "must not be negative"}},
    {9, "train: {epochs: 1, log_every_steps: -1}", {"train.log_every_steps", "must not be negative"}},
    {9,
     "train: {epochs: 1, validate_every_epochs: 0}",
     {"train.validate_every_epochs", "must be at least 1"}},
    {9,
     "train: {epochs: 1, early_stopping: {patience: 0}}",
     {"train.early_stopping.patience", "must be at least 1"}},
    {9, "train: {epochs: 1, stop_when: bored}", {"train.stop_when", "no_mistakes"}},
    {9, "train: {epochs: 1, early_stopping: {}}", {"train.early_stopping", "'patience' is missing"}},
    {10, "checkpoint: {every_epochs: -1}", {"checkpoint.every_epochs", "must not be negative"}},
    {10, "checkpoint: {every_steps: -1}", {"checkpoint.every_steps", "must not be negative"}},
    {10, "checkpoint: {every_minutes: -1}", {"checkpoint.every_minutes", "must not be negative"}},
    {10, "checkpoint: {best: f1}", {"checkpoint.best", "accuracy, loss"}},
    {11, "init: {constant: {}}", {"init.constant", "'value' is missing"}},
};

INSTANTIATE_TEST_SUITE_P(Lines, BadJob, testing::ValuesIn(kBadLines), [](const auto& bad) {
  return "line" + std::to_string(bad.param.number) + "_case" + std::to_string(bad.index);
});

TEST(Job, MissingKeysAndCombinations) {
  expect_error([] { read("name: a\nmodel: {}\nbatch: 8\noptimizer: adam\n"); },
               {"job.yaml", "'train' is missing"});
  expect_error([] { read("model: {}\nbatch: 8\noptimizer: adam\ntrain: {steps: 1}\n"); },
               {"'name' is missing"});
  expect_error([] { read("name: a\nmodel: {}\nbatch: 8\ntrain: {steps: 1}\n"); }, {"'optimizer' is missing"});
  expect_error([] { read("name: a\nmodel: {}\noptimizer: adam\ntrain: {steps: 1}\nbatsh: 8\n"); },
               {"'batch' is missing", "is 'batsh' meant to be 'batch'?"});
  expect_error([] { read_with(4, "data: a"); }, {"job.yaml:4", "data"});
  expect_error([] { read_with(4, "data: {train: a}"); },
               {"job.yaml:9: train.early_stopping", "needs validation data"});
  expect_error(
      [] {
        read(
            "name: a\nmodel: {}\nbatch: 8\noptimizer: adam\nloss: l2\n"
            "train: {epochs: 1, stop_when: no_mistakes}\n");
      },
      {"train.stop_when", "no mistakes", "classifies"});
  expect_error([] { read_with(6, "loss: l2"); }, {"job.yaml:10: checkpoint.best", "no accuracy"});
}

TEST(Job, NativeReductionTakesAnyNumberOfMicroBatches) {
  const Job job = read_with(5, "batch: {global: 48, micro: 8, reduction: native}");
  EXPECT_EQ(job.n_micro(), 6);
  EXPECT_NO_THROW(check_rank_count(job, 3));
  EXPECT_NO_THROW(check_rank_count(job, 6));
  expect_error([&] { check_rank_count(job, 4); },
               {"4 ranks", "6 micro-batches", "start 3 ranks", "batch.micro=12"});
}

TEST(Job, RankCounts) {
  const Job job = read(kGood);  // V = 8
  for (int size : {1, 2, 4, 8}) EXPECT_NO_THROW(check_rank_count(job, size)) << size;
  expect_error([&] { check_rank_count(job, 3); },
               {"3 ranks", "power-of-two", "start 2 or 4 ranks", "batch.reduction=native"});
  expect_error([&] { check_rank_count(job, 16); },
               {"16 ranks", "8 micro-batches per step (global batch 32 / micro-batch 4)", "start 8 ranks",
                "batch.micro=2"});
}

TEST(BatchStatistics, OfOneValuePerChannelAreRefused) {
  const auto check = [](const std::string& batch, int64_t n_samples, const char* norm = "batch_norm",
                        const char* input = "[4]") {
    const Job job = read_with(5, "batch: " + batch);
    const std::string text =
        std::string("model: {input: ") + input + ", layers: [" + norm + ", flatten, {affine: 3}]}";
    check_batch_statistics(build_model(Config::from_text(text, "m.yaml").at("model"), {}), job, n_samples);
  };
  expect_error([&] { check("{global: 8, micro: 1}", 64); },
               {"layer 'batch_norm1' (batch_norm): more than one value per channel", "batch.micro is 1"});
  expect_error([&] { check("{global: 8, micro: 4}", 65); },
               {"batch_norm1", "batch.micro = 4 leaves one of the 65 samples alone"});
  EXPECT_NO_THROW(check("{global: 8, micro: 4}", 66));
  EXPECT_NO_THROW(check("{global: 8, micro: 4}", 64));
  const char* const whole = "{batch_norm: {synchronized: true}}";
  EXPECT_NO_THROW(check("{global: 8, micro: 1}", 64, whole));
  EXPECT_NO_THROW(check("{global: 8, micro: 4}", 69, whole));
  expect_error([&] { check("{global: 8, micro: 4}", 65, whole); }, {"batch.global = 8 leaves one"});
  EXPECT_NO_THROW(check("{global: 8, micro: 1}", 65, "batch_norm", "[4, 2, 2]"));  // four places
  expect_error([&] { check("{global: 8, micro: 1}", 64, "batch_norm", "[4, 1, 1]"); }, {"(4, 1, 1)"});
}

// Models ------------------------------------------------------------------------------------

Graph model(const std::string& line, const ModelContext& context = {}) {
  return build_model(*read_with(3, line).model, context);
}

TEST(Model, StandsForItsNaturalInputWhereNothingTellsOne) {
  const Graph natural = model("model: {zoo: lenet5}");
  EXPECT_EQ(natural.vertex(0).shape, (Shape{1, 32, 32}));
  EXPECT_EQ(natural.vertex(natural.output()).shape, Shape{10});
  const Graph three = model("model: {zoo: lenet5, classes: 3}");
  EXPECT_EQ(three.vertex(three.output()).shape, Shape{3});
  // With any input, from data or job, the classes are to be told too.
  for (const auto& [line, context] :
       {std::pair<std::string, ModelContext>{"model: {zoo: lenet5}", {{1, 28, 28}, 0}},
        {"model: {zoo: lenet5, input: [1, 28, 28]}", {}}}) {
    expect_error([&] { model(line, context); }, {"number of classes is unknown"});
  }
  EXPECT_EQ(model("model: {zoo: lenet5}", {{1, 28, 28}, 4}).vertex(0).shape, (Shape{1, 28, 28}));
}

TEST(Model, MistakesNameLineAndRemedy) {
  const std::string line3 = "job.yaml:3";
  expect_error([] { model("model: {zoo: lenet, input: [1, 28, 28], classes: 3}"); },
               {line3, "unknown model 'lenet'", "did you mean 'lenet5'?", "lenet5, linear, logistic, mlp"});
  expect_error([] { model("model: {zoo: mlp, input: [4], classes: 3, hiden: [8]}"); },
               {line3, "model.hiden", "did you mean 'hidden'?"});
  expect_error([] { model("model: {zoo: mlp, classes: 3}"); },
               {line3, "input shape is unknown", "input: [C, H, W]"});
  expect_error([] { model("model: {zoo: mlp, input: [4]}"); },
               {line3, "number of classes is unknown", "classes: K"});
  expect_error([] { model("model: {zoo: mlp, input: [4], hidden: [0], classes: 3}"); },
               {line3, "model.hidden", "at least 1"});
  expect_error([] { model("model: {zoo: mlp, input: [0], classes: 3}"); },
               {line3, "model.input", "at least 1"});
  expect_error(
      [] {
        model("model: {zoo: mlp, input: [5], classes: 3}", {{1, 2, 2}, 0});
      },
      {line3, "model.input", "(5)", "(1, 2, 2)"});
  expect_error([] { model("model: {input: [4]}"); }, {line3, "one of zoo, layers and graph"});
  expect_error([] { model("model: {zoo: mlp, layers: [relu], input: [4]}"); },
               {line3, "one of zoo, layers and graph"});
  expect_error([] { model("model: {layers: [], input: [4]}"); }, {line3, "the list is empty"});
  expect_error([] { model("model: {zoo: lenet5, input: [1, 28, 28], classes: 3, activation: gelu}"); },
               {line3, "model.activation", "tanh, relu, sigmoid"});
  expect_error([] { model("model: {zoo: lenet5, input: [1, 28, 28], classes: 3, width: 0}"); },
               {line3, "model.width", "must be positive"});
}

TEST(Model, LayerMistakesNameLineAndRemedy) {
  const std::string line3 = "job.yaml:3";
  expect_error([] { model("model: {layers: [rellu], input: [4]}"); },
               {line3, "model.layers[0]", "unknown layer 'rellu'", "did you mean 'relu'?", "known layers:"});
  expect_error([] { model("model: {layers: [{affine: {featurs: 3}}], input: [4]}"); },
               {line3, "model.layers[0]", "is 'featurs' meant to be 'features'?"});
  expect_error([] { model("model: {layers: [{affine: {features: 3, bais: true}}], input: [4]}"); },
               {line3, "did you mean 'bias'?"});
  expect_error([] { model("model: {layers: [{affine: 0}], input: [4]}"); }, {line3, "at least 1"});
  expect_error([] { model("model: {layers: [{relu: 3}], input: [4]}"); }, {line3, "expected options"});
  expect_error([] { model("model: {layers: [{conv: {kernel: 3}}], input: [1, 8, 8]}"); },
               {line3, "'channels' is missing"});
  expect_error([] { model("model: {layers: [{conv: {channels: 2, kernel: [1, 2, 3]}}], input: [1, 8, 8]}"); },
               {line3, "[vertical, horizontal]"});
  expect_error(
      [] { model("model: {layers: [{conv: {channels: 2, padding: [1, 2, 3]}}], input: [1, 8, 8]}"); },
      {line3, "[top, bottom, left, right]"});
  expect_error([] { model("model: {layers: [{conv: {channels: 2, stride: 0}}], input: [1, 8, 8]}"); },
               {line3, "at least 1"});
  expect_error([] { model("model: {layers: [{max_pool: {kernel: 0}}], input: [1, 8, 8]}"); },
               {line3, "at least 1"});
}

TEST(Model, ListsOfLayersTakeNamesAndTheDatasShape) {
  const Graph graph = model(
      "model: {layers: [{conv: {channels: 4, kernel: 3, name: first}}, relu, {max_pool: 2}, flatten, "
      "{affine: 3}, {affine: {features: 2, bias: false}}]}",
      {{1, 8, 8}, 0});
  ASSERT_EQ(graph.size(), 7);
  const char* const names[] = {"input", "first", "relu1", "max_pool1", "flatten1", "affine1", "affine2"};
  for (int v = 0; v < graph.size(); ++v) EXPECT_EQ(graph.vertex(v).name, names[v]);
  EXPECT_EQ(graph.vertex(3).shape, (Shape{4, 3, 3}));
  EXPECT_EQ(graph.n_parameters(), (4 * 9 + 4) + (36 * 3 + 3) + 3 * 2);
}

}  // namespace
}  // namespace lockstep
