/* The data stream: buffers announced by the consumer, an input and an output queue, chunks behind the image. */
#define _GNU_SOURCE
#include "camera.h"

#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------- rings */

void ring_push(struct ring *ring, uint32_t slot)
{
    ring->slots[(ring->head + ring->count++) % MAX_BUFFERS] = slot;
}

uint32_t ring_pop(struct ring *ring)
{
    if (ring->count == 0)
        return NO_BUFFER;
    uint32_t slot = ring->slots[ring->head];
    ring->head = (ring->head + 1) % MAX_BUFFERS;
    ring->count--;
    return slot;
}

static void ring_remove(struct ring *ring, uint32_t slot)
{
    for (uint32_t left = ring->count; left > 0; left--) {
        uint32_t other = ring_pop(ring);
        if (other != slot)
            ring_push(ring, other);
    }
}

/* -------------------------------------------------------------------- layout */

uint32_t chunk_mask(const struct settings *settings)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; settings->chunk_mode_active && i < CHUNKS; i++)
        mask |= settings->chunk_enable[i] ? 1u << i : 0;
    return mask;
}

/* Every chunk is eight bytes. Custom: they follow the image, aligned, and the producer lists them. GEV: the image is
 * the first chunk, and each chunk is followed by its id and its length, four bytes each, big endian. */
static size_t first_chunk(const struct layout *layout)
{
    return (layout->image_end + 7) / 8 * 8 + (gev ? 8 : 0);
}

static size_t chunk_stride(void)
{
    return gev ? 16 : 8;
}

static size_t chunk_bytes(uint32_t mask)
{
    return chunk_stride() * (size_t)__builtin_popcount(mask);
}

struct layout layout_of(const struct device *device, const struct settings *settings)
{
    const struct simulation *simulation = &device->page->registers.simulation;
    struct layout layout = {.line_bytes = (size_t)settings->width * PFNC_BITS(settings->pixel_format) / 8,
                            .padding = simulation->line_padding_bytes,
                            .offset = simulation->image_offset_bytes};
    layout.image_end = layout.offset + (layout.line_bytes + layout.padding) * settings->height;
    uint32_t mask = chunk_mask(settings);
    layout.payload = mask ? first_chunk(&layout) + chunk_bytes(mask) : layout.image_end;
    return layout;
}

static void big_endian(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_trailer(uint8_t *out, uint32_t id, size_t length)
{
    big_endian(out, id);
    big_endian(out + 4, (uint32_t)length);
}

static uint32_t chunk_id(const struct frame *frame, uint32_t chunk)
{
    bool wrong = frame->bad_chunk && frame->chunk_fault.choice == CHUNK_WRONG_ID;
    return (CHUNK_ID_BASE + chunk + 1) ^ (wrong ? 0xFF00u : 0);
}

static size_t chunk_length(const struct frame *frame)
{
    return frame->bad_chunk && frame->chunk_fault.choice == CHUNK_WRONG_LENGTH ? 4 : 8;
}

void write_chunks(struct buffer *buffer)
{
    const struct frame *frame = &buffer->frame;
    uint64_t line = frame->line_status, counter = frame->trigger_counter, set = frame->sequencer_set;
    const void *values[CHUNKS] = {&frame->id, &frame->timestamp_ns, &frame->settings.exposure_us,
                                  &frame->settings.gain_db, &line, &counter, &set};
    uint8_t *place = buffer->memory + first_chunk(&frame->layout);
    if (gev && buffer->chunk_mask)
        write_trailer(place - 8, CHUNK_ID_BASE, first_chunk(&frame->layout) - 8);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        if (buffer->chunk_mask & 1u << i) {
            memcpy(place, values[i], 8);
            if (gev)
                write_trailer(place + 8, chunk_id(frame, i), chunk_length(frame));
            place += chunk_stride();
        }
    }
}

