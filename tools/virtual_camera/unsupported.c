/* Entry points of later GenTL versions for payloads this camera never sends. Consumers complain on the console when
 * they are absent, so they are here and say no. */
#include "camera.h"

GC_API DSGetNumBufferParts(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *number);
GC_API DSGetBufferPartInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t part, int32_t command,
                           INFO_DATATYPE *type, void *out, size_t *size);
GC_API DSAnnounceCompositeBuffer(DS_HANDLE stream, size_t segments, void **memory, size_t *sizes, void *user,
                                 BUFFER_HANDLE *buffer);
GC_API DSGetNumFlows(DS_HANDLE stream, uint32_t *number);
GC_API DSGetFlowInfo(DS_HANDLE stream, uint32_t flow, int32_t command, INFO_DATATYPE *type, void *out, size_t *size);
GC_API DSGetNumBufferSegments(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *number);
GC_API DSGetBufferSegmentInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t segment, int32_t command,
                              INFO_DATATYPE *type, void *out, size_t *size);

GC_API DSGetNumBufferParts(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *number)
{
    (void)stream, (void)buffer, (void)number;
    return fail(GC_ERR_NO_DATA, "the payload is no multi-part payload");
}

GC_API DSGetBufferPartInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t part, int32_t command,
                           INFO_DATATYPE *type, void *out, size_t *size)
{
    (void)stream, (void)buffer, (void)part, (void)command, (void)type, (void)out, (void)size;
    return fail(GC_ERR_NO_DATA, "the payload is no multi-part payload");
}

GC_API DSAnnounceCompositeBuffer(DS_HANDLE stream, size_t segments, void **memory, size_t *sizes, void *user,
                                 BUFFER_HANDLE *buffer)
{
    (void)stream, (void)segments, (void)memory, (void)sizes, (void)user, (void)buffer;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no composite buffers");
}

GC_API DSGetNumFlows(DS_HANDLE stream, uint32_t *number)
{
    (void)stream, (void)number;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no flows");
}

GC_API DSGetFlowInfo(DS_HANDLE stream, uint32_t flow, int32_t command, INFO_DATATYPE *type, void *out, size_t *size)
{
    (void)stream, (void)flow, (void)command, (void)type, (void)out, (void)size;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no flows");
}

GC_API DSGetNumBufferSegments(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t *number)
{
    (void)stream, (void)buffer, (void)number;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no segments");
}

GC_API DSGetBufferSegmentInfo(DS_HANDLE stream, BUFFER_HANDLE buffer, uint32_t segment, int32_t command,
                              INFO_DATATYPE *type, void *out, size_t *size)
{
    (void)stream, (void)buffer, (void)segment, (void)command, (void)type, (void)out, (void)size;
    return fail(GC_ERR_NOT_IMPLEMENTED, "no segments");
}
