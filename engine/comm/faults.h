/* Fault points of a rank's step, in the order in which a step passes them: what a sweep walks over
 * (proto/base/fault.h). Every name stands in one SP_FAULT in engine/comm or engine/trainer;
 * tests/exact/test_ranks.c kills at each and fails when one was not hit.
 */
#ifndef STK_COMM_FAULTS_H
#define STK_COMM_FAULTS_H

/* X(name, what a process that dies there leaves behind) */
#define STK_FAULT_LIST(X)                                                            \
  X("step.begin", "the work of a step is known, nothing of it is done")              \
  X("step.lane", "inside forward and backward: the rank's first lane is done")       \
  X("step.reduce", "the rank's gradients are whole, nobody has been told")           \
  X("optim.half", "half of a block of the next slot is written")                     \
  X("step.applied", "the rank's slice of the next slot is written, nobody was told") \
  X("eval.lane", "the rank's first lane of an evaluation batch is done")

#endif
