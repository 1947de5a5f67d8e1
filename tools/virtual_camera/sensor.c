/* The sensor: one thread per open device that waits for triggers, exposes, and delivers.
 *
 * It sleeps on the `wake` word of the device's page, so that a trigger wire pulled by another process, a software
 * trigger, a stop and a lost cable all reach it the same way. */
#define _GNU_SOURCE
#include "camera.h"

#define NET_NS 20000000u /* armed for a wire: look this often even if the puller cannot wake us */

static void trigger(struct device *device, uint64_t now);

static uint64_t from_us(double us)
{
    return (uint64_t)(us * 1000.0);
}

/* ------------------------------------------------------------------- commands */

static uint32_t edges_of_source(struct device *device)
{
    const struct settings *settings = &device->page->registers.settings;
    if (settings->trigger_source == TRIGGER_SOFTWARE)
        return 0;
    uint32_t line = settings->trigger_source == TRIGGER_LINE0 ? 0 : 1;
    return settings->trigger_activation == RISING_EDGE ? LOAD(&device->page->rising[line])
                                                       : LOAD(&device->page->falling[line]);
}

void rebase_edges(struct device *device)
{
    device->seen_edges = edges_of_source(device);
}

void start_acquisition(struct device *device)
{
    const struct settings *settings = &device->page->registers.settings;
    device->acquiring = true;
    device->acquisition_epoch++;
    device->state = SENSOR_IDLE;
    device->next_frame_id = 0;
    device->next_free_run_ns = clock_ns();
    device->frames_left = settings->acquisition_mode == ACQUISITION_SINGLE_FRAME  ? 1
                          : settings->acquisition_mode == ACQUISITION_MULTI_FRAME ? settings->acquisition_frame_count
                                                                                  : UINT64_MAX;
    rebase_edges(device);
    wake_sensor(device);
}

/* An exposure under way is given up, its buffer goes back to the input queue. */
void stop_acquisition(struct device *device)
{
    device->acquiring = false;
    device->acquisition_epoch++;
    while (device->rendering)
        pthread_cond_wait(&device->stream.changed, &device->lock);
    if (device->state == SENSOR_EXPOSING && device->frame.buffer != NO_BUFFER)
        stream_give_back(device, device->frame.buffer);
    device->frame.buffer = NO_BUFFER;
    device->state = SENSOR_IDLE;
    wake_sensor(device);
}

void software_trigger(struct device *device)
{
    const struct settings *settings = &device->page->registers.settings;
    if (settings->trigger_mode && settings->trigger_source == TRIGGER_SOFTWARE) {
        trigger(device, clock_ns());
        wake_sensor(device);
    }
}

/* -------------------------------------------------------------------- triggers */

static void trigger(struct device *device, uint64_t now)
{
    const struct settings *settings = &device->page->registers.settings;
    if (fault_fires(device, FAULT_LOSE_TRIGGER, NULL)) {
        count(device, COUNT_LOST, 1);
        return;
    }
    count(device, COUNT_TRIGGERS, 1);
    ADD(&device->page->trigger_counter, 1);
    if (!device->acquiring || device->state != SENSOR_IDLE) {
        count(device, COUNT_MISSED, 1);
        ADD(&device->page->missed_counter, 1);
        return;
    }
    device->state = SENSOR_DELAYED;
    device->start_at_ns = now + from_us(settings->trigger_delay_us);
    device->frame.trigger_counter = (uint32_t)LOAD(&device->page->trigger_counter);
}

static void look_for_triggers(struct device *device, uint64_t now)
{
    const struct settings *settings = &device->page->registers.settings;
    if (!settings->trigger_mode) {
        if (device->acquiring && device->state == SENSOR_IDLE && now >= device->next_free_run_ns) {
            device->state = SENSOR_DELAYED;
            device->start_at_ns = now;
            uint64_t period = (uint64_t)(1e9 / settings->frame_rate_hz);
            device->next_free_run_ns += period;
            if (device->next_free_run_ns < now)
                device->next_free_run_ns = now + period;
        }
        return;
    }
    uint32_t edges = edges_of_source(device);
    while (device->seen_edges != edges && settings->trigger_source != TRIGGER_SOFTWARE) {
        device->seen_edges++;
        trigger(device, now);
    }
}

/* -------------------------------------------------------------------- exposure */

