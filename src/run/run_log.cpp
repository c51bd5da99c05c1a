#include "src/run/run_log.h"

#include <fmt/format.h>

namespace lockstep {

void RunLog::interval(const IntervalReport& report) {
  JsonObject line;
  line.set("kind", "train").set("step", report.step).set("epoch", report.epoch).set("loss", report.loss);
  set_metrics(line, report.metrics);
  line.set("lr", report.lr).set("samples_per_s", report.samples_per_s);
  line.set("grad_norm", report.gradient_norm).set("time_s", report.elapsed_s);
  if (report.loss_scale) line.set("loss_scale", *report.loss_scale);
  line.set("data_wait_s", report.data_wait_s).set("communication_s", report.communication_s);
  folder_.write(line);
  std::vector<EventScalar> scalars{{"train/loss", static_cast<float>(report.loss)},
                                   {"lr", static_cast<float>(report.lr)},
                                   {"samples_per_s", static_cast<float>(report.samples_per_s)}};
  add_metrics(scalars, "train/", report.metrics);
  folder_.write_scalars(report.step, scalars);
  progress_.show(report.step, report.loss, text_of(report.metrics), report.lr, report.samples_per_s);
}

void RunLog::validation(const ValidationReport& report) {
  const ValidationResult& result = report.result;
  JsonObject line;
  line.set("kind", "validation").set("step", report.step);
  line.set("epoch", report.epoch).set("loss", result.loss);
  set_metrics(line, result.metrics);
  folder_.write(line);
  std::vector<EventScalar> scalars{{"validation/loss", static_cast<float>(result.loss)}};
  add_metrics(scalars, "validation/", result.metrics);
  folder_.write_scalars(report.step, scalars);
  progress_.note(fmt::format("validation after step {}: loss {:.4f}{}{}", report.step, result.loss,
                             text_of(result.metrics), report.improved ? "  (best)" : ""));
}

void RunLog::set_metrics(JsonObject& line, const std::vector<double>& values) const {
  for (size_t i = 0; i < values.size(); ++i) line.set(job_.metrics.all()[i].name, values[i]);
}

void RunLog::add_metrics(std::vector<EventScalar>& scalars, const char* of,
                         const std::vector<double>& values) const {
  for (size_t i = 0; i < values.size(); ++i)
    scalars.push_back({of + job_.metrics.all()[i].name, static_cast<float>(values[i])});
}

std::string RunLog::text_of(const std::vector<double>& values) const {
  std::string text;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto& [name, metric] = job_.metrics.all()[i];
    text += fmt::format("  {} {}", name, measure_text(values[i], metric->is_share()));
  }
  return text;
}

}  // namespace lockstep