size_t list_chunks(const struct buffer *buffer, SINGLE_CHUNK_DATA out[CHUNKS])
{
    size_t n = 0, place = first_chunk(&buffer->frame.layout);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        if (buffer->chunk_mask & 1u << i) {
            out[n].ChunkID = chunk_id(&buffer->frame, i);
            out[n].ChunkOffset = (ptrdiff_t)place;
            out[n].ChunkLength = chunk_length(&buffer->frame);
            place += chunk_stride();
            n++;
        }
    }
    return n;
}

/* ---------------------------------------------------- the sensor's side, locked */

uint32_t stream_take_input(struct device *device)
{
    struct stream *stream = &device->stream;
    uint32_t slot = stream->started ? ring_pop(&stream->input) : NO_BUFFER;
    if (slot != NO_BUFFER) {
        stream->buffers[slot].state = BUFFER_FILLING;
        stream->started_frames++;
    }
    return slot;
}

void stream_give_back(struct device *device, uint32_t slot)
{
    struct buffer *buffer = &device->stream.buffers[slot];
    if (buffer->state == BUFFER_FILLING) {
        buffer->state = BUFFER_QUEUED;
        ring_push(&device->stream.input, slot);
    }
    pthread_cond_broadcast(&device->stream.changed);
}

static void hand_over(struct device *device, uint32_t slot)
{
    struct stream *stream = &device->stream;
    struct buffer *buffer = &stream->buffers[slot];
    buffer->state = BUFFER_OUTPUT;
    buffer->new_data = true;
    ring_push(&stream->output, slot);
    stream->delivered++;
    stream->events_fired++;
    count(device, COUNT_DELIVERED, 1);
    pthread_cond_broadcast(&stream->changed);
}

/* The same frame in another buffer. Without one in the input queue there is no second delivery. */
static void deliver_again(struct device *device, const struct buffer *first)
{
    uint32_t slot = stream_take_input(device);
    if (slot == NO_BUFFER)
        return;
    struct buffer *second = &device->stream.buffers[slot];
    if (second->size < first->filled_bytes) {
        stream_give_back(device, slot);
        return;
    }
    memcpy(second->memory, first->memory, first->filled_bytes);
    second->frame = first->frame;
    second->chunk_mask = first->chunk_mask;
    second->filled_bytes = first->filled_bytes;
    second->filled_rows = first->filled_rows;
    second->incomplete = first->incomplete;
    second->too_large = first->too_large;
    hand_over(device, slot);
    count(device, COUNT_DUPLICATED, 1);
}

void stream_deliver(struct device *device, uint32_t slot)
{
    struct stream *stream = &device->stream;
    struct buffer *buffer = &stream->buffers[slot];
    if (buffer->state != BUFFER_FILLING && buffer->state != BUFFER_LATE)
        return; /* discarded meanwhile */
    if (buffer->frame.out_of_order) {
        buffer->state = BUFFER_HELD;
        ring_push(&stream->held, slot);
        count(device, COUNT_REORDERED, 1);
        return;
    }
    hand_over(device, slot);
    if (buffer->frame.duplicate)
        deliver_again(device, buffer);
    for (uint32_t held; (held = ring_pop(&stream->held)) != NO_BUFFER;)
        hand_over(device, held);
}

/* In the order of their exposure: frames behind a delayed one wait for it, as on a real link. */
void stream_deliver_late(struct device *device, uint64_t now_ns, uint64_t *next_ns)
{
    struct stream *stream = &device->stream;
    while (stream->late.count > 0) {
        uint32_t slot = stream->late.slots[stream->late.head];
        if (stream->buffers[slot].due_ns > now_ns) {
            *next_ns = stream->buffers[slot].due_ns;
            return;
        }
        stream_deliver(device, ring_pop(&stream->late));
    }
}

/* The memory of a buffer belongs to the consumer: it may go only when nobody writes into it. */
static void wait_while_rendering(struct device *device)
{
    while (device->rendering)
        pthread_cond_wait(&device->stream.changed, &device->lock); /* bounded by one render */
}

