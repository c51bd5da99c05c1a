#include "comm/watchdog/rank_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace lockstep {
namespace {

constexpr double kOwnGap_s = 3;    // between two looks: then this process stood still itself
constexpr double kPatience_s = 5;  // more, where a rank before this one should judge
constexpr double kAlmost = 0.8;    // of silent_s: goes with those that are silent
constexpr size_t kNamed = 4;       // ranks or works that a sentence names

std::string list(const std::vector<int>& ranks) {
  const std::vector<int> named(ranks.begin(),
                               ranks.begin() + static_cast<int>(std::min(kNamed, ranks.size())));
  return fmt::format("{}{}", fmt::join(named, ", "), ranks.size() > kNamed ? ", …" : "");
}

}  // namespace

RankWatch::RankWatch(int rank, std::vector<int> order, int n_watchers, const Options& options, double now_s)
    : rank_(rank),
      order_(std::move(order)),
      place_(order_.size()),
      n_watchers_(n_watchers),
      options_(options),
      ranks_(order_.size()),
      judged_s_(now_s) {
  for (size_t place = 0; place < order_.size(); ++place) place_[order_[place]] = static_cast<int>(place);
  for (Rank& one : ranks_) one.heard_s = now_s;
}

void RankWatch::heard(int rank, Beat beat, double now_s) {
  ranks_[rank].beat = std::move(beat);
  ranks_[rank].heard_s = now_s;
}

void RankWatch::lose(int rank, Loss how) {
  if (ranks_[rank].loss == Loss::kNone) ranks_[rank].loss = how;
}

std::vector<int> RankWatch::silent(double now_s) {
  const bool stood_still = now_s - judged_s_ > kOwnGap_s;
  judged_s_ = now_s;
  if (stood_still) {
    for (Rank& one : ranks_) one.heard_s = now_s;
  }
  if (options_.silent_s <= 0) return {};
  double longest_s = 0;
  bool another_judges = !is_watcher(rank_);
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
    if (!hear_each_other(rank_, r) || !is_living(r) || !ranks_[r].watched) continue;
    const double age_s = now_s - ranks_[r].heard_s;
    longest_s = std::max(longest_s, age_s);
    if (place_[r] < place_[rank_] && age_s < kAlmost * options_.silent_s) another_judges = true;
  }
  if (longest_s < options_.silent_s + (another_judges ? kPatience_s : 0)) return {};
  std::vector<int> silent;
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
    if (hear_each_other(rank_, r) && is_living(r) && ranks_[r].watched &&
        now_s - ranks_[r].heard_s >= kAlmost * options_.silent_s)
      silent.push_back(r);
  }
  return silent;
}

std::vector<int> RankWatch::stuck_ranks(double now_s) {
  if (options_.stuck_s <= 0 || first_living() != rank_) return {};
  std::vector<int> working, waiting;
  bool all_wait = true;
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
    const Rank& one = ranks_[r];
    if (!is_living(r) || !one.watched) continue;
    const bool long_at_it = one.beat.for_s + (now_s - one.heard_s) >= options_.stuck_s;
    all_wait = all_wait && one.beat.waits && long_at_it;
    // Who waits began to when the other's work was under way, perhaps long after that began.
    if (one.beat.waits && one.beat.for_s >= options_.stuck_s / 2) waiting.push_back(r);
    if (!one.beat.waits && long_at_it) working.push_back(r);
  }
  if (waiting.empty() || (working.empty() && !all_wait)) {
    pause_s_ = 0;
    return {};
  }
  if (pause_s_ > 0 && now_s - last_warning_s_ < pause_s_) return {};
  pause_s_ = std::max(options_.stuck_s, 2 * pause_s_);
  last_warning_s_ = now_s;
  return working.empty() ? waiting : working;
}

std::string RankWatch::stuck(double now_s, const std::function<std::string(int)>& name) {
  const std::vector<int> who = stuck_ranks(now_s);
  if (who.empty()) return "";
  const Rank& one = ranks_[who[0]];
  const double for_s = one.beat.for_s + (now_s - one.heard_s);
  if (one.beat.waits)
    return fmt::format("all ranks wait for each other, for {:.0f} s now: {}", for_s, works_of_living());
  const std::string more = who.size() > 1 ? fmt::format(" (and {} more ranks)", who.size() - 1) : "";
  return fmt::format("{}{} keeps the others waiting: at \"{}\" of step {} for {:.0f} s now; {}", name(who[0]),
                     more, one.beat.work, one.beat.step, for_s, works_of_living());
}

std::vector<int> RankWatch::lost() const {
  std::vector<int> lost;
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r)
    if (!is_living(r)) lost.push_back(r);
  return lost;
}

int RankWatch::first_living() const {
  for (const int rank : order_)
    if (is_living(rank)) return rank;
  return -1;
}

std::string RankWatch::works_of_living() const {
  std::map<std::pair<std::string, int64_t>, std::vector<int>> ranks_at;
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
    const Beat& beat = ranks_[r].beat;
    if (is_living(r) && !beat.work.empty()) ranks_at[{beat.work, beat.step}].push_back(r);
  }
  std::vector<std::string> parts;
  for (const auto& [at, ranks] : ranks_at) {
    if (parts.size() == kNamed) {
      parts.push_back("…");
      break;
    }
    parts.push_back(fmt::format("{} {} at \"{}\" of step {}", ranks.size() > 1 ? "ranks" : "rank",
                                list(ranks), at.first, at.second));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace lockstep
