#include "src/update/orthogonal_step.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/affine.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer_update.h"
#include "kernels/permute.h"

namespace lockstep {

namespace {

constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr double kEpsilon = 1e-7;  // below the norm

Memory floats(Device device, int64_t n) { return Memory(device, n * int64_t{sizeof(float)}); }

}  // namespace

void OrthogonalStep::Call::run(Stream& stream, const Memory& batch) {
  OpArgs args;
  args.src = src;
  args.dst = dst;
  args.params = params;
  args.workspace = workspace.data();
  args.scratchpad = scratchpad.data();
  args.batch = batch.as<const BatchContext>();
  op->prepare(stream, params);
  op->forward(stream, args);
}

OrthogonalStep::Call OrthogonalStep::bound(std::unique_ptr<Op> op, Tensor src, std::vector<Tensor> params,
                                           Tensor dst) const {
  Call call;
  call.workspace = Memory(config_.device, op->info().workspace_bytes);
  call.scratchpad = Memory(config_.device, op->info().scratchpad_bytes);
  call.op = std::move(op);
  call.src = {std::move(src)};
  call.params = std::move(params);
  call.dst = {std::move(dst)};
  return call;
}

OrthogonalStep::Call OrthogonalStep::product(const Memory& a, const Shape& shape_a, const Memory& b,
                                             const Shape& shape_b, const Memory& to) {
  // Rows of one sample's steps: such an affine map keeps its matrices dense.
  AffineDesc desc;
  desc.src = {shape_a.with_front(1)};
  desc.out_features = shape_b[0];
  desc.has_bias = false;
  return bound(make_affine(config_, desc), {a.data(), desc.src}, {{b.data(), {shape_b}}},
               {to.data(), {Shape{1, shape_a[0], shape_b[0]}}});
}

OrthogonalStep::Call OrthogonalStep::turn(const Memory& from, const Shape& shape, const Memory& to) {
  const TensorDesc src{shape.with_front(1)};
  return bound(make_permute(config_, src, {0, 2, 1}), {from.data(), src}, {},
               {to.data(), {Shape{1, shape[1], shape[0]}}});
}

OrthogonalStep::OrthogonalStep(Device device, const Shape& shape, const MuonOptions& options)
    : config_{.device = device, .training = false},
      options_(options),
      rows_(shape[0]),
      columns_(shape[1]),
      m_(std::min(rows_, columns_)),
      n_(std::max(rows_, columns_)),
      batch_(device, sizeof(BatchContext)),
      u_(floats(device, rows_ * columns_)),
      x_(floats(device, m_ * n_)),
      turned_(floats(device, m_ * n_)),
      gram_(floats(device, m_ * m_)),
      square_(floats(device, m_ * m_)),
      product_(floats(device, m_ * n_)),
      whole_(device, {{0, m_ * n_, 0}}),
      small_(device, {{0, m_ * m_, 0}}) {
  HostMirror batch(batch_);
  *batch.as<BatchContext>() = BatchContext{.n_valid = 1};
  const std::unique_ptr<Stream> stream = make_stream(device);
  batch.upload(*stream);
  stream->synchronize();
  const Shape x{m_, n_}, gram{m_, m_};
  if (rows_ > columns_) {
    to_x_ = turn(product_, {rows_, columns_}, x_);
    back_ = turn(x_, x, u_);
  }
  turn_x_ = turn(x_, x, turned_);
  gram_of_ = product(x_, x, x_, x, gram_);
  square_of_ = product(gram_, gram, gram_, gram, square_);  // A is its own transpose
  apply_ = product(square_, gram, turned_, {n_, m_}, product_);
}

void OrthogonalStep::blend(Stream& stream, int64_t n, double alpha, float* y, double beta, const float* x) {
  // A step of gradient descent: y - lr (x + decay y).
  SgdUpdate rule;
  rule.lr = static_cast<float>(-beta);
  rule.weight_decay = static_cast<float>((alpha - 1) / beta);
  sgd_update(stream, rule, n == m_ * n_ ? whole_ : small_, x, y, nullptr);
}

void OrthogonalStep::update(Stream& stream, const ParameterArgs& args) {
  const int64_t n = m_ * n_;
  const double fresh = 1 - options_.momentum;
  blend(stream, n, options_.momentum, args.slots[0], fresh * args.grad_scale, args.gradients);
  fill(stream, n, 0.0f, u_.as<float>());
  if (options_.nesterov) blend(stream, n, 1, u_.as<float>(), fresh * args.grad_scale, args.gradients);
  blend(stream, n, 1, u_.as<float>(), options_.nesterov ? options_.momentum : 1, args.slots[0]);

  const double norm = std::sqrt(sum_of_squares(stream, n, u_.as<float>()));
  const bool is_turned = rows_ > columns_;
  float* const x = x_.as<float>();
  float* const scaled = is_turned ? product_.as<float>() : x;  // u / |u|
  fill(stream, n, 0.0f, scaled);
  blend(stream, n, 1, scaled, 1 / std::max(norm, kEpsilon), u_.as<float>());
  if (is_turned) to_x_.run(stream, batch_);
  for (int step = 0; step < options_.steps; ++step) {
    gram_of_.run(stream, batch_);
    square_of_.run(stream, batch_);
    blend(stream, m_ * m_, kC, square_.as<float>(), kB, gram_.as<float>());
    turn_x_.run(stream, batch_);
    apply_.run(stream, batch_);
    blend(stream, n, kA, x, 1, product_.as<float>());
  }
  if (is_turned) back_.run(stream, batch_);
  const float* const step = is_turned ? u_.as<float>() : x;
  const double ratio = static_cast<double>(rows_) / static_cast<double>(columns_);
  const double lr = args.lr * std::sqrt(std::max(1.0, ratio));
  blend(stream, n, 1 - args.lr * args.weight_decay, args.weights, -lr, step);
}

}  // namespace lockstep