static void begin_exposure(struct device *device, uint64_t now)
{
    struct fault_record fault;
    if (fault_fires(device, FAULT_DISCONNECT, &fault)) {
        lose_device(device, &fault);
        return;
    }
    struct frame *frame = &device->frame;
    frame->settings = device->page->registers.settings;
    frame->id = device->next_frame_id++;
    frame->timestamp_ns = now;
    frame->line_status = LOAD(&device->page->line_status);
    frame->filled_percent = 100;
    frame->delay_ns = 0;
    frame->buffer = NO_BUFFER;
    device->state = SENSOR_EXPOSING;
    device->exposure_end_ns = now + from_us(frame->settings.exposure_us);
    count(device, COUNT_EXPOSED, 1);

    if (fault_fires(device, FAULT_INCOMPLETE, &fault)) {
        frame->filled_percent = fault.parameter > 99 ? 99 : fault.parameter;
        count(device, COUNT_INCOMPLETE, 1);
    }
    if (fault_fires(device, FAULT_DELAY, &fault)) {
        frame->delay_ns = fault.parameter * 1000000ull;
        count(device, COUNT_DELAYED, 1);
    }
    if (fault_fires(device, FAULT_DROP_FRAME, NULL)) {
        count(device, COUNT_DROPPED, 1);
        return;
    }
    uint32_t slot = stream_take_input(device);
    if (slot == NO_BUFFER) {
        device->stream.underruns++;
        count(device, COUNT_UNDERRUNS, 1);
        return;
    }

    struct buffer *buffer = &device->stream.buffers[slot];
    frame->buffer = slot;
    buffer->frame = *frame;
    buffer->image_bytes = image_bytes(&frame->settings);
    buffer->chunk_mask = chunk_mask(&frame->settings);
    size_t payload = payload_bytes(&frame->settings);
    uint32_t rows = (uint32_t)((uint64_t)frame->settings.height * frame->filled_percent / 100);
    buffer->too_large = payload > buffer->size;
    buffer->incomplete = buffer->too_large || frame->filled_percent < 100;
    if (buffer->too_large)
        rows = 0;
    buffer->filled_bytes = buffer->incomplete ? buffer->image_bytes / frame->settings.height * rows : payload;

    /* The picture showing now is taken; drawing it may last longer than the exposure, never shorter. */
    uint32_t epoch = device->acquisition_epoch;
    struct frame copy = *frame;
    device->rendering = true;
    pthread_mutex_unlock(&device->lock);
    render(device, &copy, buffer->memory, rows);
    if (!buffer->incomplete)
        write_chunks(buffer);
    pthread_mutex_lock(&device->lock);
    device->rendering = false;
    if (epoch != device->acquisition_epoch) {
        stream_give_back(device, slot);
        device->frame.buffer = NO_BUFFER;
    }
    pthread_cond_broadcast(&device->stream.changed);
}

static void end_exposure(struct device *device)
{
    uint32_t slot = device->frame.buffer;
    device->state = SENSOR_IDLE; /* before the delivery: who gets the frame may trigger the next one */
    device->frame.buffer = NO_BUFFER;
    if (device->frames_left != UINT64_MAX && --device->frames_left == 0)
        device->acquiring = false;
    if (slot == NO_BUFFER)
        return;
    struct buffer *buffer = &device->stream.buffers[slot];
    if (buffer->state == BUFFER_FILLING && (device->frame.delay_ns || device->stream.late.count)) {
        buffer->state = BUFFER_LATE;
        buffer->due_ns = device->exposure_end_ns + device->frame.delay_ns;
        ring_push(&device->stream.late, slot);
        return;
    }
    stream_deliver(device, slot);
}

/* ------------------------------------------------------------------------ loop */

/* Does what is due and returns when to look again. */
static uint64_t step(struct device *device)
{
    uint64_t now = clock_ns(), next = UINT64_MAX;
    if (device_lost(device)) {
        if (device->acquiring) {
            stop_acquisition(device);
            pthread_cond_broadcast(&device->stream.changed);
        }
        return UINT64_MAX;
    }
    stream_deliver_late(device, now, &next);
    look_for_triggers(device, now);
    if (device->state == SENSOR_DELAYED && now >= device->start_at_ns) {
        begin_exposure(device, now);
        now = clock_ns();
    }
    if (device->state == SENSOR_EXPOSING && now >= device->exposure_end_ns) {
        look_for_triggers(device, now);
        end_exposure(device);
    }

    const struct settings *settings = &device->page->registers.settings;
    uint64_t own = UINT64_MAX;
    if (device->state == SENSOR_DELAYED)
        own = device->start_at_ns;
    else if (device->state == SENSOR_EXPOSING)
        own = device->exposure_end_ns;
    else if (device->acquiring && !settings->trigger_mode)
        own = device->next_free_run_ns;
    else if (device->acquiring && settings->trigger_source != TRIGGER_SOFTWARE)
        own = now + NET_NS;
    return own < next ? own : next;
}

void *sensor_main(void *argument)
{
    struct device *device = argument;
    pthread_mutex_lock(&device->lock);
    while (!device->quit) {
        uint32_t seen = LOAD(&device->page->wake);
        uint64_t until = step(device);
        pthread_mutex_unlock(&device->lock);
        wait_for_wake(device, seen, until);
        pthread_mutex_lock(&device->lock);
    }
    pthread_mutex_unlock(&device->lock);
    return NULL;
}
