/* Regions of a job's state that processes share: anonymous shared mappings, made before the first
 * fork and found by name afterwards.
 *
 * What stands in for the supervisor's files where a test or a benchmark forks ranks itself. After
 * tt_regions_close_list an unknown name is an error, since nobody else would have it.
 */
#ifndef TT_REGIONS_H
#define TT_REGIONS_H

#include "engine/comm/group.h"
#include "engine/trainer/session.h"

enum { TT_REGIONS_MAX = 128 };

struct tt_regions {
  struct {
    char name[24];
    void *p;
    size_t bytes;
  } of[TT_REGIONS_MAX];
  int n;
  bool is_closed;
  struct stk_memory memory; /* for struct stk_session_config; set by tt_regions_init */
};

void tt_regions_init(struct tt_regions *r);

/* A mapping that is no named region; NULL when there is no memory. Goes with tt_regions_free. */
void *tt_regions_map(struct tt_regions *r, size_t bytes);

/* A group page for the session's lanes, and every region that a rank of 1 .. most_ranks asks for;
 * then closes the list. The session is alone afterwards. */
SP_NODISCARD sp_status tt_regions_foresee(struct tt_regions *r, stk_session *s, int32_t most_ranks,
                                          struct stk_group **out_group, struct sp_err *err);

void tt_regions_free(struct tt_regions *r);

/* Leaves the calling thread rank's share of the CPUs that it may use; before its pool starts. */
void tt_take_cpus(int32_t rank, int32_t n_ranks);

#endif
