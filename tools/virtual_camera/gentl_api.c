/* Library, system and interface: what a consumer meets before it opens a camera. */
#define _GNU_SOURCE
#include "camera.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM_ID "VirtualCameraSystem"
#define INTERFACE_ID "VirtualCameraInterface"

struct device devices[MAX_DEVICES];
uint32_t device_count;
bool library_ready;
bool gev, sequencer_off;

const char *tl_type(void)
{
    return gev ? "GEV" : "Custom";
}

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static bool system_open, interface_open;
static uint32_t system_generation, interface_generation;

/* ------------------------------------------------------------------ handles */

#define HANDLE_TAG 0x5643ull /* "VC" on top: no valid address on the machines we know */

void *make_handle(enum module_kind kind, uint32_t device, uint32_t generation, uint32_t slot)
{
    uint64_t value = HANDLE_TAG << 48 | (uint64_t)kind << 40 | (uint64_t)(device & 0xFF) << 32 |
                     (uint64_t)(generation & 0xFFFF) << 16 | (slot & 0xFFFF);
    return (void *)(uintptr_t)value;
}

bool read_handle(void *value, struct handle *out)
{
    uint64_t number = (uint64_t)(uintptr_t)value;
    if (number >> 48 != HANDLE_TAG)
        return false;
    out->kind = (enum module_kind)(number >> 40 & 0xFF);
    out->device = (uint32_t)(number >> 32 & 0xFF);
    out->generation = (uint32_t)(number >> 16 & 0xFFFF);
    out->slot = (uint32_t)(number & 0xFFFF);
    return out->kind >= KIND_SYSTEM && out->kind <= KIND_EVENT && out->device < MAX_DEVICES;
}

static GC_ERROR check_system(TL_HANDLE value)
{
    struct handle handle;
    if (!library_ready)
        return fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
    if (!read_handle(value, &handle) || handle.kind != KIND_SYSTEM || !system_open ||
        handle.generation != (system_generation & 0xFFFF))
        return fail(GC_ERR_INVALID_HANDLE, "not a handle of an open system");
    return GC_ERR_SUCCESS;
}

static GC_ERROR check_interface(IF_HANDLE value)
{
    struct handle handle;
    if (!library_ready)
        return fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
    if (!read_handle(value, &handle) || handle.kind != KIND_INTERFACE || !interface_open ||
        handle.generation != (interface_generation & 0xFFFF))
        return fail(GC_ERR_INVALID_HANDLE, "not a handle of an open interface");
    return GC_ERR_SUCCESS;
}

/* ------------------------------------------------------------------ library */

GC_API GCInitLib(void)
{
    pthread_mutex_lock(&library_lock);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (library_ready)
        result = fail(GC_ERR_RESOURCE_IN_USE, "GCInitLib was called before");
    else if ((result = open_control()) == GC_ERR_SUCCESS && (result = load_folder()) != GC_ERR_SUCCESS)
        close_control();
    if (result == GC_ERR_SUCCESS)
        library_ready = true;
    else if (result != GC_ERR_RESOURCE_IN_USE) {
        /* Consumers tend to swallow this error and list no device; the console is the only place left to say why. */
        char text[320] = "";
        size_t size = sizeof text;
        GC_ERROR code;
        GCGetLastError(&code, text, &size);
        fprintf(stderr, "virtual camera: %s\n", text);
    }
    pthread_mutex_unlock(&library_lock);
    return result;
}

static void close_interface(void)
{
    for (uint32_t i = 0; i < device_count; i++)
        close_device(&devices[i]);
    interface_open = false;
}

GC_API GCCloseLib(void)
{
    pthread_mutex_lock(&library_lock);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (library_ready) {
        close_interface();
        system_open = false;
        library_ready = false;
        close_folder();
        close_control();
    } else {
        result = fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
    }
    pthread_mutex_unlock(&library_lock);
    return result;
}

