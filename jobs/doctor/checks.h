// Judgements of doctor: from facts to findings, without asking the machine anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/doctor/rank_facts.h"

namespace lockstep {

enum class Health : uint8_t { kOk, kWarn, kFail };

struct Finding {
  Health health = Health::kOk;
  std::string check, found, remedy;  // remedy: "" where all is well
};

/// What was measured among the ranks, on the folder, and what a job would need.
struct Measured {
  double small_us = 0, large_gb_per_s = 0, copy_gb_per_s = 0;  // all-reduce; 0: one rank
  double checkpoint_mb_per_s = 0;    // 0: not tried, in a folder without room or rights
  int64_t job_checkpoint_bytes = 0;  // 0: no job was named
  int job_keep = 1;
};

/// One for each check, in the order of the table in docs/doctor.md.
std::vector<Finding> judge(const std::vector<RankFacts>& ranks, const Measured& measured);

/// What the start of a run has to say: a line for each thing that costs speed or bits, and why it must not
/// begin, where ranks would write into folders of their own. `means_it`: more ranks than cores are meant.
struct BriefFindings {
  std::vector<std::string> warnings;
  std::string refusal;  // "": it may begin
};
BriefFindings judge_briefly(const std::vector<RankFacts>& ranks, bool means_it);

/// Names of all checks, as the table has them.
std::vector<std::string> check_names();

}  // namespace lockstep
