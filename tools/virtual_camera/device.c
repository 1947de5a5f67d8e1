/* A device: opened by one consumer at a time, lost and found, closed with everything that hangs on it. */
#define _GNU_SOURCE
#include "camera.h"

#include <stdio.h>
#include <string.h>

struct device *lock_module(void *value, enum module_kind kind)
{
    struct handle handle;
    if (!library_ready) {
        fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
        return NULL;
    }
    if (!read_handle(value, &handle) || handle.kind != kind || handle.device >= device_count) {
        fail(GC_ERR_INVALID_HANDLE, "not a handle of the kind this call needs");
        return NULL;
    }
    struct device *device = &devices[handle.device];
    pthread_mutex_lock(&device->lock);
    bool live = device->open && handle.generation == (device->generation & 0xFFFF);
    if (kind == KIND_STREAM)
        live = live && device->stream.open;
    if (kind == KIND_EVENT)
        live = live && device->stream.open && device->stream.event_registered &&
               handle.slot == (device->stream.event_generation & 0xFFFF);
    if (live)
        return device;
    pthread_mutex_unlock(&device->lock);
    fail(GC_ERR_INVALID_HANDLE, "the module behind this handle is closed");
    return NULL;
}

GC_ERROR open_device(struct device *device)
{
    if (device->open || device->closing)
        return fail(GC_ERR_RESOURCE_IN_USE, "%s is open in this process", device->serial);
    if (!device_present(device))
        return fail(GC_ERR_NOT_AVAILABLE, "%s is not connected", device->serial);
    struct fault_record fault;
    if (fault_fires(device, FAULT_OPEN_BUSY, &fault)) {
        count(device, COUNT_BUSY_OPENS, 1);
        return fail(fault.choice == OPEN_ACCESS_DENIED ? GC_ERR_ACCESS_DENIED : GC_ERR_RESOURCE_IN_USE,
                    "%s is in use by somebody else", device->serial);
    }
    GC_ERROR result = lock_for_us(device);
    if (result)
        return result;
    faults_at_once(device);

    device->loss_generation = LOAD(&device->page->loss_generation);
    device->quit = device->acquiring = device->rendering = device->tl_params_locked = false;
    device->state = SENSOR_IDLE;
    device->extra_waiting = device->extra_due = 0;
    device->sequencer_active = device->page->registers.sequencer_start;
    STORE(&device->page->output_status, 0);
    if (pthread_create(&device->sensor_thread, NULL, sensor_main, device) != 0) {
        unlock_for_us(device);
        return fail(GC_ERR_RESOURCE_EXHAUSTED, "no thread for %s", device->serial);
    }
    device->thread_runs = true;
    device->open = true;
    device->generation++;
    return GC_ERR_SUCCESS;
}

/* Takes the lock itself: the sensor thread needs it to end. */
void close_device(struct device *device)
{
    pthread_mutex_lock(&device->lock);
    if (!device->open) {
        pthread_mutex_unlock(&device->lock);
        return;
    }
    stop_acquisition(device);
    stream_close(device);
    device->open = false;
    device->closing = device->quit = true;
    pthread_t thread = device->sensor_thread;
    bool join = device->thread_runs;
    device->thread_runs = false;
    wake_sensor(device);
    pthread_mutex_unlock(&device->lock);
    if (join)
        pthread_join(thread, NULL);
    pthread_mutex_lock(&device->lock);
    unlock_for_us(device); /* last: only now may another process have the camera */
    device->closing = false;
    pthread_mutex_unlock(&device->lock);
}

int32_t access_status(struct device *device)
{
    if (device->open)
        return device_lost(device) ? DEVICE_ACCESS_STATUS_NOACCESS : DEVICE_ACCESS_STATUS_OPEN_READWRITE;
    if (!device_present(device))
        return DEVICE_ACCESS_STATUS_NOACCESS;
    return locked_by_other(device) ? DEVICE_ACCESS_STATUS_BUSY : DEVICE_ACCESS_STATUS_READWRITE;
}

GC_ERROR device_info(struct device *device, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    char text[96];
    switch (command) {
    case DEVICE_INFO_ID: return put_string(device->id, type, out, size);
    case DEVICE_INFO_VENDOR: return put_string(VENDOR, type, out, size);
    case DEVICE_INFO_MODEL: return put_string(MODEL, type, out, size);
    case DEVICE_INFO_TLTYPE: return put_string(tl_type(), type, out, size);
    case DEVICE_INFO_DISPLAYNAME:
        snprintf(text, sizeof text, "%s %s (%s)", VENDOR, MODEL, device->serial);
        return put_string(text, type, out, size);
    case DEVICE_INFO_ACCESS_STATUS: return put_i32(access_status(device), type, out, size);
    case DEVICE_INFO_USER_DEFINED_NAME:
        memcpy(text, device->page->registers.device_user_id, 64);
        text[63] = '\0';
        return put_string(text, type, out, size);
    case DEVICE_INFO_SERIAL_NUMBER: return put_string(device->serial, type, out, size);
    case DEVICE_INFO_VERSION: return put_string(FIRMWARE, type, out, size);
    case DEVICE_INFO_TIMESTAMP_FREQUENCY: return put_u64(gev ? 1000000000u / GEV_TICK_NS : 1000000000u, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "no device info %d", command);
    }
}

GC_API DevClose(DEV_HANDLE value)
{
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    pthread_mutex_unlock(&device->lock);
    close_device(device);
    return GC_ERR_SUCCESS;
}

GC_API DevGetInfo(DEV_HANDLE value, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = device_info(device, command, type, out, size);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DevGetPort(DEV_HANDLE value, PORT_HANDLE *port)
{
    if (!port)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    *port = make_handle(KIND_PORT, device->index, device->generation, 0);
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}

GC_API DevGetNumDataStreams(DEV_HANDLE value, uint32_t *count_out)
{
    if (!count_out)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    *count_out = 1;
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}

GC_API DevGetDataStreamID(DEV_HANDLE value, uint32_t index, char *id, size_t *size)
{
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = index == 0 ? put_string("Stream0", NULL, id, size)
                                 : fail(GC_ERR_INVALID_INDEX, "there is one stream, index %u was asked for", index);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DevOpenDataStream(DEV_HANDLE value, const char *id, DS_HANDLE *stream)
{
    if (!stream)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = GC_ERR_SUCCESS;
    if (!id || strcmp(id, "Stream0") != 0)
        result = fail(GC_ERR_INVALID_ID, "no stream \"%s\"", id ? id : "NULL");
    else if (device->stream.open)
        result = fail(GC_ERR_RESOURCE_IN_USE, "the stream is open");
    else {
        device->stream.open = true;
        device->stream.started = false;
        device->stream.delivered = device->stream.underruns = device->stream.started_frames = 0;
        *stream = make_handle(KIND_STREAM, device->index, device->generation, 0);
    }
    pthread_mutex_unlock(&device->lock);
    return result;
}
