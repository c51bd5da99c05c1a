// lockstep convert csv: tables of numbers.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_csv_words(const Words& words, Communicator& comm) {
  CommandLine line(
      "convert csv FILE --out DIR [options]",
      "Numbers, one sample a line, plain or .gz. The last column is the class unless said otherwise.",
      {"FILE"});
  add_common(line);
  line.add()("shape", po::value<std::string>(), "shape of an input sample, such as 1,8,8 (default: flat)")(
      "separator", po::value<std::string>()->default_value(","), "one character, or tab")(
      "target", po::value<int64_t>()->default_value(-1),
      "column of the target from 0; -1: the last, -2: none")("regression",
                                                             "the target is a number, not a class")(
      "header", po::value<int>()->default_value(-1),
      "lines to skip; -1: skip the first if it names the columns")(
      "group", po::value<int64_t>()->default_value(-1),
      "column that is no input but the field group, for lockstep split --group-by group")(
      "drop", po::value<std::string>(), "columns to leave out, from 0, such as 0,3");
  if (!line.parse(words, comm.is_root())) return 0;
  CsvOptions csv;
  csv.path = line.text("FILE");
  csv.separator = read_separator(line);
  csv.header_lines = line.get<int>("header");
  csv.target_column = line.get<int64_t>("target");
  csv.target_is_class = !line.has("regression");
  csv.group_column = line.get<int64_t>("group");
  if (line.has("shape")) csv.shape = line.numbers("shape", 1, "1,28,28");
  if (line.has("drop")) csv.dropped = line.numbers("drop", 0, "0,3");
  const ConvertOptions options = read_common(line);
  return report_result(convert_csv(comm, csv, options), options.out, comm);
}

const bool csv_converter_registered = converters().add("csv", convert_csv_words);

}  // namespace

}  // namespace lockstep
