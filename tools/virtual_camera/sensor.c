/* The sensor: one thread per open device that waits for triggers, exposes, and delivers.
 *
 * It sleeps on the `wake` word of the device's page, so that a trigger wire pulled by another process, a software
 * trigger, a stop and a lost cable all reach it the same way. */
#define _GNU_SOURCE
#include "camera.h"

#define NET_NS 20000000u /* armed for a wire: look this often even if the puller cannot wake us */
#define AT_ONCE_NS 100000u /* picture and timestamp are taken within so much of each other */

enum origin { ORIGIN_INPUT, ORIGIN_FAULT };
static void trigger(struct device *device, uint64_t now, enum origin origin);

static uint64_t from_us(double us)
{
    return (uint64_t)(us * 1000.0);
}

/* ------------------------------------------------------------------- commands */

static uint32_t edges_of_source(struct device *device)
{
    const struct settings *settings = &device->page->registers.settings;
    uint32_t line = settings->trigger_source == TRIGGER_LINE0 ? 0 : 1;
    return settings->trigger_activation == RISING_EDGE ? LOAD(&device->page->rising[line])
                                                       : LOAD(&device->page->falling[line]);
}

static uint32_t input_of(const struct settings *settings)
{
    return settings->trigger_source << 1 | settings->trigger_activation;
}

void rebase_edges(struct device *device)
{
    device->seen_input = input_of(&device->page->registers.settings);
    device->seen_edges = edges_of_source(device);
}

void start_acquisition(struct device *device)
{
    const struct settings *settings = &device->page->registers.settings;
    device->acquiring = true;
    device->acquisition_epoch++;
    device->state = SENSOR_IDLE;
    device->next_frame_id = gev ? 1 : 0; /* GigE Vision keeps block id 0 for itself */
    device->sequencer_active = device->page->registers.sequencer_start;
    device->extra_waiting = device->extra_due = 0;
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
    device->extra_waiting = device->extra_due = 0;
    STORE(&device->page->output_status, 0);
    wake_sensor(device);
}

void software_trigger(struct device *device)
{
    const struct settings *settings = &device->page->registers.settings;
    if (settings->trigger_mode && settings->trigger_source == TRIGGER_SOFTWARE) {
        trigger(device, clock_ns(), ORIGIN_INPUT);
        wake_sensor(device);
    }
}

/* -------------------------------------------------------------------- triggers */

static void trigger(struct device *device, uint64_t now, enum origin origin)
{
    const struct settings *settings = &device->page->registers.settings;
    if (origin == ORIGIN_FAULT) {
        count(device, COUNT_EXTRA, 1);
    } else if (fault_fires(device, FAULT_LOSE_TRIGGER, NULL)) {
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
    struct fault_record fault;
    if (origin == ORIGIN_INPUT && device->extra_waiting + device->extra_due < MAX_EXTRA &&
        fault_fires(device, FAULT_EXTRA_TRIGGER, &fault))
        device->extra_after_ns[device->extra_waiting++] = fault.parameter * 1000000ull;
}

/* Makes the extra triggers whose time has come; returns when the next one is due. */
static uint64_t extra_triggers(struct device *device, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < device->extra_due;) {
        if (device->extra_at_ns[i] <= now) {
            device->extra_at_ns[i] = device->extra_at_ns[--device->extra_due];
            trigger(device, now, ORIGIN_FAULT);
        } else {
            next = device->extra_at_ns[i] < next ? device->extra_at_ns[i] : next;
            i++;
        }
    }
    return next;
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
    if (settings->trigger_source == TRIGGER_SOFTWARE)
        return;
    if (device->seen_input != input_of(settings)) /* changed behind our back, by the control file */
        rebase_edges(device);
    uint32_t edges = edges_of_source(device), line = settings->trigger_source == TRIGGER_LINE0 ? 0 : 1;
    while (device->seen_edges != edges) {
        device->seen_edges++;
        if (device->page->faults[FAULT_LINE_STUCK].parameter == line && fault_fires(device, FAULT_LINE_STUCK, NULL))
            count(device, COUNT_STUCK, 1);
        else
            trigger(device, now, ORIGIN_INPUT);
    }
}

/* -------------------------------------------------------------------- exposure */

static void use_sequencer_set(struct device *device, struct frame *frame)
{
    const struct sequencer_set *set = &device->page->registers.sequencer_sets[device->sequencer_active % SEQUENCER_SETS];
    frame->settings.exposure_us = set->exposure_us;
    frame->settings.gain_db = set->gain_db;
    frame->settings.line_source[0] = set->line_source[0];
    frame->settings.line_source[1] = set->line_source[1];
}

static void advance_sequencer(struct device *device, enum sequencer_trigger by)
{
    const struct registers *registers = &device->page->registers;
    const struct sequencer_set *set = &registers->sequencer_sets[device->sequencer_active % SEQUENCER_SETS];
    if (registers->sequencer_mode && set->trigger_source == (uint32_t)by)
        device->sequencer_active = set->next;
}

