/* What stands before the lens, and how exposure, gain and pixel format turn it into a frame.
 *
 * Sources, first that has something: the control file, VIRTUAL_CAMERA_FOLDER (next picture per exposure), a moving
 * test pattern. A picture is 8 bit, grey or RGB, and lies centred on the sensor; beside it is dark. At 1000 us and
 * 0 dB pixels come out as they are. */
#define _GNU_SOURCE
#include "camera.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REFERENCE_EXPOSURE_US 1000.0
#define MAX_FILES 4096

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Mono12 is written in the machine's byte order");

struct source {
    const uint8_t *pixels;
    uint32_t width, height, channels;
    uint32_t pattern_shift; /* of the test pattern: pixels then is a ramp */
    bool pattern;
};

/* -------------------------------------------------------------------- folder */

struct file {
    uint8_t *mapping;
    size_t bytes;
    struct source source;
};

static struct file files[MAX_FILES];
static uint32_t file_count;
static uint32_t next_file[MAX_DEVICES];

/* Reads one number of a PNM header, skipping white space and comments; 0 when there is none. */
static uint32_t header_number(const uint8_t *text, size_t bytes, size_t *place)
{
    while (*place < bytes && (text[*place] == '#' || text[*place] == ' ' || (text[*place] >= 9 && text[*place] <= 13))) {
        if (text[*place] == '#')
            while (*place < bytes && text[*place] != '\n')
                ++*place;
        else
            ++*place;
    }
    uint32_t value = 0;
    while (*place < bytes && text[*place] >= '0' && text[*place] <= '9' && value < 100000)
        value = value * 10 + (uint32_t)(text[(*place)++] - '0');
    return value;
}

static bool parse_pnm(struct file *file)
{
    const uint8_t *text = file->mapping;
    if (file->bytes < 8 || text[0] != 'P' || (text[1] != '5' && text[1] != '6'))
        return false;
    size_t place = 2;
    uint32_t width = header_number(text, file->bytes, &place);
    uint32_t height = header_number(text, file->bytes, &place);
    uint32_t most = header_number(text, file->bytes, &place);
    uint32_t channels = text[1] == '5' ? 1 : 3;
    place++; /* one white space, then the pixels */
    if (!width || !height || width > 16384 || height > 16384 || most != 255 || place > file->bytes ||
        file->bytes - place < (size_t)width * height * channels)
        return false;
    file->source = (struct source){text + place, width, height, channels, 0, false};
    return true;
}

static int is_picture(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && (strcmp(dot, ".pgm") == 0 || strcmp(dot, ".ppm") == 0);
}

static GC_ERROR load_file(const char *path)
{
    struct file *file = &files[file_count];
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size <= 0) {
        if (fd >= 0)
            close(fd);
        return fail(GC_ERR_IO, "picture %s cannot be read: %s", path, fd < 0 ? strerror(errno) : "it is empty");
    }
    file->bytes = (size_t)status.st_size;
    void *place = mmap(NULL, file->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (place == MAP_FAILED)
        return fail(GC_ERR_IO, "picture %s cannot be mapped: %s", path, strerror(errno));
    file->mapping = place;
    file_count++;
    if (!parse_pnm(file))
        return fail(GC_ERR_IO, "picture %s is not an 8-bit binary PGM or PPM", path);
    return GC_ERR_SUCCESS;
}

GC_ERROR load_folder(void)
{
    const char *folder = getenv("VIRTUAL_CAMERA_FOLDER");
    if (!folder || !*folder)
        return GC_ERR_SUCCESS;
    struct dirent **names;
    int n = scandir(folder, &names, is_picture, alphasort);
    if (n < 0)
        return fail(GC_ERR_IO, "VIRTUAL_CAMERA_FOLDER %s: %s", folder, strerror(errno));
    GC_ERROR result = n == 0 ? fail(GC_ERR_IO, "VIRTUAL_CAMERA_FOLDER %s holds no .pgm or .ppm picture", folder)
                      : n > MAX_FILES
                          ? fail(GC_ERR_IO, "VIRTUAL_CAMERA_FOLDER %s holds %d pictures, at most %d", folder, n, MAX_FILES)
                          : GC_ERR_SUCCESS;
    for (int i = 0; i < n; i++) {
        char path[4352];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (!result)
            result = load_file(path);
        free(names[i]);
    }
    free(names);
    if (result)
        close_folder();
    return result;
}

