#include "io/dataset/synthetic.h"

#include <algorithm>
#include <array>

#include "io/dataset/shard_writer.h"
#include "io/hdf5/hdf5.h"
#include "kernels/random.h"

namespace lockstep {

void write_synthetic_dataset(const std::string& path, const Shape& input, const Shape& target_shape,
                             int64_t n_classes, int64_t n_samples, uint64_t seed) {
  write_synthetic_dataset(path, {{"input", input, 0}, {"target", target_shape, n_classes}}, n_samples, seed);
}

void write_synthetic_dataset(const std::string& path, const std::vector<SyntheticField>& fields,
                             int64_t n_samples, uint64_t seed) {
  std::vector<Field> stored;
  std::vector<std::vector<std::byte>> rows;
  for (const SyntheticField& field : fields) {
    stored.push_back({field.name, field.n_ids > 0 ? DType::kInt64 : DType::kFloat32, field.shape});
    rows.emplace_back(static_cast<size_t>(field.shape.n_elements() * size_of(stored.back().dtype)));
  }
  ShardWriter writer(path, stored, n_samples);
  std::vector<const std::byte*> data;
  for (const std::vector<std::byte>& row : rows) data.push_back(row.data());
  for (int64_t i = 0; i < n_samples; ++i) {
    const RandomStream random(seed, RandomPurpose::kSynthetic, 0, static_cast<uint64_t>(i));
    uint64_t at = 0;
    for (size_t f = 0; f < fields.size(); ++f) {
      auto* const numbers = reinterpret_cast<float*>(rows[f].data());
      auto* const ids = reinterpret_cast<int64_t*>(rows[f].data());
      for (int64_t j = 0; j < fields[f].shape.n_elements(); ++j, ++at) {
        if (fields[f].n_ids > 0)
          ids[j] = random.bits(at) % fields[f].n_ids;
        else
          numbers[j] = 2 * random.uniform(at) - 1;
      }
    }
    writer.append(data, 1);
  }
  writer.close();
}

void write_synthetic_images(const std::string& path, const Shape& image, int64_t n_samples,
                            StoredLayout layout) {
  constexpr int64_t kChunkBytes = 64 << 10, kBlockBytes = 16 << 20;
  const auto guard = h5::lock();
  h5::Id file = h5::create_file(path);
  const auto write = [&](const char* name, const Shape& row, DType dtype, auto value_of) {
    const Shape extents = row.with_front(n_samples);
    const std::vector<hsize_t> n(extents.begin(), extents.end());
    const h5::Id space =
        h5::own(H5Screate_simple(extents.rank(), n.data(), nullptr), "H5Screate_simple", path);
    const h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
    const int64_t row_bytes = row.n_elements() * size_of(dtype);
    if (layout == StoredLayout::kSparse) {
      h5::check(H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path);
      h5::check(H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path);
    }
    if (layout == StoredLayout::kChunked || layout == StoredLayout::kGzip) {
      std::vector<hsize_t> chunk = n;
      chunk[0] = static_cast<hsize_t>(std::clamp<int64_t>(kChunkBytes / row_bytes, 1, n_samples));
      h5::check(H5Pset_chunk(plist.get(), extents.rank(), chunk.data()), "H5Pset_chunk", path);
    }
    if (layout == StoredLayout::kGzip) {
      h5::check(H5Pset_shuffle(plist.get()), "H5Pset_shuffle", path);
      h5::check(H5Pset_deflate(plist.get(), 1), "H5Pset_deflate", path);
    }
    const hid_t type = h5::native_type(dtype);
    const h5::Id dataset =
        h5::own(H5Dcreate2(file.get(), name, type, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
                "H5Dcreate2", path);
    if (layout == StoredLayout::kSparse) return;
    using Value = decltype(value_of(int64_t{0}));
    const int64_t n_at_once = std::clamp<int64_t>(kBlockBytes / row_bytes, 1, n_samples);
    std::vector<Value> values(static_cast<size_t>(n_at_once * row.n_elements()));
    for (int64_t first = 0; first < n_samples; first += n_at_once) {
      const int64_t count = std::min(n_at_once, n_samples - first);
      for (int64_t i = 0; i < count * row.n_elements(); ++i)
        values[static_cast<size_t>(i)] = value_of(first * row.n_elements() + i);
      std::vector<hsize_t> start(n.size(), 0), extent = n;
      start[0] = static_cast<hsize_t>(first);
      extent[0] = static_cast<hsize_t>(count);
      h5::check(
          H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr),
          "H5Sselect_hyperslab", path);
      const h5::Id memory =
          h5::own(H5Screate_simple(extents.rank(), extent.data(), nullptr), "H5Screate_simple", path);
      h5::check(H5Dwrite(dataset.get(), type, memory.get(), space.get(), H5P_DEFAULT, values.data()),
                "H5Dwrite", path);
    }
  };
  write("image", image, DType::kUInt8,
        [](int64_t i) { return static_cast<uint8_t>((static_cast<uint64_t>(i) * 2654435761u >> 16) & 63); });
  write("label", Shape{}, DType::kInt64, [](int64_t i) { return i % 10; });
  file.close();
}

}  // namespace lockstep
