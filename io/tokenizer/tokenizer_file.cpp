#include "io/tokenizer/tokenizer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unordered_map>
#include <utility>

#include "io/files/json_parse.h"
#include "io/files/regular_file.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

constexpr int64_t kMostBytes = int64_t{1} << 28;  // of a file; the largest in use have 35 MB
constexpr const char* kOtherKind =
    "give a tokenizer with byte-level BPE, such as those of GPT-2, RoBERTa, Llama 3 or Qwen, or train one "
    "with "
    "'lockstep tokenizer train'";
constexpr const char* kGetAgain = "get the file again from where it came";

std::string shown(std::string_view text) {
  constexpr size_t kMostShown = 60;
  return "'" + printable(text.substr(0, kMostShown)) + (text.size() > kMostShown ? "…'" : "'");
}

JsonValue parse_file(std::string_view json, const std::string& where) {
  try {
    return parse_json(json);
  } catch (const Error& error) {
    throw Error(where, "is no whole JSON file: " + error.reason(), kGetAgain);
  }
}

/// Reads the members of a tokenizer.json; every error has its place.
class Reader {
 public:
  explicit Reader(std::string where) : where_(std::move(where)) {}

  void vocabulary(const JsonValue* vocabulary) {
    if (!vocabulary || !vocabulary->members()) fail("names no vocabulary", kGetAgain);
    n_most_ += vocabulary->members()->size();
    for (const auto& [token, id] : *vocabulary->members()) add(token, id.number(), true);
  }

  void merge(std::string_view left, std::string_view right) {
    const std::string result = std::string(left) + std::string(right);
    const auto id = [&](const std::string& token) {
      const auto found = ids_.find(token);
      if (found == ids_.end())
        fail(fmt::format("merge {} of {} and {} needs the token {}, which its vocabulary lacks",
                         spec_.merges.size() + 1, shown(left), shown(right), shown(token)),
             "give vocabulary and merges of one tokenizer");
      return found->second;
    };
    spec_.merges.push_back({id(std::string(left)), id(std::string(right)), id(result)});
  }

