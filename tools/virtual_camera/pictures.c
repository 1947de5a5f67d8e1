/* What stands before the lens, and how exposure, gain and pixel format turn it into a frame.
 *
 * Sources, first that has something: the control file, VIRTUAL_CAMERA_FOLDER (next picture per exposure), a moving
 * test pattern. A picture is 8 bit, grey or RGB, and lies centred on the sensor; beside it is dark. At 1000 us and
 * 0 dB pixels come out as they are; formats of more bits have a known pattern below the eight. */
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

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "16-bit formats are written in the machine's byte order");

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

/* A light that is on shows its own picture, when there is one. */
static uint32_t scene_of(const struct device *device, const struct frame *frame)
{
    for (uint32_t light = 0; light < LIGHTS; light++)
        if (frame->settings.line_source[light] && LOAD(&device->page->latest_picture[1 + light]) != NO_PICTURE)
            return 1 + light;
    return 0;
}

void look(struct device *device, struct frame *frame)
{
    frame->scene = scene_of(device, frame);
    frame->picture = LOAD(&device->page->latest_picture[frame->scene]);
    if (frame->picture < PICTURE_SLOTS)
        frame->picture_sequence = LOAD(&device->page->pictures[frame->scene][frame->picture].sequence);
}

static bool shown_picture(struct device *device, uint32_t scene, struct source *out, uint32_t slot,
                          uint32_t *sequence)
{
    const uint8_t *pixels = control_picture(device->index, scene, slot);
    if (!pixels)
        return false;
    const struct picture_slot *place = &device->page->pictures[scene][slot];
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
                           (uint32_t)frame->number * 8, true};
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

/* ------------------------------------------------------------------- formats */

enum packing { BYTES, WORDS, DENSE, GIGE }; /* DENSE: "p" of the PFNC, bits in a row; GIGE: "Packed", low bits apart */
enum colour { GREY, RGB, BGR, BAYER };

struct format {
    uint32_t code;
    uint8_t bits;
    enum packing packing;
    enum colour colour;
    uint8_t red_x, red_y; /* BAYER: where the red pixel is */
};

static const struct format formats[] = {
    {PFNC_MONO8, 8, BYTES, GREY, 0, 0},    {0x01100003, 10, WORDS, GREY, 0, 0},  {0x01100005, 12, WORDS, GREY, 0, 0},
    {0x01100025, 14, WORDS, GREY, 0, 0},   {0x01100007, 16, WORDS, GREY, 0, 0},  {0x010A0046, 10, DENSE, GREY, 0, 0},
    {0x010C0047, 12, DENSE, GREY, 0, 0},   {0x010C0004, 10, GIGE, GREY, 0, 0},   {0x010C0006, 12, GIGE, GREY, 0, 0},
    {0x01080008, 8, BYTES, BAYER, 1, 0},   {0x01080009, 8, BYTES, BAYER, 0, 0},  {0x0108000A, 8, BYTES, BAYER, 0, 1},
    {0x0108000B, 8, BYTES, BAYER, 1, 1},   {0x0110000C, 10, WORDS, BAYER, 1, 0}, {0x0110000D, 10, WORDS, BAYER, 0, 0},
    {0x0110000E, 10, WORDS, BAYER, 0, 1},  {0x0110000F, 10, WORDS, BAYER, 1, 1}, {0x01100010, 12, WORDS, BAYER, 1, 0},
    {0x01100011, 12, WORDS, BAYER, 0, 0},  {0x01100012, 12, WORDS, BAYER, 0, 1}, {0x01100013, 12, WORDS, BAYER, 1, 1},
    {0x02180014, 8, BYTES, RGB, 0, 0},     {0x02180015, 8, BYTES, BGR, 0, 0},
};

static const struct format *format_of(uint32_t code)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].code == code)
            return &formats[i];
    return NULL;
}

bool pixel_format_known(uint32_t code)
{
    return format_of(code) != NULL;
}

