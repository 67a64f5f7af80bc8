// Streams are queues that nothing runs until somebody has to wait: then what he waits for runs, and what that has to wait for,
// and nothing else. So work that another stream has not waited for is as late as it can be on a GPU: whoever uses its results
// too soon finds poison there, and memory that is reused too soon has other numbers when the work comes.

#include "streams.h"

namespace sim {

static std::map<void *, std::shared_ptr<Stream>> streams;
static std::map<int, std::shared_ptr<Stream>> legacy_streams;  // of each device
static uintptr_t next_handle = 0x10000;
static std::map<void *, std::shared_ptr<Event>> events;

std::shared_ptr<Stream> stream_of(void *handle) {
    if ((uintptr_t)handle > 2) {
        auto found = streams.find(handle);
        return found == streams.end() ? nullptr : found->second;
    }
    auto &stream = legacy_streams[current_device()];  // 0, 1, and 2, the stream of this thread: no thread has another
    if (!stream) stream = std::make_shared<Stream>(), stream->legacy = true, stream->device = current_device();
    return stream;
}
std::vector<std::shared_ptr<Stream>> all_streams() {
    std::vector<std::shared_ptr<Stream>> all;
    for (auto &entry : legacy_streams) all.push_back(entry.second);
    for (auto &entry : streams) all.push_back(entry.second);
    return all;
}

int add(const std::shared_ptr<Stream> &stream, Item item) {
    stream->queue.push_back(std::move(item));
    stream->added++;
    return settings.eager ? run_until(stream, stream->added) : (int)SUCCESS;
}

// Run the queue's items up to this one. An error ends nothing: it is told once, to whoever waits next.
int run_until(const std::shared_ptr<Stream> &stream, uint64_t upto) {
    while (stream->done < upto && !stream->queue.empty()) {
        Item item = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (item.other) run_until(item.other, item.upto);
        else if (int failed = item.work.run()) stick(failed);
        stream->done++;
    }
    return SUCCESS;
}

static int told() {  // an error of work done earlier, once
    return take_sticky();
}

// The legacy stream waits for all that came before in blocking streams of its device, and they for it.
static void order_with_legacy(const std::shared_ptr<Stream> &stream) {
    if (!stream->legacy && !stream->blocking) return;
    for (auto &other : all_streams()) {
        bool ordered = other != stream && other->device == stream->device && (stream->legacy ? other->blocking : other->legacy);
        if (ordered && other->done < other->added && !other->capture) add(stream, {{}, other, other->added});
    }
}

int submit(void *handle, Work work) {
    auto stream = stream_of(handle);
    if (!stream) return fail(INVALID_HANDLE, work.name + ": there is no such stream (or it was destroyed)");
    if (stream->capture) return capture_work(stream, std::move(work));
    if (int failed = check_legacy(stream)) return failed;
    if (work.kernel) count("launch"), count("kernel\x1f" + work.name);
    order_with_legacy(stream);
    add(stream, {std::move(work), nullptr, 0});
    return settings.eager ? told() : (int)SUCCESS;
}

int finish(void *handle, const char *by) {
    auto stream = stream_of(handle);
    if (!stream) return fail(INVALID_HANDLE, std::string(by) + ": there is no such stream (or it was destroyed)");
    if (stream->capture) return invalidate(*stream->capture, std::string(by) + " waits for a stream that is being captured");
    if (int failed = check_legacy(stream)) return failed;
    order_with_legacy(stream);
    run_until(stream, stream->added);
    return told();
}
int finish_device(const char *by) {
    for (auto &stream : all_streams())
        if (stream->device == current_device() && !stream->capture) run_until(stream, stream->added);
    return told();
}
bool captured(void *handle) {
    auto stream = stream_of(handle);
    return stream && stream->capture;
}

}  // namespace sim

using namespace sim;

