/* Faults: armed with skip and count, by feature or by the control file; and the loss of a whole device. */
#define _GNU_SOURCE
#include "camera.h"

#include <time.h>

/* Called once per frame (or trigger) and kind: lets `skip` pass, then fires `count` times. */
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

GC_ERROR arm_fault(struct device *device)
{
    struct registers *registers = &device->page->registers;
    uint32_t kind = registers->sim_fault;
    if (kind == FAULT_NONE) { /* arming "None" disarms everything */
        for (uint32_t i = 0; i < FAULT_KINDS_MAX; i++)
            STORE(&device->page->faults[i].armed, 0);
        return GC_ERR_SUCCESS;
    }
    struct fault_record record = {
        .parameter = kind == FAULT_INCOMPLETE ? registers->sim_filled_percent
                     : kind == FAULT_DELAY    ? registers->sim_delay_ms
                                              : registers->sim_gone_ms,
        .loss_style = registers->sim_loss_style,
        .settings_lost = registers->sim_settings_lost,
        .block_ms = registers->sim_block_ms,
    };
    if (kind == FAULT_DISCONNECT && registers->sim_fault_skip == 0) {
        lose_device(device, &record);
        return GC_ERR_SUCCESS;
    }
    struct fault_record *place = &device->page->faults[kind];
    STORE(&place->armed, 0);
    place->parameter = record.parameter;
    place->loss_style = record.loss_style;
    place->settings_lost = record.settings_lost;
    place->block_ms = record.block_ms;
    uint32_t times = kind == FAULT_DISCONNECT ? 1 : registers->sim_fault_count;
    STORE(&place->armed, (uint64_t)times << 32 | registers->sim_fault_skip);
    return GC_ERR_SUCCESS;
}

/* ---------------------------------------------------------------------- loss */

/* control.py's disconnect() writes the same fields in the same order; presence goes last. */
void lose_device(struct device *device, const struct fault_record *how)
{
    struct device_page *page = device->page;
    STORE(&page->loss_style, how->loss_style);
    STORE(&page->settings_lost, how->settings_lost);
    STORE(&page->block_ms, how->block_ms);
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
    if (style == LOSS_BLOCK && call != CALL_STREAM) {
        uint32_t ms = LOAD(&device->page->block_ms);
        struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
        pthread_mutex_unlock(&device->lock);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(&device->lock);
    }
    bool silent = (call == CALL_EVENT && style == LOSS_SILENT) || (call == CALL_STREAM && style != LOSS_STRICT);
    return silent ? GC_ERR_SUCCESS : fail(GC_ERR_IO, "%s does not answer", device->serial);
}
