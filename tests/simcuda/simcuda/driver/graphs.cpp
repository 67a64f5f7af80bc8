// Capture: what is put into a stream is recorded instead, and so is what other streams do that wait for its events; a graph is
// that, in the order in which it came, and a launch of it is one piece of work that does all of it again.
// What a capture does not allow ends it: the call fails, and so does the end of the capture.

#include "streams.h"

namespace sim {

struct Graph {
    std::shared_ptr<std::vector<Work>> work;
};

static std::vector<std::shared_ptr<Capture>> captures() {
    std::vector<std::shared_ptr<Capture>> all;
    for (auto &stream : all_streams())
        if (stream->capture) all.push_back(stream->capture);
    return all;
}

int invalidate(Capture &capture, const std::string &why) {
    if (capture.invalid.empty()) capture.invalid = why;
    return fail(CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing: " + why);
}
int cannot_capture(void *stream, const char *what) { return invalidate(*stream_of(stream)->capture, what); }

enum Mode { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };
int forbidden_while_capturing(const char *call) {
    Guard guard(lock);
    for (auto &capture : captures()) {
        bool mine = capture->thread == std::this_thread::get_id();
        if (capture->mode == GLOBAL || (capture->mode == THREAD_LOCAL && mine)) return invalidate(*capture, call);
    }
    return SUCCESS;
}

// Work in the legacy stream would have to wait for streams that wait for it: for none that is being captured.
int check_legacy(const std::shared_ptr<Stream> &stream) {
    if (!stream->legacy) return SUCCESS;
    for (auto &other : all_streams()) {
        if (!other->capture || !other->blocking || other->device != stream->device) continue;
        invalidate(*other->capture, "the legacy stream is used, which waits for the stream that is being captured");
        return fail(CAPTURE_IMPLICIT, "the legacy stream is used while a stream is captured that was not made with non_blocking=True");
    }
    return SUCCESS;
}

int capture_work(const std::shared_ptr<Stream> &stream, Work work) {
    Capture &capture = *stream->capture;
    if (!capture.invalid.empty()) return fail(CAPTURE_INVALIDATED, "the capture ended before, with: " + capture.invalid);
    if (work.kernel) count("captured kernel");
    capture.known[stream.get()][stream.get()] = ++capture.counts[stream.get()];
    capture.work->push_back(std::move(work));
    return SUCCESS;
}

int capture_event(const std::shared_ptr<Stream> &stream, Event &event) {
    event.capture = stream->capture, event.stream = nullptr;
    event.known = stream->capture->known[stream.get()];
    return SUCCESS;
}

int capture_wait(const std::shared_ptr<Stream> &stream, Event &event) {
    if (!event.capture) {
        if (!event.stream) return SUCCESS;
        invalidate(*stream->capture, "the stream waits for an event that was recorded before, or elsewhere");
        return fail(CAPTURE_ISOLATION, "a stream that is being captured waits for an event of a stream that is not");
    }
    if (!stream->capture) {
        bool over = event.capture->origin->capture != event.capture;
        if (over || stream->legacy) return fail(CAPTURED_EVENT, "an event that was recorded in a capture is waited for outside of it");
        stream->capture = event.capture;
    }
    if (stream->capture != event.capture) return invalidate(*stream->capture, "the stream waits for an event of another capture");
    for (auto &entry : event.known) {
        uint64_t &known = stream->capture->known[stream.get()][entry.first];
        known = std::max(known, entry.second);
    }
    return SUCCESS;
}

static int end(const std::shared_ptr<Stream> &stream, Graph **graph) {
    auto capture = stream->capture;
    *graph = nullptr;
    if (!capture) return fail(INVALID_VALUE, "cudaStreamEndCapture: the stream is not being captured");
    if (capture->origin != stream.get()) return fail(CAPTURE_UNMATCHED, "the capture was begun on another stream");
    if (capture->mode != RELAXED && capture->thread != std::this_thread::get_id())
        return fail(CAPTURE_WRONG_THREAD, "the capture was begun by another thread");
    for (auto &other : all_streams())
        if (other->capture == capture) other->capture = nullptr;
    if (!capture->invalid.empty()) return fail(CAPTURE_INVALIDATED, "operation failed due to a previous error during capture: " + capture->invalid);
    auto &known = capture->known[stream.get()];
    for (auto &entry : capture->counts)
        if (known[entry.first] < entry.second)
            return fail(CAPTURE_UNJOINED, "a stream took part in the capture, and the first stream did not wait for its last event");
    *graph = new Graph{capture->work};
    return SUCCESS;
}

static int replay(const std::vector<Work> &work) {
    for (auto &each : work)
        if (int failed = each.run()) return failed;
    return SUCCESS;
}

}  // namespace sim

using namespace sim;

RUNTIME(cudaStreamBeginCapture)(void *handle, int mode) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    if (!stream) return fail(INVALID_HANDLE, "cudaStreamBeginCapture: there is no such stream");
    if (stream->legacy) return fail(CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured");
    if (stream->capture) return fail(INVALID_VALUE, "the stream is being captured already");
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream.get(), stream->capture->mode = mode, stream->capture->thread = std::this_thread::get_id();
    return SUCCESS;
}
RUNTIME(cudaStreamEndCapture)(void *handle, Graph **graph) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    return stream ? end(stream, graph) : fail(INVALID_HANDLE, "cudaStreamEndCapture: there is no such stream");
}
RUNTIME(cudaStreamIsCapturing)(void *handle, int *status) {
    Guard guard(lock);
    auto stream = stream_of(handle);
    if (!stream) return fail(INVALID_HANDLE, "cudaStreamIsCapturing: there is no such stream");
    if (stream->legacy) {
        *status = 0;
        return check_legacy(stream);
    }
    *status = !stream->capture ? 0 : stream->capture->invalid.empty() ? 1 : 2;
    return SUCCESS;
}
RUNTIME(cudaThreadExchangeStreamCaptureMode)(int *mode) { return fail(NOT_SUPPORTED, "simcuda has no cudaThreadExchangeStreamCaptureMode"); }
RUNTIME(cudaGraphInstantiate)(Graph **executable, Graph *graph, void *, char *, size_t) {
    *executable = new Graph(*graph);
    return SUCCESS;
}
RUNTIME(cudaGraphInstantiateWithFlags)(Graph **executable, Graph *graph, unsigned long long) {
    *executable = new Graph(*graph);
    return SUCCESS;
}
RUNTIME(cudaGraphDestroy)(Graph *graph) {
    delete graph;
    return SUCCESS;
}
RUNTIME(cudaGraphExecDestroy)(Graph *graph) {
    delete graph;
    return SUCCESS;
}
RUNTIME(cudaGraphUpload)(Graph *, void *) { return SUCCESS; }
RUNTIME(cudaGraphLaunch)(Graph *graph, void *handle) {
    Guard guard(lock);
    auto work = graph->work;
    if (!captured(handle)) count("launch");
    for (auto &each : *work)
        if (each.kernel) count("replayed\x1f" + each.name);
    return submit(handle, {"a graph", [work] { return replay(*work); }});
}
RUNTIME(cudaGraphGetNodes)(Graph *graph, void **, size_t *number) {
    *number = graph->work->size();
    return SUCCESS;
}
