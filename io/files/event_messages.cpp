// Field numbers: tensorflow/core/framework/summary.proto and tensor.proto;
// tensorboard/plugins/hparams/api.proto and plugin_data.proto; google/protobuf/struct.proto.
#include "io/files/event_messages.h"

#include "io/files/protobuf.h"

namespace lockstep {

namespace {

constexpr int kString = 7;                                           // DataType DT_STRING
constexpr int kHparamString = 1, kHparamBool = 2, kHparamFloat = 3;  // hparams' DataType
constexpr int kTensorClass = 2;                                      // DataClass: what is read as a tensor

/// Summary.Value of a plug-in: its tag, the plug-in's data, and a tensor if it is not empty.
std::string plugin_event(double wall_time_s, const std::string& tag, const std::string& plugin,
                         const ProtobufMessage& content, const ProtobufMessage& tensor) {
  ProtobufMessage data;
  data.text(1, plugin);                                    // PluginData.plugin_name
  if (!content.bytes().empty()) data.message(2, content);  // .content
  ProtobufMessage metadata;
  metadata.message(1, data);  // SummaryMetadata.plugin_data
  if (!tensor.bytes().empty()) metadata.number(4, kTensorClass);
  ProtobufMessage value;
  value.text(1, tag);
  if (!tensor.bytes().empty()) value.message(8, tensor);
  value.message(9, metadata);
  ProtobufMessage summary, event;
  summary.message(1, value);
  event.real(1, wall_time_s);
  event.message(5, summary);
  return event.bytes();
}

/// google.protobuf.Value
ProtobufMessage value_of(const HyperParameter& parameter) {
  ProtobufMessage value;
  if (const auto* number = std::get_if<double>(&parameter.value)) {
    value.real(2, *number);
  } else if (const auto* flag = std::get_if<bool>(&parameter.value)) {
    value.number(4, *flag ? 1 : 0);
  } else {
    value.text(3, std::get<std::string>(parameter.value));
  }
  return value;
}

int type_of(const HyperParameter& parameter) {
  return std::holds_alternative<double>(parameter.value) ? kHparamFloat
         : std::holds_alternative<bool>(parameter.value) ? kHparamBool
                                                         : kHparamString;
}

}  // namespace

std::string encode_text(double wall_time_s, const std::string& tag, const std::string& text) {
  ProtobufMessage dimension, shape, tensor;
  dimension.number(1, 1);       // Dim.size
  shape.message(2, dimension);  // TensorShapeProto.dim
  tensor.number(1, kString);    // TensorProto.dtype
  tensor.message(2, shape);     // .tensor_shape
  tensor.text(8, text);         // .string_val
  return plugin_event(wall_time_s, tag, "text", {}, tensor);
}

std::string encode_experiment(double wall_time_s, std::span<const HyperParameter> parameters,
                              std::span<const std::string> metrics) {
  ProtobufMessage experiment;
  experiment.real(3, wall_time_s);  // Experiment.time_created_secs
  for (const HyperParameter& parameter : parameters) {
    ProtobufMessage info;
    info.text(1, parameter.name);
    info.number(4, type_of(parameter));
    experiment.message(4, info);  // .hparam_infos
  }
  for (const std::string& tag : metrics) {
    ProtobufMessage name, info;
    name.text(2, tag);      // MetricName.tag
    info.message(1, name);  // MetricInfo.name
    experiment.message(5, info);
  }
  ProtobufMessage data;
  data.message(2, experiment);  // HParamsPluginData.experiment
  return plugin_event(wall_time_s, "_hparams_/experiment", "hparams", data, {});
}

std::string encode_session_start(double wall_time_s, std::span<const HyperParameter> parameters) {
  ProtobufMessage start;
  for (const HyperParameter& parameter : parameters) {
    ProtobufMessage entry;  // of a map
    entry.text(1, parameter.name);
    entry.message(2, value_of(parameter));
    start.message(1, entry);  // SessionStartInfo.hparams
  }
  start.real(5, wall_time_s);  // .start_time_secs
  ProtobufMessage data;
  data.message(3, start);  // HParamsPluginData.session_start_info
  return plugin_event(wall_time_s, "_hparams_/session_start_info", "hparams", data, {});
}

}  // namespace lockstep