static void take_out(struct device *device, uint32_t slot)
{
    struct stream *stream = &device->stream;
    struct buffer *buffer = &stream->buffers[slot];
    if (buffer->state == BUFFER_QUEUED)
        ring_remove(&stream->input, slot);
    else if (buffer->state == BUFFER_OUTPUT)
        ring_remove(&stream->output, slot);
    else if (buffer->state == BUFFER_LATE)
        ring_remove(&stream->late, slot);
    else if (buffer->state == BUFFER_HELD)
        ring_remove(&stream->held, slot);
    else if (buffer->state == BUFFER_FILLING && device->frame.buffer == slot)
        device->frame.buffer = NO_BUFFER;
    buffer->state = BUFFER_ANNOUNCED;
}

void stream_close(struct device *device)
{
    struct stream *stream = &device->stream;
    if (!stream->open)
        return;
    wait_while_rendering(device);
    for (uint32_t i = 0; i < MAX_BUFFERS; i++) {
        struct buffer *buffer = &stream->buffers[i];
        if (buffer->state == BUFFER_UNUSED)
            continue;
        if (buffer->state == BUFFER_FILLING)
            device->frame.buffer = NO_BUFFER;
        if (buffer->own_memory)
            free(buffer->memory);
        buffer->state = BUFFER_UNUSED;
        buffer->memory = NULL;
        buffer->generation++;
    }
    stream->input.count = stream->late.count = stream->held.count = stream->output.count = stream->announced = 0;
    stream->open = stream->started = false;
    stream->event_registered = stream->event_killed = false;
    pthread_cond_broadcast(&stream->changed);
}

/* ------------------------------------------------------------------ GenTL API */

static struct buffer *find_buffer(struct device *device, BUFFER_HANDLE value, uint32_t *slot)
{
    struct handle handle;
    if (read_handle(value, &handle) && handle.kind == KIND_BUFFER && handle.device == device->index &&
        handle.slot < MAX_BUFFERS) {
        struct buffer *buffer = &device->stream.buffers[handle.slot];
        if (buffer->state != BUFFER_UNUSED && (buffer->generation & 0xFFFF) == handle.generation) {
            if (slot)
                *slot = handle.slot;
            return buffer;
        }
    }
    fail(GC_ERR_INVALID_BUFFER, "not a handle of an announced buffer");
    return NULL;
}

static BUFFER_HANDLE buffer_handle(struct device *device, uint32_t slot)
{
    return make_handle(KIND_BUFFER, device->index, device->stream.buffers[slot].generation, slot);
}

GC_API DSClose(DS_HANDLE value)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    stream_close(device);
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}

GC_API DSGetParentDev(DS_HANDLE value, DEV_HANDLE *parent)
{
    if (!parent)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    *parent = make_handle(KIND_DEVICE, device->index, device->generation, 0);
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}

