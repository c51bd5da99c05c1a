// A tokenizer written as tokenizer.json, for datasets, checkpoints and Hugging Face's library.
#include "io/files/metrics.h"
#include "io/tokenizer/tokenizer_file.h"

namespace lockstep {

namespace {

template <typename Values, typename Text>
std::string json_array(const Values& values, Text text) {
  std::string out = "[";
  for (const auto& value : values) {
    if (out.size() > 1) out += ", ";
    out += text(value);
  }
  return out += "]";
}

std::string json_of(const AddedToken& token) {
  return JsonObject()
      .set("id", int64_t{token.id})
      .set("content", token.content)
      .set("single_word", token.single_word)
      .set("lstrip", token.lstrip)
      .set("rstrip", token.rstrip)
      .set("normalized", token.normalized)
      .set("special", token.special)
      .str();
}

std::string json_of(const SplitStep& split) {
  const JsonObject pattern = JsonObject().set(split.is_literal ? "String" : "Regex", split.pattern);
  return JsonObject()
      .set("type", "Split")
      .set_raw("pattern", pattern.str())
      .set("behavior", split.keeps_matches && split.keeps_others ? "Isolated" : "Removed")
      .set("invert", !split.keeps_others)
      .str();
}

std::string byte_level(const TokenizerSpec& spec) {
  return JsonObject()
      .set("type", "ByteLevel")
      .set("add_prefix_space", spec.add_prefix_space)
      .set("trim_offsets", true)
      .set("use_regex", spec.splits_as_gpt2)
      .str();
}

std::string pre_tokenizer(const TokenizerSpec& spec) {
  if (spec.splits.empty()) return byte_level(spec);
  std::string steps = json_array(spec.splits, [](const SplitStep& split) { return json_of(split); });
  steps.insert(steps.size() - 1, ", " + byte_level(spec));
  return JsonObject().set("type", "Sequence").set_raw("pretokenizers", steps).str();
}

/// Not by JsonObject, whose members are looked for one by one.
std::string vocabulary(const TokenizerSpec& spec) {
  std::string out = "{";
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!spec.in_model[id]) continue;
    if (out.size() > 1) out += ", ";
    out += json_quote(spec.tokens[id]) + ": " + std::to_string(id);
  }
  return out += "}";
}

}  // namespace

std::string tokenizer_json(const TokenizerSpec& spec) {
  const auto token = [&](int32_t id) { return json_quote(spec.tokens[static_cast<size_t>(id)]); };
  JsonObject model;
  model.set("type", "BPE").set_raw("dropout", "null");
  model.set_raw("unk_token", spec.unknown < 0 ? "null" : token(spec.unknown));
  model.set_raw("continuing_subword_prefix", "null").set_raw("end_of_word_suffix", "null");
  model.set("fuse_unk", spec.fuse_unknown).set("byte_fallback", false);
  model.set("ignore_merges", spec.ignore_merges).set_raw("vocab", vocabulary(spec));
  model.set_raw("merges", json_array(spec.merges, [&](const Merge& merge) {
                  return "[" + token(merge.left) + ", " + token(merge.right) + "]";
                }));
  JsonObject file;
  file.set("version", "1.0").set_raw("truncation", "null").set_raw("padding", "null");
  file.set_raw("added_tokens",
               json_array(spec.added, [](const AddedToken& added) { return json_of(added); }));
  file.set_raw("normalizer", "null").set_raw("pre_tokenizer", pre_tokenizer(spec));
  file.set_raw("post_processor", "null").set_raw("decoder", byte_level(spec)).set_raw("model", model.str());
  return file.str();
}

}  // namespace lockstep
