/* Faults: armed with skip and count, by feature or by the control file; and the loss of a whole device. */
#define _GNU_SOURCE
#include "camera.h"

#include <time.h>

/* Called once per frame (or trigger, register access, opening) and kind: lets `skip` pass, then fires `count` times. */
bool fault_fires(struct device *device, enum fault_kind kind, struct fault_record *record)
{
    struct fault_record *place = &device->page->faults[kind];
    uint64_t armed = LOAD(&place->armed), next;
    bool fires;
    do {
        if (armed >> 32 == 0)
            return false;
        fires = (uint32_t)armed == 0;
        next = fires ? armed - (1ull << 32) : armed - 1;
    } while (!__atomic_compare_exchange_n(&place->armed, &armed, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (fires && record)
        *record = *place;
    return fires;
}

static bool next_one_fires(const struct device *device, enum fault_kind kind)
{
    uint64_t armed = LOAD(&device->page->faults[kind].armed);
    return armed >> 32 != 0 && (uint32_t)armed == 0;
}

double temperature(const struct device *device)
{
    const struct device_page *page = device->page;
    uint64_t start = LOAD(&page->ramp_start_ns), now = clock_ns();
    if (start == 0 || now < start)
        return page->temperature_c;
    double share = page->ramp_ms ? (double)(now - start) / (page->ramp_ms * 1e6) : 1.0;
    return page->temperature_c + (page->ramp_to_c - page->temperature_c) * (share > 1.0 ? 1.0 : share);
}

static void overheat(struct device *device, const struct fault_record *how)
{
    struct device_page *page = device->page;
    page->temperature_c = temperature(device);
    page->ramp_to_c = how->parameter;
    page->ramp_ms = how->milliseconds;
    STORE(&page->ramp_start_ns, clock_ns());
}

static void settings_lost(struct device *device)
{
    power_up(device);
    rebase_edges(device);
    count(device, COUNT_SETTINGS_LOST, 1);
    wake_sensor(device);
}

/* What is bound to no frame happens as soon as no frame is left to let pass; the sensor thread looks. */
void faults_at_once(struct device *device)
{
    struct fault_record fault;
    if (next_one_fires(device, FAULT_SETTINGS_LOST) && fault_fires(device, FAULT_SETTINGS_LOST, NULL))
        settings_lost(device);
    if (next_one_fires(device, FAULT_OVERHEAT) && fault_fires(device, FAULT_OVERHEAT, &fault))
        overheat(device, &fault);
}

void faults_of_frame(struct device *device)
{
    struct fault_record fault;
    if (fault_fires(device, FAULT_SETTINGS_LOST, NULL))
        settings_lost(device);
    if (fault_fires(device, FAULT_OVERHEAT, &fault))
        overheat(device, &fault);
}

static struct fault_record record_from_registers(const struct registers *registers)
{
    struct fault_record record = {.address = ANY_ADDRESS};
    switch (registers->sim_fault) {
    case FAULT_INCOMPLETE: record.parameter = registers->sim_filled_percent; break;
    case FAULT_DELAY: record.parameter = registers->sim_delay_ms; break;
    case FAULT_DISCONNECT:
        record.parameter = registers->sim_gone_ms;
        record.choice = registers->sim_loss_style;
        record.settings_lost = registers->sim_settings_lost;
        record.milliseconds = registers->sim_block_ms;
        break;
    case FAULT_EXTRA_TRIGGER: record.parameter = registers->sim_extra_ms; break;
    case FAULT_WRONG_FRAME_ID: record.parameter = (uint32_t)registers->sim_frame_id_jump; break;
    case FAULT_PORT_ERROR:
        record.choice = registers->sim_port_error;
        record.address = registers->sim_port_address;
        break;
    case FAULT_SLOW_PORT:
        record.parameter = registers->sim_port_delay_ms;
        record.address = registers->sim_port_address;
        break;
    case FAULT_OPEN_BUSY: record.choice = registers->sim_open_error; break;
    case FAULT_OVERHEAT:
        record.parameter = registers->sim_temperature_c;
        record.milliseconds = registers->sim_ramp_ms;
        break;
    case FAULT_LINE_STUCK: record.parameter = registers->sim_line; break;
    case FAULT_BAD_IMAGE:
        record.choice = registers->sim_bad_image;
        record.parameter = registers->sim_amount;
        break;
    case FAULT_BAD_CHUNK: record.choice = registers->sim_bad_chunk; break;
    default: break;
    }
    return record;
}

GC_ERROR arm_fault(struct device *device)
{
    struct registers *registers = &device->page->registers;
    uint32_t kind = registers->sim_fault;
    if (kind == FAULT_NONE) { /* arming "None" disarms everything */
        for (uint32_t i = 0; i < FAULT_KINDS_MAX; i++)
            STORE(&device->page->faults[i].armed, 0);
        return GC_ERR_SUCCESS;
    }
    struct fault_record record = record_from_registers(registers);
    if (kind == FAULT_DISCONNECT && registers->sim_fault_skip == 0) {
        lose_device(device, &record);
        return GC_ERR_SUCCESS;
    }
    bool once = kind == FAULT_DISCONNECT || kind == FAULT_SETTINGS_LOST || kind == FAULT_OVERHEAT;
    uint64_t armed = (uint64_t)(once ? 1 : registers->sim_fault_count) << 32 | registers->sim_fault_skip;
    struct fault_record *place = &device->page->faults[kind];
    STORE(&place->armed, 0);
    *place = record;
    STORE(&place->armed, armed);
    faults_at_once(device);
    return GC_ERR_SUCCESS;
}

/* --------------------------------------------------------------------- lines */

uint32_t line_levels(const struct device *device)
{
    const struct device_page *page = device->page;
    uint32_t levels = LOAD(&page->line_status) | LOAD(&page->output_status);
    if (next_one_fires(device, FAULT_LINE_STUCK))
        levels |= 1u << page->faults[FAULT_LINE_STUCK].parameter % LINES;
    return levels;
}

/* ---------------------------------------------------------------------- port */

/* Returns false when the device was closed while we slept. */
static bool sleep_unlocked(struct device *device, uint32_t ms)
{
    uint32_t generation = device->generation;
    struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    pthread_mutex_unlock(&device->lock);
    nanosleep(&nap, NULL);
    pthread_mutex_lock(&device->lock);
    return device->open && device->generation == generation;
}

static bool port_fault_fires(struct device *device, enum fault_kind kind, uint64_t address, struct fault_record *fault)
{
    uint32_t wanted = device->page->faults[kind].address;
    return (wanted == ANY_ADDRESS || wanted == address) && fault_fires(device, kind, fault);
}

GC_ERROR port_answer(struct device *device, uint64_t address)
{
    struct fault_record fault;
    if (port_fault_fires(device, FAULT_SLOW_PORT, address, &fault)) {
        count(device, COUNT_SLOW_PORTS, 1);
        if (!sleep_unlocked(device, fault.parameter))
            return fail(GC_ERR_INVALID_HANDLE, "the port was closed during the access");
    }
    if (port_fault_fires(device, FAULT_PORT_ERROR, address, &fault)) {
        count(device, COUNT_PORT_ERRORS, 1);
        return fault.choice == PORT_TIMEOUT
                   ? fail(GC_ERR_TIMEOUT, "%s: no acknowledge from register 0x%x", device->serial, (unsigned)address)
                   : fail(GC_ERR_IO, "%s: register 0x%x cannot be reached", device->serial, (unsigned)address);
    }
    return GC_ERR_SUCCESS;
}

/* ---------------------------------------------------------------------- loss */

/* control.py's disconnect() writes the same fields in the same order; presence goes last. */
void lose_device(struct device *device, const struct fault_record *how)
{
    struct device_page *page = device->page;
    STORE(&page->loss_style, how->choice);
    STORE(&page->settings_lost, how->settings_lost);
    STORE(&page->block_ms, how->milliseconds);
    STORE(&page->gone_until_ns, how->parameter ? clock_ns() + how->parameter * 1000000ull : 0);
    ADD(&page->loss_generation, 1);
    STORE(&page->present, 0);
    count(device, COUNT_DISCONNECTS, 1);
    wake_sensor(device);
}

bool device_present(struct device *device)
{
    struct device_page *page = device->page;
    if (LOAD(&page->present))
        return true;
    uint64_t until = LOAD(&page->gone_until_ns);
    if (until == 0 || clock_ns() < until)
        return false;
    uint32_t gone = 0;
    if (__atomic_compare_exchange_n(&page->present, &gone, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
        page->settings_lost)
        power_up(device);
    return true;
}

bool device_lost(struct device *device)
{
    return !device_present(device) || LOAD(&device->page->loss_generation) != device->loss_generation;
}

GC_ERROR loss_answer(struct device *device, enum call call)
{
    if (!device_lost(device))
        return GC_ERR_SUCCESS;
    uint32_t style = LOAD(&device->page->loss_style);
    if (style == LOSS_BLOCK && call != CALL_STREAM)
        sleep_unlocked(device, LOAD(&device->page->block_ms));
    bool silent = (call == CALL_EVENT && style == LOSS_SILENT) || (call == CALL_STREAM && style != LOSS_STRICT);
    return silent ? GC_ERR_SUCCESS : fail(GC_ERR_IO, "%s does not answer", device->serial);
}
