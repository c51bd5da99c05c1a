// Config: typed reads, places in errors, nearest keys, and what --set reaches.
#include "src/config/config.h"

#include <fstream>

#include "tests/src/expect_error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

Config config(const std::string& text) { return Config::from_text(text, "job.yaml"); }

TEST(Config, ReadsScalarsOfEveryType) {
  const Config c = config("n: 12\nx: 1.5e-3\nwhole: 3\nyes: true\nword: hello\nlist: [1, 2]\none: 7\n");
  EXPECT_EQ(c.get_int("n"), 12);
  EXPECT_EQ(c.get_double("x"), 1.5e-3);
  EXPECT_EQ(c.get_double("whole"), 3.0);
  EXPECT_TRUE(c.get_bool("yes", false));
  EXPECT_EQ(c.get_string("word"), "hello");
  EXPECT_EQ(c.get_ints("list", {}), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(c.get_ints("one", {}), std::vector<int64_t>{7});
  EXPECT_NO_THROW(c.finish());
}

TEST(Config, DefaultsStandInForAbsentAndNullKeys) {
  const Config c = config("empty:\nother: ~\n");
  for (const char* key : {"empty", "other", "absent"}) {
    EXPECT_FALSE(c.has(key)) << key;
    EXPECT_EQ(c.get_int(key, 5), 5) << key;
    EXPECT_EQ(c.get_double(key, 0.5), 0.5) << key;
    EXPECT_TRUE(c.get_bool(key, true)) << key;
    EXPECT_EQ(c.get_string(key, "d"), "d") << key;
    EXPECT_EQ(c.get_ints(key, {1, 2}), (std::vector<int64_t>{1, 2})) << key;
    EXPECT_FALSE(c.find(key).has_value()) << key;
  }
  EXPECT_NO_THROW(c.finish());
}

TEST(Config, WrongTypesNameLineKeyAndWhatWasFound) {
  const Config c =
      config("batch:\n  global: many\n  micro: 1.5\nflag: 3\nx: [1]\nlist: [1, two]\nnan: .nan\n");
  const Config batch = c.at("batch");
  expect_error([&] { batch.get_int("global"); }, {"job.yaml:2: batch.global", "a whole number", "'many'"});
  expect_error([&] { batch.get_int("micro"); }, {"job.yaml:3: batch.micro", "a whole number", "'1.5'"});
  expect_error([&] { batch.get_double("global"); }, {"job.yaml:2: batch.global", "a number"});
  expect_error([&] { c.get_bool("flag", false); }, {"job.yaml:4: flag", "true or false", "'3'"});
  expect_error([&] { c.get_double("x"); }, {"job.yaml:5: x", "a number", "a list"});
  expect_error([&] { c.get_string("batch"); }, {"job.yaml:2: batch", "a text", "a map"});
  expect_error([&] { c.get_ints("list", {}); }, {"job.yaml:6: list", "a whole number", "'two'"});
  expect_error([&] { c.get_double("nan"); }, {"job.yaml:7: nan", "not finite"});
  expect_error([&] { c.get_double("nan", 1.0); }, {"job.yaml:7: nan", "not finite"});
}

TEST(Config, MissingKeyNamesTheMisspeltOne) {
  const Config c = config("batch:\n  globl: 8\n");
  expect_error([&] { c.at("batch").get_int("global"); },
               {"job.yaml:2: batch", "'global' is missing", "is 'globl' meant to be 'global'?"});
  expect_error([&] { c.at("optimizer"); }, {"'optimizer' is missing", "add the key"});
}

TEST(Config, UnknownKeysNameTheNearestKnownOne) {
  const Config c = config("seed: 1\nsede: 2\n");
  c.get_int("seed", 1);
  c.get_int("threads", 1);
  expect_error([&] { c.finish(); }, {"job.yaml:2: sede", "unknown key 'sede'", "did you mean 'seed'?",
                                     "known keys here: seed, threads"});
  const Config far = config("elephant: 1\n");
  far.get_int("seed", 1);
  const std::string text =
      expect_error([&] { far.finish(); }, {"unknown key 'elephant'", "known keys here: seed"});
  EXPECT_EQ(text.find("did you mean"), std::string::npos);
}

TEST(Config, RepeatedKeysAndValuesInPlaceOfOptionsAreErrors) {
  const Config twice = config("seed: 1\nname: a\nseed: 2\n");
  twice.get_int("seed");
  twice.get_string("name");
  expect_error([&] { twice.finish(); }, {"job.yaml:3: seed", "given twice"});
  const Config value = config("adam: 0.1\n");
  expect_error([&] { value.at("adam").finish(); }, {"job.yaml:1: adam", "options", "'0.1'"});
  expect_error([&] { config("adam: [1]\n").at("adam").finish(); }, {"job.yaml:1: adam", "a list"});
}

TEST(Config, ChoicesAreListed) {
  const Config c = config("device: gpu\nbest: acuracy\n");
  expect_error(
      [&] {
        c.get_choice("device", "auto", {"auto", "cpu", "cuda"});
      },
      {"job.yaml:1: device", "'gpu' is not a known choice", "choose one of: auto, cpu, cuda"});
  expect_error(
      [&] {
        c.get_choice("best", "loss", {"accuracy", "loss"});
      },
      {"job.yaml:2: best", "did you mean 'accuracy'?"});
  EXPECT_EQ(c.get_choice("absent", "auto", {"auto"}), "auto");
}

TEST(Config, NamedChoicesInAllThreeForms) {
  const Config c =
      config("a: sgd\nb: {sgd: {lr: 2}}\nc: {affine: 64}\nd: {relu: }\ne: {x: 1, y: 2}\nf: [1]\n");
  const Config::Named a = c.at("a").named();
  EXPECT_EQ(a.name, "sgd");
  EXPECT_NO_THROW(a.options->finish());
  const Config::Named b = c.at("b").named();
  EXPECT_EQ(b.name, "sgd");
  EXPECT_EQ(b.options->get_int("lr"), 2);
  const Config::Named affine = c.at("c").named();
  affine.options->positional("features");
  EXPECT_EQ(affine.options->get_int("features"), 64);
  EXPECT_NO_THROW(affine.options->finish());
  EXPECT_EQ(c.at("d").named().name, "relu");
  EXPECT_NO_THROW(c.at("d").named().options->finish());
  expect_error([&] { c.at("e").named(); }, {"job.yaml:5: e", "expected one name", "a map"});
  expect_error([&] { c.at("f").named(); }, {"job.yaml:6: f", "expected one name", "a list"});
}

TEST(Config, ListsNameTheirItems) {
  const Config c = config("layers:\n  - relu\n  - {affine: 3}\nword: x\n");
  const std::vector<Config> items = c.at("layers").items();
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].text(), "relu");
  EXPECT_EQ(items[1].path(), "layers[1]");
  expect_error([&] { throw items[1].error("no", "say yes"); }, {"job.yaml:3: layers[1]: no"});
  expect_error([&] { c.at("word").items(); }, {"job.yaml:4: word", "expected a list", "'x'"});
}

