// Every reader over every file of its stored corpus, without libFuzzer: what once crashed does not crash
// again, and no reader is without inputs. Usage: corpus_test CORPUS [READER...]
#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/fuzz/reader.h"

namespace {

namespace fs = std::filesystem;

/// How many files it read; each one's name is printed first, so that a crash tells where.
int run_corpus(const lockstep::fuzz::Reader& reader, const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder, absent)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    std::printf("%s/%s\n", reader.name.c_str(), file.filename().c_str());
    std::fflush(stdout);
    std::ifstream in(file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    lockstep::fuzz::run(reader, bytes);
    // Every beginning of a few, and with nothing at all.
    for (const size_t part : {size_t{0}, bytes.size() / 3, bytes.size() / 2, bytes.size() * 9 / 10})
      lockstep::fuzz::run(reader, std::string_view(bytes).substr(0, part));
  }
  return static_cast<int>(files.size());
}

}  // namespace

int main(int n_words, char** words) try {
  if (n_words < 2) {
    std::fprintf(stderr, "usage: %s CORPUS [READER...]\n", words[0]);
    return 2;
  }
  int n_files = 0, n_without = 0;
  for (const lockstep::fuzz::Reader& reader : lockstep::fuzz::readers()) {
    if (n_words > 2 && std::find(words + 2, words + n_words, reader.name) == words + n_words) continue;
    const int n = run_corpus(reader, fs::path(words[1]) / reader.name);
    if (n == 0) std::fprintf(stderr, "%s has no corpus\n", reader.name.c_str());
    n_without += n == 0;
    n_files += n;
  }
  std::printf("%d files read, none crashed\n", n_files);
  return n_files == 0 || n_without > 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "not an Error: %s\n", error.what());
  return 1;
}
