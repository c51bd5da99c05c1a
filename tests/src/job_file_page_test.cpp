// docs/job-file.md and models.md against the program: their examples are jobs, their tables name every key,
// loss, metric, optimizer, layer and model that there is, and no other.
#include <set>
#include <sstream>

#include "src/network/model.h"
#include "src/run/job.h"
#include "tests/src/expect_error.h"
#include "tests/support/manual_tables.h"

namespace lockstep {
namespace {

std::string read_page() { return read_manual("job-file.md"); }

const std::vector<std::string> kBase = {"name: base",       "model: {zoo: mlp, classes: 10}",
                                        "data: {train: a}", "batch: 8",
                                        "optimizer: adam",  "train: {epochs: 1}"};

/// A job of the base's keys, but for those that `keys` gives.
std::string completed(const std::string& keys) {
  const Config given = Config::from_text(keys, "example");
  std::string text = keys;
  for (const std::string& line : kBase) {
    if (!given.has(line.substr(0, line.find(':')))) text += line + "\n";
  }
  return text;
}

void expect_names(const std::string& section, int column, const std::set<std::string>& known) {
  expect_table(read_page(), "## " + section, column, known);
}

/// What the program says are the known names, after `label` in the message of the job `text`.
std::set<std::string> known(const std::string& text, const std::string& label) {
  std::string message = expect_error([&] { read_job(Config::from_text(text, "test")); }, {label});
  std::set<std::string> names;
  if (message.empty()) return names;
  std::stringstream list(message.substr(message.find(label) + label.size()));
  for (std::string name; std::getline(list, name, ',');)
    names.insert(name.substr(name.find_first_not_of(' ')));
  return names;
}

TEST(JobFilePage, ExamplesAreJobs) {
  const std::string page = read_page();
  int n_examples = 0;
  for (size_t at = 0; (at = page.find("```yaml\n", at)) != std::string::npos; ++n_examples) {
    at += 8;
    const std::string example = page.substr(at, page.find("```", at) - at);
    EXPECT_NO_THROW({
      const Job job = read_job(Config::from_text(completed(example), "example"));
      build_model(*job.model, {{1, 28, 28}, 10});
    }) << example;
  }
  EXPECT_GE(n_examples, 3);
}

TEST(JobFilePage, AssignmentsOfTheExampleAreUnderstood) {
  const std::string page = read_page(), option = "--set ";
  const size_t begin = page.find("    " + option);
  ASSERT_NE(begin, std::string::npos);
  std::string line = page.substr(begin, page.find('\n', begin) - begin);
  std::erase(line, '\'');  // the shell's
  Config config = Config::from_text(completed("batch: 8\n"), "example");
  int n_assignments = 0;
  for (size_t at = line.find(option); at != std::string::npos; ++n_assignments) {
    at += option.size();
    const size_t next = line.find(" " + option, at);
    config.set(line.substr(at, next - at));
    at = next == std::string::npos ? next : next + 1;
  }
  EXPECT_EQ(n_assignments, 4);
  const Job job = read_job(config);
  EXPECT_EQ(job.global_batch, 128);
  EXPECT_EQ(job.optimizer.lr, 0.002);
}

TEST(JobFilePage, NamesEveryKeyAndNoOther) {
  const std::string keys = "known keys here: ";
  expect_names("Top level", 0, known(completed("zzzz: 1\n"), keys));
  expect_names("batch", 0, known(completed("batch: {global: 8, zzzz: 1}\n"), keys));
  expect_names("train", 0, known(completed("train: {epochs: 8, zzzz: 1}\n"), keys));
  expect_names("checkpoint", 0, known(completed("checkpoint: {zzzz: 1}\n"), keys));
  std::set<std::string> data = known(completed("data: {train: a, zzzz: 1}\n"), keys);
  data.insert({"none", "unit", "mean", "mean_image", "standardize", "auto"});  // the second table
  expect_names("data", 0, data);
  std::set<std::string> options = known(completed("optimizer: {sgd: {lr: 1, zzzz: 1}}\n"), keys);
  const std::set<std::string> needs_lr = {"sgd", "lars"};
  for (const std::string& name : known(completed("optimizer: zzzz\n"), "known optimizers: "))
    options.merge(known(
        completed("optimizer: {" + name + (needs_lr.contains(name) ? ": {lr: 1, " : ": {") + "zzzz: 1}}\n"),
        keys));
  expect_names("optimizer", 1, options);
}

TEST(JobFilePage, NamesEveryChoiceAndNoOther) {
  expect_names("loss", 0, known(completed("loss: zzzz\n"), "known losses: "));
  expect_names("metrics", 0, known(completed("metrics: [zzzz]\n"), "known metrics: "));
  expect_names("augment", 0,
               known(completed("data: {train: a, augment: [zzzz]}\n"), "known augmentations: "));
  expect_names("optimizer", 0, known(completed("optimizer: zzzz\n"), "known optimizers: "));
  expect_names("schedule", 0, known(completed("schedule: zzzz\n"), "known schedules: "));
  expect_names("init", 0, known(completed("init: zzzz\n"), "known initialisations: "));
  std::set<std::string> model = {"zoo",    "layers", "graph",     "input",
                                 "inputs", "output", "recompute", "classes"};
  for (const std::string& name : zoo_names()) model.insert(name);
  for (const std::string& name : layer_types()) model.insert(name);
  expect_names("model", 0, model);
}

TEST(ModelsPage, NamesEveryNetworkOfTheZooAndNoOther) {
  const std::vector<std::string> names = zoo_names();
  expect_table(read_manual("models.md"), "# The model zoo", 0, {names.begin(), names.end()});
}

}  // namespace
}  // namespace lockstep
