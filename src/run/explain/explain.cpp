#include "src/run/explain/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "src/run/explain/excite.h"
#include "src/run/explain/scan.h"
#include "src/run/progress.h"

namespace lockstep {

namespace {

constexpr size_t kMostShown = 12;  // of samples in a row of pictures
constexpr size_t kWorstCells = 6, kOfCell = 6, kOfUnit = 6, kDefaultUnits = 6, kMostClasses = 10;
constexpr int64_t kMostMaps = 32;    // of a layer
constexpr double kBrightest = 0.99;  // share of the pixels below white in a map of saliency

std::string shown_number(double value) { return fmt::format("{:.3g}", value); }

/// Behind a convolution: the last of the layers that only change its values one by one.
int behind_activation(const Graph& graph, int vertex) {
  while (true) {
    int reader = -1, n_readers = 0;
    for (int v = 0; v < graph.size(); ++v)
      for (const int input : graph.vertex(v).inputs)
        if (input == vertex) reader = v, ++n_readers;
    if (n_readers != 1 || !graph.vertex(reader).layer) return vertex;
    const std::string type = graph.vertex(reader).layer->type();
    if (type != "batch_norm" && !graph.vertex(reader).layer->activation()) return vertex;
    vertex = reader;
  }
}

std::vector<int> convolutions(const Graph& graph) {
  std::vector<int> found;
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (vertex.layer && vertex.layer->type() == "conv" && vertex.shape[1] * vertex.shape[2] > 1)
      found.push_back(behind_activation(graph, v));
  }
  return found;
}

Unit read_unit(const ExplainedModel& subject, const std::string& text) {
  const size_t colon = text.rfind(':');
  Unit unit;
  const char* const end = text.data() + text.size();
  const bool is_number = colon != std::string::npos && colon + 1 < text.size() &&
                         std::from_chars(text.data() + colon + 1, end, unit.channel).ptr == end;
  if (!is_number)
    throw Error("--unit", "is LAYER:CHANNEL, found " + text, "write for instance --unit conv2:3");
  unit.layer = text.substr(0, colon);
  const Vertex& vertex = subject.model.graph.vertex(subject.layer(unit.layer, "--unit"));
  if (unit.channel < 0 || vertex.shape.rank() == 0 || unit.channel >= vertex.shape[0]) {
    throw Error(
        "--unit",
        fmt::format("'{}' gives {}: channel {} is not there", unit.layer, vertex.shape.str(), unit.channel),
        "channels count from 0");
  }
  return unit;
}

class Explainer {
 public:
  explicit Explainer(const ExplainOptions& options) : options_(options), s_(options), graph_(s_.model.graph) {
    set_compute_threads(s_.model.job.threads);
    choose_units();
    for (const std::string& layer : options.layers) {
      const int vertex = s_.layer(layer, "--layer");
      if (graph_.vertex(vertex).shape.rank() != 3) {
        throw Error("--layer",
                    fmt::format("'{}' gives {}, which are no maps", layer, graph_.vertex(vertex).shape.str()),
                    "name a layer of (channels, height, width); `predict --features` writes any");
      }
      layers_.push_back(vertex);
    }
    if (layers_.empty()) {
      const std::vector<int> all = convolutions(graph_);
      for (const size_t i : {size_t{0}, all.size() / 2, all.size() - 1})
        if (i < all.size() && std::find(layers_.begin(), layers_.end(), all[i]) == layers_.end())
          layers_.push_back(all[i]);
    }
  }

  Explanation run() {
    data_ = scan(s_, units_, kMostShown, options_.sample);
    chosen_ = options_.sample >= 0 ? data_.asked : data_.worst.empty() ? JudgedSample{} : data_.worst[0];
    fetch_images();
    add_worst();
    add_mistakes();
    add_saliency();
    add_maps();
    add_units();
    result_.step = s_.model.info.step;
    std::erase_if(result_.groups, [](const PictureGroup& group) { return group.pictures.empty(); });
    return std::move(result_);
  }

 private:
  void choose_units() {
    for (const std::string& text : options_.units) units_.push_back(read_unit(s_, text));
    if (!units_.empty()) return;
    const Shape& output = graph_.vertex(graph_.output()).shape;
    if (output.rank() == 1)
      for (int64_t c = 0; c < std::min<int64_t>(output[0], kMostClasses); ++c) units_.push_back({"", c});
    const std::vector<int> all = convolutions(graph_);
    if (all.empty()) return;
    const Vertex& last = graph_.vertex(all.back());
    for (int64_t c = 0; c < std::min<int64_t>(last.shape[0], kDefaultUnits); ++c)
      units_.push_back({last.name, c});
  }