  void model(const JsonValue* model) {
    if (!model || !model->members()) fail("has no model", kGetAgain);
    const std::string* type = text_of(*model, "type");
    if (type ? *type != "BPE" : !model->find("merges"))
      fail("is a tokenizer of the kind " + (type ? shown(*type) : std::string("without merges")), kOtherKind);
    if (const double* dropout = number_of(*model, "dropout"); dropout && *dropout != 0)
      fail("leaves out merges at random (dropout)", "set its dropout to null");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const std::string* mark = text_of(*model, key); mark && !mark->empty())
        fail(fmt::format("marks its tokens with {} {}", key, shown(*mark)), kOtherKind);
    if (flag(*model, "byte_fallback", false)) fail("falls back to bytes, as SentencePiece does", kOtherKind);
    spec_.ignore_merges = flag(*model, "ignore_merges", false);
    spec_.fuse_unknown = flag(*model, "fuse_unk", false);
    vocabulary(model->find("vocab"));
    const JsonValue* merges = model->find("merges");
    if (!merges || !merges->array()) fail("names no merges", kGetAgain);
    for (const JsonValue& pair : *merges->array()) {
      const std::string* line = pair.text();
      const JsonArray* two = pair.array();
      if (line)
        merge_line(*line);
      else if (two && two->size() == 2 && (*two)[0].text() && (*two)[1].text())
        merge(*(*two)[0].text(), *(*two)[1].text());
      else
        fail(fmt::format("merge {} is no pair of tokens", spec_.merges.size() + 1), kGetAgain);
    }
    if (const std::string* unknown = text_of(*model, "unk_token"); unknown && !unknown->empty()) {
      const auto found = ids_.find(*unknown);
      if (found != ids_.end()) spec_.unknown = found->second;
    }
  }

  void merge_line(std::string_view line) {
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos)
      fail(fmt::format("merge {} is {}, not two tokens with a blank between them", spec_.merges.size() + 1,
                       shown(line)),
           kGetAgain);
    merge(line.substr(0, blank), line.substr(blank + 1));
  }

  void normalizer(const JsonValue* normalizer) {
    if (!normalizer || normalizer->is_null()) return;
    if (const JsonValue* parts = normalizer->find("normalizers"); parts && parts->array()) {
      for (const JsonValue& part : *parts->array()) this->normalizer(&part);
      return;
    }
    const std::string* type = text_of(*normalizer, "type");
    fail("changes the text before it is split, by the normalizer " + shown(type ? *type : "?"),
         type && *type == "NFC" ? "bring the text into this form beforehand (uconv -x any-nfc), and set the "
                                  "tokenizer's normalizer to null"
                                : kOtherKind);
  }

  void pre_tokenizer(const JsonValue* step) {
    const std::string* type = step ? text_of(*step, "type") : nullptr;
    if (!type) fail("does not split text into bytes (no pre_tokenizer ByteLevel)", kOtherKind);
    if (is_byte_level_) fail("splits text once more after its bytes, by " + shown(*type), kOtherKind);
    if (*type == "ByteLevel") {
      is_byte_level_ = true;
      spec_.add_prefix_space = flag(*step, "add_prefix_space", true);
      spec_.splits_as_gpt2 = flag(*step, "use_regex", true);
    } else if (*type == "Sequence") {
      const JsonValue* steps = step->find("pretokenizers");
      if (!steps || !steps->array()) fail("has a Sequence without pretokenizers", kGetAgain);
      for (const JsonValue& part : *steps->array()) pre_tokenizer(&part);
    } else if (*type == "Digits") {
      spec_.splits.push_back({flag(*step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)"});
    } else if (*type == "Split") {
      split(*step);
    } else {
      fail("splits text by " + shown(*type), kOtherKind);
    }
  }

  void added(const JsonValue* tokens) {
    if (!tokens || !tokens->array()) return;
    n_most_ += tokens->array()->size();
    for (const JsonValue& item : *tokens->array()) {
      const std::string* content = text_of(item, "content");
      if (!content || content->empty()) fail("has an added token without content", kGetAgain);
      AddedToken token;
      token.content = *content;
      token.special = flag(item, "special", false);
      token.single_word = flag(item, "single_word", false);
      token.lstrip = flag(item, "lstrip", false);
      token.rstrip = flag(item, "rstrip", false);
      token.normalized = flag(item, "normalized", !token.special);
      const double* id = number_of(item, "id");
      const auto known = ids_.find(*content);
      if (known == ids_.end())
        add(*content, id, false);
      else if (id && *id != known->second)
        fail(fmt::format("its added token {} has the id {}, in its vocabulary {}", shown(*content), *id,
                         known->second),
             kGetAgain);
      token.id = ids_.at(*content);
      spec_.added.push_back(std::move(token));
    }
  }

  /// Ids are 0, 1, 2 …
  TokenizerSpec finish() {
    if (ids_.empty()) fail("its vocabulary is empty", kGetAgain);
    for (size_t id = 0; id < spec_.tokens.size(); ++id)
      if (!taken_[id])
        fail(fmt::format("no token has the id {}, though the largest is {}", id, spec_.tokens.size() - 1),
             "number its tokens from 0 without gaps");
    return std::move(spec_);
  }
  bool is_byte_level() const { return is_byte_level_; }
  [[noreturn]] void fail(const std::string& reason, const std::string& remedy) const {
    throw Error(where_, reason, remedy);
  }
  void set_where(std::string where) { where_ = std::move(where); }

 private:
  void add(const std::string& token, const double* number, bool in_model) {
    if (!number || !(*number >= 0) || *number != std::floor(*number))
      fail(fmt::format("the id of {} is no whole number", shown(token)), kGetAgain);
    if (*number >= static_cast<double>(n_most_))
      fail(fmt::format("the id of {} is {}, though there are {} tokens at most", shown(token), *number,
                       n_most_),
           "number its tokens from 0 without gaps");
    const auto id = static_cast<size_t>(*number);
    if (token.find('\0') != std::string::npos) fail("a token holds a zero byte", kGetAgain);
    if (!is_utf8(token)) fail("a token is not UTF-8 text", kGetAgain);
    if (!ids_.emplace(token, static_cast<int32_t>(id)).second)
      fail("has the token " + shown(token) + " twice", kGetAgain);
    if (id >= spec_.tokens.size()) {
      spec_.tokens.resize(id + 1);
      spec_.in_model.resize(id + 1);
      taken_.resize(id + 1);
    }
    if (taken_[id])
      fail(fmt::format("the tokens {} and {} have one id, {}", shown(spec_.tokens[id]), shown(token), id),
           kGetAgain);
    taken_[id] = true;
    spec_.tokens[id] = token;
    spec_.in_model[id] = in_model;
  }

  void split(const JsonValue& step) {
    const JsonValue* pattern = step.find("pattern");
    const std::string* regex = pattern ? text_of(*pattern, "Regex") : nullptr;
    const std::string* literal = pattern ? text_of(*pattern, "String") : nullptr;
    const std::string* behavior = text_of(step, "behavior");
    if ((!regex && !literal) || !behavior) fail("has a Split without pattern or behavior", kGetAgain);
    SplitStep split;
    split.pattern = regex ? *regex : *literal;
    split.is_literal = !regex;
    const bool inverted = flag(step, "invert", false);
    if (*behavior == "Removed")
      (inverted ? split.keeps_others : split.keeps_matches) = false;
    else if (*behavior != "Isolated")
      fail("splits text with the behavior " + shown(*behavior), "use Isolated or Removed");
    spec_.splits.push_back(std::move(split));
  }

  static const std::string* text_of(const JsonValue& object, const char* key) {
    const JsonValue* value = object.find(key);
    return value ? value->text() : nullptr;
  }
  static const double* number_of(const JsonValue& object, const char* key) {
    const JsonValue* value = object.find(key);
    return value ? value->number() : nullptr;
  }
  static bool flag(const JsonValue& object, const char* key, bool otherwise) {
    const JsonValue* value = object.find(key);
    return value && value->boolean() ? *value->boolean() : otherwise;
  }

  std::string where_;
  TokenizerSpec spec_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<bool> taken_;
  size_t n_most_ = 0;  // tokens that have been announced
  bool is_byte_level_ = false;
};

void refuse_other_formats(const std::string& path, std::string_view bytes) {
  if (path.ends_with(".model") && !bytes.starts_with("{"))
    throw Error(path, "is a SentencePiece model", kOtherKind);
  if (path.ends_with(".tiktoken"))
    throw Error(path, "is a file of tiktoken, which does not tell its pattern",
                "give the tokenizer.json of that model");
}

}  // namespace

