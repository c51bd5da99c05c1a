// Worked examples of course texts as whole networks, run through plans. More of them stand with the
// parts they are about: the chain rule's 2 log(2w + 3)² - 1 (text 002) in structure_test, filters,
// losses and pooling in tests/kernels.
#include <cmath>
#include <map>

#include "src/update/optimizer.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

/// The values that `graph` predicts for one sample with the arena's weights.
std::vector<float> predict(const Graph& graph, const ParameterArena& arena, const std::vector<float>& input) {
  PlanOptions options = plan_options(1);
  options.config.training = false;
  const LossSpec loss = loss_from("l2");
  Batch batch = random_batch(graph, loss, 1, 1, 1);
  std::copy(input.begin(), input.end(), batch.input.as<float>());
  Plan plan(graph, arena, loss, options);
  plan.refresh_weights();
  plan.forward({batch.input.data()}, {}, batch.context());
  return {plan.output(), plan.output() + plan.output_shape().n_elements()};
}

/// The weights of the parameter `name`.
float* weights_of(const ParameterArena& arena, const std::string& name) {
  for (const Segment& segment : arena.segments())
    if (segment.name == name) return arena.weights() + segment.offset;
  ADD_FAILURE() << "no parameter " << name;
  return arena.weights();
}

void set_weights(const ParameterArena& arena, const std::map<std::string, std::vector<float>>& values) {
  EXPECT_EQ(arena.segments().size(), values.size());
  for (const auto& [name, numbers] : values)
    std::copy(numbers.begin(), numbers.end(), weights_of(arena, name));
}

// Course text 000, "single hidden layer networks: example": x = (-3, 1, 5), sums of the hidden neurons -3,
// 2, 0 and 7, of the output 0.57, output 0.64.
TEST(Course, SingleHiddenLayerNetwork) {
  const std::vector<float> x{-3, 1, 5};
  const std::vector<float> w{3, -9, 2, 11, -2, 7, -6, 3, -4, 6, -1, 5}, b{5, 2, -1, 1};
  const Graph hidden = graph_from("{input: [3], layers: [{affine: 4}]}");
  const ParameterArena of_hidden(hidden, Device{});
  set_weights(of_hidden, {{"affine1.weight", w}, {"affine1.bias", b}});
  EXPECT_EQ(predict(hidden, of_hidden, x), (std::vector<float>{-3, 2, 0, 7}));

  const std::string layers = "{input: [3], layers: [{affine: 4}, sigmoid, {affine: 1}";
  const std::vector<float> u{3, -12, 8, 1}, c{6};
  const Graph sum = graph_from(layers + "]}"), whole = graph_from(layers + ", sigmoid]}");
  const ParameterArena of_sum(sum, Device{}), of_whole(whole, Device{});
  for (const ParameterArena* arena : {&of_sum, &of_whole})
    set_weights(*arena,
                {{"affine1.weight", w}, {"affine1.bias", b}, {"affine2.weight", u}, {"affine2.bias", c}});
  EXPECT_NEAR(predict(sum, of_sum, x)[0], 0.57, 0.005);
  EXPECT_NEAR(predict(whole, of_whole, x)[0], 0.64, 0.005);
}

// Course text 000, "filters to extract features": the network `sobel` on a dummy image. The slides print the
// image with differing rows; these are the ones that give the feature map of the vertical edges.
TEST(Course, SobelFeatureMap) {
  const char* const rows[] = {"....##....", "...####...", "....##....", "#..####...", "..######..",
                              ".#.####.#.", "...####...", "...####...", "...#..#..#", "..##..##.."};
  std::vector<float> image;
  for (const std::string row : rows)
    for (const char pixel : row) image.push_back(pixel == '#' ? 255 : 0);
  const std::vector<float> feature_map = {0,    510,  1020, 510,  -510, -1020, -510,  0,     //
                                          -255, 510,  1020, 510,  -510, -1020, -510,  0,     //
                                          -255, 765,  765,  255,  -255, -765,  -765,  -255,  //
                                          255,  765,  510,  0,    0,    -510,  -765,  -510,  //
                                          255,  510,  765,  0,    0,    -765,  -510,  -255,  //
                                          0,    765,  1020, 0,    0,    -1020, -765,  0,     //
                                          0,    1020, 765,  -255, 255,  -765,  -1020, 255,   //
                                          255,  1020, 0,    -765, 765,  0,     -1020, 255};
  const auto network = [&](const std::string& output) {
    const Graph graph = graph_from("{zoo: sobel, input: [1, 10, 10]" + output + "}");
    EXPECT_EQ(graph.n_parameters(), 0);
    return predict(graph, ParameterArena(graph, Device{}), image);
  };
  EXPECT_EQ(network(", output: gx"), feature_map);

  const std::vector<float> gy = network(", output: gy"), length = network("");
  ASSERT_EQ(length.size(), 64u);
  for (size_t i = 0; i < 64; ++i) {
    const auto pixel = [&](size_t down, size_t right) { return image[(i / 8 + down) * 10 + i % 8 + right]; };
    const float across =
        pixel(2, 0) + 2 * pixel(2, 1) + pixel(2, 2) - pixel(0, 0) - 2 * pixel(0, 1) - pixel(0, 2);
    EXPECT_EQ(gy[i], across) << i;
    EXPECT_NEAR(length[i], std::hypot(feature_map[i], across), 1e-3) << i;
  }
}