TEST(Config, BrokenFilesNameTheLine) {
  expect_error([] { config("a: 1\nb: [1, 2\n"); }, {"job.yaml:", "not valid YAML"});
  expect_error([] { config("a: 1\n\tb: 2\n"); }, {"job.yaml:2", "not valid YAML"});
  expect_error([] { config("- a\n- b\n"); }, {"job.yaml", "not a map"});
  expect_error([] { config(""); }, {"job.yaml", "not a map"});
  expect_error([] { Config::from_file("/no/such/job.yaml"); }, {"/no/such/job.yaml", "cannot open"});
  expect_error([] { config("a: 1\n? [b]\n: 2\n"); }, {"job.yaml:", "a key is not a text"});
  expect_error([] { config("a: &a\n  b: [1, *a]\n"); },
               {"job.yaml:", "contain themselves", "remove the alias"});
  std::string doubling = "a0: &a0 [1, 1]\n";  // each list holds the one before it ten times
  for (int i = 1; i < 12; ++i) {
    doubling += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) doubling += (k ? ", *a" : "*a") + std::to_string(i - 1);
    doubling += "]\n";
  }
  expect_error([&] { config(doubling); }, {"job.yaml", "more than 100000 values", "fewer aliases"});

  const TemporaryFolder folder;
  std::ofstream(folder.file("x.yaml")) << "seed: 3\n";
  EXPECT_EQ(Config::from_file(folder.file("x.yaml")).get_int("seed"), 3);
}

TEST(Config, DumpReadsBackAsTheSame) {
  const std::string text = "name: a\noptimizer: {sgd: {lr: 0.1}}\nlayers: [flatten, {affine: 10}]\n";
  const Config again = config(config(text).dump());
  EXPECT_EQ(again.dump(), config(text).dump());
  EXPECT_EQ(again.at("optimizer").named().options->get_double("lr"), 0.1);
  EXPECT_EQ(again.at("layers").items().size(), 2u);
}

