// The one exception type of Lockstep. Every user-visible failure says what went
// wrong, where, and what to do about it; bugs are asserts instead.
#pragma once

#include <stdexcept>
#include <string>

namespace lockstep {

class Error : public std::runtime_error {
 public:
  /// `where`: the file, key, layer, rank or call concerned ("job.yaml:12: batch.global").
  /// `what`: one sentence without a full stop. `remedy`: what the user can do, may be empty.
  Error(std::string where, std::string what, std::string remedy = {});

  const std::string& where() const { return where_; }
  const std::string& reason() const { return reason_; }
  const std::string& remedy() const { return remedy_; }

 private:
  std::string where_, reason_, remedy_;
};

}  // namespace lockstep
