// The kinds of `lockstep convert`: one file each, which adds itself to converters().
#pragma once

#include <functional>
#include <string>

#include "io/convert/convert.h"
#include "jobs/command.h"
#include "src/config/family.h"

namespace lockstep {

/// Reads the words behind the kind, converts on all ranks, and returns the exit status.
using Converter = std::function<int(const Words&, Communicator&)>;

/// The converters by name. A new one is a file NAME.cpp with
///   const bool NAME_converter_registered = converters().add("NAME", convert_NAME_words);
Family<Converter>& converters();

/// The options of every converter: --out, --shards, --overwrite; and of those whose rows are in no order,
/// which may be any part of the input, --shuffle, --seed, --skip, --limit.
void add_common(CommandLine& line, bool has_order = false);
/// What they say. Throws UsageError.
ConvertOptions read_common(const CommandLine& line);
/// Of --separator: one character, or tab. Throws UsageError.
char read_separator(const CommandLine& line);
/// Of --validation-fraction, where has_order: from 0 to less than 1. Throws UsageError.
double read_validation_fraction(const CommandLine& line);
/// Of a word: characters or words. Throws UsageError.
TokenLevel read_level(const std::string& word);
/// Of --on-error: stop or skip. Throws UsageError.
OnError read_on_error(const CommandLine& line);
/// --channels, --size, --bits and --on-error of converters of images.
void add_image_options(CommandLine& line);
/// What they say. Throws UsageError.
void read_image_options(const CommandLine& line, ImagesOptions& images);
/// The closing line on the root rank; returns the exit status.
int report_result(const ConvertResult& result, const std::string& out, Communicator& comm);

}  // namespace lockstep