/* Bits in a row, the first pixel in the lowest. n is a multiple of 4, as Width is. */
static inline void pack_dense(const uint16_t *restrict in, uint8_t *restrict out, size_t n, int bits)
{
    size_t bytes = (size_t)bits / 2; /* of four pixels */
    for (size_t i = 0; i < n; i += 4, out += bytes) {
        uint64_t four = in[i] | (uint64_t)in[i + 1] << bits | (uint64_t)in[i + 2] << 2 * bits |
                        (uint64_t)in[i + 3] << 3 * bits;
        if (i + 8 <= n)
            memcpy(out, &four, 8); /* one store; it reaches into the next four, which come after it */
        else
            memcpy(out, &four, bytes);
    }
}

/* Two pixels in three bytes: the upper eight bits of each, between them the lower ones of both. */
static inline void pack_gige(const uint16_t *restrict in, uint8_t *restrict out, size_t n, int bits)
{
    int above = bits - 8, low = (1 << above) - 1;
    for (size_t i = 0; i < n; i += 2, out += 3) {
        out[0] = (uint8_t)(in[i] >> above);
        out[1] = (uint8_t)((in[i] & low) | (in[i + 1] & low) << 4);
        out[2] = (uint8_t)(in[i + 1] >> above);
    }
}

static void pack(const struct format *format, const uint16_t *restrict in, uint8_t *restrict out, size_t n)
{
    if (format->packing == WORDS)
        memcpy(out, in, 2 * n);
    else if (format->packing == GIGE)
        pack_gige(in, out, n, format->bits);
    else if (format->bits == 12)
        pack_dense(in, out, n, 12);
    else
        pack_dense(in, out, n, 10);
}

/* One row of n source pixels in the format's own samples, still 8 bit. x, y: sensor position, for the Bayer phase. */
static const uint8_t *samples(const struct source *source, const uint8_t *row, const struct format *format, uint32_t n,
                              uint32_t x, uint32_t y, uint8_t *work)
{
    if (format->colour == RGB || format->colour == BGR) {
        if (source->channels == 3 && format->colour == RGB)
            return row;
        if (source->channels == 3)
            for (uint32_t i = 0; i < 3 * n; i += 3)
                work[i] = row[i + 2], work[i + 1] = row[i + 1], work[i + 2] = row[i];
        else
            for (uint32_t i = 0; i < n; i++)
                work[3 * i] = work[3 * i + 1] = work[3 * i + 2] = row[i];
        return work;
    }
    if (source->channels == 1)
        return row;
    if (format->colour == BAYER) {
        uint32_t from_y = (y ^ format->red_y) & 1;
        for (uint32_t i = 0; i < n; i++) /* red, green, blue: as many coordinates differ from the red pixel's */
            work[i] = row[3 * i + (((x + i) ^ format->red_x) & 1) + from_y];
        return work;
    }
    for (uint32_t i = 0; i < n; i++)
        work[i] = (uint8_t)((77u * row[3 * i] + 150u * row[3 * i + 1] + 29u * row[3 * i + 2] + 128u) >> 8);
    return work;
}

/* -------------------------------------------------------------------- effects */

#define NOISES 65536u

static float noises[NOISES + 3 * MAX_SENSOR]; /* normal, sigma 1 */
static pthread_once_t noises_made = PTHREAD_ONCE_INIT;

