// Siblings by name: layers, networks, losses, optimizers … Each stands in a file of its own and adds itself;
// nobody lists them.
#pragma once

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

  /// False where the name is taken: the first one stays.
  bool add(const std::string& name, Maker maker) { return makers_.emplace(name, std::move(maker)).second; }

  /// Null where there is none of that name.
  const Maker* find(const std::string& name) const {
    const auto found = makers_.find(name);
    return found == makers_.end() ? nullptr : &found->second;
  }
  /// The one that a job names; throws Error at the description's place with the nearest name and all of them.
  const Maker& at(const std::string& name, const Config& description) const {
    if (const Maker* maker = find(name)) return *maker;
    throw description.unknown_name(kind_, plural_, name, names());
  }
  /// In the order of the alphabet.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, maker] : makers_) all.push_back(name);
    return all;
  }

 private:
  std::string kind_, plural_;
  std::map<std::string, Maker> makers_;
};

}  // namespace lockstep
