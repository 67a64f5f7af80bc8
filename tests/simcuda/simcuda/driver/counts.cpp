// How often each thing was asked of the device. A test reads them all before and after, and takes the difference.

#include "sim.h"
#include <map>

namespace sim {
static std::map<std::string, long> counts;
void count(const std::string &what, long times) { counts[what] += times; }
}  // namespace sim

// Lines "name\tnumber\n"; kept until the next call.
API const char *sim_counts() {
    static std::string text;
    sim::Guard guard(sim::lock);
    text.clear();
    for (auto &entry : sim::counts) text += entry.first + "\t" + std::to_string(entry.second) + "\n";
    return text.c_str();
}