static uint64_t mix(uint64_t value) /* splitmix64 */
{
    value += 0x9E3779B97F4A7C15ull;
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

static void make_noises(void)
{
    for (uint32_t i = 0; i < NOISES; i += 2) {
        double radius = sqrt(-2.0 * log((double)((mix(i) >> 11) + 1) / 9007199254740993.0));
        double angle = 2.0 * 3.14159265358979323846 * (double)(mix(i + 1) >> 11) / 9007199254740992.0;
        noises[i] = (float)(radius * cos(angle));
        noises[i + 1] = (float)(radius * sin(angle));
    }
    memcpy(noises + NOISES, noises, sizeof noises - NOISES * sizeof noises[0]);
}

/* What lies between the picture and the numbers, worked out once a frame. Grey values here are of 16 bits. */
struct effects {
    bool none; /* the 8-bit ways are exact */
    bool flat; /* 16 bits, but neither gain nor anything else */
    float times[3 * MAX_SENSOR], plus[3 * MAX_SENSOR]; /* per sample of a row */
    float vignette, centre_y;
    float sigma;
    uint64_t seed;
};

static void prepare_effects(struct effects *effects, const struct device *device, const struct frame *frame,
                            const struct format *format, double gain)
{
    const struct simulation *simulation = &device->page->registers.simulation;
    const struct settings *settings = &frame->settings;
    double sigma = simulation->noise, dark = simulation->dark_offset, vignette = simulation->vignette_percent / 100.0;
    if (frame->bad_image && frame->image_fault.choice == IMAGE_NOISY)
        sigma = hypot(sigma, frame->image_fault.parameter);
    bool plain = gain == 1.0 && settings->black_level == 0;
    effects->none = format->bits == 8 && sigma == 0 && dark == 0 && vignette == 0;
    effects->flat = plain && sigma == 0 && dark == 0 && vignette == 0;
    if (effects->none || effects->flat)
        return;
    double half_x = device->page->sensor_width / 2.0, half_y = device->page->sensor_height / 2.0;
    double per = vignette / (half_x * half_x + half_y * half_y);
    uint32_t per_pixel = format->colour == RGB || format->colour == BGR ? 3 : 1;
    for (uint32_t i = 0; i < settings->width * per_pixel; i++) {
        uint32_t x = settings->offset_x + i / per_pixel;
        double off = x + 0.5 - half_x;
        uint32_t column = x * 2654435761u >> 24; /* 0 to 255, the sensor's own */
        effects->times[i] = (float)(gain * (1.0 - per * off * off));
        effects->plus[i] = (float)(256.0 * (settings->black_level + dark * column / 255.0));
    }
    effects->vignette = (float)(gain * per);
    effects->centre_y = (float)(half_y - 0.5 - settings->offset_y);
    effects->sigma = (float)(256.0 * sigma);
    effects->seed = mix(mix((uint64_t)simulation->seed << 8 | device->index) + frame->number);
    if (sigma > 0)
        pthread_once(&noises_made, make_noises);
}

static void apply_effects(const struct effects *effects, uint16_t *line, size_t n, uint32_t y)
{
    float off = (float)y - effects->centre_y, less = effects->vignette * off * off, sigma = effects->sigma;
    const float *noise = noises + mix(effects->seed + y) % NOISES, *times = effects->times, *plus = effects->plus;
    float values[3 * MAX_SENSOR];
    for (size_t i = 0; i < n; i++)
        values[i] = line[i] * (times[i] - less) + plus[i] + 0.5f;
    for (size_t i = 0; sigma > 0.0f && i < n; i++)
        values[i] += sigma * noise[i];
    for (size_t i = 0; i < n; i++) {
        int32_t value = (int32_t)values[i]; /* at most 256 times 65535 and a little */
        value = value < 0 ? 0 : value;
        line[i] = (uint16_t)(value > 65535 ? 65535 : value);
    }
}

/* 8 bits to the upper `16 - shift` of 16. `known`: below the eight comes the pattern that control.py's expected() has,
 * too, for formats that show it; white stays white. */
static void deepen(const uint8_t *restrict in, uint16_t *restrict out, size_t n, bool known, int shift, uint32_t x,
                   uint32_t y)
{
    uint8_t ramp[256], start = (uint8_t)(97u * x + 57u * y);
    if (!known) {
        for (size_t i = 0; i < n; i++)
            out[i] = (uint16_t)(in[i] << 8);
        return;
    }
    for (uint32_t i = 0; i < 256; i++) /* where the pattern begins anew */
        ramp[i] = (uint8_t)(97u * i + start);
    for (size_t first = 0; first < n; first += 256) {
        size_t length = n - first < 256 ? n - first : 256;
        for (size_t i = 0; i < length; i++) {
            uint16_t value = in[first + i];
            uint16_t low = value == 255 ? 255 : ramp[i];
            out[first + i] = (uint16_t)((uint16_t)(value << 8 | low) >> shift);
        }
    }
}

static void write_deep(const struct format *format, const struct effects *effects, const uint8_t *row, uint8_t *out,
                       const struct settings *settings, uint32_t y)
{
    bool three = format->colour == RGB || format->colour == BGR;
    size_t n = (size_t)settings->width * (three ? 3 : 1);
    uint16_t line[3 * MAX_SENSOR];
    int shift = 16 - format->bits;
    bool flat = effects->flat && format->bits > 8;
    deepen(row, line, n, format->bits > 8, flat ? shift : 0, settings->offset_x, settings->offset_y + y);
    if (!effects->flat)
        apply_effects(effects, line, n, y);
    if (format->packing == BYTES) {
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)(line[i] >= 0xFF80 ? 255 : (line[i] + 128) >> 8);
        return;
    }
    for (size_t i = 0; !flat && i < n; i++)
        line[i] = (uint16_t)(line[i] >> shift);
    pack(format, line, out, n);
}

