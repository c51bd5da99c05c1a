// Numbers of a dataset one by one, for those who look at them and do not train on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/dataset/dataset.h"
#include "kernels/dtype.h"

namespace lockstep {

/// Number i of those stored as `type`; exact but for whole numbers from 2^53 on.
double stored_number(DType type, const std::byte* from, int64_t i);

/// Whether a type holds whole numbers: classes, ids, groups.
bool is_whole(DType type);

/// Calls use(bytes, first, count) for successive elements of the field, as stored: rows, or what ragged rows
/// consist of. A block has up to 8 MiB.
void for_each_block(const Dataset& dataset, const Field& field,
                    const std::function<void(const std::byte*, int64_t first, int64_t count)>& use);
/// Calls use(numbers) for all numbers of a field of whole numbers, in order.
void for_each_whole_number(const Dataset& dataset, const Field& field,
                           const std::function<void(std::span<const int64_t>)>& use);
/// All of them.
std::vector<int64_t> read_whole_numbers(const Dataset& dataset, const Field& field);

/// The same of a field of one whole number a row. Throws Error saying that another field is to be named for
/// the `what` ("classes", "groups").
std::vector<int64_t> one_number_a_row(const Dataset& dataset, const std::string& name, const char* what);

/// The field of classes: whole numbers, one a sample, under a usual name (label, labels, target, targets, y);
/// null: there is none.
const Field* find_class_field(const Dataset& dataset);

}  // namespace lockstep