TEST(Config, WholeNumbersAreDecimal) {
  const Config c = config(
      "a: 010\nb: 0x10\nc: 1e3\nd: 1_000\ne: 64.0\nf: 0o17\ng: 1.5\nh: '12'\ni: +7\nj: -3\nk: 0\nl: "
      "9223372036854775808\nm: [1, 010]\nn: 00\no: 2026-11-30\np: ' 5'\nq: 1,000\nr: -010\n");
  expect_error([&] { c.get_int("a"); }, {"job.yaml:1: a", "'010'", "plain decimal digits: a: 10"});
  expect_error([&] { c.get_int("b"); }, {"job.yaml:2: b", "'0x10'", "decimal digits"});
  expect_error([&] { c.get_int("c"); }, {"'1e3'", "c: 1000"});
  expect_error([&] { c.get_int("d"); }, {"'1_000'", "d: 1000"});
  expect_error([&] { c.get_int("e"); }, {"'64.0'", "e: 64"});
  expect_error([&] { c.get_int("r"); }, {"'-010'", "r: -10"});
  for (const char* key : {"f", "g", "l", "n", "o", "p", "q"})
    expect_error([&] { c.get_int(key); }, {"expected a whole number", "decimal digits"});
  EXPECT_EQ(c.get_int("h"), 12);
  EXPECT_EQ(c.get_int("i"), 7);
  EXPECT_EQ(c.get_int("j"), -3);
  EXPECT_EQ(c.get_int("k"), 0);
  expect_error([&] { c.get_ints("m", {}); }, {"job.yaml:13: m", "'010'"});
}

TEST(Config, YesAndNoAreTrueAndFalse) {
  const Config c = config("a: yes\nb: Off\nc: on\nd: maybe\n");
  EXPECT_TRUE(c.get_bool("a", false));
  EXPECT_FALSE(c.get_bool("b", true));
  EXPECT_EQ(c.get_choice("c", "auto", {"auto", "true", "false"}), "true");
  EXPECT_EQ(c.get_choice("b", "auto", {"auto", "true", "false"}), "false");
  expect_error([&] { c.get_choice("c", "a", {"a", "b"}); }, {"'on' is not a known choice"});
  expect_error([&] { c.get_bool("d", true); }, {"true or false", "'maybe'"});
}

TEST(Config, JobFilesAreFilesOfSomeSize) {
  const TemporaryFolder folder;
  expect_error([&] { Config::from_file(folder.path()); }, {"is a folder"});
  std::ofstream(folder.file("large.yaml")) << std::string(17 << 20, '#');
  expect_error([&] { Config::from_file(folder.file("large.yaml")); }, {"large.yaml", "bytes"});
  expect_error([] { Config::from_file("/dev/zero"); }, {"/dev/zero", "bytes"});
}

// --set -------------------------------------------------------------------------------------

/// The config after the assignments.
Config with(const std::string& text, const std::vector<std::string>& assignments) {
  Config c = config(text);
  for (const std::string& assignment : assignments) c.set(assignment);
  return c;
}

TEST(ConfigSet, ReplacesAndAddsKeys) {
  const Config c =
      with("seed: 1\nbatch: {global: 8, micro: 2}\n",
           {"seed=7", "batch.global=16", "train.epochs=3", "schedule.cosine.warmup_epochs=1", "name=a b"});
  EXPECT_EQ(c.get_int("seed"), 7);
  EXPECT_EQ(c.at("batch").get_int("global"), 16);
  EXPECT_EQ(c.at("batch").get_int("micro"), 2);
  EXPECT_EQ(c.at("train").get_int("epochs"), 3);
  EXPECT_EQ(c.at("schedule").named().options->get_int("warmup_epochs"), 1);
  EXPECT_EQ(c.get_string("name"), "a b");
}

