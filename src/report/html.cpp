// Escaping and number formats of the report page.
#include "src/report/html.h"

#include <fmt/format.h>

#include <cmath>

namespace lockstep {

std::string html_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      case '\t':
      case '\n': out += c; break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f) {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
      }
    }
  }
  return out;
}

std::string format_count(double count) {
  if (!std::isfinite(count)) return "–";
  const std::string digits = fmt::format("{:.0f}", std::abs(count));
  std::string out = count <= -0.5 ? "−" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string format_short(double count) {
  if (!std::isfinite(count)) return "–";
  if (std::abs(count) < 10000) return format_count(count);
  const char* units[] = {"", " k", " M", " G", " T"};
  int unit = 0;
  while (std::abs(count) >= 999.95 && unit < 4) {
    count /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f}{}", count, std::abs(count) < 99.95 ? 1 : 0, units[unit]);
}

std::string format_value(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::abs(value);
  if (size >= 999.95 && size < 1e9) return format_count(value);
  return fmt::format("{:.4g}", value);
}

std::string format_percent(double fraction) {
  return std::isfinite(fraction) ? fmt::format("{:.2f} %", fraction * 100) : "–";
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "–";
  if (seconds == 0) return "0 s";
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  const int64_t minutes = (whole + 30) / 60;
  if (minutes < 24 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  const int64_t hours = (minutes + 30) / 60;
  return fmt::format("{} d {:02} h", hours / 24, hours % 24);
}

std::string format_bytes(double n_bytes) {
  if (!std::isfinite(n_bytes) || n_bytes < 0) return "–";
  const char* units[] = {"B", "KB", "MB", "GB", "TB"};
  int unit = 0;
  while (n_bytes >= 999.5 && unit < 4) {
    n_bytes /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", n_bytes, unit > 0 && n_bytes < 9.95 ? 1 : 0, units[unit]);
}

}  // namespace lockstep
