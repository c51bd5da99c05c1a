#include "src/run/predict/prediction_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "comm/agreement.h"
#include "io/convert/image_listing.h"
#include "io/convert/table/csv_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

std::string first_bytes(const std::string& path) {
  char bytes[32] = {};
  std::ifstream file(path, std::ios::binary);
  file.read(bytes, sizeof bytes);
  return {bytes, static_cast<size_t>(file.gcount())};
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

bool is_table_name(const std::string& path) {
  const std::string name = lower(path);
  for (const char* ending : {".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"})
    if (name.ends_with(ending)) return true;
  return false;
}

bool holds_shards(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".h5" || entry.path().extension() == ".hdf5") return true;
  return false;
}

bool holds_images(const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (is_image_name(entry.path().string())) return true;
  return false;
}

/// Bits of the images that a normalisation was measured on: bytes have a mean up to 255 and a deviation up to
/// half of it.
int64_t bits_of(const Normalization& normalization) {
  const bool unit =
      normalization.mean == std::vector<float>{0.0F} && normalization.stddev == std::vector<float>{255.0F};
  const auto above = [](const std::vector<float>& values, float limit) {
    return std::any_of(values.begin(), values.end(), [limit](float x) { return x > limit; });
  };
  return !unit && (above(normalization.mean, 255.0F) || above(normalization.stddev, 127.6F)) ? 16 : 8;
}

ConvertInput open_image_input(Communicator& comm, const TrainedModel& model,
                              const PredictionInputOptions& options) {
  const Shape& shape = model.contract.input;
  check_on_root(comm, [&] {
    if (shape.rank() != 3 || (shape[0] != 1 && shape[0] != 3))
      throw Error(options.path,
                  fmt::format("holds images, but the network reads samples of shape {}", shape.str()),
                  "give data of the kind that it was trained on");
  });
  ImagesOptions images;
  images.folder = options.path;
  images.channels = shape[0];
  images.height = shape[1];
  images.width = shape[2];
  images.bits = options.bits > 0 ? options.bits : bits_of(model.contract.normalization);
  images.on_error = options.on_error;
  images.classes = false;
  return open_images(comm, images);
}

/// Options under which the file has as many inputs as the network: root's, for all ranks.
CsvOptions match_columns(const std::string& path, const std::string& name,
                         const PredictionInputOptions& options, int64_t n_inputs) {
  CsvOptions csv;
  csv.path = options.path;
  csv.separator = options.separator;
  csv.dropped = options.dropped;
  csv.target_is_class = true;
  csv.target_column =
      n_inputs == 1 && options.dropped.empty() ? -2 : -1;  // the last may be a label: a word, or empty
  std::vector<std::string> names;
  const CsvLayout layout = find_layout(InputFile(path, name), csv, &names);
  csv.target_column = -2;
  csv.header_lines = static_cast<int>(layout.header_line);
  csv.dropped = dropped_columns(csv, layout);
  const int64_t n_columns = layout.n_columns - static_cast<int64_t>(csv.dropped.size());
  const bool is_named =
      layout.named_target != kNoColumn &&
      std::find(csv.dropped.begin(), csv.dropped.end(), layout.named_target) == csv.dropped.end();
  if (n_columns == n_inputs + 1)
    csv.dropped.push_back(is_named ? layout.named_target : layout.n_columns - 1);
  else if (n_columns != n_inputs)
    throw Error(name, fmt::format("has {} columns of inputs, the network reads {}", n_columns, n_inputs),
                "leave out others: --drop 0,3; check the separator");
  return csv;
}

ConvertInput open_csv_input(Communicator& comm, const TrainedModel& model,
                            const PredictionInputOptions& options, const std::string& scratch) {
  const int64_t n_inputs = model.contract.input.n_elements();
  CsvOptions csv;
  check_on_root(comm, [&] {
    std::string path = options.path;
    if (is_gzip(path)) inflate_file(options.path, path = scratch + "/input.csv");
    csv = match_columns(path, options.path, options, n_inputs);
  });
  csv.path = options.path;
  csv.separator = options.separator;
  csv.target_column = -2;
  int64_t numbers[2] = {csv.header_lines, static_cast<int64_t>(csv.dropped.size())};
  comm.broadcast(numbers, sizeof numbers);
  csv.header_lines = static_cast<int>(numbers[0]);
  csv.dropped.resize(static_cast<size_t>(numbers[1]));
  comm.broadcast(csv.dropped.data(), numbers[1] * static_cast<int64_t>(sizeof(int64_t)));
  csv.shape.assign(model.contract.input.begin(), model.contract.input.end());
  return open_csv(comm, csv, scratch);
}

ConvertInput open_npy_input(Communicator& comm, const TrainedModel& model,
                            const PredictionInputOptions& options) {
  ConvertInput source = open_npy(comm, {.files = {options.path}, .as_stored = true});
  const Shape &stored = source.fields[0].shape, &wanted = model.contract.input;
  check_on_root(comm, [&] {
    // (N, H, W) is (N, 1, H, W), and a row of all elements has their order.
    const bool is_grey = wanted.rank() == 3 && wanted[0] == 1 && stored == wanted.without_front();
    const bool is_flat = stored.rank() == 1 && stored[0] == wanted.n_elements();
    if (stored == wanted || is_grey || is_flat) return;
    const bool channels_last = stored.rank() == 3 && wanted.rank() == 3 && stored[2] == wanted[0] &&
                               stored[0] == wanted[1] && stored[1] == wanted[2];
    throw Error(options.path,
                fmt::format("has samples of shape {}, the network reads {}", stored.str(), wanted.str()),
                channels_last ? "put the channels first: numpy.save(FILE, x.transpose(0, 3, 1, 2))"
                              : "the first dimension counts samples, also where there is one: x[None]");
  });
  source.fields[0].shape = wanted;
  return source;
}

}  // namespace

DataKind find_data_kind(const std::string& path) {
  try {
    if (!fs::exists(path)) throw Error(path, "there is no such file or folder", "check --data");
    if (fs::is_directory(path))
      return !holds_shards(path) && holds_images(path) ? DataKind::kImages : DataKind::kDataset;
  } catch (const fs::filesystem_error& error) {
    throw Error(path, "cannot be listed: " + error.code().message(), "check its permissions");
  }
  if (!fs::is_regular_file(path)) throw Error(path, "is neither a file nor a folder", "check --data");
  const std::string begin = first_bytes(path);
  if (begin.starts_with("\x93NUMPY")) return DataKind::kNpy;
  if (begin.starts_with("\x89HDF")) return DataKind::kDataset;
  if (begin.starts_with("PK\x03\x04") && lower(path).ends_with(".npz"))
    throw Error(path, "is a .npz archive of several arrays",
                "save one array: numpy.save(\"x.npy\", numpy.load(\"x.npz\")[NAME])");
  if (is_image_content(begin) || is_image_name(path)) return DataKind::kImages;
  return is_table_name(path) ? DataKind::kCsv : DataKind::kDataset;
}

ConvertInput open_prediction_input(Communicator& comm, const TrainedModel& model,
                                   const PredictionInputOptions& options, const std::string& scratch) {
  check_on_root(comm, [&] {
    if (model.graph.inputs().size() != 1)
      throw Error(options.path,
                  fmt::format("is one input, the network reads {}", model.graph.inputs().size()),
                  "give a dataset (HDF5) with a field for each input");
  });
  if (options.kind == DataKind::kImages) return open_image_input(comm, model, options);
  if (options.kind == DataKind::kCsv) return open_csv_input(comm, model, options, scratch);
  return open_npy_input(comm, model, options);
}

}  // namespace lockstep
