// The data of a job: which fields of a dataset are input and target, their sample shapes,
// the classes, and the normalisation that belongs to the trained network.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"
#include "io/loader/loader.h"
#include "src/data/data_options.h"
#include "src/network/graph.h"

namespace lockstep {

/// Subtracted and divided per channel after conversion to float32. Measured on the training
/// data, stored in checkpoints, applied to validation and prediction data alike.
struct Normalization {
  std::vector<float> mean, stddev;  // equal sizes: channels, 1 for all, one per element, or empty
};

/// What a network expects of its data; travels in checkpoints.
struct DataContract {
  Shape input;                           // of one sample, as stored
  int64_t n_classes = 0;                 // 0: the data does not say
  std::vector<std::string> class_names;  // may be empty
  /// Of inputs and the target ("") that are ids: what each id stands for. By the graph's input; may be empty.
  std::map<std::string, std::vector<std::string>> vocabularies;
  std::map<std::string, std::string> tokenizers;  // likewise, where one made the ids: Dataset::tokenizer()
  std::map<std::string, Shape> inputs;            // of all inputs, likewise; sequences: the longest
  std::set<std::string> ragged;  // inputs, and the target (""), that are sequences of unequal lengths
  Normalization normalization;
  /// Of losses that weigh classes by them, in the order of the job's losses: how often each class comes in
  /// the training data; empty for others, or all of it where no loss asks.
  std::vector<std::vector<int64_t>> class_counts;
};

struct DataFields {
  std::string input, target;                  // target empty: none was found
  std::map<std::string, std::string> inputs;  // several: the graph's input -> field; then input is the first
  /// Sequences that are input and target at once, such as a text and its next characters: the steps of a row
  /// that each leaves out.
  struct Cut {
    int64_t drop_first = 0, drop_last = 0;
  } input_cut, target_cut;
  /// Of an input that reads that field.
  Cut cut(const std::string& field) const { return field == target ? input_cut : Cut{}; }
  int64_t max_length = 0;  // DataSource::max_length
  bool is_masked = false;  // DataSource::is_masked
};

/// Opens the dataset of a source: the fields that it names (all must fit), and further ones that a job's
/// losses compare with; where it names no input, or no target for `wants_target`, what else the files hold.
/// Throws Error, also for images with the channels last and data of MATLAB where nobody says how they lie.
Dataset open_source(const DataSource& source, const std::vector<std::string>& further_fields = {},
                    bool wants_target = true);
/// The same fields of another dataset, which holds them all; options hold for it as well.
DataSource source_at(DataSource source, const std::string& path);
/// The targets that losses name themselves.
std::vector<std::string> named_targets(const DataOptions& job);

/// Picks the fields: those named, else "image", "input", "data", "x" and "label", "target", "y".
/// Throws Error listing the dataset's fields.
DataFields find_fields(const Dataset& dataset, const DataSource& source);

/// The id of the mask in a vocabulary; -1: none.
int64_t find_mask_token(const std::vector<std::string>& vocabulary, const DataOptions::Masking& masking);

/// Throws Error where ids of `data` stand for other tokens than in training, or another tokenizer made them.
void check_vocabularies(const Dataset& data, const DataFields& fields, const DataContract& contract);

DataContract make_contract(const Dataset& training_data, const DataFields& fields, const DataOptions& job);

/// Reads the targets of the losses that ask for it; see DataContract::class_counts. Throws Error naming the
/// loss or the field where there are no classes to count.
std::vector<std::vector<int64_t>> count_classes(const DataOptions& job, const Dataset& dataset,
                                                const DataFields& fields);
/// Tells the losses of a job what was counted.
void use_class_counts(const DataContract& contract, DataOptions& job);

/// The opened datasets of a job and what follows from them.
struct JobData {
  std::unique_ptr<Dataset> train, validation;  // validation may be null
  DataFields train_fields, validation_fields;
  DataContract contract;
};

/// Opens and checks the data of a job. Throws Error; does not communicate.
JobData open_data(const DataOptions& job);

/// Compares this rank's share of the shards with the checksums that they carry, as data.verify says. Throws
/// Error naming the first file and dataset that differ.
void verify_data(const DataOptions& job, const JobData& data, int rank, int size);

/// What the job's `augment` comes to for these data and this network; null where it asks for nothing.
/// Throws Error naming the step, field or target that does not fit.
std::shared_ptr<const Augmentation> make_augmentation(const DataOptions& job, const Dataset& dataset,
                                                      const DataFields& fields, const Graph& graph,
                                                      const Normalization& normalization);

/// Throws Error naming the loss or the input where samples of a job cannot be mixed (data.mixup,
/// data.cutmix).
void check_mixing(const DataOptions& job, const Graph& graph);

/// The rows of a job's fold in its training data: those to train on, and those held out; both ascending, a
/// function of the labels (or groups) and FoldSpec alone. Throws Error, also for more folds than samples of a
/// class.
struct FoldRows {
  std::vector<int64_t> train, held_out;
};
FoldRows fold_rows(const FoldSpec& fold, const Dataset& dataset, const DataFields& fields);

/// The steps of the graph's inputs that are sequences of unequal lengths, where `extents` are those of the
/// loader's fields (LengthBuckets).
std::map<std::string, int64_t> steps_of_inputs(const Graph& graph, const std::vector<LoaderField>& fields,
                                               const std::vector<int64_t>& extents);

/// The network for each of the lengths that the loader pads sequences to, in the order of its buckets; none
/// where the data have no rows of unequal lengths. Throws Error where targets have other lengths than the
/// network's output.
std::vector<Graph> sequence_graphs(const DataOptions& job, const DataContract& contract, const Graph& graph,
                                   const Dataset& dataset, const LoaderOptions& loading);

/// Loader options for this rank's share of the micro-batches of a job: one field per input of the
/// graph, then (with_targets) one per loss that compares with the dataset. Throws Error naming the
/// field or shape that does not fit. `normalization` is of the first input. The input of an augmentation
/// comes as stored.
LoaderOptions make_loader_options(const DataOptions& job, const Dataset& dataset, const DataFields& fields,
                                  const Graph& graph, bool with_targets, const Normalization& normalization,
                                  int rank, int size, const Augmentation* augmentation = nullptr);

/// The graph of a job behind its data; checks that every layer is read. `sequences`: for other steps than the
/// data's. With an empty contract: as the model says where the data are not there, and sequences as long as
/// the windows that would be cut of them.
struct SequenceOptions {
  std::map<std::string, int64_t> steps;  // of a sample, by inputs
  bool carries_states = false;
};
Graph build_graph(const DataOptions& job, const DataContract& contract,
                  const SequenceOptions& sequences = {});

}  // namespace lockstep
