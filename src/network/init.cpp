#include "src/network/init.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "src/config/nearest_word.h"

namespace lockstep {

Family<InitMaker>& initialisers() {
  static Family<InitMaker> family("initialisation", "initialisations");
  return family;
}

bool InitGroup::matches(const std::string& name) const {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const auto& pattern) { return std::regex_search(name, pattern.second); });
}

namespace {

InitGroup read_init_group(const Config& options) {
  InitGroup group;
  group.place = options.error_at("match", "matches nothing", "name parameters of the network").where();
  for (const std::string& text : options.get_strings("match")) {
    try {
      group.patterns.emplace_back(text, text);
    } catch (const std::regex_error&) {
      throw options.error_at(
          "match", "'" + text + "' is no regular expression",
          "write for instance match: ^fc, with a backslash before . ( [ + that are meant so");
    }
  }
  if (group.patterns.empty())
    throw options.error("a group of weights has no match",
                        "write for instance {match: ^fc, init: orthogonal}");
  if (!options.has("init"))
    throw options.error("a group of weights has no init",
                        "write for instance {match: ^fc, init: orthogonal}");
  const InitSpec init = read_init(options.at("init"));
  if (!init.groups.empty())
    throw options.error_at("init", "has groups of its own", "name all groups in one list");
  group.init = std::make_shared<InitSpec>(init);
  group.biases = options.get_bool("biases", false);
  options.finish();
  return group;
}

}  // namespace

InitSpec read_init(const Config& description) {
  const Config::Named named = description.named();
  InitSpec init = initialisers().at(named.name, description)(*named.options);
  init.name = named.name;
  if (named.options->has("groups")) {
    const Config list = named.options->at("groups");
    if (!list.is_list())
      throw list.error("groups is a list", "write for instance groups: [{match: ^fc, init: orthogonal}]");
    for (const Config& item : list.items()) init.groups.push_back(read_init_group(item));
  }
  named.options->finish();
  return init;
}

InitSpec default_init(const std::string& name) {
  InitSpec init = read_init(Config::from_text("init: " + name, "init").at("init"));
  init.is_chosen = false;
  return init;
}

void check_init(const InitSpec& init, const Graph& graph) {
  std::vector<std::string> names;
  for (int v = 0; v < graph.size(); ++v)
    for (const ParameterSpec& spec : graph.parameters(v))
      names.push_back(graph.vertex(v).parameters_name + "." + spec.name);
  for (const InitGroup& group : init.groups)
    for (const auto& [text, regex] : group.patterns) {
      const bool is_found = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return std::regex_search(name, regex);
      });
      if (is_found) continue;
      const std::string near = nearest_word(text, names);
      throw Error(group.place,
                  fmt::format("'{}' matches none of the {} parameters{}", text, names.size(),
                              near.empty() ? "" : "; did you mean '" + near + "'?"),
                  "lockstep inspect lists them");
    }
}

namespace {

/// The first of the draws i, i + n, i + 2 n, … that lies within two deviations.
double truncated_normal(const RandomStream& random, int64_t i, int64_t n) {
  for (;; i += n)
    if (const double z = random.normal(static_cast<uint64_t>(i)); std::abs(z) <= 2) return z;
}

}  // namespace

void initialize(const ParameterArena& arena, const InitSpec& init, uint64_t seed) {
  for (const Segment& segment : arena.segments()) {
    const double fan_in = static_cast<double>(segment.spec.fan_in),
                 fan_out = static_cast<double>(segment.spec.fan_out);
    const bool is_bias = segment.spec.role == ParameterSpec::Role::kBias;
    const auto group = std::find_if(init.groups.begin(), init.groups.end(),
                                    [&](const InitGroup& one) { return one.matches(segment.name); });
    const bool is_grouped = group != init.groups.end();
    const InitSpec& of = is_grouped ? *group->init : init;
    const bool is_drawn = !is_bias || of.draws_biases || (is_grouped && group->biases);
    auto [limit, deviation, value, is_truncated] = is_drawn ? of.draw(fan_in, fan_out) : InitDraw();
    if (segment.spec.deviation && !init.is_chosen && !is_grouped) {
      limit = value = 0;
      deviation = *segment.spec.deviation;
    }
    if (segment.spec.initial) {
      limit = deviation = 0;
      value = *segment.spec.initial;
    }

    const RandomStream random(seed, RandomPurpose::kInit, 0, hash_name(segment.name));
    float* weights = arena.host().as<float>() + segment.offset;
    if (of.fill && !is_bias && !segment.spec.initial && segment.shape.rank() > 1) {
      of.fill(segment.shape, random, weights);
      continue;
    }
    for (int64_t i = 0; i < segment.n_elements(); ++i) {
      if (limit > 0) {
        weights[i] = static_cast<float>(limit * (2.0 * random.uniform(i) - 1.0));
      } else if (deviation > 0) {
        weights[i] =
            static_cast<float>(deviation * (is_truncated ? truncated_normal(random, i, segment.n_elements())
                                                         : random.normal(i)));
      } else {
        weights[i] = static_cast<float>(value);
      }
    }
  }
  arena.host().upload(*make_stream(arena.device()));
}

}  // namespace lockstep
