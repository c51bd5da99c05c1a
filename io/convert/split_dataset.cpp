#include "io/convert/split_dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "comm/agreement.h"
#include "io/convert/convert_output.h"
#include "io/convert/convert_rows.h"
#include "io/dataset/stored_numbers.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

/// One row is no sample there.
void refuse_stream(const Dataset& dataset) {
  for (const Field& field : dataset.fields()) {
    const bool is_text = !field.ragged && field.shape.rank() == 0 && !dataset.vocabulary(field.name).empty();
    if (is_text || (field.name == "series" && dataset.fields().size() == 1))
      throw Error(dataset.path(), fmt::format("'{}' is one stream, whose rows belong together", field.name),
                  "cut it when it is converted: lockstep convert … --validation-fraction 0.1");
  }
}

/// Rows `rows` of the dataset as the input of a conversion.
ConvertInput part_of(const std::shared_ptr<const Dataset>& dataset, std::vector<int64_t> rows) {
  ConvertInput source;
  source.source = "split";
  source.n_rows = static_cast<int64_t>(rows.size());
  source.class_names = dataset->class_names();
  std::vector<std::string> names;
  std::vector<int64_t> row_bytes;
  for (const Field& field : dataset->fields()) {
    names.push_back(field.name);
    source.fields.push_back(field);
    std::string& name = source.fields.back().name;
    std::replace(name.begin(), name.end(), '/', '_');  // shards have no groups
    row_bytes.push_back(field.shape.n_elements() * size_of(field.dtype));
    source.vocabularies.push_back(dataset->vocabulary(field.name));
    source.tokenizers.push_back(dataset->tokenizer(field.name));
    std::vector<int32_t> lengths;
    if (field.ragged)
      for (const int64_t row : rows)
        lengths.push_back(dataset->row_lengths(field.name)[static_cast<size_t>(row)]);
    source.lengths.push_back(std::move(lengths));
  }
  source.read = [dataset, names, row_bytes,
                 kept = std::make_shared<const std::vector<int64_t>>(std::move(rows))](
                    std::span<const int64_t> wanted, std::span<std::byte* const> dst) {
    for (size_t f = 0; f < names.size(); ++f) {
      std::byte* to = dst[f];
      const bool is_ragged = dataset->field(names[f]).ragged;
      for (size_t first = 0; first < wanted.size();) {
        const int64_t row = (*kept)[static_cast<size_t>(wanted[first])];
        size_t last = first + 1;
        if (is_ragged) {
          const int64_t n = dataset->row_lengths(names[f])[static_cast<size_t>(row)];
          if (n > 0) dataset->read_ragged(names[f], row, 0, n, to);
          to += n * row_bytes[f];
        } else {  // a run of neighbours is one read
          while (last < wanted.size() &&
                 (*kept)[static_cast<size_t>(wanted[last])] == row + static_cast<int64_t>(last - first))
            ++last;
          dataset->read(names[f], row, static_cast<int64_t>(last - first), to);
          to += static_cast<int64_t>(last - first) * row_bytes[f];
        }
        first = last;
      }
    }
  };
  return source;
}

}  // namespace

std::vector<ConvertResult> split_dataset(Communicator& comm, const SplitOptions& split,
                                         const ConvertOptions& options) {
  std::shared_ptr<const Dataset> dataset;
  std::vector<std::vector<int64_t>> rows;
  size_t first = 0;  // whose statistics are everybody's
  for (size_t p = 0; p < split.parts.size(); ++p)
    if (split.parts[p].name == "train") first = p;
  std::vector<ConvertOptions> outputs;
  for (const SplitPart& part : split.parts) {
    outputs.push_back(options);
    outputs.back().out += "/" + part.name;
  }
  std::error_code ignored;
  const bool is_new = !options.out.empty() && !fs::exists(options.out, ignored);
  all_or_none(comm, [&] {
    DatasetOptions opening;
    opening.layout = split.layout;
    dataset = std::make_shared<const Dataset>(Dataset::open(split.path, opening));
    refuse_stream(*dataset);
    std::vector<int64_t> labels, groups;
    if (!split.label.empty()) labels = one_number_a_row(*dataset, split.label, "classes");
    if (split.rule == SplitRule::kGrouped) groups = one_number_a_row(*dataset, split.group_by, "groups");
    if (split.rule == SplitRule::kStratified && labels.empty())
      throw Error(split.path, "has no field of classes to stratify by", "name one: --label FIELD");
    rows = split_rows(
        {split.parts, split.rule, split.seed, labels, dataset->class_names(), groups, split.may_be_empty},
        dataset->n_samples());
  });
  std::vector<ConvertResult> results(split.parts.size());
  try {
    check_on_root(comm, [&] {
      if (options.out.empty()) throw Error("split", "no output folder is given", "add --out DIR");
      std::vector<std::unique_ptr<ConvertOutput>> all;  // all of them may be written
      for (const ConvertOptions& output : outputs) all.push_back(std::make_unique<ConvertOutput>(output));
    });
    for (size_t i = 0; i < split.parts.size(); ++i) {
      const size_t p = i == 0 ? first : i <= first ? i - 1 : i;
      results[p] = convert_rows(comm, outputs[p], [&](const std::string&) {
        ConvertInput source = part_of(dataset, rows[p]);
        if (i > 0) source.statistics = results[first].statistics;
        return source;
      });
    }
  } catch (const AgreedError&) {
    if (is_new && comm.is_root()) fs::remove(options.out, ignored);  // if it is empty
    throw;
  }
  return results;
}

}  // namespace lockstep
