// Text, pairs, labelled texts and series as a user meets them: convert on one rank and on two, inspect,
// verify; the manual's Python writes files that inspect knows.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tests/jobs/program.h"
#include "tests/support/manual_tables.h"

namespace lockstep {
namespace {

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

/// Converts on one rank and on two, and compares the shards; returns what the first said.
Ended convert(const TemporaryFolder& folder, const std::string& words, const std::string& out,
              const std::vector<std::string>& shards) {
  const Ended alone = lockstep("convert " + words + " --out " + folder.file(out));
  EXPECT_EQ(alone.status, 0) << alone.output;
  const Ended together = lockstep_on(2, "convert " + words + " --out " + folder.file(out + "-on-two"));
  EXPECT_EQ(together.status, 0) << together.output;
  for (const std::string& shard : shards) {
    const std::string bytes = read_file(folder.file(out + "/" + shard));
    EXPECT_FALSE(bytes.empty()) << shard;
    EXPECT_TRUE(bytes == read_file(folder.file(out + "-on-two/" + shard))) << shard;
    std::string part = folder.file(out + "/" + shard);
    part.resize(part.rfind('/'));
    const Ended verified = lockstep("verify " + part);
    EXPECT_EQ(verified.status, 0) << verified.output;
  }
  return alone;
}

TEST(TokenData, TextIsConvertedAndShown) {
  const TemporaryFolder folder;
  write_file(folder.file("t.txt"), "one two\none two three\n");
  const std::string text = "text " + folder.file("t.txt");
  const Ended split = convert(folder, text + " --validation-fraction 0.5 --shards 2", "split",
                              {"train/shard-00000.h5", "train/shard-00001.h5", "validation/shard-00001.h5"});
  EXPECT_SAYS(split, "22 samples in 4 files");
  EXPECT_SAYS(split, "22 characters, 9 different ones; vocabulary of 9");
  EXPECT_SAYS(split, "train: the first 11; validation: the last 11");
  const Ended words = convert(folder, text + " --level words --vocabulary 3", "words", {"shard-00000.h5"});
  EXPECT_SAYS(words, "7 words and marks, 4 different ones; vocabulary of 3; 3 are <unk>");
  const Ended shown = lockstep("inspect " + folder.file("words"));
  EXPECT_SAYS(shown, "7 samples in 1 files");
  EXPECT_SAYS(shown, "vocabulary of 3");
  EXPECT_EQ(shown.output.find("passed over"), std::string::npos) << shown.output;
  EXPECT_SAYS(lockstep("inspect --json " + folder.file("words")), "\"vocabulary\": 3");
  const Ended again =
      convert(folder, text + " --vocabulary-from " + folder.file("split/train"), "again", {"shard-00000.h5"});
  EXPECT_SAYS(again, "vocabulary of 9");
  const Ended letters = lockstep("convert " + text + " --level letters --out " + folder.file("x"));
  EXPECT_EQ(letters.status, 2);
  EXPECT_SAYS(letters, "--level is characters or words, found letters");
  const Ended all = lockstep("convert " + text + " --validation-fraction 1 --out " + folder.file("x"));
  EXPECT_EQ(all.status, 2);
  EXPECT_SAYS(all, "--validation-fraction must be from 0 to less than 1, found 1");
  EXPECT_SAYS(lockstep("convert text --out x"), "FILE… is missing");
  EXPECT_SAYS(lockstep("convert text a --out x --shuffle"), "unknown option --shuffle");
}

TEST(TokenData, PairsLabelsAndSeriesAreConvertedAndShown) {
  const TemporaryFolder folder;
  write_file(folder.file("a.txt"), "eins zwei\nzwei\ndrei vier drei eins\n");
  write_file(folder.file("b.txt"), "one two\ntwo\nthree four three one\n");
  const Ended pairs = convert(folder,
                              "pairs " + folder.file("a.txt") + " " + folder.file("b.txt") +
                                  " --level words,characters --vocabulary 7,30 --shards 2",
                              "pairs", {"shard-00000.h5", "shard-00001.h5"});
  EXPECT_SAYS(pairs, "source: 7 words and marks, 4 different ones; vocabulary of 7; 1 are <unk>");
  const Ended shown = lockstep("inspect " + folder.file("pairs"));
  EXPECT_SAYS(shown, "3 samples in 2 files");
  EXPECT_SAYS(shown, "ragged ()          rows of 1 to 4 elements, median 2; vocabulary of 7");
  EXPECT_SAYS(shown, "rows of 5 to 22 elements, median 9; vocabulary of 14");
  EXPECT_SAYS(lockstep("inspect --json " + folder.file("pairs")),
              "\"shortest\": 5, \"median_length\": 9, \"longest\": 22");
  EXPECT_SAYS(lockstep("convert pairs a b c --out x"), "3 files are given");
  EXPECT_SAYS(lockstep("convert pairs a b --vocabulary 1,2,3 --out x"), "one or two numbers");

  write_file(folder.file("l.tsv"), "no\tnever again\nyes\tagain and again\n");
  convert(folder, "labelled-text " + folder.file("l.tsv"), "labelled", {"shard-00000.h5"});
  const Ended labelled = lockstep("inspect " + folder.file("labelled"));
  EXPECT_SAYS(labelled, "2 classes: no, yes");
  EXPECT_SAYS(labelled, "rows of 2 to 3 elements, median 3; vocabulary of 5");

  write_file(folder.file("s.csv"), "day,high,low\nmon,1,2\ntue,3,5\nwed,5,20\nthu,9,9\n");
  convert(folder, "series " + folder.file("s.csv") + " --columns low,high --validation-fraction 0.25",
          "series", {"train/shard-00000.h5", "validation/shard-00000.h5"});
  for (const char* part : {"series/train", "series/validation"})
    EXPECT_SAYS(lockstep("inspect " + folder.file(part)), "(2)                mean 9 3, stddev 7.874 1.633");
}

/// The Python in a section of the manual.
std::string python_of(const std::string& title) {
  const std::string page = read_manual("data.md");
  const size_t section = page.find("\n## " + title + "\n"), begin = page.find("```python\n", section) + 10;
  return page.substr(begin, page.find("```", begin) - begin);
}

TEST(TokenData, TheManualsPythonWritesWhatIsKnown) {
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed, so the manual's Python is not run";
  const TemporaryFolder folder;
  write_file(folder.file("book.txt"), "abba");
  for (const auto& [title, file, said] : {std::array{"Text", "book.h5", "vocabulary of 2"},
                                          std::array{"Ragged rows", "rows.h5", "rows of 1 to 4 elements"},
                                          std::array{"Time series", "series.h5", "8,000 samples"}}) {
    ASSERT_EQ(run_h5py(folder.path(), "import os\nos.chdir(folder)\n" + python_of(title)), "") << title;
    const Ended shown = lockstep("inspect " + folder.file(file));
    EXPECT_EQ(shown.status, 0) << shown.output;
    EXPECT_SAYS(shown, said);
    EXPECT_EQ(shown.output.find("passed over"), std::string::npos) << shown.output;
  }
}

}  // namespace
}  // namespace lockstep
