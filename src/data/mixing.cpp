// The keys data.mixup and data.cutmix, and which jobs they fit.
#include <fmt/format.h>

#include "src/data/data.h"
#include "src/network/loss_place.h"

namespace lockstep {

namespace {

/// mixup: 0.2, or {alpha: 0.2, p: 0.5}. p stays -1 where the job does not say it.
void read_one_mixing(const Config& data, const char* key, double& alpha, double& p) {
  if (!data.has(key)) return;
  Config options = data.at(key);
  options.positional("alpha");
  alpha = options.get_double("alpha", alpha);
  p = options.get_double("p", -1);
  if (!(alpha > 0 && alpha <= 1000))
    throw options.error_at("alpha", fmt::format("must lie in (0, 1000], found {}", alpha),
                           "mixup: {alpha: 0.2} and cutmix: {alpha: 1} are usual");
  if (options.has("p") && !(p >= 0 && p <= 1))
    throw options.error_at("p", fmt::format("must lie in [0, 1], found {}", p),
                           "it is how often a micro-batch is mixed: for instance p: 0.5");
  options.finish();
}

}  // namespace

MixOptions read_mixing(const Config& data) {
  MixOptions mix;
  read_one_mixing(data, "mixup", mix.mixup_alpha, mix.mixup_p);
  read_one_mixing(data, "cutmix", mix.cutmix_alpha, mix.cutmix_p);
  const bool has_both = data.has("mixup") && data.has("cutmix");
  if (mix.mixup_p < 0) mix.mixup_p = !has_both ? 1 : mix.cutmix_p < 0 ? 0.5 : 1 - mix.cutmix_p;
  if (mix.cutmix_p < 0) mix.cutmix_p = has_both ? 1 - mix.mixup_p : 1;
  if (mix.mixup_p + mix.cutmix_p > 1 + 1e-12)
    throw data.error_at("cutmix",
                        fmt::format("happens with p {} beside mixup with p {}: a micro-batch is mixed in one "
                                    "way",
                                    mix.cutmix_p, mix.mixup_p),
                        "let both p sum to 1 or less; without them each has 0.5");
  return mix;
}

void check_mixing(const DataOptions& job, const Graph& graph) {
  if (!job.mix.is_on()) return;
  const char* const key = job.mix.mixup_p > 0 ? "data.mixup" : "data.cutmix";
  const char* const remedy = "leave out data.mixup and data.cutmix";
  if (job.device.kind != Device::Kind::kCpu)
    throw Error(key, "mixes samples on the CPU alone, and this job runs on a GPU",
                fmt::format("set device: cpu, or {}", remedy));
  if (job.micro_batch < 2)
    throw Error(key, "mixes samples of one micro-batch, which holds a single one",
                "set batch.micro: 2 or more");
  const std::vector<int> inputs = graph.inputs();
  if (inputs.size() != 1 || graph.vertex(inputs[0]).dtype != DType::kFloat32 || !graph.states().empty())
    throw Error(key,
                "mixes networks' one input of numbers; this one reads several, or ids, or carries a state",
                remedy);
  const Shape& sample = graph.vertex(inputs[0]).shape;
  if (job.mix.cutmix_p > 0 && sample.rank() != 3)
    throw Error("data.cutmix",
                fmt::format("cuts boxes out of images (C, H, W), and samples here are {}", sample.str()),
                "use data.mixup, or leave out data.cutmix");
  for (const LossSpec& loss : job.losses()) {
    const Shape prediction = graph.vertex(loss_vertex(graph, loss)).shape;
    const bool has_one_label = loss.is_classification() ? loss.target_shape(prediction).n_elements() == 1
                                                        : loss.target_shape(prediction).rank() <= 1;
    if (loss_target_input(graph, loss) >= 0 || loss.rule->is_of_tokens() || !has_one_label ||
        loss.rule->probability() == LossRule::Probability::kNone)
      throw Error(
          key,
          fmt::format("mixes the labels of two samples, and the loss {} has no label of probabilities "
                      "a sample",
                      loss.name),
          fmt::format("use softmax_cross_entropy or binary_cross_entropy, or {}", remedy));
  }
}

}  // namespace lockstep