static GC_ERROR system_info(int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    switch (command) {
    case TL_INFO_ID: return put_string(SYSTEM_ID, type, out, size);
    case TL_INFO_VENDOR: return put_string(VENDOR, type, out, size);
    case TL_INFO_MODEL: return put_string(MODEL, type, out, size);
    case TL_INFO_VERSION: return put_string(FIRMWARE, type, out, size);
    case TL_INFO_TLTYPE: return put_string(tl_type(), type, out, size);
    case TL_INFO_NAME:
    case TL_INFO_PATHNAME: return put_string("virtual_camera.cti", type, out, size);
    case TL_INFO_DISPLAYNAME: return put_string("Virtual camera", type, out, size);
    case TL_INFO_CHAR_ENCODING: return put_i32(0, type, out, size);
    case TL_INFO_GENTL_VER_MAJOR: return put_u32(1, type, out, size);
    case TL_INFO_GENTL_VER_MINOR: return put_u32(5, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "no system info %d", command);
    }
}

GC_API GCGetInfo(int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    return system_info(command, type, out, size);
}

/* ------------------------------------------------------------------- system */

GC_API TLOpen(TL_HANDLE *system)
{
    if (!library_ready)
        return fail(GC_ERR_NOT_INITIALIZED, "GCInitLib was not called");
    if (!system)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    pthread_mutex_lock(&library_lock);
    GC_ERROR result = GC_ERR_SUCCESS;
    if (system_open) {
        result = fail(GC_ERR_RESOURCE_IN_USE, "the system is open");
    } else {
        system_open = true;
        *system = make_handle(KIND_SYSTEM, 0, ++system_generation, 0);
    }
    pthread_mutex_unlock(&library_lock);
    return result;
}

GC_API TLClose(TL_HANDLE system)
{
    pthread_mutex_lock(&library_lock);
    GC_ERROR result = check_system(system);
    if (result == GC_ERR_SUCCESS) {
        close_interface();
        system_open = false;
    }
    pthread_mutex_unlock(&library_lock);
    return result;
}

GC_API TLGetInfo(TL_HANDLE system, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    GC_ERROR result = check_system(system);
    return result ? result : system_info(command, type, out, size);
}

GC_API TLUpdateInterfaceList(TL_HANDLE system, bool8_t *changed, uint64_t timeout_ms)
{
    (void)timeout_ms;
    if (changed)
        *changed = 0;
    return check_system(system);
}

GC_API TLGetNumInterfaces(TL_HANDLE system, uint32_t *count_out)
{
    GC_ERROR result = check_system(system);
    if (result)
        return result;
    if (!count_out)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    *count_out = 1;
    return GC_ERR_SUCCESS;
}

GC_API TLGetInterfaceID(TL_HANDLE system, uint32_t index, char *id, size_t *size)
{
    GC_ERROR result = check_system(system);
    if (result)
        return result;
    if (index != 0)
        return fail(GC_ERR_INVALID_INDEX, "there is one interface, index %u was asked for", index);
    return put_string(INTERFACE_ID, NULL, id, size);
}

static GC_ERROR interface_info(int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    switch (command) {
    case INTERFACE_INFO_ID: return put_string(INTERFACE_ID, type, out, size);
    case INTERFACE_INFO_DISPLAYNAME: return put_string("Virtual camera interface", type, out, size);
    case INTERFACE_INFO_TLTYPE: return put_string(tl_type(), type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "no interface info %d", command);
    }
}

GC_API TLGetInterfaceInfo(TL_HANDLE system, const char *id, int32_t command, INFO_DATATYPE *type, void *out,
                          size_t *size)
{
    GC_ERROR result = check_system(system);
    if (result)
        return result;
    if (!id || strcmp(id, INTERFACE_ID) != 0)
        return fail(GC_ERR_INVALID_ID, "no interface \"%s\"", id ? id : "NULL");
    return interface_info(command, type, out, size);
}

