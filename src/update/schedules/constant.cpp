// The rate as it is, after the warm-up.
#include "src/update/schedule.h"

namespace lockstep {

namespace {
const bool constant_schedule_registered = schedules().add(
    "constant", [](Config&) { return ScheduleRule(); }, 1);
}

}  // namespace lockstep