static void draw_faults(struct device *device, struct frame *frame)
{
    struct fault_record fault;
    if (fault_fires(device, FAULT_INCOMPLETE, &fault)) {
        frame->filled_percent = fault.parameter > 99 ? 99 : fault.parameter;
        count(device, COUNT_INCOMPLETE, 1);
    }
    if (fault_fires(device, FAULT_DELAY, &fault)) {
        frame->delay_ns = fault.parameter * 1000000ull;
        count(device, COUNT_DELAYED, 1);
    }
    frame->duplicate = fault_fires(device, FAULT_DUPLICATE, NULL);
    frame->out_of_order = fault_fires(device, FAULT_OUT_OF_ORDER, NULL);
    frame->oversized = fault_fires(device, FAULT_SIZE_MISMATCH, NULL);
    frame->bad_image = fault_fires(device, FAULT_BAD_IMAGE, &frame->image_fault);
    frame->bad_chunk = fault_fires(device, FAULT_BAD_CHUNK, &frame->chunk_fault);
    count(device, COUNT_OVERSIZED, frame->oversized);
    count(device, COUNT_BAD_IMAGES, frame->bad_image);
    count(device, COUNT_BAD_CHUNKS, frame->bad_chunk);
}

/* A sensor exposes at the very time it says. This thread may be held up between clock and picture: then both are taken
 * anew, and the exposure began later. Returns when it began. */
static uint64_t look_at_once(struct device *device, struct frame *frame, uint64_t now)
{
    look(device, frame);
    for (int tries = 0; tries < 10 && clock_ns() - now > AT_ONCE_NS; tries++) {
        now = clock_ns();
        look(device, frame);
    }
    frame->timestamp_ns = device_clock_ns(device, now);
    return now;
}

static void begin_exposure(struct device *device, uint64_t now)
{
    struct fault_record fault;
    if (fault_fires(device, FAULT_DISCONNECT, &fault)) {
        lose_device(device, &fault);
        return;
    }
    if (fault_fires(device, FAULT_WRONG_FRAME_ID, &fault)) {
        int64_t next = (int64_t)device->next_frame_id + (int32_t)fault.parameter;
        device->next_frame_id = next > 0 ? (uint64_t)next : 0;
        count(device, COUNT_RENUMBERED, 1);
    }
    faults_of_frame(device);

    struct frame *frame = &device->frame;
    uint32_t trigger_counter = frame->trigger_counter;
    *frame = (struct frame){.settings = device->page->registers.settings,
                            .id = device->next_frame_id++,
                            .number = LOAD(&device->page->counters[COUNT_EXPOSED]),
                            .trigger_counter = trigger_counter,
                            .sequencer_set = device->sequencer_active,
                            .filled_percent = 100,
                            .buffer = NO_BUFFER};
    if (device->page->registers.sequencer_mode)
        use_sequencer_set(device, frame);
    frame->layout = layout_of(device, &frame->settings);
    uint32_t outputs = 0;
    for (uint32_t i = 0; i < LIGHTS; i++)
        outputs |= frame->settings.line_source[i] ? 1u << (LINES + i) : 0;
    STORE(&device->page->output_status, outputs);
    frame->line_status = line_levels(device);
    now = look_at_once(device, frame, now);
    advance_sequencer(device, SEQUENCER_FRAME_START);
    device->state = SENSOR_EXPOSING;
    device->exposure_end_ns = now + from_us(frame->settings.exposure_us);
    count(device, COUNT_EXPOSED, 1);

    draw_faults(device, frame);
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
    uint32_t rows = (uint32_t)((uint64_t)frame->settings.height * frame->filled_percent / 100);
    bool fits = frame->layout.payload <= buffer->size;
    frame->buffer = slot;
    buffer->frame = *frame;
    buffer->chunk_mask = chunk_mask(&frame->settings);
    if (frame->bad_chunk && frame->chunk_fault.choice == CHUNK_MISSING)
        buffer->chunk_mask = 0;
    buffer->too_large = !fits || frame->oversized;
    buffer->incomplete = buffer->too_large || frame->filled_percent < 100;
    buffer->filled_rows = fits ? rows : 0;
    if (!buffer->incomplete)
        buffer->filled_bytes = frame->layout.payload;
    else if (frame->oversized && fits)
        buffer->filled_bytes = buffer->size; /* what did not fit was cut off */
    else
        buffer->filled_bytes =
            fits ? frame->layout.offset + (frame->layout.line_bytes + frame->layout.padding) * rows : 0;

    /* The picture showing now is taken; drawing it may last longer than the exposure, never shorter. */
    uint32_t epoch = device->acquisition_epoch;
    struct frame copy = *frame;
    device->rendering = true;
    pthread_mutex_unlock(&device->lock);
    bool drawn = render(device, &copy, buffer->memory + (fits ? copy.layout.offset : 0), buffer->filled_rows);
    if (!buffer->incomplete && drawn)
        write_chunks(buffer);
    pthread_mutex_lock(&device->lock);
    if (!drawn)
        buffer->incomplete = true;
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
    STORE(&device->page->output_status, 0);
    advance_sequencer(device, SEQUENCER_EXPOSURE_END);
    for (; device->extra_waiting > 0; device->extra_waiting--)
        device->extra_at_ns[device->extra_due++] =
            device->exposure_end_ns + device->extra_after_ns[device->extra_waiting - 1];
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
    faults_at_once(device);
    stream_deliver_late(device, now, &next);
    look_for_triggers(device, now);
    uint64_t extra = extra_triggers(device, now);
    next = extra < next ? extra : next;
    if (device->state == SENSOR_DELAYED && now >= device->start_at_ns) {
        begin_exposure(device, now);
        now = clock_ns();
    }
    if (device->state == SENSOR_EXPOSING && now >= device->exposure_end_ns) {
        look_for_triggers(device, now);
        end_exposure(device);
        next = now; /* look again: the time of a late frame, an extra trigger or a fault may have come with it */
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