TokenizerSpec parse_tokenizer(std::string_view json, const std::string& where) {
  const JsonValue root = parse_file(json, where);
  Reader reader(where);
  if (!root.members()) reader.fail("is no tokenizer.json", kGetAgain);
  if (!root.find("model")) reader.fail("has no model: it is no tokenizer.json", "give the file of that name");
  reader.model(root.find("model"));
  reader.added(root.find("added_tokens"));
  reader.normalizer(root.find("normalizer"));
  reader.pre_tokenizer(root.find("pre_tokenizer"));
  if (!reader.is_byte_level())
    reader.fail("does not split text into bytes (no pre_tokenizer ByteLevel)", kOtherKind);
  return reader.finish();
}

TokenizerSpec parse_vocabulary_and_merges(std::string_view vocabulary, std::string_view merges,
                                          const std::string& where_vocabulary,
                                          const std::string& where_merges) {
  const JsonValue root = parse_file(vocabulary, where_vocabulary);
  Reader reader(where_vocabulary);
  reader.vocabulary(&root);
  reader.set_where(where_merges);
  while (!merges.empty()) {
    const size_t end = std::min(merges.find('\n'), merges.size());
    std::string_view line = merges.substr(0, end);
    merges.remove_prefix(std::min(end + 1, merges.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) reader.merge_line(line);
  }
  reader.set_where(where_vocabulary);
  return reader.finish();
}

TokenizerSpec read_tokenizer_file(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path given(path);
  std::error_code ignored;
  const bool is_folder = fs::is_directory(given, ignored);
  const fs::path folder = is_folder ? given : given.parent_path();
  const fs::path whole = folder / "tokenizer.json", vocabulary = folder / "vocab.json",
                 merges = folder / "merges.txt";
  const bool has_pair = fs::exists(vocabulary, ignored) && fs::exists(merges, ignored);
  if (is_folder && !fs::exists(whole, ignored) && !has_pair)
    throw Error(path, "holds no tokenizer.json, and no vocab.json with merges.txt",
                "name the folder or file of a byte-level BPE tokenizer");
  const bool is_pair = is_folder ? !fs::exists(whole, ignored)
                                 : given.filename() == "vocab.json" || given.filename() == "merges.txt";
  if (is_pair && !has_pair)
    throw Error(path, "needs vocab.json and merges.txt in one folder", "put the other file beside it");
  if (is_pair)
    return parse_vocabulary_and_merges(read_text_file(vocabulary.string(), kMostBytes),
                                       read_text_file(merges.string(), kMostBytes), vocabulary.string(),
                                       merges.string());
  const std::string file = is_folder ? whole.string() : path;
  const std::string json = read_text_file(file, kMostBytes);
  refuse_other_formats(file, json);
  return parse_tokenizer(json, file);
}

}  // namespace lockstep
