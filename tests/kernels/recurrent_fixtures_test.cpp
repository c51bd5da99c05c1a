// Recurrent cells against PyTorch's nn.RNN, nn.LSTM and nn.GRU: results and all gradients, from
// tests/fixtures/recurrent.safetensors (make_recurrent_fixtures.py).
#include "kernels/recurrent.h"
#include "tests/support/read_fixture.h"

namespace lockstep {
namespace {

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
