// The decisions behind `lockstep slurm`, without a cluster: times, ranks, partitions, estimates, when a job
// that starts again gets nowhere, and the text of the scripts.
#include <gtest/gtest.h>

#include <string>

#include "jobs/slurm/batch_request.h"
#include "jobs/slurm/cluster.h"
#include "jobs/slurm/start_progress.h"
#include "jobs/slurm/walltime.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

template <typename Function>
std::string refused(const Function& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define EXPECT_SAYS(text, part) EXPECT_TRUE(has(text, part)) << "lacks: " << (part) << "\n" << (text)

TEST(BatchTime, ReadsSlurmsForms) {
  EXPECT_EQ(batch_time("90"), 90 * 60);
  EXPECT_EQ(batch_time("2:30"), 150);
  EXPECT_EQ(batch_time("4:00:00"), 4 * 3600);
  EXPECT_EQ(batch_time("2-12"), (48 + 12) * 3600);
  EXPECT_EQ(batch_time("1-02:03"), 26 * 3600 + 180);
  EXPECT_EQ(batch_time("1-02:03:04"), 26 * 3600 + 184);
  for (const char* text :
       {"", "0", "two", "1:2:3:4", "-5", "1-", "1-2-3", "4h", "00:00:00", ":30", "9999999999"})
    EXPECT_TRUE(has(refused([&] { batch_time(text); }), "is not a time limit")) << text;
  EXPECT_EQ(batch_time_text(4 * 3600), "04:00:00");
  EXPECT_EQ(batch_time_text(batch_time("3-04:05:06")), "3-04:05:06");
}

TEST(BatchRanks, ArePowersOfTwoAndAtMostTheMicroBatches) {
  EXPECT_EQ(refused([] { check_batch_for_ranks(128, 32, 4, false); }), "");
  EXPECT_EQ(refused([] { check_batch_for_ranks(128, 32, 1, false); }), "");
  const std::string three = refused([] { check_batch_for_ranks(128, 32, 3, false); });
  EXPECT_SAYS(three, "not a power of two");
  EXPECT_SAYS(three, "2 or 4 ranks");
  const std::string many = refused([] { check_batch_for_ranks(128, 32, 16, false); });
  EXPECT_SAYS(many, "batch.micro=8");
  EXPECT_SAYS(many, "batch.global=512");
  EXPECT_SAYS(many, "at most 4 ranks");
  EXPECT_EQ(refused([] { check_batch_for_ranks(96, 32, 3, true); }), "");
  EXPECT_SAYS(refused([] { check_batch_for_ranks(64, 64, 2, true); }), "1 micro-batch ");
}

TEST(BatchTimes, LeaveRoomForACheckpoint) {
  EXPECT_EQ(usual_signal_before_s(4 * 3600, 1), 120);
  EXPECT_EQ(usual_signal_before_s(4 * 3600, 100), 210);
  EXPECT_EQ(usual_signal_before_s(120, 0.1), 30);
  EXPECT_EQ(refused([] { check_times(3600, 120, 30); }), "");
  EXPECT_EQ(refused([] { check_times(3600, 0, 30); }), "");
  EXPECT_SAYS(refused([] { check_times(60, 30, 90); }), "shorter than one checkpoint");
  EXPECT_SAYS(refused([] { check_times(60, 120, 1); }), "the signal comes before");
  EXPECT_SAYS(refused([] { check_times(3600, 20, 30); }), "--signal-before 70");
}

const char* const kSinfo =
    "low*|infinite|2|2|(null)\n"
    "gpu|1-00:00:00|8|64|gpu:a100:4(S:0-1)\n"
    "gpu|1-00:00:00|2|128|gpu:h100:8\n"
    "debug|30:00|1|64|gpu:2,tmp:100\n"
    "not a line\n";

TEST(Cluster, IsReadFromSinfo) {
  const std::vector<Partition> all = read_partitions(kSinfo);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].name, "low");
  EXPECT_TRUE(all[0].is_default);
  EXPECT_EQ(all[0].time_limit_s, 0);
  EXPECT_EQ(all[1].n_nodes, 10);
  EXPECT_EQ(all[1].cpus_per_node, 128);
  EXPECT_EQ(all[1].gpus_per_node, 8);
  EXPECT_EQ(all[1].time_limit_s, 24 * 3600);
  EXPECT_EQ(all[2].time_limit_s, 30 * 60);
  EXPECT_EQ(all[2].gpus_per_node, 2);
  EXPECT_TRUE(read_partitions("").empty());
}

