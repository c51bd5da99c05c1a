#include "src/data/augment/augment.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"

namespace lockstep {

namespace {

/// (C, T) is an image of one row.
Extents extents_of(const Shape& shape) {
  if (shape.rank() == 3) return {shape[1], shape[2]};
  if (shape.rank() == 2) return {1, shape[1]};
  throw Error("data.augment", "samples of shape " + shape.str() + " are no images",
              "augmentation takes (channels, height, width), or (channels, time)");
}

Extents output_extents(const AugmentSpec& spec, Extents extents) {
  for (const AugmentStep& step : spec.steps) {
    try {
      extents = step.extents(extents);
    } catch (const Error& e) {
      throw Error("data.augment: " + step.name, e.reason(), e.remedy());
    }
  }
  return extents;
}

}  // namespace

Shape AugmentSpec::output(const Shape& stored) const {
  if (empty()) return stored;
  const Extents after = output_extents(*this, extents_of(stored));
  return stored.rank() == 3 ? Shape{stored[0], after.height, after.width} : Shape{stored[0], after.width};
}

Augmentation::Augmentation(AugmentSpec spec, Source source)
    : spec_(std::move(spec)),
      source_(std::move(source)),
      channels_(source_.shape.rank() > 0 ? source_.shape[0] : 1),
      stored_(extents_of(source_.shape)),
      output_(output_extents(spec_, stored_)) {
  for (const AugmentStep& step : spec_.steps) {
    const bool fits = step.channels == 0 || step.channels == channels_;
    if (!fits)
      throw Error(
          "data.augment: " + step.name,
          fmt::format("needs {} channels, images {} have {}", step.channels, source_.shape.str(), channels_),
          "leave it out; brightness and contrast act on any number of channels");
  }
  const int64_t n_elements = channels_ * output_.height * output_.width;
  if (source_.network.n_elements() != n_elements) {
    throw Error("data.augment",
                fmt::format("makes images of {}x{} pixels, the network reads {}", output_.height,
                            output_.width, source_.network.str()),
                "let `size` and the model's input agree");
  }
}

AugmentDesc Augmentation::desc(int64_t n, DType compute) const {
  AugmentDesc desc;
  desc.src = {Shape{n, channels_, stored_.height, stored_.width}, source_.dtype, nullptr};
  desc.dst = {Shape{n, channels_, output_.height, output_.width},
              source_.keeps_float32 ? DType::kFloat32 : compute, nullptr};
  desc.border = spec_.border;
  desc.fill = static_cast<float>(spec_.fill);
  desc.mean = source_.mean;
  for (const float deviation : source_.stddev) desc.scale.push_back(1.0f / deviation);
  return desc;
}

void Augmentation::draw(uint64_t seed, int64_t epoch, std::span<const int64_t> ids,
                        AugmentRecord* records) const {
  const auto major = static_cast<uint32_t>(epoch);
  const uint64_t mixed = mix_bits(seed);
  const std::array<uint32_t, 2> noise_key =
      stream_key(mixed ^ hash_name("noise"), RandomPurpose::kAugment, major);
  const bool bytes = source_.dtype == DType::kUInt8;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) {
      records[i] = AugmentRecord{};
      records[i].is_padding = 1;
      continue;
    }
    const auto id = static_cast<uint64_t>(ids[i]);
    const RandomStream random(mixed, RandomPurpose::kAugment, major, id);
    AugmentDraw draw(random, stored_, 0, bytes ? 255 : 1);
    for (size_t s = 0; s < spec_.steps.size(); ++s) {
      draw.begin_step(s);
      if (draw.happens(spec_.steps[s].p)) spec_.steps[s].apply(draw);
    }
    records[i] = draw.finish();
    records[i].noise_key[0] = noise_key[0];
    records[i].noise_key[1] = noise_key[1];
    records[i].noise_counter[0] = static_cast<uint32_t>(id);
    records[i].noise_counter[1] = static_cast<uint32_t>(id >> 32);
  }
}

std::string Augmentation::str() const {
  std::string text;
  for (const AugmentStep& step : spec_.steps) text += (text.empty() ? "" : ", ") + step.text;
  return text;
}

}  // namespace lockstep
