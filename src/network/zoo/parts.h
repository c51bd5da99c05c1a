// Pieces that several networks of the zoo share.
#pragma once

#include <string>

#include "src/network/layers/layers.h"
#include "src/network/model.h"

namespace lockstep {

/// Throws unless the graph's input is an image (C, H, W) of at least `smallest` pixels a side.
void require_image(const Graph& graph, const Config& options, int64_t smallest = 1);

/// The option of that name, at least 1, or what stands in for it.
int64_t size_or(const Config& options, const std::string& key, int64_t fallback);
/// The option `activation`: relu, tanh or sigmoid.
Activation read_activation(const Config& options, const std::string& fallback);
/// The option `dropout`, a probability below 1.
double read_dropout(const Config& options, double fallback);
/// The option `width`, a positive factor.
double read_width(const Config& options);
/// So many channels times a width, at least one.
int64_t scaled(int64_t channels, double width);
/// The option `sync_batch_norm`.
BatchNormOptions read_batch_norm(const Config& options, double epsilon = 1e-5);

/// Appends dropout, or nothing for p = 0.
void append_dropout(Graph& graph, double p, const std::string& name);
/// Appends `flatten` unless a sample is a vector already.
void append_flatten(Graph& graph);

/// A square convolution; `padding` on all sides.
Conv2dOptions square_conv(int64_t channels, int64_t kernel, int64_t stride = 1, int64_t padding = 0,
                          bool bias = true);
/// A square pooling window.
Pool2dOptions square_pool(Pooling pooling, int64_t kernel, int64_t stride, int64_t padding = 0);

/// Names of a convolution, its batch norm and its activation; `activation` empty: none.
struct ConvNormNames {
  std::string conv, norm, activation;
};
/// Convolution without bias behind vertex `src`, batch norm, activation; returns the last vertex.
int add_conv_norm(Graph& graph, int src, Conv2dOptions conv, const BatchNormOptions& norm,
                  const ConvNormNames& names, Activation activation = Activation::kRelu);

/// Appends the end of most image networks: global average, dropout, one affine layer of scores.
void append_average_classifier(Graph& graph, int64_t classes, double dropout, const std::string& affine);

}  // namespace lockstep
