/* The camera's inner structure: static objects, opaque handles, one lock per device. */
#ifndef VIRTUAL_CAMERA_CAMERA_H
#define VIRTUAL_CAMERA_CAMERA_H

#include "control_layout.h"
#include "gentl.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define VENDOR "Inspector"
#define MODEL "VirtualCamera"
#define FIRMWARE "1.0.0"

#define MAX_SENSOR 4096u
#define MAX_BUFFERS 1024u /* power of two: the rings rely on it */
#define NO_BUFFER UINT32_MAX

#define CHUNK_ID_BASE 0xC0DE0000u /* as in camera.xml; itself it is the image under GEV */
#define GEV_TICK_NS 8u            /* the clock of the GEV personality runs at 125 MHz */

/* PFNC codes; their second byte is the number of bits a pixel takes */
#define PFNC_MONO8 0x01080001u
#define PFNC_BITS(format) ((format) >> 16 & 0xFFu)

enum acquisition_mode { ACQUISITION_CONTINUOUS, ACQUISITION_SINGLE_FRAME, ACQUISITION_MULTI_FRAME };
enum trigger_source { TRIGGER_SOFTWARE, TRIGGER_LINE0, TRIGGER_LINE1 };
enum trigger_activation { RISING_EDGE, FALLING_EDGE };
enum sequencer_trigger { SEQUENCER_OFF, SEQUENCER_FRAME_START, SEQUENCER_EXPOSURE_END, SEQUENCER_TRIGGERS };

/* ------------------------------------------------------------------ handles */

/* A handle is a number, never a pointer: kind, device, generation of the opening, buffer slot. Everything it names
 * lives in static memory, so a stale handle is answered with INVALID_HANDLE and can never touch freed memory. */
enum module_kind { KIND_SYSTEM = 1, KIND_INTERFACE, KIND_DEVICE, KIND_PORT, KIND_STREAM, KIND_BUFFER, KIND_EVENT };

struct handle {
    enum module_kind kind;
    uint32_t device, generation, slot;
};

void *make_handle(enum module_kind kind, uint32_t device, uint32_t generation, uint32_t slot);
bool read_handle(void *value, struct handle *out);

/* ------------------------------------------------------------------- frames */

struct layout { /* of a payload */
    size_t line_bytes, padding, offset; /* of the image */
    size_t image_end;                   /* offset, lines, paddings */
    size_t payload;                     /* with the chunks */
};

struct frame {
    struct settings settings; /* as they were when the exposure started, the sequencer's set in place */
    struct layout layout;
    uint64_t id, timestamp_ns; /* of the device's clock */
    uint64_t number;           /* exposures since the control file was made: noise differs by it */
    uint32_t line_status, trigger_counter, sequencer_set;
    uint32_t scene, picture, picture_sequence; /* what stood before the lens at the start; it is drawn later */
    uint32_t buffer; /* slot being filled, NO_BUFFER */
    uint32_t filled_percent;
    uint64_t delay_ns;
    bool duplicate, out_of_order, oversized;
    bool bad_image, bad_chunk;
    struct fault_record image_fault, chunk_fault;
};

enum buffer_state { BUFFER_UNUSED, BUFFER_ANNOUNCED, BUFFER_QUEUED, BUFFER_FILLING, BUFFER_LATE, BUFFER_HELD,
                    BUFFER_OUTPUT, BUFFER_DELIVERED };

struct buffer {
    enum buffer_state state;
    uint32_t generation;
    uint8_t *memory;
    size_t size;
    void *user;
    bool own_memory, new_data, incomplete, too_large;
    struct frame frame;
    size_t filled_bytes;
    uint32_t filled_rows;
    uint32_t chunk_mask; /* of the chunks that follow the image */
    uint64_t due_ns;     /* BUFFER_LATE: when to deliver */
};

struct ring {
    uint32_t slots[MAX_BUFFERS];
    uint32_t head, count;
};

struct stream {
    bool open, started, event_registered, event_killed;
    uint32_t event_generation;
    struct buffer buffers[MAX_BUFFERS];
    uint32_t announced;
    struct ring input, late, held, output;
    uint64_t delivered, underruns, started_frames, events_fired;
    pthread_cond_t changed; /* output grew, filling ended, device lost, event killed */
};

/* ------------------------------------------------------------------- device */

enum sensor_state { SENSOR_IDLE, SENSOR_DELAYED, SENSOR_EXPOSING };

#define MAX_EXTRA 16u

struct device {
    uint32_t index;
    char serial[16], id[40];
    struct device_page *page; /* in the control file, or private memory without one */

    pthread_mutex_t lock; /* guards everything below */
    bool open, closing;
    uint32_t generation;      /* of the opening, in every handle */
    uint32_t loss_generation; /* page->loss_generation when it was opened */
    int lock_fd;              /* keeps other processes out */

    pthread_t sensor_thread;
    bool thread_runs, quit;
    bool acquiring, rendering, tl_params_locked;
    uint32_t acquisition_epoch; /* a frame begun before a stop is not delivered after it */
    enum sensor_state state;
    uint64_t start_at_ns, exposure_end_ns, next_free_run_ns;
    uint64_t next_frame_id, frames_left;
    uint32_t seen_edges, seen_input, sequencer_active;
    uint64_t timestamp_latch_ns;
    uint64_t extra_after_ns[MAX_EXTRA]; /* ExtraTrigger: this long after the exposure under way */
    uint64_t extra_at_ns[MAX_EXTRA];
    uint32_t extra_waiting, extra_due;
    struct frame frame;

