/* Names of stages and sources, and the exit code of a status. */
#include "proto/wire/event.h"

enum sp_exit sp_exit_of_status(sp_status status, bool ran) {
  switch (status) {
    case SP_OK:
      return SP_EXIT_OK;
    case SP_ECANCELED:
      return SP_EXIT_JOB_CANCELED;
    case SP_ENUMERIC:
      return SP_EXIT_JOB_FAILED;
    default:
      break;
  }
  if (ran) {
    return SP_EXIT_JOB_FAILED;
  }
  switch (status) {
    case SP_EINVAL:
    case SP_ERANGE:
    case SP_EUNSUPPORTED:
    case SP_EMODULE:
      return SP_EXIT_USAGE;
    case SP_ENOENT:
      return SP_EXIT_NOT_FOUND;
    case SP_EPERM:
      return SP_EXIT_REFUSED;
    case SP_EEXIST:
    case SP_EMISMATCH:
      return SP_EXIT_CONFLICT;
    default:
      return SP_EXIT_FAILED;
  }
}

const char *sp_stage_name(enum sp_stage stage) {
  switch (stage) {
    case SP_STAGE_TRAIN:
      return "train";
    case SP_STAGE_SANITY:
      return "sanity check";
    case SP_STAGE_VALIDATE:
      return "validate";
    case SP_STAGE_TEST:
      return "test";
    case SP_STAGE_PREDICT:
      return "predict";
  }
  return "?";
}

const char *sp_source_name(enum sp_source source) {
  switch (source) {
    case SP_SOURCE_SLOTS:
      return "slots";
    case SP_SOURCE_CHECKPOINT:
      return "checkpoint";
    case SP_SOURCE_START:
      return "start";
  }
  return "?";
}
