"""Prints what TensorBoard reads from a run directory: one line per scalar.

usage: read_events.py DIRECTORY; exit status 77 when tensorboard is not installed.
"""
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    sys.exit(77)

events = EventAccumulator(sys.argv[1])
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    for e in events.Scalars(tag):
        print(tag, e.step, f"{e.value:.9g}", f"{e.wall_time:.3f}")
for tag in sorted(events.SummaryMetadata(t).plugin_data.plugin_name + " " + t
                  for t in events.summary_metadata if t.startswith("_hparams_")):
    print(tag)
