/* The remote device's register space behind camera.xml.
 *
 *   0x0000  struct registers, readable and writable field by field; 0x0300 of it is what no power-up resets
 *   0x0400  commands, write only
 *   0x0500  read-only values, computed at each read
 *   0x0800  read-only strings, 64 bytes each
 *   0x100000 camera.xml itself
 *
 * camera.xml tells the limits to the consumer; they are checked here again, because a camera does not trust it. */
#define _GNU_SOURCE
#include "camera.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define XML_ADDRESS 0x100000u
#define FACTORY_EXPOSURE_US 1000.0

__asm__(".section .rodata\n"
        ".hidden camera_xml\n.global camera_xml\ncamera_xml:\n"
        ".incbin \"" CAMERA_XML "\"\n"
        ".hidden camera_xml_end\n.global camera_xml_end\ncamera_xml_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const char camera_xml[], camera_xml_end[];

uint64_t xml_size(void)
{
    return (uint64_t)(camera_xml_end - camera_xml);
}

const char *xml_url(void)
{
    static _Thread_local char url[64];
    snprintf(url, sizeof url, "Local:camera.xml;%x;%llx", XML_ADDRESS, (unsigned long long)xml_size());
    return url;
}

/* ------------------------------------------------------------------ power-up */

static struct settings factory_settings(const struct device_page *page)
{
    struct settings settings = {
        .width = page->sensor_width,
        .height = page->sensor_height,
        .pixel_format = PFNC_MONO8,
        .acquisition_frame_count = 1,
        .exposure_us = FACTORY_EXPOSURE_US,
        .frame_rate_hz = 30.0,
    };
    for (uint32_t i = 0; i < CHUNKS; i++)
        settings.chunk_enable[i] = 1;
    return settings;
}

/* User set 0 is the factory's and read-only; a set never saved is the factory's as well. */
static void load_user_set(struct device *device, uint32_t set)
{
    struct device_page *page = device->page;
    const struct settings *saved = set == 0 ? NULL : &page->user_sets[set - 1];
    page->registers.settings = saved && saved->width ? *saved : factory_settings(page);
}

void power_up(struct device *device)
{
    struct registers *registers = &device->page->registers;
    uint32_t start = registers->user_set_default <= 2 ? registers->user_set_default : 0;
    char name[sizeof registers->device_user_id];
    memcpy(name, registers->device_user_id, sizeof name);
    memset(registers, 0, offsetof(struct registers, simulation));
    memcpy(registers->device_user_id, name, sizeof name);
    registers->user_set_default = start;
    registers->sim_fault_count = 1;
    registers->sim_filled_percent = 50;
    registers->sim_delay_ms = 100;
    registers->sim_gone_ms = 1000;
    registers->sim_settings_lost = 1;
    registers->sim_block_ms = 1000;
    registers->sim_frame_id_jump = 100;
    registers->sim_port_delay_ms = 100;
    registers->sim_port_address = ANY_ADDRESS;
    registers->sim_temperature_c = 85;
    registers->sim_ramp_ms = 10000;
    registers->sim_line = 1;
    registers->sim_amount = 8;
    for (uint32_t i = 0; i < SEQUENCER_SETS; i++)
        registers->sequencer_sets[i] = (struct sequencer_set){.exposure_us = FACTORY_EXPOSURE_US};
    load_user_set(device, start);
    STORE(&device->page->trigger_counter, 0);
    STORE(&device->page->missed_counter, 0);
}

/* ----------------------------------------------------------------- the tables */

enum kind { U32, I32, I64, F64, TEXT };

struct rule {
    uint32_t address;
    enum kind kind;
    double low, high;
    bool locked; /* while TLParamsLocked */
};

#define AT(field) ((uint32_t)offsetof(struct registers, field))
#define SETTING(field) ((uint32_t)(offsetof(struct registers, settings) + offsetof(struct settings, field)))

#define SEQUENCER_RULES(set)                                                                                           \
    {AT(sequencer_sets[set].next), U32, 0, SEQUENCER_SETS - 1, false},                                                 \
        {AT(sequencer_sets[set].trigger_source), U32, 0, SEQUENCER_TRIGGERS - 1, false}

static const struct rule rules[] = {
    {SETTING(width), U32, 16, MAX_SENSOR, true},
    {SETTING(height), U32, 16, MAX_SENSOR, true},
    {SETTING(offset_x), U32, 0, MAX_SENSOR, true},
    {SETTING(offset_y), U32, 0, MAX_SENSOR, true},
    {SETTING(pixel_format), U32, 0, UINT32_MAX, true},
    {SETTING(acquisition_mode), U32, 0, 2, true},
    {SETTING(acquisition_frame_count), U32, 1, 1000, true},
    {SETTING(trigger_mode), U32, 0, 1, false},
    {SETTING(trigger_source), U32, 0, 2, false},
    {SETTING(trigger_activation), U32, 0, 1, false},
    {SETTING(chunk_mode_active), U32, 0, 1, true},
    {SETTING(chunk_enable[0]), U32, 0, 1, true},
    {SETTING(chunk_enable[1]), U32, 0, 1, true},
    {SETTING(chunk_enable[2]), U32, 0, 1, true},
    {SETTING(chunk_enable[3]), U32, 0, 1, true},
    {SETTING(chunk_enable[4]), U32, 0, 1, true},
    {SETTING(chunk_enable[5]), U32, 0, 1, true},
    {SETTING(exposure_us), F64, 10, 1000000, false},
    {SETTING(gain_db), F64, 0, 30, false},
    {SETTING(frame_rate_hz), F64, 0.1, 10000, false},
    {SETTING(trigger_delay_us), F64, 0, 1000000, false},
    {SETTING(chunk_enable[6]), U32, 0, 1, true},
    {SETTING(black_level), F64, 0, 64, false},
    {SETTING(line_source[0]), U32, 0, 1, false},
    {SETTING(line_source[1]), U32, 0, 1, false},
    {AT(user_set_selector), U32, 0, 2, false},
    {AT(user_set_default), U32, 0, 2, false},
    {AT(trigger_selector), U32, 0, 0, false},
    {AT(line_selector), U32, 0, LINES + LIGHTS - 1, false},
    {AT(counter_selector), U32, 0, 1, false},
    {AT(chunk_selector), U32, 0, CHUNKS - 1, false},
    {AT(chunk_counter_selector), U32, 0, 0, false},
    {AT(sequencer_mode), U32, 0, 1, false},
    {AT(sequencer_configuration), U32, 0, 1, false},
    {AT(sequencer_set_selector), U32, 0, SEQUENCER_SETS - 1, false},
    {AT(sequencer_path), U32, 0, 0, false},
    {AT(sequencer_start), U32, 0, SEQUENCER_SETS - 1, false},
    SEQUENCER_RULES(0), SEQUENCER_RULES(1), SEQUENCER_RULES(2), SEQUENCER_RULES(3),
    SEQUENCER_RULES(4), SEQUENCER_RULES(5), SEQUENCER_RULES(6), SEQUENCER_RULES(7),
    {AT(sim_fault), U32, 0, FAULT_KINDS - 1, false},
    {AT(sim_fault_skip), U32, 0, 1000000, false},
    {AT(sim_fault_count), U32, 1, 1000000, false},
    {AT(sim_filled_percent), U32, 0, 99, false},
    {AT(sim_delay_ms), U32, 1, 60000, false},
    {AT(sim_gone_ms), U32, 0, 3600000, false},
    {AT(sim_loss_style), U32, 0, LOSS_STYLES - 1, false},
    {AT(sim_settings_lost), U32, 0, 1, false},
    {AT(sim_block_ms), U32, 1, 60000, false},
    {AT(sim_extra_ms), U32, 0, 60000, false},
    {AT(sim_frame_id_jump), I32, -1000000, 1000000, false},
    {AT(sim_port_error), U32, 0, PORT_ERRORS - 1, false},
    {AT(sim_port_delay_ms), U32, 1, 60000, false},
    {AT(sim_port_address), U32, 0, UINT32_MAX, false},
    {AT(sim_open_error), U32, 0, OPEN_ERRORS - 1, false},
    {AT(sim_temperature_c), U32, 0, 150, false},
    {AT(sim_ramp_ms), U32, 0, 3600000, false},
    {AT(sim_line), U32, 0, LINES - 1, false},
    {AT(sim_bad_image), U32, 0, BAD_IMAGES - 1, false},
    {AT(sim_amount), U32, 0, 1000, false},
    {AT(sim_bad_chunk), U32, 0, BAD_CHUNKS - 1, false},
    {AT(simulation.seed), U32, 0, UINT32_MAX, false},
    {AT(simulation.line_padding_bytes), U32, 0, 4096, true},
    {AT(simulation.image_offset_bytes), U32, 0, 65536, true},
    {AT(simulation.sequencer_hidden), U32, 0, 1, false},
    {AT(simulation.noise), F64, 0, 64, false},
    {AT(simulation.dark_offset), F64, 0, 64, false},
    {AT(simulation.vignette_percent), F64, 0, 90, false},
    {AT(simulation.clock_offset_ns), I64, -1e18, 1e18, false},
    {AT(simulation.clock_drift_ppm), F64, -10000, 10000, false},
    {AT(device_user_id), TEXT, 0, 0, false},
};

enum command {
    ACQUISITION_START = 0x400,
    ACQUISITION_STOP = 0x404,
    TRIGGER_SOFTWARE_COMMAND = 0x408,
    USER_SET_LOAD = 0x40C,
    USER_SET_SAVE = 0x410,
    SIM_FAULT_ARM = 0x414,
    DEVICE_RESET = 0x418,
    COUNTER_RESET = 0x41C,
    TL_PARAMS_LOCKED = 0x420,
    TIMESTAMP_LATCH = 0x424,
    SEQUENCER_SET_SAVE = 0x428,
    SEQUENCER_SET_LOAD = 0x42C
};

/* --------------------------------------------------------------------- reading */

static void put_text(uint8_t *space, uint32_t address, const char *text)
{
    snprintf((char *)space + address, 64, "%s", text);
}

static void put32(uint8_t *space, uint32_t address, uint32_t value)
{
    memcpy(space + address, &value, sizeof value);
}

static void put64(uint8_t *space, uint32_t address, uint64_t value)
{
    memcpy(space + address, &value, sizeof value);
}

#define REGISTER_SPACE 0xA00u

static void compose(struct device *device, uint8_t space[REGISTER_SPACE])
{
    struct device_page *page = device->page;
    memset(space, 0, REGISTER_SPACE);
    memcpy(space, &page->registers, sizeof page->registers);
    put32(space, TL_PARAMS_LOCKED, device->tl_params_locked);
    put32(space, AT(simulation.sequencer_hidden), page->registers.simulation.sequencer_hidden || sequencer_off);
    put32(space, 0x500, (uint32_t)layout_of(device, &page->registers.settings).payload);
    put32(space, 0x504, page->sensor_width);
    put32(space, 0x508, page->sensor_height);
    uint32_t lines = line_levels(device);
    put32(space, 0x50C, lines);
    for (uint32_t i = 0; i < LINES + LIGHTS; i++) {
        put32(space, 0x510 + 4 * i, lines >> i & 1);
        put32(space, 0x550 + 4 * i, i >= LINES); /* LineMode */
    }
    put32(space, 0x520, (uint32_t)LOAD(&page->trigger_counter));
    put32(space, 0x524, (uint32_t)LOAD(&page->missed_counter));
    double celsius = temperature(device);
    memcpy(space + 0x530, &celsius, sizeof celsius);
    put64(space, 0x538, device_clock_ns(device, clock_ns()));
    put64(space, 0x540, device->timestamp_latch_ns);
    put32(space, 0x548, device->sequencer_active);
    for (uint32_t i = 0; i < COUNTERS_MAX; i++)
        put64(space, 0x580 + 8 * i, LOAD(&page->counters[i]));
    put_text(space, 0x800, VENDOR);
    put_text(space, 0x840, MODEL);
    put_text(space, 0x880, FIRMWARE);
    put_text(space, 0x8C0, device->serial);
}

GC_ERROR read_registers(struct device *device, uint64_t address, void *out, size_t size)
{
    if (address >= XML_ADDRESS && size <= xml_size() && address - XML_ADDRESS <= xml_size() - size) {
        memcpy(out, camera_xml + (address - XML_ADDRESS), size);
        return GC_ERR_SUCCESS;
    }
    if (size > REGISTER_SPACE || address > REGISTER_SPACE - size)
        return fail(GC_ERR_INVALID_ADDRESS, "no register at 0x%llx, %zu bytes", (unsigned long long)address, size);
    uint8_t space[REGISTER_SPACE];
    compose(device, space);
    memcpy(out, space + address, size);
    return GC_ERR_SUCCESS;
}

/* --------------------------------------------------------------------- writing */

static GC_ERROR sequencer_command(struct registers *registers, uint64_t address)
{
    struct sequencer_set *set = &registers->sequencer_sets[registers->sequencer_set_selector];
    struct settings *settings = &registers->settings;
    if (!registers->sequencer_configuration)
        return fail(GC_ERR_ACCESS_DENIED, "sequencer sets are saved and loaded while SequencerConfigurationMode is On");
    if (address == SEQUENCER_SET_SAVE) {
        set->exposure_us = settings->exposure_us;
        set->gain_db = settings->gain_db;
        memcpy(set->line_source, settings->line_source, sizeof set->line_source);
    } else {
        settings->exposure_us = set->exposure_us;
        settings->gain_db = set->gain_db;
        memcpy(settings->line_source, set->line_source, sizeof set->line_source);
    }
    return GC_ERR_SUCCESS;
}

static GC_ERROR do_command(struct device *device, uint64_t address, uint32_t value)
{
    struct registers *registers = &device->page->registers;
    uint32_t set = registers->user_set_selector;
    switch (address) {
    case ACQUISITION_START: start_acquisition(device); break;
    case ACQUISITION_STOP: stop_acquisition(device); break;
    case TRIGGER_SOFTWARE_COMMAND: software_trigger(device); break;
    case USER_SET_LOAD:
        if (device->tl_params_locked)
            return fail(GC_ERR_ACCESS_DENIED, "UserSetLoad is locked while TLParamsLocked");
        load_user_set(device, set);
        rebase_edges(device);
        break;
    case USER_SET_SAVE:
        if (set == 0)
            return fail(GC_ERR_ACCESS_DENIED, "the user set Default cannot be saved to");
        device->page->user_sets[set - 1] = registers->settings;
        break;
    case SIM_FAULT_ARM: return arm_fault(device);
    case DEVICE_RESET:
        lose_device(device, &(struct fault_record){.parameter = 500, .settings_lost = 1, .milliseconds = 1});
        break;
    case COUNTER_RESET:
        STORE(registers->counter_selector ? &device->page->missed_counter : &device->page->trigger_counter, 0);
        break;
    case TL_PARAMS_LOCKED: device->tl_params_locked = value != 0; break;
    case TIMESTAMP_LATCH: device->timestamp_latch_ns = device_clock_ns(device, clock_ns()); break;
    case SEQUENCER_SET_SAVE:
    case SEQUENCER_SET_LOAD: return sequencer_command(registers, address);
    default: return fail(GC_ERR_INVALID_ADDRESS, "no writable register at 0x%llx", (unsigned long long)address);
    }
    return GC_ERR_SUCCESS;
}

static const char *geometry_fault(const struct device_page *page, const struct settings *settings)
{
    if (settings->width % 4 || settings->offset_x % 4)
        return "Width and OffsetX go in steps of 4";
    if (settings->height % 2 || settings->offset_y % 2)
        return "Height and OffsetY go in steps of 2";
    if (settings->width + settings->offset_x > page->sensor_width ||
        settings->height + settings->offset_y > page->sensor_height)
        return "the region leaves the sensor";
    if (!pixel_format_known(settings->pixel_format))
        return "not a pixel format of this camera";
    return NULL;
}

static const char *sequencer_fault(const struct registers *now, const struct registers *next)
{
    if (next->sequencer_mode && next->sequencer_configuration)
        return "SequencerMode and SequencerConfigurationMode exclude each other";
    bool changes = memcmp(now->sequencer_sets, next->sequencer_sets, sizeof now->sequencer_sets) != 0 ||
                   now->sequencer_start != next->sequencer_start;
    return changes && !next->sequencer_configuration ? "SequencerConfigurationMode is Off" : NULL;
}

static double number(enum kind kind, const void *in)
{
    uint32_t u32;
    int32_t i32;
    int64_t i64;
    double f64;
    switch (kind) {
    case U32: return memcpy(&u32, in, sizeof u32), (double)u32;
    case I32: return memcpy(&i32, in, sizeof i32), (double)i32;
    case I64: return memcpy(&i64, in, sizeof i64), (double)i64;
    default: return memcpy(&f64, in, sizeof f64), f64;
    }
}

static GC_ERROR write_by_rule(struct device *device, const struct rule *rule, const void *in, size_t size)
{
    struct registers next = device->page->registers;
    uint8_t *place = (uint8_t *)&next + rule->address;
    if (rule->locked && device->tl_params_locked)
        return fail(GC_ERR_ACCESS_DENIED, "register 0x%x is locked while TLParamsLocked", rule->address);
    if (rule->kind == TEXT) {
        if (size > sizeof next.device_user_id)
            return fail(GC_ERR_INVALID_PARAMETER, "%zu bytes for register 0x%x", size, rule->address);
        memset(place, 0, sizeof next.device_user_id);
        memcpy(place, in, size);
        next.device_user_id[sizeof next.device_user_id - 1] = '\0';
    } else {
        if (size != (rule->kind == U32 || rule->kind == I32 ? 4u : 8u))
            return fail(GC_ERR_INVALID_PARAMETER, "%zu bytes for register 0x%x", size, rule->address);
        double value = number(rule->kind, in);
        if (!(value >= rule->low && value <= rule->high)) /* NaN fails, too */
            return fail(GC_ERR_INVALID_VALUE, "register 0x%x was given %g, allowed is %g to %g", rule->address, value,
                        rule->low, rule->high);
        memcpy(place, in, size);
        const char *fault = geometry_fault(device->page, &next.settings);
        if (!fault)
            fault = sequencer_fault(&device->page->registers, &next);
        if (fault)
            return fail(GC_ERR_INVALID_VALUE, "register 0x%x was given %g: %s", rule->address, value, fault);
    }
    /* Only what was written goes back: the control file's clients may change the rest at the same time. */
    size_t bytes = rule->kind == TEXT ? sizeof next.device_user_id : size;
    memcpy((uint8_t *)&device->page->registers + rule->address, place, bytes);
    if (rule->address == AT(simulation.clock_offset_ns) || rule->address == AT(simulation.clock_drift_ppm))
        device->page->registers.simulation.clock_anchor_ns = clock_ns();
    if (rule->address == AT(sequencer_mode))
        device->sequencer_active = next.sequencer_start;
    if (rule->address == SETTING(trigger_source) || rule->address == SETTING(trigger_activation) ||
        rule->address == SETTING(trigger_mode)) {
        rebase_edges(device);
        device->next_free_run_ns = clock_ns();
        wake_sensor(device);
    }
    return GC_ERR_SUCCESS;
}

GC_ERROR write_register(struct device *device, uint64_t address, const void *in, size_t size)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].address == address)
            return write_by_rule(device, &rules[i], in, size);
    if (size != 4)
        return fail(GC_ERR_INVALID_ADDRESS, "no writable register at 0x%llx, %zu bytes", (unsigned long long)address,
                    size);
    uint32_t value;
    memcpy(&value, in, sizeof value);
    return do_command(device, address, value);
}