TEST(Cluster, RefusesWhatItHasNot) {
  const std::vector<Partition> all = read_partitions(kSinfo);
  BatchRequest request;
  request.time_s = 3600;
  const auto said = [&] { return refused([&] { check_cluster(all, request); }); };
  EXPECT_EQ(said(), "");  // the default partition
  request.partition = "gpus";
  EXPECT_SAYS(said(), "choose one of: low, gpu, debug");
  request.partition = "debug";
  EXPECT_SAYS(said(), "at most 00:30:00");
  request.time_s = 600;
  EXPECT_EQ(said(), "");
  request.gpus_per_node = request.ranks_per_node = 4;
  EXPECT_SAYS(said(), "more GPUs than 2, and 4 were asked for");
  EXPECT_SAYS(said(), "--partition gpu");
  request.partition = "gpu";
  EXPECT_EQ(said(), "");
  request.cpus_per_task = 64;
  EXPECT_SAYS(said(), "more cores than 128, and 256");
  request.cpus_per_task = 1;
  request.nodes = 11;
  EXPECT_SAYS(said(), "has nodes: 10, and 11 were asked for");
  EXPECT_EQ(refused([&] { check_cluster({}, request); }), "");  // no Slurm: nothing to compare with
}

Measured measured_from(const std::string& json, int64_t ranks, int64_t batch) {
  Measured measured;
  add_measurement(Config::from_text(json, "test"), ranks, batch, measured);
  return measured;
}

TEST(Walltime, FollowsFromAStep) {
  const char* const step = R"({"job": "x", "ranks": 2, "global_batch": 64, "step_ms": 20})";
  EXPECT_DOUBLE_EQ(measured_from(step, 2, 64).step_s, 0.02);
  EXPECT_EQ(measured_from(step, 2, 64).step_from, "bench step on 2 ranks");
  EXPECT_DOUBLE_EQ(measured_from(step, 4, 64).step_s, 0.01);   // half the work for each rank
  EXPECT_DOUBLE_EQ(measured_from(step, 4, 128).step_s, 0.02);  // the same
  EXPECT_SAYS(measured_from(step, 4, 64).step_from, "scaled");
  const char* const study =
      R"({"job": "x", "kind": "weak", "results": [{"ranks": 1, "global_batch": 32, "step_ms": 18},
          {"ranks": 4, "global_batch": 128, "step_ms": 22}]})";
  EXPECT_DOUBLE_EQ(measured_from(study, 4, 128).step_s, 0.022);
  EXPECT_DOUBLE_EQ(measured_from(study, 1, 32).step_s, 0.018);
  EXPECT_DOUBLE_EQ(measured_from(R"({"ranks": 2, "checkpoint_mib_per_s": 100})", 4, 128).bytes_per_s,
                   104857600);
  EXPECT_SAYS(refused([] { measured_from("{\"loss\": 1}", 1, 1); }), "bench step");

  JobWork work;
  work.steps = 180'000;
  work.global_batch = 64;
  work.n_validations = 10;
  work.validation_samples = 9600;
  work.checkpoint_bytes = 500'000'000;
  const Measured measured = measured_from(step, 2, 64);
  EXPECT_DOUBLE_EQ(checkpoint_s(work, measured), 5);
  EXPECT_NEAR(work_s(work, measured), 3600 + 10 + 5, 1e-9);
  EXPECT_EQ(restarts(3600, 3600, 120), 1);
  EXPECT_EQ(restarts(3450, 3600, 120), 0);
  EXPECT_EQ(restarts(36000, 3600, 120), 10);
  EXPECT_EQ(restarts(10, 100, 80), -1);
  const std::vector<std::string> lines = walltime_lines(work, measured, 2, 4, false, 1800, 120);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_SAYS(lines[0], "500.0 MB and takes 5.0 s at an assumed 100 MB/s");
  EXPECT_SAYS(lines[1], "1.00 hours, 8.03 core hours: 180000 steps of 20 ms");
  EXPECT_SAYS(lines[2], "Jobs of 00:30:00: 2 restarts.");
}

TEST(StartProgress, TwoStartsThatMadeNoneStopAJob) {
  const auto verdict = [](std::vector<int64_t> steps) {
    std::vector<JobStart> starts;
    for (const int64_t step : steps) starts.push_back({"7", step});
    return why_to_stop(starts);
  };
  EXPECT_EQ(verdict({}), "");
  EXPECT_EQ(verdict({0}), "");
  EXPECT_EQ(verdict({0, 0}), "");
  EXPECT_SAYS(verdict({0, 0, 0}), "is still missing");
  EXPECT_SAYS(verdict({5, 10, 10, 10}), "is still that of step 10");
  EXPECT_EQ(verdict({10, 10, 20}), "");
  EXPECT_EQ(verdict({10, 10, 20, 20}), "");
  EXPECT_EQ(verdict({10, 10, 5}), "");  // another beginning of the run is a new state
  EXPECT_EQ(why_to_stop({{"7", 10}, {"7", 10}, {"8", 10}}), "");  // submitted anew by a person
}

