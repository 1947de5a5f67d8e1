/* Answers in the standard's query form, and the last error of each thread. */
#define _GNU_SOURCE
#include "camera.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local GC_ERROR last_code = GC_ERR_SUCCESS;
static _Thread_local char last_text[320] = "No error";

GC_ERROR fail(GC_ERROR code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_text, sizeof last_text, format, arguments);
    va_end(arguments);
    last_code = code;
    return code;
}

/* out == NULL asks for the size; a buffer too small is told so and not touched. */
static GC_ERROR put(int32_t kind, const void *value, size_t bytes, INFO_DATATYPE *type, void *out, size_t *size)
{
    if (!size)
        return fail(GC_ERR_INVALID_PARAMETER, "the size pointer is NULL");
    if (type)
        *type = kind;
    if (out && *size < bytes)
        return fail(GC_ERR_BUFFER_TOO_SMALL, "%zu bytes given, %zu needed", *size, bytes);
    if (out)
        memcpy(out, value, bytes);
    *size = bytes;
    return GC_ERR_SUCCESS;
}

GC_ERROR put_string(const char *value, INFO_DATATYPE *type, void *out, size_t *size)
{
    return put(INFO_DATATYPE_STRING, value, strlen(value) + 1, type, out, size);
}

GC_ERROR put_i32(int32_t value, INFO_DATATYPE *type, void *out, size_t *size)
{
    return put(INFO_DATATYPE_INT32, &value, sizeof value, type, out, size);
}

GC_ERROR put_u32(uint32_t value, INFO_DATATYPE *type, void *out, size_t *size)
{
    return put(INFO_DATATYPE_UINT32, &value, sizeof value, type, out, size);
}

GC_ERROR put_u64(uint64_t value, INFO_DATATYPE *type, void *out, size_t *size)
{
    return put(INFO_DATATYPE_UINT64, &value, sizeof value, type, out, size);
}

GC_ERROR put_size(size_t value, INFO_DATATYPE *type, void *out, size_t *size)
{
    return put(INFO_DATATYPE_SIZET, &value, sizeof value, type, out, size);
}

GC_ERROR put_bool(bool value, INFO_DATATYPE *type, void *out, size_t *size)
{
    bool8_t byte = value ? 1 : 0;
    return put(INFO_DATATYPE_BOOL8, &byte, sizeof byte, type, out, size);
}

GC_ERROR put_pointer(void *value, INFO_DATATYPE *type, void *out, size_t *size)
{
    return put(INFO_DATATYPE_PTR, &value, sizeof value, type, out, size);
}

GC_API GCGetLastError(GC_ERROR *code, char *text, size_t *size)
{
    if (!code)
        return GC_ERR_INVALID_PARAMETER;
    *code = last_code;
    return put_string(last_text, NULL, text, size);
}
