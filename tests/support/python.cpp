#include "tests/support/python.h"

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace lockstep {

std::string python_with(const std::string& modules) {
  const char* chosen = std::getenv("LOCKSTEP_PYTHON");
  const std::string python = chosen != nullptr && *chosen != '\0' ? chosen : "python3";
  const std::string command = "'" + python + "' -c 'import " + modules + "' > /dev/null 2>&1";
  return std::system(command.c_str()) == 0 ? python : std::string();
}

std::string run_python(const std::string& python, const std::string& folder, const std::string& code) {
  const std::string script = folder + "/script.py", log = folder + "/script.log";
  std::ofstream(script) << "folder = " << '"' << folder << '"' << "\n" << code;
  const std::string command = "'" + python + "' '" + script + "' > '" + log + "' 2>&1";
  const int status = std::system(command.c_str());
  std::ifstream stream(log);
  std::string text((std::istreambuf_iterator<char>(stream)), {});
  std::filesystem::remove(script);
  std::filesystem::remove(log);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return "python failed: " + text;
}

}  // namespace lockstep
