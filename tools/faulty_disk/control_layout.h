/* The control file that steers the shim: one page, written by tools/faulty_disk/__init__.py (keep both alike). */
#ifndef CONTROL_LAYOUT_H
#define CONTROL_LAYOUT_H
#include <stdint.h>

#define CONTROL_MAGIC "FAULTDSK"
#define CONTROL_VERSION 1u
#define CONTROL_BYTES 4096
#define PATH_BYTES 1024

struct control {
    char magic[8];
    uint32_t version;
    uint32_t sync_delay_ms;
    int64_t clock_offset_ns;
    uint32_t full;       /* 1: what makes a file longer fails */
    uint32_t recording;  /* 1: the log takes everything that reaches the disk */
    uint64_t syncs;      /* counters, all processes together */
    uint64_t delayed;
    uint64_t refused;
    uint64_t unrecorded; /* records the log could not take */
    char folder[PATH_BYTES]; /* absolute, no link in it, no slash at its end */
    char log[PATH_BYTES];
    uint64_t bad_inode;  /* the file with bad sectors, 0: none */
    int64_t bad_from;    /* first byte that can't be read */
    int64_t bad_to;      /* first byte behind that can */
    uint64_t unread;     /* counter of reads that failed */
};

/* A record of the log: this head, the name (paths relative to the folder), then the data. */
enum operation { CREATE = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, FOLDER_SYNC, RENAME, UNLINK, MARKER };

struct record {
    uint32_t bytes; /* all of it, head included */
    uint16_t operation;
    uint16_t name_bytes;
    uint64_t inode;
    int64_t offset; /* of a write; the new size of a truncate; the number of a sync */
    uint64_t time_ns; /* CLOCK_MONOTONIC */
};
#endif