  void fetch_images() {
    std::vector<int64_t> wanted{chosen_.sample};
    for (const JudgedSample& one : data_.worst) wanted.push_back(one.sample);
    for (const auto& [cell, mistake] : worst_cells())
      wanted.insert(wanted.end(), mistake.first.begin(), mistake.first.end());
    for (const auto& samples : data_.exciting)
      for (const auto& [value, sample] : samples) wanted.push_back(sample);
    images_ = s_.images(wanted);
  }

  using Cell = std::pair<std::pair<int64_t, int64_t>, ScannedData::Mistake>;
  std::vector<Cell> worst_cells() const {
    std::vector<Cell> cells(data_.mistakes.begin(), data_.mistakes.end());
    std::stable_sort(cells.begin(), cells.end(),
                     [](const Cell& a, const Cell& b) { return a.second.count > b.second.count; });
    if (cells.size() > kWorstCells) cells.resize(kWorstCells);
    return cells;
  }

  Picture image_of(int64_t sample, const std::string& caption) const {
    return s_.pixels.picture(images_.at(sample).data(), caption);
  }

  std::string judged_words(const JudgedSample& one) const {
    std::string words = fmt::format("sample {}", one.sample);
    if (one.predicted >= 0) {
      words += fmt::format(": {}", s_.class_name(one.predicted));
      if (one.probability > 0) words += fmt::format(" ({:.0f} %)", 100 * one.probability);
      if (one.truth >= 0)
        words += one.truth == one.predicted ? ", right" : ", is " + s_.class_name(one.truth);
    }
    return words;
  }

  PictureGroup& group(const std::string& id, const std::string& title, const std::string& note) {
    return result_.groups.emplace_back(PictureGroup{id, title, note, {}});
  }

  void add_worst() {
    PictureGroup& to =
        group("losses", "Largest losses",
              fmt::format("Of {} samples, those that the network judges worst: what it took them for, and "
                          "their loss. Wrong labels are often among them.",
                          s_.n_samples));
    for (const JudgedSample& one : data_.worst)
      to.pictures.push_back(image_of(one.sample, judged_words(one) + ", loss " + shown_number(one.loss)));
  }

  void add_mistakes() {
    PictureGroup& to = group("mistakes", "Examples of the most frequent mistakes",
                             "The fullest cells of the confusion matrix beside its diagonal.");
    for (const auto& [cell, mistake] : worst_cells()) {
      for (size_t i = 0; i < std::min(kOfCell, mistake.first.size()); ++i) {
        to.pictures.push_back(image_of(mistake.first[i], fmt::format("sample {}", mistake.first[i])));
        if (i == 0)
          to.pictures.back().row = fmt::format("{} for {}: {} samples", s_.class_name(cell.second),
                                               s_.class_name(cell.first), mistake.count);
      }
    }
  }

  /// The size of the gradient of an output with respect to each pixel, the largest over the channels.
  Picture saliency_of(UnitGradient& outputs, int64_t sample, int64_t channel,
                      const std::string& caption) const {
    std::vector<float> gradient;
    outputs.at(images_.at(sample), channel, gradient);
    const Shape& shape = s_.image();
    const int64_t n = shape[1] * shape[2];
    std::vector<float> size(static_cast<size_t>(n));
    for (int64_t i = 0; i < shape[0] * n; ++i)
      size[static_cast<size_t>(i % n)] =
          std::max(size[static_cast<size_t>(i % n)], std::abs(gradient[static_cast<size_t>(i)]));
    std::vector<float> sorted = size;
    const auto at = static_cast<std::ptrdiff_t>(kBrightest * static_cast<double>(n - 1));
    std::nth_element(sorted.begin(), sorted.begin() + at, sorted.end());
    return grey_picture(size.data(), shape[1], shape[2], 0, sorted[static_cast<size_t>(at)], caption);
  }

