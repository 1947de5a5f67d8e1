/* The control file: mapped, checked, waited on. Without VIRTUAL_CAMERA_CONTROL the same pages are private memory. */
#define _GNU_SOURCE
#include "camera.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char control_path[4096];
static uint8_t *mapping; /* NULL without a control file */
static size_t mapping_bytes;
static struct control_header header;
static struct device_page private_pages[MAX_DEVICES];
static bool locks_made;

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A quartz of its own: an offset, and a drift since it was set. */
uint64_t device_clock_ns(const struct device *device, uint64_t clock)
{
    const struct simulation *simulation = &device->page->registers.simulation;
    double since = (double)(int64_t)(clock - simulation->clock_anchor_ns);
    int64_t own = (int64_t)clock + simulation->clock_offset_ns + (int64_t)(since * simulation->clock_drift_ppm * 1e-6);
    return own > 0 ? (uint64_t)own : 0;
}

void count(struct device *device, enum counter counter, uint64_t more)
{
    ADD(&device->page->counters[counter], more);
}

/* "name" is for the message. Returns false and sets the error when the variable is there and not in [low, high]. */
static bool number_from_environment(const char *name, uint32_t low, uint32_t high, uint32_t *out)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return true;
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || value < low || value > high) {
        fail(GC_ERR_INVALID_VALUE, "%s is \"%s\", allowed is %u to %u", name, text, low, high);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool sensor_from_environment(uint32_t *width, uint32_t *height)
{
    const char *text = getenv("VIRTUAL_CAMERA_SENSOR");
    if (!text || !*text)
        return true;
    unsigned w = 0, h = 0;
    char rest;
    if (sscanf(text, "%ux%u%c", &w, &h, &rest) != 2 || w < 64 || h < 64 || w > MAX_SENSOR || h > MAX_SENSOR ||
        w % 4 || h % 2) {
        fail(GC_ERR_INVALID_VALUE,
             "VIRTUAL_CAMERA_SENSOR is \"%s\", allowed is WIDTHxHEIGHT, each 64 to %u, width a multiple of 4, "
             "height of 2", text, MAX_SENSOR);
        return false;
    }
    *width = w;
    *height = h;
    return true;
}

/* *second when the variable is that word, not *second when it is the first or not there. */
static bool word_from_environment(const char *name, const char *first, const char *second, bool *is_second)
{
    const char *text = getenv(name);
    *is_second = text && strcmp(text, second) == 0;
    if (!text || !*text || *is_second || strcmp(text, first) == 0)
        return true;
    fail(GC_ERR_INVALID_VALUE, "%s is \"%s\", allowed is %s or %s", name, text, first, second);
    return false;
}

static GC_ERROR map_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail(GC_ERR_IO, "control file %s: %s", path, strerror(errno));
    GC_ERROR result = GC_ERR_SUCCESS;
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size < (off_t)PAGE_BYTES ||
        pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        memcmp(header.magic, CONTROL_MAGIC, sizeof header.magic) != 0)
        result = fail(GC_ERR_IO, "%s is not a virtual camera control file", path);
    else if (header.version != LAYOUT_VERSION)
        result = fail(GC_ERR_IO, "control file %s has layout %u, this camera needs %u", path, header.version,
                      LAYOUT_VERSION);
    else if (header.devices < 1 || header.devices > MAX_DEVICES || header.device_stride != PAGE_BYTES ||
             header.picture_slots != PICTURE_SLOTS || header.picture_offset < PAGE_BYTES * (1 + header.devices) ||
             header.picture_stride > (1u << 28) || header.picture_offset > (1u << 28) ||
             header.picture_offset + header.picture_stride * PICTURE_SLOTS * SCENES * header.devices >
                 (uint64_t)status.st_size)
        result = fail(GC_ERR_IO, "control file %s is damaged: its header does not fit its size", path);
    if (result == GC_ERR_SUCCESS) {
        mapping_bytes = (size_t)status.st_size;
        void *place = mmap(NULL, mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (place == MAP_FAILED)
            result = fail(GC_ERR_IO, "control file %s: %s", path, strerror(errno));
        else
            mapping = place;
    }
    close(fd);
    return result;
}

static void make_locks(void)
{
    if (locks_made)
        return;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < MAX_DEVICES; i++) {
        pthread_mutex_init(&devices[i].lock, NULL);
        pthread_cond_init(&devices[i].stream.changed, &monotonic);
    }
    pthread_condattr_destroy(&monotonic);
    locks_made = true;
}

