#!/usr/bin/env bash
# metrics.csv has the rows and columns of Lightning's CSVLogger for the same job: which step and
# epoch each row has and which cells it fills (tests/golden/lightning, by make_lightning.py);
# numbers other than learning rates are written as x there and here. Where the job has a
# model_checkpoint, the names of the checkpoints at the end are Lightning's too.
. "$(dirname "$0")/lib.sh"

# masked FILE: the file with x for numbers; rows as Lightning writes 0.1, not 0.10000000000000001.
masked() {
  awk -F, -v OFS=, '
    NR == 1 { n = split($0, name, ","); print; next }
    {
      for (i = 1; i <= n; i++)
        if ($i != "" && name[i] ~ /^lr-/) $i = sprintf("%.12g", $i)
        else if ($i != "" && name[i] != "step" && name[i] != "epoch") $i = "x"
      print
    }' "$1" | tr -d '\r'
}

for job in "$here"/tests/golden/lightning/*.yaml; do
  name=$(basename "$job" .yaml)
  names=${job%.yaml}.names
  saves=false
  [ ! -f "$names" ] || saves=true
  if ! "$stoker" fit "$job" --trainer.default_root_dir "$name" \
    --trainer.enable_checkpointing $saves >"$name.log" 2>&1; then
    fail "$name: $(tail -n 1 "$name.log")"
    continue
  fi
  masked "$(find "$name" -name metrics.csv)" >"$name.got"
  masked "${job%.yaml}.csv" >"$name.want"
  if [ $saves = true ]; then # names are links to the published directories
    find "$name" -path '*/checkpoints/*' -type l -printf '%f\n' | LC_ALL=C sort >>"$name.got"
    cat "$names" >>"$name.want"
  fi
  if diff -u "$name.want" "$name.got" >"$name.diff"; then
    echo "same $name"
  else
    fail "$name: $(sed 1,2d "$name.diff")"
  fi
done
finish
