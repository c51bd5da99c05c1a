// The face of Lockstep for other programs: jobs, training, evaluation and prediction, under a main and an MPI
// of their own. docs/embedding.md is the manual.
//
//   Communicator comm = Communicator::of(&my_mpi_comm);       // or MpiSession, then Communicator::world()
//   Job job = make_job({{"name", "digits"}, {"model", {{"zoo", "lenet5"}, {"classes", 10}}}, …});
//   RunResult result = train(job, comm, {.out = "runs/digits"});
//   Predictor predictor(result.run_folder + "/checkpoints/best.h5");
//
// Parts of your own register themselves by name: layers (src/network/layer.h), losses (src/losses/loss.h),
// metrics (src/metrics/metric.h), optimizers (src/update/update_rule.h), schedules (src/update/schedule.h).
#pragma once

#include "comm/agreement.h"
#include "comm/communicator.h"
#include "src/job/job.h"
#include "src/run/evaluate.h"
#include "src/run/predict/predictor.h"
#include "src/run/run.h"
#include "src/run/train.h"
