// See chain.h.
#include "kernels/chain.h"

#include <algorithm>
#include <cassert>

#include "kernels/reshape.h"

namespace lockstep {

namespace {

class Chain : public Op {
 public:
  Chain(std::unique_ptr<Op> first, std::unique_ptr<Op> second)
      : first_(std::move(first)), second_(std::move(second)) {
    const OpInfo &a = first_->info(), &b = second_->info();
    assert(a.src.size() == 1 && a.dst.size() == 1 && b.src.size() == 1 && a.workspace_bytes == 0);
    assert(!a.backward_needs_src && !a.backward_needs_dst);
    info_ = b;
    info_.src = a.src;
    middle_.desc = diff_middle_.desc = b.src[0];
    middle_bytes_ = (b.src[0].n_bytes() + 63) / 64 * 64;
    info_.scratchpad_bytes = 2 * middle_bytes_ + std::max(a.scratchpad_bytes, b.scratchpad_bytes);
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override { second_->prepare(stream, params); }

  void forward(Stream& stream, const OpArgs& args) override {
    run_first(stream, args);
    second_->forward(stream, of_second(args));
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (second_->info().backward_needs_src) run_first(stream, args);
    const bool wants_diff_src = !args.diff_src.empty() && !args.diff_src[0].empty();
    diff_middle_.data = wants_diff_src ? args.scratchpad + middle_bytes_ : nullptr;
    second_->backward(stream, of_second(args));
    if (!wants_diff_src) return;
    OpArgs of_first = with_scratchpad(args);
    of_first.dst = {};
    of_first.diff_dst = {&diff_middle_, 1};
    of_first.params = of_first.diff_params = {};
    first_->backward(stream, of_first);
  }

 private:
  OpArgs with_scratchpad(OpArgs args) const {
    args.scratchpad += 2 * middle_bytes_;
    return args;
  }
  void run_first(Stream& stream, const OpArgs& args) {
    middle_.data = args.scratchpad;
    OpArgs of_first = with_scratchpad(args);
    of_first.dst = {&middle_, 1};
    of_first.params = {};
    first_->forward(stream, of_first);
  }
  OpArgs of_second(const OpArgs& args) const {
    OpArgs result = with_scratchpad(args);
    result.src = {&middle_, 1};
    result.diff_src = {&diff_middle_, 1};
    return result;
  }

  std::unique_ptr<Op> first_, second_;
  Tensor middle_, diff_middle_;
  int64_t middle_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Op> chain(const OpConfig& config, std::unique_ptr<Op> first, std::unique_ptr<Op> second) {
  const TensorDesc made = first->info().dst[0], read = second->info().src[0];
  if (!made.same_form(read))
    second = std::make_unique<Chain>(make_reorder(config, made, read), std::move(second));
  return std::make_unique<Chain>(std::move(first), std::move(second));
}

}  // namespace lockstep
