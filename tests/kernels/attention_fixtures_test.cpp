// Attention against PyTorch's scaled_dot_product_attention: results and all gradients, from
// tests/fixtures/attention.safetensors (make_attention_fixtures.py).
#include "kernels/attention.h"
#include "tests/support/read_fixture.h"

namespace lockstep {
namespace {

class AttentionFixtures : public OpTest {};

TEST_F(AttentionFixtures, AgreesWithPyTorch) {
  const auto tensors = read_fixture(LOCKSTEP_SOURCE_DIR "/tests/fixtures/attention.safetensors");
  int n_cases = 0;
  for (const auto& [name, options] : tensors) {
    if (!name.ends_with("/options")) continue;
    ++n_cases;
    SCOPED_TRACE(name);
    const std::string prefix = name.substr(0, name.size() - 7);
    const auto get = [&](const std::string& key) { return tensors.at(prefix + key); };
    AttentionDesc desc{
        .query = {get("query").shape}, .keys = {get("keys").shape}, .values = {get("values").shape}};
    desc.heads = static_cast<int64_t>(options.values[0]);
    desc.causal = options.values[1] != 0;
    desc.has_lengths = tensors.count(prefix + "lengths") > 0;
    OpInputs in;
    in.src = {get("query"), get("keys"), get("values")};
    if (desc.has_lengths) in.src.push_back(get("lengths"));
    in.diff_dst = {get("diff_context").values};
    const OpOutputs out = run_op(*make_attention(test_config(), desc), in);
    expect_close(out.dst[0], get("context").values, 1e-5, "context");
    expect_close(out.diff_src[0], get("grad_query").values, 2e-5, "grad_query");
    expect_close(out.diff_src[1], get("grad_keys").values, 2e-5, "grad_keys");
    expect_close(out.diff_src[2], get("grad_values").values, 2e-5, "grad_values");
  }
  EXPECT_EQ(n_cases, 6);
}

}  // namespace
}  // namespace lockstep
