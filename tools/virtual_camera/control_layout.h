/* What lies where in the control file: the contract between this producer and control.py.
 *
 * The file is one header page, one page per device, then the picture slots of every device, scene by scene. Every
 * field has a fixed size and a natural alignment; control.py holds the same layout as a numpy record and both refuse
 * a file whose magic, version or strides differ. Bump LAYOUT_VERSION on any change. */
#ifndef VIRTUAL_CAMERA_CONTROL_LAYOUT_H
#define VIRTUAL_CAMERA_CONTROL_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_MAGIC "VCAMCTRL"
#define LAYOUT_VERSION 2u
#define MAX_DEVICES 4u
#define LINES 2u  /* inputs: Line0, Line1 */
#define LIGHTS 2u /* outputs behind them: Line2, Line3 */
#define SCENES (1u + LIGHTS)
#define PICTURE_SLOTS 3u
#define MAX_PICTURE_WIDTH 2448u
#define MAX_PICTURE_HEIGHT 2048u
#define NO_PICTURE UINT32_MAX
#define PAGE_BYTES 4096u
#define CHUNKS 7u
#define SEQUENCER_SETS 8u
#define ANY_ADDRESS UINT32_MAX

enum fault_kind { /* the numbers are those of the SimFault enumeration */
    FAULT_NONE,
    FAULT_DROP_FRAME,
    FAULT_LOSE_TRIGGER,
    FAULT_INCOMPLETE,
    FAULT_DELAY,
    FAULT_DISCONNECT,
    FAULT_EXTRA_TRIGGER,
    FAULT_DUPLICATE,
    FAULT_OUT_OF_ORDER,
    FAULT_WRONG_FRAME_ID,
    FAULT_STREAM_ERROR,
    FAULT_PORT_ERROR,
    FAULT_SLOW_PORT,
    FAULT_OPEN_BUSY,
    FAULT_SETTINGS_LOST,
    FAULT_OVERHEAT,
    FAULT_LINE_STUCK,
    FAULT_BAD_IMAGE,
    FAULT_SIZE_MISMATCH,
    FAULT_BAD_CHUNK,
    FAULT_KINDS,
    FAULT_KINDS_MAX = 32
};

enum loss_style { LOSS_SILENT, LOSS_ERROR, LOSS_STRICT, LOSS_BLOCK, LOSS_STYLES };
enum port_error { PORT_IO, PORT_TIMEOUT, PORT_ERRORS };
enum open_error { OPEN_RESOURCE_IN_USE, OPEN_ACCESS_DENIED, OPEN_ERRORS };
enum bad_image { IMAGE_BLACK, IMAGE_SATURATED, IMAGE_NOISY, IMAGE_SHIFTED, IMAGE_BLURRED, BAD_IMAGES };
enum bad_chunk { CHUNK_MISSING, CHUNK_WRONG_LENGTH, CHUNK_WRONG_ID, BAD_CHUNKS };

enum counter {
    COUNT_TRIGGERS,    /* triggers the camera saw: accepted and missed, extra ones too */
    COUNT_MISSED,      /* of these, ignored because it was busy or not acquiring */
    COUNT_LOST,        /* eaten by LoseTrigger: the camera never saw them */
    COUNT_EXPOSED,     /* exposures started, each takes a frame id */
    COUNT_DELIVERED,   /* buffers handed to the consumer, incomplete and doubled ones too */
    COUNT_UNDERRUNS,   /* no buffer was queued */
    COUNT_DROPPED,     /* eaten by DropFrame */
    COUNT_INCOMPLETE,
    COUNT_DELAYED,
    COUNT_DISCONNECTS,
    COUNT_LAST_PART,   /* part number of the picture exposed last */
    COUNT_EXTRA,       /* triggers made by ExtraTrigger */
    COUNT_DUPLICATED,  /* frames delivered a second time */
    COUNT_REORDERED,   /* frames that went behind a later one */
    COUNT_RENUMBERED,  /* jumps of the frame id */
    COUNT_STREAM_ERRORS,
    COUNT_PORT_ERRORS,
    COUNT_SLOW_PORTS,
    COUNT_BUSY_OPENS,
    COUNT_SETTINGS_LOST,
    COUNT_STUCK,       /* edges not seen because the line was stuck */
    COUNT_BAD_IMAGES,
    COUNT_OVERSIZED,   /* eaten by SizeMismatch */
    COUNT_BAD_CHUNKS,
    COUNTERS_MAX = 32
};

struct picture_slot {
    uint32_t sequence; /* odd while it is being written */
    uint32_t width, height, channels;
    uint64_t part_number;
    uint64_t reserved;
};

struct fault_record {
    uint64_t armed;         /* count << 32 | skip, one word so that arming is one store */
    uint32_t parameter;     /* percent, ms, jump, degrees, line, amount */
    uint32_t choice;        /* of the kind's own enumeration */
    uint32_t settings_lost; /* Disconnect */
    uint32_t milliseconds;  /* Disconnect: how long a call hangs; Overheat: of the ramp */
    uint32_t address;       /* PortError, SlowPort: ANY_ADDRESS or that of one register */
    uint32_t reserved;
};
static_assert(sizeof(struct fault_record) == 32, "layout");

/* What a user set holds. The offsets are register addresses of camera.xml. */
struct settings {
    uint32_t width, height, offset_x, offset_y;
    uint32_t pixel_format, acquisition_mode, acquisition_frame_count, trigger_mode;
    uint32_t trigger_source, trigger_activation, chunk_mode_active, reserved;
    uint32_t chunk_enable[8];
    double exposure_us, gain_db, frame_rate_hz, trigger_delay_us, black_level;
    uint32_t line_source[LIGHTS]; /* Line2, Line3: 0 Off, 1 ExposureActive */
};
static_assert(sizeof(struct settings) == 0x80, "camera.xml has these addresses");