GC_API TLOpenInterface(TL_HANDLE system, const char *id, IF_HANDLE *interface)
{
    if (!interface)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    pthread_mutex_lock(&library_lock);
    GC_ERROR result = check_system(system);
    if (result == GC_ERR_SUCCESS && (!id || strcmp(id, INTERFACE_ID) != 0))
        result = fail(GC_ERR_INVALID_ID, "no interface \"%s\"", id ? id : "NULL");
    if (result == GC_ERR_SUCCESS && interface_open)
        result = fail(GC_ERR_RESOURCE_IN_USE, "the interface is open");
    if (result == GC_ERR_SUCCESS) {
        interface_open = true;
        *interface = make_handle(KIND_INTERFACE, 0, ++interface_generation, 0);
    }
    pthread_mutex_unlock(&library_lock);
    return result;
}

/* ---------------------------------------------------------------- interface */

GC_API IFClose(IF_HANDLE interface)
{
    pthread_mutex_lock(&library_lock);
    GC_ERROR result = check_interface(interface);
    if (result == GC_ERR_SUCCESS)
        close_interface();
    pthread_mutex_unlock(&library_lock);
    return result;
}

GC_API IFGetInfo(IF_HANDLE interface, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    GC_ERROR result = check_interface(interface);
    return result ? result : interface_info(command, type, out, size);
}

GC_API IFGetParentTL(IF_HANDLE interface, TL_HANDLE *system)
{
    GC_ERROR result = check_interface(interface);
    if (result)
        return result;
    if (!system)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    *system = make_handle(KIND_SYSTEM, 0, system_generation, 0);
    return GC_ERR_SUCCESS;
}

/* An unplugged device stays listed with access status "no access", as producers with a static list do. */
GC_API IFUpdateDeviceList(IF_HANDLE interface, bool8_t *changed, uint64_t timeout_ms)
{
    (void)timeout_ms;
    if (changed)
        *changed = 0;
    return check_interface(interface);
}

GC_API IFGetNumDevices(IF_HANDLE interface, uint32_t *count_out)
{
    GC_ERROR result = check_interface(interface);
    if (result)
        return result;
    if (!count_out)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    *count_out = device_count;
    return GC_ERR_SUCCESS;
}

GC_API IFGetDeviceID(IF_HANDLE interface, uint32_t index, char *id, size_t *size)
{
    GC_ERROR result = check_interface(interface);
    if (result)
        return result;
    if (index >= device_count)
        return fail(GC_ERR_INVALID_INDEX, "there are %u devices, index %u was asked for", device_count, index);
    return put_string(devices[index].id, NULL, id, size);
}

static struct device *find_device(const char *id)
{
    for (uint32_t i = 0; id && i < device_count; i++)
        if (strcmp(id, devices[i].id) == 0 || strcmp(id, devices[i].serial) == 0)
            return &devices[i];
    fail(GC_ERR_INVALID_ID, "no device \"%s\"", id ? id : "NULL");
    return NULL;
}

GC_API IFGetDeviceInfo(IF_HANDLE interface, const char *id, int32_t command, INFO_DATATYPE *type, void *out,
                       size_t *size)
{
    GC_ERROR result = check_interface(interface);
    if (result)
        return result;
    struct device *device = find_device(id);
    if (!device)
        return GC_ERR_INVALID_ID;
    pthread_mutex_lock(&device->lock);
    result = device_info(device, command, type, out, size);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API IFOpenDevice(IF_HANDLE interface, const char *id, int32_t flags, DEV_HANDLE *handle)
{
    (void)flags; /* every opening is exclusive */
    if (!handle)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    GC_ERROR result = check_interface(interface);
    if (result)
        return result;
    struct device *device = find_device(id);
    if (!device)
        return GC_ERR_INVALID_ID;
    pthread_mutex_lock(&device->lock);
    result = open_device(device);
    if (result == GC_ERR_SUCCESS)
        *handle = make_handle(KIND_DEVICE, device->index, device->generation, 0);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API DevGetParentIF(DEV_HANDLE value, IF_HANDLE *interface)
{
    if (!interface)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    struct device *device = lock_module(value, KIND_DEVICE);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    *interface = make_handle(KIND_INTERFACE, 0, interface_generation, 0);
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}
