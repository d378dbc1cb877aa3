/* Stands in for libFuzzer in ordinary builds: runs LLVMFuzzerTestOneInput on every file of the
 * corpus directory given as argument, on the empty input, and on a fixed number of seeded mutations
 * of each, the same in every run. A crash, sanitizer report or failed assertion is the failure; the
 * case that was running is left in stderr's last line. STOKER_FUZZ_MUTATIONS overrides the count.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_MUTATIONS = 2000, CORPUS_LIMIT = 256, FILE_LIMIT = 1 << 20, SECONDS = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/* The input sits at the end of its block, so that a read past it is an address error under asan. */
static void run_exact(const uint8_t *data, size_t n) {
  uint8_t *exact = malloc(n ? n : 1);
  if (exact) {
    memcpy(exact, data, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
  }
}

static size_t mutate_once(uint8_t *data, size_t n, size_t room, uint64_t *state) {
  static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '\n', '"', '{', ':', '0'};
  uint64_t r = next_random(state);
  size_t at = n ? (size_t)(next_random(state) % n) : 0;
  size_t length = (size_t)(next_random(state) % 16) + 1;
  switch (r % 6) {
    case 0:
      if (n) {
        data[at] ^= (uint8_t)(1U << (r >> 8) % 8);
      }
      return n;
    case 1:
      if (n) {
        data[at] = edges[(r >> 8) % sizeof edges];
      }
      return n;
    case 2:
      return at;
    case 3:
      if (at + length > n) {
        return n;
      }
      memmove(data + at, data + at + length, n - at - length);
      return n - length;
    case 4:
      if (n + length > room) {
        return n;
      }
      memmove(data + at + length, data + at, n - at);
      memset(data + at, (int)((r >> 8) & 0xff), length);
      return n + length;
    default:
      for (size_t i = at; i < n && i < at + 8; i++) {
        data[i] = (uint8_t)next_random(state);
      }
      return n;
  }
}

static void run_mutations(const uint8_t *seed, size_t n, long count, uint64_t *state,
                          time_t deadline) {
  size_t room = n + 1024;
  uint8_t *data = malloc(room);
  for (long i = 0; data && i < count && time(NULL) < deadline; i++) {
    size_t size = n;
    memcpy(data, seed, n);
    for (uint64_t k = next_random(state) % 4 + 1; k > 0; k--) {
      size = mutate_once(data, size, room, state);
    }
    run_exact(data, size);
  }
  free(data);
}

static int run_file(const char *path, long count, time_t deadline) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
  }
  uint8_t *data = malloc(FILE_LIMIT);
  size_t n = data ? fread(data, 1, FILE_LIMIT, f) : 0;
  fclose(f);
  fprintf(stderr, "%s: %zu bytes\n", path, n);
  uint64_t state = 1;
  if (data) {
    run_exact(data, n);
    run_mutations(data, n, count, &state, deadline);
  }
  free(data);
  return 0;
}

static int is_visible(const struct dirent *entry) {
  return entry->d_name[0] != '.';
}

int main(int argc, char **argv) {
  const char *wanted = getenv("STOKER_FUZZ_MUTATIONS");
  long count = wanted ? strtol(wanted, NULL, 10) : DEFAULT_MUTATIONS;
  time_t deadline = time(NULL) + SECONDS;
  run_exact((const uint8_t *)"", 0);
  if (argc < 2) {
    fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
    return 2;
  }
  struct dirent **entries;
  int n = scandir(argv[1], &entries, is_visible, alphasort);
  if (n <= 0 || n > CORPUS_LIMIT) {
    fprintf(stderr, "%s: %d corpus files; between 1 and %d are needed\n", argv[1], n, CORPUS_LIMIT);
    return 1;
  }
  int status = 0;
  for (int i = 0; i < n; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
    status |= run_file(path, count / n + 1, deadline);
    free(entries[i]);
  }
  free(entries);
  return status ? 1 : 0;
}