static int create(void **handle, bool blocking, int priority) {
    Guard guard(lock);
    auto stream = std::make_shared<Stream>();
    stream->device = current_device(), stream->blocking = blocking, stream->priority = priority;
    streams[*handle = (void *)(next_handle += 16)] = stream;
    return SUCCESS;
}
RUNTIME(cudaStreamCreate)(void **handle) { return create(handle, true, 0); }
RUNTIME(cudaStreamCreateWithFlags)(void **handle, unsigned flags) { return create(handle, !(flags & 1), 0); }
RUNTIME(cudaStreamCreateWithPriority)(void **handle, unsigned flags, int priority) { return create(handle, !(flags & 1), priority); }
RUNTIME(cudaStreamDestroy)(void *handle) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    if (!stream || stream->legacy) return fail(INVALID_HANDLE, "cudaStreamDestroy: there is no such stream");
    streams.erase(handle);
    if (stream->capture) return invalidate(*stream->capture, "a stream is destroyed while it is being captured");
    return run_until(stream, stream->added);
}
RUNTIME(cudaStreamSynchronize)(void *handle) {
    Guard guard(lock);
    count("wait");
    return finish(handle, "cudaStreamSynchronize");
}
RUNTIME(cudaStreamQuery)(void *handle) {  // a GPU needs its time: at the first asking it is not done
    Guard guard(lock);
    auto stream = stream_of(handle);
    if (!stream) return fail(INVALID_HANDLE, "cudaStreamQuery: there is no such stream");
    if (stream->capture) return invalidate(*stream->capture, "cudaStreamQuery asks for a stream that is being captured");
    if (stream->done == stream->added) return SUCCESS;
    run_until(stream, stream->added);
    return NOT_READY;
}
RUNTIME(cudaStreamWaitEvent)(void *handle, void *number, unsigned) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    auto event = events.find(number);
    if (!stream || event == events.end()) return fail(INVALID_HANDLE, "cudaStreamWaitEvent: there is no such stream or event");
    if (stream->capture || event->second->capture) return capture_wait(stream, *event->second);
    Event &e = *event->second;
    if (e.stream && e.stream != stream && e.stream->done < e.upto) add(stream, {{}, e.stream, e.upto});
    count("wait for an event");
    return SUCCESS;
}
RUNTIME(cudaStreamGetFlags)(void *handle, unsigned *flags) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    *flags = stream && !stream->blocking;
    return stream ? SUCCESS : fail(INVALID_HANDLE, "cudaStreamGetFlags: there is no such stream");
}
RUNTIME(cudaStreamGetPriority)(void *handle, int *priority) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    *priority = stream ? stream->priority : 0;
    return stream ? SUCCESS : fail(INVALID_HANDLE, "cudaStreamGetPriority: there is no such stream");
}
RUNTIME(cudaLaunchHostFunc)(void *handle, void (*function)(void *), void *data) {
    Guard guard(lock);
    return submit(handle, {"a function of the host", [=] { function(data); return SUCCESS; }});
}
typedef void (*StreamCallback)(void *, int, void *);
RUNTIME(cudaStreamAddCallback)(void *handle, StreamCallback function, void *data, unsigned) {
    Guard guard(lock);
    if (captured(handle)) return invalidate(*stream_of(handle)->capture, "cudaStreamAddCallback, on a stream that is being captured");
    return submit(handle, {"a callback", [=] { function(handle, 0, data); return SUCCESS; }});
}
RUNTIME(cudaDeviceSynchronize)() {
    Guard guard(lock);
    count("wait");
    for (auto &stream : all_streams())
        if (stream->capture && stream->device == current_device())
            return invalidate(*stream->capture, "cudaDeviceSynchronize, while a stream is being captured");
    return finish_device("cudaDeviceSynchronize");
}

// Events

static int create_event(void **number, unsigned flags) {
    Guard guard(lock);
    auto event = std::make_shared<Event>();
    event->timed = !(flags & 2);
    events[*number = (void *)(next_handle += 16)] = event;
    return SUCCESS;
}
RUNTIME(cudaEventCreate)(void **number) { return create_event(number, 0); }
RUNTIME(cudaEventCreateWithFlags)(void **number, unsigned flags) { return create_event(number, flags); }
RUNTIME(cudaEventDestroy)(void *number) {
    Guard guard(lock);
    return events.erase(number) ? SUCCESS : fail(INVALID_HANDLE, "cudaEventDestroy: there is no such event");
}
RUNTIME(cudaEventRecord)(void *number, void *handle) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    auto found = events.find(number);
    if (!stream || found == events.end()) return fail(INVALID_HANDLE, "cudaEventRecord: there is no such stream or event");
    Event &event = *found->second;
    if (stream->capture) return capture_event(stream, event);
    if (int failed = check_legacy(stream)) return failed;
    order_with_legacy(stream);
    event.capture = nullptr, event.asked = 0, event.stream = stream;
    auto at = event.at = std::make_shared<std::chrono::steady_clock::time_point>();
    int failed = add(stream, {{"an event", [at] { *at = std::chrono::steady_clock::now(); return SUCCESS; }}, nullptr, 0});
    event.upto = stream->added;
    return failed;
}
static int find_event(void *number, const char *by, Event **event) {
    auto found = events.find(number);
    if (found == events.end()) return fail(INVALID_HANDLE, std::string(by) + ": there is no such event");
    *event = found->second.get();
    if (!(*event)->capture) return SUCCESS;
    invalidate(*(*event)->capture, std::string(by) + " asks for an event of a stream that is being captured");
    return CAPTURED_EVENT;
}
static bool happened(const Event &event) { return !event.stream || event.stream->done >= event.upto; }
RUNTIME(cudaEventQuery)(void *number) {  // it takes its time, as on a GPU: at the second asking it has happened
    Guard guard(lock);
    Event *event;
    if (int failed = find_event(number, "cudaEventQuery", &event)) return failed;
    if (!happened(*event) && event->asked++) run_until(event->stream, event->upto);
    return happened(*event) ? SUCCESS : NOT_READY;
}
RUNTIME(cudaEventSynchronize)(void *number) {
    Guard guard(lock);
    Event *event;
    if (int failed = find_event(number, "cudaEventSynchronize", &event)) return failed;
    count("wait");
    if (event->stream) run_until(event->stream, event->upto);
    return told();
}
RUNTIME(cudaEventElapsedTime)(float *milliseconds, void *start, void *end) {
    Guard guard(lock);
    Event *first, *last;
    if (int failed = find_event(start, "cudaEventElapsedTime", &first)) return failed;
    if (int failed = find_event(end, "cudaEventElapsedTime", &last)) return failed;
    if (!first->stream || !last->stream || !first->timed || !last->timed)
        return fail(INVALID_HANDLE, "cudaEventElapsedTime: an event was not recorded, or was made without timing");
    if (!happened(*first) || !happened(*last)) return NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(*last->at - *first->at).count();
    return SUCCESS;
}
RUNTIME(cudaEventElapsedTime_v2)(float *milliseconds, void *start, void *end) { return sim_cudaEventElapsedTime(milliseconds, start, end); }