struct sequencer_set {
    double exposure_us, gain_db;
    uint32_t line_source[LIGHTS];
    uint32_t next, trigger_source;
};
static_assert(sizeof(struct sequencer_set) == 32, "camera.xml has these addresses");

/* The world around the sensor and the habits of the maker. A power-up leaves them alone; all zeros is the default. */
struct simulation {
    uint32_t seed, line_padding_bytes, image_offset_bytes, sequencer_hidden; /* 0x300 */
    double noise, dark_offset, vignette_percent;                             /* 0x310 */
    int64_t clock_offset_ns;                                                 /* 0x328 */
    double clock_drift_ppm;                                                  /* 0x330 */
    uint64_t clock_anchor_ns; /* the drift counts from here; CLOCK_MONOTONIC */
    uint32_t spare[48];
};
static_assert(sizeof(struct simulation) == 0x100, "camera.xml has these addresses");

struct registers {
    struct settings settings;
    uint32_t user_set_selector, user_set_default, trigger_selector, line_selector;            /* 0x80 */
    uint32_t counter_selector, chunk_selector, sim_fault, sim_fault_skip;                     /* 0x90 */
    uint32_t sim_fault_count, sim_filled_percent, sim_delay_ms, sim_gone_ms;                  /* 0xA0 */
    uint32_t sim_loss_style, sim_settings_lost, sim_block_ms, reserved;                       /* 0xB0 */
    char device_user_id[64];                                                                  /* 0xC0 */
    uint32_t sequencer_mode, sequencer_configuration, sequencer_set_selector, sequencer_path; /* 0x100 */
    uint32_t sequencer_start, chunk_counter_selector, spare[2];                               /* 0x110 */
    uint32_t sim_extra_ms;                                                                    /* 0x120 */
    int32_t sim_frame_id_jump;
    uint32_t sim_port_error, sim_port_delay_ms;
    uint32_t sim_port_address, sim_open_error, sim_temperature_c, sim_ramp_ms;                /* 0x130 */
    uint32_t sim_line, sim_bad_image, sim_amount, sim_bad_chunk;                              /* 0x140 */
    uint32_t spare_2[44];                                                                     /* 0x150 */
    struct sequencer_set sequencer_sets[SEQUENCER_SETS];                                      /* 0x200 */
    struct simulation simulation;                                                             /* 0x300 */
};
static_assert(offsetof(struct registers, sim_extra_ms) == 0x120, "camera.xml has these addresses");
static_assert(offsetof(struct registers, sequencer_sets) == 0x200, "camera.xml has these addresses");
static_assert(offsetof(struct registers, simulation) == 0x300, "camera.xml has these addresses");
static_assert(sizeof(struct registers) == 0x400, "camera.xml has these addresses");

struct device_page {
    uint32_t wake;            /* futex: every change that the sensor thread must see adds one */
    uint32_t present;         /* 0: unplugged */
    uint64_t gone_until_ns;   /* CLOCK_MONOTONIC; 0: until told */
    uint32_t loss_generation; /* a handle opened before the last loss stays dead */
    uint32_t loss_style;
    uint32_t settings_lost;   /* the return is a power-up */
    uint32_t block_ms;
    uint32_t line_status;     /* of the inputs; bit n: LineN is high */
    uint32_t output_status;   /* of the outputs, at the same bits; the camera's own */
    uint32_t latest_picture[SCENES]; /* slot shown now, NO_PICTURE: none; scene 1: by the light on Line2, 2: Line3 */
    uint32_t ramp_ms;
    uint32_t rising[LINES];   /* edges that came to LineN since the file was made */
    uint32_t falling[LINES];
    double temperature_c;     /* until ramp_start_ns, then on the way to ramp_to_c */
    double ramp_to_c;
    uint64_t ramp_start_ns;   /* 0: no ramp */
    struct picture_slot pictures[SCENES][PICTURE_SLOTS];
    uint64_t trigger_counter; /* Counter0, reset by CounterReset and by a power-up */
    uint64_t missed_counter;  /* Counter1 */
    uint8_t pad[1024 - 400];
    struct registers registers;
    struct settings user_sets[2];
    uint32_t sensor_width, sensor_height; /* the registers above are valid for this sensor */
    uint8_t pad_2[2560 - 2312];
    struct fault_record faults[FAULT_KINDS_MAX];
    uint64_t counters[COUNTERS_MAX];
    uint8_t pad_end[PAGE_BYTES - 3840];
};
static_assert(offsetof(struct device_page, pictures) == 96, "layout");
static_assert(offsetof(struct device_page, registers) == 1024, "layout");
static_assert(offsetof(struct device_page, faults) == 2560, "layout");
static_assert(offsetof(struct device_page, counters) == 3584, "layout");
static_assert(sizeof(struct device_page) == PAGE_BYTES, "layout");

struct control_header {
    char magic[8];
    uint32_t version;
    uint32_t devices;
    uint32_t device_stride;
    uint32_t picture_slots;
    uint64_t picture_offset; /* of device 0, scene 0, slot 0 */
    uint64_t picture_stride; /* from slot to slot */
    uint32_t sensor_width, sensor_height;
};
static_assert(sizeof(struct control_header) == 48, "layout");

#endif
