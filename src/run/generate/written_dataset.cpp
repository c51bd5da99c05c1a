#include "src/run/generate/written_dataset.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "comm/agreement.h"
#include "src/run/generate/tokens.h"

namespace lockstep {

namespace {

/// Rows of a rank on their way to root: the sample, then what was written and what was to be, each behind its
/// length.
class RowWords {
 public:
  void put(int64_t sample, const std::vector<int64_t>& written, const std::vector<int64_t>& target) {
    words_.push_back(sample);
    for (const std::vector<int64_t>* ids : {&written, &target}) {
      words_.push_back(static_cast<int64_t>(ids->size()));
      words_.insert(words_.end(), ids->begin(), ids->end());
    }
  }
  std::string bytes() const {
    return {reinterpret_cast<const char*>(words_.data()), words_.size() * sizeof(int64_t)};
  }
  /// take(sample, written, target) for each row.
  template <typename Take>
  static void each(const std::string& bytes, const Take& take) {
    std::vector<int64_t> words(bytes.size() / sizeof(int64_t));
    std::memcpy(words.data(), bytes.data(), bytes.size());
    for (size_t at = 0; at < words.size();) {
      const auto sample = static_cast<size_t>(words[at++]);
      std::vector<int64_t> texts[2];
      for (std::vector<int64_t>& ids : texts) {
        const auto n = static_cast<size_t>(words[at++]);
        ids.assign(words.begin() + static_cast<int64_t>(at), words.begin() + static_cast<int64_t>(at + n));
        at += n;
      }
      take(sample, texts[0], texts[1]);
    }
  }

 private:
  std::vector<int64_t> words_;
};

/// `data` is a path, or one of the job's own sources, whose fields may lie in several files.
DataSource source_named(const Job& job, const std::string& data) {
  const bool is_path = std::filesystem::exists(data);
  if (!is_path && data == "validation" && job.validation) {
    DataSource source = *job.validation;
    if (job.train && source.inputs.empty()) source.inputs = job.train->inputs;
    if (job.train && source.target.empty()) source.target = job.train->target;
    return source;
  }
  if (!is_path && data == "train" && job.train) return *job.train;
  return source_at(job.train.value_or(DataSource{}), data);
}

/// A row of targets, up to its end or its padding.
std::vector<int64_t> ids_before_end(const int64_t* row, int64_t n, int64_t end) {
  std::vector<int64_t> ids;
  for (int64_t t = 0; t < n && row[t] >= 0 && row[t] != end; ++t) ids.push_back(row[t]);
  return ids;
}

std::string in_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

WrittenDataset write_dataset(const std::string& checkpoint, const std::string& data, int64_t limit,
                             const DecodingOptions& decoding, Communicator& comm) {
  TrainedModel model;
  std::unique_ptr<Dataset> dataset;
  LoaderOptions loading;
  std::unique_ptr<SequenceDecoder> decoder;
  std::vector<size_t> given;  // fields of the loader that the decoder is given
  const auto open = [&] {
    model = load_model(checkpoint);
    if (model.graph.inputs().size() < 2)
      throw Error(
          "generate", "its network reads one sequence and writes no other one",
          "use a checkpoint of an encoder and a decoder, such as seq2seq; language models take --prompt");
    share_micro_batches(model.job, comm.size());
    const DataSource source = source_named(model.job, data);
    dataset = std::make_unique<Dataset>(open_source(source, named_targets(model.job)));
    const DataFields fields = find_fields(*dataset, source);
    check_vocabularies(*dataset, fields, model.contract);
    loading = make_loader_options(model.job, *dataset, fields, model.graph, true,
                                  model.contract.normalization, comm.rank(), comm.size());
    loading.shuffle.is_on = false;
    loading.order = Order::kShuffled;
    loading.ranks = &comm;
    set_compute_threads(model.job.threads);
    const std::vector<int64_t> extents = LengthBuckets(*dataset, loading.fields, false).extents()[0];
    const std::vector<int> inputs = model.graph.inputs();
    decoder = std::make_unique<SequenceDecoder>(model, steps_of_inputs(model.graph, loading.fields, extents),
                                                model.job.micro_batch, decoding);
    for (const std::string& name : decoder->given_inputs())
      for (size_t i = 0; i < inputs.size(); ++i)
        if (model.graph.vertex(inputs[i]).name == name) given.push_back(i);
  };
  check_on_root(comm, open);
  all_or_none(comm, [&] {
    if (!comm.is_root()) open();
  });

  const int64_t n_samples = limit > 0 ? std::min(limit, dataset->n_samples()) : dataset->n_samples();
  const size_t target = model.graph.inputs().size();
  const TokenText tokens(model.contract, "");
  const int64_t end = tokens.find("</s>");
  DataLoader loader(*dataset, loading, 0);
  const int64_t extent = loader.buckets().extents()[0][target];
  const int64_t length = extent > 0 ? extent : loading.fields[target].shape.n_elements();
  RowWords rows;
  for (int64_t step = 0; step * loading.global_batch < n_samples; ++step) {
    const MicroBatch& batch = loader.next();
    const int64_t n = batch.n_valid == 0 ? 0 : std::min(batch.n_valid, n_samples - batch.sample_ids[0]);
    if (n <= 0) continue;
    std::vector<const void*> arrays;
    for (const size_t field : given) arrays.push_back(batch.data[field]);
    const std::vector<std::vector<int64_t>> written = decoder->write(arrays, n);
    for (int64_t i = 0; i < n; ++i)
      rows.put(batch.sample_ids[static_cast<size_t>(i)], written[static_cast<size_t>(i)],
               ids_before_end(static_cast<const int64_t*>(batch.data[target]) + i * length, length, end));
  }

  const std::vector<std::string> of_ranks = comm.all_gather_strings(rows.bytes());
  WrittenDataset result;
  if (!comm.is_root()) return result;
  result.written.resize(static_cast<size_t>(n_samples));
  result.targets.resize(static_cast<size_t>(n_samples));
  for (const std::string& bytes : of_ranks) {
    RowWords::each(bytes, [&](size_t sample, const auto& written, const auto& wanted) {
      result.written[sample] = in_one_line(tokens.decode(written));
      result.targets[sample] = in_one_line(tokens.decode(wanted));
      result.n_exact += written == wanted;
    });
  }
  result.bleu = corpus_bleu(result.written, result.targets);
  return result;
}

}  // namespace lockstep
