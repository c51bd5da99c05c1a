#include "src/run/checkpoints/data_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "io/files/checksum.h"
#include "kernels/error.h"
#include "src/data/class_names.h"
#include "src/run/checkpoints/train_state.h"

namespace lockstep {

namespace {

constexpr int64_t kReadWhole_bytes = int64_t{64} << 20, kBlock_bytes = int64_t{4} << 20, kSpreadRows = 256;

/// The fields that the network reads or is compared with.
std::set<std::string> fields_of(const DataFields& fields) {
  std::set<std::string> names{fields.input};
  if (!fields.target.empty()) names.insert(fields.target);
  for (const auto& [input, field] : fields.inputs) names.insert(field);
  return names;
}

std::string text_of(const CheckpointInfo& info, const char* key) {
  const auto found = info.texts.find(key);
  return found == info.texts.end() ? "" : found->second;
}

std::string values(const std::vector<float>& numbers) {
  return numbers.empty()      ? "none"
         : numbers.size() > 6 ? fmt::format("{} values from {:.6g} on", numbers.size(), numbers[0])
                              : fmt::format("{:.6g}", fmt::join(numbers, ", "));
}

}  // namespace

std::string identify_samples(const Dataset& dataset, const DataFields& fields) {
  ChunkedChecksum checksum;
  const int64_t n_samples = dataset.n_samples();
  for (const std::string& name : fields_of(fields)) {
    const Field& field = dataset.field(name);
    // Of rows of unequal lengths the elements, and the lengths.
    const std::vector<int32_t>& lengths = dataset.row_lengths(name);
    checksum.update(lengths.data(), static_cast<int64_t>(lengths.size() * sizeof(int32_t)));
    const int64_t n = field.ragged ? dataset.n_elements(name) : n_samples;
    const std::string kind = fmt::format("{} {}", name_of(field.dtype), field.shape.str());
    checksum.update(kind.data(), static_cast<int64_t>(kind.size()));
    const int64_t row_bytes = std::max<int64_t>(1, field.shape.n_elements() * size_of(field.dtype));
    const bool whole = n <= kReadWhole_bytes / row_bytes;
    const int64_t n_reads = whole ? n : std::min(n, kSpreadRows);
    const int64_t at_once = whole ? std::max<int64_t>(1, kBlock_bytes / row_bytes) : 1;
    std::vector<std::byte> rows(static_cast<size_t>(at_once * row_bytes));
    for (int64_t i = 0; i < n_reads; i += at_once) {
      const int64_t count = std::min(at_once, n_reads - i);
      // The first and the last row are among those that are spread.
      const int64_t first = whole || n_reads < 2 ? i
                                                 : i * ((n - 1) / (n_reads - 1)) +
                                                       i * ((n - 1) % (n_reads - 1)) / (n_reads - 1);
      if (field.ragged)
        dataset.read_elements(name, first, count, rows.data());
      else
        dataset.read(name, first, count, rows.data());
      checksum.update(rows.data(), count * field.shape.n_elements() * size_of(field.dtype));
    }
  }
  return fmt::format("{} samples, {:016x}", n_samples, checksum.digest());
}

std::string measure_of(const Job& job) {
  const LossSpec& loss = job.loss;
  const std::string early = job.early_stopping_patience > 0 && job.early_stopping.name != job.best.name
                                ? " and " + job.early_stopping.name
                                : "";
  return fmt::format("{}{}, {} {{of: '{}', target: '{}', {}}}", job.best.name, early, loss.name, loss.of,
                     loss.target, loss.rule->options());
}

DataIdentity identify(const Job& job, const JobData& data) {
  DataIdentity identity;
  identity.train = identify_samples(*data.train, data.train_fields);
  if (data.validation) identity.validation = identify_samples(*data.validation, data.validation_fields);
  identity.measure = measure_of(job);
  return identity;
}

void add_identity(const DataIdentity& data, CheckpointInfo& info) {
  if (!data.train.empty()) info.texts["train_data"] = data.train;
  if (!data.validation.empty()) info.texts["validation_data"] = data.validation;
  if (!data.measure.empty()) info.texts["measure"] = data.measure;
}

void check_same_training_data(const std::string& path, const CheckpointInfo& info, const DataIdentity& data,
                              int64_t steps_per_epoch, const DataContract& contract) {
  const char* const remedy =
      "name the data that it was trained on; to go on from its weights with other data, `lockstep export` "
      "them and `lockstep import` them with the new job";
  const DataContract before = read_contract(path, info);
  if (!before.class_names.empty() && !contract.class_names.empty() &&
      before.class_names != contract.class_names) {
    throw Error(path,
                fmt::format("its class numbers mean other classes: {}, those of the job's data {}",
                            list_of_names(before.class_names), list_of_names(contract.class_names)),
                remedy);
  }
  if (info.step == 0) return;
  const std::string trained = text_of(info, "train_data");
  if (!trained.empty() && trained != data.train) {
    throw Error(
        path,
        fmt::format("it was trained on other data ({}; the job's: {}): steps would mean other samples",
                    trained, data.train),
        remedy);
  }
  if (info.epoch != info.step / steps_per_epoch || info.step_in_epoch != info.step % steps_per_epoch) {
    throw Error(
        path,
        fmt::format("its step {} is step {} of epoch {}, with the job's data step {} of epoch {}: it was "
                    "trained on another number of samples",
                    info.step, info.step_in_epoch, info.epoch, info.step % steps_per_epoch,
                    info.step / steps_per_epoch),
        remedy);
  }
  const Normalization &old = before.normalization, &now = contract.normalization;
  if (old.mean != now.mean || old.stddev != now.stddev) {
    throw Error(
        path,
        fmt::format("its inputs were normalised with mean {} and deviation {}, the job's with mean {} "
                    "and deviation {}",
                    values(old.mean), values(old.stddev), values(now.mean), values(now.stddev)),
        "set data.normalize as it was, or start over in another --out");
  }
}

std::string what_is_compared_anew(const CheckpointInfo& info, const DataIdentity& data) {
  std::string measure = text_of(info, "measure");
  if (measure.empty()) {
    try {
      measure = measure_of(read_job(Config::from_text(info.job, "the checkpoint's job")));
    } catch (const Error&) {  // of another version
      return "";
    }
  }
  if (measure != data.measure)
    return fmt::format("checkpoints were compared by {}, now by {}", measure, data.measure);
  const std::string validation = text_of(info, "validation_data");
  if (!validation.empty() && validation != data.validation)
    return fmt::format("the validation data have changed (before: {}; now: {})", validation,
                       data.validation.empty() ? "none" : data.validation);
  return "";
}

}  // namespace lockstep