static GC_ERROR announce(DS_HANDLE value, void *memory, bool own, size_t size, void *user, BUFFER_HANDLE *out)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = fail(GC_ERR_RESOURCE_EXHAUSTED, "at most %u buffers", MAX_BUFFERS);
    for (uint32_t slot = 0; slot < MAX_BUFFERS; slot++) {
        struct buffer *buffer = &device->stream.buffers[slot];
        if (buffer->state != BUFFER_UNUSED)
            continue;
        uint32_t generation = buffer->generation;
        memset(buffer, 0, sizeof *buffer);
        buffer->generation = generation;
        buffer->state = BUFFER_ANNOUNCED;
        buffer->memory = memory;
        buffer->size = size;
        buffer->user = user;
        buffer->own_memory = own;
        device->stream.announced++;
        *out = buffer_handle(device, slot);
        result = GC_ERR_SUCCESS;
        break;
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSAnnounceBuffer(DS_HANDLE value, void *memory, size_t size, void *user, BUFFER_HANDLE *out)
{
    if (!memory || !size || !out)
        return fail(GC_ERR_INVALID_PARAMETER, "a buffer needs memory, a size and a place for its handle");
    return announce(value, memory, false, size, user, out);
}

GC_API DSAllocAndAnnounceBuffer(DS_HANDLE value, size_t size, void *user, BUFFER_HANDLE *out)
{
    if (!size || !out)
        return fail(GC_ERR_INVALID_PARAMETER, "a buffer needs a size and a place for its handle");
    void *memory = calloc(1, size);
    if (!memory)
        return fail(GC_ERR_RESOURCE_EXHAUSTED, "no memory for a buffer of %zu bytes", size);
    GC_ERROR result = announce(value, memory, true, size, user, out);
    if (result)
        free(memory);
    return result;
}

GC_API DSRevokeBuffer(DS_HANDLE value, BUFFER_HANDLE handle, void **memory, void **user)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = loss_answer(device, CALL_STREAM);
    uint32_t slot = 0;
    wait_while_rendering(device);
    struct buffer *buffer = result ? NULL : find_buffer(device, handle, &slot);
    if (!result && !buffer)
        result = GC_ERR_INVALID_BUFFER;
    if (!result) {
        take_out(device, slot);
        if (memory)
            *memory = buffer->own_memory ? NULL : buffer->memory;
        if (user)
            *user = buffer->user;
        if (buffer->own_memory)
            free(buffer->memory);
        buffer->state = BUFFER_UNUSED;
        buffer->memory = NULL;
        buffer->generation++;
        device->stream.announced--;
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSQueueBuffer(DS_HANDLE value, BUFFER_HANDLE handle)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    uint32_t slot;
    struct buffer *buffer = find_buffer(device, handle, &slot);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (!buffer) {
        result = GC_ERR_INVALID_BUFFER;
    } else if (buffer->state == BUFFER_QUEUED || buffer->state == BUFFER_FILLING || buffer->state == BUFFER_LATE ||
               buffer->state == BUFFER_HELD || buffer->state == BUFFER_OUTPUT) {
        result = fail(GC_ERR_RESOURCE_IN_USE, "the buffer is in a queue");
    } else {
        buffer->state = BUFFER_QUEUED;
        buffer->new_data = false;
        ring_push(&device->stream.input, slot);
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSFlushQueue(DS_HANDLE value, int32_t operation)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    struct stream *stream = &device->stream;
    GC_ERROR result = loss_answer(device, CALL_STREAM);
    if (!result && (operation < ACQ_QUEUE_INPUT_TO_OUTPUT || operation > ACQ_QUEUE_ALL_DISCARD))
        result = fail(GC_ERR_INVALID_PARAMETER, "no flush operation %d", operation);
    if (!result)
        wait_while_rendering(device);
    for (uint32_t slot = 0; !result && slot < MAX_BUFFERS; slot++) {
        enum buffer_state state = stream->buffers[slot].state;
        if (state == BUFFER_UNUSED)
            continue;
        bool out = state == BUFFER_OUTPUT, idle = state == BUFFER_ANNOUNCED || state == BUFFER_DELIVERED;
        if (operation == ACQ_QUEUE_ALL_DISCARD || (operation == ACQ_QUEUE_OUTPUT_DISCARD && out)) {
            take_out(device, slot);
        } else if (operation == ACQ_QUEUE_INPUT_TO_OUTPUT && state == BUFFER_QUEUED) {
            take_out(device, slot);
            stream->buffers[slot].state = BUFFER_OUTPUT;
            stream->buffers[slot].new_data = false;
            ring_push(&stream->output, slot);
        } else if ((operation == ACQ_QUEUE_ALL_TO_INPUT && (out || idle)) ||
                   (operation == ACQ_QUEUE_UNQUEUED_TO_INPUT && idle)) {
            take_out(device, slot);
            stream->buffers[slot].state = BUFFER_QUEUED;
            ring_push(&stream->input, slot);
        }
    }
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSStartAcquisition(DS_HANDLE value, int32_t flags, uint64_t number)
{
    (void)flags;
    (void)number; /* the camera counts by AcquisitionMode */
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = loss_answer(device, CALL_STREAM);
    if (!result && device->stream.started)
        result = fail(GC_ERR_RESOURCE_IN_USE, "the acquisition runs");
    if (!result) {
        device->stream.started = true;
        device->stream.delivered = device->stream.underruns = device->stream.started_frames = 0;
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSStopAcquisition(DS_HANDLE value, int32_t flags)
{
    (void)flags;
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = loss_answer(device, CALL_STREAM);
    if (!result && !device->stream.started)
        result = fail(GC_ERR_RESOURCE_IN_USE, "the acquisition does not run");
    if (!result) {
        wait_while_rendering(device);
        device->stream.started = false;
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSGetInfo(DS_HANDLE value, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    const struct stream *stream = &device->stream;
    GC_ERROR result;
    switch (command) {
    case STREAM_INFO_ID: result = put_string("Stream0", type, out, size); break;
    case STREAM_INFO_NUM_DELIVERED: result = put_u64(stream->delivered, type, out, size); break;
    case STREAM_INFO_NUM_UNDERRUN: result = put_u64(stream->underruns, type, out, size); break;
    case STREAM_INFO_NUM_ANNOUNCED: result = put_size(stream->announced, type, out, size); break;
    case STREAM_INFO_NUM_QUEUED: result = put_size(stream->input.count, type, out, size); break;
    case STREAM_INFO_NUM_AWAIT_DELIVERY: result = put_size(stream->output.count, type, out, size); break;
    case STREAM_INFO_NUM_STARTED: result = put_u64(stream->started_frames, type, out, size); break;
    case STREAM_INFO_PAYLOAD_SIZE:
        result = put_size(layout_of(device, &device->page->registers.settings).payload, type, out, size);
        break;
    case STREAM_INFO_IS_GRABBING: result = put_bool(stream->started, type, out, size); break;
    case STREAM_INFO_DEFINES_PAYLOADSIZE: result = put_bool(false, type, out, size); break;
    case STREAM_INFO_TLTYPE: result = put_string(tl_type(), type, out, size); break;
    case STREAM_INFO_NUM_CHUNKS_MAX: result = put_size(CHUNKS, type, out, size); break;
    case STREAM_INFO_BUF_ANNOUNCE_MIN: result = put_size(1, type, out, size); break;
    case STREAM_INFO_BUF_ALIGNMENT: result = put_size(1, type, out, size); break;
    default: result = fail(GC_ERR_NOT_IMPLEMENTED, "no stream info %d", command);
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSGetBufferID(DS_HANDLE value, uint32_t index, BUFFER_HANDLE *out)
{
    if (!out)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = GC_ERR_INVALID_INDEX;
    uint32_t seen = 0;
    for (uint32_t slot = 0; slot < MAX_BUFFERS; slot++) {
        if (device->stream.buffers[slot].state != BUFFER_UNUSED && seen++ == index) {
            *out = buffer_handle(device, slot);
            result = GC_ERR_SUCCESS;
            break;
        }
    }
    if (result)
        fail(result, "there are %u buffers, index %u was asked for", seen, index);
    pthread_mutex_unlock(&device->lock);
    return result;
}

static GC_ERROR buffer_info(const struct buffer *buffer, int32_t command, INFO_DATATYPE *type, void *out,
                            size_t *size)
{
    const struct frame *frame = &buffer->frame;
    const struct settings *settings = &frame->settings;
    switch (command) {
    case BUFFER_INFO_BASE: return put_pointer(buffer->memory, type, out, size);
    case BUFFER_INFO_SIZE: return put_size(buffer->size, type, out, size);
    case BUFFER_INFO_USER_PTR: return put_pointer(buffer->user, type, out, size);
    case BUFFER_INFO_TIMESTAMP: return put_u64(frame->timestamp_ns / (gev ? GEV_TICK_NS : 1), type, out, size);
    case BUFFER_INFO_TIMESTAMP_NS: return put_u64(frame->timestamp_ns, type, out, size);
    case BUFFER_INFO_NEW_DATA: return put_bool(buffer->new_data, type, out, size);
    case BUFFER_INFO_IS_QUEUED: return put_bool(buffer->state == BUFFER_QUEUED, type, out, size);
    case BUFFER_INFO_IS_ACQUIRING: return put_bool(buffer->state == BUFFER_FILLING, type, out, size);
    case BUFFER_INFO_IS_INCOMPLETE: return put_bool(buffer->incomplete, type, out, size);
    case BUFFER_INFO_TLTYPE: return put_string(tl_type(), type, out, size);
    case BUFFER_INFO_SIZE_FILLED: return put_size(buffer->filled_bytes, type, out, size);
    case BUFFER_INFO_WIDTH: return put_size(settings->width, type, out, size);
    case BUFFER_INFO_HEIGHT: return put_size(settings->height, type, out, size);
    case BUFFER_INFO_XOFFSET: return put_size(settings->offset_x, type, out, size);
    case BUFFER_INFO_YOFFSET: return put_size(settings->offset_y, type, out, size);
    case BUFFER_INFO_XPADDING: return put_size(frame->layout.padding, type, out, size);
    case BUFFER_INFO_YPADDING: return put_size(0, type, out, size);
    case BUFFER_INFO_FRAMEID: return put_u64(frame->id, type, out, size);
    case BUFFER_INFO_IMAGEPRESENT: return put_bool(true, type, out, size);
    case BUFFER_INFO_IMAGEOFFSET: return put_size(frame->layout.offset, type, out, size);
    case BUFFER_INFO_PAYLOADTYPE: return put_size(PAYLOAD_TYPE_IMAGE, type, out, size);
    case BUFFER_INFO_PIXELFORMAT: return put_u64(settings->pixel_format, type, out, size);
    case BUFFER_INFO_PIXELFORMAT_NAMESPACE: return put_u64(PIXELFORMAT_NAMESPACE_PFNC_32BIT, type, out, size);
    case BUFFER_INFO_DELIVERED_IMAGEHEIGHT: return put_size(buffer->filled_rows, type, out, size);
    case BUFFER_INFO_DELIVERED_CHUNKPAYLOADSIZE: /* under GEV the image is a chunk as well */
        return put_size(gev && buffer->chunk_mask ? buffer->filled_bytes : chunk_bytes(buffer->chunk_mask), type, out,
                        size);
    case BUFFER_INFO_PIXEL_ENDIANNESS: return put_i32(PIXELENDIANNESS_LITTLE, type, out, size);
    case BUFFER_INFO_DATA_SIZE: return put_size(buffer->filled_bytes, type, out, size);
    case BUFFER_INFO_DATA_LARGER_THAN_BUFFER: return put_bool(buffer->too_large, type, out, size);
    case BUFFER_INFO_CONTAINS_CHUNKDATA: return put_bool(buffer->chunk_mask != 0, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "no buffer info %d", command);
    }
}

GC_API DSGetBufferInfo(DS_HANDLE value, BUFFER_HANDLE handle, int32_t command, INFO_DATATYPE *type, void *out,
                       size_t *size)
{
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    const struct buffer *buffer = find_buffer(device, handle, NULL);
    GC_ERROR result = buffer ? buffer_info(buffer, command, type, out, size) : GC_ERR_INVALID_BUFFER;
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DSGetBufferChunkData(DS_HANDLE value, BUFFER_HANDLE handle, SINGLE_CHUNK_DATA *chunks, size_t *number)
{
    if (!number)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    struct device *device = lock_module(value, KIND_STREAM);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    const struct buffer *buffer = find_buffer(device, handle, NULL);
    GC_ERROR result = buffer ? GC_ERR_SUCCESS : GC_ERR_INVALID_BUFFER;
    if (!result) {
        SINGLE_CHUNK_DATA all[CHUNKS];
        size_t n = buffer->incomplete ? 0 : list_chunks(buffer, all);
        if (chunks && *number < n)
            result = fail(GC_ERR_BUFFER_TOO_SMALL, "room for %zu chunks given, %zu needed", *number, n);
        else if (chunks)
            memcpy(chunks, all, n * sizeof all[0]);
        *number = n;
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}
