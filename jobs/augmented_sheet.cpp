#include "jobs/augmented_sheet.h"

#include <algorithm>
#include <cmath>

#include "io/files/files.h"
#include "src/data/data.h"
#include "src/report/png.h"

namespace lockstep {

namespace {

constexpr int64_t kSamples = 8, kEpochs = 11;
constexpr int kGap = 4, kEnlarged = 96;  // pixels of the sheet: between images; small ones grow up to that

/// Values (C, H, W) as they are stored, from what the network reads.
class Picture {
 public:
  Picture(const AugmentDesc& desc, const Tensor& values, int64_t sample)
      : channels_(desc.dst.shape[1]), height_(desc.dst.shape[2]), width_(desc.dst.shape[3]) {
    const int64_t plane = height_ * width_;
    const float* from = values.as<const float>() + sample * channels_ * plane;
    for (int64_t c = 0; c < channels_; ++c) {
      const auto picked = [c](const std::vector<float>& v, float absent) {
        return v.empty() ? absent : v.size() == 1 ? v[0] : v[static_cast<size_t>(c)];
      };
      for (int64_t i = 0; i < plane; ++i)
        values_.push_back(from[c * plane + i] / picked(desc.scale, 1) + picked(desc.mean, 0));
    }
  }
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  const std::vector<float>& values() const { return values_; }

  /// Enlarged, with its corner at (top, left) of the sheet; [low, high] becomes black to white.
  void draw(PngImage& sheet, int64_t top, int64_t left, int64_t enlarge, float low, float high) const {
    for (int64_t y = 0; y < height_ * enlarge; ++y)
      for (int64_t x = 0; x < width_ * enlarge; ++x)
        for (int64_t c = 0; c < 3; ++c) {
          const int64_t channel = channels_ == 3 ? c : 0;
          const float value =
              values_[static_cast<size_t>((channel * height_ + y / enlarge) * width_ + x / enlarge)];
          const float share = std::clamp((value - low) / (high - low), 0.0f, 1.0f);
          sheet.pixels[static_cast<size_t>(((top + y) * sheet.width + left + x) * 3 + c)] =
              static_cast<uint8_t>(std::lround(255 * share));
        }
  }

 private:
  int64_t channels_, height_, width_;
  std::vector<float> values_;
};

/// The op once over the samples in hand.
std::vector<Picture> pictures(const AugmentDesc& desc, const void* images,
                              std::vector<AugmentRecord>& records) {
  const std::unique_ptr<Op> op = make_augment({}, desc);
  const std::unique_ptr<Stream> stream = make_stream({});
  Memory dst({}, desc.dst.n_bytes()), scratchpad({}, op->info().scratchpad_bytes + 64);
  const Tensor src_t[] = {{const_cast<void*>(images), op->info().src[0]},
                          {records.data(), op->info().src[1]}};
  const Tensor dst_t{dst.data(), op->info().dst[0]};
  OpArgs args;
  args.src = src_t;
  args.dst = {&dst_t, 1};
  args.scratchpad = scratchpad.data();
  op->forward(*stream, args);
  std::vector<Picture> result;
  for (int64_t n = 0; n < desc.dst.shape[0]; ++n) result.emplace_back(desc, dst_t, n);
  return result;
}

}  // namespace

void write_augmented_sheet(const Job& given, const std::string& path) {
  if (given.augment.empty())
    throw Error("job " + given.name, "it augments nothing", "add data.augment to the job file");
  Job job = given;
  job.device = {};
  const JobData data = open_data(job);
  const Graph graph = build_graph(job, data.contract);
  const auto augmentation =
      make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
  const Shape& stored = augmentation->source().shape;
  if (stored.rank() != 3)
    throw Error("data.augment", "samples of shape " + stored.str() + " are no images",
                "nothing can be drawn");

  const int64_t n = std::min(kSamples, data.train->n_samples());
  job.global_batch = job.micro_batch = n;
  LoaderOptions loading = make_loader_options(job, *data.train, data.train_fields, graph, false,
                                              data.contract.normalization, 0, 1, augmentation.get());
  DataLoader loader(*data.train, loading, 0);
  const MicroBatch& batch = loader.next();
  const std::vector<int> inputs = graph.inputs();
  const auto place = std::find(inputs.begin(), inputs.end(), augmentation->source().vertex) - inputs.begin();
  const void* images = batch.data[static_cast<size_t>(place)];

  AugmentDesc unchanged = augmentation->desc(n, DType::kFloat32);
  unchanged.dst.shape = unchanged.src.shape;
  AugmentRecord nothing;
  nothing.copies = 1;
  std::vector<AugmentRecord> records(static_cast<size_t>(n), nothing);
  std::vector<std::vector<Picture>> columns = {pictures(unchanged, images, records)};
  float low = 0, high = 255;
  if (augmentation->source().dtype != DType::kUInt8) {
    low = INFINITY, high = -INFINITY;
    for (const Picture& picture : columns[0])
      for (const float value : picture.values()) low = std::min(low, value), high = std::max(high, value);
    if (!(high > low)) high = low + 1;
  }
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    augmentation->draw(job.seed, epoch, batch.sample_ids, records.data());
    columns.push_back(pictures(augmentation->desc(n, DType::kFloat32), images, records));
  }

  int64_t height = 0, width = 0;
  for (const auto& column : {columns[0], columns[1]}) {
    height = std::max(height, column[0].height());
    width = std::max(width, column[0].width());
  }
  const int64_t enlarge = std::max<int64_t>(1, kEnlarged / std::max(height, width));
  const int64_t step_y = height * enlarge + kGap, step_x = width * enlarge + kGap;
  PngImage sheet;
  sheet.channels = 3;
  sheet.width = static_cast<int>(static_cast<int64_t>(columns.size()) * step_x + kGap);
  sheet.height = static_cast<int>(n * step_y + kGap);
  sheet.pixels.assign(static_cast<size_t>(sheet.width) * static_cast<size_t>(sheet.height) * 3, 255);
  for (size_t c = 0; c < columns.size(); ++c)
    for (size_t row = 0; row < columns[c].size(); ++row)
      columns[c][row].draw(sheet, kGap + static_cast<int64_t>(row) * step_y,
                           kGap + static_cast<int64_t>(c) * step_x, enlarge, low, high);
  write_text_file_atomically(path, png_bytes(sheet));
}

}  // namespace lockstep
