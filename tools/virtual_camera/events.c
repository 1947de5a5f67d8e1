/* Events: one kind, "new buffer" of the stream. Others are refused, which consumers accept. */
#define _GNU_SOURCE
#include "camera.h"

#include <string.h>
#include <time.h>

GC_API GCRegisterEvent(EVENTSRC_HANDLE source, int32_t event_id, EVENT_HANDLE *event)
{
    struct handle handle;
    if (!event)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    if (!read_handle(source, &handle))
        return fail(GC_ERR_INVALID_HANDLE, "not a handle of this producer");
    if (handle.kind != KIND_STREAM || event_id != EVENT_NEW_BUFFER)
        return fail(GC_ERR_NOT_IMPLEMENTED, "this module has no event %d", event_id);
    struct device *device = lock_module(source, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = GC_ERR_SUCCESS;
    struct stream *stream = &device->stream;
    if (stream->event_registered) {
        result = fail(GC_ERR_RESOURCE_IN_USE, "the event is registered");
    } else {
        stream->event_registered = true;
        stream->event_killed = false;
        stream->events_fired = 0;
        *event = make_handle(KIND_EVENT, device->index, device->generation, ++stream->event_generation);
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API GCUnregisterEvent(EVENTSRC_HANDLE source, int32_t event_id)
{
    struct device *device = lock_module(source, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = GC_ERR_SUCCESS;
    if (event_id != EVENT_NEW_BUFFER || !device->stream.event_registered) {
        result = fail(GC_ERR_INVALID_PARAMETER, "event %d is not registered", event_id);
    } else {
        device->stream.event_registered = false;
        pthread_cond_broadcast(&device->stream.changed);
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

static struct timespec deadline(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    return time;
}

GC_API EventGetData(EVENT_HANDLE event, void *out, size_t *size, uint64_t timeout_ms)
{
    if (!size || (out && *size < sizeof(EVENT_NEW_BUFFER_DATA)))
        return fail(size ? GC_ERR_BUFFER_TOO_SMALL : GC_ERR_INVALID_PARAMETER, "the event needs %zu bytes",
                    sizeof(EVENT_NEW_BUFFER_DATA));
    struct device *device = lock_module(event, KIND_EVENT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    struct stream *stream = &device->stream;
    uint32_t generation = device->generation, registration = stream->event_generation;
    uint64_t start = clock_ns();
    uint64_t end = timeout_ms > (UINT64_MAX - start) / 1000000u ? UINT64_MAX : start + timeout_ms * 1000000u;
    GC_ERROR result = loss_answer(device, CALL_EVENT);
    while (!result) {
        if (!device->open || device->generation != generation || !stream->event_registered ||
            stream->event_generation != registration) {
            result = fail(GC_ERR_INVALID_HANDLE, "the event was closed while it was waited for");
        } else if (stream->event_killed) {
            stream->event_killed = false;
            result = fail(GC_ERR_ABORT, "EventKill");
        } else if (stream->output.count > 0 && fault_fires(device, FAULT_STREAM_ERROR, NULL)) {
            count(device, COUNT_STREAM_ERRORS, 1); /* the frame stays in the queue */
            result = fail(GC_ERR_IO, "%s: the stream could not be read", device->serial);
        } else if (stream->output.count > 0) {
            uint32_t slot = ring_pop(&stream->output);
            struct buffer *buffer = &stream->buffers[slot];
            buffer->state = BUFFER_DELIVERED;
            EVENT_NEW_BUFFER_DATA data = {make_handle(KIND_BUFFER, device->index, buffer->generation, slot),
                                          buffer->user};
            if (out)
                memcpy(out, &data, sizeof data);
            *size = sizeof data;
            break;
        } else if (clock_ns() >= end) {
            result = fail(GC_ERR_TIMEOUT, "no frame within %llu ms", (unsigned long long)timeout_ms);
        } else {
            /* The loss of the device wakes us; the slice is the net below. */
            uint64_t slice = clock_ns() + 100000000u;
            struct timespec until = deadline(end < slice ? end : slice);
            pthread_cond_timedwait(&stream->changed, &device->lock, &until);
            if (device->open && device->generation == generation)
                result = loss_answer(device, CALL_EVENT);
        }
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API EventGetDataInfo(EVENT_HANDLE event, const void *in, size_t in_size, int32_t command, INFO_DATATYPE *type,
                        void *out, size_t *size)
{
    struct handle handle;
    if (!read_handle(event, &handle) || handle.kind != KIND_EVENT)
        return fail(GC_ERR_INVALID_HANDLE, "not an event handle");
    if (!in || in_size < sizeof(EVENT_NEW_BUFFER_DATA))
        return fail(GC_ERR_INVALID_PARAMETER, "not the data of a new-buffer event");
    EVENT_NEW_BUFFER_DATA data;
    memcpy(&data, in, sizeof data);
    if (command == EVENT_DATA_ID)
        return put_pointer(data.BufferHandle, type, out, size);
    if (command == EVENT_DATA_VALUE)
        return put_pointer(data.pUserPointer, type, out, size);
    return fail(GC_ERR_NOT_IMPLEMENTED, "no event data info %d", command);
}

GC_API EventGetInfo(EVENT_HANDLE event, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    struct device *device = lock_module(event, KIND_EVENT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result;
    switch (command) {
    case EVENT_EVENT_TYPE: result = put_i32(EVENT_NEW_BUFFER, type, out, size); break;
    case EVENT_NUM_IN_QUEUE: result = put_size(device->stream.output.count, type, out, size); break;
    case EVENT_NUM_FIRED: result = put_u64(device->stream.events_fired, type, out, size); break;
    case EVENT_SIZE_MAX:
    case EVENT_INFO_DATA_SIZE_MAX: result = put_size(sizeof(EVENT_NEW_BUFFER_DATA), type, out, size); break;
    default: result = fail(GC_ERR_NOT_IMPLEMENTED, "no event info %d", command);
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API EventFlush(EVENT_HANDLE event)
{
    struct device *device = lock_module(event, KIND_EVENT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    uint32_t slot;
    while ((slot = ring_pop(&device->stream.output)) != NO_BUFFER)
        device->stream.buffers[slot].state = BUFFER_ANNOUNCED;
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}

GC_API EventKill(EVENT_HANDLE event)
{
    struct device *device = lock_module(event, KIND_EVENT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    device->stream.event_killed = true;
    pthread_cond_broadcast(&device->stream.changed);
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}
