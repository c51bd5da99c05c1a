// Recurrent cells against PyTorch's nn.RNN, nn.LSTM and nn.GRU: results and all gradients, from
// tests/fixtures/recurrent.safetensors (make_recurrent_fixtures.py).
#include <fstream>
#include <map>

#include "kernels/recurrent.h"
#include "tests/support/op_test.h"

namespace lockstep {
namespace {

/// The tensors of a file whose header is as Python's package writes it.
std::map<std::string, DenseTensor> read_fixture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t n = 0;
  file.read(reinterpret_cast<char*>(&n), sizeof(n));
  std::string header(n, ' ');
  file.read(header.data(), static_cast<std::streamsize>(n));
  EXPECT_TRUE(file.good()) << path;
  std::map<std::string, DenseTensor> tensors;
  const std::string key = "\":{\"dtype\":\"";
  for (size_t at = header.find(key); at != std::string::npos; at = header.find(key, at + 1)) {
    const size_t begin = header.rfind('"', at - 1) + 1;
    DenseTensor tensor;
    tensor.dtype = header.compare(at + key.size(), 3, "I32") == 0 ? DType::kInt32 : DType::kFloat32;
    std::vector<int64_t> extents;
    size_t digit = header.find('[', at);
    while (header[digit] != ']') {
      extents.push_back(std::stoll(header.substr(digit + 1, 20)));
      digit = header.find_first_of(",]", digit + 1);
    }
    tensor.shape = Shape(extents);
    const auto offset = std::stoll(header.substr(header.find('[', digit) + 1, 20));
    file.seekg(8 + static_cast<std::streamoff>(n) + offset);
    for (int64_t i = 0; i < tensor.shape.n_elements(); ++i) {
      char bytes[4];
      file.read(bytes, 4);
      if (tensor.dtype == DType::kInt32) {
        int32_t value;
        std::memcpy(&value, bytes, 4);
        tensor.values.push_back(value);
      } else {
        float value;
        std::memcpy(&value, bytes, 4);
        tensor.values.push_back(value);
      }
    }
    tensors[header.substr(begin, at - begin)] = tensor;
  }
  return tensors;
}

class RecurrentFixtures : public OpTest {};

TEST_F(RecurrentFixtures, AgreesWithPyTorch) {
  const auto tensors = read_fixture(LOCKSTEP_SOURCE_DIR "/tests/fixtures/recurrent.safetensors");
  int n_cases = 0;
  for (const auto& [name, options] : tensors) {
    if (!name.ends_with("/options")) continue;
    ++n_cases;
    SCOPED_TRACE(name);
    const std::string prefix = name.substr(0, name.size() - 7);
    const auto has = [&](const std::string& key) { return tensors.count(prefix + key) > 0; };
    const auto get = [&](const std::string& key) { return tensors.at(prefix + key); };
    RecurrentDesc desc{.src = {get("x").shape}};
    desc.cell = static_cast<RecurrentCell>(options.values[0]);
    desc.reversed = options.values[1] != 0;
    desc.hidden = get("weight_hh").shape[1];
    desc.has_bias = has("bias_ih");
    desc.has_lengths = has("lengths");
    desc.has_state = has("h0");
    OpInputs in;
    std::vector<std::string> src{"x"}, dst{"y", "h_n"}, params{"weight_ih", "weight_hh"};
    if (desc.has_lengths) src.push_back("lengths");
    if (desc.has_state) src.push_back("h0");
    if (has("c_n")) {
      dst.push_back("c_n");
      if (desc.has_state) src.push_back("c0");
    }
    if (desc.has_bias) params.insert(params.end(), {"bias_ih", "bias_hh"});
    for (const std::string& key : src) in.src.push_back(get(key));
    for (const std::string& key : params) in.params.push_back(get(key));
    for (const std::string& key : dst) in.diff_dst.push_back(get("diff_" + key).values);
    const OpOutputs out = run_op(*make_recurrent(test_config(), desc), in);
    for (size_t i = 0; i < dst.size(); ++i) expect_close(out.dst[i], get(dst[i]).values, 1e-5, dst[i]);
    for (size_t i = 0; i < src.size(); ++i)
      if (src[i] != "lengths")
        expect_close(out.diff_src[i], get("grad_" + src[i]).values, 1e-5, "grad " + src[i]);
    for (size_t i = 0; i < params.size(); ++i)
      expect_close(out.diff_params[i], get("grad_" + params[i]).values, 1e-5, "grad " + params[i]);
  }
  EXPECT_EQ(n_cases, 32);
}

}  // namespace
}  // namespace lockstep
