#!/usr/bin/env bash
# A stranger's module: examples/autoencoder.c, built with pkg-config against an installation alone,
# trains on IDX files, is resumed, validated, and predicts; so does what `stoker init` writes.
. "$(dirname "$0")/lib.sh"
command -v pkg-config >/dev/null || { echo "skip: no pkg-config here"; exit 77; }
command -v cmake >/dev/null || { echo "skip: no cmake here"; exit 77; }

prefix=$work/prefix
if ! cmake --install "$(dirname "$bin")" --prefix "$prefix" >install.log 2>&1; then
  tail -n 5 install.log
  exit 1
fi
stoker=$prefix/bin/stoker
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name stoker.pc)")
export PKG_CONFIG_PATH

# compile SOURCE TARGET: the documented build line.
compile() {
  # shellcheck disable=SC2046 # the flags are words
  "${CC:-cc}" -std=c17 -O2 -Wall -Werror $(pkg-config --cflags stoker) -fPIC -shared -o "$2" "$1"
}

mkdir examples data
cp "$here/examples/autoencoder.c" "$here/examples/autoencoder.yaml" examples/
compile examples/autoencoder.c examples/autoencoder.so
if ldd examples/autoencoder.so | grep -q libstoker; then
  fail "the module links the library instead of using the worker's"
fi

# 640 training images and 64 others, of printable bytes.
for part in train:640:'\002\200' t10k:64:'\000\100'; do
  IFS=: read -r name n count <<<"$part"
  {
    printf '\0\0\010\003\0\0'"$count"'\0\0\0\034\0\0\0\034'
    head -c $((n * 784)) < <(yes 'a stroke of a pen ' 2>/dev/null)
  } >"data/$name-images-idx3-ubyte"
done
gzip data/t10k-images-idx3-ubyte

one=$(hash examples/autoencoder.yaml --data.path data)
two=$(hash examples/autoencoder.yaml --data.path data --trainer.kernels ref --trainer.threads 1)
echo "$one"
[ "$one" = "$two" ] || fail "the module's hash depends on kernels: $two"

path=$(train examples/autoencoder.yaml --data.path data --trainer.max_steps 4)
"$stoker" validate examples/autoencoder.yaml --data.path data --ckpt_path "$path" >val.log 2>&1 ||
  fail "validate: $(tail -n 1 val.log)"
grep -q val_loss val.log || fail "validate prints no val_loss"
"$stoker" predict examples/autoencoder.yaml --data.path data --ckpt_path "$path" >predict.log \
  2>&1 ||
  fail "predict: $(tail -n 1 predict.log)"
head -c 128 predictions.npy | grep -aq "'shape': (64, *3,*)" ||
  fail "predictions.npy is not (64, 3)"

cp "$here/examples/maxout.c" "$here/examples/maxout.yaml" examples/
compile examples/maxout.c examples/maxout.so
one=$(hash examples/maxout.yaml)
two=$(hash examples/maxout.yaml --trainer.kernels ref --trainer.threads 3)
echo "$one with an op of its own"
[ "$one" = "$two" ] || fail "the custom op's hash depends on kernels: $two"

# What validation_step logs per step: a row per batch, x_step beside x_epoch.
cat >steps.c <<'SOURCE'
#include <stoker/stoker.h>
typedef struct { stk_layer *net; } steps;
static stk_status setup(stk_module *m, void *self) {
  ((steps *)self)->net = stk_nn_add(m, "net", stk_nn_linear(m, 4, 1, true));
  return 0;
}
static stk_t loss_of(const void *self, const stk_batch *b) {
  return stk_mean(stk_square(stk_apply(((const steps *)self)->net, b->x)), STK_ALL, false);
}
static stk_t validation_step(const void *self, const stk_batch *b) {
  stk_t loss = loss_of(self, b);
  stk_log("both", loss, STK_ON_STEP | STK_ON_EPOCH);
  stk_log("each", loss, STK_ON_STEP);
  stk_log("quiet", loss, STK_ON_EPOCH | STK_NO_LOGGER);
  return loss;
}
static const stk_module_def def = {.abi = STK_ABI, .size = sizeof(stk_module_def), .name = "steps",
                                   .self_size = sizeof(steps), .setup = setup,
                                   .training_step = loss_of, .validation_step = validation_step};
STK_MODULE(def)
SOURCE
cat >steps.yaml <<'JOB'
model: {module: ./steps.so}
data: {kind: synthetic, shape: [4], num_samples: 64, num_val_samples: 40, batch_size: 16}
optimizer: {class: sgd, lr: 0.01}
trainer:
  max_epochs: 2
  logger: [csv]
  default_root_dir: steps
  callbacks: [{early_stopping: {monitor: both}}]
JOB
compile steps.c steps.so
"$stoker" fit steps.yaml >steps.log 2>&1 || fail "steps: $(tail -n 1 steps.log)"
table=steps/lightning_logs/version_0/metrics.csv
[ "$(head -n 1 $table)" = both_epoch,both_step,each,epoch,step ] ||
  fail "columns: $(head -n 1 $table)"
# Two validations of three batches: steps 0 to 5, and one epoch's value each.
rows=$(awk -F, 'NR > 1 && $2 != "" && $3 == $2 { print $5 }' $table | tr '\n' ' ')
[ "$rows" = "0 1 2 3 4 5 " ] ||
  fail "rows per validation batch: $(cat $table)"
[ "$(awk -F, 'NR > 1 && $1 != ""' $table | wc -l)" = 2 ] ||
  fail "rows per validation: $(cat $table)"

"$stoker" init first >init.log
compile first.c first.so
train first.yaml --trainer.max_epochs 1 >/dev/null ||
  fail "the module of stoker init does not train"
finish