TEST(ConfigSet, ValuesAreYaml) {
  const Config c = with("a: 1\n", {"model.hidden=[3, 4]", "optimizer={adam: {lr: 0.5}}", "a=", "text='1=2'"});
  EXPECT_EQ(c.at("model").get_ints("hidden", {}), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(c.at("optimizer").named().options->get_double("lr"), 0.5);
  EXPECT_FALSE(c.has("a"));  // null: back to the default
  EXPECT_EQ(c.get_string("text"), "1=2");
}

TEST(ConfigSet, ReachesThroughANamedChoice) {
  for (const char* text : {"optimizer: {sgd: {lr: 0.1}}\n", "optimizer: {sgd: }\n", "optimizer: sgd\n"}) {
    const Config c = with(text, {"optimizer.lr=0.5", "optimizer.momentum=0.9"});
    const Config::Named named = c.at("optimizer").named();
    EXPECT_EQ(named.name, "sgd") << text;
    EXPECT_EQ(named.options->get_double("lr"), 0.5) << text;
    EXPECT_EQ(named.options->get_double("momentum"), 0.9) << text;
  }
  EXPECT_EQ(with("optimizer: {sgd: {lr: 0.1}}\n", {"optimizer.sgd.lr=0.2"})
                .at("optimizer")
                .named()
                .options->get_double("lr"),
            0.2);
  EXPECT_EQ(with("schedule: cosine\n", {"schedule.warmup_epochs=2"})
                .at("schedule")
                .named()
                .options->get_int("warmup_epochs"),
            2);
  EXPECT_EQ(with("init: normal\n", {"init.std=0.5"}).at("init").named().options->get_double("std"), 0.5);
  EXPECT_TRUE(with("loss: l2\n", {"loss.mean=true"}).at("loss").named().options->get_bool("mean", false));
  EXPECT_EQ(with("optimizer: {sgd: {lr: 1}}\n", {"optimizer=adam"}).at("optimizer").named().name, "adam");
}

TEST(ConfigSet, DoesNotEnterTheOnlyKeyOfAnOrdinaryMap) {
  const Config data =
      with("data: {train: {path: a}}\n", {"data.shuffle=false", "data.validation.path=b"}).at("data");
  EXPECT_FALSE(data.get_bool("shuffle", true));
  EXPECT_EQ(data.at("validation").get_string("path"), "b");
  EXPECT_EQ(data.at("train").keys(), std::vector<std::string>{"path"});
  const Config train = with("train: {early_stopping: {patience: 3}}\n", {"train.epochs=2"}).at("train");
  EXPECT_EQ(train.get_int("epochs"), 2);
  EXPECT_EQ(with("model: {options: {a: 1}}\n", {"seed=3"}).get_int("seed"), 3);
}

TEST(ConfigSet, EntersAValueThatStandsForItsOption) {
  const Config batch = with("batch: 64\n", {"batch.micro=8"}).at("batch");
  EXPECT_EQ(batch.get_int("global"), 64);
  EXPECT_EQ(batch.get_int("micro"), 8);
  const Config train = with("data: {train: folder/a}\n", {"data.train.target=y"}).at("data").at("train");
  EXPECT_EQ(train.get_string("path"), "folder/a");
  EXPECT_EQ(train.get_string("target"), "y");
  expect_error([] { with("model: {zoo: mlp}\n", {"model.zoo.hidden=8"}); },
               {"--set model.zoo.hidden=8", "zoo is 'mlp', which has no keys"});
}

TEST(ConfigSet, TextsStandAsTheyAre) {
  for (const char* text : {"/data/ten #3", "a: b: c", "*x", "&a", "!x", "@home", "%d", "- ", "a\nb", "#3"}) {
    SCOPED_TRACE(text);
    const Config c = with("a: 1\n", {std::string("a=") + text});
    if (std::string(text) == "- ") continue;  // a list
    EXPECT_EQ(c.get_string("a"), text);
    EXPECT_EQ(config(c.dump()).get_string("a"), text) << c.dump();
  }
  EXPECT_EQ(with("a: 1\n", {"a=\"/data/ten #3\""}).get_string("a"), "/data/ten #3");
  EXPECT_EQ(with("a: 1\n", {"a=  x  "}).get_string("a"), "x");
  EXPECT_FALSE(with("a: 1\n", {"a=~"}).has("a"));
  expect_error([] { with("a: 1\n", {"a=[1, 2] # two"}); }, {"--set a=[1, 2] # two", "'#'", "quote"});
  EXPECT_EQ(with("a: 1\n", {"a=['x #1']"}).get_strings("a"), std::vector<std::string>{"x #1"});
}

TEST(ConfigSet, MistakesInValuesNameTheAssignment) {
  const Config c =
      with("seed: 1\nbatch: {global: 8}\noptimizer: {sgd: {lr: 1}}\nn: 1\n",
           {"batch.global=many", "optimizer.lr=fast", "loss={l2: {mean: 3}}", "layers=[a, {b: 1}]"});
  expect_error([&] { c.at("batch").get_int("global"); },
               {"--set batch.global=many: expected a whole number"});
  expect_error([&] { c.at("optimizer").named().options->get_double("lr"); },
               {"--set optimizer.lr=fast: expected a number"});
  expect_error([&] { c.at("loss").named().options->get_bool("mean", false); },
               {"--set loss={l2: {mean: 3}}: loss.l2.mean: expected true or false"});
  expect_error([&] { throw c.at("layers").items()[1].error("no", "say yes"); },
               {"--set layers=[a, {b: 1}]: layers[1]: no"});
  expect_error([&] { c.get_bool("n", true); }, {"job.yaml:4: n"});  // of the file
  const Config unknown = with("seed: 1\n", {"sede=2"});
  unknown.get_int("seed");
  expect_error([&] { unknown.finish(); }, {"--set sede=2: unknown key 'sede'; did you mean 'seed'?"});
}

TEST(ConfigSet, KeysAndQuotesAreBounded) {
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  const std::string text = expect_error([&] { with("a: {}\n", {deep + "=1"}); }, {"--set a.a.a", "parts"});
  EXPECT_LT(text.size(), 600u);
  const Config c = with("a: 1\n", {"a=" + std::string(1 << 20, 'x')});
  EXPECT_LT(expect_error([&] { c.get_int("a"); }, {"expected a whole number"}).size(), 600u);
  EXPECT_EQ(nearest_word(std::string(1 << 20, 'x'), {"x"}), "");
}

TEST(ConfigSet, MistakesAreErrors) {
  expect_error([] { with("a: 1\n", {"a"}); }, {"--set a", "expected KEY=VALUE"});
  expect_error([] { with("a: 1\n", {"=3"}); }, {"--set =3", "expected KEY=VALUE"});
  expect_error([] { with("a: 1\n", {"a=[1"}); }, {"--set a=[1", "not valid YAML"});
  expect_error([] { with("layers: [a, b]\n", {"layers.0=c"}); }, {"a list cannot be entered by key"});
  for (const char* bad : {"a..b=1", ".a=1", "a.=1"}) {
    expect_error([&] { with("c: 1\n", {bad}); }, {bad, "expected KEY=VALUE"});
  }
}

TEST(NearestWord, FindsTyposOnly) {
  const std::vector<std::string> words = {"momentum", "lr", "weight_decay"};
  EXPECT_EQ(nearest_word("momemtum", words), "momentum");
  EXPECT_EQ(nearest_word("weigth_decay", words), "weight_decay");
  EXPECT_EQ(nearest_word("learning", words), "");
  EXPECT_EQ(nearest_word("lr", {}), "");
}

TEST(NearestWord, KnowsTheNamesOfOthers) {
  const auto near = [](const char* word, const std::vector<std::string>& words) {
    return nearest_word(word, words);
  };
  EXPECT_EQ(near("gpu", {"auto", "cpu", "cuda"}), "cuda");
  EXPECT_EQ(near("cuda:0", {"auto", "cpu", "cuda"}), "cuda");
  EXPECT_EQ(near("bf16", {"float32", "tf32", "bfloat16", "float16"}), "bfloat16");
  EXPECT_EQ(near("fp16", {"float32", "tf32", "bfloat16", "float16"}), "float16");
  const std::vector<std::string> losses = {"softmax_cross_entropy", "binary_cross_entropy", "l1", "l2",
                                           "hinge"};
  for (const char* word : {"mse", "MSELoss", "mean_squared_error"})
    EXPECT_EQ(near(word, losses), "l2") << word;
  for (const char* word :
       {"cross_entropy", "CrossEntropyLoss", "sparse_categorical_crossentropy", "nll_loss"})
    EXPECT_EQ(near(word, losses), "softmax_cross_entropy") << word;
  EXPECT_EQ(near("bce", losses), "binary_cross_entropy");
  const std::vector<std::string> layers = {"affine", "conv", "batch_norm", "flatten", "add", "relu", "gelu"};
  for (const char* word : {"dense", "Linear", "fc", "fully_connected"})
    EXPECT_EQ(near(word, layers), "affine") << word;
  EXPECT_EQ(near("Conv2d", layers), "conv");
  EXPECT_EQ(near("BatchNorm2d", layers), "batch_norm");
  EXPECT_EQ(near("learning_rate", {"lr", "momentum"}), "lr");
}

}  // namespace
}  // namespace lockstep
