// lockstep convert series: columns of a table over time.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_series_words(const Words& words, Communicator& comm) {
  CommandLine line(
      "convert series FILE --out DIR [options]",
      "A table of numbers (CSV) with a time step a line, as one series to be cut into windows by a job.",
      {"FILE"});
  add_common(line, true);
  line.add()("columns", po::value<std::string>(),
             "those to take, by name or from 0, such as open,close (default: all)")(
      "separator", po::value<std::string>()->default_value(","), "one character, or tab")(
      "header", po::value<int>()->default_value(-1),
      "lines to skip; -1: skip the first if it names the columns");
  if (!line.parse(words, comm.is_root())) return 0;
  SeriesOptions series;
  series.path = line.text("FILE");
  series.separator = read_separator(line);
  series.header_lines = line.get<int>("header");
  const std::string columns = line.text("columns");
  for (size_t at = 0; at < columns.size();) {
    const size_t end = std::min(columns.find(',', at), columns.size());
    series.columns.push_back(columns.substr(at, end - at));
    at = end + 1;
  }
  series.validation_fraction = read_validation_fraction(line);
  const ConvertOptions options = read_common(line);
  return report_result(convert_series(comm, series, options), options.out, comm);
}

const bool series_converter_registered = converters().add("series", convert_series_words);

}  // namespace

}  // namespace lockstep
