/* Whole files, done right: caps, short reads and writes, EINTR, and the atomic replace.
 *
 * sp_file_replace is how every small durable file is written: temporary file in the same directory,
 * fsync, rename, fsync of the directory; a reader sees the old contents or the new, also after
 * power loss. Everything is written through fs.h. Errors name the path. Fault points: file.write,
 * file.fsync, file.rename. Any thread.
 */
#ifndef SP_BASE_FILE_H
#define SP_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/base/status.h"

/* Reads a file of at most limit_bytes (SP_ERANGE beyond). out_data is released with sp_free; a zero
 * byte follows the contents. "-" is not special. */
SP_NODISCARD sp_status sp_file_read(const char *path, size_t limit_bytes, char **out_data,
                                    size_t *out_n, struct sp_err *err);

/* Writes all n bytes; `what` names the target in the error. */
SP_NODISCARD sp_status sp_write_all(int fd, const void *data, size_t n, const char *what,
                                    struct sp_err *err);

/* As sp_write_all at an offset, which it does not move. */
SP_NODISCARD sp_status sp_pwrite_all(int fd, const void *data, size_t n, off_t offset,
                                     const char *what, struct sp_err *err);

/* Reads exactly n bytes; SP_ECORRUPT when the file ends before. */
SP_NODISCARD sp_status sp_read_exact(int fd, void *out_data, size_t n, const char *what,
                                     struct sp_err *err);

/* Replaces or creates path atomically and durably with the given mode (less the umask). */
SP_NODISCARD sp_status sp_file_replace(const char *path, const void *data, size_t n, mode_t mode,
                                       struct sp_err *err);

/* Whether a file's name is that of one that sp_file_replace has not renamed yet. When no process
 * replaces files in a directory, those there were left by the dead. */
bool sp_file_is_temporary(const char *name);

/* fsync of an open file; `what` names it. */
SP_NODISCARD sp_status sp_fsync(int fd, const char *what, struct sp_err *err);

/* Makes the entries of a directory durable. */
SP_NODISCARD sp_status sp_dir_fsync(const char *path, struct sp_err *err);

/* Creates a directory, durably. SP_EEXIST where something of that name is. */
SP_NODISCARD sp_status sp_mkdir(const char *path, mode_t mode, struct sp_err *err);

/* Creates a directory and its missing parents, durably; one that is there already is fine. */
SP_NODISCARD sp_status sp_mkdir_p(const char *path, mode_t mode, struct sp_err *err);

/* The directory part of a path ("." if none) in a new string, NULL when memory is out. */
char *sp_path_dirname(const char *path);

/* "<directory>/<name>" in a new string, or name alone when it is absolute; NULL: memory is out. */
char *sp_path_join(const char *directory, const char *name);

#endif
