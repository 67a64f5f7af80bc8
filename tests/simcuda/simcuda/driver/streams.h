// Streams and events, for streams.cpp and graphs.cpp.
#pragma once
#include "sim.h"
#include <chrono>
#include <deque>
#include <map>
#include <thread>

namespace sim {

struct Stream;

struct Item {  // of a queue: work, or to wait until another stream has done so many items
    Work work;
    std::shared_ptr<Stream> other;
    uint64_t upto = 0;
};

typedef std::map<Stream *, uint64_t> Known;  // how many captured items of each stream come before

// A capture under way, and what it has recorded.
struct Capture {
    Stream *origin;
    int mode;
    std::thread::id thread;
    std::string invalid;  // why, if it is
    std::shared_ptr<std::vector<Work>> work = std::make_shared<std::vector<Work>>();
    std::map<Stream *, uint64_t> counts;  // captured items of each stream that takes part
    std::map<Stream *, Known> known;
};

struct Stream : std::enable_shared_from_this<Stream> {
    int device = 0;
    bool legacy = false, blocking = true;  // the stream 0; one that waits for it, and for which it waits
    int priority = 0;
    uint64_t added = 0, done = 0;
    std::deque<Item> queue;
    std::shared_ptr<Capture> capture;
};

struct Event {
    std::shared_ptr<Stream> stream;  // where it was recorded last; nullptr: never
    uint64_t upto = 0;
    int asked = 0;
    bool timed = true;
    std::shared_ptr<std::chrono::steady_clock::time_point> at;  // when the stream came to it
    std::shared_ptr<Capture> capture;
    Known known;
};

std::shared_ptr<Stream> stream_of(void *handle);
std::vector<std::shared_ptr<Stream>> all_streams();
int add(const std::shared_ptr<Stream> &stream, Item item);
int run_until(const std::shared_ptr<Stream> &stream, uint64_t upto);
int invalidate(Capture &capture, const std::string &why);
int check_legacy(const std::shared_ptr<Stream> &stream);
int capture_work(const std::shared_ptr<Stream> &stream, Work work);
int capture_event(const std::shared_ptr<Stream> &stream, Event &event);
int capture_wait(const std::shared_ptr<Stream> &stream, Event &event);

}  // namespace sim
