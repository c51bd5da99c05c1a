// What is explained: a trained network of images, and the data that it is shown.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/loader/loader.h"
#include "src/run/explain/pictures.h"
#include "src/run/predict/prediction.h"
#include "src/run/trained_model.h"

namespace lockstep {

struct ExplainOptions {
  std::string checkpoint, data;
  std::string input, target, layout;  // of the data; empty: as in training
  bool average = false;               // the running averages of the weights in their place
  int64_t sample = -1;                // to look at closely; -1: the one with the largest loss
  std::vector<std::string> layers;    // whose feature maps are shown; empty: three convolutions
  std::vector<std::string> units;     // LAYER:CHANNEL; empty: the outputs, and some of the last convolution
  int64_t most_samples = 10000;       // of the data, spread over them by chance
};

struct ExplainedModel {
  explicit ExplainedModel(const ExplainOptions& options);

  TrainedModel model;
  std::unique_ptr<Dataset> dataset;
  /// One field of images and, where the data have them, one of targets: shuffled, always in the same way.
  LoaderOptions loading;
  PredictionKind kind;
  bool has_targets = false;
  PixelScale pixels{{}, {}, 0};
  int64_t n_samples = 0;  // that are looked at

  const Shape& image() const { return model.graph.vertex(0).shape; }
  /// The class's name, or its number.
  std::string class_name(int64_t c) const;
  /// The vertex of that name. Throws Error naming the nearest and `option`.
  int layer(const std::string& name, const char* option) const;
  /// Options for reading single samples: step i of such a loader is sample i.
  LoaderOptions one_by_one() const;
  /// The images of these samples, as the network reads them.
  std::map<int64_t, std::vector<float>> images(const std::vector<int64_t>& samples) const;
};

}  // namespace lockstep
