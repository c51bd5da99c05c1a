#include "src/data/data_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/config/numbers.h"

namespace lockstep {

namespace {

/// FIELD, or {path: FILE, field: FIELD} for one that lies elsewhere; then its name is made of both. "":
/// absent.
std::string read_field(const Config& config, const std::string& key, DataSource& source) {
  const std::optional<Config> found = config.find(key);
  if (!found) return "";
  if (!found->is_map()) return config.get_string(key);
  DataSource::Place place;
  place.path = found->get_string("path");
  for (const char* name : {"field", "input", "target"})  // the last two as at the source itself
    if (place.field.empty()) place.field = found->get_string(name, "");
  if (place.field.empty())
    throw found->error_at(
        "field", "is missing: the name of the dataset in that file",
        "for instance {path: features.h5, field: input}; `lockstep inspect FILE` lists the names");
  found->finish();
  const std::string name = place.path + ":" + place.field;
  source.places[name] = place;
  return name;
}

/// window: 64, or {length: 64, stride: 32, target: after, horizon: 1}.
DataSource::Window read_window(const Config& source) {
  DataSource::Window window;
  if (!source.has("window")) return window;
  Config options = source.at("window");
  options.positional("length");
  window.length = read_whole(options, "length", 0, 1, int64_t{1} << 30);
  window.stride = read_whole(options, "stride", window.length, 1, int64_t{1} << 30);
  window.horizon = read_whole(options, "horizon", 1, 1, int64_t{1} << 30);
  const std::string target = options.get_choice("target", "auto", {"auto", "next", "after"});
  window.target = target == "next"    ? DataSource::Window::Target::kNext
                  : target == "after" ? DataSource::Window::Target::kAfter
                                      : DataSource::Window::Target::kAuto;
  options.finish();
  return window;
}

DataSource read_source(const Config& data, const std::string& key) {
  Config source = data.at(key);
  source.positional("path");
  DataSource result;
  result.path = source.get_string("path", "");
  result.input = read_field(source, "input", result);
  result.target = read_field(source, "target", result);
  result.layout = source.get_choice("layout", "auto", {"auto", "NCHW", "NHWC"});
  if (result.layout == "auto") result.layout.clear();
  result.external_storage = source.get_bool("external_storage", false);
  result.partial = source.get_bool("partial", false);
  result.window = read_window(source);
  result.max_length = read_whole(source, "max_length", 0, 0, int64_t{1} << 30);
  if (const std::optional<Config> inputs = source.find("inputs")) {
    for (const std::string& name : inputs->keys()) result.inputs[name] = read_field(*inputs, name, result);
    if (!result.input.empty())
      throw source.error_at("input", "input and inputs are both given", "give either input or inputs");
    inputs->finish();
  }
  if (result.path.empty() && result.places.empty()) source.get_string("path");  // says that it is missing
  source.finish();
  return result;
}

/// true, false, or {window: N, block: B}. Without a block a window mixes 64 of them.
Shuffle read_shuffle(const Config& data) {
  Shuffle shuffle;
  const std::optional<Config> found = data.find("shuffle");
  if (!found || !found->is_map()) {
    shuffle.is_on = data.get_bool("shuffle", true);
    return shuffle;
  }
  shuffle.window = found->get_int("window");
  if (shuffle.window < 1)
    throw found->error_at("window", fmt::format("must be at least 1, found {}", shuffle.window),
                          "it counts samples: for instance window: 65536");
  shuffle.block = found->get_int("block", std::max<int64_t>(1, shuffle.window / 64));
  if (shuffle.block < 1 || shuffle.block > shuffle.window)
    throw found->error_at(
        "block",
        fmt::format("must be between 1 and the window of {}, found {}", shuffle.window, shuffle.block),
        "leave block out for a 64th of the window");
  found->finish();
  return shuffle;
}

}  // namespace

namespace {

/// masking: 0.15, or {probability: 0.15, token: "[MASK]"}.
DataOptions::Masking read_masking(const Config& data) {
  DataOptions::Masking masking;
  if (!data.has("masking")) return masking;
  Config options = data.at("masking");
  options.positional("probability");
  masking.probability = options.get_double("probability", 0.15);
  masking.token = options.get_string("token", "");
  if (!(masking.probability > 0 && masking.probability < 1))
    throw options.error_at("probability", fmt::format("must lie in (0, 1), found {}", masking.probability),
                           "the usual one is 0.15");
  options.finish();
  return masking;
}

}  // namespace

void read_data(const Config& root, DataOptions& options) {
  const std::optional<Config> data = root.find("data");
  if (!data) return;  // `inspect` and `bench step` need none; training says so itself
  options.train = read_source(*data, "train");
  if (data->has("validation")) options.validation = read_source(*data, "validation");
  options.masking = read_masking(*data);
  if (options.masking.probability > 0) {
    options.train->is_masked = true;
    if (options.validation) options.validation->is_masked = true;
  }
  const std::string normalize =
      data->get_choice("normalize", "auto", {"auto", "none", "unit", "mean", "standardize", "mean_image"});
  options.normalize = normalize == "none"         ? DataOptions::Normalize::kNone
                      : normalize == "unit"       ? DataOptions::Normalize::kUnit
                      : normalize == "mean"       ? DataOptions::Normalize::kMean
                      : normalize == "mean_image" ? DataOptions::Normalize::kMeanImage
                      : normalize == "auto"       ? DataOptions::Normalize::kAuto
                                                  : DataOptions::Normalize::kStandardize;
  options.augment = read_augment(*data);
  options.mix = read_mixing(*data);
  options.fold = read_fold(*data);
  if (options.fold.of > 0) options.validation = options.train;
  options.shuffle = read_shuffle(*data);
  const std::string order =
      data->get_choice("order", "auto", {"auto", "shuffled", "streams", "by_length", "balanced"});
  options.order = order == "shuffled"    ? DataOptions::Order::kShuffled
                  : order == "streams"   ? DataOptions::Order::kStreams
                  : order == "by_length" ? DataOptions::Order::kByLength
                  : order == "balanced"  ? DataOptions::Order::kBalanced
                                         : DataOptions::Order::kAuto;
  if (options.order == DataOptions::Order::kBalanced &&
      (!options.shuffle.is_on || options.shuffle.window > 0))
    throw data->error_at("order", "is balanced, which is an order of its own, beside another shuffle",
                         "leave out data.shuffle");
  options.data_threads = read_count(*data, "threads", 0, 0, DataOptions::kMostDataThreads);
  options.prefetch = read_count(*data, "prefetch", options.prefetch, 1, 10'000);
  options.prefetch_bytes = read_mib(*data, "prefetch_mb", 256);
  options.cache_bytes = read_mib(*data, "cache_mb", 1024);
  const std::string verify = data->get_choice("verify", "auto", {"auto", "true", "false"});
  options.verify_data = verify == "auto"   ? DataOptions::VerifyData::kAuto
                        : verify == "true" ? DataOptions::VerifyData::kAlways
                                           : DataOptions::VerifyData::kNever;
  data->finish();
}

}  // namespace lockstep
