// Augmentation: what `data.augment` asks for, drawn per sample. A draw depends on the seed, the epoch, the
// sample's id and the place of a step in the list, and on nothing else: any number of ranks and any resume
// give the same images, each epoch others. Only training sees it. docs/augmentation.md has the formulas.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/augment.h"
#include "src/config/config.h"
#include "src/data/augment/augment_draw.h"

namespace lockstep {

/// One entry of the list.
struct AugmentStep {
  std::string name, text;     // text: with its options, as the job file has them
  double p = 1;               // how often it happens
  bool moves_pixels = false;  // images as targets would have to move alike
  int channels = 0;           // how many it needs; 0: any
  bool sets_border = false;   // says padding_mode or fill
  std::function<void(AugmentDraw&)> apply;
  /// The image's extents after it. Throws Error where it cannot be.
  std::function<Extents(Extents)> extents = [](Extents before) { return before; };
};

struct AugmentSpec {
  std::vector<AugmentStep> steps;
  std::string input;  // of the model; empty: its first
  AugmentBorder border = AugmentBorder::kConstant;
  double fill = 0;  // in stored values

  bool empty() const { return steps.empty(); }
  /// What becomes of a stored sample (C, H, W), (C, T) or another shape: extents that a crop changes.
  Shape output(const Shape& stored) const;
};

/// Reads `augment` and `augment_input` of the map `data`.
AugmentSpec read_augment(const Config& data);

/// The augmentation of one input of a network.
class Augmentation {
 public:
  struct Source {
    int vertex = 0;  // of the graph
    Shape shape;     // of a stored sample: (C, H, W), or (C, T)
    DType dtype = DType::kUInt8;
    Shape network;  // what the network reads: as many elements as the result
    std::vector<float> mean, stddev;
    bool keeps_float32 = false;  // a loss compares with it
  };
  /// Throws Error naming the step that does not fit the images.
  Augmentation(AugmentSpec spec, Source source);

  const Source& source() const { return source_; }
  /// Of a micro-batch of n; `compute` is the type of activations.
  AugmentDesc desc(int64_t n, DType compute) const;
  /// One record per sample; those with an id below 0 are padding. Allocates nothing.
  void draw(uint64_t seed, int64_t epoch, std::span<const int64_t> ids, AugmentRecord* records) const;
  /// One line: the steps.
  std::string str() const;

 private:
  AugmentSpec spec_;
  Source source_;
  int64_t channels_ = 1;
  Extents stored_, output_;
};

}  // namespace lockstep