BatchRequest two_nodes() {
  BatchRequest request;
  request.written_by = "lockstep slurm job.yaml --nodes 2 --time 4:00:00";
  request.job_file = "job.yaml";
  request.name = "mine";
  request.run_folder = "runs/mine";
  request.nodes = 2;
  request.time_s = 4 * 3600;
  request.signal_before_s = 120;
  return request;
}

TEST(SlurmScript, SaysWhatARunThatLosesNothingNeeds) {
  BatchRequest request = two_nodes();
  request.settings = {"train.epochs=5", "name=it's"};
  const std::string script = slurm_script(request);
  for (const char* part :
       {"# lockstep slurm job.yaml --nodes 2 --time 4:00:00\n", "#SBATCH --nodes=2",
        "#SBATCH --time=04:00:00", "#SBATCH --signal=USR1@120", "#SBATCH --requeue",
        "#SBATCH --open-mode=append", "srun --mpi=pmix", "--distribution=block:block --cpu-bind=cores",
        "train job.yaml --out \"$run\" --resume auto", "--set train.epochs=5 --set 'name=it'\\''s'",
        "slurm --progress \"$run\" || exit 1", "LOCKSTEP_END_TIME", "scontrol requeue \"$SLURM_JOB_ID\""})
    EXPECT_SAYS(script, part);
  for (const char* part :
       {"gpus", "--partition", "--account", "module", "apptainer", "--array", "LOCKSTEP_LINKS"})
    EXPECT_FALSE(has(script, part)) << part;
}

TEST(SlurmScript, HasWhatWasAskedFor) {
  BatchRequest request = two_nodes();
  request.gpus_per_node = request.ranks_per_node = 4;
  request.partition = "gpu";
  request.account = "physics";
  request.modules = {"openmpi/4.1"};
  request.container = "lockstep.sif";
  request.mpi = "cray_shasta";
  request.signal_before_s = 0;
  const std::string script = slurm_script(request);
  for (const char* part :
       {"#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=4", "#SBATCH --partition=gpu",
        "#SBATCH --account=physics", "module load openmpi/4.1", "lockstep=(apptainer run --nv lockstep.sif)",
        "--mpi=cray_shasta", "8 ranks on 2 nodes"})
    EXPECT_SAYS(script, part);
  EXPECT_FALSE(has(script, "--signal"));
}

TEST(SlurmScript, OfAnArrayRunsOneTrialForEachTask) {
  BatchRequest request = two_nodes();
  request.trials = "kfold --folds 5 --stratify";
  request.n_trials = 5;
  request.run_folder = "runs/mine-kfold";
  const std::string script = slurm_script(request);
  for (const char* part :
       {"#SBATCH --array=1-5", "run=runs/mine-kfold/fold-$SLURM_ARRAY_TASK_ID",
        "kfold job.yaml --folds 5 --stratify --out runs/mine-kfold --only $SLURM_ARRAY_TASK_ID",
        "--output=%x-%A_%a.log"})
    EXPECT_SAYS(script, part);
  EXPECT_FALSE(has(script, "--resume"));  // an array's commands go on by themselves
}

TEST(SlurmScript, OfAChainSubmitsTheNextLinkBeforeItTrains) {
  BatchRequest request = two_nodes();
  request.links = 4;
  const std::string script = slurm_script(request);
  for (const char* part : {"#SBATCH --no-requeue", "links=${LOCKSTEP_LINKS:-3}",
                           "--dependency=\"afternotok:$SLURM_JOB_ID\"", "scancel \"$next\""})
    EXPECT_SAYS(script, part);
  EXPECT_FALSE(has(script, "scontrol requeue"));
  EXPECT_LT(script.find("slurm --progress"), script.find("sbatch --parsable"));  // no progress: no next link
  EXPECT_LT(script.find("sbatch --parsable"), script.find("srun"));  // the node may die in between
}

TEST(OtherScripts, SayTheSameInTheirOwnWords) {
  BatchRequest request = two_nodes();
  request.gpus_per_node = request.ranks_per_node = 4;
  request.time_s = 30 * 3600;
  const std::string pbs = pbs_script(request), lsf = lsf_script(request);
  for (const char* part : {"#PBS -l select=2:ncpus=4:mpiprocs=4:ngpus=4", "#PBS -l walltime=30:00:00",
                           "mpirun -n 8 ", "LOCKSTEP_END_TIME=$(($(date +%s) + 108000))", "qrerun"})
    EXPECT_SAYS(pbs, part);
  for (const char* part : {"#BSUB -n 8", "span[ptile=4]", "#BSUB -W 30:00", "#BSUB -wa USR1 -wt 2",
                           "#BSUB -Q 85", "--map-by ppr:4:node:PE=1"})
    EXPECT_SAYS(lsf, part);
}

}  // namespace
}  // namespace lockstep