  void add_saliency() {
    if (graph_.vertex(graph_.output()).shape.rank() != 1) return;
    PictureGroup& to =
        group("saliency", "What the decision depends on",
              "Beside an image the size of the gradient of a class's score by pixel (Simonyan 2013): "
              "white where a small change of the pixel changes the score most.");
    UnitGradient outputs(s_.model, "");
    std::vector<JudgedSample> samples{chosen_};
    for (const JudgedSample& one : data_.worst)
      if (samples.size() < 4 && one.sample != chosen_.sample) samples.push_back(one);
    for (const JudgedSample& one : samples) {
      to.pictures.push_back(image_of(one.sample, ""));
      to.pictures.back().row = judged_words(one);
      const int64_t predicted =
          s_.kind.n_classes == outputs.n_channels() ? std::max<int64_t>(0, one.predicted) : 0;
      const auto name = [&](int64_t c) {
        return s_.kind.n_classes > 0 ? s_.class_name(c) : "output " + std::to_string(c);
      };
      to.pictures.push_back(saliency_of(outputs, one.sample, predicted, "for " + name(predicted)));
      if (one.truth >= 0 && one.truth != one.predicted && one.truth < outputs.n_channels())
        to.pictures.push_back(saliency_of(outputs, one.sample, one.truth, "for " + name(one.truth)));
    }
  }

  void add_maps() {
    if (layers_.empty()) return;
    Graph showing = graph_;
    const size_t before = showing.shown().size();
    for (const int layer : layers_) showing.show(layer);
    PlanOptions options;
    options.config = s_.model.job.op_config(false);
    options.keeps_shown = true;
    Plan plan(showing, *s_.model.arena, std::vector<LossSpec>{}, options);
    plan.refresh_weights();
    BatchContext one;
    one.n_valid = 1;
    one.sample_ids = &chosen_.sample;
    plan.forward({images_.at(chosen_.sample).data()}, {}, one);
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Shape shape = plan.shown_shape(before + l).without_front();
      const float* const values = plan.shown(before + l);
      const int64_t n = shape[1] * shape[2], n_maps = std::min(shape[0], kMostMaps);
      const auto [low, high] = std::minmax_element(values, values + shape.n_elements());
      PictureGroup& to =
          group(fmt::format("maps{}", l + 1), "Feature maps of " + graph_.vertex(layers_[l]).name,
                fmt::format("What the layer {} gives for sample {}, {} of {} channels of {} x {}, from {} "
                            "(black) to {} (white).",
                            graph_.vertex(layers_[l]).name, chosen_.sample, n_maps, shape[0], shape[1],
                            shape[2], shown_number(*low), shown_number(*high)));
      to.pictures.push_back(image_of(chosen_.sample, "the image"));
      for (int64_t c = 0; c < n_maps; ++c)
        to.pictures.push_back(
            grey_picture(values + c * n, shape[1], shape[2], *low, *high, fmt::format("{}", c)));
    }
  }

  void add_units() {
    std::string layer = "\n";
    std::unique_ptr<UnitGradient> gradients;
    for (size_t u = 0; u < units_.size(); ++u) {
      const Unit& unit = units_[u];
      if (unit.layer != layer) gradients = std::make_unique<UnitGradient>(s_.model, layer = unit.layer);
      if (u == 0 || unit.layer != units_[u - 1].layer) {
        group(
            unit.layer.empty() ? "classes" : "units-" + std::to_string(u),
            unit.layer.empty() ? "What the outputs answer to" : "What units of " + unit.layer + " answer to",
            "First an image made by gradient ascent from grey noise, then the samples with the largest "
            "values.");
      }
      PictureGroup& to = result_.groups.back();
      const std::string name = !unit.layer.empty()     ? fmt::format("{}:{}", unit.layer, unit.channel)
                               : s_.kind.n_classes > 0 ? s_.class_name(unit.channel)
                                                       : fmt::format("output {}", unit.channel);
      const Excitement made = excite(*gradients, unit.channel, s_.image(), s_.pixels);
      to.pictures.push_back(s_.pixels.picture(
          made.input.data(),
          fmt::format("made: from {} to {}", shown_number(made.before), shown_number(made.after))));
      to.pictures.back().row = name;
      for (size_t i = 0; i < std::min(kOfUnit, data_.exciting[u].size()); ++i) {
        const auto [value, sample] = data_.exciting[u][i];
        to.pictures.push_back(image_of(sample, fmt::format("sample {}: {}", sample, shown_number(value))));
      }
    }
  }

  const ExplainOptions& options_;
  ExplainedModel s_;
  const Graph& graph_;
  std::vector<Unit> units_;
  std::vector<int> layers_;
  ScannedData data_;
  JudgedSample chosen_;
  std::map<int64_t, std::vector<float>> images_;
  Explanation result_;
};

}  // namespace

Explanation explain(const ExplainOptions& options) { return Explainer(options).run(); }

}  // namespace lockstep
