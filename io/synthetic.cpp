#include "io/synthetic.h"

#include <array>

#include "io/shard_writer.h"
#include "kernels/random.h"

namespace lockstep {

void write_synthetic_dataset(const std::string& path, const Shape& input, const Shape& target_shape,
                             int64_t n_classes, int64_t n_samples, uint64_t seed) {
  const DType target_dtype = n_classes > 0 ? DType::kInt64 : DType::kFloat32;
  ShardWriter writer(path, {{"input", DType::kFloat32, input}, {"target", target_dtype, target_shape}},
                     n_samples);
  std::vector<float> values(input.n_elements()), targets(target_shape.n_elements());
  for (int64_t i = 0; i < n_samples; ++i) {
    const RandomStream random(seed, RandomPurpose::kSynthetic, 0, static_cast<uint64_t>(i));
    for (size_t j = 0; j < values.size(); ++j) values[j] = 2 * random.uniform(j) - 1;
    for (size_t j = 0; j < targets.size(); ++j) targets[j] = 2 * random.uniform(values.size() + j) - 1;
    const int64_t label = n_classes > 0 ? random.bits(values.size()) % n_classes : 0;
    const auto* target = n_classes > 0 ? reinterpret_cast<const std::byte*>(&label)
                                       : reinterpret_cast<const std::byte*>(targets.data());
    writer.append(std::array{reinterpret_cast<const std::byte*>(values.data()), target}, 1);
  }
  writer.close();
}

}  // namespace lockstep
