// Names of PyTorch, Keras and others for what Lockstep knows under one name. Letters only, in lower case:
// BatchNorm2d, batch_norm_2d and batchnorm2d are one.
#include "src/config/nearest_word.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace lockstep {

namespace {

struct Synonyms {
  std::string_view word;  // ours
  std::initializer_list<std::string_view> others;
};

const std::initializer_list<Synonyms> kSynonyms = {
    {"cuda", {"gpu", "gpus", "nvidia", "cuda0", "gpu0"}},
    {"cpu", {"host", "x86"}},
    {"bfloat16", {"bf16", "bfloat", "brainfloat16"}},
    {"float16", {"fp16", "f16", "half", "amp", "mixed", "mixedfloat16"}},
    {"float32", {"fp32", "f32", "single", "float", "full"}},
    {"tf32", {"tensorfloat32"}},
    {"l2", {"mse", "mseloss", "meansquarederror", "squarederror", "l2loss", "squared", "sse"}},
    {"l1", {"mae", "maeloss", "meanabsoluteerror", "absoluteerror", "l1loss"}},
    {"softmax_cross_entropy",
     {"crossentropy", "crossentropyloss", "ce", "xent", "categoricalcrossentropy",
      "sparsecategoricalcrossentropy", "nll", "nllloss", "logloss", "negativeloglikelihood"}},
    {"binary_cross_entropy",
     {"bce", "bceloss", "bcewithlogits", "bcewithlogitsloss", "binarycrossentropy", "sigmoidcrossentropy",
      "logistic", "logisticloss"}},
    {"hinge", {"hingeloss", "svm", "multimarginloss"}},
    {"affine", {"dense", "linear", "fc", "fullyconnected", "innerproduct", "gemm"}},
    {"conv", {"conv2d", "convolution", "convolution2d", "convolutional", "spatialconvolution"}},
    {"conv1d", {"convolution1d", "temporalconvolution"}},
    {"conv_transpose", {"convtranspose2d", "conv2dtranspose", "deconv", "deconvolution", "upconv"}},
    {"max_pool", {"maxpool2d", "maxpooling2d", "maxpooling", "maxpool"}},
    {"average_pool", {"avgpool2d", "avgpool", "averagepooling2d", "averagepooling", "meanpool"}},
    {"global_average_pool",
     {"globalaveragepooling2d", "globalavgpool", "gap", "globalaveragepooling", "globalmeanpool"}},
    {"adaptive_average_pool", {"adaptiveavgpool2d", "adaptiveavgpool"}},
    {"batch_norm", {"batchnorm2d", "batchnorm1d", "batchnormalization", "bn", "batchnorm"}},
    {"layer_norm", {"layernormalization", "ln", "layernorm"}},
    {"local_response_norm", {"lrn", "localresponsenormalization"}},
    {"leaky_relu", {"leakyrelu", "lrelu"}},
    {"permute", {"transpose", "swapaxes"}},
    {"reshape", {"view", "unflatten"}},
    {"concat", {"cat", "concatenate", "join"}},
    {"add", {"sum", "residual", "skip", "shortcut"}},
    {"sigmoid", {"logsigmoid", "logit"}},
    {"lr", {"learningrate", "stepsize", "alpha", "eta", "baselr"}},
    {"epsilon", {"eps"}},
    {"weight_decay", {"l2regularization", "l2penalty", "wd", "decay"}},
    {"beta1", {"betas", "betaone"}},
    {"adam", {"adamoptimizer"}},
    {"sgd", {"gradientdescent", "momentum", "stochasticgradientdescent"}},
    {"global", {"batchsize", "size", "globalbatchsize"}},
    {"micro", {"microbatchsize", "perdevice", "perdevicebatchsize"}},
    {"batch", {"batchsize", "globalbatchsize", "minibatch"}},
    {"epochs", {"nepochs", "numepochs", "maxepochs", "nbepoch"}},
    {"steps", {"maxsteps", "iterations", "maxiter", "nsteps", "iters"}},
    {"features", {"units", "outfeatures", "outputs", "neurons"}},
    {"channels", {"filters", "outchannels", "numfilters"}},
    {"kernel", {"kernelsize", "window", "poolsize", "filtersize"}},
    {"stride", {"strides"}},
    {"padding", {"pad"}},
    {"classes", {"numclasses", "nclasses", "labels", "outputs"}},
    {"seed", {"randomseed", "randomstate"}},
    {"threads", {"numthreads", "numworkers", "workers", "nthreads"}},
    {"validation", {"val", "valid", "test", "eval", "dev"}},
    {"train", {"training", "fit"}},
    {"augment", {"augmentation", "transforms", "transform"}},
    {"schedule", {"scheduler", "lrscheduler", "lrschedule"}},
    {"precision", {"dtype", "amp"}},
    {"model", {"network", "net", "architecture", "arch"}},
    {"cosine", {"cosineannealing", "cosineannealinglr", "cosinedecay"}},
    {"step", {"steplr", "multistep", "multisteplr", "exponential"}},
    {"constant", {"none", "fixed"}},
    {"he_normal", {"kaimingnormal", "kaiming", "he", "msra"}},
    {"he_uniform", {"kaiminguniform"}},
    {"glorot_uniform", {"xavieruniform", "xavier", "glorot"}},
    {"glorot_normal", {"xaviernormal"}},
    {"standardize", {"zscore", "standard", "normalise", "normalize"}},
    {"unit", {"scale", "minmax", "rescale"}},
    {"random_crop", {"crop", "randomcrop"}},
    {"resnet18", {"resnet"}},
    {"vgg16", {"vgg"}},
    {"mobilenet_v2", {"mobilenet", "mobilenetv2"}},
    {"googlenet", {"inception", "inceptionv1"}},
    {"lenet5", {"lenet"}},
};

/// Longer words are no mistake in writing.
constexpr size_t kMostBytes = 64;

std::string letters_of(const std::string& word) {
  std::string letters;
  for (const char c : word) {
    if (std::isalnum(static_cast<unsigned char>(c)))
      letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return letters;
}

int64_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  if (word.size() > kMostBytes) return "";
  const std::string letters = letters_of(word);
  if (letters.empty()) return "";
  for (const std::string& candidate : candidates) {
    if (letters_of(candidate) == letters) return candidate;
  }
  for (const Synonyms& entry : kSynonyms) {
    const bool is_other = std::find(entry.others.begin(), entry.others.end(), letters) != entry.others.end();
    const auto known = std::find(candidates.begin(), candidates.end(), entry.word);
    if (is_other && known != candidates.end()) return *known;
  }
  std::string best;
  int64_t best_distance = std::max<int64_t>(2, static_cast<int64_t>(word.size()) / 2) + 1;
  for (const std::string& candidate : candidates) {
    const int64_t distance = edit_distance(word, candidate);
    // A short word is not near to one that shares no letter with it.
    if (distance < best_distance && distance < static_cast<int64_t>(std::max(word.size(), candidate.size())))
      best = candidate, best_distance = distance;
  }
  return best;
}

}  // namespace lockstep
