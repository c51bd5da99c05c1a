// Value: how C++ writes a job, what its text is read back as, and that a job made of it is the job file's.
#include "src/config/value.h"

#include <cmath>
#include <limits>

#include "src/run/job.h"
#include "tests/src/expect_error.h"

namespace lockstep {
namespace {

TEST(Value, BracesMakeMapsListsAndScalars) {
  const Value value{{"name", "digits"},
                    {"model", {{"zoo", "lenet5"}, {"classes", 10}}},
                    {"layers", {"flatten", {{"affine", 64}}, "relu"}},
                    {"two", {"flatten", "relu"}},
                    {"one", {"relu"}},
                    {"pair", Value::list({"a", 1})},
                    {"on", true},
                    {"nothing", {}},
                    {"lr", 0.1f},
                    {"sizes", std::vector<int>{3, 5}},
                    {"empty", Value::map()}};
  EXPECT_EQ(value.text(),
            R"({"name": "digits", "model": {"zoo": "lenet5", "classes": 10}, "layers": ["flatten", )"
            R"({"affine": 64}, "relu"], "two": ["flatten", "relu"], "one": ["relu"], "pair": ["a", 1], )"
            R"("on": true, "nothing": null, "lr": 0.10000000149011612, "sizes": [3, 5], "empty": {}})");
}

TEST(Value, KeysAreMadeWhereTheyAreAssigned) {
  Value value;
  value["train"]["epochs"] = 3;
  value["name"] = "digits";
  value["train"]["epochs"] = int64_t{1} << 40;
  value["layers"].add("flatten");
  value["layers"].add({{"affine", 10}});
  EXPECT_EQ(
      value.text(),
      R"({"train": {"epochs": 1099511627776}, "name": "digits", "layers": ["flatten", {"affine": 10}]})");
  ASSERT_NE(value.find("name"), nullptr);
  EXPECT_EQ(value.find("name")->scalar(), "digits");
  EXPECT_EQ(value.find("absent"), nullptr);
  expect_error([&] { value["name"]["more"] = 1; }, {"'more'", "\"digits\"", "no keys"});
  expect_error([&] { value["train"].add(1); }, {"epochs", "no list"});
}

TEST(Value, ItsTextReadsBackAsTheSameValues) {
  const std::vector<double> numbers{0.1, 1.0 / 3, 1e300, -5e-324, 64, 1e22, -0.0};
  const std::vector<std::string> words{
      "quote \" and \\", "line\nend\ttab", "über", "# no comment", "", "null"};
  Value value{{"numbers", numbers}, {"words", words}};
  const Config read = Config::from_text(value.text(), "text");
  const Config direct = Config::from_value(value, "direct");
  int n_compared = 0;
  for (const Config* config : {&read, &direct}) {
    const std::vector<double> back = config->get_doubles("numbers", {});
    ASSERT_EQ(back.size(), numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i, ++n_compared) {
      EXPECT_EQ(back[i], numbers[i]);
      EXPECT_EQ(std::signbit(back[i]), std::signbit(numbers[i]));
    }
    EXPECT_EQ(config->get_strings("words"), words);
  }
  EXPECT_EQ(n_compared, 14);
  EXPECT_EQ(Value{64.0}.text(), "[64.0]");
  EXPECT_EQ(Value(std::numeric_limits<double>::infinity()).text(), ".inf");
}

const Value kJob{{"name", "digits"},
                 {"model", {{"layers", {"flatten", {{"affine", 16}}, "relu", {{"affine", 10}}}}}},
                 {"data", {{"train", "data/train"}, {"normalize", "unit"}}},
                 {"batch", {{"global", 64}, {"micro", 8}}},
                 {"optimizer", {{"sgd", {{"lr", 0.1}, {"momentum", 0.9}}}}},
                 {"train", {{"epochs", 3}}}};

TEST(Value, AJobOfItIsTheJobFiles) {
  const Job made = make_job(kJob);
  const Job read = read_job(Config::from_text(made.text, "job.yaml"));
  EXPECT_EQ(read.text, made.text);
  EXPECT_EQ(made.name, "digits");
  EXPECT_EQ(made.global_batch, 64);
  EXPECT_EQ(made.micro_batch, 8);
  EXPECT_EQ(made.optimizer.lr, 0.1);
  EXPECT_EQ(made.epochs, 3);
  EXPECT_EQ(made.train->path, "data/train");
}

TEST(Value, ErrorsOfAJobNameTheKey) {
  Value job = kJob;
  job["batch"]["mirco"] = 4;
  expect_error([&] { make_job(job); }, {"the program's job: batch.mirco", "did you mean 'micro'?"});
  job = kJob;
  job["optimizer"] = {{"sdg", {{"lr", 0.1}}}};
  expect_error([&] { make_job(job); }, {"the program's job: optimizer", "did you mean 'sgd'?"});
  job = kJob;
  job["train"]["epochs"] = "many";
  expect_error([&] { make_job(job); }, {"the program's job: train.epochs", "'many'"});
  job = kJob;
  job["model"] = nullptr;
  expect_error([&] { make_job(job); }, {"the program's job: ", "'model' is missing"});
  expect_error([&] { make_job({{"name", "a"}, {"name", "b"}, {"model", 1}}); }, {"the program's job"});
  expect_error([&] { make_job("digits"); }, {"the program's job", "no map"});
}

}  // namespace
}  // namespace lockstep
