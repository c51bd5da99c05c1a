// Siblings by name: layers, networks, losses, optimizers … Each stands in a file of its own and adds itself;
// nobody lists them.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "src/config/config.h"

namespace lockstep {

/// A family of makers, Maker for instance std::function<Schedule(Config&)>. One per kind of sibling, made on
/// first use, so that siblings may add themselves before main():
///
///   Family<LayerMaker>& layers() {
///     static Family<LayerMaker> family("layer", "layers");
///     return family;
///   }
///   const bool relu_layer_registered = layers().add("relu", [](Config& options) { return …; });
template <class Maker>
class Family {
 public:
  /// What one and several of them are called in errors.
  Family(std::string kind, std::string plural) : kind_(std::move(kind)), plural_(std::move(plural)) {}

  /// False where the name is taken: the first one stays. place: among the names in lists for people; members
  /// without one follow in the order of the alphabet.
  bool add(const std::string& name, Maker maker, int place = 1000) {
    return members_.emplace(name, Member{std::move(maker), place}).second;
  }

  /// Null where there is none of that name.
  const Maker* find(const std::string& name) const {
    const auto found = members_.find(name);
    return found == members_.end() ? nullptr : &found->second.maker;
  }
  /// The one that a job names; throws Error at the description's place with the nearest name and all of them.
  const Maker& at(const std::string& name, const Config& description) const {
    if (const Maker* maker = find(name)) return *maker;
    throw description.unknown_name(kind_, plural_, name, names());
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, member] : members_) all.push_back(name);
    std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
      return members_.at(a).place < members_.at(b).place;
    });
    return all;
  }

 private:
  std::string kind_, plural_;
  struct Member {
    Maker maker;
    int place;
  };
  std::map<std::string, Member> members_;
};

}  // namespace lockstep
