/* What lies where in the control file: the contract between this producer and control.py.
 *
 * The file is one header page, one page per device, then three picture slots per device. Every field has a fixed
 * size and a natural alignment; control.py holds the same layout as a numpy record and both refuse a file whose
 * magic, version or strides differ. Bump LAYOUT_VERSION on any change. */
#ifndef VIRTUAL_CAMERA_CONTROL_LAYOUT_H
#define VIRTUAL_CAMERA_CONTROL_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_MAGIC "VCAMCTRL"
#define LAYOUT_VERSION 1u
#define MAX_DEVICES 4u
#define LINES 2u
#define PICTURE_SLOTS 3u
#define MAX_PICTURE_WIDTH 2448u
#define MAX_PICTURE_HEIGHT 2048u
#define NO_PICTURE UINT32_MAX
#define PAGE_BYTES 4096u
#define CHUNKS 6u

enum fault_kind { /* the numbers are those of the SimFault enumeration */
    FAULT_NONE,
    FAULT_DROP_FRAME,
    FAULT_LOSE_TRIGGER,
    FAULT_INCOMPLETE,
    FAULT_DELAY,
    FAULT_DISCONNECT,
    FAULT_KINDS_MAX = 16
};

enum loss_style { LOSS_SILENT, LOSS_ERROR, LOSS_STRICT, LOSS_BLOCK, LOSS_STYLES };

enum counter {
    COUNT_TRIGGERS,    /* triggers the camera saw: accepted and missed */
    COUNT_MISSED,      /* of these, ignored because it was busy or not acquiring */
    COUNT_LOST,        /* eaten by LoseTrigger: the camera never saw them */
    COUNT_EXPOSED,     /* exposures started, each takes a frame id */
    COUNT_DELIVERED,   /* buffers handed to the consumer, incomplete ones too */
    COUNT_UNDERRUNS,   /* no buffer was queued */
    COUNT_DROPPED,     /* eaten by DropFrame */
    COUNT_INCOMPLETE,
    COUNT_DELAYED,
    COUNT_DISCONNECTS,
    COUNT_LAST_PART,   /* part number of the picture exposed last */
    COUNTERS_MAX = 16
};

struct picture_slot {
    uint32_t sequence; /* odd while it is being written */
    uint32_t width, height, channels;
    uint64_t part_number;
    uint64_t reserved;
};

struct fault_record {
    uint64_t armed;         /* count << 32 | skip, one word so that arming is one store */
    uint32_t parameter;     /* percent, ms */
    uint32_t loss_style;
    uint32_t settings_lost;
    uint32_t block_ms;
};

/* What a user set holds. The offsets are register addresses of camera.xml. */
struct settings {
    uint32_t width, height, offset_x, offset_y;
    uint32_t pixel_format, acquisition_mode, acquisition_frame_count, trigger_mode;
    uint32_t trigger_source, trigger_activation, chunk_mode_active, reserved;
    uint32_t chunk_enable[8];
    double exposure_us, gain_db, frame_rate_hz, trigger_delay_us, black_level, reserved_f;
};
static_assert(sizeof(struct settings) == 0x80, "camera.xml has these addresses");

struct registers {
    struct settings settings;
    uint32_t user_set_selector, user_set_default, trigger_selector, line_selector; /* 0x80 */
    uint32_t counter_selector, chunk_selector, sim_fault, sim_fault_skip;          /* 0x90 */
    uint32_t sim_fault_count, sim_filled_percent, sim_delay_ms, sim_gone_ms;       /* 0xA0 */
    uint32_t sim_loss_style, sim_settings_lost, sim_block_ms, reserved;            /* 0xB0 */
    char device_user_id[64];                                                       /* 0xC0 */
    uint32_t spare[64];                                                            /* 0x100 */
};
static_assert(sizeof(struct registers) == 0x200, "camera.xml has these addresses");

struct device_page {
    uint32_t wake;            /* futex: every change that the sensor thread must see adds one */
    uint32_t present;         /* 0: unplugged */
    uint64_t gone_until_ns;   /* CLOCK_MONOTONIC; 0: until told */
    uint32_t loss_generation; /* a handle opened before the last loss stays dead */
    uint32_t loss_style;
    uint32_t settings_lost;   /* the return is a power-up */
    uint32_t block_ms;
    uint32_t line_status;     /* bit n: LineN is high */
    uint32_t latest_picture;  /* slot shown now, NO_PICTURE: none */
    uint32_t rising[LINES];   /* edges seen by LineN since the file was made */
    uint32_t falling[LINES];
    double temperature_c;
    struct picture_slot pictures[PICTURE_SLOTS];
    struct fault_record faults[FAULT_KINDS_MAX];
    uint64_t counters[COUNTERS_MAX];
    uint64_t trigger_counter; /* Counter0, reset by CounterReset and by a power-up */
    uint64_t missed_counter;  /* Counter1 */
    uint8_t pad[1024 - 688];
    struct registers registers;
    struct settings user_sets[2];
    uint32_t sensor_width, sensor_height; /* the registers above are valid for this sensor */
    uint8_t pad_end[PAGE_BYTES - 1024 - 0x200 - 2 * 0x80 - 8];
};
static_assert(offsetof(struct device_page, pictures) == 64, "layout");
static_assert(offsetof(struct device_page, faults) == 160, "layout");
static_assert(offsetof(struct device_page, counters) == 544, "layout");
static_assert(offsetof(struct device_page, registers) == 1024, "layout");
static_assert(sizeof(struct device_page) == PAGE_BYTES, "layout");

struct control_header {
    char magic[8];
    uint32_t version;
    uint32_t devices;
    uint32_t device_stride;
    uint32_t picture_slots;
    uint64_t picture_offset; /* of device 0, slot 0 */
    uint64_t picture_stride; /* from slot to slot */
    uint32_t sensor_width, sensor_height;
};
static_assert(sizeof(struct control_header) == 48, "layout");

#endif
