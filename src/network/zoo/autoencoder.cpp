// Autoencoders (Hinton and Salakhutdinov 2006): a network that gives back its input through a
// narrow code. Train with `loss: l2` and the input field as target. `autoencoder` is dense: hidden
// widths, the code, the hidden widths in reverse. `conv_autoencoder` halves the image by convolutions
// of stride 2 and brings it back by transposed ones, for any image size.
#include <fmt/format.h>

#include "src/network/zoo/parts.h"

namespace lockstep {

namespace {

std::vector<int64_t> read_widths(const Config& options, const char* key,
                                 const std::vector<int64_t>& fallback) {
  const std::vector<int64_t> widths = options.get_ints(key, fallback);
  for (int64_t width : widths) {
    if (width < 1)
      throw options.error_at(key, fmt::format("must be at least 1, found {}", width),
                             fmt::format("leave it out for [{}]", fmt::join(fallback, ", ")));
  }
  return widths;
}

/// The option `output_activation`: a sigmoid keeps the result between 0 and 1, where pixels of `normalize:
/// unit` are.
void append_output(Graph& graph, const Config& options) {
  if (options.get_choice("output_activation", "linear", {"linear", "sigmoid"}) == "sigmoid")
    graph.append(activation_layer(Activation::kSigmoid), "output");
}

void build_dense(Graph& graph, const Config& options, const ModelContext&) {
  const Shape input = graph.vertex(0).shape;
  const std::vector<int64_t> hidden = read_widths(options, "hidden", {128});
  const int64_t code = read_widths(options, "code", {32}).front();
  const Activation activation = read_activation(options, "relu");
  append_flatten(graph);
  int number = 1;
  for (int64_t width : hidden) {
    graph.append(affine_layer(width), "encoder.fc" + std::to_string(number++));
    graph.append(activation_layer(activation));
  }
  graph.append(affine_layer(code), "code");
  number = 1;
  for (auto width = hidden.rbegin(); width != hidden.rend(); ++width) {
    graph.append(affine_layer(*width), "decoder.fc" + std::to_string(number++));
    graph.append(activation_layer(activation));
  }
  graph.append(affine_layer(input.n_elements()), "decoder.fc" + std::to_string(number));
  append_output(graph, options);
  if (input.rank() > 1) graph.append(reshape_layer({input.begin(), input.end()}));
}

void build_convolutional(Graph& graph, const Config& options, const ModelContext&) {
  require_image(graph, options, 2);
  const std::vector<int64_t> channels = read_widths(options, "channels", {16, 32});
  const Activation activation = read_activation(options, "relu");
  std::vector<Shape> shapes = {graph.vertex(0).shape};  // what the decoder goes back through
  for (size_t i = 0; i < channels.size(); ++i) {
    graph.append(conv2d_layer(square_conv(channels[i], 3, 2, 1)), "encoder.conv" + std::to_string(i + 1));
    graph.append(activation_layer(activation));
    shapes.push_back(graph.vertex(graph.size() - 1).shape);
  }
  if (options.has("code")) {
    const int64_t code = read_widths(options, "code", {}).front();
    const Shape& image = shapes.back();
    graph.append(flatten_layer());
    graph.append(affine_layer(code), "code");
    graph.append(affine_layer(image.n_elements()), "decoder.fc");
    graph.append(activation_layer(activation));
    graph.append(reshape_layer({image.begin(), image.end()}));
  }
  for (size_t i = channels.size(); i-- > 0;) {
    const Shape &from = shapes[i + 1], &to = shapes[i];
    ConvTranspose2dOptions conv;
    static_cast<Conv2dOptions&>(conv) = square_conv(to[0], 3, 2, 1);
    conv.output_padding = {to[1] - (2 * from[1] - 1), to[2] - (2 * from[2] - 1)};
    graph.append(conv_transpose2d_layer(conv), "decoder.conv" + std::to_string(channels.size() - i));
    if (i > 0) graph.append(activation_layer(activation));
  }
  append_output(graph, options);
}

const bool autoencoder_registered =
    register_model("autoencoder", build_dense) && register_model("conv_autoencoder", build_convolutional);

}  // namespace

}  // namespace lockstep
