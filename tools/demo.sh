#!/usr/bin/env bash
# The whole road of an image on synthetic cells; called by `make demo`, in an environment that is set up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

images=40
size=256     # side of a square image, pixels
cells=45     # in each image
seed=0
config=configs/demo/mask_rcnn_synthetic.py
out=build/demo

heading() { printf '\n=== %s\n' "$*"; }

# Otherwise a checkpoint or a picture of an earlier demo could pass for one of this.
rm -rf "$out"
export MMCELL_DATA=$out/data/

heading "1/5 synthesize: $images images of $cells cells"
python tools/synthesize.py --out "$out/source" --images "$images" --size "$size" "$size" --cells "$cells" --seed "$seed"

heading '2/5 convert: instance masks to COCO annotations'
python tools/convert.py class_tiff "$out/source" --out "$out/data"

heading '3/5 train: at most five minutes on two cores'
python tools/train.py "$config" --work-dir "$out/run"
# Several measures may each keep their best; the newest of these is as good as any here.
checkpoint=$(find "$out/run" -maxdepth 1 -name 'best*.pth' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)

heading '4/5 submit: results of the test images'
python tools/test.py "$config" "$checkpoint" --format-only --out "$out/submission"

heading '5/5 test: metrics and pictures of the validation images'
python tools/test.py "$config" "$checkpoint" --out "$out/val" --show-dir "$out/val/overlays"

heading 'done'
pictures=("$out"/val/overlays/*)
cat <<END
pictures     ${pictures[0]} and ${#pictures[@]} in all
metrics      $out/val/metrics.json
submission   $out/submission/test-results.zip
checkpoint   $checkpoint
next         python tools/report.py $out/val/val-results.json --truth $out/data/annotations/val.json --runs $out/run --out $out/report.html
END
