// Events beside scalars: texts, and the hyper-parameters of a run for TensorBoard's table of runs (its
// plug-in "hparams").
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace lockstep {

struct HyperParameter {
  std::string name;
  std::variant<double, bool, std::string> value;
};

/// Serialized Events of step 0; wall_time_s since 1970. A text is shown as Markdown under its tag.
std::string encode_text(double wall_time_s, const std::string& tag, const std::string& text);
/// What the table has as columns: the parameters, and scalars by their tags.
std::string encode_experiment(double wall_time_s, std::span<const HyperParameter> parameters,
                              std::span<const std::string> metrics);
/// The row of this run.
std::string encode_session_start(double wall_time_s, std::span<const HyperParameter> parameters);

}  // namespace lockstep
