/* MPI_Allreduce of two processes' gradients, and with it an AdamW step on each, on demand: a peer
 * of bench_reduce. tests/bench/run builds it with mpicc where that is installed; nothing else does.
 *
 *   mpirun -n 2 mpi_reduce [MIB]
 *
 * A line of facts, then for each line of input one of output:
 *   reduce S   seconds per MPI_Allreduce in place, the mean over about S seconds
 *   step S     the same, then the mean and AdamW over all of it, as every process of a DDP job does
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct model {
  long n;
  float *fresh, *g, *p, *m, *v;
};

static void adamw(const struct model *x, int ranks) {
  const float scale = 1.0f / (float)ranks, lr = 1e-3f;
  float *restrict p = x->p, *restrict m = x->m, *restrict v = x->v;
  const float *restrict g = x->g;
  for (long i = 0; i < x->n; i++) {
    const float d = g[i] * scale;
    m[i] = 0.9f * m[i] + 0.1f * d;
    v[i] = 0.999f * v[i] + 0.001f * d * d;
    p[i] = p[i] * (1.0f - lr * 0.01f) - lr * m[i] / (sqrtf(v[i]) + 1e-8f);
  }
}

/* What rank 0 decided: 0 go on, 1 with a step each, -1 no more. Rank 1 must not spin meanwhile:
 * the other peers measure then. */
static int told(int rank, int word) {
  if (rank == 0) {
    MPI_Send(&word, 1, MPI_INT, 1, 0, MPI_COMM_WORLD);
    return word;
  }
  for (int ready = 0; !ready;) {
    MPI_Iprobe(0, 0, MPI_COMM_WORLD, &ready, MPI_STATUS_IGNORE);
    if (!ready) {
      nanosleep(&(struct timespec){0, 200000}, NULL);
    }
  }
  MPI_Recv(&word, 1, MPI_INT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  return word;
}

static double run(const struct model *x, int rank, int with_step, double seconds) {
  const double begin = MPI_Wtime();
  double spent = 0.0;
  long n = 0;
  for (int more = 1; more;) {
    memcpy(x->g, x->fresh, (size_t)x->n * sizeof(float));
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    MPI_Allreduce(MPI_IN_PLACE, x->g, (int)x->n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    if (with_step) {
      adamw(x, 2);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    spent += MPI_Wtime() - start;
    n++;
    more = MPI_Wtime() - begin < seconds;
    MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
  }
  (void)rank;
  return spent / (double)n;
}

int main(int argc, char **argv) {
  int rank;
  struct model x = {(argc > 1 ? atol(argv[1]) : 25) << 18, NULL, NULL, NULL, NULL, NULL};
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  float **all[] = {&x.fresh, &x.g, &x.p, &x.m, &x.v};
  for (int k = 0; k < 5; k++) {
    *all[k] = aligned_alloc(4096, (size_t)x.n * sizeof(float));
    for (long i = 0; i < x.n; i++) {
      (*all[k])[i] = (float)(i % 1000) * 1e-6f;
    }
  }
  if (rank == 0) {
    char line[64];
    printf("elements %ld\n", x.n);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
      char word[16] = "";
      double seconds = 1.0;
      if (sscanf(line, "%15s %lf", word, &seconds) >= 1) {
        printf("%.9f\n", run(&x, rank, told(rank, strcmp(word, "step") == 0), seconds));
        fflush(stdout);
      }
    }
    (void)told(rank, -1);
  } else {
    for (int word; (word = told(rank, 0)) >= 0;) {
      (void)run(&x, rank, word, 0.0);
    }
  }
  MPI_Finalize();
  return 0;
}
