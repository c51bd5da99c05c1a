// Reorder: another layout through oneDNN, another type in own loops, or both; a copy where
// neither differs. Between bfloat16 layouts, a CPU without bfloat16 primitives goes by way of
// float32 in the scratchpad.
#include "kernels/reshape.h"

#include <cstring>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/through_float32.h"

namespace lockstep::cpu {

namespace {

/// One direction of a reorder.
class Move {
 public:
  Move() = default;
  Move(const TensorDesc& from, const TensorDesc& to) : from_(from), to_(to) {
    const TensorDesc wide_from = as_float32(from), wide_to = as_float32(to);
    moves_ = !wide_from.same_layout(wide_to);
    if (!moves_) return;
    direct_ = (from.dtype == DType::kFloat32 && to.dtype == DType::kFloat32) || has_bfloat16();
    if (direct_) {
      primitive_ = make_reorder_primitive(to_onednn(from), to_onednn(to));
    } else {
      primitive_ = make_reorder_primitive(to_onednn(wide_from), to_onednn(wide_to));
      if (from.dtype != DType::kFloat32) from_bytes_ = (wide_from.n_bytes() + 63) / 64 * 64;
      if (to.dtype != DType::kFloat32) to_bytes_ = wide_to.n_bytes();
    }
  }
  int64_t scratchpad_bytes() const { return from_bytes_ + to_bytes_; }

  void run(Stream& stream, const void* from, void* to, std::byte* scratchpad) {
    if (!moves_) return convert(from, to);
    if (direct_) return primitive_.run(stream, {from, to});
    const void* wide_from = from;
    if (from_bytes_ > 0) {
      convert_to_float32(from_.n_bytes() / 2, static_cast<const BFloat16*>(from),
                         reinterpret_cast<float*>(scratchpad));
      wide_from = scratchpad;
    }
    void* wide_to = to_bytes_ > 0 ? scratchpad + from_bytes_ : to;
    primitive_.run(stream, {wide_from, wide_to});
    if (to_bytes_ > 0) {
      convert_to_bfloat16(to_.n_bytes() / 2, static_cast<const float*>(wide_to), static_cast<BFloat16*>(to));
    }
  }

 private:
  /// Equal layouts: element by element.
  void convert(const void* from, void* to) const {
    if (from_.dtype == to_.dtype) {
      std::memcpy(to, from, static_cast<size_t>(from_.n_bytes()));
    } else if (to_.dtype == DType::kBFloat16) {
      convert_to_bfloat16(to_.n_bytes() / 2, static_cast<const float*>(from), static_cast<BFloat16*>(to));
    } else {
      convert_to_float32(from_.n_bytes() / 2, static_cast<const BFloat16*>(from), static_cast<float*>(to));
    }
  }

  TensorDesc from_, to_;
  bool moves_ = false, direct_ = true;
  int64_t from_bytes_ = 0, to_bytes_ = 0;  // float32 copies in the scratchpad
  Primitive primitive_;
};

class ReorderOp : public Op {
 public:
  ReorderOp(const OpConfig& config, const TensorDesc& src, const TensorDesc& dst) : forward_(src, dst) {
    info_.src = {src};
    info_.dst = {dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    if (config.training) backward_ = Move(dst, src);
    info_.scratchpad_bytes = std::max(forward_.scratchpad_bytes(), backward_.scratchpad_bytes());
  }

  void forward(Stream& stream, const OpArgs& args) override {
    forward_.run(stream, args.src[0].data, args.dst[0].data, args.scratchpad);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    backward_.run(stream, args.diff_dst[0].data, args.diff_src[0].data, args.scratchpad);
  }

 private:
  Move forward_, backward_;
};

}  // namespace

std::unique_ptr<Op> make_reorder(const OpConfig& config, const TensorDesc& src, const TensorDesc& dst) {
  return std::make_unique<ReorderOp>(config, src, dst);
}

}  // namespace lockstep::cpu