/* -------------------------------------------------------------------- GenTL API */

GC_API GCReadPort(PORT_HANDLE port, uint64_t address, void *out, size_t *size)
{
    if (!out || !size)
        return fail(GC_ERR_INVALID_PARAMETER, "a read needs a place and a size");
    struct device *device = lock_module(port, KIND_PORT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = loss_answer(device, CALL_PORT);
    if (!result)
        result = port_answer(device, address);
    if (!result)
        result = read_registers(device, address, out, *size);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API GCWritePort(PORT_HANDLE port, uint64_t address, const void *in, size_t *size)
{
    if (!in || !size)
        return fail(GC_ERR_INVALID_PARAMETER, "a write needs data and a size");
    struct device *device = lock_module(port, KIND_PORT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    GC_ERROR result = loss_answer(device, CALL_PORT);
    if (!result)
        result = port_answer(device, address);
    if (!result)
        result = write_register(device, address, in, *size);
    pthread_mutex_unlock(&device->lock);
    return result;
}

GC_API GCReadPortStacked(PORT_HANDLE port, PORT_REGISTER_STACK_ENTRY *entries, size_t *number)
{
    if (!entries || !number)
        return fail(GC_ERR_INVALID_PARAMETER, "no entries");
    for (size_t i = 0; i < *number; i++) {
        size_t size = entries[i].Size;
        GC_ERROR result = GCReadPort(port, entries[i].Address, entries[i].pBuffer, &size);
        if (result) {
            *number = i;
            return result;
        }
    }
    return GC_ERR_SUCCESS;
}

GC_API GCWritePortStacked(PORT_HANDLE port, PORT_REGISTER_STACK_ENTRY *entries, size_t *number)
{
    if (!entries || !number)
        return fail(GC_ERR_INVALID_PARAMETER, "no entries");
    for (size_t i = 0; i < *number; i++) {
        size_t size = entries[i].Size;
        GC_ERROR result = GCWritePort(port, entries[i].Address, entries[i].pBuffer, &size);
        if (result) {
            *number = i;
            return result;
        }
    }
    return GC_ERR_SUCCESS;
}

/* Only the remote device has a description. A consumer takes the failure of the others as "no node map"; an empty
 * list of addresses would make harvesters raise an error that nobody catches. */
GC_API GCGetNumPortURLs(PORT_HANDLE port, uint32_t *number)
{
    struct handle handle;
    if (!number)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    if (read_handle(port, &handle) && handle.kind != KIND_PORT)
        return fail(GC_ERR_NOT_AVAILABLE, "this module has no description");
    struct device *device = lock_module(port, KIND_PORT);
    if (!device)
        return GC_ERR_INVALID_HANDLE;
    *number = 1;
    pthread_mutex_unlock(&device->lock);
    return GC_ERR_SUCCESS;
}

GC_API GCGetPortURLInfo(PORT_HANDLE port, uint32_t index, int32_t command, INFO_DATATYPE *type, void *out,
                        size_t *size)
{
    uint32_t number = 0;
    GC_ERROR result = GCGetNumPortURLs(port, &number);
    if (result)
        return result;
    if (index >= number)
        return fail(GC_ERR_INVALID_INDEX, "there is one description, index %u was asked for", index);
    switch (command) {
    case URL_INFO_URL: return put_string(xml_url(), type, out, size);
    case URL_INFO_SCHEMA_VER_MAJOR:
    case URL_INFO_SCHEMA_VER_MINOR: return put_i32(1, type, out, size);
    case URL_INFO_FILE_VER_MAJOR: return put_i32(1, type, out, size);
    case URL_INFO_FILE_VER_MINOR:
    case URL_INFO_FILE_VER_SUBMINOR: return put_i32(0, type, out, size);
    case URL_INFO_FILE_REGISTER_ADDRESS: return put_u64(XML_ADDRESS, type, out, size);
    case URL_INFO_FILE_SIZE: return put_u64(xml_size(), type, out, size);
    case URL_INFO_SCHEME: return put_i32(URL_SCHEME_LOCAL, type, out, size);
    case URL_INFO_FILENAME: return put_string("camera.xml", type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "no description info %d", command);
    }
}

GC_API GCGetPortURL(PORT_HANDLE port, char *url, size_t *size)
{
    return GCGetPortURLInfo(port, 0, URL_INFO_URL, NULL, url, size);
}

GC_API GCGetPortInfo(PORT_HANDLE port, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    static const char *const names[] = {"", "TLPort", "InterfacePort", "DevicePort", "Device", "StreamPort",
                                        "BufferPort", ""};
    static const char *const modules[] = {"", "TLSystem", "TLInterface", "TLDevice", "Device", "TLDataStream",
                                          "TLBuffer", ""};
    struct handle handle;
    if (!read_handle(port, &handle))
        return fail(GC_ERR_INVALID_HANDLE, "not a handle of this producer");
    switch (command) {
    case PORT_INFO_ID:
    case PORT_INFO_PORTNAME: return put_string(names[handle.kind], type, out, size);
    case PORT_INFO_VENDOR: return put_string(VENDOR, type, out, size);
    case PORT_INFO_MODEL: return put_string(MODEL, type, out, size);
    case PORT_INFO_TLTYPE: return put_string(tl_type(), type, out, size);
    case PORT_INFO_MODULE: return put_string(modules[handle.kind], type, out, size);
    case PORT_INFO_LITTLE_ENDIAN: return put_bool(true, type, out, size);
    case PORT_INFO_ACCESS_READ:
    case PORT_INFO_ACCESS_WRITE: return put_bool(handle.kind == KIND_PORT, type, out, size);
    case PORT_INFO_BIG_ENDIAN:
    case PORT_INFO_ACCESS_NA:
    case PORT_INFO_ACCESS_NI: return put_bool(false, type, out, size);
    case PORT_INFO_VERSION: return put_string(FIRMWARE, type, out, size);
    default: return fail(GC_ERR_NOT_IMPLEMENTED, "no port info %d", command);
    }
}
