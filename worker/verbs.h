/* The verbs of `stoker-worker run VERB ARGS...`. Each returns the exit code. */
#ifndef SW_VERBS_H
#define SW_VERBS_H

#include "worker/emit.h"

int sw_verb_fit(struct sw_emit *e, int argc, char **argv);
int sw_verb_evaluate(struct sw_emit *e, const char *verb, int argc,
                     char **argv); /* validate, test */
int sw_verb_predict(struct sw_emit *e, int argc, char **argv);
int sw_verb_check(struct sw_emit *e, int argc, char **argv);
int sw_verb_plan(struct sw_emit *e, int argc, char **argv);
int sw_verb_order(struct sw_emit *e, int argc, char **argv);
int sw_verb_init_weights(struct sw_emit *e, int argc, char **argv);
int sw_verb_ckpt(struct sw_emit *e, int argc, char **argv);
int sw_verb_audit(struct sw_emit *e, int argc, char **argv);
int sw_verb_bisect(struct sw_emit *e, int argc, char **argv);
int sw_verb_doctor(struct sw_emit *e, int argc, char **argv);
int sw_verb_version(struct sw_emit *e, int argc, char **argv);

/* SIGTERM or SIGINT came: stop at the next step edge. Any thread. */
bool sw_stop_asked(void);

#endif