struct Point {
  double x[2];
  double y;  // 1 or -1
};

/// Of a grid in quarters, so that float32 sums are exact; a line separates them.
std::vector<Point> separable_points() {
  std::vector<Point> points;
  for (int i = 0; i < 24; ++i) {
    const double a = (i * 7 % 24 - 9) * 0.25, b = (i * 5 % 17 - 8) * 0.25, side = 1.7 - a + 0.5 * b;
    if (std::abs(side) > 0.1) points.push_back({{a, b}, side > 0 ? 1.0 : -1.0});
  }
  return points;
}

// Course text 004, "perceptron algorithm": w <- w + y x where sign(w x) is not y, from w = 0, with a constant
// input in place of the bias. The network's weights are the rule's after every sample, to the bit,
// whether the sign of zero is +1 (the slides) or zero is a mistake; and it comes to an epoch
// without mistakes.
TEST(Course, PerceptronIsRosenblattsRule) {
  const std::vector<Point> points = separable_points();
  for (const bool zero_is_positive : {true, false}) {
    const Graph graph = graph_from("{zoo: perceptron, input: [2]}");
    const LossSpec loss = loss_from(std::string("{perceptron: {zero_is_positive: ") +
                                    (zero_is_positive ? "true" : "false") + "}}");
    const ParameterArena arena(graph, Device{});
    set_weights(arena, {{"fc.weight", {0, 0}}, {"fc.bias", {0}}});
    Plan plan(graph, arena, loss, plan_options(1));
    Optimizer optimizer(read_optimizer(Config::from_text("{sgd: {lr: 1}}", "optimizer")), arena);
    const std::unique_ptr<Stream> stream = make_stream(Device{});
    Batch batch = random_batch(graph, loss, 1, 1, 1);

    double w[3] = {0, 0, 0};
    int64_t n_mistakes = 0, in_epoch = 1, step = 0;
    for (int epoch = 0; epoch < 200 && in_epoch > 0; ++epoch) {
      in_epoch = 0;
      for (const Point& point : points) {
        const double x[3] = {point.x[0], point.x[1], 1}, sum = w[0] * x[0] + w[1] * x[1] + w[2] * x[2];
        const bool right = sum == 0 ? zero_is_positive && point.y > 0 : (sum > 0) == (point.y > 0);
        if (!right) ++in_epoch;
        for (int j = 0; j < 3 && !right; ++j) w[j] += point.y * x[j];

        batch.input.as<float>()[0] = static_cast<float>(x[0]);
        batch.input.as<float>()[1] = static_cast<float>(x[1]);
        batch.target.as<int64_t>()[0] = point.y > 0 ? 1 : 0;
        Outcome outcome = run(plan, arena, batch);
        EXPECT_EQ(outcome.loss_values[kNCorrect], right ? 1 : 0) << "step " << step;
        optimizer.update(*stream, outcome.gradients.data(), 1, 1, step);
        const float* weight = weights_of(arena, "fc.weight");
        ASSERT_EQ(weight[0], w[0]) << "step " << step;
        ASSERT_EQ(weight[1], w[1]) << "step " << step;
        ASSERT_EQ(*weights_of(arena, "fc.bias"), w[2]) << "step " << step;
        ++step;
      }
      n_mistakes += in_epoch;
    }
    EXPECT_EQ(in_epoch, 0) << "did not converge";
    EXPECT_GT(n_mistakes, 10);
  }
}

}  // namespace
}  // namespace lockstep
