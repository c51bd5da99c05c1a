#include "tests/jobs/program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace lockstep {

Ended run_shell(const std::string& command, int limit_s) {
  const auto start = std::chrono::steady_clock::now();
  Ended ended;
  std::string quoted;
  for (char c : command) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  std::FILE* pipe =
      popen(("timeout -k 5 " + std::to_string(limit_s) + " sh -c '" + quoted + "' 2>&1").c_str(), "r");
  if (pipe == nullptr) return ended;
  char buffer[4096];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) ended.output += buffer;
  const int status = pclose(pipe);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ended.time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ended;
}

std::string lockstep_command(int n_ranks, const std::string& words) {
  return std::string(LOCKSTEP_MPIEXEC) + " -n " + std::to_string(n_ranks) + " " + LOCKSTEP_PROGRAM + " " +
         words;
}

Ended lockstep(const std::string& words) { return run_shell(std::string(LOCKSTEP_PROGRAM) + " " + words); }
Ended lockstep_on(int n_ranks, const std::string& words) {
  return run_shell(lockstep_command(n_ranks, words));
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

void flip_bit(const std::string& path, uint64_t at, int bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(file.get() ^ (1 << bit));
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
}

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

Workplace::Workplace() {
  // Class c: a bright stripe of its own on a dim ground, with noise that differs by sample.
  std::string csv;
  for (int i = 0; i < 360; ++i) {
    const int label = i % 10;
    for (int p = 0; p < 64; ++p) {
      const double brightness = p / 6 == label ? 13 : 4, noise = std::sin(12.9898 * (64 * i + p)) * 3;
      csv += std::to_string(std::lround(brightness + noise)) + ",";
    }
    csv += std::to_string(label) + "\n";
  }
  write_file(file("samples.csv"), csv);
  const std::string convert =
      "convert csv " + file("samples.csv") + " --shape 1,8,8 --shuffle --seed 5 --shards 2";
  const Ended train = lockstep(convert + " --limit 300 --out " + file("data/train"));
  const Ended test = lockstep(convert + " --skip 300 --out " + file("data/test"));
  EXPECT_EQ(train.status, 0) << train.output;
  EXPECT_EQ(test.status, 0) << test.output;
  write_file(
      job(),
      "name: small\nseed: 3\nmodel: {zoo: lenet5, activation: relu, pooling: max}\ndata:\n  train: {path: " +
          file("data/train") + "}\n  validation: {path: " + file("data/test") +
          "}\nbatch: {global: 16, micro: 2}\noptimizer: {sgd: {lr: 0.05, momentum: 0.9, weight_decay: "
          "1.0e-4}}\n"
          "schedule: {cosine: {warmup_epochs: 1}}\ntrain: {epochs: 20, log_every_steps: 1}\n"
          "checkpoint: {every_epochs: 1, every_steps: 7, keep: 0}\n");
}

std::string Workplace::train(const std::string& out_name) const {
  return "train " + job() + " --out " + file(out_name) + " ";
}

std::string Workplace::checkpoint(const std::string& out_name, int64_t step) const {
  char name[40];
  std::snprintf(name, sizeof name, "step-%09lld.h5", static_cast<long long>(step));
  return file(out_name + "/checkpoints/" + name);
}

}  // namespace lockstep
