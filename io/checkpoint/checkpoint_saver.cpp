// The copy of a rank's part of the state, and the thread that writes it. One copy is kept: a save
// that comes before the last one is written waits for it. All calls to a GPU are made by the
// training thread: the writing thread of a rank may stand on another device.
#include "io/checkpoint/checkpoint_saver.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

#include "comm/activity.h"
#include "comm/agreement.h"
#include "io/checkpoint/checkpoint_shards.h"
#include "io/checkpoint/checkpoint_write.h"

namespace lockstep {

using checkpoint_format::Piece;

struct CheckpointSaver::Parts {
  std::vector<Piece> pieces;
  std::vector<char*> copies;  // of each own piece
  struct Run {                // of own pieces that follow one another in a tensor
    int64_t tensor, first_byte, n_bytes;
    int64_t at;  // byte of the copy
  };
  std::vector<Run> runs;
  int64_t n_bytes = 0;
  std::unique_ptr<checkpoint_format::ShardExchange> shards;  // null: no tensor is sharded

  Parts(Communicator& comm, const std::vector<CheckpointTensor>& tensors)
      : pieces(checkpoint_format::deal_pieces(tensors, comm.size())), copies(pieces.size(), nullptr) {
    for (const Piece& piece : pieces) {
      if (piece.owner != comm.rank()) continue;
      if (!tensors[piece.tensor].sharded) {
        if (runs.empty() || runs.back().tensor != piece.tensor)
          runs.push_back({piece.tensor, piece.first_byte, 0, n_bytes});
        runs.back().n_bytes += piece.n_bytes;
      }
      n_bytes += piece.n_bytes;
    }
    if (std::any_of(tensors.begin(), tensors.end(), [](const CheckpointTensor& t) { return t.sharded; }))
      shards = std::make_unique<checkpoint_format::ShardExchange>(comm, tensors, pieces);
  }

  checkpoint_format::PieceData data() const { return {copies.begin(), copies.end()}; }
};

CheckpointSaver::CheckpointSaver(const Communicator& comm, std::string folder,
                                 std::vector<CheckpointTensor> tensors, Device device)
    : comm_(comm.duplicate()),
      folder_(std::move(folder)),
      tensors_(std::move(tensors)),
      parts_(std::make_unique<Parts>(comm_, tensors_)),
      copy_(Memory::on_host(device, parts_->n_bytes)),
      shard_copy_(Memory::on_host(device, parts_->shards ? parts_->shards->n_bytes() : 0)),
      device_(device),
      copies_(make_stream(device)),
      state_is_ready_(make_event(device)) {
  char* next = copy_.as<char>();
  for (size_t i = 0; i < parts_->pieces.size(); ++i) {
    if (parts_->pieces[i].owner != comm_.rank()) continue;
    parts_->copies[i] = next;
    next += parts_->pieces[i].n_bytes;
  }
}

CheckpointSaver::~CheckpointSaver() {
  try {
    wait();
  } catch (...) {  // a GPU that failed; who trains on it is told by its next call
  }
}

void CheckpointSaver::leave(std::unique_ptr<CheckpointSaver> saver) {
  if (!saver) return;
  try {
    saver->hold_changes();
  } catch (...) {  // nothing will be written
  }
  saver.release();
}

void CheckpointSaver::probe(const CheckpointInfo& info) {
  checkpoint_format::probe_checkpoint(comm_, folder_, info, tensors_);
}

void CheckpointSaver::submit_copies() {
  for (const Parts::Run& run : parts_->runs) {
    copy(*copies_, copy_.data() + run.at,
         static_cast<const std::byte*>(tensors_[run.tensor].data) + run.first_byte, run.n_bytes);
  }
  std::byte* to = shard_copy_.data();
  for (const CheckpointTensor& tensor : tensors_) {
    for (const TensorPart& part : tensor.parts) {
      const int64_t n_bytes = part.n_elements * size_of(tensor.dtype);
      copy(*copies_, to, part.data, n_bytes);
      to += n_bytes;
    }
  }
}

void CheckpointSaver::exchange_shards() {
  if (parts_->shards) parts_->shards->run(comm_, shard_copy_.data(), parts_->copies);
}

void CheckpointSaver::start(Stream& stream, CheckpointInfo info, std::function<void()> when_saved) {
  wait();
  start_ = std::chrono::steady_clock::now();
  copied_ = std::promise<void>();
  when_copied_ = copied_.get_future().share();
  copying_ = true;
  const bool on_gpu = device_.kind == Device::Kind::kCuda;
  if (on_gpu) {
    state_is_ready_->record(stream);
    state_is_ready_->hold(*copies_);
    submit_copies();
  }
  const auto work = [this, on_gpu, copied = when_copied_, info = std::move(info),
                     when_saved = std::move(when_saved)] {
    if (!on_gpu) {  // a CPU's stream copies at once, so this thread does it
      submit_copies();
      copied_.set_value();
    }
    copied.get();
    return write(info, when_saved);
  };
  writing_ = std::async(std::launch::async, work);
}

void CheckpointSaver::hold_changes() {
  if (!std::exchange(copying_, false)) return;
  if (device_.kind == Device::Kind::kCuda) {
    try {
      copies_->synchronize();
      copied_.set_value();
    } catch (...) {
      copied_.set_exception(std::current_exception());  // nothing is written; get() throws
    }
  }
  when_copied_.get();
}

SaveOutcome CheckpointSaver::write(const CheckpointInfo& info, const std::function<void()>& when_saved) {
  SaveOutcome outcome;
  outcome.step = info.step;
  try {
    exchange_shards();
    outcome.path =
        checkpoint_format::write_checkpoint(comm_, folder_, info, tensors_, parts_->pieces, parts_->data());
  } catch (const AgreedError& error) {
    outcome.error = error.what();
    return outcome;
  } catch (const std::exception& error) {
    // The other ranks may wait for this one in a collective for ever.
    abort_all(std::string("saving a checkpoint: ") + error.what(), kExitError);
  }
  outcome.time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (!comm_.is_root()) return outcome;
  std::error_code ignored;
  outcome.n_bytes = static_cast<int64_t>(std::filesystem::file_size(outcome.path, ignored));
  if (when_saved) when_saved();
  return outcome;
}

bool CheckpointSaver::is_busy() const {
  return writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

std::optional<SaveOutcome> CheckpointSaver::poll() {
  if (!writing_.valid() || is_busy()) return {};
  return writing_.get();
}

std::optional<SaveOutcome> CheckpointSaver::wait() {
  if (!writing_.valid()) return {};
  const InCollective told("a save");
  hold_changes();
  return writing_.get();
}

}  // namespace lockstep
