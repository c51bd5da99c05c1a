// The order is part of what a run reproduces: any change here changes every trained weight.
#include "io/loader/balanced_order.h"

#include <algorithm>
#include <map>

#include "io/dataset/stored_numbers.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

// Numbers of derived seeds, apart from those of other orders.
constexpr uint64_t kOfSlots = uint64_t{3} << 61, kOfDecks = kOfSlots + 1;

std::vector<int64_t> read_labels(const Dataset& dataset, const std::string& name) {
  const Field& field = dataset.field(name);
  if (!is_whole(field.dtype) || field.ragged || field.windows || field.shape.n_elements() != 1)
    throw Error(dataset.path(),
                "balanced sampling needs one class a sample, and '" + name + "' holds " +
                    std::string(name_of(field.dtype)) + " " + field.shape.str(),
                "leave out data.order: balanced, or name another target");
  return read_whole_numbers(dataset, field);
}

}  // namespace

BalancedOrder::BalancedOrder(const Dataset& dataset, const std::string& field, uint64_t seed)
    : BalancedOrder(read_labels(dataset, field), seed) {
  if (n_classes() < 2)
    throw Error(dataset.path(), "'" + field + "' holds a single class, which leaves nothing to balance",
                "leave out data.order: balanced");
}

BalancedOrder::BalancedOrder(const std::vector<int64_t>& labels, uint64_t seed)
    : seed_(seed), n_samples_(static_cast<int64_t>(labels.size())), slots_(std::max<int64_t>(1, n_samples_)) {
  std::map<int64_t, std::vector<int64_t>> by_label;
  for (size_t row = 0; row < labels.size(); ++row)
    if (labels[row] >= 0) by_label[labels[row]].push_back(static_cast<int64_t>(row));
  for (auto& [label, rows] : by_label) {
    decks_.emplace_back(static_cast<int64_t>(rows.size()));
    members_.push_back(std::move(rows));
  }
}

int64_t BalancedOrder::row_at(int64_t epoch, int64_t slot) const {
  const int64_t n = n_classes(), each = n_samples_ / n, left = n_samples_ % n;
  int64_t of_class = slot % n, draw = slot / n;  // in this epoch
  if (draw == each) of_class = (epoch % n * left + slot - each * n) % n;
  // Of the slots left over in earlier epochs, dealt around the classes, this class had those congruent to it.
  const int64_t n_before = epoch * left;
  draw += epoch * each + (n_before - of_class + n - 1) / n;
  const auto c = static_cast<size_t>(of_class);
  const auto n_members = static_cast<int64_t>(members_[c].size());
  const Permutation::Keys keys =
      decks_[c].keys(derived_seed(seed_, kOfDecks + static_cast<uint64_t>(of_class)), draw / n_members);
  return members_[c][static_cast<size_t>(decks_[c].apply(keys, draw % n_members))];
}

void BalancedOrder::samples_at(int64_t epoch, int64_t first, int64_t count, int64_t* ids) const {
  const Permutation::Keys keys = slots_.keys(derived_seed(seed_, kOfSlots), epoch);
  for (int64_t i = 0; i < count; ++i) ids[i] = row_at(epoch, slots_.apply(keys, first + i));
}

}  // namespace lockstep
