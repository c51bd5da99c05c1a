// What the doctor makes of the facts: pure functions from facts to findings, without clock, files or MPI.
// Each check adds one finding; a warning costs speed or safety, a failure would ruin a run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "jobs/doctor/rank_facts.h"

namespace lockstep {

enum class Verdict : uint8_t { kOk, kWarn, kFail };

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string meaning;  // one sentence
  std::string remedy;   // "" where all is well
};

struct DoctorCheck {
  std::string name;                                             // as in docs/doctor.md
  std::function<Finding(const std::vector<RankFacts>&)> judge;  // facts of one rank or more, in rank order
};

/// All checks of facts, in the order in which they are printed.
const std::vector<DoctorCheck>& doctor_checks();
/// "ok", "warn", "fail".
const char* verdict_word(Verdict verdict);

}  // namespace lockstep
