// What a run carries from step to step besides weights, and its way into and out of
// checkpoints. Everything here follows from the job and the data, never from time or ranks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"
#include "src/data/data.h"
#include "src/run/job.h"
#include "src/step/replica.h"
#include "src/update/plateau.h"

namespace lockstep {

struct TrainState {
  int64_t step = 0;        // updates done
  int64_t best_step = -1;  // -1: no validation yet
  double best_value = 0;   // of the measure that the job names
  int64_t validations_without_improvement = 0;
  std::optional<double> early_stopping_value;  // the best, where early stopping looks at another measure
  PlateauState plateau;
  bool mistakes = true;    // in the epoch of the last update: some sample of it was judged wrongly
  bool finished = false;   // the run has reached its end
  bool follow_up = false;  // of this step is due: its validation and all that comes of that (emergencies)
  std::optional<LossScale> loss_scale;  // float16
  // Sums over the samples since the last line of metrics, so that the next one is the same after a resume: of
  // the loss, and of each metric's mean.
  double interval_loss = 0;
  MetricMeans interval_metrics{};
  int64_t interval_samples = 0;
};

/// Which memory is meant: what the host sees of the device's (to load), or that itself (to save).
enum class StateIn { kHost, kDevice };

/// The tensors of a checkpoint, viewing the replica's memory: /parameters/…, /optimizer/SLOT/… (sharded where
/// the optimizer is),
/// running averages under /buffers/…, and there the normalisation, input.mean and input.stddev
/// (always on the host).
std::vector<CheckpointTensor> checkpoint_tensors(const ParameterArena& arena, Optimizer* optimizer,
                                                 Normalization& normalization,
                                                 StateIn place = StateIn::kHost);

/// Takes those states of the optimizer away that the checkpoint does not have because its run kept their
/// parameters frozen (it has others of the same slot, and the parameters); returns their names.
std::vector<std::string> leave_absent_states(const std::string& path, std::vector<CheckpointTensor>& tensors);

/// Appends /feedback/NAME, (n_micro, shape of the parameter), of error feedback: this rank holds those of
/// micro-batches first, first + 1 …, each an array with the arena's layout.
void add_residuals(const ParameterArena& arena, int64_t first, int64_t n_micro,
                   const std::vector<float*>& residuals, std::vector<CheckpointTensor>& tensors);

/// Appends /state/NAME, (n_micro, N, …), of networks that carry their state: as above.
void add_carried_states(const CarriedStates& carried, int64_t first, int64_t n_micro,
                        const std::vector<float*>& states, std::vector<CheckpointTensor>& tensors);

struct DataIdentity;
/// `data`: null where the checkpoint has seen none, as an imported one.
CheckpointInfo make_checkpoint_info(const Job& job, const TrainState& state, const DataContract& contract,
                                    const DataIdentity* data, int64_t steps_per_epoch);

/// `metrics`: of the job, where the next line of metrics matters.
TrainState read_train_state(const CheckpointInfo& info, const MetricList& metrics = {});
/// Input shape, classes and normalisation as they were trained.
DataContract read_contract(const std::string& path, const CheckpointInfo& info);

/// Rank 0 looks for the checkpoint to resume from and shares it: `resume` is "auto" (the
/// newest whole one of the folder; warns of damaged ones; "" if there is none) or a path.
/// Collective; throws AgreedError if a named file is damaged.
std::string choose_checkpoint(Communicator& comm, const std::string& folder, const std::string& resume,
                              std::vector<std::string>& warnings);

}  // namespace lockstep