void close_folder(void)
{
    for (uint32_t i = 0; i < file_count; i++)
        munmap(files[i].mapping, files[i].bytes);
    file_count = 0;
    memset(next_file, 0, sizeof next_file);
}

/* --------------------------------------------------------------------- source */

static bool shown_picture(struct device *device, struct source *out, uint32_t *slot, uint32_t *sequence)
{
    *slot = LOAD(&device->page->latest_picture);
    const uint8_t *pixels = control_picture(device->index, *slot);
    if (!pixels)
        return false;
    const struct picture_slot *place = &device->page->pictures[*slot];
    *sequence = LOAD(&place->sequence);
    *out = (struct source){pixels, place->width, place->height, place->channels, 0, false};
    return (out->channels == 1 || out->channels == 3) && out->width && out->height && out->width <= 16384 &&
           out->height <= 16384 &&
           (size_t)out->width * out->height * out->channels <= control_picture_bytes();
}

static struct source other_source(struct device *device, const struct frame *frame)
{
    static uint8_t ramp[MAX_SENSOR + 256];
    if (file_count) {
        uint32_t n = __atomic_fetch_add(&next_file[device->index], 1, __ATOMIC_RELAXED);
        return files[n % file_count].source;
    }
    if (ramp[1] == 0)
        for (uint32_t i = 0; i < sizeof ramp; i++)
            __atomic_store_n(&ramp[i], (uint8_t)i, __ATOMIC_RELAXED);
    return (struct source){ramp, device->page->sensor_width, device->page->sensor_height, 1,
                           (uint32_t)frame->id * 8, true};
}

static const uint8_t *source_row(const struct source *source, uint32_t y)
{
    if (source->pattern)
        return source->pixels + ((y + source->pattern_shift) & 255);
    return source->pixels + (size_t)y * source->width * source->channels;
}

/* ----------------------------------------------------------------- conversion */

/* Fixed point with 16 fractional bits, for any factor and black level. */
static void scale_to_8(const uint8_t *restrict in, uint8_t *restrict out, size_t n, uint32_t factor, uint32_t offset)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t value = (in[i] * factor + offset) >> 16;
        out[i] = (uint8_t)(value > 255 ? 255 : value);
    }
}

/* The usual case four times as fast: 16-bit multiplications, which every vector unit has. `mantissa` has its top bit
 * set; the result is in * mantissa / 2^(shift + 9), rounded, at most 1/16 of a grey value beside the exact one. */
static void scale_to_8_fast(const uint8_t *restrict in, uint8_t *restrict out, size_t n, uint16_t mantissa, int shift)
{
    uint16_t half = (uint16_t)(1u << shift >> 1);
    for (size_t i = 0; i < n; i++) {
        uint16_t wide = (uint16_t)(in[i] << 8);
        uint16_t high = (uint16_t)((uint32_t)wide * mantissa >> 16);
        uint16_t value = (uint16_t)((uint16_t)((high >> 1) + half) >> shift);
        out[i] = (uint8_t)(value > 255 ? 255 : value);
    }
}

static void widen_to_12(const uint8_t *restrict in, uint16_t *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint16_t)(in[i] << 4);
}

static void scale_to_12(const uint8_t *restrict in, uint16_t *restrict out, size_t n, uint32_t factor,
                        uint32_t offset)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t value = (in[i] * factor + offset) >> 12;
        out[i] = (uint16_t)(value > 4095 ? 4095 : value);
    }
}

/* One row of n source pixels in the format's own samples, still 8 bit. x, y: sensor position, for the Bayer phase. */
static const uint8_t *samples(const struct source *source, const uint8_t *row, uint32_t format, uint32_t n,
                              uint32_t x, uint32_t y, uint8_t *work)
{
    if (format == PFNC_RGB8) {
        if (source->channels == 3)
            return row;
        for (uint32_t i = 0; i < n; i++)
            work[3 * i] = work[3 * i + 1] = work[3 * i + 2] = row[i];
        return work;
    }
    if (source->channels == 1)
        return row;
    if (format == PFNC_BAYER_RG8) {
        for (uint32_t i = 0; i < n; i++) /* RG over GB: the colour's index is the number of odd coordinates */
            work[i] = row[3 * i + ((x + i) & 1) + (y & 1)];
        return work;
    }
    for (uint32_t i = 0; i < n; i++)
        work[i] = (uint8_t)((77u * row[3 * i] + 150u * row[3 * i + 1] + 29u * row[3 * i + 2] + 128u) >> 8);
    return work;
}