/* A mean over (2 radius + 1)^2 pixels, in memory of its own; NULL when there is none. */
static uint8_t *blurred(const struct source *source, uint32_t radius)
{
    size_t stride = (size_t)source->width * source->channels;
    uint32_t channels = source->channels, *sums = calloc(stride, sizeof *sums);
    uint8_t *out = malloc(stride * source->height), *rows = malloc(stride * source->height);
    if (!sums || !out || !rows || radius == 0) {
        free(sums), free(rows), free(out);
        return NULL;
    }
    int64_t r = radius, width = source->width, height = source->height;
    for (int64_t y = 0; y < height; y++) {
        const uint8_t *from = source_row(source, (uint32_t)y);
        for (uint32_t c = 0; c < channels; c++) {
            uint32_t sum = 0, number = 0;
            for (int64_t x = -r; x < width; x++) {
                if (x + r < width)
                    sum += from[(x + r) * channels + c], number++;
                if (x - r - 1 >= 0)
                    sum -= from[(x - r - 1) * channels + c], number--;
                if (x >= 0)
                    rows[(size_t)y * stride + (size_t)x * channels + c] = (uint8_t)(sum / number);
            }
        }
    }
    uint32_t number = 0;
    for (int64_t y = -r; y < height; y++) {
        if (y + r < height) {
            number++;
            for (size_t i = 0; i < stride; i++)
                sums[i] += rows[(size_t)(y + r) * stride + i];
        }
        if (y - r - 1 >= 0) {
            number--;
            for (size_t i = 0; i < stride; i++)
                sums[i] -= rows[(size_t)(y - r - 1) * stride + i];
        }
        for (size_t i = 0; y >= 0 && i < stride; i++)
            out[(size_t)y * stride + i] = (uint8_t)(sums[i] / number);
    }
    free(sums), free(rows);
    return out;
}

/* ------------------------------------------------------------------ rendering */

