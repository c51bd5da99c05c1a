// What a job says of its data, and of what micro-batches of them are: the key data, and of others the seed,
// the device and the sizes of batches, which follow from it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "io/loader/sampler.h"
#include "kernels/device.h"
#include "kernels/mix.h"
#include "src/data/augment/augment.h"
#include "src/network/model_options.h"

namespace lockstep {

struct DataSource {
  std::string path;                           // empty where every field has its own
  std::string input, target;                  // field names; empty: found by their usual names
  std::map<std::string, std::string> inputs;  // several: the model's input -> field
  struct Place {
    std::string path, field;
  };
  std::map<std::string, Place> places;  // of fields that lie in another file or folder, by their names here
  std::string layout;                   // of images: NCHW or NHWC; empty: as the files say
  bool external_storage = false, partial = false;  // see DatasetOptions
  /// The dataset is one stream, cut into windows of so many steps. 0: it is not.
  struct Window {
    int64_t length = 0, stride = 0;
    /// What a target is: each step's next one (texts), or the `horizon` steps behind the window (series).
    enum class Target { kAuto, kNext, kAfter } target = Target::kAuto;
    int64_t horizon = 1;
    bool operator==(const Window&) const = default;
  } window;
  int64_t max_length = 0;  // of rows of unequal lengths: longer ones are cut; 0: none is
  bool is_masked = false;  // the network guesses masked tokens of its input
};

/// Cross-validation: training on all but one of equal parts of the training data, validation on that one.
struct FoldSpec {
  int64_t of = 0, held_out = 1;  // parts, and which is held out, from 1; of = 0: there are none
  bool is_stratified = false;    // each class in all parts alike
  std::string group_by;          // field whose equal values stay in one part; "": none
  uint64_t seed = 0;             // of the parts, the same for all of them
};

/// A part of a job knows its own options and those of the parts to its left.
struct DataOptions : ModelOptions {
  uint64_t seed = 1;
  Device device;
  int64_t global_batch = 0, micro_batch = 0;
  int64_t n_micro() const { return global_batch / micro_batch; }  // V

  static constexpr int kMostDataThreads = 256;  // of a rank
  std::optional<DataSource> train, validation;
  FoldSpec fold;  // then validation data are a part of the training data
  enum class Normalize { kAuto, kNone, kUnit, kMean, kStandardize, kMeanImage } normalize = Normalize::kAuto;
  AugmentSpec augment;  // of training images
  MixOptions mix;       // of training samples, behind their augmentation
  /// Tokens that the network is to guess, by `token` of the input's vocabulary ("": <mask> or [MASK]).
  struct Masking {
    double probability = 0;  // 0: none
    std::string token;
  } masking;
  Shuffle shuffle;
  /// Of training samples. kAuto: streams where the network carries states, by length where rows have
  /// lengths, else shuffled. kBalanced: every class equally often.
  enum class Order { kAuto, kShuffled, kStreams, kByLength, kBalanced } order = Order::kAuto;
  int data_threads = 0;  // of each rank, that read and decode; 0: as the device and the cores suggest
  int64_t prefetch = 4;  // micro-batches, at first
  int64_t prefetch_bytes = int64_t{256} << 20;  // up to which it may grow
  int64_t cache_bytes = int64_t{1} << 30;       // of each host
  enum class VerifyData { kAuto, kAlways, kNever } verify_data = VerifyData::kAuto;  // before the first step
};

/// The keys mixup and cutmix of `data` (mixing.cpp), and fold (fold.cpp).
MixOptions read_mixing(const Config& data);
FoldSpec read_fold(const Config& data);
/// The key `data`.
void read_data(const Config& root, DataOptions& options);

}  // namespace lockstep