    struct stream stream;
};

extern struct device devices[MAX_DEVICES];
extern uint32_t device_count;
extern bool library_ready;
extern bool gev;           /* VIRTUAL_CAMERA_TLTYPE=GEV */
extern bool sequencer_off; /* VIRTUAL_CAMERA_SEQUENCER=off */
const char *tl_type(void);

GC_ERROR open_device(struct device *device);
void close_device(struct device *device);
int32_t access_status(struct device *device);
/* Locks the device when `value` is a live handle of that kind; otherwise sets the error and returns NULL. */
struct device *lock_module(void *value, enum module_kind kind);
GC_ERROR device_info(struct device *device, int32_t command, INFO_DATATYPE *type, void *out, size_t *size);

/* ------------------------------------------------------------------- sensor (sensor.c) */

void *sensor_main(void *device);
void start_acquisition(struct device *device);
void stop_acquisition(struct device *device);
void software_trigger(struct device *device);
void rebase_edges(struct device *device); /* edges before now are none of the new trigger source's */

/* ------------------------------------------------------------------- stream */

uint32_t stream_take_input(struct device *device);
void stream_give_back(struct device *device, uint32_t slot);
void stream_deliver(struct device *device, uint32_t slot);
void stream_deliver_late(struct device *device, uint64_t now_ns, uint64_t *next_ns);
void stream_close(struct device *device);
void ring_push(struct ring *ring, uint32_t slot);
uint32_t ring_pop(struct ring *ring);
struct layout layout_of(const struct device *device, const struct settings *settings);
uint32_t chunk_mask(const struct settings *settings);
void write_chunks(struct buffer *buffer);
size_t list_chunks(const struct buffer *buffer, SINGLE_CHUNK_DATA out[CHUNKS]);

/* ----------------------------------------------------------------- registers */

void power_up(struct device *device); /* registers as after switching on */
GC_ERROR read_registers(struct device *device, uint64_t address, void *out, size_t size);
GC_ERROR write_register(struct device *device, uint64_t address, const void *in, size_t size);
const char *xml_url(void);
uint64_t xml_size(void);

/* -------------------------------------------------------------------- faults */

bool fault_fires(struct device *device, enum fault_kind kind, struct fault_record *record);
GC_ERROR arm_fault(struct device *device);
void lose_device(struct device *device, const struct fault_record *how);
bool device_present(struct device *device);
bool device_lost(struct device *device); /* since it was opened */
void faults_at_once(struct device *device);
void faults_of_frame(struct device *device); /* counts the same down by one frame */
double temperature(const struct device *device);
uint32_t line_levels(const struct device *device); /* as the camera sees them */
/* PortError and SlowPort: may let the device go for a while, and tells when it was closed meanwhile. */
GC_ERROR port_answer(struct device *device, uint64_t address);
/* What a call on a lost device answers: SUCCESS when it is not lost or its style does not reach this call. */
enum call { CALL_PORT, CALL_EVENT, CALL_STREAM };
GC_ERROR loss_answer(struct device *device, enum call call);

/* ------------------------------------------------------------------ pictures */

GC_ERROR load_folder(void);
void close_folder(void);
bool pixel_format_known(uint32_t format);
/* Fills rows [0, rows) of the frame's region from what stands before the lens now. `out`: the image's first byte. */
void look(struct device *device, struct frame *frame);
/* False: what stood there at the start is gone, and the picture must not be delivered as whole. */
bool render(struct device *device, const struct frame *frame, uint8_t *out, uint32_t rows);

/* ------------------------------------------------------------------- control */

GC_ERROR open_control(void);
void close_control(void);
const uint8_t *control_picture(uint32_t device, uint32_t scene, uint32_t slot);
size_t control_picture_bytes(void);
GC_ERROR lock_for_us(struct device *device);
void unlock_for_us(struct device *device);
bool locked_by_other(struct device *device);
void wake_sensor(struct device *device);
void wait_for_wake(struct device *device, uint32_t seen, uint64_t until_ns);
uint64_t clock_ns(void); /* CLOCK_MONOTONIC: all waiting is by it */
uint64_t device_clock_ns(const struct device *device, uint64_t clock); /* the same moment by the camera's own clock */
void count(struct device *device, enum counter counter, uint64_t more);

/* ---------------------------------------------------------------------- info */

GC_ERROR fail(GC_ERROR code, const char *format, ...) __attribute__((format(printf, 2, 3)));
GC_ERROR put_string(const char *value, INFO_DATATYPE *type, void *out, size_t *size);
GC_ERROR put_i32(int32_t value, INFO_DATATYPE *type, void *out, size_t *size);
GC_ERROR put_u32(uint32_t value, INFO_DATATYPE *type, void *out, size_t *size);
GC_ERROR put_u64(uint64_t value, INFO_DATATYPE *type, void *out, size_t *size);
GC_ERROR put_size(size_t value, INFO_DATATYPE *type, void *out, size_t *size);
GC_ERROR put_bool(bool value, INFO_DATATYPE *type, void *out, size_t *size);
GC_ERROR put_pointer(void *value, INFO_DATATYPE *type, void *out, size_t *size);

/* Shared-memory words are read and written by other processes, too. */
#define LOAD(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
#define ADD(place, value) __atomic_add_fetch((place), (value), __ATOMIC_ACQ_REL)

#endif