static void render_source(const struct device *device, const struct source *source, const struct frame *frame,
                          uint8_t *out, uint32_t rows)
{
    const struct settings *settings = &frame->settings;
    double gain = settings->exposure_us / REFERENCE_EXPOSURE_US * pow(10.0, settings->gain_db / 20.0);
    if (gain > 256.0)
        gain = 256.0; /* everything but black is white long before */
    uint32_t factor = (uint32_t)(gain * 65536.0 + 0.5), black = (uint32_t)(settings->black_level * 65536.0 + 0.5);
    bool plain = factor == 65536 && black == 0;
    int exponent; /* gain is in [2^(exponent - 1), 2^exponent) */
    uint16_t mantissa = (uint16_t)(frexp(gain, &exponent) * 65536.0);
    int shift = 7 - exponent;
    bool fast = black == 0 && shift >= 4 && shift <= 15;
    bool wide = settings->pixel_format == PFNC_MONO12;
    uint32_t per_pixel = settings->pixel_format == PFNC_RGB8 ? 3 : 1; /* samples */
    size_t stride = (size_t)settings->width * per_pixel * (wide ? 2 : 1);

    int64_t left = ((int64_t)device->page->sensor_width - source->width) / 2;
    int64_t top = ((int64_t)device->page->sensor_height - source->height) / 2;
    int64_t first = left > settings->offset_x ? left - settings->offset_x : 0; /* first column with a picture */
    int64_t end = left + source->width - settings->offset_x;
    if (end > settings->width)
        end = settings->width;
    uint32_t n = end > first ? (uint32_t)(end - first) : 0;
    uint32_t source_x = n ? (uint32_t)(settings->offset_x + first - left) : 0;

    static const uint8_t dark[3 * MAX_SENSOR];
    uint8_t work[3 * MAX_SENSOR], line[3 * MAX_SENSOR];
    uint16_t wide_line[MAX_SENSOR];
    for (uint32_t y = 0; y < rows; y++, out += stride) {
        int64_t source_y = (int64_t)y + settings->offset_y - top;
        const uint8_t *row = dark;
        if (n && source_y >= 0 && source_y < source->height) {
            const uint8_t *from = source_row(source, (uint32_t)source_y) + (size_t)source_x * source->channels;
            row = samples(source, from, settings->pixel_format, n, settings->offset_x + (uint32_t)first,
                          settings->offset_y + y, work);
            if (n != settings->width) {
                memset(line, 0, (size_t)settings->width * per_pixel);
                memcpy(line + (size_t)first * per_pixel, row, (size_t)n * per_pixel);
                row = line;
            }
        }
        if (wide && plain) {
            widen_to_12(row, wide_line, settings->width);
            memcpy(out, wide_line, stride);
        } else if (wide) {
            scale_to_12(row, wide_line, settings->width, factor, black + 0x800);
            memcpy(out, wide_line, stride);
        } else if (plain) {
            memcpy(out, row, stride);
        } else if (fast) {
            scale_to_8_fast(row, out, stride, mantissa, shift);
        } else {
            scale_to_8(row, out, stride, factor, black + 0x8000);
        }
    }
}

void render(struct device *device, const struct frame *frame, uint8_t *out, uint32_t rows)
{
    struct source source;
    uint32_t slot, sequence;
    /* Three slots: a writer must show two more pictures within one render to disturb it. Then take the newer one. */
    for (int tries = 0; tries < 4 && shown_picture(device, &source, &slot, &sequence); tries++) {
        const struct picture_slot *place = &device->page->pictures[slot];
        uint64_t part = place->part_number;
        render_source(device, &source, frame, out, rows);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(sequence & 1) && LOAD(&place->sequence) == sequence) {
            STORE(&device->page->counters[COUNT_LAST_PART], part);
            return;
        }
    }
    if (LOAD(&device->page->latest_picture) == NO_PICTURE) {
        source = other_source(device, frame);
        render_source(device, &source, frame, out, rows);
    }
}
