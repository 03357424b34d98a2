#!/usr/bin/env bash
# The shipped model on a real image, then the whole road of an image on synthetic cells; called by `make demo`, in an
# environment that is set up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

images=40
size=256     # side of a square image, pixels
cells=45     # in each image
seed=0
config=configs/demo/mask_rcnn_synthetic.py
out=build/demo
sample=data/samples/tissue.png  # purple-stained tissue, CC0

heading() { echo "=== $*"; }

# Otherwise a checkpoint or a picture of an earlier demo could pass for one of this.
rm -rf "$out"
export MMCELL_DATA=$out/data/

heading "1/6 infer: a model that comes with mmcell outlines the nuclei of $sample"
python tools/infer.py --model nuclei "$sample" --out "$out/cells"

heading "2/6 synthesize: $images images of $cells cells"
python tools/synthesize.py --out "$out/source" --images "$images" --size "$size" "$size" --cells "$cells" --seed "$seed"

heading '3/6 convert: instance masks to COCO annotations'
python tools/convert.py class_tiff "$out/source" --out "$out/data"

heading '4/6 train: at most five minutes on two cores'
python tools/train.py "$config" --work-dir "$out/run"
# Several measures may each keep their best; the newest of these is as good as any here.
checkpoint=$(find "$out/run" -maxdepth 1 -name 'best*.pth' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)

heading '5/6 submit: results of the test images'
python tools/test.py "$config" "$checkpoint" --format-only --out "$out/submission"

heading '6/6 test: metrics and pictures of the validation images'
python tools/test.py "$config" "$checkpoint" --out "$out/val" --show-dir "$out/val/overlays"

heading 'done'
pictures=("$out"/val/overlays/*)
cat <<END
real cells   $out/cells/overlays/$(basename "$sample"), counted in $out/cells/counts.csv
pictures     ${pictures[0]} and ${#pictures[@]} in all
submission   $out/submission/test-results.zip
next         python tools/report.py $out/val/val-results.json --truth $out/data/annotations/val.json --runs $out/run --out $out/report.html
END