GC_ERROR open_control(void)
{
    uint32_t wanted = 2, width = 1280, height = 1024;
    const char *path = getenv("VIRTUAL_CAMERA_CONTROL");
    if (path && *path) {
        GC_ERROR result = map_file(path);
        if (result)
            return result;
        snprintf(control_path, sizeof control_path, "%s", path);
        wanted = header.devices;
        width = header.sensor_width;
        height = header.sensor_height;
    }
    uint32_t most = mapping ? header.devices : MAX_DEVICES;
    if (!number_from_environment("VIRTUAL_CAMERA_DEVICES", 1, most, &wanted) ||
        !word_from_environment("VIRTUAL_CAMERA_TLTYPE", "Custom", "GEV", &gev) ||
        !word_from_environment("VIRTUAL_CAMERA_SEQUENCER", "on", "off", &sequencer_off) ||
        !sensor_from_environment(&width, &height) || width < 64 || height < 64 || width > MAX_SENSOR ||
        height > MAX_SENSOR) {
        close_control();
        return GC_ERR_INVALID_VALUE;
    }
    make_locks();
    device_count = wanted;
    for (uint32_t i = 0; i < device_count; i++) {
        struct device *device = &devices[i];
        device->index = i;
        device->lock_fd = -1;
        snprintf(device->serial, sizeof device->serial, "VC%04u", i + 1);
        snprintf(device->id, sizeof device->id, "VirtualCamera_VC%04u", i + 1);
        device->page = mapping ? (struct device_page *)(void *)(mapping + PAGE_BYTES * (1 + i)) : &private_pages[i];
        struct device_page *page = device->page;
        if (!mapping && page->sensor_width == 0) {
            page->present = 1;
            for (uint32_t scene = 0; scene < SCENES; scene++)
                page->latest_picture[scene] = NO_PICTURE;
            page->temperature_c = 41.5;
        }
        if (page->sensor_width != width || page->sensor_height != height) {
            page->sensor_width = width;
            page->sensor_height = height;
            memset(&page->registers, 0, offsetof(struct registers, simulation)); /* new, or another sensor: no fit */
            memset(page->user_sets, 0, sizeof page->user_sets);
            power_up(device);
        }
    }
    return GC_ERR_SUCCESS;
}

void close_control(void)
{
    if (mapping)
        munmap(mapping, mapping_bytes);
    mapping = NULL;
    control_path[0] = '\0';
    for (uint32_t i = 0; i < MAX_DEVICES; i++)
        devices[i].page = NULL;
    device_count = 0;
}

const uint8_t *control_picture(uint32_t device, uint32_t scene, uint32_t slot)
{
    if (!mapping || slot >= PICTURE_SLOTS)
        return NULL;
    return mapping + header.picture_offset +
           header.picture_stride * ((device * SCENES + scene) * PICTURE_SLOTS + slot);
}

size_t control_picture_bytes(void)
{
    return mapping ? (size_t)header.picture_stride : 0;
}

/* ------------------------------------------------------- one owner per camera */

/* Open-file-description locks: the kernel drops them with the process, however it dies, and closing another
 * descriptor of the same file does not. */
static struct flock byte_of(const struct device *device, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)device->index, .l_len = 1};
    return lock;
}

GC_ERROR lock_for_us(struct device *device)
{
    if (!mapping)
        return GC_ERR_SUCCESS;
    int fd = open(control_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail(GC_ERR_IO, "control file %s: %s", control_path, strerror(errno));
    struct flock lock = byte_of(device, F_WRLCK);
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        close(fd);
        return fail(GC_ERR_ACCESS_DENIED, "%s is open in another process", device->serial);
    }
    device->lock_fd = fd;
    return GC_ERR_SUCCESS;
}

void unlock_for_us(struct device *device)
{
    if (device->lock_fd >= 0)
        close(device->lock_fd);
    device->lock_fd = -1;
}

bool locked_by_other(struct device *device)
{
    if (!mapping)
        return false;
    int fd = open(control_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct flock lock = byte_of(device, F_WRLCK);
    bool locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return locked;
}

/* -------------------------------------------------------------------- waiting */

void wake_sensor(struct device *device)
{
    ADD(&device->page->wake, 1);
    syscall(SYS_futex, &device->page->wake, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Returns when `wake` is no longer `seen`, at `until_ns` (CLOCK_MONOTONIC; UINT64_MAX: never), or for no reason. */
void wait_for_wake(struct device *device, uint32_t seen, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u), .tv_nsec = (long)(until_ns % 1000000000u)};
    syscall(SYS_futex, &device->page->wake, FUTEX_WAIT_BITSET, seen, until_ns == UINT64_MAX ? NULL : &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
}
