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
  const int64_t n_target = target_shape.n_elements();
  std::vector<float> values(input.n_elements()), targets(n_target);
  std::vector<int64_t> labels(n_target);
  for (int64_t i = 0; i < n_samples; ++i) {
    const RandomStream random(seed, RandomPurpose::kSynthetic, 0, static_cast<uint64_t>(i));
    for (size_t j = 0; j < values.size(); ++j) values[j] = 2 * random.uniform(j) - 1;
    for (int64_t j = 0; j < n_target; ++j) {
      targets[j] = 2 * random.uniform(values.size() + j) - 1;
      if (n_classes > 0) labels[j] = random.bits(values.size() + j) % n_classes;
    }
    const auto* target = n_classes > 0 ? reinterpret_cast<const std::byte*>(labels.data())
                                       : reinterpret_cast<const std::byte*>(targets.data());
    writer.append(std::array{reinterpret_cast<const std::byte*>(values.data()), target}, 1);
  }
  writer.close();
}

}  // namespace lockstep