static void render_rows(const struct device *device, const struct source *source, const struct frame *frame,
                        uint8_t *out, uint32_t rows)
{
    const struct settings *settings = &frame->settings;
    const struct format *format = format_of(settings->pixel_format);
    bool bad = frame->bad_image;
    uint32_t fault = frame->image_fault.choice, amount = frame->image_fault.parameter;
    double gain = settings->exposure_us / REFERENCE_EXPOSURE_US * pow(10.0, settings->gain_db / 20.0);
    if (gain > 256.0 || (bad && fault == IMAGE_SATURATED))
        gain = 256.0; /* everything but black is white long before */
    uint32_t factor = (uint32_t)(gain * 65536.0 + 0.5), black = (uint32_t)(settings->black_level * 65536.0 + 0.5);
    bool plain = factor == 65536 && black == 0;
    int exponent; /* gain is in [2^(exponent - 1), 2^exponent) */
    uint16_t mantissa = (uint16_t)(frexp(gain, &exponent) * 65536.0);
    int shift = 7 - exponent;
    bool fast = black == 0 && shift >= 4 && shift <= 15;
    uint32_t per_pixel = format->colour == RGB || format->colour == BGR ? 3 : 1; /* samples */
    size_t line_samples = (size_t)settings->width * per_pixel, stride = frame->layout.line_bytes + frame->layout.padding;
    struct effects effects;
    prepare_effects(&effects, device, frame, format, gain);

    int64_t left = ((int64_t)device->page->sensor_width - source->width) / 2;
    int64_t top = ((int64_t)device->page->sensor_height - source->height) / 2;
    if (bad && fault == IMAGE_SHIFTED)
        left += amount, top += amount;
    int64_t first = left > settings->offset_x ? left - settings->offset_x : 0; /* first column with a picture */
    int64_t end = left + source->width - settings->offset_x;
    if (end > settings->width)
        end = settings->width;
    uint32_t n = end > first ? (uint32_t)(end - first) : 0;
    uint32_t source_x = n ? (uint32_t)(settings->offset_x + first - left) : 0;

    static const uint8_t dark[3 * MAX_SENSOR];
    uint8_t work[3 * MAX_SENSOR], line[3 * MAX_SENSOR];
    if (bad && fault == IMAGE_SATURATED)
        memset(line, 255, line_samples);
    if (rows)
        memset(out - frame->layout.offset, 0xA5, frame->layout.offset); /* who takes it for pixels will see */
    for (uint32_t y = 0; y < rows; y++, out += stride) {
        int64_t source_y = (int64_t)y + settings->offset_y - top;
        const uint8_t *row = dark;
        if (bad && fault == IMAGE_SATURATED) {
            row = line;
        } else if (bad && fault == IMAGE_BLACK) {
            row = dark;
        } else if (n && source_y >= 0 && source_y < source->height) {
            const uint8_t *from = source_row(source, (uint32_t)source_y) + (size_t)source_x * source->channels;
            row = samples(source, from, format, n, settings->offset_x + (uint32_t)first, settings->offset_y + y, work);
            if (n != settings->width) {
                memset(line, 0, line_samples);
                memcpy(line + (size_t)first * per_pixel, row, (size_t)n * per_pixel);
                row = line;
            }
        }
        if (!effects.none)
            write_deep(format, &effects, row, out, settings, y);
        else if (plain)
            memcpy(out, row, line_samples);
        else if (fast)
            scale_to_8_fast(row, out, line_samples, mantissa, shift);
        else
            scale_to_8(row, out, line_samples, factor, black + 0x8000);
        memset(out + frame->layout.line_bytes, 0xA5, frame->layout.padding);
    }
}

static void render_source(const struct device *device, const struct source *source, const struct frame *frame,
                          uint8_t *out, uint32_t rows)
{
    uint8_t *soft = frame->bad_image && frame->image_fault.choice == IMAGE_BLURRED
                        ? blurred(source, frame->image_fault.parameter > 100 ? 100 : frame->image_fault.parameter)
                        : NULL;
    struct source instead = *source;
    instead.pixels = soft;
    instead.pattern = false;
    render_rows(device, soft ? &instead : source, frame, out, rows);
    free(soft);
}

bool render(struct device *device, const struct frame *frame, uint8_t *out, uint32_t rows)
{
    struct source source;
    uint32_t sequence;
    if (frame->picture == NO_PICTURE) {
        source = other_source(device, frame);
        render_source(device, &source, frame, out, rows);
        return true;
    }
    if (!shown_picture(device, frame->scene, &source, frame->picture, &sequence))
        return false;
    /* Three slots: a writer must show three more pictures between the start and the end of drawing to disturb it. */
    const struct picture_slot *place = &device->page->pictures[frame->scene][frame->picture];
    uint64_t part = place->part_number;
    render_source(device, &source, frame, out, rows);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (LOAD(&place->sequence) != frame->picture_sequence)
        return false;
    STORE(&device->page->counters[COUNT_LAST_PART], part);
    return true;
}
