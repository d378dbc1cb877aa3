/* Regions as files of one directory. See regions.h. */
#include "worker/supervise/regions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/fault.h"

enum { FENCE_STEP_NS = 2000000, OLD_S = 60 };

static const char lock_name[] = "lock";

const char *sw_regions_base(void) {
  const char *base = getenv("STOKER_SLOTS_DIR");
  return base && *base ? base : "/dev/shm";
}

sp_status sw_regions_make(const char *base, uint64_t nonce, char out_dir[PATH_MAX],
                          struct sp_err *err) {
  snprintf(out_dir, PATH_MAX, "%.3900s/stoker-%u-%016llx", base, (unsigned)geteuid(),
           (unsigned long long)nonce);
  int fault = SP_FAULT("region.directory");
  if (fault || mkdir(out_dir, 0700) != 0) {
    errno = fault ? fault : errno;
    return sp_fail_errno(err, "the state's directory %s (STOKER_SLOTS_DIR names another place)",
                         out_dir);
  }
  return SP_OK;
}

sp_status sw_regions_open(const char *dir, struct sw_regions *out, struct sp_err *err) {
  struct stat st;
  *out = (struct sw_regions){.dir_fd = -1, .lock_fd = -1};
  snprintf(out->dir, sizeof out->dir, "%s", dir);
  out->dir_fd = open(dir, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (out->dir_fd < 0 || fstat(out->dir_fd, &st) != 0) {
    return sp_fail_errno(err, "the state's directory %s", dir);
  }
  if (st.st_uid != geteuid()) {
    return sp_fail(err, SP_EPERM, "the state's directory %s belongs to user %u", dir,
                   (unsigned)st.st_uid);
  }
  return SP_OK;
}

void sw_regions_close(struct sw_regions *r) {
  if (!*r->dir) {
    return;
  }
  for (int32_t i = 0; i < r->n; i++) {
    munmap(r->at[i].p, r->at[i].bytes);
  }
  if (r->lock_fd >= 0) {
    close(r->lock_fd);
  }
  if (r->dir_fd >= 0) {
    close(r->dir_fd);
  }
  *r = (struct sw_regions){.dir_fd = -1, .lock_fd = -1};
}

/* ---- the lock */

static int open_lock(int dir_fd) {
  return openat(dir_fd, lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

sp_status sw_regions_hold(struct sw_regions *r, struct sp_err *err) {
  r->lock_fd = open_lock(r->dir_fd);
  if (r->lock_fd < 0 || flock(r->lock_fd, LOCK_SH | LOCK_NB) != 0) {
    return sp_fail_errno(err, "the lock of %s", r->dir);
  }
  return SP_OK;
}

sp_status sw_regions_fence(const char *dir, int64_t patience_ns, struct sp_err *err) {
  struct sw_regions r;
  const struct sp_clock *clock = sp_clock_system();
  const int64_t until = sp_mono_now(clock).ns + patience_ns;
  sp_status st = sw_regions_open(dir, &r, err);
  int fd = st ? -1 : open_lock(r.dir_fd);
  if (!st && fd < 0) {
    st = sp_fail_errno(err, "the lock of %s", dir);
  }
  while (!st && flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (sp_mono_now(clock).ns > until) {
      st = sp_fail(err, SP_EPERM,
                   "a process of the run still holds %s; end it (its command is stoker-worker)",
                   dir);
    } else {
      usleep(FENCE_STEP_NS / 1000);
    }
  }
  if (fd >= 0) {
    close(fd);
  }
  sw_regions_close(&r);
  return st;
}

/* ---- regions */

static struct sw_region *find(struct sw_regions *r, const char *name) {
  for (int32_t i = 0; i < r->n; i++) {
    if (strcmp(r->at[i].name, name) == 0) {
      return &r->at[i];
    }
  }
  return NULL;
}

static sp_status map(struct sw_regions *r, const char *name, int fd, size_t bytes, bool made,
                     struct sw_region **out, struct sp_err *err) {
  struct sw_region *old = find(r, name);
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) {
    return sp_fail_errno(err, "mapping %s/%s, %zu bytes", r->dir, name, bytes);
  }
  if (old) { /* it has grown */
    munmap(old->p, old->bytes);
  } else if (r->n == SW_REGIONS_MAX) {
    munmap(p, bytes);
    return sp_fail(err, SP_EINTERNAL, "more than %d regions", SW_REGIONS_MAX);
  } else {
    old = &r->at[r->n++];
  }
  *old = (struct sw_region){.p = p, .bytes = bytes, .made = made};
  snprintf(old->name, sizeof old->name, "%s", name);
  *out = old;
  return SP_OK;
}

/* What the file system and the machine could still give. */
static size_t room(const struct sw_regions *r) {
  struct statvfs fs;
  long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  size_t disk = fstatvfs(r->dir_fd, &fs) == 0 ? (size_t)fs.f_bavail * fs.f_frsize : 0;
  size_t memory = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX;
  return disk < memory ? disk : memory;
}

/* The third slot is a convenience: it may take half of what there is, not more. */
static bool is_optional(const char *name) {
  return strcmp(name, "slot-c") == 0 || strcmp(name, "running-c") == 0;
}

static sp_status allocate(struct sw_regions *r, const char *name, int fd, size_t bytes,
                          struct sp_err *err) {
  int fault = SP_FAULT("region.allocate");
  int rc = fault ? fault : posix_fallocate(fd, 0, (off_t)bytes);
  if (rc == ENOSPC || rc == ENOMEM) {
    return sp_fail(err, SP_ENOSPC,
                   "%s has no room for region %s of %zu bytes (%zu are free): make room, or name "
                   "another place with STOKER_SLOTS_DIR",
                   r->dir, name, bytes, room(r));
  }
  errno = rc;
  return rc ? sp_fail_errno(err, "allocating %s/%s, %zu bytes", r->dir, name, bytes) : SP_OK;
}

static sp_status get(void *ctx, const char *name, size_t bytes, void **out_p, struct sp_err *err) {
  struct sw_regions *r = ctx;
  struct sw_region *region = find(r, name);
  struct stat st;
  if (region && region->bytes >= bytes) {
    *out_p = region->p;
    return SP_OK;
  }
  int fd = openat(r->dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0 || fstat(fd, &st) != 0) {
    sp_status failed = sp_fail_errno(err, "region %s/%s", r->dir, name);
    if (fd >= 0) {
      close(fd);
    }
    return failed;
  }
  bool made = st.st_size == 0;
  sp_status status = SP_OK;
  if (made && is_optional(name) && bytes > room(r) / 2) {
    status = sp_fail(err, SP_ENOSPC, "no room for a third slot");
  } else if ((size_t)st.st_size < bytes) {
    status = allocate(r, name, fd, bytes, err);
  }
  status = status ? status : map(r, name, fd, bytes, made, &region, err);
  close(fd);
  if (!status) {
    *out_p = region->p;
  } else if (made) {
    (void)unlinkat(r->dir_fd, name, 0);
  }
  return status;
}

struct stk_memory sw_regions_memory(struct sw_regions *r) {
  return (struct stk_memory){get, r};
}

sp_status sw_regions_map(struct sw_regions *r, const char *name, struct sw_region **out,
                         struct sp_err *err) {
  struct stat st;
  int fd = openat(r->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0) {
    sp_status failed = sp_fail_errno(err, "region %s/%s", r->dir, name);
    if (fd >= 0) {
      close(fd);
    }
    return failed;
  }
  sp_status status = st.st_size == 0
                         ? sp_fail(err, SP_ENOENT, "region %s/%s is empty", r->dir, name)
                         : map(r, name, fd, (size_t)st.st_size, false, out, err);
  close(fd);
  return status;
}

void sw_regions_remove(const char *dir) {
  int fd = open(dir, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
  for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    (void)unlinkat(fd, e->d_name, 0); /* "." and ".." refuse */
  }
  if (d) {
    closedir(d);
  } else if (fd >= 0) {
    close(fd);
  }
  (void)rmdir(dir);
}

/* ---- what the dead left */

sp_status sw_regions_own(const char *dir, const char *run_dir, struct sp_err *err) {
  char path[PATH_MAX + 8];
  snprintf(path, sizeof path, "%s/run", dir);
  (void)unlink(path);
  return symlink(run_dir, path) == 0 ? SP_OK : sp_fail_errno(err, "%s", path);
}

static bool is_old(const char *dir) {
  struct stat st;
  const int64_t now_s = sp_wall_now(sp_clock_system()).ns / SP_NS_PER_S;
  return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
         now_s - (int64_t)st.st_mtim.tv_sec > OLD_S;
}

static bool is_held(const char *dir) {
  char path[PATH_MAX + 8];
  snprintf(path, sizeof path, "%s/%s", dir, lock_name);
  int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  bool held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
  if (fd >= 0) {
    close(fd);
  }
  return held;
}

void sw_regions_sweep(const char *base, bool (*wanted)(const char *run_dir, const char *dir)) {
  char mine[32], dir[PATH_MAX], path[PATH_MAX + 8], run[PATH_MAX];
  DIR *d = opendir(base);
  snprintf(mine, sizeof mine, "stoker-%u-", (unsigned)geteuid());
  for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    if (strncmp(e->d_name, mine, strlen(mine)) != 0) {
      continue;
    }
    snprintf(dir, sizeof dir, "%.3800s/%.255s", base, e->d_name);
    snprintf(path, sizeof path, "%s/run", dir);
    if (!is_old(dir) || is_held(dir)) {
      continue;
    }
    ssize_t n = readlink(path, run, sizeof run - 1);
    run[n > 0 ? n : 0] = '\0';
    if (!*run || !wanted(run, dir)) {
      sw_regions_remove(dir);
    }
  }
  if (d) {
    closedir(d);
  }
}
