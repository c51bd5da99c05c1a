// Augmentation on GPUs, one pass: a thread makes four neighbouring pixels of a row in all channels. Of three
// channels and of one the values stay in registers; others take their turn, channel by channel.
#include "kernels/augment.h"

#include <algorithm>

#include "kernels/augment_pixel.h"
#include "kernels/backend.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/streaming.h"
#include "kernels/random.h"

namespace lockstep::cuda {

namespace {

constexpr int kPixels = 4;  // of a thread: the words of one Philox block

struct Images {
  int64_t n_groups = 0;  // of four pixels, in all samples
  int32_t n_channels = 0, src_height = 0, src_width = 0, height = 0, width = 0;
  int32_t groups = 0;  // of a row
  AugmentBorder border = AugmentBorder::kConstant;
  float fill = 0;
  AugmentGeometry geometry;
};

/// The pixels around one place of the source: offsets into a plane, shares, the share of the fill value.
struct Place {
  int32_t offset[4];
  float share[4];
  float outside;
};

__device__ __forceinline__ int32_t inside(AugmentBorder border, int32_t i, int32_t extent) {
  return border == AugmentBorder::kReflect ? mirrored(i, extent) : clamped(i, extent);
}

__device__ __forceinline__ Place place_of(const Images& m, const AugmentRecord& r, float x, float y) {
  const float column = m.geometry.column(r, x, y), row = m.geometry.row(r, x, y);
  const int32_t left = floor_of(column), top = floor_of(row);
  float right_share = column - static_cast<float>(left), bottom_share = row - static_cast<float>(top);
  float left_share = 1 - right_share, top_share = 1 - bottom_share;
  Place place;
  place.outside = 0;
  if (m.border == AugmentBorder::kConstant) {
    left_share = left >= 0 && left < m.src_width ? left_share : 0;
    right_share = left >= -1 && left < m.src_width - 1 ? right_share : 0;
    top_share = top >= 0 && top < m.src_height ? top_share : 0;
    bottom_share = top >= -1 && top < m.src_height - 1 ? bottom_share : 0;
    place.outside = 1 - (left_share + right_share) * (top_share + bottom_share);
  }
  const int32_t c0 = inside(m.border, left, m.src_width), c1 = inside(m.border, left + 1, m.src_width);
  const int32_t r0 = inside(m.border, top, m.src_height) * m.src_width;
  const int32_t r1 = inside(m.border, top + 1, m.src_height) * m.src_width;
  place.offset[0] = r0 + c0;
  place.offset[1] = r0 + c1;
  place.offset[2] = r1 + c0;
  place.offset[3] = r1 + c1;
  place.share[0] = top_share * left_share;
  place.share[1] = top_share * right_share;
  place.share[2] = bottom_share * left_share;
  place.share[3] = bottom_share * right_share;
  return place;
}

template <typename Src>
__device__ __forceinline__ float sample(const Images& m, const Place& p, bool copies, const Src* plane) {
  const float nearest = static_cast<float>(plane[p.offset[0]]) * p.share[0];
  const float filling = p.outside * m.fill;
  if (copies) return nearest + filling;
  return ((nearest + static_cast<float>(plane[p.offset[1]]) * p.share[1]) +
          (static_cast<float>(plane[p.offset[2]]) * p.share[2] +
           static_cast<float>(plane[p.offset[3]]) * p.share[3])) +
         filling;
}

/// kChannels: 1, 3, or 0 for any number, where a turn of the loop holds one channel.
template <typename Src, typename Dst, int kChannels>
__global__ void __launch_bounds__(kThreads)
    augment_kernel(Images m, const AugmentRecord* records, const float* normalize, const Src* src, Dst* dst) {
  constexpr int kHeld = kChannels == 0 ? 1 : kChannels;
  const int64_t thread = global_thread();
  if (thread >= m.n_groups) return;
  const int64_t row_of_all = thread / m.groups;
  const int32_t x0 = static_cast<int32_t>(thread - row_of_all * m.groups) * kPixels;
  const int64_t n = row_of_all / m.height;
  const int32_t y = static_cast<int32_t>(row_of_all - n * m.height);
  const AugmentRecord& r = records[n];
  const int64_t src_plane = static_cast<int64_t>(m.src_height) * m.src_width;
  const int64_t dst_plane = static_cast<int64_t>(m.height) * m.width;
  src += n * m.n_channels * src_plane;
  dst += n * m.n_channels * dst_plane + static_cast<int64_t>(y) * m.width + x0;

  const float dy = static_cast<float>(y) - m.geometry.out_y;
  Place places[kPixels];
  float brightness[kPixels];
#pragma unroll
  for (int k = 0; k < kPixels; ++k) {
    const float dx = static_cast<float>(x0 + k) - m.geometry.out_x;
    places[k] = place_of(m, r, dx, dy);
    brightness[k] = 1 - r.vignette * m.geometry.radius2(dx, dy);
  }
  const bool erases_row = y >= r.erase_top && y < r.erase_top + r.erase_height;

  for (int32_t first = 0; first < m.n_channels; first += kHeld) {
    float value[kHeld][kPixels];
#pragma unroll
    for (int c = 0; c < kHeld; ++c)
#pragma unroll
      for (int k = 0; k < kPixels; ++k)
        value[c][k] = sample(m, places[k], r.copies != 0, src + (first + c) * src_plane);
    if (r.alters != 0) {
#pragma unroll
      for (int k = 0; k < kPixels; ++k) {
        if constexpr (kHeld == 3) {
          const float red = value[0][k], green = value[1][k], blue = value[2][k];
#pragma unroll
          for (int c = 0; c < 3; ++c)
            value[c][k] = r.mixing[c][0] * red + r.mixing[c][1] * green + r.mixing[c][2] * blue + r.offset[c];
        } else {
          value[0][k] = r.mixing[0][0] * value[0][k] + r.offset[0];
        }
      }
#pragma unroll
      for (int c = 0; c < kHeld; ++c) {
#pragma unroll
        for (int k = 0; k < kPixels; ++k) value[c][k] *= brightness[k];
        if (r.noise != 0) {
          const int64_t row = static_cast<int64_t>(first + c) * m.height + y;
          const auto block = static_cast<uint64_t>(row * m.groups + x0 / kPixels);
          const std::array<uint32_t, 4> words =
              philox({r.noise_key[0], r.noise_key[1]},
                     {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), r.noise_counter[0],
                      r.noise_counter[1]});
#pragma unroll
          for (int k = 0; k < kPixels; ++k)
            value[c][k] +=
                r.noise * normal_of_bits(words[static_cast<size_t>(k)], [](float w) { return sqrtf(w); });
        }
        if constexpr (sizeof(Src) == 1) {
#pragma unroll
          for (int k = 0; k < kPixels; ++k) value[c][k] = fminf(fmaxf(value[c][k], 0.0f), 255.0f);
        }
      }
    }
#pragma unroll
    for (int c = 0; c < kHeld; ++c) {
      const float mean = normalize[first + c], scale = normalize[m.n_channels + first + c];
      const float erased = r.erases_to_mean != 0 ? 0.0f : (r.erase_value - mean) * scale;
      Pack<Dst, kPixels> pack;
#pragma unroll
      for (int k = 0; k < kPixels; ++k) {
        const int32_t x = x0 + k;
        float result = (value[c][k] - mean) * scale;
        if (erases_row && x >= r.erase_left && x < r.erase_left + r.erase_width) result = erased;
        if (r.is_padding != 0) result = 0;
        pack.at[k] = from_float<Dst>(result);
      }
      Dst* out = dst + (first + c) * dst_plane;
      if (m.width % kPixels == 0) {
        store<kPixels>(out, pack);
      } else {
#pragma unroll
        for (int k = 0; k < kPixels; ++k)
          if (x0 + k < m.width) out[k] = pack.at[k];
      }
    }
  }
}

class Augment : public Op {
 public:
  Augment(const OpConfig& config, const AugmentDesc& desc) : src_dtype_(desc.src.dtype) {
    const Shape &src = desc.src.shape, &dst = desc.dst.shape;
    images_.n_channels = static_cast<int32_t>(src[1]);
    images_.src_height = static_cast<int32_t>(src[2]);
    images_.src_width = static_cast<int32_t>(src[3]);
    images_.height = static_cast<int32_t>(dst[2]);
    images_.width = static_cast<int32_t>(dst[3]);
    images_.groups = (images_.width + kPixels - 1) / kPixels;
    images_.n_groups = dst[0] * dst[2] * images_.groups;
    images_.border = desc.border;
    images_.fill = desc.fill;
    images_.geometry = {src[2], src[3], dst[2], dst[3]};
    info_.src = {desc.src, {{src[0], int64_t{sizeof(AugmentRecord)}}, DType::kUInt8, nullptr}};
    info_.dst = {desc.dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    std::vector<float> values = desc.mean;
    values.insert(values.end(), desc.scale.begin(), desc.scale.end());
    const auto n_bytes = static_cast<int64_t>(values.size() * sizeof(float));
    normalize_ = Memory(config.device, n_bytes);
    const std::unique_ptr<Stream> stream = make_stream(config.device.index);
    lockstep::copy(*stream, normalize_.data(), values.data(), n_bytes);
    stream->synchronize();
  }

  void forward(Stream& stream, const OpArgs& args) override {
    if (src_dtype_ == DType::kUInt8)
      run<uint8_t>(stream, args);
    else
      run<float>(stream, args);
  }
  void backward(Stream&, const OpArgs&) override {}

 private:
  template <typename Src>
  void run(Stream& stream, const OpArgs& args) const {
    with_element(info_.dst[0].dtype, [&]<typename Dst>() {
      const auto kernel = images_.n_channels == 3   ? augment_kernel<Src, Dst, 3>
                          : images_.n_channels == 1 ? augment_kernel<Src, Dst, 1>
                                                    : augment_kernel<Src, Dst, 0>;
      launch(stream, blocks_for(images_.n_groups), kThreads, kernel, images_,
             args.src[1].as<const AugmentRecord>(), normalize_.as<const float>(), args.src[0].as<const Src>(),
             args.dst[0].as<Dst>());
    });
  }

  DType src_dtype_;
  Images images_;
  Memory normalize_;
};

}  // namespace

std::unique_ptr<Op> make_augment(const OpConfig& config, const AugmentDesc& desc) {
  return std::make_unique<Augment>(config, desc);
}

}  // namespace lockstep::cuda
